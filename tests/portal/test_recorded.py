"""What people of DCC edit in the admin, they edit on record."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from hubs.models import Network, Supplier
from portal.ground.models import AuditEntry
from portal.ground.recorded import RecordedAdmin
from portal.models import User
from scheduling.models import Maintenance
from tests.factories import NetworkFactory, SupplierFactory

BY_THEIR_OWN_OPERATIONS = {
    "Group",
    "FirmwareRelease",
    "User",
    "Invitation",
    "Exemption",
    "HubException",
    "Quarantine",
}
"""Tables whose pages call operations, each of which records what it does."""
SHOWN_ALONE = {
    "CommandLog",
    "FleetReport",
    "FleetHub",
    "FirmwareVersion",
    "ChangeOfSupplier",
    "AuditEntry",
} | {
    *("Notice", "Slot", "Booking", "Lot", "StrayReport", "OddReport", "ReportCount", "Reclaim", "Finding"),
    "Reconciliation",
}
"""Tables that nobody edits in the admin."""


@pytest.fixture
def staff(client: Client, staff: User) -> User:
    """Sign DCC staff in."""
    client.force_login(staff)
    return staff


def recorded() -> list[tuple[str, str, dict[str, object]]]:
    """Return what is on record of tables: act, subject and facts."""
    entries = AuditEntry.objects.order_by("pk").values_list("verb", "subject", "facts")
    return list(entries)


class TestEveryTable:
    def test_is_recorded_or_shown_alone(self, staff: User, client: Client) -> None:
        request = client.get("/admin/").wsgi_request
        request.user = staff
        edited, shown = set(), set()
        for model, page in admin.site._registry.items():
            if model.__name__ in BY_THEIR_OWN_OPERATIONS:
                continue
            may = page.has_add_permission(request) or page.has_change_permission(request)
            (edited if may else shown).add(model.__name__)
            assert not may or isinstance(page, RecordedAdmin), model

        assert shown == SHOWN_ALONE
        assert {"Network", "Supplier", "HubModel", "CapacityPattern", "Maintenance", "Incident"} <= edited


class TestRecordedAdmin:
    def test_records_a_row_that_is_made(self, staff: User, client: Client) -> None:
        client.post(reverse("admin:hubs_network_add"), {"code": "x", "name": "Xenon", "carrier": "cellular"})

        network = Network.objects.get(code="x")
        [entry] = AuditEntry.objects.all()
        assert (entry.actor, entry.verb, entry.subject) == (staff, "network.made", f"network:{network.pk}")
        assert entry.facts["after"]["name"] == "Xenon"

    def test_records_what_it_said_before_and_says_now(self, staff: User, client: Client) -> None:
        supplier = SupplierFactory.create(name="Old", import_participant_id="OLDE", gas_participant_id=None)

        client.post(
            reverse("admin:hubs_supplier_change", args=[supplier.pk]),
            {"name": "New", "import_participant_id": "OLDE", "gas_participant_id": "OLDG"},
        )

        assert recorded() == [
            (
                "supplier.changed",
                f"supplier:{supplier.pk}",
                {
                    "is": "New",
                    "before": {"name": "Old", "gas_participant_id": None},
                    "after": {"name": "New", "gas_participant_id": "OLDG"},
                },
            )
        ]

    def test_records_nothing_where_nothing_is_different(self, staff: User, client: Client) -> None:
        supplier = SupplierFactory.create(name="Same", import_participant_id="SAME", gas_participant_id=None)

        client.post(
            reverse("admin:hubs_supplier_change", args=[supplier.pk]),
            {"name": "Same", "import_participant_id": "SAME", "gas_participant_id": ""},
        )

        assert recorded() == []

    @pytest.mark.parametrize("how", ["page", "action"])
    def test_keeps_what_a_deleted_row_said(self, how: str, staff: User, client: Client) -> None:
        start = datetime(2026, 7, 14, 1, tzinfo=UTC)
        closed = Maintenance.objects.create(
            network=NetworkFactory.create(), start_at=start, end_at=start + timedelta(hours=1), reason="Masts"
        )

        if how == "page":
            client.post(reverse("admin:scheduling_maintenance_delete", args=[closed.pk]), {"post": "yes"})
        else:
            client.post(
                reverse("admin:scheduling_maintenance_changelist"),
                {"action": "delete_selected", "_selected_action": [closed.pk], "post": "yes"},
            )

        [(verb, subject, facts)] = recorded()
        assert (verb, subject) == ("maintenance.deleted", f"maintenance:{closed.pk}")
        assert facts["before"]["start_at"] == "2026-07-14T01:00:00+00:00"  # type: ignore[index]
        assert AuditEntry.objects.get().reason == "Masts"
        assert not Maintenance.objects.exists()

    def test_changes_nothing_where_it_cannot_be_recorded(
        self, staff: User, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        supplier = SupplierFactory.create(name="Old", import_participant_id="OLDE", gas_participant_id=None)
        monkeypatch.setattr("portal.ground.audit.record", lambda **_: 1 / 0)
        client.raise_request_exception = False

        client.post(
            reverse("admin:hubs_supplier_change", args=[supplier.pk]),
            {"name": "New", "import_participant_id": "OLDE", "gas_participant_id": ""},
        )

        assert Supplier.objects.get(pk=supplier.pk).name == "Old"
