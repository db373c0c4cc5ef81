"""Tests of the search for secrets: one that is planted is found, and one that is accepted is not."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings

from tests.supply.secrets import ACCEPTED, BASE_DIR, committed, differences, scan

KEY = "AKIA" + "IOSFODNN7" + "EXAMPLQ"


@pytest.fixture(autouse=True)
def as_the_gate_looks() -> Iterator[None]:
    """Look for what the gate looks for."""
    known = json.loads((BASE_DIR / ACCEPTED).read_text())
    with transient_settings({name: known[name] for name in ("plugins_used", "filters_used")}):
        yield


@pytest.fixture
def planted(tmp_path: Path) -> SecretsCollection:
    """Return what is found in a file with a key in it."""
    (tmp_path / "settings.py").write_text(f'PLAIN = 1\nKEY = "{KEY}"\n')
    return scan(root=tmp_path, names=["settings.py"])


class TestDifferences:
    def test_name_the_place_of_what_nobody_accepted(self, planted: SecretsCollection) -> None:
        said = differences(found=planted, accepted=SecretsCollection())

        assert any(line.startswith("settings.py:2: AWS") for line in said)
        assert KEY not in "".join(said)

    def test_are_none_where_it_was_accepted(self, planted: SecretsCollection) -> None:
        assert differences(found=planted, accepted=planted) == []

    def test_name_what_is_accepted_and_gone(self, planted: SecretsCollection) -> None:
        [line, *_] = differences(found=SecretsCollection(), accepted=planted)

        assert line.startswith("settings.py: ")
        assert line.endswith("accepted and no longer there")


class TestCommitted:
    def test_names_what_git_would_take_and_nothing_else(self) -> None:
        names = committed(BASE_DIR)

        assert {"manage.py", "docker/env.example", "tests/supply/test_secrets.py"} <= set(names)
        assert not any(name.startswith((".venv/", ".embedded/")) for name in names)
