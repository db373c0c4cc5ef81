"""Tests of the gallery: whatever is drawn in more than one place is on it, and every e-mail."""

import copy
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client, override_settings

from firmware.models import ReleaseState
from portal import gallery, previews
from portal.models import User
from scheduling.lifecycle import State
from scheduling.models import Notice
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


def stem_of(path: Path) -> str:
    """Return what the templates of one e-mail have in common."""
    return path.stem.removesuffix("_message")


class TestEmails:
    WRITTEN = sorted(
        stem_of(path)
        for folder in ("emails", "account/email", "mfa/email")
        for path in (settings.BASE_DIR / "templates" / folder).glob("*.txt")
        if not path.stem.endswith("_subject") and not path.stem.startswith(("_", "base"))
    )

    def test_have_a_preview_each(self) -> None:
        ours = {kind.value for kind, _ in previews.KINDS.values()} | {*previews.TOLD, "invitation"}
        accounts = {stem.rpartition("/")[2] for stem in previews.ACCOUNTS} | {"second_factor_taken_away"}

        assert sorted(ours | accounts) == self.WRITTEN
        assert ours - {*previews.TOLD} == {*Notice.Kind} - {Notice.Kind.ACCOUNT}

    @pytest.mark.parametrize("name", previews.EMAILS)
    def test_say_the_same_as_html_and_as_text(self, name: str) -> None:
        templates = copy.deepcopy(settings.TEMPLATES)
        templates[0]["OPTIONS"]["string_if_invalid"] = "NOTHING IS KNOWN OF %s"
        with override_settings(TEMPLATES=templates):
            words = previews.EMAILS[name]()

        assert words.subject
        for part in (words.subject, words.text, words.html):
            assert "NOTHING IS KNOWN" not in part
        for address in re.findall(r"https?://\S+", words.text):
            assert f'href="{address}"' in words.html.replace("&amp;", "&")
        assert "Questions about" in words.text or name == "excess"
        assert not re.search(r"\n{3}|&(amp|lt|#x27);", words.text)
        assert 'style="' not in words.html

    def test_are_shown_to_staff_under_the_policy_of_those_that_were_sent(
        self, client: Client, staff: User
    ) -> None:
        client.force_login(staff)

        listed = client.get("/admin/gallery/e-mails/").content.decode()
        alone = client.get("/admin/gallery/e-mails/published/")

        assert listed.count("<iframe") == len(previews.EMAILS)
        assert "412,884" in alone.content.decode()
        assert "default-src 'none'" in alone.headers["Content-Security-Policy"]
        assert client.get("/admin/gallery/e-mails/no-such/").status_code == 404
