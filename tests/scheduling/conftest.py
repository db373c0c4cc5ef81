"""The scheduling app's world, half an hour before the clocks go back."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from portal.ground import clock
from tests.scheduling import world as worlds
from tests.scheduling.rows import SLOT_AT, Lay, Row, lay_out


@pytest.fixture
def now() -> datetime:
    """Half an hour before the clocks go back, at 02:00 BST on 25 October 2026."""
    return datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.fixture
def world(db: None, now: datetime) -> worlds.World:
    """A published release, two Suppliers, no hubs and no slots yet."""
    return worlds.make(now=now)


@pytest.fixture
def todays_world(db: None) -> worlds.World:
    """The same world by the database's own clock, which the pages go by."""
    return worlds.make(now=clock.now())


@pytest.fixture
def lay(world: worlds.World) -> Lay:
    """Return what books as many hubs as there are rows, lets the moment come, and lays the rows out."""

    def book_and_lay(rows: Sequence[Row], *, moment: timedelta = SLOT_AT) -> dict[int, Row]:
        start = world.clock()
        world.hubs(len(rows))
        world.slot(start=SLOT_AT, room=len(rows))
        world.book()
        world.clock.moment = start + moment
        return lay_out(world, rows)

    return book_and_lay
