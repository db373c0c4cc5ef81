"""Places of slots: taken where there is room, under locks that everybody takes in one order."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from scheduling.models import Slot
from scheduling.operations import placing
from tests.scheduling.world import World


def taken() -> list[int]:
    """Return the places taken in every slot, in the order of their ids."""
    return list(Slot.objects.order_by("id").values_list("taken", flat=True))


class TestMovePlaces:
    def test_takes_places_and_gives_them_back(self, world: World) -> None:
        first, second = (world.slot(start=timedelta(hours=hour), room=3) for hour in (5, 6))
        assert placing.move_places(places={first.pk: 3, second.pk: 1}) == 2
        assert taken() == [3, 1]
        assert placing.move_places(places={first.pk: -2}) == 1
        assert taken() == [1, 1]

    def test_says_where_there_was_no_room_and_takes_none_there(self, world: World) -> None:
        first, second = (world.slot(start=timedelta(hours=hour), room=3) for hour in (5, 6))
        try:
            moved = placing.move_places(places={first.pk: 4, second.pk: 3})
        except Exception as error:
            pytest.fail(f"the caller is told by a number, not by {error!r}")
        assert moved == 1
        assert taken() == [0, 3]


class TestLock:
    def test_is_taken_in_the_order_of_the_ids_whatever_the_order_of_the_slots(self, world: World) -> None:
        ids = [world.slot(start=timedelta(hours=hour), room=3).pk for hour in (9, 5, 7)]
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert placing.lock(slots=reversed(ids)) == set(ids)
        [query] = asked.captured_queries
        assert 'ORDER BY "scheduling_slot"."id" ASC FOR NO KEY UPDATE' in query["sql"]
