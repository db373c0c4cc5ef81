"""A Supplier's saved groups of hubs: what there is, what stands on them, and the hubs of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, QuerySet

from hubs.models import SHOWN, CommunicationsHub, Supplier
from portal.ground import sql
from scheduling.models import HubGroup
from scheduling.queries import windows
from scheduling.queries.standings import Choice

MOST_GROUPS = 200
"""Groups that a Supplier can keep: every page that offers them lists them all."""
MOST_HUBS = 1_000_000
"""Hubs of one group."""


def of_supplier(*, supplier: Supplier) -> QuerySet[HubGroup]:
    """Return a Supplier's groups, by name."""
    return HubGroup.objects.filter(supplier=supplier).select_related("made_by").order_by("name", "id")


def choices(*, supplier: Supplier) -> list[Choice]:
    """Return the Supplier's groups as values to filter by, each with its number of hubs."""
    return [Choice(group.pk, group.name, group.hubs) for group in of_supplier(supplier=supplier)]


def windows_on(*, group: HubGroup, now: datetime) -> int:
    """Count the protected windows that stand on a group: those that are on or still to come."""
    return windows.not_over(supplier=group.supplier, now=now).filter(group=group).count()


def windows_by_group(*, supplier: Supplier, now: datetime) -> dict[int, int]:
    """Return by group id how many protected windows stand on each group that has any."""
    standing = windows.not_over(supplier=supplier, now=now).filter(group__isnull=False)
    return dict(standing.order_by().values_list("group").annotate(Count("id")))


# Raw SQL: the ORM cannot join by a column that is no foreign key, and a page must not look through a whole group.
MEMBERS = """
SELECT member.hub FROM scheduling_groupedhub member JOIN hubs_communicationshub hub ON hub.chf_id = member.hub
WHERE member.group_id = %(group)s AND member.hub {beyond} %(key)s
  AND hub.status = ANY (%(shown)s) AND (hub.lead_id = %(supplier)s OR hub.other_id = %(supplier)s)
ORDER BY member.hub {order} LIMIT %(limit)s
"""
FORWARDS = MEMBERS.format(beyond=">=", order="ASC")
BACKWARDS = MEMBERS.format(beyond="<", order="DESC")
FIRST = -(2**63)


@dataclass(frozen=True, slots=True)
class MembersPage:
    """Some hubs of a group in the order of their CHF IDs, and the keys of the pages beside it, where there are any."""

    hubs: Sequence[CommunicationsHub]
    next_from: int | None
    previous_before: int | None


def members(
    *, group: HubGroup, start: int | None = None, before: int | None = None, limit: int
) -> MembersPage:
    """
    Return the hubs of a group from the CHF ID `start` on, or those that come before `before`, or the first ones.

    A hub that is no longer the Supplier's to see is left out.
    """
    terms = {"group": group.pk, "supplier": group.supplier_id, "shown": [int(status) for status in SHOWN]}

    def keys(statement: str, key: int, most: int) -> list[int]:
        return [hub for (hub,) in sql.rows(statement, {**terms, "key": key, "limit": most})]

    if before is not None:
        found = sorted(keys(BACKWARDS, before, limit))
    else:
        found = keys(FORWARDS, FIRST if start is None else start, limit)
    following = (
        keys(FORWARDS, found[-1] + 1, 1) if len(found) == limit or (before is not None and found) else []
    )
    earlier = keys(BACKWARDS, found[0], 1) if found else []
    hubs = (
        CommunicationsHub.objects.filter(chf_id__in=found)
        .select_related("network", "model", "installed_version")
        .order_by("chf_id")
    )
    return MembersPage(list(hubs), following[0] if following else None, found[0] if earlier else None)
