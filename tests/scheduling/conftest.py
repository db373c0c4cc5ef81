"""The scheduling app's world, half an hour before the clocks go back."""

from datetime import UTC, datetime

import pytest

from portal.ground import clock
from tests.scheduling import world as worlds


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
