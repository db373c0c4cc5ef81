"""What axe says of a page as people see it."""

from collections.abc import Sequence

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# A transition between two colours passes through others, which nobody has to read. It begins a frame after what sets it
# off, a change to the dark or a wider window, and may set off another.
AT_REST = """async () => {
    let moving;
    do {
        await new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)));
        moving = document.getAnimations().filter(one => one instanceof CSSTransition);
        await Promise.allSettled(moving.map(one => one.finished));
    } while (moving.length);
}"""


def accessible(page: Page, *, preload: bool = False, without: Sequence[str] = ()) -> None:
    """
    Hold a page at rest against axe.

    `preload` lets axe load the style sheets anew, which the admin's policy forbids. `without` selects what Django
    itself draws, and we do not.
    """
    page.wait_for_load_state()
    page.evaluate(AT_REST)
    found = Axe().run(page, context={"exclude": [[one] for one in without]}, options={"preload": preload})
    assert found.violations_count == 0, f"{page.url}\n{found.generate_report()}"
