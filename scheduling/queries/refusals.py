"""
Every refused hub or row of a selection, as a stream.

Read in pages by key, so that a file of a million rows never lies in memory and no transaction stays open while
somebody's browser takes its time.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from hubs.identifiers import format_eui64
from portal.ground import sql
from scheduling.eligibility import Refusal
from scheduling.models import HubSelection, SelectionFile
from scheduling.queries import eligibility

PAGE = 5_000

ROWS = """
SELECT line, text, hub, refusal, is_doubtful FROM scheduling_selectionrow
WHERE selection_id = %(selection)s AND line > %(after)s ORDER BY line LIMIT %(limit)s
"""
# the same judgement as everywhere, over the hubs of one page
JUDGED = f"""
SELECT hub.chf_id, {eligibility.REFUSAL} AS refusal
FROM hubs_communicationshub hub {eligibility.OPEN_DEPLOYMENT}
WHERE hub.chf_id = ANY (%(hubs)s)
"""  # noqa: S608 - our own constants


class RefusedRow(NamedTuple):
    """A row as it was written, as a line of CSV, or a CHF ID, and why it cannot go."""

    text: str
    refusal: Refusal
    is_doubtful: bool = False

    @property
    def way_forward(self) -> str:
        """What can be done about it."""
        if self.is_doubtful:
            return f"{self.refusal.way_forward} Its check digits do not hold, so a digit may be mistyped."
        return self.refusal.way_forward


def layout(*, selection: HubSelection) -> SelectionFile:
    """Return how the file of a selection was laid out; without one, a plain list with a header of our own."""
    return SelectionFile.objects.filter(selection=selection).first() or SelectionFile(
        format="csv",
        delimiter=",",
        header=None if selection.method == HubSelection.Method.FILE else "CHF ID",
    )


def refused(*, selection: HubSelection, now: datetime) -> Iterator[RefusedRow]:
    """
    Yield each refused row of a file as it was written, in the file's order, or each refused hub's CHF ID in order,
    with its reason.
    """
    if selection.method == HubSelection.Method.FILE:
        yield from _of_file(selection, now)
    else:
        yield from _of_fleet(selection, now)


def _of_file(selection: HubSelection, now: datetime) -> Iterator[RefusedRow]:
    rules: dict[str, Any] = eligibility.rules(release=selection.release, supplier=selection.supplier, now=now)
    after = 0
    while rows := sql.rows(ROWS, {"selection": selection.pk, "after": after, "limit": PAGE}):
        hubs = [hub for _, _, hub, refusal, _ in rows if refusal is None and hub is not None]
        verdicts = dict(sql.rows(JUDGED, {**rules, "hubs": hubs}))
        for _, text, hub, refusal, is_doubtful in rows:
            # a hub that is not there is another Supplier's by now
            if (verdict := refusal or verdicts.get(hub, Refusal.NOT_FOUND)) is not None:
                yield RefusedRow(text, Refusal(verdict), is_doubtful)
        after = rows[-1][0]


def _of_fleet(selection: HubSelection, now: datetime) -> Iterator[RefusedRow]:
    hubs, parameters = eligibility.chosen_hubs(selection=selection, now=now)
    statement = f"""
        SELECT hub, refusal FROM ({hubs}) judged WHERE refusal IS NOT NULL AND hub > %(after)s
        ORDER BY hub LIMIT %(limit)s"""  # noqa: S608 - our own columns
    after = -(2**63)
    while rows := sql.rows(statement, {**parameters, "after": after, "limit": PAGE}):
        for hub, refusal in rows:
            yield RefusedRow(format_eui64(hub), Refusal(refusal))
        after = rows[-1][0]
