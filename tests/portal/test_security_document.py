"""What docs/security.md says is tested, is."""

import re

from django.conf import settings

from tests.mutations.test_enforcements import exists

ROW = re.compile(r"^\| (?P<what>.+?) \| (?P<how>.+) \| (?P<tests>.*`tests/.+) \|$", re.MULTILINE)
DOCUMENT = settings.BASE_DIR / "docs" / "security.md"


def rows() -> list[re.Match[str]]:
    """Return the rows of threats and of items that name their tests."""
    return list(ROW.finditer(DOCUMENT.read_text()))


class TestSecurityDocument:
    def test_names_tests_that_exist(self) -> None:
        named = {test for row in rows() for test in re.findall(r"`(tests/[^`]+)`", row["tests"])}

        assert len(named) > 20
        assert {test for test in named if not exists(test)} == set()

    def test_names_each_item_once_and_as_it_is_numbered(self) -> None:
        items = [item for row in rows() for item in row["what"].split(", ") if re.match(r"\d", row["what"])]

        assert len(items) > 40
        assert [item for item in items if not re.fullmatch(r"\d+\.\d+\.\d+(–\d+\.\d+\.\d+)?", item)] == []
        assert len(items) == len(set(items))

    def test_leaves_no_row_without_a_test(self) -> None:
        tables = re.findall(
            r"^\| (?:threat|item) \|.*\n\|---.*\n((?:\|.*\n)+)", DOCUMENT.read_text(), re.MULTILINE
        )

        assert len(tables) == 2
        assert sum(table.count("\n") for table in tables) == len(rows())
