"""One release, as a Supplier sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.generic import TemplateView, View

from firmware import queries as releases
from firmware.models import FirmwareRelease, Part, ReleaseState
from portal.ground.downloads import csv_response
from scheduling.lists.bookings import BookingList, Line
from scheduling.queries import (
    allocations,
    bookings,
    cohorts,
    control_room,
    outcomes,
    progress,
    standings,
    turns,
)
from scheduling.queries.control_room import Situation
from scheduling.queries.progress import Share
from scheduling.tables import BookingTable, ShareTable
from scheduling.turns import Opening
from scheduling.views.base import SupplierPage
from scheduling.views.charts import rollout_chart, rollout_response
from scheduling.views.downloads import BAD_HUBS, bad_hub_cells
from scheduling.views.home import card_of

BOOKINGS = 20
OPENINGS = 3
"""Stages to come that are named for each model."""


@dataclass(frozen=True, slots=True)
class ShareLine:
    """So many hubs that have something in common, where they are listed, and what the release is to them."""

    network: str
    model: str
    version_text: str
    hubs: int
    address: str
    word: str


@dataclass(frozen=True, slots=True)
class ComingStages:
    """The next stages of a model that are expected to open."""

    model: str
    openings: Sequence[Opening]


@dataclass(frozen=True, slots=True)
class PeriodBar:
    """An availability period, with its place (percent) in the span of all of them."""

    network: str
    start_at: datetime
    end_at: datetime
    x: float
    width: float
    state: str


class ReleaseView(SupplierPage, TemplateView):
    """What a release is, when it is available, for which of one's hubs, and how far everyone has come."""

    template_name = "scheduling/release.html"
    release: FirmwareRelease

    def find(self) -> None:
        """Fetch the release, open to this Supplier."""
        shown = standings.with_facts(releases.open_to(supplier=self.supplier))
        self.release = get_object_or_404(shown, pk=self.kwargs["pk"])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Ask a fixed number of questions."""
        release = self.release
        [standing] = standings.standings(supplier=self.supplier, releases_shown=[release])
        outlooks = allocations.outlooks(supplier=self.supplier, shown=[standing], now=self.now)
        own = list(bookings.of_release(supplier=self.supplier, release=release)[:BOOKINGS])
        progress_of = progress.by_booking(bookings=[booking.pk for booking in own])
        [situation] = control_room.situations(shown=[release], now=self.now)
        periods, now_x = self.period_bars(release)
        return super().get_context_data(
            release=release,
            card=card_of(
                standing=standing,
                health=situation.health,
                allocation=outlooks[release.pk],
                now=self.now,
            ),
            standing=standing,
            situation=situation,
            coming=self.coming(situation),
            halt=situation.halt,
            as_of=self.now,
            periods=periods,
            now_x=now_x,
            predecessors=sorted(release.predecessors.all(), key=lambda one: one.version.number),
            shares=ShareTable(self.share_lines(release, [halt.part for halt in situation.halted_parts])),
            bookings=BookingTable(
                [Line(booking, progress_of.get(booking.pk, progress.NOTHING)) for booking in own],
                exclude=BookingList.extras(),
            ),
            has_bookings=bool(own),
            rollout=rollout_chart(
                rollout=outcomes.rollout(release=release.pk),
                key=str(release.pk),
                address=reverse("scheduling:rollout", args=[release.pk]),
            ),
            **kwargs,
        )

    def coming(self, situation: Situation) -> list[ComingStages]:
        """Say of each model which stages are expected to open; of a halted release nobody knows."""
        if self.release.state != ReleaseState.PUBLISHED:
            return []
        openings = turns.openings(release=self.release.pk, now=self.now, limit=OPENINGS)
        return [
            ComingStages(opened.model, found)
            for opened in situation.stages
            if (found := openings.get(opened.stage.model_id))
        ]

    def period_bars(self, release: FirmwareRelease) -> tuple[list[PeriodBar], float | None]:
        """Lay the periods on one line of time; say where on it now is, None where it is elsewhere."""
        periods = sorted(release.periods.all(), key=lambda period: (period.start_at, period.network.name))
        first = min(period.start_at for period in periods)
        whole = max(max(period.end_at for period in periods) - first, timedelta(seconds=1))
        bars = [
            PeriodBar(
                network=period.network.name,
                start_at=period.start_at,
                end_at=period.end_at,
                x=100 * ((period.start_at - first) / whole),
                width=100 * ((period.end_at - period.start_at) / whole),
                state="opens"
                if self.now < period.start_at
                else ("open" if self.now < period.end_at else "over"),
            )
            for period in periods
        ]
        at = 100 * ((self.now - first) / whole)
        return bars, at if 0 <= at <= 100 else None

    def share_lines(self, release: FirmwareRelease, halted: Sequence[Part]) -> list[ShareLine]:
        """Put the Supplier's numbers of hubs into lines that lead to those hubs."""
        networks = {period.network_id for period in release.periods.all()}

        def is_halted(share: Share) -> bool:
            return any(
                (part.network is not None and part.network.pk == share.network_id)
                or (part.model is not None and part.model.pk == share.model_id)
                or (part.installed_version is not None and part.installed_version.pk == share.version_id)
                for part in halted
            )

        def word_of(share: Share) -> str:
            if share.eligible and is_halted(share):
                return "Halted for them"
            if share.eligible:
                return "Is for them"
            if share.version_id == release.version_id:
                return "Runs it already"
            if share.network_id not in networks:
                return "Not available on this network"
            return "Installed version is not a predecessor"

        return [
            ShareLine(
                network=share.network,
                model=share.model,
                version_text=f"{share.version:08X}",
                hubs=share.hubs,
                address=reverse("scheduling:hubs")
                + "?"
                + urlencode(
                    {
                        "network": share.network_id,
                        "model": share.model_id,
                        "installed_version": share.version_id,
                    }
                ),
                word=word_of(share),
            )
            for share in progress.shares(supplier=self.supplier, release=release)
        ]


class BadHubsView(SupplierPage, View):
    """Those of one's own hubs that speak against a release, as CSV; whatever became of the others."""

    release: FirmwareRelease

    def find(self) -> None:
        """Fetch the release, open to this Supplier."""
        self.release = get_object_or_404(releases.open_to(supplier=self.supplier), pk=self.kwargs["pk"])

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        """Send the file while it is written."""
        found = cohorts.every_hub_concerned(release=self.release, supplier=self.supplier)
        return csv_response(
            name=f"bad-hubs-{self.release.pk}.csv",
            header=BAD_HUBS,
            rows=(bad_hub_cells(one=one) for one in found),
        )


class RolloutView(SupplierPage, View):
    """How a release went over time, in the whole country, as CSV."""

    release: FirmwareRelease

    def find(self) -> None:
        """Fetch the release, open to this Supplier."""
        self.release = get_object_or_404(releases.open_to(supplier=self.supplier), pk=self.kwargs["pk"])

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> StreamingHttpResponse:
        """Send the numbers of the picture."""
        return rollout_response(release=self.release)
