"""Seal the outcomes of lots that are over, so that nobody changes them unseen."""

from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import F

from portal.ground import audit
from scheduling.lifecycle import FINAL
from scheduling.models import Lot
from scheduling.queries import seals

SETTLED: Final = timedelta(days=1)
"""So long after its slot nothing about a lot that is over is still on its way."""
LOTS_AT_A_TIME: Final = 200


@transaction.atomic(durable=True)
def seal(*, now: datetime) -> int:
    """
    Seal lots of slots of more than a day ago that have no open hubs, some at a time; return how many.

    Their seals are one decision of the portal on record, to be checked by `scheduling.queries.seals.verify`.
    """
    over = sum((F(state.value) for state in FINAL[1:]), start=F(FINAL[0].value))
    lots = list(
        Lot.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(sealed_at=None, slot__end_at__lt=now - SETTLED, size=over)
        .order_by("pk")
        .values_list("pk", flat=True)[:LOTS_AT_A_TIME]
    )
    if not lots:
        return 0
    made = seals.of_lots(lots=lots)
    Lot.objects.filter(pk__in=lots).update(sealed_at=now)
    audit.record(
        actor=None,
        verb=seals.VERB,
        subject=seals.SUBJECT,
        now=now,
        facts={"hubs": sum(seal.hubs for seal in made.values()), "lots": made},
    )
    return len(lots)
