"""A person without a mouse: Tab, Enter, Space, arrows, and a focus that can be seen wherever it goes."""

from dataclasses import dataclass
from re import Pattern
from typing import Any

from playwright.sync_api import Locator, Page

MOST_TABS = 150
# WCAG 2.2: 2.4.7, the focus is visible; 2.4.11, what has it is not hidden behind anything else
SEEN = """async one => {
    // a page that scrolls smoothly takes some time to bring it into sight
    for (let before, now; before !== (now = one.getBoundingClientRect().y); before = now)
        await new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(drawn)));
    const style = getComputedStyle(one), box = one.getBoundingClientRect();
    const drawn = (style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0) || style.boxShadow !== "none";
    const at = [0.5, 0.1, 0.9].flatMap(x => [0.5, 0.1, 0.9].map(y => [box.x + box.width * x, box.y + box.height * y]));
    const uncovered = at.some(([x, y]) => {
        const top = document.elementFromPoint(x, y);
        return top && (top === one || one.contains(top) || top.contains(one) || [...one.labels ?? []].includes(top));
    });
    return [drawn, uncovered];
}"""


@dataclass(frozen=True, slots=True)
class Keyboard:
    """The keyboard of one page."""

    page: Page

    def to(self, role: Any, name: str | Pattern[str], *, back: bool = False) -> Locator:
        """
        Press Tab until something of that role and name has the focus, and see that it shows; return it.

        `back` presses Shift and Tab.
        """
        wanted = self.page.get_by_role(role, name=name).first
        wanted.wait_for()
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
            if wanted.evaluate("one => one === document.activeElement"):
                drawn, uncovered = wanted.evaluate(SEEN)
                assert drawn, f"{self.page.url}: nobody sees that {name} has the focus"
                assert uncovered, f"{self.page.url}: {name} has the focus and is hidden"
                return wanted
        raise AssertionError(f"{self.page.url}: {MOST_TABS} times Tab do not lead to {role} {name}")

    def press(self, role: Any, name: str | Pattern[str], *, key: str = "Enter", back: bool = False) -> None:
        """Go to something and press it."""
        self.to(role, name, back=back)
        self.page.keyboard.press(key)

    def write(self, name: str | Pattern[str], text: str, *, role: Any = "textbox") -> None:
        """Go to a field and type into it."""
        self.to(role, name)
        self.page.keyboard.type(text)
