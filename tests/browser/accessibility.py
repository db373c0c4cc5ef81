"""What axe says of a page as people see it."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# A transition between two colours passes through others, which nobody has to read.
AT_REST = """() => Promise.allSettled(
    document.getAnimations().filter(moving => moving instanceof CSSTransition).map(moving => moving.finished))"""


def accessible(page: Page, *, preload: bool = False) -> None:
    """
    Hold a page at rest against axe.

    `preload` lets axe load the style sheets anew, which the admin's policy forbids.
    """
    page.wait_for_load_state()
    page.evaluate(AT_REST)
    found = Axe().run(page, options={"preload": preload})
    assert found.violations_count == 0, f"{page.url}\n{found.generate_report()}"
