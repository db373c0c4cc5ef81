"""A Supplier's first page: what needs it, what is happening, what comes next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.views.generic import TemplateView

from firmware import queries as releases
from firmware.models import FirmwareRelease, Part, ReleaseState
from scheduling.queries import (
    allocations,
    bookings,
    consents,
    control_room,
    deadlines,
    first_steps,
    progress,
    proposals,
    standings,
)
from scheduling.queries.allocations import Outlook
from scheduling.queries.control_room import Health
from scheduling.queries.standings import Standing
from scheduling.views.base import SupplierPage
from scheduling.views.first_steps import steps
from scheduling.views.wording import Stand, bar_of, time_left, title_of

SLOTS = 6
BOOKINGS = 5
TROUBLES = 5


@dataclass(frozen=True, slots=True)
class Card:
    """One open release as the home page shows it."""

    release: FirmwareRelease
    standing: Standing
    bar: dict[Stand, int]
    closes_at: datetime
    left: str
    health: Health
    can_book: bool
    allocation: Outlook
    halted_parts: Sequence[Part]


def card_of(
    *,
    standing: Standing,
    health: Health,
    allocation: Outlook,
    now: datetime,
    halted_parts: Sequence[Part] = (),
) -> Card:
    """Put a standing, how the release fares, and what DCC would allocate, into the words of the page."""
    release = standing.release
    closes_at = standings.last_end(release=release)
    is_published = release.state == ReleaseState.PUBLISHED
    return Card(
        release=release,
        standing=standing,
        bar=bar_of(standing),
        closes_at=closes_at,
        left=time_left(until=closes_at, now=now),
        health=health,
        can_book=is_published and closes_at > now and standing.left > 0,
        allocation=allocation if is_published else Outlook(),
        halted_parts=halted_parts,
    )


def _book_by(standing: Standing, until: Mapping[int, datetime], now: datetime) -> list[tuple[datetime, str]]:
    names: dict[datetime, list[str]] = {}
    for period in sorted(standing.release.periods.all(), key=lambda period: period.network.name):
        if period.network_id in standing.left_on and until[period.network_id] > now:
            names.setdefault(until[period.network_id], []).append(period.network.name)
    return [(moment, " and ".join(names[moment])) for moment in sorted(names)]


class HomeView(SupplierPage, TemplateView):
    """The page that a Supplier's people see first."""

    template_name = "scheduling/home.html"
    extra_context = {"section": "home"}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Ask a fixed number of questions, whatever the number of releases, bookings and hubs."""
        shown = list(standings.with_facts(releases.open_to(supplier=self.supplier)).order_by("-published_at"))
        stands = standings.standings(supplier=self.supplier, releases_shown=shown)
        until = deadlines.of_releases(releases_shown=shown)
        outlooks = allocations.outlooks(supplier=self.supplier, shown=stands, now=self.now)
        healths = control_room.healths(shown=shown)
        halted = control_room.halted_parts(shown=shown)
        cards = [
            card_of(
                standing=standing,
                health=healths[standing.release.pk],
                allocation=outlooks[standing.release.pk],
                now=self.now,
                halted_parts=halted.get(standing.release.pk, ()),
            )
            for standing in stands
        ]
        troubles, trouble_count = standings.troubles(supplier=self.supplier, shown=stands, limit=TROUBLES)
        latest = list(bookings.of_supplier(supplier=self.supplier)[:BOOKINGS])
        taken = first_steps.progress(person=self.person) if self.person.may_act else None
        progress_of = progress.by_booking(bookings=[booking.pk for booking in latest])
        return super().get_context_data(
            supplier=self.supplier,
            steps=steps(progress=taken, bookable=[card.standing for card in cards if card.can_book])
            if taken and taken.is_shown
            else [],
            cards=cards,
            asked=consents.open_of(supplier=self.supplier),
            proposed=[
                (one, title_of(proposal=one), one.asked_by_id == self.person.pk)
                for one in proposals.waiting(supplier=self.supplier, now=self.now)[:TROUBLES]
            ],
            to_book=[
                (card, _book_by(card.standing, until[card.release.pk], self.now))
                for card in cards
                if card.can_book
            ],
            troubles=troubles,
            troubles_more=trouble_count - len(troubles),
            next_slots=bookings.next_slots(supplier=self.supplier, now=self.now, limit=SLOTS),
            latest=[(booking, progress_of.get(booking.pk, progress.NOTHING)) for booking in latest],
            **kwargs,
        )
