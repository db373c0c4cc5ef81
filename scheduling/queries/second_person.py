"""Whether what somebody is about to do to hubs asks for a second person of their Supplier."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth import get_user_model
from django.db.models import QuerySet

from hubs.models import Supplier
from portal.ground import roles, sql
from portal.ground.uk_time import LONDON
from scheduling.models import SecondPersonRule

if TYPE_CHECKING:
    from portal.models import User

USUAL: Final = 100_000
"""The size for a Supplier that has not chosen one: ample for a day's work, and far below a fleet."""
COUNTED: Final = timedelta(hours=24)
"""What one person did alone in so long counts together: otherwise many small acts would make a large one."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an act comes to, by which it is shown, and known again when a colleague agrees."""

    hubs: int
    slots: int
    nights: int
    first_start: datetime
    last_end: datetime

    @property
    def words(self) -> str:
        """Say it in numbers, in UK time."""
        first, last = (
            f"{moment.astimezone(LONDON):%a %-d %b %Y, %H:%M %Z}"
            for moment in (self.first_start, self.last_end)
        )
        return (
            f"{self.hubs:,} hub{'' if self.hubs == 1 else 's'} in {self.slots:,} slot{'' if self.slots == 1 else 's'}, "
            f"from {first} to {last}"
        )

    @property
    def columns(self) -> dict[str, Any]:
        """Return the columns of a proposal that hold it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def forecast(*, hubs: int, slots: Iterable[tuple[datetime, datetime]]) -> Forecast:
    """Add up so many hubs in slots, each given once by its start and its end."""
    spans = list(slots)
    return Forecast(
        hubs=hubs,
        slots=len(spans),
        nights=len({start.astimezone(LONDON).date() for start, _ in spans}),
        first_start=min(start for start, _ in spans),
        last_end=max(end for _, end in spans),
    )


@dataclass(frozen=True, slots=True)
class Rule:
    """How many hubs one person may touch alone within a day; None for any number."""

    size: int | None
    is_usual: bool
    """Nobody has chosen it."""


def rule(*, supplier: Supplier, others: int) -> Rule:
    """Return a Supplier's rule, for somebody beside whom so many `others` may agree."""
    found = SecondPersonRule.objects.filter(supplier=supplier).first()
    if found is not None:
        return Rule(found.size, is_usual=False)
    # whoever is alone could never act
    return Rule(USUAL if others else None, is_usual=True)


def may_agree(*, supplier: Supplier, besides: "User") -> "QuerySet[User]":
    """Return the Supplier's people who may agree to what one of them proposes, by their keys."""
    found = get_user_model().objects.filter(supplier=supplier, is_active=True, role__in=roles.ACT.roles)
    return found.exclude(pk=besides.pk).order_by("pk")


def may_agree_to_rule(*, supplier: Supplier, besides: "User") -> "QuerySet[User]":
    """Return the same for the rule itself: another administrator, or anybody who may act where there is none."""
    found = may_agree(supplier=supplier, besides=besides)
    administrators = found.filter(role__in=roles.ADMINISTER.roles)
    return administrators if administrators.exists() else found


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody may still do alone today."""

    rule: Rule
    others: int
    """Colleagues who may agree."""
    alone: int
    """Hubs that the person booked, moved and cancelled without a colleague in the last 24 hours."""

    def asks(self, hubs: int) -> bool:
        """Say whether an act on so many hubs takes a second person."""
        return self.rule.size is not None and self.alone + hubs > self.rule.size

    def why(self, hubs: int) -> str:
        """Say why an act on so many hubs does."""
        assert self.rule.size is not None  # noqa: S101 - asked only where it is needed
        before = f" Alone you have done so with {self.alone:,} since yesterday." if self.alone else ""
        return (
            f"At your Supplier one person books, moves and cancels at most {self.rule.size:,} "
            f"hub{'' if self.rule.size == 1 else 's'} in 24 hours alone; this is about {hubs:,}.{before}"
        )


# Raw SQL: what was written by somebody in the last day, from the bookings themselves and from the record.
ALONE = """
SELECT (SELECT coalesce(sum(booking.hubs), 0) FROM scheduling_booking booking
        WHERE booking.booked_by_id = %(person)s AND booking.created_at > %(since)s
          AND booking.abandoned_at IS NULL
          AND NOT EXISTS (SELECT FROM scheduling_proposal proposal
                          WHERE proposal.selection_id = booking.selection_id AND proposal.state = 'agreed'))
     + (SELECT coalesce(sum((facts ->> 'hubs')::bigint), 0) FROM ground_auditentry
        WHERE actor_id = %(person)s AND recorded_at > %(since)s
          AND verb IN ('booking.moved', 'booking.cancelled') AND NOT facts ? 'agreed_by')
"""


def standing(*, supplier: Supplier, person: "User", now: datetime) -> Standing:
    """Say what somebody may still do alone; where any number, what they have done is not counted."""
    others = may_agree(supplier=supplier, besides=person).count()
    holds = rule(supplier=supplier, others=others)
    if holds.size is None:
        return Standing(holds, others, 0)
    [(alone,)] = sql.rows(ALONE, {"person": person.pk, "since": now - COUNTED})
    return Standing(holds, others, int(alone))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page says of an act that takes a second person."""

    why: str
    others: int


def asked(*, supplier: Supplier, person: "User", hubs: int, now: datetime) -> Asked | None:
    """Say why an act on so many hubs would take a second person; None where it would not."""
    found = standing(supplier=supplier, person=person, now=now)
    return Asked(found.why(hubs), found.others) if hubs and found.asks(hubs) else None
