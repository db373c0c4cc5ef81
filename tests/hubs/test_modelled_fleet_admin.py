"""What staff can see and do of the modelled fleet."""

import pytest
from django.urls import reverse

from hubs.gateway import Phase
from hubs.modelled_fleet.gateway import ModelledFleet
from hubs.modelled_fleet.models import CommandLog, Defect
from portal.models import User
from tests.factories import FleetHubFactory, NetworkProfileFactory
from tests.hubs.gateway_contract import NEW, NOW, command

READ_ONLY = ("commandlog", "fleetreport", "fleethub")
EDITED = ("networkprofile", "defect", "fleetimage")


@pytest.fixture
def staff(client, db):
    client.force_login(User.objects.create_superuser(email="staff@dcc.example", password=None))
    NetworkProfileFactory()
    hub = FleetHubFactory()
    fleet = ModelledFleet()
    fleet.send(commands=[command(Phase.READ, hub=hub.chf_id)], now=NOW)
    fleet.collect(limit=1, now=NOW)
    Defect.objects.create(version=NEW, kind="silent")
    return client


def page(table: str, what: str = "changelist", *args: object) -> str:
    return reverse(f"admin:modelled_fleet_{table}_{what}", args=args)


class TestAdmin:
    @pytest.mark.parametrize("table", READ_ONLY + EDITED)
    def test_lists_every_table(self, staff, table):
        assert staff.get(page(table)).status_code == 200

    @pytest.mark.parametrize("table", READ_ONLY)
    def test_lets_nobody_change_what_happened(self, staff, table):
        assert staff.get(page(table, "add")).status_code == 403
        pk = CommandLog.objects.get().pk if table == "commandlog" else 1
        assert staff.post(page(table, "delete", pk), {"post": "yes"}).status_code in (302, 403)
        assert CommandLog.objects.count() == 1

    def test_shows_hubs_as_people_write_them(self, staff):
        assert "00-DB-56-78" in staff.get(page("commandlog")).content.decode()

    def test_injects_a_defect(self, staff):
        answer = staff.post(
            page("defect", "add"),
            {"version": f"{NEW:08X}", "share": "0.2", "kind": "visible", "late_by": "0"},
        )

        assert answer.status_code == 302
        assert Defect.objects.filter(kind="visible", share=0.2, version=NEW).exists()

    def test_refuses_a_share_above_one(self, staff):
        staff.post(
            page("defect", "add"),
            {"version": f"{NEW:08X}", "share": "1.2", "kind": "visible", "late_by": "0"},
        )

        assert not Defect.objects.filter(kind="visible").exists()
