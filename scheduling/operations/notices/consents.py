"""E-mails between the two Suppliers of shared hubs: asked, objected, moved, agreed by silence."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db.models import F, Sum

from hubs.models import Supplier
from scheduling.models import Booking, Consent, Notice, Objection
from scheduling.operations.notices.owing import address_of, of_release, owe, people_of, shown
from scheduling.queries import consents as questions


def owe_consent_asked(*, booking: Booking, now: datetime) -> None:
    """Ask each other Supplier about what the booking has asked of it at `now`; in the transaction that asks."""
    asked = (
        Consent.objects.filter(booking=booking, asked_at=now, state=Consent.State.ASKED)
        .select_related("supplier", "booking__supplier", "slot__network")
        .annotate(hubs=Sum(F("lots__size") - F("lots__cancelled")))
        .order_by("slot__start_at", "id")
    )
    by_supplier: dict[Supplier, list[Consent]] = {}
    for consent in asked:
        by_supplier.setdefault(consent.supplier, []).append(consent)
    for supplier, theirs in by_supplier.items():
        names = questions.asker_of(consents=theirs[:1])
        owe(
            kind=Notice.Kind.CONSENT_ASKED,
            # by the newest of them: a change of supplier asks batch by batch, all at one moment
            subject_key=_key(booking, f"{supplier.pk}:{max(consent.pk for consent in theirs)}"),
            addresses=people_of(supplier=supplier),
            context={
                **of_release(release=booking.release),
                "supplier": supplier.name,
                "reference": booking.reference,
                "asker": names[theirs[0].pk],
                "answer_by": shown(min(consent.answer_by for consent in theirs)),
                "is_explicit": any(consent.is_explicit for consent in theirs),
                "is_all_explicit": all(consent.is_explicit for consent in theirs),
                "consents_url": address_of("scheduling:consents"),
                **_parts(theirs),
            },
            now=now,
            supplier=supplier,
        )


def owe_consent_lapsed(*, booking: Booking, supplier: Supplier, answer_by: datetime, now: datetime) -> None:
    """Tell both sides that nobody answered what the booking had asked of a Supplier until `answer_by`."""
    lapsed = list(
        Consent.objects.filter(
            booking=booking, supplier=supplier, answer_by=answer_by, state=Consent.State.LAPSED
        )
        .select_related("supplier", "booking__supplier", "slot__network")
        .annotate(hubs=Sum(F("lots__size") - F("lots__cancelled")))
        .order_by("slot__start_at", "id")
    )
    sides = (
        (supplier, questions.asker_of(consents=lapsed[:1]), address_of("scheduling:consents"), True),
        (
            booking.supplier,
            questions.asked_of(consents=lapsed[:1]),
            address_of("scheduling:booking", booking.reference),
            False,
        ),
    )
    for reader, names, address, is_asked in sides:
        owe(
            kind=Notice.Kind.CONSENT_LAPSED,
            subject_key=_key(booking, f"{supplier.pk}:{answer_by.isoformat()}"),
            addresses=people_of(supplier=reader),
            context={
                **of_release(release=booking.release),
                "supplier": reader.name,
                "reference": booking.reference,
                "other": names[lapsed[0].pk],
                "is_asked": is_asked,
                "answer_by": shown(answer_by),
                "url": address,
                **_parts(lapsed),
            },
            now=now,
            supplier=reader,
        )


def owe_objected(*, objection: Objection, now: datetime) -> None:
    """Tell the Supplier that booked of an objection, and what became of the hubs; its page has the reason."""
    consent = objection.consent
    booking = consent.booking
    owe(
        kind=Notice.Kind.OBJECTED,
        subject_key=_key(booking, f"objection:{objection.pk}"),
        addresses=people_of(supplier=booking.supplier),
        context={
            **_of_booking(consent),
            "hubs": objection.hubs,
            "moved": objection.moved,
            "handed_back": objection.handed_back,
        },
        now=now,
        supplier=booking.supplier,
    )


def _of_booking(consent: Consent) -> dict[str, Any]:
    """Return what an e-mail to the Supplier that booked says of the booking and of the question."""
    booking = consent.booking
    return {
        **of_release(release=booking.release),
        "supplier": booking.supplier.name,
        "reference": booking.reference,
        "other": questions.asked_of(consents=[consent])[consent.pk],
        "slot": shown(consent.slot.start_at),
        "network": consent.slot.network.name,
        "booking_url": address_of("scheduling:booking", booking.reference),
    }


def _parts(asked: Sequence[Any]) -> dict[str, Any]:
    """Return the hubs of annotated questions, in all and slot by slot."""
    return {
        "hubs": sum(consent.hubs or 0 for consent in asked),
        "parts": [
            {
                "network": consent.slot.network.name,
                "shown": shown(consent.slot.start_at),
                "hubs": consent.hubs or 0,
            }
            for consent in asked
        ],
    }


def _key(booking: Booking, about: str) -> str:
    return f"booking:{booking.reference}:{about}"
