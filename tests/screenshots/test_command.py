"""The pictures are still taken: of pages at all widths, with what is wrong with them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from tests.screenshots import guides
from tests.screenshots.camera import HEIGHTS, NO_BROWSER, SCHEMES
from tests.screenshots.pages import View


class TestCommand:
    def test_pictures_a_page_at_each_width_in_each_scheme_and_all_side_by_side(self, tmp_path: Path) -> None:
        wanted = ("scheduling-home-newcomer", "control-room-auditor")
        ended = subprocess.run(
            [
                *(
                    sys.executable,
                    "manage.py",
                    "screenshots",
                    "--all",
                    "--into",
                    str(tmp_path),
                    "--hubs",
                    "900",
                ),
                *(word for name in wanted for word in ("--page", name)),
            ],
            cwd=settings.BASE_DIR,
            env=os.environ | {"DATABASE_URL": settings.DATABASE_URL, "REDIS_URL": settings.REDIS_URL},
            capture_output=True,
            text=True,
            check=False,
        )

        assert ended.returncode in (0, 1), ended.stderr  # 1 where a page has something wrong with it
        assert "faults. Look at the pages one by one" in ended.stdout, ended.stderr
        made = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*")}
        assert made == {
            "index.html",
            *(f"{name}.html" for name in wanted),
            *(f"sheets/{name}.png" for name in wanted),
            *(f"{name}-{width}-{scheme}.jpg" for name in wanted for width in HEIGHTS for scheme in SCHEMES),
        }
        assert all((tmp_path / name).stat().st_size > 1_000 for name in made if not name.endswith(".html"))
        index = (tmp_path / "index.html").read_text()
        assert all(f'href="{name}.html"' in index for name in wanted)

    def test_says_what_to_install_where_there_is_no_browser(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "")

        with pytest.raises(CommandError, match="apt install chromium") as refusal:
            call_command("screenshots")
        assert str(refusal.value) == NO_BROWSER

    def test_asks_where_to_for_the_pictures_of_every_page(self) -> None:
        with pytest.raises(CommandError, match="--into DIR"):
            call_command("screenshots", "--all")


class TestView:
    def test_has_a_name_that_is_one_for_a_file(self) -> None:
        view = View("admin:scheduling_slot_fit", "a stranger", "/x/", "none found")

        assert view.name == "admin-scheduling-slot-fit-none-found-a-stranger"


class TestPictures:
    def test_of_the_guides_have_names_of_their_own(self) -> None:
        names = [picture.name for picture in guides.PICTURES]

        assert len(names) == len(set(names))
