"""What axe says of a page as people see it."""

from collections.abc import Sequence

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# A transition between two colours passes through others, which nobody has to read. It begins a frame after what sets it
# off, a change to the dark or a wider window, and may set off another. Each is brought to its end rather than waited
# for: on a busy machine one may not be drawn, and so not end, for as long as the page is looked at.
AT_REST = """async () => {
    for (;;) {
        await new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)));
        const moving = document.getAnimations().filter(one => one instanceof CSSTransition);
        if (!moving.length) return;
        for (const one of moving) one.finish();
    }
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
