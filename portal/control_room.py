"""Show DCC staff how every rollout fares, what speaks against it, and where to halt it."""

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from firmware.operations import decisions
from portal.ground import clock
from portal.ground.access import user_of
from portal.ground.charts import Chart
from scheduling.queries import cohorts, control_room, controls, outcomes
from scheduling.queries.control_room import Health, Situation
from scheduling.queries.evidence import REFUSALS
from scheduling.views.charts import cells_chart, rollout_chart

EVERY_SECONDS = 5
"""How often the page asks for itself again."""


def pictures_of(situation: Situation, *, may_open: bool) -> list[Chart]:
    """Draw how a release went over time, and what became of its hubs by model and network, once there are any."""
    release = situation.release
    if not situation.national.activated:
        return []

    def address(name: str) -> str:
        return reverse(name, args=[release.pk]) if may_open else ""

    drawn = (
        rollout_chart(
            rollout=outcomes.rollout(release=release.pk),
            key=str(release.pk),
            address=address("rollout-file"),
        ),
        cells_chart(cells=situation.cells, key=str(release.pk), address=address("outcomes-file")),
    )
    return [chart for chart in drawn if chart]


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show every release that is published or halted; asked by htmx, only what changes."""
    now = clock.now()
    found = control_room.situations(shown=control_room.rolling_out(), now=now)
    histories = control_room.histories(shown=found)
    in_common = cohorts.in_common(releases=[one.release.pk for one in found])
    person = user_of(request)
    may_open = person.has_perm("firmware.view_firmwarerelease")
    halted_in_part = sum(one.halt is None and bool(one.halted_parts) for one in found)
    context = {
        "as_of": now,
        "cards": [
            (
                one,
                histories.get(one.release.pk),
                in_common.get(one.release.pk),
                pictures_of(one, may_open=may_open),
            )
            for one in found
        ],
        "controls": controls.latest(),
        "counts": [
            (health.label.lower(), number)
            for health in reversed(Health)
            if (number := sum(one.health is health for one in found))
        ],
        "halted_in_part": halted_in_part,
        "is_well": not halted_in_part and all(one.health is Health.HEALTHY for one in found),
        "may_halt": person.has_perm(decisions.HALT),
        "may_open": may_open,
        "most_refusals": REFUSALS,
        "every_seconds": EVERY_SECONDS,
    }
    if request.headers.get("HX-Request"):
        return render(request, "admin/control_room/_live.html", context)
    context |= {**admin.site.each_context(request), "title": "Control room"}
    return render(request, "admin/control_room/page.html", context)
