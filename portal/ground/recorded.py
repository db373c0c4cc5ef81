"""Tables that people of DCC edit in the admin, with everything that they do to them on record."""

from typing import Any, TypeVar

from django.contrib import admin
from django.db import transaction
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from portal.ground import audit, clock
from portal.ground.access import user_of

Row = TypeVar("Row", bound=Model)


class RecordedAdmin(admin.ModelAdmin[Row]):
    """A table whose rows are made, changed and deleted on record: by whom, and what they said before and after."""

    def save_model(self, request: HttpRequest, obj: Row, form: ModelForm[Row], change: bool) -> None:
        """Save, and record what is different."""
        before = (
            audit.columns(self.model._default_manager.select_for_update().get(pk=obj.pk)) if change else {}
        )
        super().save_model(request, obj, form, change)
        after = audit.columns(obj)
        changed = [name for name in after if before.get(name) != after[name]]
        if change and not changed:
            return
        self._record(
            request,
            obj,
            "changed" if change else "made",
            {
                **({"before": {name: before[name] for name in changed}} if change else {}),
                "after": {name: after[name] for name in changed},
            },
        )

    def delete_model(self, request: HttpRequest, obj: Row) -> None:
        """Record what it said, and delete it."""
        self._record(request, obj, "deleted", {"before": audit.columns(obj)})
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Row]) -> None:
        """Do so with each of several, or with none."""
        with transaction.atomic():
            for obj in queryset.order_by("pk"):
                self._record(request, obj, "deleted", {"before": audit.columns(obj)})
            super().delete_queryset(request, queryset)

    def reason_of(self, obj: Row) -> str:
        """Return the reason that a row gives for itself; most give none."""
        return ""

    def _record(self, request: HttpRequest, obj: Row, verb: str, facts: dict[str, Any]) -> None:
        name = obj._meta.model_name
        audit.record(
            actor=user_of(request),
            verb=f"{name}.{verb}",
            subject=f"{name}:{obj.pk}",
            reason=self.reason_of(obj),
            facts={"is": str(obj), **facts},
            now=clock.now(),
        )
