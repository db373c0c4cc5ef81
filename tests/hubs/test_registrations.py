"""Changes of supplier: when they take effect, and what they protect."""

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubs import registrations
from hubs.identifiers import format_eui64
from hubs.models import ChangeOfSupplier, CommunicationsHub, HubStatus, Supplier
from hubs.operations import REGISTRATION_COLUMNS, UnableToImport, import_registrations
from hubs.operations.registrations import Imported
from portal.ground.models import AuditEntry
from tests.factories import CommunicationsHubFactory, SupplierFactory


class TestProtectedSpan:
    def test_is_from_the_evening_before_to_the_end_of_the_day_after(self) -> None:
        assert registrations.protected_span(effective_on=date(2026, 7, 15)) == (
            datetime(2026, 7, 14, 17, tzinfo=UTC),
            datetime(2026, 7, 16, 23, tzinfo=UTC),
        )

    def test_is_an_hour_longer_when_the_clocks_go_back_in_it(self) -> None:
        start, end = registrations.protected_span(effective_on=date(2026, 10, 25))

        assert end - start == timedelta(hours=6 + 25 + 24)


NOW = datetime(2026, 7, 14, 22, 30, tzinfo=UTC)  # 23:30 in the UK
TODAY, TOMORROW = "2026-07-14", "2026-07-15"


def as_csv(rows: Sequence[Mapping[str, str]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def row(**values: str) -> dict[str, str]:
    return {
        **dict.fromkeys(REGISTRATION_COLUMNS, ""),
        "participant_id": "SOUE",
        "effective_on": TOMORROW,
        **values,
    }


def bring_in(*rows: Mapping[str, str], text: str | None = None) -> tuple[Imported, list[dict[str, str]]]:
    """Import rows, or a text; return the result and the refused rows."""
    refused = io.StringIO(newline="")
    lines = io.StringIO(as_csv(rows) if text is None else text, newline="")
    result = import_registrations(lines=lines, refused=refused, actor=None, now=NOW)
    return result, list(csv.DictReader(io.StringIO(refused.getvalue(), newline="")))


class Suppliers(NamedTuple):
    northern: Supplier
    southern: Supplier


@pytest.fixture
def suppliers(db: None) -> Suppliers:
    return Suppliers(
        SupplierFactory.create(name="Northern", import_participant_id="NORE", gas_participant_id="NORG"),
        SupplierFactory.create(name="Southern", import_participant_id="SOUE", gas_participant_id="SOUG"),
    )


@pytest.fixture
def hub(suppliers: Suppliers) -> CommunicationsHub:
    return CommunicationsHubFactory.create(
        import_supplier=suppliers.northern,
        gas_supplier=suppliers.northern,
        mpan=1234567890126,
        mprn=3938424403,
    )


def ahead() -> list[tuple[int, int, int, date]]:
    return sorted(
        ChangeOfSupplier.objects.filter(applied_at=None).values_list("hub", "role", "gaining", "effective_on")
    )


class TestImportRegistrations:
    @pytest.mark.parametrize(
        ("values", "role"),
        [
            ({"mpan": "12 3456 7890 126"}, 1),
            ({"mprn": "3938424403", "participant_id": "SOUG"}, 2),
            ({"mprn": "3938424403", "role": "GAS", "participant_id": "soug"}, 2),
            ({"chf_id": "own", "role": "import"}, 1),
            ({"chf_id": "own", "role": "gas", "participant_id": "SOUG"}, 2),
        ],
    )
    def test_finds_the_hub_and_its_meter_by_what_the_row_gives(
        self, values: dict[str, str], role: int, hub: CommunicationsHub, suppliers: Suppliers
    ) -> None:
        if values.get("chf_id"):
            values = values | {"chf_id": format_eui64(hub.pk)}

        result, refused = bring_in(row(**values))

        assert (result.added, refused) == (1, [])
        assert ahead() == [(hub.pk, role, suppliers.southern.pk, date(2026, 7, 15))]

    def test_leaves_the_hub_with_its_supplier_until_the_day(self, hub: CommunicationsHub) -> None:
        bring_in(row(mpan=str(hub.mpan)))

        before = hub.import_supplier_id
        hub.refresh_from_db()
        assert hub.import_supplier_id == before

    def test_replaces_the_change_that_is_ahead_for_the_same_meter_and_no_other(
        self, hub: CommunicationsHub, suppliers: Suppliers
    ) -> None:
        western = SupplierFactory.create(import_participant_id="WEST")
        bring_in(row(mpan=str(hub.mpan)), row(mprn=str(hub.mprn), participant_id="SOUG"))

        result, _ = bring_in(row(mpan=str(hub.mpan), participant_id="WEST", effective_on="2026-08-01"))

        assert (result.added, result.replaced, result.unchanged) == (0, 1, 0)
        assert ahead() == [
            (hub.pk, 1, western.pk, date(2026, 8, 1)),
            (hub.pk, 2, suppliers.southern.pk, date(2026, 7, 15)),
        ]

    def test_changes_nothing_when_it_is_brought_in_again(self, hub: CommunicationsHub) -> None:
        bring_in(row(mpan=str(hub.mpan)))
        ChangeOfSupplier.objects.update(imported_at=NOW - timedelta(days=1))

        result, refused = bring_in(row(mpan=str(hub.mpan)))

        assert (result.unchanged, refused) == (1, [])
        assert ChangeOfSupplier.objects.get().imported_at == NOW - timedelta(days=1)

    def test_adds_to_the_history_what_comes_after_a_change_that_took_effect(
        self, hub: CommunicationsHub, suppliers: Suppliers
    ) -> None:
        ChangeOfSupplier.objects.create(
            hub=hub.pk,
            role=1,
            gaining=suppliers.northern,
            effective_on=date(2026, 1, 1),
            imported_at=NOW,
            applied_at=NOW,
        )

        result, _ = bring_in(row(mpan=str(hub.mpan)))

        assert (result.added, ChangeOfSupplier.objects.count()) == (1, 2)

    def test_takes_a_change_of_today(self, hub: CommunicationsHub) -> None:
        assert bring_in(row(mpan=str(hub.mpan), effective_on=TODAY))[0].added == 1

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({"mpan": ""}, "The row names no hub"),
            ({"mprn": "3938424403"}, "fills mpan and mprn: give one"),
            ({"mpan": "123"}, "it needs 13 digits"),
            ({"mpan": "", "mprn": "x"}, "6 to 10 digits"),
            ({"mpan": "", "chf_id": "00-DB", "role": "gas"}, "16 hexadecimal digits"),
            ({"mpan": "", "chf_id": "00-DB-12-34-56-78-90-A0"}, "give import or gas as the role"),
            ({"role": "export"}, "“export” is not a role"),
            ({"role": "gas"}, "The role is gas, but an MPAN is a number of electricity."),
            ({"participant_id": "SOUG"}, "“SOUG” is not an electricity import participant ID"),
            ({"participant_id": ""}, "is not an electricity import participant ID"),
            ({"participant_id": "NORE"}, "This Supplier has the electricity meter already."),
            ({"mpan": "1234567890127"}, "No hub with this MPAN is known"),
            (
                {"mpan": "", "chf_id": "00-DB-12-34-56-78-90-A0", "role": "import"},
                "No hub with this CHF ID is known",
            ),
            ({"effective_on": "2026-07-13"}, "2026-07-13 is past"),
            ({"effective_on": "2027-08-01"}, "more than a year ahead"),
            ({"effective_on": "15/07/2026"}, "“15/07/2026” is not a date"),
            ({"effective_on": "2026-02-30"}, "“2026-02-30” is not a date"),
            ({"effective_on": "20260715"}, "is not a date"),
        ],
    )
    def test_refuses_a_row_with_its_reason_and_takes_the_others(
        self, values: dict[str, str], reason: str, hub: CommunicationsHub
    ) -> None:
        refused_row = row(mpan=str(hub.mpan)) | values
        good = row(mprn=str(hub.mprn), participant_id="SOUG")

        result, refused = bring_in(refused_row, good)

        assert (result.added, result.refused) == (1, 1)
        assert reason in refused[0].pop("reason")
        assert refused == [refused_row]
        assert [role for _, role, _, _ in ahead()] == [2]

    def test_refuses_a_meter_that_the_hub_does_not_have(self, suppliers: Suppliers) -> None:
        hub = CommunicationsHubFactory.create(import_supplier=suppliers.northern)

        _, refused = bring_in(row(chf_id=format_eui64(hub.pk), role="gas", participant_id="SOUG"))

        assert refused[0]["reason"] == "The hub has no gas meter."

    def test_refuses_a_number_of_several_hubs_but_not_of_one_that_is_gone(
        self, hub: CommunicationsHub
    ) -> None:
        second = CommunicationsHubFactory.create(import_supplier=hub.import_supplier, mpan=hub.mpan)

        assert "More than one hub has this MPAN" in bring_in(row(mpan=str(hub.mpan)))[1][0]["reason"]
        CommunicationsHub.objects.filter(pk=second.pk).update(status=HubStatus.DECOMMISSIONED)
        assert bring_in(row(mpan=str(hub.mpan)))[0].added == 1

    def test_refuses_what_names_a_meter_again_however_it_does(self, hub: CommunicationsHub) -> None:
        again = row(chf_id=format_eui64(hub.pk), role="import")

        result, refused = bring_in(row(mpan=str(hub.mpan)), again, row(mpan=str(hub.mpan)))

        assert (result.added, result.refused) == (1, 2)
        assert [line["reason"] for line in refused] == [
            f"Row {number} names the same meter as row 1, which was taken." for number in (2, 3)
        ]

    def test_takes_the_second_row_of_a_meter_whose_first_is_refused(self, hub: CommunicationsHub) -> None:
        result, _ = bring_in(row(mpan=str(hub.mpan), participant_id="NORE"), row(mpan=str(hub.mpan)))

        assert (result.added, result.refused) == (1, 1)

    def test_takes_back_the_file_of_refused_rows_once_it_is_mended(self, hub: CommunicationsHub) -> None:
        _, refused = bring_in(row(mpan=str(hub.mpan), effective_on="soon"))

        assert bring_in(refused[0] | {"effective_on": TOMORROW})[0].added == 1

    def test_needs_no_column_that_no_row_fills(self, hub: CommunicationsHub) -> None:
        text = f"effective_on,MPAN,participant_id,note\r\n{TOMORROW},{hub.mpan},SOUE,hello\r\n"

        assert bring_in(text=text)[0].added == 1

    def test_is_recorded(self, hub: CommunicationsHub) -> None:
        bring_in(row(mpan=str(hub.mpan)))

        entry = AuditEntry.objects.get(verb="registrations.imported")
        assert entry.facts == {"rows": 1, "added": 1, "replaced": 0, "refused": 0}

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("", "The file is empty"),
            ("mpan,role", "The header lacks the columns participant_id, effective_on"),
            ("role,participant_id,effective_on", "lacks a column that names hubs"),
            ("mpan,mpan,participant_id,effective_on", "names the column mpan more than once"),
            ('mpan,participant_id,effective_on\r\n"' + "x" * 200_000, "Line 2 is not CSV"),
        ],
    )
    def test_explains_what_is_wrong_with_a_file(self, text: str, sentence: str, db: None) -> None:
        with pytest.raises(UnableToImport, match=sentence):
            bring_in(text=text)

    @given(text=st.text(max_size=300))
    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_takes_or_names_every_row_of_any_text(self, text: str, suppliers: Suppliers) -> None:
        with suppress(UnableToImport):
            result, refused = bring_in(text=",".join(REGISTRATION_COLUMNS) + "\r\n" + text)
            assert result.added == 0
            assert result.rows == result.refused == len(refused)


class TestImportRegistrationsCommand:
    @pytest.fixture
    def file(self, hub: CommunicationsHub, tmp_path: Path) -> Path:
        path = tmp_path / "changes.csv"
        tomorrow = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"
        rows = [
            row(mpan=str(hub.mpan), effective_on=tomorrow),
            row(mpan="1234567890127", effective_on=tomorrow),
        ]
        path.write_text(as_csv(rows), encoding="utf-8-sig", newline="")
        return path

    def test_says_what_became_of_the_rows_and_writes_the_refused_beside_the_file(
        self, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        call_command("import_registrations", file)

        said = capsys.readouterr()
        assert "2 rows: 1 changes added, 0 replaced, 0 as they were, 1 refused." in said.out
        assert "changes-refused.csv" in said.out
        assert "import_registrations: done" in said.err
        [refused] = csv.DictReader(file.with_name("changes-refused.csv").read_text().splitlines())
        assert refused["mpan"] == "1234567890127"

    def test_explains_what_it_cannot_read(self, file: Path) -> None:
        file.write_text("mpan\r\n")

        with pytest.raises(CommandError, match=r"changes.csv: The header lacks .* Nothing was changed\."):
            call_command("import_registrations", file, quiet=True)
