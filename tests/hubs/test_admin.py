"""What staff see of the fleet's small tables."""

from datetime import UTC, date, datetime

import pytest
from django.test import Client
from django.urls import reverse

from hubs.identifiers import format_eui64
from hubs.models import ChangeOfSupplier
from portal.models import User
from tests.factories import SupplierFactory

NOW = datetime(2026, 7, 14, tzinfo=UTC)
HUB, OTHER = 0x00DB123456789000, 0x00DB123456789010


@pytest.fixture
def staff(client: Client, db: None) -> Client:
    client.force_login(User.objects.create_superuser(email="staff@dcc.example", password=None))
    for hub in (HUB, OTHER):
        ChangeOfSupplier.objects.create(
            hub=hub,
            role=1,
            gaining=SupplierFactory.create(),
            effective_on=date(2026, 7, 15),
            imported_at=NOW,
            applied_at=NOW if hub == OTHER else None,
        )
    return client


class TestChangesOfSupplier:
    def found(self, staff: Client, **query: str) -> list[int]:
        response = staff.get(reverse("admin:hubs_changeofsupplier_changelist"), query)
        return [change.hub for change in response.context["cl"].result_list]

    @pytest.mark.parametrize("text", [format_eui64(HUB), f"{HUB:016x}"])
    def test_are_found_by_chf_id_however_it_is_written(self, text: str, staff: Client) -> None:
        assert self.found(staff, q=text) == [HUB]

    def test_are_not_found_by_anything_else(self, staff: Client) -> None:
        assert self.found(staff, q="hello") == []

    def test_are_told_apart_by_whether_they_are_in_effect(self, staff: Client) -> None:
        assert self.found(staff, in_effect="no") == [HUB]
        assert self.found(staff, in_effect="yes") == [OTHER]
        assert self.found(staff) == [OTHER, HUB]

    def test_are_written_by_nobody_here(self, staff: Client) -> None:
        [change, _] = ChangeOfSupplier.objects.order_by("pk")

        assert staff.get(reverse("admin:hubs_changeofsupplier_add")).status_code == 403
        for act in ("change", "delete"):
            address = reverse(f"admin:hubs_changeofsupplier_{act}", args=[change.pk])
            assert staff.post(address, {"post": "yes"}).status_code == 403
        assert ChangeOfSupplier.objects.count() == 2
