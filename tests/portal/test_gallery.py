"""Tests of the gallery: whatever is drawn in more than one place is on it, in each of its states."""

import re

import pytest
from django.conf import settings
from django.test import Client

from firmware.models import ReleaseState
from portal import gallery
from portal.models import User
from scheduling.lifecycle import State
from scheduling.queries.control_room import Health


class TestComponents:
    def test_are_each_on_it_in_one_frame_at_least(self, client: Client, staff: User) -> None:
        client.force_login(staff)

        pages = [client.get("/admin/gallery/", {"frame": frame}) for frame in ("admin", "suppliers")]

        names = {component.name for page in pages for component in page.context["components"]}
        assert names == {path.stem for path in gallery.COMPONENTS.iterdir()}

    @pytest.mark.parametrize("name", sorted(path.stem for path in gallery.COMPONENTS.glob("*.html")))
    def test_say_what_they_are_what_they_take_and_when_to_use_them(self, name: str) -> None:
        shown = gallery.shown(path=gallery.COMPONENTS / f"{name}.html")

        assert shown.what.endswith(".")
        assert shown.takes
        assert shown.when.endswith(".")
        assert all(drawn.strip() for _, drawn in shown.examples)

    def test_are_shown_no_more_once_they_are_gone(self) -> None:
        names = {path.stem for path in gallery.COMPONENTS.iterdir()}

        assert gallery.CASES.keys() == gallery.WHEN.keys() == names
        assert names.issuperset((*gallery.SUPPLIERS_ALONE, *gallery.ADMINS_ALONE))

    @pytest.mark.parametrize("state", [*State, *ReleaseState, *Health])
    def test_show_every_state(self, state: str) -> None:
        shown = gallery.shown(path=gallery.COMPONENTS / "state.html")

        assert any(f'class="state state-{state}"' in drawn for _, drawn in shown.examples)

    def test_have_a_shape_for_each_state(self) -> None:
        shapes = (settings.BASE_DIR / "static" / "img" / "shapes.svg").read_text()
        shown = gallery.shown(path=gallery.COMPONENTS / "state.html")

        asked = [re.findall(r"#([a-z_]+)\"", drawn) for _, drawn in shown.examples]
        assert all(asked)
        assert {shape for found in asked for shape in found} <= set(re.findall(r'<symbol id="(\w+)"', shapes))
