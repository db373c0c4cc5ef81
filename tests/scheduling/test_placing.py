"""Places of slots: taken where there is room, under locks that everybody takes in one order."""

from datetime import datetime, timedelta

import pytest
from django.db import transaction

from scheduling.models import Slot
from scheduling.operations import placing
from tests.conftest import eventually
from tests.scheduling import world as worlds
from tests.scheduling.test_races import Aside, waiting
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


@pytest.mark.django_db(transaction=True)
class TestLock:
    def test_is_taken_in_the_order_of_the_ids_so_that_nobody_waits_in_a_ring(
        self, transactional_db: None, now: datetime
    ) -> None:
        world = worlds.make(now=now)
        first, *others = [world.slot(start=timedelta(hours=hour), room=3).pk for hour in (9, 5, 7)]

        def lock_all() -> None:
            with transaction.atomic():
                assert placing.lock(slots=[*others, first]) == {first, *others}

        with transaction.atomic():
            placing.lock(slots=[first])
            other = Aside(lock_all)
            assert eventually(waiting)
            # who waits for the first holds none of the others
            free = Slot.objects.filter(pk__in=others).select_for_update(skip_locked=True)
            assert set(free.values_list("pk", flat=True)) == set(others)
        assert other.is_done(within=60)
        assert other.error is None
