"""Bookings: lists, live progress, cancelling, and what people take away."""

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from icalendar import Calendar

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub
from hubs.operations import count_fleet
from portal.ground.uk_time import LONDON
from scheduling.models import Booking, Deployment
from scheduling.operations import bookings as acts
from scheduling.operations import turns
from scheduling.operations.deployments import aside
from tests.scheduling.test_first_hubs import set_policy
from tests.scheduling.test_views_home import queries_of
from tests.scheduling.world import World, in_no_stage


@pytest.fixture
def world(todays_world: World, client: Client) -> World:
    """A world with three hubs, a slot with room for two, and the northern person signed in."""
    todays_world.hubs(3)
    todays_world.slot(start=timedelta(hours=5), room=2)
    count_fleet(now=todays_world.clock())
    client.force_login(todays_world.person)
    return todays_world


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


def page(client: Client, name: str, booking: Booking, **query: str) -> Any:
    return client.get(reverse(f"scheduling:{name}", args=[booking.reference]), query)


def end(booking: Booking, state: str, ending: str = "") -> None:
    """End every hub of a booking."""
    Deployment.objects.filter(state="booked").update(state="staging")
    Deployment.objects.filter(state="staging").update(
        state=state, ending=ending, ended_at=booking.created_at, next_at=None
    )


class TestBookings:
    def test_lists_them_newest_first_page_by_page(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scheduling.views.bookings.PAGE", 2)
        world.slot(start=timedelta(hours=6), room=100)
        references = [world.book().reference]
        for _ in range(2):
            world.hubs(1)
            references.insert(0, world.book().reference)

        first = client.get(reverse("scheduling:bookings"))
        second = client.get(first.context["next"])

        shown = [
            [row.record.booking.reference for row in one.context["table"].rows] for one in (first, second)
        ]
        assert shown == [references[:2], references[2:]]
        assert second.context["next"] == ""

    def test_says_what_would_be_here(self, world: World, client: Client) -> None:
        assert "No bookings yet" in words(client.get(reverse("scheduling:bookings")))
        assert "There are no more bookings" in words(client.get(reverse("scheduling:bookings"), {"after": 1}))

    @pytest.mark.parametrize("key", ["x", "-1", "9" * 30, "²", "1~2~3"])
    def test_ignores_a_key_that_is_none(self, key: str, world: World, client: Client) -> None:
        world.book()

        assert client.get(reverse("scheduling:bookings"), {"before": key}).context["listing"].has_lines

    def test_asks_the_same_questions_for_one_or_many(self, world: World, client: Client) -> None:
        world.slot(start=timedelta(hours=6), room=100)
        world.book()
        few = queries_of(client, reverse("scheduling:bookings"))
        for _ in range(4):
            world.hubs(1)
            world.book()

        # session, user, Supplier, clock; the releases to filter by; bookings; progress; kept filters; questions
        many = queries_of(client, reverse("scheduling:bookings"))
        assert len(few) == len(many) == 9, "\n".join(many)


class TestBooking:
    def test_shows_slots_unplaced_hubs_and_history(self, world: World, client: Client) -> None:
        booking = world.book()

        shown = words(page(client, "booking", booking))

        assert "0 of 2 hubs have ended" in shown
        assert "1 hub without a place" in shown
        assert format_eui64(booking.unplaced_hubs.get().hub) in shown
        assert "Booked by person@northern.example.com: 2 hubs" in shown
        assert 'hx-trigger="every 2s"' in shown

    def test_asks_the_same_questions_for_one_slot_or_many(self, world: World, client: Client) -> None:
        few = queries_of(client, reverse("scheduling:booking", args=[world.book().reference]))
        for number in range(6, 12):
            world.slot(start=timedelta(hours=number), room=3)
        world.hubs(15)
        booking = world.book()

        # session, user, Supplier, clock; the booking; progress; slots; span; is the release shown; what waits for
        # another Supplier, objections; history; questions to answer, for the menu
        many = queries_of(client, reverse("scheduling:booking", args=[booking.reference]))
        assert booking.lots.count() == 6
        assert not [query for query in many if "scheduling_deployment" in query]
        # the first has unplaced hubs to name as well
        assert (len(few), len(many)) == (16, 15), "\n".join(many)


class TestProgress:
    def test_goes_on_while_hubs_are_under_way(self, world: World, client: Client) -> None:
        response = page(client, "progress", world.book())

        assert response.status_code == 200
        assert "hx-get" in words(response)
        assert "<html" not in words(response)

    def test_stops_when_all_have_ended(self, world: World, client: Client) -> None:
        booking = world.book()
        end(booking, "missed", "unreachable")

        response = page(client, "progress", booking)

        assert response.status_code == 286
        assert "All 2 hubs have ended" in words(response)
        assert "hx-get" not in words(response)


class TestBookedHubs:
    def test_narrows_to_a_state_and_says_why(self, world: World, client: Client) -> None:
        booking = world.book()
        end(booking, "failed", "hash_mismatch")

        assert words(page(client, "booked-hubs", booking, state="failed")).count("hash did not match") == 2
        assert "No hub is in this state" in words(page(client, "booked-hubs", booking, state="succeeded"))

    def test_says_that_dcc_looks_into_what_is_set_aside(self, world: World, client: Client) -> None:
        booking = world.book()
        poisoned = Deployment.objects.order_by("id")[0]
        aside.set_aside(deployment=poisoned.pk, error="KeyError: 0x17", now=world.clock())

        shown = words(page(client, "booked-hubs", booking))
        assert shown.count("DCC looks into it") == 1
        assert "KeyError" not in shown
        end(booking, "failed", "hash_mismatch")  # by a late report
        assert "DCC looks into it" not in words(page(client, "booked-hubs", booking))

    def test_pages_by_key(self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("scheduling.views.bookings.HUBS", 1)
        first = page(client, "booked-hubs", world.book())

        second = client.get(first.context["next"])

        shown = [row.record.hub for one in (first, second) for row in one.context["table"].rows]
        assert len(set(shown)) == 2
        assert second.context["next"] == ""


class TestCancel:
    def test_says_in_numbers_what_goes_and_what_stays(self, world: World, client: Client) -> None:
        world.slot(start=timedelta(hours=6), room=100)
        world.hubs(99)
        booking = world.book()
        booking.lots.filter(slot=world.slots[0]).update(change_until=world.clock() - timedelta(minutes=1))

        shown = words(page(client, "cancel", booking))

        assert "Cancel 100 hubs" in shown
        assert 'Stay: their cut-off has passed</div> <p class="stat-figure">2' in shown

    def test_cancels_and_keeps_the_reason(self, world: World, client: Client) -> None:
        booking = world.book()

        response = client.post(
            reverse("scheduling:cancel", args=[booking.reference]), {"reason": "Tariff change"}, follow=True
        )

        assert "2 hubs are cancelled; their places are free again." in words(response)
        assert "Cancelled by person@northern.example.com: 2 hubs" in words(response)
        assert "Tariff change" in words(response)
        assert set(Deployment.objects.values_list("state", flat=True)) == {"cancelled"}

    def test_asks_for_a_reason(self, world: World, client: Client) -> None:
        booking = world.book()

        response = client.post(reverse("scheduling:cancel", args=[booking.reference]), {"reason": " "})

        assert "This field is required." in words(response)
        assert not Deployment.objects.filter(state="cancelled").exists()

    def test_says_that_nothing_can_be_cancelled_any_more(self, world: World, client: Client) -> None:
        booking = world.book()
        acts.cancel(booking=booking, by=world.person, reason="First", now=world.clock())

        response = client.post(reverse("scheduling:cancel", args=[booking.reference]), {"reason": "Second"})

        assert response.status_code == 409
        assert "Nothing in this booking can still be cancelled" in words(response)


class TestChange:
    def change(self, client: Client, booking: Booking, **typed: str) -> Any:
        """Look first, then do what was shown, as the page's own form does."""
        address = reverse("scheduling:change", args=[booking.reference])
        looked = client.post(address, typed | {"look": "1"})
        assert looked.status_code == 200, words(looked)
        seen = looked.context.get("seen") or ""
        return looked, client.post(address, typed | {"seen": seen, "reason": "Tariff change"}, follow=True)

    def test_cancels_one_hub_after_showing_what_goes(self, world: World, client: Client) -> None:
        booking = world.book()
        one, _ = Deployment.objects.values_list("hub", flat=True)

        looked, done = self.change(
            client, booking, act="cancel", hubs=f"{format_eui64(one)}, 00-00-00-00-00-00-00-01"
        )

        assert "<strong>1 hub</strong> will be cancelled" in words(looked)
        assert "1 hub: Not in this booking" in words(looked)
        assert "1 hub is cancelled; their places are free again." in words(done)
        assert list(Deployment.objects.filter(state="cancelled").values_list("hub", flat=True)) == [one]
        assert "Cancelled by person@northern.example.com: 1 hub" in words(done)

    def test_moves_to_the_slot_that_is_named_in_uk_time(self, world: World, client: Client) -> None:
        booking = world.book()
        there = world.slot(start=timedelta(hours=30), room=2)
        local = there.start_at.astimezone(LONDON)

        looked, done = self.change(
            client, booking, act="earliest", moment=f"{local:%Y-%m-%dT%H:%M}", clock="", slot=""
        )

        assert "<strong>2 hubs</strong> will move to as early as possible from" in words(looked)
        assert "2 hubs are moved; the places that they left are free again." in words(done)
        assert "Moved by person@northern.example.com: 2 hubs" in words(done)
        assert "0 of 2 hubs have ended" in words(done)
        there.refresh_from_db()
        assert there.taken == 2

    def test_moves_to_the_one_slot_that_begins_then(self, world: World, client: Client) -> None:
        booking = world.book()
        there = world.slot(start=timedelta(hours=30), room=2)
        there.start_at = there.start_at.replace(second=0, microsecond=0)
        there.save()
        local = there.start_at.astimezone(LONDON)

        _, done = self.change(client, booking, act="one_slot", moment=f"{local:%Y-%m-%dT%H:%M}")

        assert "2 hubs are moved; the places that they left are free again." in words(done)
        there.refresh_from_db()
        assert there.taken == 2

    def test_shows_the_windows_that_a_move_would_meet(self, world: World, client: Client) -> None:
        booking = world.book()
        there = world.slot(start=timedelta(hours=30), room=2)
        local = there.start_at.astimezone(LONDON)
        world.protect(start=timedelta(hours=30), is_hard=False)
        asked = {"act": "earliest", "moment": f"{local:%Y-%m-%dT%H:%M}"}
        address = reverse("scheduling:change", args=[booking.reference])

        soft = words(client.post(address, asked))
        world.protect(start=timedelta(hours=30), hubs=list(CommunicationsHub.objects.all()))
        hard = words(client.post(address, asked))

        assert "2 of them would go in your soft window" in soft
        assert "North: no room for 2 hubs, clear of protected windows" in hard

    def test_says_what_lacks_before_anything_is_moved(self, world: World, client: Client) -> None:
        booking = world.book()
        there = world.slot(start=timedelta(hours=30), room=1)
        local = there.start_at.astimezone(LONDON)

        looked, done = self.change(client, booking, act="earliest", moment=f"{local:%Y-%m-%dT%H:%M}")

        assert "Not all of them fit there, so none would be moved." in words(looked)
        assert "North: no room for 1 hub" in words(looked)
        assert "Nothing was moved" in words(done)
        assert done.status_code == 409
        assert set(Deployment.objects.values_list("state", flat=True)) == {"booked"}

    def test_does_nothing_that_was_not_shown(self, world: World, client: Client) -> None:
        booking = world.book()
        address = reverse("scheduling:change", args=[booking.reference])
        one, _ = Deployment.objects.values_list("hub", flat=True)
        seen = client.post(address, {"act": "cancel", "hubs": format_eui64(one)}).context["seen"]

        response = client.post(address, {"act": "cancel", "seen": seen, "reason": "All of them"})

        assert "Your choice has changed." in words(response)
        assert "<strong>2 hubs</strong> will be cancelled" in words(response)
        assert not Deployment.objects.filter(state="cancelled").exists()

    def test_asks_for_a_reason(self, world: World, client: Client) -> None:
        booking = world.book()
        address = reverse("scheduling:change", args=[booking.reference])
        seen = client.post(address, {"act": "cancel"}).context["seen"]

        response = client.post(address, {"act": "cancel", "seen": seen, "reason": " "})

        assert "Say why: the history keeps it." in words(response)
        assert not Deployment.objects.filter(state="cancelled").exists()

    def test_lets_none_go_where_not_all_can(self, world: World, client: Client) -> None:
        booking = world.book()
        Deployment.objects.filter(pk=Deployment.objects.order_by("id")[0].pk).update(state="staging")
        Deployment.objects.filter(state="staging").update(state="staged")
        with in_no_stage():
            Deployment.objects.filter(state="staged").update(state="activating")

        looked, done = self.change(client, booking, act="cancel", only_if_all="on")

        assert "Not all of them can go, so none would." in words(looked)
        assert "1 hub: Activating now" in words(looked)
        assert "Nothing was cancelled, since not all can be" in words(done)

    @pytest.mark.parametrize(
        ("typed", "sentence"),
        [
            ({"act": ""}, "Choose what shall become of them."),
            ({"act": "cancel", "hubs": "nonsense"}, "Not a CHF ID: nonsense."),
            ({"act": "cancel", "slot": "1"}, "Select a valid choice."),
            ({"act": "cancel", "network": "x"}, "Select a valid choice."),
            ({"act": "one_slot"}, "Give the day and time to which they shall move."),
            ({"act": "one_slot", "moment": "tomorrow"}, "Give the day and time to which they shall move."),
            ({"act": "one_slot", "moment": "2027-03-28T01:30"}, "does not exist in UK time"),
            ({"act": "one_slot", "moment": "2027-10-31T01:30"}, "happens twice in UK time"),
        ],
    )
    def test_refuses_what_cannot_be_read(
        self, typed: dict[str, str], sentence: str, world: World, client: Client
    ) -> None:
        response = client.post(reverse("scheduling:change", args=[world.book().reference]), typed)

        assert sentence in words(response)
        assert "Nothing was changed." in words(response)

    def test_takes_the_hour_that_happens_twice_with_its_clock(self, world: World, client: Client) -> None:
        response = client.post(
            reverse("scheduling:change", args=[world.book().reference]),
            {"act": "one_slot", "moment": "2027-10-31T01:30", "clock": "0"},
        )

        assert "Nothing was changed." not in words(response)
        assert "North: no room for 2 hubs" in words(response)

    def test_is_reached_from_the_hubs_table_and_the_hubs_page(self, world: World, client: Client) -> None:
        booking = world.book()
        hub = Deployment.objects.order_by("id")[0].hub_id
        address = f"{reverse('scheduling:change', args=[booking.reference])}?hub={format_eui64(hub)}"

        assert f'href="{address}"' in words(page(client, "booked-hubs", booking))
        assert f'href="{address}"' in words(client.get(reverse("scheduling:hub", args=[hub])))
        assert format_eui64(hub) in words(client.get(address))

    def test_is_not_offered_after_the_cut_off(self, world: World, client: Client) -> None:
        booking = world.book()
        booking.lots.update(change_until=world.clock() - timedelta(minutes=1))
        hub = Deployment.objects.order_by("id")[0].hub_id
        address = reverse("scheduling:change", args=[booking.reference])

        assert address not in words(page(client, "booked-hubs", booking))
        assert address not in words(page(client, "booking", booking))
        assert address not in words(client.get(reverse("scheduling:hub", args=[hub])))

    def test_asks_the_same_questions_for_one_slot_or_many(self, world: World, client: Client) -> None:
        few = queries_of(client, reverse("scheduling:change", args=[world.book().reference]))
        for number in range(6, 12):
            world.slot(start=timedelta(hours=number), room=3)
        world.hubs(15)

        many = queries_of(client, reverse("scheduling:change", args=[world.book().reference]))
        assert len(few) == len(many), "\n".join(many)


class TestExport:
    def test_names_every_hub_and_those_without_a_place(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scheduling.views.bookings.EXPORT", 1)
        booking = world.book()
        end(booking, "failed", "hash_mismatch")

        response = page(client, "export", booking)

        content = b"".join(response.streaming_content).decode("utf-8-sig")
        rows = list(csv.DictReader(io.StringIO(content)))
        assert [(row["State"], row["Reason"]) for row in rows] == [
            ("Failed", "The image's hash did not match"),
            ("Failed", "The image's hash did not match"),
            ("Not placed", "No open slot had room"),
        ]
        assert rows[2]["CHF ID"] == format_eui64(booking.unplaced_hubs.get().hub)
        assert response.headers["Content-Disposition"] == f'attachment; filename="{booking.reference}.csv"'


class TestCalendar:
    def test_has_one_entry_for_each_slot_that_is_not_cancelled(self, world: World, client: Client) -> None:
        world.slot(start=timedelta(hours=6), room=100)
        booking = world.book()
        acts.cancel_lots(
            lots=booking.lots.filter(slot=world.slots[1]).values_list("id", "slot_id"),  # type: ignore[arg-type]
            ending="by_supplier",  # type: ignore[arg-type]
            now=world.clock(),
        )

        [entry] = Calendar.from_ical(page(client, "calendar", booking).content).walk("VEVENT")

        assert entry["SUMMARY"] == f"Spring release: 2 hubs on North ({booking.reference})"
        assert entry["DTSTART"].dt == world.slots[0].start_at.replace(microsecond=0)
        assert entry["URL"].endswith(f"/bookings/{booking.reference}/")


class TestStagesOfTheRollout:
    @pytest.fixture
    def moved(self, todays_world: World, client: Client) -> Booking:
        """A booking of thirty hubs, of which four have a turn in their slot."""
        set_policy(todays_world, sizes=[4, 10], soak="6 hours")
        todays_world.hubs(30)
        todays_world.slot(start=timedelta(hours=5), room=40)
        booking = todays_world.book()
        for later in (11, 19, 25):
            todays_world.slot(start=timedelta(hours=later), room=40)
        client.force_login(todays_world.person)
        assert turns.keep(clock=todays_world.clock) == 25
        return booking

    def test_says_when_and_why_hubs_wait_and_where_they_went(self, moved: Booking, client: Client) -> None:
        said = words(page(client, "booking", moved))

        assert "11 of these hubs wait for stage 2 of the national rollout, expected to open on" in said
        assert "they keep their order" in said
        assert "DCC’s rollout stages moved 25 hubs from" in said
        assert "Moved by the stages of the national rollout: 11 hubs" in said

    def test_says_nothing_where_nothing_waits(self, world: World, client: Client) -> None:
        assert "Stages of the national rollout" not in words(page(client, "booking", world.book()))
