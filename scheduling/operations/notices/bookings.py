"""E-mails about bookings: that their slots are near, and that they are done."""

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F, Sum

from firmware import queries as releases
from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import Supplier
from portal.ground import uk_time
from scheduling.lifecycle import OPEN, State
from scheduling.models import Booking, Lot, Notice
from scheduling.operations.notices.owing import address_of, of_release, owe, people_of, shown


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
