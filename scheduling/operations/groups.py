"""Keep saved groups of hubs. Every act is in the audit, and the number of a group's hubs stays right."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import IO, TYPE_CHECKING

from django.db import connection, transaction

from hubs import queries as fleet
from hubs.identifiers import Kind
from hubs.models import SHOWN, CommunicationsHub, Supplier
from hubs.queries import Filters
from portal.ground import audit, sql
from scheduling import sheets
from scheduling.eligibility import Refusal
from scheduling.models import HubGroup, ProtectedWindow
from scheduling.operations import windows as protection
from scheduling.queries import groups
from scheduling.queries.caps import Cap
from scheduling.sheets import Layout, SheetRow

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from portal.models import User

MOST_ROWS = 100_000
"""Rows of one list; a larger group is made from several, or by a filter."""
NAME_LENGTH = 80


class UnableToGroup(Exception):
    """The group is as it was; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row of a list as it was written, and why it names no hub to take."""

    cells: Sequence[str]
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the hubs that were named."""

    changed: int
    """Hubs that were added, or taken out."""
    unchanged: int = 0
    """Hubs that were in the group already, or not in it."""
    rows: int = 0
    """Rows of the list."""
    refused: Sequence[RefusedRow] = ()
    layout: Layout = field(default=Layout(sheets.Format.CSV, ",", 0, None, 0))
    """How the list was laid out, for its refused rows to go back in the same form."""


@transaction.atomic(durable=True)
def make(
    *, supplier: Supplier, name: str, hubs: IO[bytes] | Filters, by: "User", now: datetime
) -> tuple[HubGroup, Outcome]:
    """
    Make a group of the hubs that a list names by CHF ID, MPAN or MPRN, or of all that a filter shows.

    :raises UnableToGroup: if there are too many groups or hubs, if the name is taken, or if no hub is left
    """
    _lock(supplier)
    if groups.of_supplier(supplier=supplier).count() >= groups.MOST_GROUPS:
        raise UnableToGroup(
            f"You keep {groups.MOST_GROUPS} groups, and that is the most. Delete one that you no longer need."
        )
    group = HubGroup(
        supplier=supplier,
        name=_free_name(supplier, name),
        made_by=by,
        created_at=now,
        changed_at=now,
    )
    group.save(force_insert=True)
    outcome = _join(group, hubs, now)
    if not outcome.changed:
        raise UnableToGroup(
            "None of the rows names a hub of yours, so there would be nothing in the group. Check them against your "
            "inventory."
            if outcome.rows
            else "No hub of yours matches, so there would be nothing in the group."
        )
    _record("group.made", group, by, now, outcome)
    return group, outcome


@transaction.atomic(durable=True)
def add(*, group: HubGroup, hubs: IO[bytes] | Filters, by: "User", now: datetime) -> Outcome:
    """
    Add the hubs that a list names, or all that a filter shows, to a group.

    :raises UnableToGroup: if the list cannot be read, if there would be too many hubs, or if the group's hard windows
        would cover more of a release's period than they may for one of them
    """
    group = _locked(group)
    outcome = _join(group, hubs, now)
    _record("group.extended", group, by, now, outcome)
    return outcome


@transaction.atomic(durable=True)
def take_out(*, group: HubGroup, hubs: IO[bytes], by: "User", now: datetime) -> Outcome:
    """
    Take the hubs that a list names out of a group.

    :raises UnableToGroup: if the list cannot be read
    """
    group = _locked(group)
    named = _read(group.supplier, hubs)
    gone = sql.run(LEAVE, {"group": group.pk, "hubs": named.hubs})
    outcome = Outcome(gone, len(named.hubs) - gone, named.rows, named.refused, named.layout)
    _recount(group, now)
    _record("group.reduced", group, by, now, outcome)
    return outcome


@transaction.atomic(durable=True)
def rename(*, group: HubGroup, name: str, by: "User", now: datetime) -> None:
    """
    Give a group another name.

    :raises UnableToGroup: if the Supplier has a group of that name
    """
    group = _locked(group)
    before, group.name = group.name, _free_name(group.supplier, name, but=group.pk)
    group.changed_at = now
    group.save(update_fields=["name", "changed_at"])
    audit.record(
        actor=by,
        verb="group.renamed",
        subject=f"group:{group.pk}",
        facts={"supplier": group.supplier_id, "before": before, "after": group.name},
        now=now,
    )


@transaction.atomic(durable=True)
def volunteer(*, group: HubGroup, is_pilot: bool, by: "User", now: datetime) -> None:
    """
    Volunteer a group's hubs as pilots, or take that back; what was chosen for a first stage by then stays chosen.

    :raises UnableToGroup: if the group is gone
    """
    group = _locked(group)
    if group.is_pilot == is_pilot:
        return
    group.is_pilot, group.changed_at = is_pilot, now
    group.save(update_fields=["is_pilot", "changed_at"])
    audit.record(
        actor=by,
        verb="group.volunteered" if is_pilot else "group.withdrawn",
        subject=f"group:{group.pk}",
        facts={"supplier": group.supplier_id, "name": group.name, "hubs": group.hubs},
        now=now,
    )


@transaction.atomic(durable=True)
def delete(*, group: HubGroup, by: "User", now: datetime) -> None:
    """
    Delete a group, and with it the windows on it that are over; the hubs are left as they are.

    :raises UnableToGroup: while a protected window stands on it
    """
    group = _locked(group)
    if standing := groups.windows_on(group=group, now=now):
        raise UnableToGroup(
            f"{'A protected window stands' if standing == 1 else f'{standing:,} protected windows stand'} on "
            f"“{group.name}”. Delete {'it' if standing == 1 else 'them'} first, or choose other hubs for "
            f"{'it' if standing == 1 else 'them'}."
        )
    for window in ProtectedWindow.objects.filter(group=group).order_by("id"):
        protection.remove(window=window, by=by, now=now)
    _record("group.deleted", group, by, now, Outcome(group.hubs))
    group.delete()


# -- one group -----------------------------------------------------------------------------------------------


def _lock(supplier: Supplier) -> None:
    """Let a Supplier's groups and windows change one at a time, so that neither passes a limit beside the other."""
    Supplier.objects.select_for_update(no_key=True).get(pk=supplier.pk)


def _locked(group: HubGroup) -> HubGroup:
    _lock(group.supplier)
    try:
        return HubGroup.objects.select_related("supplier").get(pk=group.pk)
    except HubGroup.DoesNotExist as error:
        raise UnableToGroup("The group was deleted meanwhile. Look at your list of groups.") from error


def _free_name(supplier: Supplier, name: str, but: int | None = None) -> str:
    name = " ".join(name.split())
    if not name or len(name) > NAME_LENGTH:
        raise UnableToGroup(f"Give the group a name of at most {NAME_LENGTH} characters.")
    if groups.of_supplier(supplier=supplier).filter(name__iexact=name).exclude(pk=but or 0).exists():
        raise UnableToGroup(f"You have a group called “{name}” already. Choose another name.")
    return name


def _record(verb: str, group: HubGroup, by: "User", now: datetime, outcome: Outcome) -> None:
    audit.record(
        actor=by,
        verb=verb,
        subject=f"group:{group.pk}",
        facts={
            "supplier": group.supplier_id,
            "name": group.name,
            "hubs": group.hubs,
            "changed": outcome.changed,
            "refused": len(outcome.refused),
        },
        now=now,
    )


# -- its hubs ------------------------------------------------------------------------------------------------

# Raw SQL: a group can hold a million hubs.
JOIN = """
INSERT INTO scheduling_groupedhub (group_id, hub) SELECT %(group)s, unnest(%(hubs)s::bigint[])
ON CONFLICT (group_id, hub) DO NOTHING
"""
JOIN_THOSE_OF = """
INSERT INTO scheduling_groupedhub (group_id, hub) SELECT %s, chf_id FROM ({hubs}) shown ORDER BY chf_id
ON CONFLICT (group_id, hub) DO NOTHING
"""
LEAVE = "DELETE FROM scheduling_groupedhub WHERE group_id = %(group)s AND hub = ANY (%(hubs)s)"
TIDY = """
DELETE FROM scheduling_groupedhub member WHERE member.group_id = %(group)s AND NOT EXISTS (
    SELECT FROM hubs_communicationshub hub WHERE hub.chf_id = member.hub AND hub.status = ANY (%(shown)s)
      AND (hub.lead_id = %(supplier)s OR hub.other_id = %(supplier)s))
"""
COUNT = "SELECT count(*) FROM scheduling_groupedhub WHERE group_id = %(group)s"


def _join(group: HubGroup, hubs: IO[bytes] | Filters, now: datetime) -> Outcome:
    if isinstance(hubs, Filters):
        shown = fleet.matching(supplier=group.supplier, filters=hubs)
        _within_the_cap(group, shown, now)
        outcome = Outcome(_join_those_of(group, shown))
    else:
        named = _read(group.supplier, hubs)
        _within_the_cap(group, fleet.by_ids(supplier=group.supplier, chf_ids=named.hubs), now)
        came = sql.run(JOIN, {"group": group.pk, "hubs": named.hubs})
        outcome = Outcome(came, len(named.hubs) - came, named.rows, named.refused, named.layout)
    _recount(group, now)
    if group.hubs > groups.MOST_HUBS:
        raise UnableToGroup(_too_large())
    return outcome


def _join_those_of(group: HubGroup, shown: "QuerySet[CommunicationsHub]") -> int:
    most = shown.order_by("chf_id").values("chf_id")[: groups.MOST_HUBS + 1]
    statement, parameters = most.query.sql_with_params()
    with_group = JOIN_THOSE_OF.format(hubs=statement)
    with connection.cursor() as cursor:
        cursor.execute(with_group, [group.pk, *parameters])
        came: int = cursor.rowcount
    return came


def _too_large() -> str:
    return (
        f"The group would hold more than {groups.MOST_HUBS:,} hubs, the most that one can. Choose fewer, or make a "
        "second group."
    )


def _within_the_cap(group: HubGroup, hubs: "QuerySet[CommunicationsHub]", now: datetime) -> None:
    if not ProtectedWindow.objects.filter(group=group, is_hard=True).exists():
        return
    coming = list(hubs.values_list("chf_id", flat=True)[: groups.MOST_HUBS + 1])
    if len(coming) > groups.MOST_HUBS:
        raise UnableToGroup(_too_large())
    excess = Cap(supplier=group.supplier, now=now).joined(group=group.pk, hubs=coming)
    if excess:
        raise UnableToGroup(
            f"Hard windows stand on this group. With these hubs in it, {excess.sentence} Make those windows shorter "
            "or soft first, or leave out the hubs that other windows concern."
        )


def _recount(group: HubGroup, now: datetime) -> None:
    """Take out what is no longer the Supplier's to see, and count what is left."""
    sql.run(
        TIDY,
        {"group": group.pk, "supplier": group.supplier_id, "shown": [int(status) for status in SHOWN]},
    )
    group.hubs = sql.rows(COUNT, {"group": group.pk})[0][0]
    group.changed_at = now
    group.save(update_fields=["hubs", "changed_at"])


# -- lists ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Named:
    hubs: Sequence[int]
    rows: int
    refused: Sequence[RefusedRow]
    layout: Layout


def _read(supplier: Supplier, file: IO[bytes]) -> _Named:
    """
    Read which of the Supplier's hubs a list names; its good rows are taken, each other one is refused.

    :raises UnableToGroup: if it is no table of rows, holds none, or too many
    """
    try:
        layout = sheets.look(file=file)
        rows = list(islice(sheets.rows(file=file, layout=layout), MOST_ROWS + 1))
    except sheets.UnreadableFile as fault:
        raise UnableToGroup(str(fault)) from fault
    if len(rows) > MOST_ROWS:
        raise UnableToGroup(
            f"The list has more than {MOST_ROWS:,} rows. Take the first {MOST_ROWS:,} now and the others afterwards, "
            "or choose the hubs by a filter."
        )
    if not rows:
        raise UnableToGroup("The list holds no rows. Give one CHF ID, MPAN or MPRN per row.")
    hubs, refused = _judge(supplier, rows, layout.column)
    return _Named(sorted(hubs), len(rows), refused, layout)


def _judge(supplier: Supplier, rows: Sequence[SheetRow], column: int) -> tuple[set[int], list[RefusedRow]]:
    verdicts: dict[int, Refusal] = {}
    asked: list[tuple[int, tuple[Kind, int]]] = []
    for place, row in enumerate(rows):
        found = sheets.identify(cell=row.cells[column] if column < len(row.cells) else "")
        if row.is_cut:
            verdicts[place] = Refusal.TOO_LONG
        elif found.kind is None or found.number is None:
            verdicts[place] = found.refusal or Refusal.UNREADABLE
        else:
            asked.append((place, (found.kind, found.number)))
    answers = fleet.identified(supplier=supplier, named=[identifier for _, identifier in asked])
    hubs: set[int] = set()
    for (place, _), (hub, number) in zip(asked, answers, strict=True):
        if hub is None:
            verdicts[place] = Refusal.NOT_FOUND
        elif number > 1:
            verdicts[place] = Refusal.SEVERAL_HUBS
        elif hub in hubs:
            verdicts[place] = Refusal.REPEATED
        else:
            hubs.add(hub)
    return hubs, [RefusedRow(rows[place].cells, refusal) for place, refusal in sorted(verdicts.items())]
