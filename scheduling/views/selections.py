"""Booking in three steps: which hubs, when, check and book."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from operator import itemgetter
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.generic import TemplateView
from django.views.generic.edit import FormView
from django_htmx.http import HttpResponseClientRedirect

from firmware import queries as releases
from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import Network
from portal.ground import clock, once, roles
from portal.ground.downloads import csv_response
from portal.ground.uk_time import LONDON
from scheduling import forms, planning
from scheduling.forms import ChooseForm, PlanForm, plan_fields
from scheduling.models import Booking, HubSelection
from scheduling.operations import bookings, selections
from scheduling.operations import proposals as wishes
from scheduling.operations.second_person import SecondPersonNeeded
from scheduling.queries import groups, previews, proposals, refusals, second_person, slots, standings
from scheduling.queries import pictures as hours
from scheduling.queries.plans import Timing
from scheduling.queries.slots import Moment
from scheduling.sheets import Format, cells_of
from scheduling.tables import PlannedSlotTable
from scheduling.uploads import CappedSpool
from scheduling.views import pictures, wording
from scheduling.views.base import SupplierPage
from scheduling.views.downloads import REASONS, widened, xlsx_response
from scheduling.views.proposals import REASON, propose

DESPITE = 500
"""Characters of a reason to book into soft protected windows."""
PLANNED = 50
"""Slots that the last step lists one by one."""
AT_ONCE = 50_000
"""Hubs that the last step counts before it answers; with more, its page is there first and asks for the numbers."""
COUNTED = "counted"
"""What an address of the last step has that wants the numbers, however long they take."""


class BookView(SupplierPage, FormView[ChooseForm]):
    """Step 1: which hubs."""

    to_see = roles.ACT
    template_name = "scheduling/book.html"
    form_class = ChooseForm
    release: FirmwareRelease

    # csrf_exempt until the upload handler is in place: asking for the token reads the whole request.
    @method_decorator(csrf_exempt)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Receive no more of a file than may be kept."""
        request.upload_handlers = [CappedSpool(limit=forms.FILE_LIMIT)]
        return self._protected(request, *args, **kwargs)

    @method_decorator(csrf_protect)
    def _protected(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return once.claim(request=request) or super().dispatch(request, *args, **kwargs)

    def find(self) -> None:
        """Fetch the release, open to this Supplier."""
        shown = standings.with_facts(releases.open_to(supplier=self.supplier))
        self.release = get_object_or_404(shown, pk=self.kwargs["pk"])

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Offer the choices, unless nothing can be booked."""
        return self.refuse_closed() or super().get(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Keep the choice, unless nothing can be booked."""
        return self.refuse_closed() or super().post(request, *args, **kwargs)

    def refuse_closed(self) -> HttpResponse | None:
        """Send back to the release's page where it is not open for booking."""
        if self.release.state == ReleaseState.PUBLISHED:
            return None
        messages.warning(self.request, "This release is halted, so nothing can be booked for it now.")
        return redirect("scheduling:release", self.release.pk)

    def get_initial(self) -> dict[str, Any]:
        """Begin with all that are left."""
        return {"method": HubSelection.Method.ALL}

    def get_form_kwargs(self) -> dict[str, Any]:
        """Give the form the values that this Supplier's hubs have."""
        counts = releases.eligible_counts(release=self.release)
        facets = standings.facets(supplier=self.supplier, release=self.release, counts=counts)
        return {
            **super().get_form_kwargs(),
            "choices": {**facets, "group": groups.choices(supplier=self.supplier)},
        }

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Show what is left."""
        [standing] = standings.standings(supplier=self.supplier, releases_shown=[self.release])
        return super().get_context_data(release=self.release, standing=standing, **kwargs)

    def form_valid(self, form: ChooseForm) -> HttpResponse:
        """Keep and judge the choice, then ask when."""
        try:
            if form.cleaned_data["method"] == HubSelection.Method.FILE:
                upload = form.cleaned_data["file"]
                selection = selections.receive(
                    supplier=self.supplier,
                    release=self.release,
                    file=upload.file,
                    name=upload.name,
                    by=self.person,
                    now=self.now,
                )
            else:
                selection = selections.choose(
                    supplier=self.supplier,
                    release=self.release,
                    criteria=form.criteria,
                    by=self.person,
                    now=self.now,
                )
        except selections.UnableToChoose as refusal:
            form.add_error("file", str(refusal))
            return self.form_invalid(form)
        step = "when" if selection.state == HubSelection.State.JUDGED else "reading"
        return redirect(f"scheduling:{step}", selection.pk)


class SelectionView(SupplierPage):
    """A page of the Supplier's own selection, which it calls `self.selection`."""

    selection: HubSelection

    def find(self) -> None:
        """Fetch the selection, with what its pages ask of its release."""
        self.selection = get_object_or_404(
            HubSelection.objects.filter(
                supplier=self.supplier, release__in=releases.open_to(supplier=self.supplier)
            )
            .select_related("release__policy", "release__version", "supplier")
            .prefetch_related("release__periods"),
            pk=self.kwargs["pk"],
        )

    def waiting(self) -> HttpResponse | None:
        """Send to the progress of a file that has not been read to its end."""
        if self.selection.state == HubSelection.State.JUDGED:
            return None
        return redirect("scheduling:reading", self.selection.pk)

    def booked(self) -> HttpResponse | None:
        """Send to the booking of the selection where there is one already, or to the proposal of one that waits."""
        if booking := Booking.objects.filter(selection=self.selection, abandoned_at=None).first():
            return redirect("scheduling:booking", booking.reference)
        proposal = proposals.of_selection(selection=self.selection, now=self.now)
        return redirect("scheduling:proposal", proposal.pk) if proposal else None

    def summary(self) -> dict[str, Any]:
        """Return what every step says of the choice."""
        needed = previews.needed(selection=self.selection)
        names = dict(Network.objects.values_list("id", "name"))
        refused = previews.refusals(selection=self.selection)
        return {
            "selection": self.selection,
            "release": self.selection.release,
            "chosen": sum(needed.values()),
            "by_network": sorted((names[network], hubs) for network, hubs in needed.items()),
            "refused": refused,
            "refused_count": sum(refusal.count for refusal in refused),
            "doubtful": refusals.layout(selection=self.selection).doubtful,
            "halted": self.selection.release.state != ReleaseState.PUBLISHED,
        }


KEPT = {"weekdays", "opens", "closes", "first_day", "last_day"}
"""The fields of a spread, which a person types."""
QUIET = (time(2), time(5))
"""The hours of a night that are quiet for customers."""
EVERY_DAY = tuple(range(7))
NIGHTS = 3
OVERNIGHT = ((1, 2, 3, 4), *QUIET)
"""Tuesday to Friday from 02:00: quiet for customers, and with a working day after each night."""


@dataclass(frozen=True, slots=True)
class Start:
    """One start time of an hour, for a person to choose."""

    moment: Moment
    rooms: Sequence[tuple[str, int]]
    address: str


class WeekView(SelectionView):
    """What shows the slots of one week on one network."""

    def asked(
        self,
        every_name: Mapping[int, str],
        needed: Mapping[int, int],
        span: tuple[datetime, datetime],
    ) -> tuple[dict[int, str], pictures.Asked]:
        """Return the names of the networks of the choice, and which week of which of them is asked for."""
        names = dict(sorted(((network, every_name[network]) for network in needed), key=itemgetter(1)))
        return names, pictures.asked(
            query=self.request.GET, networks=list(names), first=span[0], last=span[1]
        )

    def picture(
        self,
        asked: pictures.Asked,
        names: Mapping[int, str],
        needed: Mapping[int, int],
        span: tuple[datetime, datetime],
    ) -> pictures.Picture:
        """Fetch and lay out the week that is asked for."""
        release = self.selection.release
        start, end = asked.span
        return pictures.draw(
            asked=asked,
            networks=names,
            needed=needed,
            hours=hours.open_hours(
                release=release,
                supplier=self.supplier,
                needed=needed,
                network=asked.network,
                start=start,
                end=end,
                now=self.now,
            ),
            passed=hours.passed_hours(
                release=release, network=asked.network, start=start, end=end, now=self.now
            ),
            own=hours.own_hours(supplier=self.supplier, network=asked.network, start=start, end=end),
            first=span[0],
            last=span[1],
            check=self.check_address,
            now=self.now,
        )

    def check_address(self, timing: Timing) -> str:
        """Return where the last step for a plan is."""
        where = reverse("scheduling:check", args=[self.selection.pk])
        return f"{where}?{urlencode(plan_fields(timing=timing))}"


class WhenView(WeekView, TemplateView):
    """Step 2: a plan, one slot from the picture of a week, or all from one slot to another."""

    template_name = "scheduling/when.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the picture, unless the choice is booked already."""
        return self.waiting() or self.booked() or super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Offer the plans, and the slots of one week on one network."""
        needed = previews.needed(selection=self.selection)
        release = self.selection.release
        context = super().get_context_data(**self.summary(), **kwargs)
        span = slots.span(release=release, networks=list(needed), now=self.now) if needed else None
        if span is None or context["halted"]:
            return {**context, "span": None}
        every_name = dict(Network.objects.values_list("id", "name"))
        names, asked = self.asked(every_name, needed, span)
        parts = [
            share
            for share in slots.shares(release=release, supplier=self.supplier)
            if share.network in needed
        ]
        overnight = Timing(
            Booking.Plan.SPREAD,
            hours=planning.Hours(*OVERNIGHT, *(moment.astimezone(LONDON).date() for moment in span)),
        )
        nights = self.nights(needed)
        return {
            **context,
            "span": span,
            "nights": nights,
            "nights_address": nights
            and self.check_address(
                Timing(
                    Booking.Plan.SPREAD, hours=planning.Hours(EVERY_DAY, *QUIET, nights.first, nights.last)
                )
            ),
            "earliest": self.earliest(needed),
            "earliest_address": self.check_address(Timing(Booking.Plan.EARLIEST)),
            "overnight_address": self.check_address(overnight),
            "spread": self.spread_form(overnight),
            "spread_is_open": bool(KEPT & self.request.GET.keys()),
            "picture": self.picture(asked, names, needed, span),
            "starts": self.starts(asked.hour, names, needed) if asked.hour else [],
            "parts": [(every_name[share.network], share, 100 * share.hubs / share.of) for share in parts],
        }

    def earliest(self, needed: Mapping[int, int]) -> planning.Extent | None:
        """
        Say which slots would be filled as early as possible, None where no slot has room.

        By their number alone, as the picture does: whose hubs are protected when is asked in the last step.
        """
        rooms = slots.rooms(
            release=self.selection.release, supplier=self.supplier, needed=needed, now=self.now
        )
        return planning.extent(
            placements=[
                placement
                for network, hubs in needed.items()
                for placement in planning.as_early_as_possible(
                    rooms=[room for room in rooms if room.network == network], hubs=hubs
                )
            ],
            hubs=sum(needed.values()),
        )

    def nights(self, needed: Mapping[int, int]) -> planning.Nights | None:
        """Return the earliest nights in a row that take all that is chosen, or else the most of it."""
        opens, closes = QUIET
        rooms = slots.rooms_of_nights(
            release=self.selection.release,
            supplier=self.supplier,
            networks=needed,
            opens=opens,
            closes=closes,
            now=self.now,
        )
        return planning.nights_in_a_row(rooms=rooms, needed=needed, nights=NIGHTS)

    def spread_form(self, usual: Timing) -> PlanForm:
        """Return the form of a spread with what was typed before, or with the usual days and hours."""
        query = self.request.GET
        if not KEPT & query.keys():
            query = QueryDict(urlencode(plan_fields(timing=usual)))
        return PlanForm(initial={**query.dict(), "weekdays": query.getlist("weekdays")})

    def starts(self, hour: datetime, names: Mapping[int, str], needed: Mapping[int, int]) -> list[Start]:
        """Return the start times of one hour, each with what it has on every network of the choice."""
        found = slots.moments(
            release=self.selection.release,
            supplier=self.supplier,
            needed=needed,
            start=hour,
            end=hour + pictures.HOUR,
            now=self.now,
        )
        return [
            Start(
                moment,
                [(names[network], room) for network, room in sorted(moment.room.items())],
                self.check_address(Timing(Booking.Plan.ONE_SLOT, start_at=moment.start_at))
                if moment.fits
                else "",
            )
            for moment in found
        ]


def kept(data: QueryDict) -> str:
    """Return what was typed of a spread as a query, for the page that asks again."""
    return urlencode([(name, value) for name in sorted(KEPT) for value in data.getlist(name)])


class RoomView(WeekView):
    """The room of the week that the picture shows, as CSV."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send the same cells, or none where no slot is open; sent on where the picture is."""
        if elsewhere := self.waiting() or self.booked():
            return elsewhere
        needed = previews.needed(selection=self.selection)
        span = (
            slots.span(release=self.selection.release, networks=list(needed), now=self.now)
            if needed
            else None
        )
        cells: Iterator[Sequence[str]] = iter(())
        if span is not None:
            names, asked = self.asked(dict(Network.objects.values_list("id", "name")), needed, span)
            cells = pictures.lines(self.picture(asked, names, needed, span))
        return csv_response(name=f"room-{self.selection.pk}.csv", header=pictures.COLUMNS, rows=cells)


class CheckView(SelectionView, TemplateView):
    """Step 3: what will happen, in numbers; then book."""

    template_name = "scheduling/check.html"
    refusal = ""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Say what would happen, unless the choice is booked already."""
        if elsewhere := self.waiting() or self.booked():
            return elsewhere
        if not self.read_plan(request.GET):
            return self.ask_again()
        if sum(previews.needed(selection=self.selection).values()) > AT_ONCE and COUNTED not in request.GET:
            return self.counting()
        return super().get(request, *args, **kwargs)

    def counting(self) -> HttpResponse:
        """Say that many hubs are being counted; the page asks for the numbers by itself."""
        fields = [*plan_fields(timing=self.timing), (COUNTED, "yes")]
        context = super().get_context_data(
            **self.summary(),
            counted=f"{self.request.path}?{urlencode(fields)}",
            plan=wording.plan_words(of=self.timing),
        )
        return render(self.request, "scheduling/counting.html", context)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Book; a second press finds the first one's booking."""
        if waiting := self.waiting():
            return waiting
        if not self.read_plan(request.POST):
            return self.ask_again()
        despite = request.POST.get("despite", "").strip()[:DESPITE]
        try:
            try:
                booking = bookings.book(
                    selection=self.selection,
                    timing=self.timing,
                    by=self.person,
                    clock=clock.now,
                    despite=despite,
                )
            except SecondPersonNeeded as needed:
                wish = wishes.to_book(selection=self.selection, timing=self.timing, despite=despite)
                return propose(page=self, wish=wish, needed=needed, reason=request.POST.get("why", ""))
        except (bookings.UnableToBook, wishes.UnableToPropose) as refusal:
            self.refusal = str(refusal)
            return self.render_to_response(self.get_context_data(**kwargs), status=409)
        return redirect("scheduling:booking", booking.reference)

    def read_plan(self, asked: QueryDict) -> bool:
        """Read the plan and its particulars; say whether they can be."""
        self.asked = asked
        self.form = PlanForm(asked)
        if self.form.is_valid():
            self.timing = self.form.timing
            return True
        return False

    def ask_again(self) -> HttpResponse:
        """Send back to the choice of a time, with what was typed where it was more than a click."""
        address = reverse("scheduling:when", args=[self.selection.pk])
        if self.asked.get("plan") == Booking.Plan.SPREAD:
            messages.warning(self.request, " ".join(map(str, self.form.non_field_errors())))
            return redirect(f"{address}?{kept(self.asked)}")
        messages.warning(self.request, "Choose a slot, or “as early as possible”.")
        return redirect(address)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say what would happen."""
        preview = previews.preview(selection=self.selection, timing=self.timing, now=self.now)
        context = super().get_context_data(**self.summary(), **kwargs)
        one_slot = self.timing.plan == Booking.Plan.ONE_SLOT
        fields = plan_fields(timing=self.timing)
        back = reverse("scheduling:when", args=[self.selection.pk])
        return {
            **context,
            "plan": wording.plan_words(of=self.timing),
            "plan_fields": fields,
            "back": f"{back}?{urlencode(fields[1:])}" if self.timing.hours else back,
            "one_slot": one_slot,
            "earliest": self.timing.plan == Booking.Plan.EARLIEST,
            "preview": preview,
            "slots": PlannedSlotTable(preview.parts[:PLANNED]),
            "slots_more": max(preview.slots - PLANNED, 0),
            "refusal": self.refusal,
            "warnings": [
                (window.get_kind_display(), window.reason, hubs) for window, hubs in preview.warnings.items()
            ],
            "despite_length": DESPITE,
            "second": second_person.asked(
                supplier=self.supplier, person=self.person, hubs=preview.placed, now=self.now
            ),
            "why": self.request.POST.get("why", ""),
            "why_length": REASON,
            "asks": wording.asks(of=preview),
            "objection_window": self.selection.release.policy.objection_window,
            "can_book": not context["halted"] and preview.placed > 0 and not (one_slot and preview.left_over),
        }


class ReadingView(SelectionView, TemplateView):
    """How far a large file has been read; it goes on to the next step by itself."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the progress, alone where the page asks for itself, or lead on once all is read."""
        if self.selection.state == HubSelection.State.JUDGED:
            onward = reverse("scheduling:when", args=[self.selection.pk])
            return HttpResponseClientRedirect(onward) if _is_fragment(request) else redirect(onward)
        return super().get(request, *args, **kwargs)

    def get_template_names(self) -> list[str]:
        """Leave the frame out where the page asks for itself."""
        return ["scheduling/_reading.html" if _is_fragment(self.request) else "scheduling/reading.html"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Say how many rows have been read, or why the rest cannot be."""
        return super().get_context_data(
            selection=self.selection,
            release=self.selection.release,
            file=refusals.layout(selection=self.selection),
            is_reading=self.selection.state == HubSelection.State.READING,
            now=self.now,
            **kwargs,
        )


def _is_fragment(request: HttpRequest) -> bool:
    """Say whether htmx asks, for a part of the page alone."""
    return "HX-Request" in request.headers


class RefusedView(SelectionView):
    """Every refused hub or row with its reason, in the form in which it came."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send the file while it is written."""
        if waiting := self.waiting():
            return waiting
        file = refusals.layout(selection=self.selection)
        if file.forgotten_at:
            return render(
                request,
                "scheduling/forgotten.html",
                {"selection": self.selection, "file": file},
                status=410,
            )
        header = [] if file.header is None else cells_of(line=file.header)
        heads = [*widened(header, file.width), *REASONS] if header else []
        name, rows = f"refused-{self.selection.pk}", self.rows(file.width)
        if file.format == Format.XLSX:
            return xlsx_response(name=f"{name}.xlsx", header=heads, rows=rows)
        return csv_response(name=f"{name}.csv", header=heads, rows=rows, delimiter=file.delimiter)

    def rows(self, width: int) -> Iterator[Sequence[str]]:
        """Yield each row as it was written, then the reason and the way forward."""
        for row in refusals.refused(selection=self.selection, now=self.now):
            yield *widened(cells_of(line=row.text), width), row.refusal.label, row.way_forward
