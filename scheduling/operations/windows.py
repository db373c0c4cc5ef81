"""Keep and lift protected windows; record what DCC closes."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction

from hubs import queries as fleet
from hubs.models import Supplier
from portal.ground import audit, sql
from portal.ground.uk_time import LONDON
from scheduling.models import HubGroup, ProtectedWindow
from scheduling.queries import windows
from scheduling.queries.caps import Cap

if TYPE_CHECKING:
    from portal.models import User

Scope = ProtectedWindow.Scope
LIST = "INSERT INTO scheduling_protectedhub (window_id, hub) SELECT %(window)s, unnest(%(hubs)s::bigint[])"
"""Raw SQL: a list can name a hundred thousand hubs."""


BATCH = 1_000


class UnableToProtect(Exception):
    """No window was kept; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A window that says all but whose it is, and the CHF IDs of its list, where it has one."""

    window: ProtectedWindow
    hubs: Collection[int] = ()


@transaction.atomic(durable=True)
def protect(
    *, window: ProtectedWindow, supplier: Supplier, hubs: Collection[int], by: "User", now: datetime
) -> ProtectedWindow:
    """
    Keep a window that says all but whose it is; `hubs` are the CHF IDs of its list, where it has one.

    :raises UnableToProtect: if it is over already, if a listed hub or the group is not the Supplier's, or if hard
        windows would cover more of a release's period than they may
    """
    return keep(window=window, supplier=supplier, hubs=hubs, by=by, now=now)


def keep(
    *, window: ProtectedWindow, supplier: Supplier, hubs: Collection[int], by: "User", now: datetime
) -> ProtectedWindow:
    """
    Do as `protect` does, in the caller's transaction.

    :raises UnableToProtect: as `protect` does, before anything is written
    """
    desk = _Desk(supplier=supplier, by=by, now=now)
    desk.keep(Wish(window, hubs))
    desk.finish()
    return window


@transaction.atomic(durable=True)
def protect_many(*, wishes: Iterable[Wish], supplier: Supplier, by: "User", now: datetime) -> list[str]:
    """
    Keep each of these windows that can be kept, one after the other, as `protect` would.

    Returns for each why it was not kept; nothing where it was.
    """
    desk = _Desk(supplier=supplier, by=by, now=now)
    reasons = []
    for wish in wishes:
        try:
            desk.keep(wish)
        except UnableToProtect as refusal:  # said before anything is written
            reasons.append(str(refusal))
        else:
            reasons.append("")
    desk.finish()
    return reasons


@transaction.atomic(durable=True)
def change(*, window: ProtectedWindow, wish: Wish, by: "User", now: datetime) -> ProtectedWindow:
    """
    Make a window what another one says, under the same checks as a new one; the audit has both.

    :raises UnableToProtect: if it was deleted meanwhile, or as `protect` does
    """
    desk = _Desk(supplier=window.supplier, by=by, now=now, without=window.pk)
    before = windows.of_supplier(supplier=window.supplier).filter(pk=window.pk).first()
    if before is None:
        raise UnableToProtect("This window was deleted meanwhile. Keep a new one.")
    return desk.change(before, wish)


class _Desk:
    """Judges windows of one Supplier one at a time, and keeps them, in the caller's transaction."""

    def __init__(self, *, supplier: Supplier, by: "User", now: datetime, without: int | None = None) -> None:
        # one desk at a time for each Supplier, so that two windows cannot pass the cap together
        Supplier.objects.select_for_update(no_key=True).get(pk=supplier.pk)
        self._supplier, self._by, self._now = supplier, by, now
        self._cap = Cap(supplier=supplier, now=now, without=without)
        standing = list(windows.not_over(supplier=supplier, now=now).exclude(pk=without or 0))
        self._of_single_hubs = sum(window.is_of_single_hubs for window in standing)
        self._standing = {_content(window) for window in standing}
        self._kept: list[ProtectedWindow] = []

    def keep(self, wish: Wish) -> None:
        """
        Keep a new window; it is not in the database until the desk has `finish`ed.

        :raises UnableToProtect: before anything is written
        """
        window, listed = wish.window, _listed(wish)
        window.supplier, window.made_by, window.created_at = self._supplier, self._by, self._now
        window.hubs = len(listed)
        self._judge(window, listed)
        if listed:  # hubs are found by the lists that they are in
            window.save(force_insert=True)
        self._count(window, listed)
        self._kept.append(window)

    def finish(self) -> None:
        """Write what is kept, and the record of it."""
        ProtectedWindow.objects.bulk_create(
            [window for window in self._kept if window._state.adding], batch_size=BATCH
        )
        audit.record_many(
            actor=self._by,
            verb="window.kept",
            decisions=[
                audit.Decision(
                    f"window:{window.pk}", window.reason, {"supplier": self._supplier.pk, **_facts(window)}
                )
                for window in self._kept
            ],
            now=self._now,
        )

    def change(self, before: ProtectedWindow, wish: Wish) -> ProtectedWindow:
        """
        Put a window into the place of the one before.

        :raises UnableToProtect: before anything is written
        """
        window, listed = wish.window, _listed(wish)
        window.pk, window.supplier = before.pk, before.supplier
        window.made_by, window.created_at = before.made_by, before.created_at
        window.hubs = len(listed)
        self._judge(window, listed)
        window.save(force_update=True)
        window.listed.all().delete()
        self._count(window, listed)
        audit.record(
            actor=self._by,
            verb="window.changed",
            subject=f"window:{window.pk}",
            reason=window.reason,
            facts={"supplier": self._supplier.pk, "before": _facts(before), "after": _facts(window)},
            now=self._now,
        )
        return window

    def _judge(self, window: ProtectedWindow, listed: Collection[int]) -> None:
        if window.end_at and window.end_at <= self._now:
            raise UnableToProtect("This window is over already. Choose a later end.")
        if window.valid_until and window.valid_until < self._now.astimezone(LONDON).date():
            raise UnableToProtect("The last day of this window has passed. Choose a later one.")
        if window.scope != Scope.HUBS and _content(window) in self._standing:
            raise UnableToProtect("You keep this very window already.")
        if (
            window.scope == Scope.GROUP
            and not HubGroup.objects.filter(pk=window.group_id or 0, supplier=self._supplier).exists()
        ):
            raise UnableToProtect("There is no such group any more. Choose other hubs.")
        if window.is_of_single_hubs and self._of_single_hubs >= windows.MOST_OF_SINGLE_HUBS:
            raise UnableToProtect(
                f"You keep {windows.MOST_OF_SINGLE_HUBS} windows for payment modes, groups and lists, and that is the "
                "most. Delete one, or put the hubs of several lists into one."
            )
        if window.scope == Scope.HUBS:
            own = fleet.by_ids(supplier=self._supplier, chf_ids=listed).count()
            if not listed:
                raise UnableToProtect("The list names no hub.")
            if own < len(listed):
                raise UnableToProtect(
                    f"{len(listed) - own:,} of the {len(listed):,} hubs in the list are not among yours. Check their "
                    "CHF IDs against your inventory."
                )
        if window.is_hard and (excess := self._cap.excess(window=window, hubs=listed)):
            raise UnableToProtect(f"With this window, {excess.sentence} Make it shorter, or soft.")

    def _count(self, window: ProtectedWindow, listed: Collection[int]) -> None:
        if listed:
            sql.run(LIST, {"window": window.pk, "hubs": sorted(listed)})
        self._of_single_hubs += window.is_of_single_hubs
        self._standing.add(_content(window))
        if window.is_hard:
            self._cap.add(window=window)


def _listed(wish: Wish) -> set[int]:
    return set(wish.hubs) if wish.window.scope == Scope.HUBS else set()


CONTENT = (
    *("kind", "is_hard", "reason", "start_at", "end_at", "weekdays", "starts", "ends", "valid_from"),
    *("valid_until", "scope", "network_id", "payment_mode", "group_id"),
)
"""What makes two windows the same one; but for lists, which are not compared."""


def _content(window: ProtectedWindow) -> tuple[Any, ...]:
    return tuple(getattr(window, name) for name in CONTENT)


def _facts(window: ProtectedWindow) -> dict[str, Any]:
    return {
        "kind": window.kind,
        "scope": window.scope,
        "who": windows.who(window=window),
        "hubs": window.hubs,
        "is_hard": window.is_hard,
        "when": windows.when(window=window),
        "reason": window.reason,
    }


@transaction.atomic(durable=True)
def lift(*, window: ProtectedWindow, by: "User", now: datetime) -> None:
    """Delete a window, which opens what it closed; the audit keeps what it was."""
    remove(window=window, by=by, now=now)


def remove(*, window: ProtectedWindow, by: "User", now: datetime) -> None:
    """Do as `lift` does, in the caller's transaction."""
    audit.record(
        actor=by,
        verb="window.lifted",
        subject=f"window:{window.pk}",
        reason=window.reason,
        facts={"supplier": window.supplier_id, **_facts(window)},
        now=now,
    )
    window.delete()
