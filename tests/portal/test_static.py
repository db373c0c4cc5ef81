"""Tests of what browsers are given: nothing that no page asks for, and nothing that the policy would forbid."""

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.contrib.messages.constants import DEFAULT_TAGS

from firmware.models import ReleaseState
from scheduling.lifecycle import State
from scheduling.queries.control_room import Health

ROOT: Path = settings.BASE_DIR
STATIC = ROOT / "static"
TEMPLATES = sorted((ROOT / "templates").rglob("*.*"))
CODE = [
    path
    for room in ("portal", "hubs", "firmware", "scheduling")
    for path in (ROOT / room).rglob("*.py")
    if path.parent.name != "migrations"
]
SCRIPTS = sorted((STATIC / "js").glob("*.js"))
WRITTEN = {path: path.read_text() for path in (*TEMPLATES, *CODE, *SCRIPTS)}
EVERYTHING = "\n".join(WRITTEN.values())
STYLES = sorted(path for path in STATIC.rglob("*.css") if "vendor" not in path.parts)
OF_OTHERS = re.compile(r"htmx-|inline-group$|submit-row$|theme-toggle$|field-|model-")
"""Classes that htmx and the admin of Django set."""


def words(pattern: str, text: str) -> set[str]:
    """Return what a pattern finds."""
    return set(re.findall(pattern, text))


class TestFiles:
    @pytest.mark.parametrize(
        "path",
        [path for path in sorted(STATIC.rglob("*")) if path.is_file() and path.stem != "LICENSE"],
        ids=lambda path: str(path.relative_to(STATIC)),
    )
    def test_are_each_asked_for(self, path: Path) -> None:
        assert f'"{path.name}"' in EVERYTHING or f"{path.relative_to(STATIC)}" in EVERYTHING

    def test_of_others_come_with_their_licence(self) -> None:
        for folder in (STATIC / "vendor").iterdir():
            assert (folder / "LICENSE").is_file()
            assert not any("sourceMappingURL" in path.read_text() for path in folder.glob("*.*s"))


class TestShapes:
    def test_are_each_drawn_somewhere(self) -> None:
        shapes = words(r'<symbol id="([\w-]+)"', (STATIC / "img" / "shapes.svg").read_text())
        levels = set(DEFAULT_TAGS.values())
        named = words(r"""["'#]([a-z_]+)["']""", EVERYTHING)

        assert shapes <= {*State, *ReleaseState, *Health} | levels | named
        assert words(r'shapes\.svg" %}#([a-z_]+)"', EVERYTHING) <= shapes


class TestClasses:
    @pytest.mark.parametrize("path", STYLES, ids=lambda path: path.name)
    def test_are_each_worn_by_something(self, path: Path) -> None:
        rules = re.sub(r"/\*.*?\*/|\"[^\"]*\"", "", path.read_text(), flags=re.DOTALL)
        classes = words(r"\.([a-zA-Z_][\w-]*)(?=[^{}]*\{)", rules)

        unworn = {
            name
            for name in classes
            if not OF_OTHERS.match(name)
            and not re.search(rf"(?<![\w-]){name}(?![\w-])", EVERYTHING)
            # a part of the name may follow from a state
            and f"{name.rpartition('-')[0]}-{{{{" not in EVERYTHING
        }
        assert not unworn


class TestTemplates:
    @pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(ROOT / "templates")))
    def test_hold_no_style_and_no_script_of_their_own(self, path: Path) -> None:
        text = WRITTEN[path]

        assert not re.search(r"\sstyle\s*=", re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL))
        assert not re.search(r"<script(?![^>]*\ssrc=)", text)
        assert not re.search(r"<[a-z][^>]*\son[a-z]+=", text)
        assert not re.search(r"(src|href)=\"(https?:)?//", text)
        assert "<style>" not in text or path.name in ("base.html", "pack.html")
        assert "<style>" not in text or path.parent.name in ("emails", "reports")
