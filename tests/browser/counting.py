"""What a person does on pages, counted by the pages themselves: each press of something, each field."""

import json

from playwright.sync_api import BrowserContext, Page

# A click is counted where it lands, also one that Enter or Space makes; a label's own is that of its field. A field is
# counted once, whatever is typed into it.
LISTEN = """
(() => {
    const said = (kind, what) => {
        const acts = JSON.parse(sessionStorage.getItem("acts") ?? "[]");
        const words = (what.innerText || what.getAttribute("aria-label") || what.value || "").trim().split("\\n")[0];
        const named = what.labels?.length ? what.labels[0].innerText.trim() : words;
        const act = [kind, kind === "field" ? `${location.pathname} ${what.name}` : "", named.slice(0, 60)];
        if (kind === "field" && acts.some(one => one[1] === act[1])) return;
        sessionStorage.setItem("acts", JSON.stringify([...acts, act]));
    };
    const typed = "input:not([type=checkbox]):not([type=radio]):not([type=submit]), select, textarea";
    document.addEventListener("click", event => {
        const pressed = event.target.closest("a, button, summary, input, [role=button]");
        if (event.isTrusted && pressed && !pressed.matches(typed)) said("click", pressed);
    }, true);
    for (const kind of ["input", "change"])
        document.addEventListener(kind, event => event.target.matches(typed) && said("field", event.target), true);
})();
"""


def count(context: BrowserContext) -> None:
    """Begin to count on every page that is opened from now on."""
    context.add_init_script(LISTEN)


def forget(page: Page) -> None:
    """Begin anew."""
    page.evaluate("sessionStorage.removeItem('acts')")


def counted(page: Page) -> list[str]:
    """Return what was done in this tab, in words."""
    acts = json.loads(page.evaluate("sessionStorage.getItem('acts')") or "[]")
    return [f"{kind}: {words}" for kind, _, words in acts]
