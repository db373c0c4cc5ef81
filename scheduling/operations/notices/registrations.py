"""E-mails about changes of supplier: deployments came with their hubs."""

from datetime import datetime

from django.db import transaction
from django.db.models import CharField, Exists, Min, OuterRef, Value
from django.db.models.functions import Cast, Concat

from scheduling.models import Booking, Notice
from scheduling.operations.notices.owing import address_of, of_release, owe, people_of, shown


@transaction.atomic
def owe_carried_over(*, now: datetime) -> int:
    """
    Tell gaining Suppliers of the bookings that came with their hubs, once for each, and again should one grow.

    Returns how many bookings were told of.
    """
    told = Notice.objects.filter(
        kind=Notice.Kind.CARRIED_OVER,
        subject_key=Concat(
            Value("booking:"),
            OuterRef("reference"),
            Value(":"),
            Cast(OuterRef("hubs"), CharField()),
            output_field=CharField(),
        ),
    )
    bookings = (
        Booking.objects.filter(origin=Booking.Origin.CARRIED_OVER, done_at=None, abandoned_at=None)
        .exclude(Exists(told))
        .select_related("supplier", "release")
        .annotate(first=Min("lots__slot__start_at"))
        .order_by("id")
    )
    for booking in bookings:
        owe(
            kind=Notice.Kind.CARRIED_OVER,
            subject_key=f"booking:{booking.reference}:{booking.hubs}",
            addresses=people_of(supplier=booking.supplier),
            context={
                **of_release(release=booking.release),
                "supplier": booking.supplier.name,
                "reference": booking.reference,
                "hubs": booking.hubs,
                "begins": shown(booking.first),
                "booking_url": address_of("scheduling:booking", booking.reference),
            },
            now=now,
            supplier=booking.supplier,
        )
    return len(bookings)
