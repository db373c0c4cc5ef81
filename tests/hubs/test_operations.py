"""Counting the fleet, and bringing in an inventory."""

import csv
import io
import threading
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hubs.identifiers import format_eui64, parse_eui64
from hubs.models import CommunicationsHub, FirmwareVersion, FleetCount, HubStatus, PaymentMode, Region
from hubs.operations import INVENTORY_COLUMNS, UnableToImport, count_fleet, import_inventory, inventories
from portal.ground.models import AuditEntry
from tests.factories import CommunicationsHubFactory, HubModelFactory, NetworkFactory, SupplierFactory

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)


ROW = {
    "chf_id": "00-DB-12-34-56-78-90-A0",
    "gpf_id": "00-DB-12-34-56-78-90-A1",
    "network": "North",
    "model": "Aldgate R1",
    "installed_version": "02040100",
    "hardware_version": "257",
    "region": "north",
    "status": "Commissioned",
    "payment_mode": "prepayment",
    "mpan": "12 3456 7890 126",
    "mprn": "3938424403",
    "import_supplier": "NORE",
    "gas_supplier": "SOUG",
    "electricity_commissioned": "yes",
    "postcode": "eh1 2ab",
}


def other():
    """Build the row of another hub."""
    return ROW | {"chf_id": "70-E8-B4-00-00-00-00-10", "mpan": "", "status": "InstalledNotCommissioned"}


def as_csv(rows):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def bring_in(*rows, text=None):
    """Import rows, or a text; return the result and the refused rows."""
    refused = io.StringIO(newline="")
    lines = io.StringIO(as_csv(rows) if text is None else text, newline="")
    result = import_inventory(lines=lines, refused=refused, actor=None, now=NOW)
    return result, list(csv.DictReader(io.StringIO(refused.getvalue(), newline="")))


class TestCountFleet:
    def test_counts_hubs_that_are_shown_by_what_they_share(self, db):
        northern = SupplierFactory()
        first = CommunicationsHubFactory(import_supplier=northern)
        shared = {"model": first.model, "installed_version": first.installed_version}
        CommunicationsHubFactory(import_supplier=northern, **shared)
        CommunicationsHubFactory(import_supplier=northern, hardware_version=2, **shared)
        CommunicationsHubFactory(import_supplier=northern, status=HubStatus.WITHDRAWN, **shared)

        assert count_fleet(now=NOW) is True

        assert sorted(FleetCount.objects.values_list("lead", "hardware_version", "hubs", "counted_at")) == [
            (northern.pk, 1, 2, NOW),
            (northern.pk, 2, 1, NOW),
        ]

    def test_replaces_the_last_count(self, db):
        hub = CommunicationsHubFactory()
        count_fleet(now=NOW)
        hub.delete()

        count_fleet(now=NOW)

        assert not FleetCount.objects.exists()

    @pytest.mark.django_db(transaction=True)
    def test_goes_away_while_another_counts_and_readers_keep_the_old_numbers(self):
        CommunicationsHubFactory()
        count_fleet(now=NOW)
        CommunicationsHubFactory()
        results = []

        def second():
            try:
                results.append((count_fleet(now=NOW), FleetCount.objects.count()))
            finally:
                connection.close()

        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [0x68756273])
            FleetCount.objects.all().delete()
            thread = threading.Thread(target=second)
            thread.start()
            thread.join(timeout=20)
            transaction.set_rollback(True)

        assert results == [(False, 1)]
        assert count_fleet(now=NOW) is True
        assert FleetCount.objects.count() == 2


class TestImportInventory:
    @pytest.fixture(autouse=True)
    def known(self, db):
        NetworkFactory(code="north", name="North")
        HubModelFactory(name="Aldgate R1")
        SupplierFactory(name="Northern", import_participant_id="NORE", gas_participant_id="NORG")
        SupplierFactory(name="Southern", import_participant_id="SOUE", gas_participant_id="SOUG")

    def test_adds_a_hub_with_everything_that_the_row_says(self):
        result, refused = bring_in(ROW)

        hub = CommunicationsHub.objects.get()
        assert (result.added, result.changed, result.refused) == (1, 0, 0)
        assert refused == []
        assert format_eui64(hub.chf_id) == ROW["chf_id"]
        assert format_eui64(hub.gpf_id) == ROW["gpf_id"]
        assert (hub.network.code, hub.model.name, str(hub.installed_version)) == (
            "north",
            "Aldgate R1",
            "02040100",
        )
        assert (hub.hardware_version, hub.region, hub.postcode) == (257, Region.NORTH, "EH1 2AB")
        assert (hub.status, hub.payment_mode) == (HubStatus.COMMISSIONED, PaymentMode.PREPAYMENT)
        assert (hub.mpan, hub.mprn, hub.electricity_commissioned) == (1234567890126, 3938424403, True)
        assert (hub.import_supplier.name, hub.gas_supplier.name) == ("Northern", "Southern")
        assert (hub.lead_id, hub.other_id) == (hub.import_supplier_id, hub.gas_supplier_id)

    def test_changes_a_hub_that_differs_and_leaves_one_that_does_not(self):
        bring_in(ROW)

        again, _ = bring_in(ROW)
        moved, _ = bring_in(ROW | {"status": "Suspended", "mprn": ""})

        assert (again.added, again.changed, again.unchanged) == (0, 0, 1)
        assert (moved.added, moved.changed, moved.unchanged) == (0, 1, 0)
        hub = CommunicationsHub.objects.get()
        assert (hub.status, hub.mprn) == (HubStatus.SUSPENDED, None)

    @pytest.mark.parametrize("status", ["Decommissioned", "Withdrawn"])
    def test_forgets_the_household_of_a_hub_that_has_gone(self, status):
        bring_in(ROW)

        bring_in(ROW | {"status": status})

        hub = CommunicationsHub.objects.get()
        assert (hub.mpan, hub.mprn, hub.postcode) == (None, None, "")
        assert bring_in(ROW | {"status": status})[0].unchanged == 1
        bring_in(ROW)
        assert CommunicationsHub.objects.get().mpan == 1234567890126

    def test_counts_the_fleet_and_records_who_did_it(self):
        bring_in(ROW)

        assert FleetCount.objects.get().hubs == 1
        entry = AuditEntry.objects.get()
        assert (entry.verb, entry.facts["added"]) == ("inventory.imported", 1)

    def test_adds_versions_that_it_does_not_know(self):
        bring_in(ROW, other() | {"installed_version": "0a0b0c0d"})

        assert set(FirmwareVersion.objects.values_list("number", flat=True)) == {0x02040100, 0x0A0B0C0D}

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"chf_id": "00-DB"}, "16 hexadecimal digits"),
            ({"gpf_id": ""}, "16 hexadecimal digits"),
            ({"network": "East"}, "“East” is not a network: give one of"),
            ({"model": "Unheard of"}, "not a hub model"),
            ({"installed_version": "2040100"}, "8 hexadecimal digits"),
            ({"hardware_version": "32768"}, "from 0 to 32767"),
            ({"hardware_version": "-1"}, "from 0 to 32767"),
            ({"region": "Wales"}, "not a region: give one of North"),
            ({"status": "Lost"}, "not a status"),
            ({"payment_mode": "Barter"}, "not a payment mode"),
            ({"mpan": "123"}, "13 digits"),
            ({"mprn": "x"}, "6 to 10 digits"),
            ({"import_supplier": "NORG"}, "not an electricity import participant ID"),
            ({"gas_supplier": "NORE"}, "not a gas participant ID"),
            ({"import_supplier": "", "gas_supplier": ""}, "has no Supplier"),
            ({"import_supplier": ""}, "import_supplier is empty"),
            ({"electricity_commissioned": "maybe"}, "give yes or no"),
            ({"postcode": "far too long"}, "not a postcode"),
            ({"postcode": "A\x00B"}, "not a postcode"),
        ],
    )
    def test_refuses_a_row_with_its_reason_and_takes_the_others(self, changes, reason):
        result, refused = bring_in(ROW | changes, other())

        assert (result.added, result.refused) == (1, 1)
        assert reason in refused[0].pop("reason")
        assert refused == [ROW | changes]
        assert CommunicationsHub.objects.get().chf_id == parse_eui64(other()["chf_id"])

    def test_refuses_a_row_of_another_width(self):
        text = as_csv([ROW]) + "just,three,values\r\n"

        result, refused = bring_in(text=text)

        assert (result.added, result.refused) == (1, 1)
        assert "3 values where the header has 15" in str(refused)

    def test_refuses_the_second_row_of_the_same_hub_however_it_is_written(self):
        same = ROW | {"chf_id": ROW["chf_id"].lower().replace("-", ":"), "status": "Suspended"}

        result, refused = bring_in(ROW, other(), same, same)

        assert (result.added, result.refused) == (2, 2)
        assert [row["reason"] for row in refused] == [
            f"Row {number} names the same CHF ID as row 1, which was taken." for number in (3, 4)
        ]
        assert refused[0]["chf_id"] == same["chf_id"]
        assert not CommunicationsHub.objects.filter(status=HubStatus.SUSPENDED).exists()

    def test_takes_back_the_file_of_refused_rows_once_it_is_mended(self):
        _, refused = bring_in(ROW | {"status": "Lost"})

        result, _ = bring_in(refused[0] | {"status": "Commissioned"})

        assert result.added == 1

    def test_takes_rows_whose_check_digits_fail_and_counts_them(self):
        result, _ = bring_in(ROW | {"mpan": "1234567890127", "mprn": "3938424404"}, other())

        assert (result.added, result.refused, result.mpan_warnings, result.mprn_warnings) == (2, 0, 1, 1)

    def test_reads_columns_in_any_order_and_ignores_others(self):
        row = dict(reversed(ROW.items())) | {"householder": "not ours to keep"}

        result, _ = bring_in(row)

        assert result.added == 1

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("", "The file is empty"),
            ("chf_id,gpf_id\r\n", "The header lacks the columns network, model"),
            ("chf_id," + ",".join(INVENTORY_COLUMNS), "names the column chf_id more than once"),
            (",".join(INVENTORY_COLUMNS) + '\r\n"' + "x" * 200_000, "Line 2 is not CSV"),
        ],
    )
    def test_explains_what_is_wrong_with_a_file(self, text, sentence):
        with pytest.raises(UnableToImport, match=sentence):
            bring_in(text=text)

    def test_refuses_a_file_with_something_else_for_versions_and_changes_nothing(self, monkeypatch):
        monkeypatch.setattr(inventories, "NEW_VERSIONS_LIMIT", 1)

        with pytest.raises(UnableToImport, match="seems to hold something else"):
            bring_in(ROW, other() | {"installed_version": "0a0b0c0d"})
        assert not CommunicationsHub.objects.exists()
        assert not FirmwareVersion.objects.exists()

    @given(text=st.text(max_size=300))
    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_takes_or_names_every_row_of_any_text(self, text):
        header = ",".join(INVENTORY_COLUMNS) + "\r\n"

        with suppress(UnableToImport):
            result, refused = bring_in(text=header + text)
            assert result.added == 0
            assert result.rows == result.refused == len(refused)


class TestImportInventoryCommand:
    @pytest.fixture(autouse=True)
    def known(self, db):
        NetworkFactory(code="north", name="North")
        HubModelFactory(name="Aldgate R1")
        SupplierFactory(import_participant_id="NORE", gas_participant_id="SOUG")

    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "inventory.csv"
        path.write_text(as_csv([ROW, ROW]), encoding="utf-8-sig", newline="")
        return path

    def test_says_what_became_of_the_rows_and_writes_the_refused_beside_the_file(self, file, capsys):
        call_command("import_inventory", file, quiet=True)

        said = capsys.readouterr().out
        assert "2 rows: 1 hubs added, 0 changed, 0 as they were, 1 refused." in said
        assert "inventory-refused.csv" in said
        (refused,) = csv.DictReader(file.with_name("inventory-refused.csv").read_text().splitlines())
        assert refused["chf_id"] == ROW["chf_id"]
        assert sorted(path.name for path in file.parent.iterdir() if path.is_file()) == [
            "inventory-refused.csv",
            "inventory.csv",
        ]

    def test_writes_no_list_when_nothing_is_refused(self, file, tmp_path):
        file.write_text(as_csv([ROW]), newline="")
        call_command("import_inventory", file, refused=tmp_path / "no.csv", quiet=True)

        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["inventory.csv"]

    def test_shows_its_progress_on_the_error_output(self, file, capsys):
        call_command("import_inventory", file)

        assert "counting the fleet" in capsys.readouterr().err

    def test_explains_a_missing_file(self, tmp_path):
        with pytest.raises(CommandError, match=r"none.csv: No such file or directory\."):
            call_command("import_inventory", tmp_path / "none.csv")

    @pytest.mark.parametrize("encoding", ["utf-16", "cp1252"])
    def test_explains_an_encoding_that_it_cannot_read(self, file, encoding):
        file.write_text(as_csv([ROW | {"postcode": "EH1 2Ü"}]), encoding=encoding)

        with pytest.raises(CommandError, match=r"is not UTF-8 text.*Nothing was changed"):
            call_command("import_inventory", file, quiet=True)

    def test_explains_a_missing_column(self, file):
        file.write_text("chf_id\r\n")

        with pytest.raises(CommandError, match="header lacks the columns"):
            call_command("import_inventory", file, quiet=True)

    def test_begins_nothing_when_the_list_of_refused_rows_cannot_be_written(self, file, tmp_path):
        with pytest.raises(CommandError, match="No such file or directory"):
            call_command("import_inventory", file, refused=tmp_path / "nowhere" / "no.csv", quiet=True)
        assert not CommunicationsHub.objects.exists()

    def test_does_not_write_over_the_file_that_it_reads(self, file):
        before = file.read_bytes()

        with pytest.raises(CommandError, match="over the file"):
            call_command("import_inventory", file, refused=file, quiet=True)
        assert file.read_bytes() == before
