"""
What the health page shows, for Prometheus: computed from the database whenever it is asked.

So many processes need no shared files, and every host says the same. Suppliers are never in a label: what they
plan is not for whoever keeps the metrics.
"""

import secrets
import time
from collections.abc import Iterator

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from portal import checks, queries
from portal.ground import asking, clock
from scheduling.queries import health

PREFIX = "firmware_portal"


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """
    Answer whoever bears the token of the setting METRICS_TOKEN; without that setting there is no such page.

    :raises Http404: if the portal has no token
    """
    if not settings.METRICS_TOKEN:
        raise Http404
    expected = f"Bearer {settings.METRICS_TOKEN}"
    if not secrets.compare_digest(request.headers.get("Authorization", "").encode(), expected.encode()):
        refused = HttpResponse("Bear the token of METRICS_TOKEN.\n", content_type="text/plain", status=401)
        refused["WWW-Authenticate"] = "Bearer"
        return refused
    registry = CollectorRegistry()
    registry.register(_Portal())
    with asking.acting(asking.Asker(asking.Role.STAFF)):  # whoever bears the token may
        return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Portal(Collector):
    """Reads it all in one go, so that the numbers of one answer belong together."""

    def describe(self) -> list[Metric]:
        """Say nothing beforehand: being registered is no reason to ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        began = time.monotonic()
        found = queries.health_of_all(now=clock.now())
        yield from _of_checks(found)
        yield from _of_processes(found)
        yield from _of_networks(found)
        yield _of_rollouts()
        yield from _of_flights()
        yield _of_reports()
        yield GaugeMetricFamily(
            f"{PREFIX}_scrape_seconds", "How long this took to find out", value=time.monotonic() - began
        )


def _of_checks(found: queries.Health) -> Iterator[Metric]:
    worry = GaugeMetricFamily(
        f"{PREFIX}_worry", "1 where somebody has to look into it, as the health page says", labels=["check"]
    )
    for check in checks.every():
        reading = found.readings[check.name]
        worry.add_metric([check.name], check.standing(reading) is checks.Standing.WORRY)
        help_text = f"{check.title}; worry when: {check.worry_when}" if check.worry_when else check.title
        gauge = GaugeMetricFamily(checks.metric_of(check), help_text)
        if reading is not None:  # nothing to take it from is not nought
            gauge.add_metric([], reading)
        yield gauge
    yield worry


def _of_processes(found: queries.Health) -> Iterator[Metric]:
    silence = GaugeMetricFamily(
        f"{PREFIX}_process_silence_seconds", "Since the last heartbeat", labels=["kind", "name"]
    )
    version = InfoMetricFamily(f"{PREFIX}_process", "What runs", labels=["kind", "name"])
    for process in found.processes:
        labels = [process.heartbeat.kind, process.heartbeat.name]
        silence.add_metric(labels, process.silence.total_seconds())
        version.add_metric(labels, {"version": process.heartbeat.version})
    yield silence
    yield version


def _of_networks(found: queries.Health) -> Iterator[Metric]:
    families = {
        "due_lots": "Lots that are due and that no worker holds",
        "due_hubs": "Hubs in these lots",
        "leased_lots": "Lots that a worker holds",
        "open_hubs": "Hubs of lots that are not over",
        "activating_hubs": "Hubs being activated, or read back",
        "waiting_lots": "Lots that wait for room in flight",
        "oldest_due_seconds": "How long the oldest due lot has waited",
    }
    gauges = {
        name: GaugeMetricFamily(f"{PREFIX}_network_{name}", text, labels=["network"])
        for name, text in families.items()
    }
    for backlog in found.backlogs:
        waits = (found.as_of - backlog.oldest).total_seconds() if backlog.oldest else 0
        values = {
            "due_lots": backlog.due,
            "due_hubs": backlog.due_hubs,
            "leased_lots": backlog.leased,
            "open_hubs": backlog.open_hubs,
            "activating_hubs": backlog.activating_hubs,
            "waiting_lots": backlog.wait,
            "oldest_due_seconds": waits,
        }
        for name, value in values.items():
            gauges[name].add_metric([backlog.network.code], value)
    yield from gauges.values()


def _of_rollouts() -> Metric:
    hubs = GaugeMetricFamily(
        f"{PREFIX}_hubs",
        "Hubs of a release that is published or halted, by the counts that its lots carry",
        labels=["release", "network", "state"],
    )
    for rollout in health.rollouts():
        for state, count in rollout.hubs.items():
            hubs.add_metric([rollout.release, rollout.network, str(state)], count)
    return hubs


def _of_flights() -> Iterator[Metric]:
    flying = GaugeMetricFamily(f"{PREFIX}_in_flight", "Hubs being activated", labels=["release"])
    budget = GaugeMetricFamily(
        f"{PREFIX}_in_flight_budget", "Hubs that may be activated at a time", labels=["release"]
    )
    for flight in health.in_flight():
        flying.add_metric([flight.release.cpl_entry_id], flight.activating)
        budget.add_metric([flight.release.cpl_entry_id], flight.budget)
    yield flying
    yield budget


def _of_reports() -> Metric:
    counted = CounterMetricFamily(
        f"{PREFIX}_reports", "Reports that came, by what they were", labels=["kind"]
    )
    for kind, reports in health.reports().items():
        counted.add_metric([str(kind)], reports)
    return counted
