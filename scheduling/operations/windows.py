"""Keep and lift protected windows; record what DCC closes."""

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction

from hubs import queries as fleet
from hubs.models import Supplier
from portal.ground import audit, sql
from scheduling.models import Incident, Maintenance, ProtectedWindow
from scheduling.queries import windows

if TYPE_CHECKING:
    from portal.models import User

LIST = "INSERT INTO scheduling_protectedhub (window_id, hub) SELECT %(window)s, unnest(%(hubs)s::bigint[])"
"""Raw SQL: a list can name a hundred thousand hubs."""


class UnableToProtect(Exception):
    """No window was kept; the message says why and what to do."""


@transaction.atomic(durable=True)
def protect(
    *, window: ProtectedWindow, supplier: Supplier, hubs: Collection[int], by: "User", now: datetime
) -> ProtectedWindow:
    """
    Keep a window that says all but whose it is; `hubs` are the CHF IDs of its list, where it has one.

    :raises UnableToProtect: if it is over already, if a listed hub is not the Supplier's, or if hard windows would
        cover more of a release's period than they may
    """
    # one at a time for each Supplier, so that two windows cannot pass the cap together
    Supplier.objects.select_for_update(no_key=True).get(pk=supplier.pk)
    window.supplier, window.made_by, window.created_at = supplier, by, now
    listed = set(hubs) if window.scope == ProtectedWindow.Scope.HUBS else set()
    window.hubs = len(listed)
    if window.end_at and window.end_at <= now:
        raise UnableToProtect("This window is over already. Choose a later end.")
    if window.scope == ProtectedWindow.Scope.HUBS:
        own = fleet.by_ids(supplier=supplier, chf_ids=listed).count()
        if not listed:
            raise UnableToProtect("The list names no hub.")
        if own < len(listed):
            raise UnableToProtect(
                f"{len(listed) - own:,} of the {len(listed):,} hubs in the list are not among yours. Check their CHF "
                "IDs against your inventory."
            )
    if window.is_of_single_hubs:
        standing = windows.not_over(supplier=supplier, now=now)
        if sum(one.is_of_single_hubs for one in standing) >= windows.MOST_OF_SINGLE_HUBS:
            raise UnableToProtect(
                f"You keep {windows.MOST_OF_SINGLE_HUBS} windows for payment modes and lists, and that is the most. "
                "Delete one, or put the hubs of several lists into one."
            )
    window.save(force_insert=True)
    if listed:
        sql.run(LIST, {"window": window.pk, "hubs": sorted(listed)})
    if window.is_hard and (excess := windows.excess(window=window, now=now)):
        raise UnableToProtect(
            f"With this window, hard windows would cover {excess.covered.total_seconds() / 3600:,.0f} hours of "
            f"{excess.period} for some of your hubs; at most half of its hours, "
            f"{excess.allowed.total_seconds() / 3600:,.0f}, can be. Make it shorter, or soft."
        )
    audit.record(
        actor=by,
        verb="window.kept",
        subject=f"window:{window.pk}",
        reason=window.reason,
        facts={
            "supplier": supplier.pk,
            "kind": window.kind,
            "scope": window.scope,
            "hubs": window.hubs,
            "is_hard": window.is_hard,
            "when": windows.when(window=window),
        },
        now=now,
    )
    return window


@transaction.atomic(durable=True)
def lift(*, window: ProtectedWindow, by: "User", now: datetime) -> None:
    """Delete a window, which opens what it closed; the audit keeps what it was."""
    audit.record(
        actor=by,
        verb="window.lifted",
        subject=f"window:{window.pk}",
        reason=window.reason,
        facts={"supplier": window.supplier_id, "when": windows.when(window=window)},
        now=now,
    )
    window.delete()


def record_closure(*, closure: Maintenance | Incident, verb: str, by: "User", now: datetime) -> None:
    """Put what DCC did with maintenance or an incident into the audit, in the caller's transaction."""
    audit.record(
        actor=by,
        verb=f"{closure._meta.model_name}.{verb}",
        subject=f"{closure._meta.model_name}:{closure.pk}",
        reason=closure.reason if isinstance(closure, Maintenance) else closure.summary,
        facts={"network": closure.network_id, "is": str(closure)},
        now=now,
    )
