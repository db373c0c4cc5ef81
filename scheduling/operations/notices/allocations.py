"""E-mails about DCC's default allocation."""

from datetime import datetime

from django.db.models import Max, Min

from scheduling.models import Booking, Notice
from scheduling.operations.notices.owing import address_of, of_release, owe, people_of, shown


def owe_allocated(*, booking: Booking, reason: str, now: datetime) -> None:
    """
    Tell a Supplier what DCC allocated for it, when it begins and until when it can be moved.

    `reason` is that of DCC's decision where one led to it, otherwise empty: nobody had booked.
    """
    span = booking.lots.aggregate(
        first=Min("slot__start_at"), last=Max("slot__start_at"), until=Min("change_until")
    )
    owe(
        kind=Notice.Kind.ALLOCATED,
        subject_key=f"booking:{booking.reference}",
        addresses=people_of(supplier=booking.supplier),
        context={
            **of_release(release=booking.release),
            "supplier": booking.supplier.name,
            "reference": booking.reference,
            "hubs": booking.hubs,
            "unplaced": booking.unplaced,
            "first": shown(span["first"]),
            "last": shown(span["last"]),
            "until": shown(span["until"]),
            "cut_off": str(booking.release.policy.cut_off),
            "reason": reason,
            "booking_url": address_of("scheduling:booking", booking.reference),
        },
        now=now,
        supplier=booking.supplier,
    )
