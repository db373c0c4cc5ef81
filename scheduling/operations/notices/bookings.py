"""E-mails about bookings: moved, their slots near, hubs missed in a slot, done."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F, Sum

from firmware import queries as releases
from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import Supplier
from portal.ground import sql, uk_time
from scheduling.lifecycle import OPEN, State
from scheduling.models import Booking, Lot, Notice, Slot
from scheduling.operations.notices.owing import address_of, of_release, owe, people_of, shown
from scheduling.queries import missed

if TYPE_CHECKING:
    from portal.models import User

NEXT_SLOTS = 5
"""So many of the next slots with room are named; the page has them all."""
NEWS = timedelta(days=28)
"""What was missed longer ago than this is told to nobody who has not heard of it."""


def owe_booking_done(*, booking: Booking, now: datetime) -> None:
    """Tell a booking's Supplier how its hubs fared."""
    totals = booking.lots.aggregate(**{str(state): Sum(str(state)) for state in State})
    owe(
        kind=Notice.Kind.BOOKING_DONE,
        subject_key=f"booking:{booking.reference}",
        addresses=people_of(supplier=booking.supplier),
        context={
            **of_release(release=booking.release),
            "supplier": booking.supplier.name,
            "reference": booking.reference,
            "hubs": booking.hubs,
            "outcomes": [[State(state).label, hubs] for state, hubs in totals.items() if hubs],
            "succeeded": totals["succeeded"],
            "booking_url": address_of("scheduling:booking", booking.reference),
        },
        now=now,
        supplier=booking.supplier,
    )


@transaction.atomic
def owe_reminders(*, now: datetime) -> None:
    """Remind Suppliers of their slots, once for each UK day of slots and each of the policy's two reminders."""
    for release in FirmwareRelease.objects.filter(state=ReleaseState.PUBLISHED).select_related("policy"):
        soon, ahead = release.policy.last_reminder.after(now), release.policy.first_reminder.after(now)
        _remind(release, Notice.Kind.LAST_REMINDER, now, soon, now)
        _remind(release, Notice.Kind.FIRST_REMINDER, soon, ahead, now)


@dataclass(frozen=True, slots=True)
class _Row:
    supplier: int
    network: str
    start_at: datetime
    end_at: datetime
    hubs: int


def _remind(
    release: FirmwareRelease, kind: Notice.Kind, after: datetime, until: datetime, now: datetime
) -> None:
    """Tell of every UK day whose next slot begins after `after` and not after `until`, with all its slots."""
    waiting = sum((F(str(state)) for state in OPEN if state != State.ACTIVATING), start=F("provisional") * 0)
    end_of_day = uk_time.day_bounds(until.astimezone(uk_time.LONDON).date())[1]
    rows = [
        _Row(*row)
        for row in Lot.objects.filter(
            release=release, slot__start_at__gt=now, slot__start_at__lt=end_of_day, due_at__isnull=False
        )
        .values_list("supplier_id", "network__name", "slot__start_at", "slot__end_at")
        .annotate(hubs=Sum(waiting))
        .filter(hubs__gt=0)
        .order_by("slot__start_at", "network__name")
    ]
    days: dict[tuple[int, str], list[_Row]] = {}
    for row in rows:
        day = row.start_at.astimezone(uk_time.LONDON).date().isoformat()
        days.setdefault((row.supplier, day), []).append(row)
    for (supplier_id, day), of_day in days.items():
        if not after < of_day[0].start_at <= until:
            continue
        supplier = Supplier.objects.get(pk=supplier_id)
        owe(
            kind=kind,
            subject_key=f"{releases.subject(release_id=release.pk)}:{day}",
            addresses=people_of(supplier=supplier),
            context={
                **of_release(release=release),
                "supplier": supplier.name,
                "hubs": sum(row.hubs for row in of_day),
                "begins": shown(of_day[0].start_at),
                "slots": [
                    {
                        "network": row.network,
                        "start": row.start_at.isoformat(),
                        "end": row.end_at.isoformat(),
                        "shown": shown(row.start_at),
                        "hubs": row.hubs,
                    }
                    for row in of_day
                ],
                "cut_off": str(release.policy.cut_off),
                "bookings_url": address_of("scheduling:bookings"),
            },
            now=now,
            supplier=supplier,
        )


# -- moved ---------------------------------------------------------------------------------------------------


def owe_booking_moved(
    *,
    booking: Booking,
    change: int | str,
    left: Mapping[int, int],
    taken: Mapping[int, int],
    by: "User | None",
    now: datetime,
    why: str = "",
) -> None:
    """
    Tell a booking's Supplier, but for the person who did it, that hubs of it were moved.

    `left` and `taken` are the hubs by slot id that went and that came; those that went and did not come were handed
    back, which only the portal does, and it says `why`. `change` is the same for what is told only once.
    In the transaction of the move.
    """
    places = {
        slot.pk: slot
        for slot in Slot.objects.filter(pk__in=left.keys() | taken.keys()).select_related("network")
    }
    owe(
        kind=Notice.Kind.BOOKING_MOVED,
        subject_key=f"booking:{booking.reference}:{change}",
        addresses=[
            address for address in people_of(supplier=booking.supplier) if not by or address != by.email
        ],
        context={
            **of_release(release=booking.release),
            "supplier": booking.supplier.name,
            "reference": booking.reference,
            "hubs": sum(taken.values()),
            "handed_back": sum(left.values()) - sum(taken.values()),
            "who": "The portal" if by is None else "DCC" if by.is_staff else str(by),
            "why": why,
            "left": _places(left, places),
            "taken": _places(taken, places),
            "cut_off": str(booking.release.policy.cut_off),
            "booking_url": address_of("scheduling:booking", booking.reference),
        },
        now=now,
        supplier=booking.supplier,
    )


def _places(hubs: Mapping[int, int], slots_by_id: Mapping[int, Slot]) -> list[dict[str, Any]]:
    """Return hubs by slot id as the lines of a table, in order of time."""
    lines = sorted(
        ((slots_by_id[slot], number) for slot, number in hubs.items()),
        key=lambda line: (line[0].start_at, line[0].network.name),
    )
    return [
        {"network": slot.network.name, "shown": shown(slot.start_at), "hubs": number}
        for slot, number in lines
    ]


# -- missed --------------------------------------------------------------------------------------------------

# Raw SQL: one statement over the lots finds what is to be told. A day is told when no hub of it can be missed any
# more.
_OPEN = " + ".join(f"lot.{state}" for state in OPEN)
MISSED = f"""
SELECT ended.booking_id, ended.day, ended.lots FROM (
    SELECT lot.booking_id, (slot.start_at AT TIME ZONE 'Europe/London')::date AS day, array_agg(lot.id) AS lots
    FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id
    WHERE lot.booking_id IN (
        SELECT missed.booking_id FROM scheduling_lot missed JOIN scheduling_slot slot ON slot.id = missed.slot_id
        WHERE missed.missed > 0 AND slot.end_at > %(since)s AND slot.end_at <= %(now)s)
    GROUP BY 1, 2
    HAVING sum(lot.missed) > 0 AND sum({_OPEN}) = 0
       AND max(slot.end_at) > %(since)s AND max(slot.end_at) <= %(now)s) ended
JOIN scheduling_booking booking ON booking.id = ended.booking_id
WHERE NOT EXISTS (
    SELECT FROM scheduling_notice notice
    WHERE notice.kind = %(kind)s AND notice.subject_key = 'booking:' || booking.reference || ':' || ended.day)
ORDER BY 1, 2
"""  # noqa: S608 - our own columns


def owe_missed(*, now: datetime) -> int:
    """
    Hand missed hubs back to their bookers: tell each booking of each UK day of its slots that is over with some.

    Told once, with the number by reason and the next slots that have room for them. Returns how many days of
    bookings were told.
    """
    days = sql.rows(MISSED, {"now": now, "since": now - NEWS, "kind": Notice.Kind.MISSED})
    bookings = Booking.objects.select_related("release__policy", "supplier").in_bulk(
        [booking for booking, _, _ in days]
    )
    told = 0
    for booking_id, day, lots in days:
        booking = bookings[booking_id]
        if people := people_of(supplier=booking.supplier):
            _tell_of_missed(booking, day, lots, people, now)
            told += 1
    return told


def _tell_of_missed(booking: Booking, day: date, lots: list[int], people: list[str], now: datetime) -> None:
    release = booking.release
    reasons = missed.by_reason(lots=lots)
    can_book = release.state == ReleaseState.PUBLISHED
    ahead = missed.way_forward(booking=booking, lots=lots, now=now)
    places = ahead.slots if can_book else []
    owe(
        kind=Notice.Kind.MISSED,
        subject_key=f"booking:{booking.reference}:{day}",
        addresses=people,
        context={
            **of_release(release=release),
            "supplier": booking.supplier.name,
            "reference": booking.reference,
            "day": f"{day:%A %-d %B %Y}",
            "hubs": sum(reasons.values()),
            "reasons": [[ending.label, hubs] for ending, hubs in reasons.items()],
            "state": release.get_state_display().lower(),
            "can_book": can_book,
            "may_go": ahead.may_go,
            "next": [
                {"network": slot.network.name, "shown": shown(slot.start_at), "hubs": hubs}
                for slot, hubs in places[:NEXT_SLOTS]
            ],
            "more": len(places) > NEXT_SLOTS,
            "without": ahead.may_go - sum(hubs for _, hubs in places),
            "cut_off": str(release.policy.cut_off),
            "hubs_url": address_of("scheduling:booked-hubs", booking.reference) + f"?state={State.MISSED}",
        },
        now=now,
        supplier=booking.supplier,
    )
