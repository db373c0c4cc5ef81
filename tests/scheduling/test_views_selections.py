"""Booking in three steps, and every way in which it is refused."""

import csv
import io
import re
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from firmware.models import AvailabilityPeriod
from firmware.operations import decisions
from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, Network
from hubs.operations import count_fleet
from portal.ground.uk_time import LONDON
from scheduling import forms
from scheduling.eligibility import Refusal
from scheduling.models import Booking, Deployment, HubSelection, Maintenance, Slot
from scheduling.views import selections
from scheduling.views.pictures import Cell
from tests import factories
from tests.scheduling.world import World


@pytest.fixture
def world(todays_world: World, client: Client) -> World:
    """A world with three hubs, counted, and the northern person signed in."""
    todays_world.hubs(3)
    count_fleet(now=todays_world.clock())
    client.force_login(todays_world.person)
    return todays_world


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


def fields(response: Any) -> dict[str, list[str]]:
    """Return what the hidden fields of a page would send."""
    sent: dict[str, list[str]] = {}
    for name, value in re.findall(
        r'<input type="hidden" name="(\w+)" value="([^"]*)">', response.content.decode()
    ):
        sent.setdefault(name, []).append(value)
    return sent


def choose(client: Client, world: World, **data: Any) -> HttpResponse:
    return client.post(reverse("scheduling:book", args=[world.release.pk]), data)  # type: ignore[return-value]


def check(client: Client, selection: HubSelection, **data: str) -> HttpResponse:
    return client.post(reverse("scheduling:check", args=[selection.pk]), data)  # type: ignore[return-value]


class TestBook:
    def test_offers_all_that_are_left_and_the_values_that_the_hubs_have(
        self, world: World, client: Client
    ) -> None:
        page = words(client.get(reverse("scheduling:book", args=[world.release.pk])))

        assert "All that are left: 3 hubs" in page
        assert "01000001" in page
        assert world.model.name in page

    def test_keeps_a_choice_of_all_and_asks_when(self, world: World, client: Client) -> None:
        response = choose(client, world, method="all")

        selection = HubSelection.objects.get()
        assert response.headers["Location"] == reverse("scheduling:when", args=[selection.pk])
        assert (selection.method, selection.chosen_by) == ("all", world.person)

    def test_keeps_a_choice_by_postcode_area(self, world: World, client: Client) -> None:
        for number, postcode in enumerate(("LS1 4AP", "L1 8JQ", "bd2 1aa")):
            hub = CommunicationsHub.objects.order_by("chf_id")[number]
            CommunicationsHub.objects.filter(pk=hub.pk).update(postcode=postcode)
        world.hubs(1, postcode="")

        choose(client, world, method="filter", postcode_area=" ls; BD,ls ")

        selection = HubSelection.objects.get()
        assert selection.criteria == {"postcode_area": ["BD", "LS"]}
        assert selection.eligible == {str(world.network.pk): 2}

    @pytest.mark.parametrize("areas", ["LS1", "LEEDS", "1", "L'"])
    def test_refuses_what_is_no_postcode_area(self, areas: str, world: World, client: Client) -> None:
        response = choose(client, world, method="filter", postcode_area=areas)

        assert "Not a postcode area" in words(response)
        assert not HubSelection.objects.exists()

    def test_keeps_a_choice_by_filter(self, world: World, client: Client) -> None:
        choose(client, world, method="filter", network=[world.network.pk], payment_mode=["1"])

        assert HubSelection.objects.get().criteria == {"network": [world.network.pk], "payment_mode": [1]}

    @pytest.mark.parametrize(
        ("data", "sentence"),
        [
            ({"method": "filter"}, "Tick at least one value to filter by"),
            ({"method": "filter", "network": ["9999"]}, "Choose from the values shown."),
            ({"method": "file"}, "Choose a file, or another way to say which hubs."),
            ({"method": "rest"}, "Select a valid choice."),
        ],
    )
    def test_says_what_is_missing(
        self, data: dict[str, Any], sentence: str, world: World, client: Client
    ) -> None:
        assert sentence in words(choose(client, world, **data))
        assert not HubSelection.objects.exists()

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [(b"\xff\xfe\x00", "is not text in UTF-8"), (b"CHF ID\n\n", "holds no rows")],
    )
    def test_says_why_a_file_cannot_be_read(
        self, content: bytes, sentence: str, world: World, client: Client
    ) -> None:
        file = SimpleUploadedFile("hubs.csv", content)

        assert sentence in words(choose(client, world, method="file", file=file))
        assert not HubSelection.objects.exists()

    def test_says_that_a_file_is_too_large(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(forms, "FILE_LIMIT", 1024 * 1024)
        file = SimpleUploadedFile("hubs.csv", b"x" * 1_200_000)

        assert "The file has 1 MB; the limit is 1 MB." in words(
            choose(client, world, method="file", file=file)
        )

    @pytest.mark.parametrize("verb", ["get", "post"])
    def test_sends_back_to_the_page_of_a_halted_release(
        self, verb: str, world: World, client: Client
    ) -> None:
        decisions.halt(release=world.release, by=world.staff, reason="Silence.", now=world.clock())

        response = getattr(client, verb)(
            reverse("scheduling:book", args=[world.release.pk]), {"method": "all"}, follow=True
        )

        assert "so nothing can be booked for it now" in words(response)
        assert "Silence." in words(response)
        assert not HubSelection.objects.exists()


class TestRoom:
    def rows(self, client: Client, selection: HubSelection, query: str = "") -> list[list[str]]:
        """Return the rows of the file."""
        response = client.get(reverse("scheduling:room", args=[selection.pk]) + query)
        return list(csv.reader(io.StringIO(response.getvalue().decode("utf-8-sig"))))  # type: ignore[attr-defined]

    def test_says_what_the_picture_shows(self, world: World, client: Client) -> None:
        slot = world.slot(start=timedelta(hours=5), room=2)
        selection = world.choose()
        page = words(client.get(reverse("scheduling:when", args=[selection.pk])))
        assert f"/selections/{selection.pk}/room.csv?network={world.network.pk}&amp;week=" in page

        header, *rows = self.rows(client, selection)

        at = slot.start_at.astimezone(LONDON)
        assert header == [
            "Network",
            "Day",
            "Hour (UK)",
            "State",
            "Room for you",
            "Of your choice fit",
            "Booked by you",
        ]
        [opened] = [row for row in rows if row[3] == "open"]
        assert opened == [world.network.name, at.date().isoformat(), f"{at:%H}:00", "open", "2", "66 %", "0"]
        assert {row[3] for row in rows} == {"open", "no slot"}

    def test_is_empty_where_no_slot_is_open(self, world: World, client: Client) -> None:
        assert len(self.rows(client, world.choose())) == 1


class TestWhen:
    def address(self, world: World) -> str:
        return reverse("scheduling:when", args=[world.choose().pk])

    def night(self, world: World, *, days: int = 3) -> datetime:
        """Return 02:00 UK time some days from now."""
        day = world.clock().astimezone(LONDON).date() + timedelta(days=days)
        return datetime.combine(day, time(2), LONDON).astimezone(UTC)

    def slot(self, world: World, start: datetime, room: int, *, network: Network | None = None) -> Slot:
        return Slot.objects.create(
            network=network or world.network,
            start_at=start,
            end_at=start + timedelta(minutes=20),
            capacity=room,
        )

    def cell(self, response: Any, hour: datetime) -> Cell:
        """Return the cell of an hour in the picture on the page."""
        picture = response.context["picture"]
        local = hour.astimezone(LONDON)
        [cells] = [row.cells for row in picture.rows if row.word == f"{local:%H:00}"]
        cell: Cell = cells[picture.days.index(local.date())]
        return cell

    def at(self, client: Client, world: World, hour: datetime, **query: str) -> Any:
        return client.get(self.address(world), {"week": hour.date().isoformat(), **query})

    def test_says_who_can_go_and_why_others_cannot(self, world: World, client: Client) -> None:
        selection = world.choose_ids("CHF ID\nnonsense\n00-00-00-00-00-00-00-01\n")

        page = words(client.get(reverse("scheduling:when", args=[selection.pk])))

        assert "1 line: Not a CHF ID" in page
        assert "1 line: Not one of your hubs" in page
        assert "Check the identifier against your inventory." in page
        assert "None of these hubs can go" in page

    def test_says_in_each_cell_how_much_fits_and_leads_to_the_one_slot_that_takes_all(
        self, world: World, client: Client
    ) -> None:
        night = self.night(world)
        self.slot(world, night, 2)
        whole = self.slot(world, night + timedelta(hours=1), 1_200)

        response = self.at(client, world, night)

        short, roomy = self.cell(response, night), self.cell(response, whole.start_at)
        assert (short.kind, short.room, short.fits, short.depth) == ("open", "2", "66 %", 3)
        assert (roomy.kind, roomy.room, roomy.fits, roomy.depth) == ("open", "1,200", "all", 4)
        assert "room for 2; 2 of 3 chosen hubs fit. Show its slots." in short.label
        assert "room for 1,200; all 3 chosen hubs fit. Choose it." in roomy.label
        assert "plan=one_slot" in roomy.address
        assert "3 hubs in 2 slots" in words(response)  # as early as possible
        assert "<strong>3 hubs</strong> will get" in words(client.get(roomy.address))

    def test_adds_up_the_slots_of_an_hour_and_leads_to_them(self, world: World, client: Client) -> None:
        night = self.night(world)
        for minute, room in ((0, 1), (20, 2), (40, 3)):
            self.slot(world, night + timedelta(minutes=minute), room)

        cell = self.cell(self.at(client, world, night), night)
        assert (cell.room, cell.fits) == ("6", "all")
        assert "in 3 slots" in cell.label
        selection = HubSelection.objects.get()
        page = words(client.get(reverse("scheduling:when", args=[selection.pk]) + cell.address.split("#")[0]))

        assert page.count("All 3 fit: choose 02:40") == 1
        assert page.count("All 3 fit") == 1
        assert "2 of 3 hubs fit" in page

    def test_marks_hours_that_passed_are_past_their_cut_off_full_or_booked(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        night = self.night(world, days=10)
        night -= timedelta(days=night.weekday() - 2)  # Wednesday
        for hours, room in ((0, 5), (1, 5), (2, 0), (3, 5), (24, 1)):
            self.slot(world, night + timedelta(hours=hours), room)
        selection = world.choose()
        booked = self.slot(world, night + timedelta(hours=4), 3)
        world.book(start_at=booked.start_at)
        monkeypatch.setattr("scheduling.views.base.clock.now", lambda: night + timedelta(minutes=30))

        response = client.get(reverse("scheduling:when", args=[selection.pk]))

        kinds = [self.cell(response, night + timedelta(hours=hour)).kind for hour in (0, 1, 2, 3, 4, 24, 25)]
        assert kinds == ["passed", "closed", "full", "open", "full", "open", "none"]
        assert "02:00: passed." in words(response)
        assert "03:00: past the cut-off." in words(response)
        assert self.cell(response, booked.start_at).own == 3

    def test_shows_one_network_at_a_time_and_needs_room_on_all_for_one_slot(
        self, world: World, client: Client
    ) -> None:
        central = factories.NetworkProfileFactory.create(network__code="central").network
        AvailabilityPeriod.objects.create(
            release=world.release,
            network=central,
            start_at=world.clock() + timedelta(minutes=1),
            end_at=world.clock() + timedelta(days=60),
        )
        for hub in world.hubs(2):
            CommunicationsHub.objects.filter(pk=hub.pk).update(network=central)
        night = self.night(world)
        for hour, rooms in enumerate([(3, 1), (3, 2)]):
            for network, room in zip((world.network, central), rooms, strict=True):
                self.slot(world, night + timedelta(hours=hour), room, network=network)

        north = self.at(client, world, night, network=str(world.network.pk))
        other = self.at(client, world, night, network=str(central.pk))

        assert [self.cell(page, night).fits for page in (north, other)] == ["all", "50 %"]
        assert "hour=" in self.cell(north, night).address
        assert "plan=one_slot" in self.cell(north, night + timedelta(hours=1)).address
        assert [link.is_here for link in other.context["picture"].tabs] == [
            link.word == central.name for link in other.context["picture"].tabs
        ]

    @pytest.mark.parametrize(
        ("kind", "words_of_it"),
        [("protected", "in a protected window of yours"), ("maintenance", "closed by DCC for maintenance")],
    )
    def test_says_why_an_hour_is_closed(
        self, kind: str, words_of_it: str, world: World, client: Client
    ) -> None:
        night = self.night(world)
        self.slot(world, night, 5)
        self.slot(world, night + timedelta(hours=1), 5)
        if kind == "protected":
            world.protect(start=night - world.clock(), length=timedelta(hours=1))
        else:
            Maintenance.objects.create(
                network=world.network, start_at=night, end_at=night + timedelta(hours=1), reason="Mast work"
            )

        response = self.at(client, world, night)

        assert (self.cell(response, night).kind, self.cell(response, night).address) == (kind, "")
        assert words_of_it in self.cell(response, night).label
        assert self.cell(response, night + timedelta(hours=1)).kind == "open"

    def test_chooses_from_one_slot_to_another_by_two_links(self, world: World, client: Client) -> None:
        night = self.night(world)
        for day in range(3):
            self.slot(world, night + timedelta(days=day), 1)
        where = self.address(world)

        response = client.get(where, {"range": "1", "week": night.date().isoformat()})
        first = self.cell(response, night)
        assert first.label.endswith("Choose it as the first.")
        response = client.get(where + first.address.split("#")[0])
        assert "Now choose the last." in words(response)
        last = night + timedelta(days=2)
        # the first one stays chosen while the weeks are turned
        response = client.get(f"{where}{first.address.split('#')[0]}&week={last.date().isoformat()}")
        page = words(client.get(self.cell(response, last).address))

        assert "<strong>3 hubs</strong>" in page
        assert "As early as possible, from the slot of" in page

    def test_turns_the_weeks_of_the_span_and_no_others(self, world: World, client: Client) -> None:
        first = self.slot(world, self.night(world, days=1), 5).start_at.astimezone(LONDON).date()
        last = self.slot(world, self.night(world, days=22), 5).start_at.astimezone(LONDON).date()
        where = self.address(world)

        def week(asked: str) -> Any:
            return client.get(where, {"week": asked}).context["picture"]

        assert first in week("").days
        assert last in week("2999-01-01").days
        assert week("nonsense").days == week("1999-01-01").days == week("").days
        assert (week("").before, week("2999-01-01").after) == ("", "")
        assert week(week("").after.split("week=")[1].split("#")[0]).days[0] == week("").days[0] + timedelta(
            days=7
        )

    @pytest.mark.parametrize(
        "query",
        [
            {"network": "999999", "range": "1", "first": "x", "hour": "x"},
            {
                "network": "north",
                "range": "1",
                "first": "2026-11-02T02:00",
                "hour": "0001-01-01T00:00:00+00:00",
            },
            {"range": "1", "first": "9999-12-31T23:59:59-12:00", "week": "0001-01-01"},
            {"week": "9999-12-31", "opens": "x", "weekdays": "9"},
        ],
    )
    def test_passes_over_what_it_cannot_read(
        self, query: dict[str, str], world: World, client: Client
    ) -> None:
        night = self.night(world)
        self.slot(world, night, 5)

        picture = client.get(self.address(world), query).context["picture"]

        assert night.astimezone(LONDON).date() in picture.days
        assert (picture.asked.first, picture.asked.hour) == (None, None)

    def test_asks_as_many_questions_of_many_slots_as_of_one(self, world: World, client: Client) -> None:
        self.slot(world, self.night(world), 5)
        where = self.address(world)
        client.get(where)
        with CaptureQueriesContext(connection) as one:
            client.get(where)
        for number in range(1, 60):
            self.slot(world, self.night(world) + timedelta(minutes=20 * number), 5)
        with CaptureQueriesContext(connection) as many:
            client.get(where)

        assert len(many) == len(one)

    def test_offers_the_same_by_a_form_and_hours_of_ones_own(self, world: World, client: Client) -> None:
        night = self.night(world)
        self.slot(world, night, 5)
        where = self.address(world)
        response = client.get(where, {"opens": "03:00", "closes": "04:00", "weekdays": ["2"]})
        page = words(response)

        assert f'<option value="{night.isoformat()}"' in page
        assert 'name="opens" id="opens" value="03:00"' in page
        assert page.count("checked") == 1
        assert "Overnight only" in page

    def test_counts_no_hubs_again(self, world: World, client: Client) -> None:
        """There may be millions, and they were counted when they were chosen."""
        self.slot(world, self.night(world), 5)
        where = self.address(world)
        with CaptureQueriesContext(connection) as asked:
            page = words(client.get(where))

        assert "Room for 3 hubs in 1 slot, from" in page
        assert [one["sql"] for one in asked if "hubs_communicationshub" in one["sql"]] == []

    def test_offers_the_first_three_nights_in_a_row_that_take_all(self, world: World, client: Client) -> None:
        night = self.night(world, days=3)
        self.slot(world, night - timedelta(days=2), 1)
        self.slot(world, night - timedelta(hours=1), 9)  # begins at 01:00: the night is from 02:00
        self.slot(world, night + timedelta(hours=2, minutes=50), 9)  # and ends by 05:00
        for day in range(3):
            self.slot(world, night + timedelta(days=day), 1)

        response = client.get(self.address(world))
        first, last = ((night + timedelta(days=day)).astimezone(LONDON).date() for day in (0, 2))
        assert (
            f"{first:%A} {first.day} {first:%B} to {last:%A} {last.day} {last:%B}, 02:00 to 05:00"
            in words(response)
        )
        page = words(client.get(response.context["nights_address"]))
        assert "<strong>3 hubs</strong>" in page
        assert "Spread evenly over every day, 02:00 to 05:00 UK time" in page

    def test_says_how_many_go_on_three_nights_where_not_all_can(self, world: World, client: Client) -> None:
        self.slot(world, self.night(world), 1)

        assert "room for 1 of 3, more than on any other three nights" in words(
            client.get(self.address(world))
        )

    def test_offers_no_three_nights_where_no_night_has_room(self, world: World, client: Client) -> None:
        self.slot(world, self.night(world) + timedelta(hours=9), 5)

        assert "Three nights" not in words(client.get(self.address(world)))

    def test_says_that_no_slot_is_open(self, world: World, client: Client) -> None:
        page = words(client.get(reverse("scheduling:when", args=[world.choose().pk])))

        assert "No slot is open for these hubs" in page

    def test_leads_to_the_booking_once_there_is_one(self, world: World, client: Client) -> None:
        world.slot(start=timedelta(hours=5), room=5)
        selection = world.choose()
        booking = world.book(selection)

        for name in ("when", "check"):
            response = client.get(reverse(f"scheduling:{name}", args=[selection.pk]), {"plan": "earliest"})
            assert response.headers["Location"] == reverse("scheduling:booking", args=[booking.reference])


class TestCheck:
    def test_says_in_numbers_what_will_happen(self, world: World, client: Client) -> None:
        world.slot(start=timedelta(hours=5), room=2)
        selection = world.choose()

        page = words(client.get(reverse("scheduling:check", args=[selection.pk]), {"plan": "earliest"}))

        assert "<strong>2 hubs</strong> will get version" in page
        assert "1 hub without a place" in page
        assert "Book 2 hubs" in page
        assert not Booking.objects.exists()

    def test_is_there_before_many_hubs_are_counted_and_asks_for_the_numbers(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.slot(start=timedelta(hours=5), room=3)
        address = reverse("scheduling:check", args=[world.choose().pk])
        monkeypatch.setattr(selections, "AT_ONCE", 2)
        day = (world.clock() + timedelta(days=1)).date().isoformat()
        spread = {"plan": "spread", "weekdays": ["1", "2"], "opens": "02:00", "closes": "05:00"}

        page = client.get(address, {"plan": "earliest"})

        assert "3 hubs are being counted" in words(page)
        assert "Book 3 hubs" not in words(page)
        [counted] = set(re.findall(r'(?:href|hx-get)="([^"]*counted=yes)"', page.content.decode()))
        numbers = words(client.get(counted.replace("&amp;", "&")))
        assert 'id="numbers"' in numbers
        assert "Book 3 hubs" in numbers
        typed = client.get(address, spread | {"first_day": day, "last_day": day}).content.decode()
        assert "weekdays=1&amp;weekdays=2" in typed

    def test_books_and_leads_to_the_booking(self, world: World, client: Client) -> None:
        world.slot(start=timedelta(hours=5), room=3)
        Slot.objects.update(start_at=world.clock().replace(microsecond=0) + timedelta(hours=5))
        selection = world.choose()

        response = check(client, selection, plan="one_slot", start=Slot.objects.get().start_at.isoformat())

        booking = Booking.objects.get()
        assert response.headers["Location"] == reverse("scheduling:booking", args=[booking.reference])
        assert (booking.hubs, booking.booked_by, booking.plan) == (3, world.person, "one_slot")

    def test_spreads_over_days_and_hours_and_says_so_on_the_booking(
        self, world: World, client: Client
    ) -> None:
        first, *_, last = [world.slot(start=timedelta(days=day), room=2) for day in (2, 3, 4)]
        hour = first.start_at.astimezone(LONDON)
        selection = world.choose()
        asked: dict[str, Any] = {
            "plan": "spread",
            "weekdays": list(range(7)),
            "opens": f"{hour:%H}:00",
            "closes": f"{hour:%H}:00",
            "first_day": hour.date().isoformat(),
            "last_day": last.start_at.astimezone(LONDON).date().isoformat(),
        }
        page = client.get(reverse("scheduling:check", args=[selection.pk]), asked)
        assert "Spread evenly over every day, at any hour UK time" in words(page)
        assert "in <strong>3 slots</strong>" in words(page)

        # what the page itself would send
        client.post(reverse("scheduling:check", args=[selection.pk]), data=fields(page))

        booking = Booking.objects.get()
        assert sorted(booking.lots.values_list("size", flat=True)) == [1, 1, 1]
        assert "Spread evenly over every day" in words(
            client.get(reverse("scheduling:booking", args=[booking.reference]))
        )

    def test_books_between_two_slots_whichever_was_chosen_first(self, world: World, client: Client) -> None:
        one, other = [world.slot(start=timedelta(hours=hours), room=2) for hours in (5, 6)]
        Slot.objects.filter(pk=one.pk).update(start_at=one.start_at.replace(microsecond=0))
        Slot.objects.filter(pk=other.pk).update(start_at=other.start_at.replace(microsecond=0))
        selection = world.choose()

        check(
            client,
            selection,
            plan="range",
            start=other.start_at.isoformat(timespec="seconds"),
            last=one.start_at.isoformat(timespec="seconds"),
        )

        booking = Booking.objects.get()
        assert (booking.plan, booking.hubs, booking.unplaced) == ("range", 3, 0)
        assert "As early as possible, from the slot of" in words(
            client.get(reverse("scheduling:booking", args=[booking.reference]))
        )

    def test_names_the_reason_of_hubs_without_a_place(self, world: World, client: Client) -> None:
        slot = world.slot(start=timedelta(hours=5), room=2)
        Slot.objects.update(start_at=slot.start_at.replace(microsecond=0))
        start = slot.start_at.isoformat(timespec="seconds")
        address = reverse("scheduling:check", args=[world.choose().pk])

        page = words(client.get(address, {"plan": "range", "start": start, "last": start}))
        assert "Its one open slot between the two chosen has no room for them." in page
        later = (slot.start_at + timedelta(days=1)).isoformat(timespec="seconds")
        page = words(client.get(address, {"plan": "range", "start": later, "last": later}))
        assert "This network has no open slot between the two chosen." in page
        assert "No slot of this plan has room for these hubs." in page

    @pytest.mark.parametrize(
        ("change", "sentence"),
        [
            ({"weekdays": []}, "Tick at least one weekday."),
            ({"opens": ""}, "Give the hours"),
            ({"last_day": ""}, "Give the first and the last day."),
            ({"last_day": "9999-12-31"}, "Give the first and the last day."),
            ({"last_day": "2026-11-01"}, "The last day is before the first."),
        ],
    )
    def test_says_what_a_spread_lacks_and_keeps_what_was_typed(
        self, change: dict[str, Any], sentence: str, world: World, client: Client
    ) -> None:
        asked = {
            "plan": "spread",
            "weekdays": ["1", "2"],
            "opens": "02:00",
            "closes": "05:00",
            "first_day": "2026-11-02",
            "last_day": "2026-11-09",
        }
        response = client.get(
            reverse("scheduling:check", args=[world.choose().pk]), asked | change, follow=True
        )

        assert sentence in words(response)
        assert "first_day=2026-11-02" in response.redirect_chain[0][0]

    def test_books_once_when_it_is_sent_twice(self, world: World, client: Client) -> None:
        world.slot(start=timedelta(hours=5), room=3)
        selection = world.choose()

        first = check(client, selection, plan="earliest")
        second = check(client, selection, plan="earliest")

        assert first.headers["Location"] == second.headers["Location"]
        assert Booking.objects.count() == 1
        assert Deployment.objects.count() == 3

    def test_says_why_nothing_was_booked_and_keeps_the_choice(self, world: World, client: Client) -> None:
        world.slot(start=timedelta(hours=5), room=3)
        selection = world.choose()
        Slot.objects.update(taken=3)

        response = check(client, selection, plan="earliest")

        assert response.status_code == 409
        assert "Nothing was booked." in words(response)
        assert "There is no room left in any open slot for these hubs." in words(response)
        Slot.objects.update(taken=0)
        assert check(client, selection, plan="earliest").status_code == 302

    def test_says_that_the_hubs_were_booked_elsewhere(self, world: World, client: Client) -> None:
        world.slot(start=timedelta(hours=5), room=10)
        selection = world.choose()
        world.book()

        response = check(client, selection, plan="earliest")

        assert response.status_code == 409
        assert "None of the chosen hubs can be booked any more" in words(response)

    def test_says_that_the_release_was_halted(self, world: World, client: Client) -> None:
        world.slot(start=timedelta(hours=5), room=10)
        selection = world.choose()
        decisions.halt(release=world.release, by=world.staff, reason="Silence.", now=world.clock())

        response = check(client, selection, plan="earliest")

        assert response.status_code == 409
        assert "This release is halted" in words(response)

    @pytest.mark.parametrize(
        "plan",
        [
            {},
            {"plan": "soon"},
            {"plan": "one_slot"},
            {"plan": "one_slot", "start": "x"},
            # moments that have no UK time
            {"plan": "one_slot", "start": "0001-01-01T00:00:00+00:00"},
            {"plan": "one_slot", "start": "9999-12-31T23:59:59-12:00"},
            {"plan": "range", "start": "2026-11-02T02:00:00+00:00"},
        ],
    )
    @pytest.mark.parametrize("verb", ["get", "post"])
    def test_asks_again_for_a_time_that_it_cannot_read(
        self, verb: str, plan: dict[str, str], world: World, client: Client
    ) -> None:
        selection = world.choose()

        response = getattr(client, verb)(reverse("scheduling:check", args=[selection.pk]), plan)

        assert response.headers["Location"] == reverse("scheduling:when", args=[selection.pk])


class TestRefused:
    def rows(self, client: Client, selection: HubSelection) -> list[list[str]]:
        response = client.get(reverse("scheduling:refused", args=[selection.pk]))
        content = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
        return list(csv.reader(io.StringIO(content)))

    def test_gives_every_row_back_as_it_came_with_its_reason_behind(
        self, world: World, client: Client
    ) -> None:
        foreign = world.hubs(1, supplier=world.southern)[0]
        selection = world.choose_ids(f"Note,CHF ID\nmy note,nonsense\n,{foreign.chf_id:016X}\n")

        assert self.rows(client, selection) == [
            ["Note", "CHF ID", "Reason", "Way forward"],
            [
                "my note",
                "nonsense",
                "Not a CHF ID, MPAN or MPRN",
                Refusal.UNREADABLE.way_forward,
            ],
            [
                "",
                f"{foreign.chf_id:016X}",
                "Not one of your hubs",
                "Check the identifier against your inventory.",
            ],
        ]

    @pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1+1", '"\t=1"'])
    def test_lets_no_spreadsheet_take_a_line_for_a_formula(
        self, cell: str, world: World, client: Client
    ) -> None:
        selection = world.choose_ids(f"{cell},{cell}\n")

        [row] = self.rows(client, selection)

        assert row[0].startswith("'")
        assert row[1].startswith("'")

    def test_reads_the_answer_back_without_its_header(self, world: World, client: Client) -> None:
        selection = world.choose_ids("nonsense\n")
        again = "\n".join(",".join(row) for row in self.rows(client, selection))

        assert world.choose_ids(again).refused == {"1": 1}

    def test_names_the_hubs_of_a_filter(self, world: World, client: Client) -> None:
        recovering = world.hubs(2, status=6)

        assert [row[:2] for row in self.rows(client, world.choose())[1:]] == [
            [format_eui64(hub.chf_id), "Status does not allow it"] for hub in recovering
        ]

    def test_reads_page_after_page(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scheduling.queries.refusals.PAGE", 2)
        world.hubs(5, status=6)
        by_file = world.choose_ids("\n".join(["a", "b", "c", "d", "e"]))

        assert len(self.rows(client, world.choose())) == 6
        assert [row[0] for row in self.rows(client, by_file)] == ["a", "b", "c", "d", "e"]
