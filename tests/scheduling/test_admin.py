"""What DCC sees of capacity, bookings and e-mails, and what it cannot do there."""

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from scheduling.models import Booking, CapacityPattern, Lot, Notice, Slot
from scheduling.operations import bookings, notices
from tests.scheduling.world import World

READ_ONLY = (
    "notice",
    "slot",
    "booking",
    "lot",
    "strayreport",
    "oddreport",
    "reportcount",
    "reclaim",
    "quarantine",
    "finding",
    "reconciliation",
)


@pytest.fixture
def world(todays_world: World, client: Client) -> World:
    """A world with a booking whose e-mail is sent, seen by DCC staff."""
    todays_world.hubs(2)
    todays_world.slot(start=timedelta(hours=5), room=5)
    booking = todays_world.book()
    bookings.cancel(booking=booking, by=todays_world.person, reason="No", now=todays_world.clock())
    bookings.finish(now=todays_world.clock())
    notices.send(clock=todays_world.clock, limit=10)
    client.force_login(todays_world.staff)
    return todays_world


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


class TestReadOnlyTables:
    @pytest.mark.parametrize("name", READ_ONLY)
    def test_are_shown_and_not_written(self, name: str, world: World, client: Client) -> None:
        assert client.get(reverse(f"admin:scheduling_{name}_changelist")).status_code == 200
        assert client.get(reverse(f"admin:scheduling_{name}_add")).status_code == 403

    @pytest.mark.parametrize("model", [Notice, Slot, Booking, Lot])
    def test_show_one_and_refuse_its_change(self, model: type[Model], world: World, client: Client) -> None:
        row = model._default_manager.all()[0]
        address = reverse(f"admin:scheduling_{model._meta.model_name}_change", args=[row.pk])

        assert client.get(address).status_code == 200
        assert client.post(address, {}).status_code == 403
        assert client.post(address.replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403


class TestNotice:
    def test_is_shown_as_it_was_sent(self, world: World, client: Client) -> None:
        notice = Notice.objects.get(kind="booking_done")

        page = words(client.get(reverse("admin:scheduling_notice_change", args=[notice.pk])))

        assert notice.subject in page
        assert "is done: 0 of 2 hubs run Spring release" in notice.subject
        assert "The last hub of" in page
        assert 'sandbox=""' in page
        assert "<h1 style" not in page

    def test_is_told_from_one_that_is_owed(self, world: World, client: Client) -> None:
        address = reverse("admin:scheduling_notice_changelist")

        found = [
            len(client.get(address, {"sent": sent}).context["cl"].result_list) for sent in ("yes", "no", "")
        ]

        assert found == [1, 0, 1]

    def test_shows_its_html_alone_where_nothing_can_run(self, world: World, client: Client) -> None:
        notice = Notice.objects.get(kind="booking_done")
        address = reverse("admin:scheduling_notice_html", args=[notice.pk])

        response = client.get(address)

        assert response.content.decode() == notice.html
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert response.headers["X-Frame-Options"] == "SAMEORIGIN"
        client.force_login(world.person)
        assert client.get(address).status_code == 404

    def test_is_found_by_address_and_subject(self, world: World, client: Client) -> None:
        for wanted, found in ((world.person.email, 1), ("Spring release", 1), ("nobody@", 0)):
            response = client.get(reverse("admin:scheduling_notice_changelist"), {"q": wanted})
            assert len(response.context["cl"].result_list) == found


class TestCapacityPattern:
    def save(self, client: Client, world: World, **changed: str) -> Any:
        return client.post(
            reverse("admin:scheduling_capacitypattern_add"),
            {
                "network": str(world.network.pk),
                "weekday": "0",
                "starts": "01:00",
                "ends": "05:00",
                "slot_minutes": "60",
                "capacity": "10",
                **changed,
            },
        )

    def test_is_kept_and_makes_slots(self, world: World, client: Client) -> None:
        assert self.save(client, world).status_code == 302

        assert CapacityPattern.objects.count() == 1
        assert Slot.objects.filter(capacity=10).count() >= 4 * 8

    @pytest.mark.parametrize(
        ("starts", "ends"),
        [("04:00", "06:00"), ("00:00", ""), ("02:00", "03:00"), ("04:59", "00:00"), ("00:00", "01:01")],
    )
    def test_is_refused_where_it_overlaps_another(
        self, starts: str, ends: str, world: World, client: Client
    ) -> None:
        self.save(client, world)

        response = self.save(client, world, starts=starts, ends=ends)

        assert "On Monday North has a pattern from 01:00 to 05:00 already" in words(response)
        assert CapacityPattern.objects.count() == 1

    @pytest.mark.parametrize(
        "changed",
        [{"starts": "05:00", "ends": ""}, {"starts": "00:00", "ends": "01:00"}, {"weekday": "1"}],
    )
    def test_is_kept_beside_another(self, changed: dict[str, str], world: World, client: Client) -> None:
        self.save(client, world)

        assert self.save(client, world, **changed).status_code == 302
        assert CapacityPattern.objects.count() == 2

    def test_can_be_changed_where_it_is(self, world: World, client: Client) -> None:
        self.save(client, world)
        pattern = CapacityPattern.objects.get()

        response = client.post(
            reverse("admin:scheduling_capacitypattern_change", args=[pattern.pk]),
            {
                "network": str(world.network.pk),
                "weekday": "0",
                "starts": "01:00",
                "ends": "04:00",
                "slot_minutes": "60",
                "capacity": "20",
            },
        )

        assert response.status_code == 302
        assert not Slot.objects.filter(capacity=10).exists()
        assert Slot.objects.filter(capacity=20).count() >= 3 * 8

    def test_closes_its_slots_when_it_is_deleted(self, world: World, client: Client) -> None:
        self.save(client, world)
        pattern = CapacityPattern.objects.get()

        client.post(reverse("admin:scheduling_capacitypattern_delete", args=[pattern.pk]), {"post": "yes"})

        assert not Slot.objects.filter(capacity__gt=0).exists()
