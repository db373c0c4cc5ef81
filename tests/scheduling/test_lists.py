"""Lists as their addresses ask for them: order, columns, filters, pages."""

import re
from datetime import timedelta
from itertools import chain

import pytest
from django.test import Client
from django.urls import reverse

from hubs.operations import count_fleet
from portal.ground.roles import SupplierRole
from scheduling.lists.base import Order
from scheduling.models import Booking, HubGroup, ProtectedWindow
from tests.factories import UserFactory
from tests.scheduling.test_groups import make
from tests.scheduling.test_views_home import queries_of
from tests.scheduling.test_views_hubs import words
from tests.scheduling.world import World

HOUR = timedelta(hours=1)
Kind = ProtectedWindow.Kind


@pytest.fixture
def world(todays_world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> World:
    """Five hubs in a group, five bookings and five windows, of which several are equal; two on a page."""
    world = todays_world
    make(world, world.hubs(5))
    world.slot(start=5 * HOUR, room=100)
    count_fleet(now=world.clock())
    for number, kind in enumerate([Kind.TARIFF, Kind.OTHER, Kind.TARIFF, Kind.HISTORY, Kind.OTHER]):
        world.protect(start=(30 + number) * HOUR, kind=kind, is_hard=number % 2 == 0)
        world.book()
        world.hubs(number % 2 + 1)
    for place in ("hubs.PAGE", "groups.PAGE", "bookings.PAGE", "windows.SHOWN"):
        monkeypatch.setattr(f"scheduling.views.{place}", 2)
    client.force_login(world.person)
    return world


def group_address() -> str:
    return reverse("scheduling:group", args=[HubGroup.objects.get().pk])


ORDERS = [
    *((reverse("scheduling:hubs"), order) for order in ("hub", "-hub")),
    *(("group", order) for order in ("chf_id", "-chf_id")),
    *(
        (reverse("scheduling:bookings"), f"{way}{column}")
        for column in ("reference", "release", "hubs", "booked_at", "unplaced")
        for way in ("", "-")
    ),
    *(
        (reverse("scheduling:windows"), f"{way}{column}")
        for column in ("kind", "strength", "made_at")
        for way in ("", "-")
    ),
]


class TestOrder:
    @pytest.mark.parametrize(("address", "order"), ORDERS)
    def test_shows_every_line_once_on_the_way_there_and_back(
        self, address: str, order: str, world: World, client: Client
    ) -> None:
        here = group_address() if address == "group" else address
        pages = [client.get(here, {"sort": order}).context["listing"]]
        while pages[-1].next:
            pages.append(client.get(pages[-1].next).context["listing"])
        back = [pages[-1]]
        while back[-1].previous:
            back.append(client.get(back[-1].previous).context["listing"])

        there = list(chain.from_iterable(page.page.lines for page in pages))
        again = list(chain.from_iterable(page.page.lines for page in reversed(back)))
        assert len(pages) > 2
        assert [str(line) for line in there] == [str(line) for line in again]
        assert len({str(line) for line in there}) == len(there) >= 5
        assert {str(page.of.order) for page in [*pages, *back]} == {order}

    def test_is_a_link_in_the_head_that_turns_it_round(self, world: World, client: Client) -> None:
        page = words(client.get(reverse("scheduling:bookings"), {"standing": "open"}))
        [address] = re.findall(r'<a class="by" href="([^"]+)">Hubs', page)
        turned = words(client.get(address.replace("&amp;", "&")))

        assert re.search(r'aria-sort="descending"[^>]*> ?<a class="by" href="[^"]+">Booked', page)
        assert re.search(
            r'aria-sort="ascending"[^>]*> ?<a class="by" href="/bookings/\?standing=open&amp;sort=-hubs">Hubs',
            turned,
        )

    def test_puts_what_is_asked_first(self, world: World, client: Client) -> None:
        largest = client.get(reverse("scheduling:bookings"), {"sort": "-hubs"}).context["listing"].page.lines

        expected = Booking.objects.order_by("-hubs", "-pk")[:2]
        assert [line.booking.pk for line in largest] == [booking.pk for booking in expected]

    @pytest.mark.parametrize("order", ["size", "-network", "hub\0", "--hub", "mpan", "é" * 5000])
    def test_that_is_none_of_the_list_is_left_out_with_a_word(
        self, order: str, world: World, client: Client
    ) -> None:
        response = client.get(reverse("scheduling:hubs"), {"sort": order})

        assert response.context["listing"].of.order == Order("hub", is_descending=False)
        assert "cannot be put in order" in words(response)

    @pytest.mark.parametrize(
        "key", ["1", "1~", "1~x", "~1", "x~1", "1~99999999999999999999", f"{2**63}~1", "1~\0", "-1~-1"]
    )
    @pytest.mark.parametrize("order", ["hubs", "reference", "-release", "strength"])
    def test_ignores_a_key_that_is_none(self, order: str, key: str, world: World, client: Client) -> None:
        for page in ("bookings", "windows"):
            assert client.get(reverse(f"scheduling:{page}"), {"sort": order, "after": key}).status_code == 200


class TestColumns:
    def test_are_those_that_are_ticked_and_stay_on_the_next_page(self, world: World, client: Client) -> None:
        first = client.get(reverse("scheduling:hubs"), {"columns": ["network", "gpf_id"], "network": ""})
        second = client.get(first.context["listing"].next)

        for response in (first, second):
            heads = [head.header for head in response.context["table"].heads]
            assert heads == ["CHF ID", "GPF ID", "Network"]

    def test_that_the_list_has_not_are_left_out_with_a_word(self, world: World, client: Client) -> None:
        response = client.get(reverse("scheduling:hubs"), {"columns": ["network", "password"]})

        assert "none of this list" in words(response)
        assert [head.header for head in response.context["table"].heads] == ["CHF ID", "Network"]

    def test_ask_for_no_more_than_they_show(self, world: World, client: Client) -> None:
        whole = queries_of(client, reverse("scheduling:hubs"))
        narrow = queries_of(client, f"{reverse('scheduling:hubs')}?columns=network")

        assert len(narrow) < len(whole)

    def test_mask_the_meter_points_of_households_for_readers(self, world: World, client: Client) -> None:
        world.hubs(1, mpan=1234567890126)
        address = f"{reverse('scheduling:hubs')}?columns=mpan&search=1234567890126"

        assert "1234567890126</td>" in words(client.get(address))
        client.force_login(UserFactory.create(supplier=world.northern, role=SupplierRole.READ_ONLY))
        assert "1234567890126</td>" not in words(client.get(address))


class TestFilter:
    def test_narrows_and_keeps_order_and_columns(self, world: World, client: Client) -> None:
        response = client.get(
            reverse("scheduling:windows"),
            {"kind": "tariff", "strength": "hard", "sort": "made_at", "columns": ["when"]},
        )
        listing = response.context["listing"]

        assert [line.window.kind for line in listing.page.lines] == ["tariff", "tariff"]
        assert listing.beside_filter == [("sort", "made_at"), ("columns", "kind"), ("columns", "when")]
        assert listing.whole == f"{reverse('scheduling:windows')}?sort=made_at&columns=kind&columns=when"

    def test_finds_what_is_over_where_it_is_asked_for(self, world: World, client: Client) -> None:
        over = world.protect(start=-30 * HOUR)

        usual = client.get(reverse("scheduling:windows")).context["listing"].page.lines
        every = client.get(reverse("scheduling:windows"), {"which": "all"}).context["listing"].page.lines

        assert over not in [line.window for line in usual]
        assert every[0].window == over

    def test_says_what_it_does_not_understand_and_shows_all(self, world: World, client: Client) -> None:
        response = client.get(reverse("scheduling:windows"), {"kind": "nonsense"})

        assert "The list is not narrowed by it." in words(response)
        assert response.context["listing"].has_lines

    def test_tells_open_bookings_from_those_that_are_over(self, world: World, client: Client) -> None:
        over = Booking.objects.earliest("pk")
        Booking.objects.filter(pk=over.pk).update(done_at=world.clock())

        found = client.get(reverse("scheduling:bookings"), {"standing": "over"}).context["listing"]
        assert [line.booking.pk for line in found.page.lines] == [over.pk]
        found = client.get(reverse("scheduling:bookings"), {"standing": "open", "sort": "booked_at"})
        assert over.pk not in [line.booking.pk for line in found.context["listing"].page.lines]


class TestHubs:
    def test_begin_with_the_highest_where_they_are_turned_round(self, world: World, client: Client) -> None:
        up, page = [], client.get(reverse("scheduling:hubs")).context["listing"]
        up += page.page.lines
        while page.next:
            page = client.get(page.next).context["listing"]
            up += page.page.lines

        down = client.get(reverse("scheduling:hubs"), {"sort": "-hub"}).context["listing"].page.lines

        assert [line.hub.pk for line in down] == [line.hub.pk for line in up[::-1]][:2]
