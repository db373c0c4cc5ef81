"""What a Supplier's people have exported."""

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db.models import QuerySet

from hubs.models import Supplier
from scheduling.models import Export

if TYPE_CHECKING:
    from portal.models import User

KEPT: Final = timedelta(days=7)
"""For so long a file lies ready."""
OPEN: Final = (Export.State.WAITING, Export.State.RUNNING)


def of_supplier(*, supplier: Supplier) -> QuerySet[Export]:
    """Return a Supplier's exports, newest first."""
    return Export.objects.filter(supplier=supplier).select_related("asked_by").order_by("-id")


def of_person(*, supplier: Supplier, person: "User", limit: int) -> list[Export]:
    """Return the latest exports of a person, newest first."""
    return list(of_supplier(supplier=supplier).filter(asked_by=person)[:limit])


def ahead_of(*, export: Export) -> int:
    """Count those that are written before a waiting one: one is written at a time, in the order of asking."""
    return Export.objects.filter(state__in=OPEN, pk__lt=export.pk).count()
