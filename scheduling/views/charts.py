"""Pictures in the words of the pages, and the files with the same numbers."""

from collections.abc import Mapping, Sequence
from datetime import date

from django.http import StreamingHttpResponse
from django.utils.text import slugify

from firmware.models import FirmwareRelease
from portal.ground.charts import Chart, Row, Series
from portal.ground.downloads import csv_response
from scheduling.lifecycle import State
from scheduling.queries import outcomes
from scheduling.queries.control_room import Cell
from scheduling.queries.outcomes import Rollout


def day_words(day: date) -> str:
    """Write a day as the axis of a picture has room for it."""
    return f"{day:%-d %b %Y}"


def share_words(hubs: int, of: int) -> str:
    """Say how many hubs, and which part of all."""
    return f"{hubs:,} ({100 * hubs / of:.1f} %)" if of else f"{hubs:,}"


def rollout_chart(*, rollout: Rollout, key: str, address: str) -> Chart | None:
    """Draw how a release went over time, in the whole country; None where nothing was commanded yet."""
    if not rollout.steps:
        return None
    each = "week" if rollout.is_weekly else "day"
    return Chart(
        key=f"rollout-{key}",
        title=f"Hubs commanded, succeeded and bad, by {each}",
        first=f"{each.capitalize()} of the slot{', from' if rollout.is_weekly else ''}",
        unit="hubs",
        series=(
            Series("Commanded", "portal-calm", "stripes", "line"),
            Series("Succeeded", "state-succeeded", "solid"),
            Series("Bad", "state-failed", "crossed"),
            Series("No outcome yet", "portal-still", "dots"),
        ),
        rows=[
            Row(day_words(step.day), (step.commanded, step.succeeded, step.bad, step.waiting))
            for step in rollout.steps
        ],
        address=address,
        note="All Suppliers together, by the day (UK) on which the slot begins. Bad hubs failed or stayed unconfirmed;"
        " one that is silent has no outcome until it has been read back.",
        stacked=True,
    )


def rollout_response(*, release: FirmwareRelease) -> StreamingHttpResponse:
    """Answer with the numbers of that picture, a header alone where nothing was commanded yet."""
    rollout = outcomes.rollout(release=release.pk)
    chart = rollout_chart(rollout=rollout, key="", address="")
    return csv_response(
        name=f"rollout-{slugify(release.cpl_entry_id)}.csv",
        header=chart.header if chart else ["Day of the slot"],
        rows=chart.lines if chart else [],
    )


OUTCOMES: Mapping[State, Series] = {
    State.SUCCEEDED: Series("Succeeded", "state-succeeded", "solid"),
    State.FAILED: Series("Failed", "state-failed", "crossed"),
    State.UNCONFIRMED: Series("Unconfirmed", "state-unconfirmed", "stripes"),
    State.MISSED: Series("Missed", "portal-still", "dots"),
    State.ACTIVATING: Series("No outcome yet", "portal-calm", "outline"),
}
"""Each outcome as all pictures draw it."""


def outcomes_chart(
    *,
    key: str,
    title: str,
    first: str,
    counts: Sequence[tuple[str, Mapping[State, int]]],
    address: str,
    states: Sequence[State] = tuple(OUTCOMES),
) -> Chart:
    """Draw what became of hubs, line by line, as shares of each line's hubs; the table has the hubs as well."""
    return Chart(
        key=key,
        title=title,
        first=first,
        unit="% of the hubs",
        series=[OUTCOMES[state] for state in states],
        rows=[
            Row(
                word,
                [round(100 * by_state[state] / total, 2) for state in states],
                [share_words(by_state[state], total) for state in states],
            )
            for word, by_state in counts
            if (total := sum(by_state[state] for state in states))
        ],
        address=address,
        stacked=True,
        lies=True,
        most=100,
    )


COMMANDED = (State.SUCCEEDED, State.FAILED, State.UNCONFIRMED, State.ACTIVATING)
"""What becomes of hubs once they were commanded to activate."""


def cells_chart(*, cells: Sequence[Cell], key: str, address: str) -> Chart | None:
    """Draw what became of the commanded hubs of each model on each network; None where there are none."""
    counts = [
        (
            f"{cell.model}, {cell.network}",
            {
                State.SUCCEEDED: cell.outcomes.succeeded,
                State.FAILED: cell.outcomes.failed,
                State.UNCONFIRMED: cell.outcomes.unconfirmed,
                State.ACTIVATING: cell.outcomes.in_flight,
            },
        )
        for cell in cells
        if cell.outcomes.activated
    ]
    if not counts:
        return None
    return outcomes_chart(
        key=f"outcomes-{key}",
        title="Outcomes of the hubs commanded to activate, by model and network",
        first="Hub model and network",
        counts=counts,
        address=address,
        states=COMMANDED,
    )


def cells_response(*, release: FirmwareRelease, cells: Sequence[Cell]) -> StreamingHttpResponse:
    """Answer with what became of the hubs of each model on each network."""
    columns = ("activated", "waiting", "silent", "succeeded", "failed", "unconfirmed", "failed_before")
    return csv_response(
        name=f"outcomes-{slugify(release.cpl_entry_id)}.csv",
        header=("Hub model", "Network", *(column.replace("_", " ").capitalize() for column in columns)),
        rows=(
            (cell.model, cell.network, *(str(getattr(cell.outcomes, column)) for column in columns))
            for cell in cells
        ),
    )
