"""A Supplier's saved groups of hubs: what there is, what stands on them, and the hubs of one."""

from datetime import datetime

from django.db.models import Count, QuerySet

from hubs.models import SHOWN, CommunicationsHub, Supplier
from portal.ground import sql
from scheduling.models import HubGroup
from scheduling.queries import keyset, windows
from scheduling.queries.keyset import Stretch
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
UPWARDS = MEMBERS.format(beyond=">", order="ASC")
DOWNWARDS = MEMBERS.format(beyond="<", order="DESC")


def members(
    *,
    group: HubGroup,
    after: int | None = None,
    before: int | None = None,
    is_descending: bool = False,
    limit: int,
) -> Stretch[CommunicationsHub, int]:
    """
    Return the hubs of a group that follow the CHF ID `after`, or that come before `before`, or the first ones.

    A hub that is no longer the Supplier's to see is left out.
    """
    terms = {"group": group.pk, "supplier": group.supplier_id, "shown": [int(status) for status in SHOWN]}

    def fetch(start: int | None, is_backwards: bool, most: int) -> list[CommunicationsHub]:
        goes_down = is_backwards != is_descending
        key = start if start is not None else 2**63 - 1 if goes_down else -(2**63)
        keys = sql.rows(DOWNWARDS if goes_down else UPWARDS, {**terms, "key": key, "limit": most})
        hubs = CommunicationsHub.objects.filter(chf_id__in=[hub for (hub,) in keys])
        return list(
            hubs.select_related("network", "model", "installed_version").order_by(
                "-chf_id" if goes_down else "chf_id"
            )
        )

    return keyset.stretch(fetch=fetch, key_of=lambda hub: hub.chf_id, after=after, before=before, limit=limit)
