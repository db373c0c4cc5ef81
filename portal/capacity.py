"""Show DCC staff how far each network is kept back, booked and used, week by week, and by which Suppliers."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from portal.ground import clock
from portal.ground.access import user_of
from portal.ground.charts import Chart, Row, Series
from portal.ground.downloads import csv_response
from portal.ground.uk_time import LONDON
from scheduling.queries import capacity
from scheduling.queries.capacity import BookedBy, Week
from scheduling.views.charts import day_words

VIEW: Final = "scheduling.view_slot"
WEEKS: Final = 10
BEFORE: Final = 2
"""Weeks that are over and shown at first."""
NAMED: Final = 7
"""Suppliers that a picture names; the others are one part of it, and the file names all."""
PARTS = (
    Series("Used", "state-succeeded", "solid"),
    Series("Booked, not carried out", "portal-calm", "stripes"),
    Series("Kept back for DCC", "portal-still", "dots"),
    Series("Free", "portal-ink-quiet", "outline"),
)
LOOKS = (
    *(("state-activating", "solid"), ("state-provisional", "stripes"), ("state-unconfirmed", "dots")),
    *(("portal-calm", "crossed"), ("state-provisional", "solid"), ("state-unconfirmed", "stripes")),
    *(("state-activating", "dots"), ("state-succeeded", "crossed")),
)
"""What tells one Supplier from the next; neither colour nor filling is that of a neighbour."""


def _first_week(request: HttpRequest) -> date:
    """Return the Monday from which on one asks, or from before this week."""
    try:
        asked = date.fromisoformat(request.GET.get("from", ""))
    except ValueError:
        asked = clock.now().astimezone(LONDON).date() - timedelta(weeks=BEFORE)
    # as far as calendars reach, and no week further
    asked = min(max(asked, date(2000, 1, 3)), date(2200, 1, 6))
    return asked - timedelta(days=asked.weekday())


def _may(request: HttpRequest) -> None:
    if not user_of(request).has_perm(VIEW):
        raise PermissionDenied


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show some weeks of one network, or of all."""
    _may(request)
    first = _first_week(request)
    weeks, shares = capacity.weeks(first=first, number=WEEKS)
    networks = sorted({(week.network_id, week.network) for week in weeks}, key=lambda one: one[1])
    asked = request.GET.get("network", "")
    network = next((key for key, _ in networks if str(key) == asked), None)

    def address(*, start: date = first, of: int | None = network, name: str = "capacity") -> str:
        return f"{reverse(name)}?from={start:%Y-%m-%d}" + (f"&network={of}" if of is not None else "")

    shown = [week for week in weeks if network in (None, week.network_id)]
    drawn = (
        weeks_chart(shown, address(of=None, name="capacity-file")),
        shares_chart(
            [one for one in shares if network in (None, one.network_id)],
            sorted({week.week for week in shown}),
            address(of=None, name="capacity-shares"),
        ),
    )
    context = {
        **admin.site.each_context(request),
        "title": "Capacity",
        "as_of": clock.now(),
        "first": first,
        "last": first + timedelta(weeks=WEEKS, days=-1),
        "before": address(start=first - timedelta(weeks=WEEKS)),
        "after": address(start=first + timedelta(weeks=WEEKS)),
        "tabs": [
            ("All networks", address(of=None), network is None),
            *((name, address(of=key), key == network) for key, name in networks),
        ],
        "charts": [chart for chart in drawn if chart],
        "weeks": shown,
        "file": address(of=None, name="capacity-file"),
    }
    return render(request, "admin/capacity/page.html", context)


def weeks_chart(weeks: Sequence[Week], address: str) -> Chart | None:
    """Draw what each week's capacity is made of; None without weeks."""
    sums: dict[date, list[int]] = defaultdict(lambda: [0] * len(PARTS))
    for week in weeks:
        parts = (week.used, week.to_come, week.kept_back, week.free)
        sums[week.week] = [had + part for had, part in zip(sums[week.week], parts, strict=True)]
    if not sums:
        return None
    return Chart(
        key="capacity",
        title="Capacity by week",
        first="Week from",
        unit="hubs",
        series=PARTS,
        rows=[Row(day_words(week), sums[week]) for week in sorted(sums)],
        address=address,
        note="The four parts of a bar add up to the week's capacity.",
        stacked=True,
    )


def shares_chart(shares: Sequence[BookedBy], weeks: Sequence[date], address: str) -> Chart | None:
    """Draw what Suppliers booked in some weeks, the largest by name; None where nobody booked."""
    by_supplier: dict[str, int] = defaultdict(int)
    booked: dict[tuple[date, str], int] = defaultdict(int)
    for one in shares:
        by_supplier[one.supplier] += one.booked
        booked[one.week, one.supplier] += one.booked
    if not by_supplier:
        return None
    named = sorted(by_supplier, key=lambda name: (-by_supplier[name], name))
    named, others = (named, []) if len(named) <= NAMED + 1 else (named[:NAMED], named[NAMED:])
    series = [Series(name, colour, look) for name, (colour, look) in zip(named, LOOKS, strict=False)] + (
        [Series(f"{len(others)} others", "portal-still", "outline")] if others else []
    )
    return Chart(
        key="shares",
        title="Booked by each Supplier, by week",
        first="Week from",
        unit="hubs",
        series=series,
        rows=[
            Row(
                day_words(week),
                [
                    *(booked[week, name] for name in named),
                    *([sum(booked[week, name] for name in others)] if others else []),
                ],
            )
            for week in weeks
        ],
        address=address,
        stacked=True,
    )


@require_safe
def file(request: HttpRequest) -> StreamingHttpResponse:
    """Send the same weeks of every network as CSV."""
    _may(request)
    weeks, _ = capacity.weeks(first=_first_week(request), number=WEEKS)
    return csv_response(
        name="capacity.csv",
        header=(
            *("Week from", "Network", "Slots", "Capacity", "Reserve", "Booked", "Used"),
            *("Kept back for DCC", "Free"),
        ),
        rows=[
            (
                week.week.isoformat(),
                week.network,
                *(
                    str(number)
                    for number in (
                        *(week.slots, week.capacity, week.reserve, week.booked, week.used),
                        *(week.kept_back, week.free),
                    )
                ),
            )
            for week in weeks
        ],
    )


@require_safe
def shares_file(request: HttpRequest) -> StreamingHttpResponse:
    """Send what every Supplier has booked in the same weeks as CSV."""
    _may(request)
    _, shares = capacity.weeks(first=_first_week(request), number=WEEKS)
    return csv_response(
        name="capacity-shares.csv",
        header=("Week from", "Network", "Supplier", "Booked", "Used"),
        rows=[
            (one.week.isoformat(), one.network, one.supplier, str(one.booked), str(one.used))
            for one in shares
        ],
    )
