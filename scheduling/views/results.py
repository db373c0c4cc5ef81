"""What became of a Supplier's hubs, release by release."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import Http404, HttpRequest, StreamingHttpResponse
from django.urls import reverse
from django.utils.text import slugify
from django.views.generic import TemplateView, View

from firmware.models import FirmwareRelease
from portal.ground.charts import Chart, Row, Series
from portal.ground.downloads import csv_response
from scheduling.lifecycle import Ending, State
from scheduling.queries import outcomes
from scheduling.queries.outcomes import Reason, Result, Results
from scheduling.views.base import SupplierPage
from scheduling.views.charts import OUTCOMES, day_words, outcomes_chart, share_words

NO_REASON = "No reason was given"


@dataclass(frozen=True, slots=True)
class ReasonLine:
    """So many hubs that did not get the release, and why."""

    state: State
    words: str
    hubs: int
    share: str


class ResultsPage(SupplierPage):
    """A page about what became of hubs with the release that the address asks for, or with the latest."""

    releases: Sequence[FirmwareRelease]
    release: FirmwareRelease | None

    def find(self) -> None:
        """Fetch the releases with which hubs of this Supplier have an outcome, the latest first."""
        self.releases = list(outcomes.with_results(supplier=self.supplier))
        self.release = next(iter(self.releases), None)
        if asked := self.request.GET.get("release"):
            self.release = next((one for one in self.releases if str(one.pk) == asked), None)
            if self.release is None:
                raise Http404

    def results(self) -> Results:
        """Return what became of them."""
        if self.release is None:
            return Results([], [])
        return outcomes.results(supplier=self.supplier, release=self.release)

    def address(self, name: str) -> str:
        """Return the address of a file about the same release."""
        return reverse(f"scheduling:{name}") + (f"?release={self.release.pk}" if self.release else "")


class ResultsView(ResultsPage, TemplateView):
    """Outcomes by model, network and week, why hubs did not get the release, and files of both."""

    template_name = "scheduling/results.html"
    extra_context = {"section": "results"}

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Ask a fixed number of questions."""
        found = self.results()
        by_state = {state: hubs for state, hubs in found.by_state.items() if hubs}
        return super().get_context_data(
            releases=self.releases,
            release=self.release,
            by_state=by_state,
            charts=[chart for chart in (self.over_time(found), self.by_model(found)) if chart],
            reasons=_reasons(found.reasons),
            reasons_chart=self.reasons_chart(found),
            outcomes=OUTCOMES.values(),
            results=found.by_week,
            results_address=self.address("export-results"),
            as_of=self.now,
            **kwargs,
        )

    def over_time(self, found: Results) -> Chart | None:
        """Draw how many hubs had which outcome in the slots of each week."""
        weeks: dict[str, dict[State, int]] = defaultdict(lambda: dict.fromkeys(OUTCOMES, 0))
        for result in found.by_week:
            for state, hubs in result.by_state.items():
                weeks[day_words(result.week)][state] += hubs
        if not weeks:
            return None
        return Chart(
            key="weeks",
            title="Outcomes by week",
            first="Week of the slot, from",
            unit="hubs",
            series=list(OUTCOMES.values()),
            rows=[Row(week, [by_state[state] for state in OUTCOMES]) for week, by_state in weeks.items()],
            address=self.address("export-results"),
            stacked=True,
        )

    def by_model(self, found: Results) -> Chart | None:
        """Draw which part of the hubs of each model on each network had which outcome."""
        kinds: dict[str, dict[State, int]] = defaultdict(lambda: dict.fromkeys(OUTCOMES, 0))
        for result in sorted(found.by_week, key=lambda result: (result.model, result.network)):
            for state, hubs in result.by_state.items():
                kinds[f"{result.model}, {result.network}"][state] += hubs
        if not kinds:
            return None
        return outcomes_chart(
            key="models",
            title="Outcomes by model and network",
            first="Hub model and network",
            counts=list(kinds.items()),
            address=self.address("export-results"),
        )

    def reasons_chart(self, found: Results) -> Chart | None:
        """Draw how often each reason was met."""
        lines = _reasons(found.reasons)
        if not lines:
            return None
        return Chart(
            key="reasons",
            title="Why hubs did not get the release",
            first="Reason",
            unit="hubs",
            series=(Series("Hubs", "state-failed", "crossed"),),
            rows=[
                Row(f"{line.words} ({line.state.label.lower()})", (line.hubs,), (line.share,))
                for line in lines
            ],
            address=self.address("export-reasons"),
            lies=True,
        )


def _reasons(reasons: Sequence[Reason]) -> list[ReasonLine]:
    """Put the reasons of all weeks together, the most frequent first."""
    counts: dict[tuple[State, Ending], int] = defaultdict(int)
    for reason in reasons:
        counts[reason.state, reason.ending] += reason.hubs
    total = sum(counts.values())
    return [
        ReasonLine(state, ending.label or NO_REASON, hubs, share_words(hubs, total))
        for (state, ending), hubs in sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    ]


def _cells(by_state: Mapping[State, int]) -> list[str]:
    return [str(by_state[state]) for state in OUTCOMES]


def _place(result: Result | Reason) -> tuple[str, str, str]:
    return (result.week.isoformat(), result.network, result.model)


class ExportResultsView(ResultsPage, View):
    """The same counts by week, network and model, as CSV."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        """Send the file."""
        return csv_response(
            name=f"results{_suffix(self.release)}.csv",
            header=("Week from", "Network", "Hub model", *(series.word for series in OUTCOMES.values())),
            rows=[(*_place(result), *_cells(result.by_state)) for result in self.results().by_week],
        )


class ExportReasonsView(ResultsPage, View):
    """Why hubs did not get the release, by week, network and model, as CSV."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        """Send the file."""
        return csv_response(
            name=f"reasons{_suffix(self.release)}.csv",
            header=("Week from", "Network", "Hub model", "Outcome", "Reason", "Hubs"),
            rows=[
                (*_place(one), one.state.label, one.ending.label or NO_REASON, str(one.hubs))
                for one in self.results().reasons
            ],
        )


def _suffix(release: FirmwareRelease | None) -> str:
    return f"-{slugify(release.cpl_entry_id)}" if release else ""
