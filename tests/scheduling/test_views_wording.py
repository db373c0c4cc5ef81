"""Plans in words."""

from datetime import UTC, date, datetime, time, timedelta

import pytest

from scheduling.models import Booking
from scheduling.planning import Hours
from scheduling.queries import previews
from scheduling.queries.plans import Timing
from scheduling.views import wording
from scheduling.views.wording import plan_words
from tests.scheduling.world import World


class TestPlanWords:
    @pytest.mark.parametrize(
        ("weekdays", "opens", "closes", "words"),
        [
            ((1, 2, 3, 4), 2, 5, "Tuesday to Friday, 02:00 to 05:00 UK time"),
            ((0,), 22, 5, "Monday, 22:00 to 05:00 the next morning UK time"),
            ((0, 2), 0, 0, "Monday and Wednesday, at any hour UK time"),
            ((0, 2, 5), 22, 0, "Monday, Wednesday and Saturday, 22:00 to midnight UK time"),
            (tuple(range(7)), 2, 5, "every day, 02:00 to 05:00 UK time"),
        ],
    )
    def test_name_the_days_and_hours_of_a_spread(
        self, weekdays: tuple[int, ...], opens: int, closes: int, words: str
    ) -> None:
        hours = Hours(weekdays, time(opens), time(closes), date(2026, 11, 24), date(2026, 12, 4))

        assert (
            plan_words(of=Timing(Booking.Plan.SPREAD, hours=hours))
            == f"Spread evenly over {words}, 24 November 2026 to 4 December 2026"
        )

    def test_name_the_pass_of_an_hour_that_happens_twice(self) -> None:
        at = datetime(2026, 10, 25, 1, tzinfo=UTC)

        assert plan_words(of=Timing(Booking.Plan.ONE_SLOT, start_at=at)) == (
            "One slot: Sunday 25 October 2026, 01:00 GMT"
        )


class TestAsks:
    def test_name_the_other_supplier_by_one_participant_id_alone(self, world: World) -> None:
        world.hubs(2, gas_supplier=world.southern)
        world.slot(start=timedelta(hours=5), room=1)
        world.slot(start=timedelta(days=20), room=1)
        preview = previews.preview(
            selection=world.choose(), timing=Timing(Booking.Plan.EARLIEST), now=world.clock()
        )

        assert wording.asks(of=preview) == [(f"Supplier {world.southern.gas_participant_id}", 2, 1)]
