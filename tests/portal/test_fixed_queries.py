"""Each page asks a fixed number of questions, whatever there is to show."""

import io
from collections.abc import Mapping
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hubs.operations import count_fleet
from portal.ground import clock
from scheduling.models import Export, SavedFilter
from scheduling.operations import groups
from tests.portal.every_page import NO_PAGES, PAGES
from tests.portal.matrix import Cast
from tests.scheduling import world as worlds
from tests.signing_in import known_recently


@pytest.fixture
def cast(db: None) -> Cast:
    """Make one of everything."""
    made = Cast(worlds.make(now=clock.now()))
    made.rows  # noqa: B018 - made before anybody asks
    return made


def more(cast: Cast) -> None:
    """Make several more of whatever there is one of."""
    world = cast.world
    hubs = world.hubs(6)
    world.hubs(3, supplier=world.southern, gas_supplier=world.northern)
    for hour in (6, 7, 8):
        world.slot(start=timedelta(hours=hour), room=5)
    count_fleet(now=world.clock())
    for hub in hubs[:3]:
        world.book(world.choose_ids(f"{hub.chf_id:016X}"))
    for number in range(2, 5):
        name = f"More {number}"
        world.protect(start=timedelta(days=number), reason=name)
        groups.make(
            supplier=world.northern,
            name=name,
            hubs=io.BytesIO(f"{hubs[number].chf_id:016X}".encode()),
            by=world.person,
            now=world.clock(),
        )
        SavedFilter.objects.create(
            supplier=world.northern, person=world.person, list="hubs", name=name, made_at=world.clock()
        )
        Export.objects.create(
            supplier=world.northern,
            asked_by=world.person,
            asked_at=world.clock(),
            list="hubs",
            title=name,
            format=Export.Format.CSV,
        )


def questions(client: Client, addresses: Mapping[str, str]) -> dict[str, int]:
    """Return how many questions each page asks the second time it is asked for."""
    found = {}
    for name, address in addresses.items():
        for _ in range(2):
            with CaptureQueriesContext(connection) as asked:
                response = client.get(address)
            assert response.status_code == 200, f"{name} at {address}: {response.status_code}"
        found[name] = len(asked)
    return found


@pytest.mark.parametrize("who", PAGES)
def test_more_of_everything_asks_for_no_more_questions(who: str, cast: Cast) -> None:
    person = next(one for column in cast.people.values() for name, one in column.items() if name == who)
    client = Client()
    if person is not None:
        known_recently(client=client, person=person)
    addresses = {
        name: f"/{address.lstrip('/')}"
        for make in PAGES[who]
        for name, address in make(cast).items()
        if name not in NO_PAGES
    }
    with_one = questions(client, addresses)

    more(cast)

    with_more = questions(client, addresses)
    grown = {
        name: (number, with_more[name]) for name, number in with_one.items() if with_more[name] != number
    }
    assert not grown
    assert len(with_one) > 3
