"""
Show DCC staff the design language: each component in each of its states, and each e-mail as it arrives.

What a component is and takes stands at the head of its template; here are the figures, all of them made up.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from csp.decorators import csp
from django import forms
from django.conf import settings
from django.contrib import admin
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from firmware.models import ReleaseState
from portal import previews
from portal.ground import glossary
from portal.ground.charts import Chart, Row, Series
from portal.templatetags import portal as tags
from scheduling.admin import MAIL_POLICY
from scheduling.lifecycle import State
from scheduling.queries.control_room import Health, History, Stream, Track
from scheduling.views.pictures import Cell

COMPONENTS: Final = settings.BASE_DIR / "templates" / "components"
NOW: Final = datetime(2026, 5, 4, 13, 2, tzinfo=UTC)
CASES: Final[dict[str, Callable[[], Iterator[tuple[str, Mapping[str, Any]]]]]] = {}
"""By the name of its template: what a component is shown with, each with a word for it."""

WHEN: Final = {
    "alert": "One at most above a page's content: what became of an act, or what bars the way.",
    "breadcrumb": "On every page below a page of the main menu.",
    "chart": "Where the course of many numbers says more than they do. A page with one loads portal/_charts.html.",
    "confirmation": "Above the button of every act on more than one thing.",
    "empty": "In the place of a list that has nothing yet: what would be here, and how to begin.",
    "evidence_over_time": "Once per release, in the control room and in its report.",
    "facts": "A few names with a value each. Many of one kind are a table.",
    "form_actions": "At the end of every form: one button, named for the act, and the way back as a link.",
    "form_errors": "Above a form that was refused; beside each field stands its own sentence as well.",
    "limit_bar": "Wherever evidence is held against the limit at which a release halts by itself.",
    "messages": "What has just happened, on the page to which an act leads.",
    "nav_link": "In the main menu alone. The number says how many things are to be done there.",
    "pager": "Under a list that is read by key. It never counts the whole list.",
    "refusal": "Where what is refused needs more than a sentence each: a moment, a link.",
    "refusals": "What could not be done: what, why, and the way forward, the largest first.",
    "rehearsal_course": "The result of a rehearsal, once.",
    "slot_cell": "In the picture of a week: room, and how much of what was chosen fits there.",
    "stacked_bar": "How many are in each state. The same numbers stand under it as a table.",
    "stat": "One number with its unit. Not more than five beside each other.",
    "state": "Wherever the state of something stands: a word and a shape, the colour says nothing by itself.",
    "steps": "Over a way of three pages, and no other.",
    "timeline": "What happened to one thing, in order.",
    "words": "Behind every page of a Supplier, by itself.",
}


SUPPLIERS_ALONE: Final = (
    "breadcrumb",
    "form_actions",
    "form_errors",
    "messages",
    "nav_link",
    "pager",
    "slot_cell",
    "steps",
    "words",
)
ADMINS_ALONE: Final = ("evidence_over_time", "rehearsal_course")


@dataclass(frozen=True, slots=True)
class Shown:
    """A component with its examples as they are drawn, each under its word; `what` and `takes` as its template says."""

    name: str
    what: str
    takes: str
    when: str
    examples: list[tuple[str, SafeString]]


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show every component, in the frame of the admin or of the Suppliers' pages."""
    frame = "suppliers" if request.GET.get("frame") == "suppliers" else "admin"
    context = {
        **admin.site.each_context(request),
        "title": "Gallery",
        "components": [
            shown(path=path)
            for path in sorted(COMPONENTS.glob("*.html"))
            if path.stem not in (ADMINS_ALONE if frame == "suppliers" else SUPPLIERS_ALONE)
        ],
        "moments": {"now": NOW, "twice": datetime(2026, 10, 25, 0, 30, tzinfo=UTC)},
        "is_suppliers": frame == "suppliers",
    }
    return render(request, f"admin/gallery/{frame}.html", context)


@require_safe
def emails(request: HttpRequest) -> HttpResponse:
    """Show every e-mail as it arrives, as HTML in a frame and as text."""
    written = [(name, write()) for name, write in previews.EMAILS.items()]
    context = {**admin.site.each_context(request), "title": "E-mails", "emails": written}
    return render(request, "admin/gallery/emails.html", context)


@require_safe
@csp(MAIL_POLICY)
def email(request: HttpRequest, name: str = "") -> HttpResponse:
    """Answer with the HTML of an e-mail, alone, under the policy of those that were sent."""
    if name not in previews.EMAILS:
        raise Http404
    return HttpResponse(previews.EMAILS[name]().html, headers={"X-Frame-Options": "SAMEORIGIN"})


def shown(*, path: Path) -> Shown:
    """
    Draw a component with each of its examples.

    :raises KeyError: if it has none, or nothing says when it is used
    """
    what, _, takes = path.read_text().partition("{#")[2].partition("#}")[0].strip().partition(" Context: ")
    return Shown(
        path.stem,
        what,
        takes,
        WHEN[path.stem],
        [
            (word, render_to_string(f"components/{path.name}", dict(context)))
            for word, context in CASES[path.stem]()
        ],
    )


def _cases(function: Callable[[], Iterator[tuple[str, Mapping[str, Any]]]]) -> None:
    CASES[function.__name__.strip("_")] = function


@_cases
def _alert() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "done", {"kind": "success", "text": "412,884 hubs are booked: BK-7F3K-92QD."}
    yield "good to know", {"kind": "info", "title": "Being written.", "text": "This takes seconds."}
    yield "mind this", {"kind": "warning", "title": "Not all of them fit.", "text": "Choose another time."}
    yield "refused", {"kind": "error", "title": "Nothing was booked.", "text": "The slot filled meanwhile."}
    yield "halted", {"kind": "halted", "title": "DCC halted this release.", "text": "What is booked is held."}


@_cases
def _breadcrumb() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "", {"trail": [("Bookings", "#"), ("BK-7F3K-92QD", "#")], "here": "Cancel"}


@_cases
def _chart() -> Iterator[tuple[str, Mapping[str, Any]]]:
    succeeded = Series("Succeeded", "state-succeeded")
    bad = Series("Bad", "state-failed", "crossed")
    waiting = Series("No outcome yet", "portal-still", "dots")
    yield (
        "counts over time",
        {
            "chart": Chart(
                key="over-time",
                title="Hubs commanded, succeeded and bad, by day",
                first="Day of the slot",
                unit="hubs",
                series=(Series("Commanded", "portal-calm", "stripes", "line"), succeeded, bad, waiting),
                rows=[
                    Row("4 May 2026", (50, 50, 0, 0)),
                    Row("5 May 2026", (500, 497, 3, 0)),
                    Row("6 May 2026", (4_812, 3_104, 31, 1_677)),
                ],
                stacked=True,
            )
        },
    )
    yield (
        "shares of kinds",
        {
            "chart": Chart(
                key="shares",
                title="Outcomes by model and network",
                first="Hub model and network",
                unit="% of the hubs",
                series=(succeeded, bad),
                rows=[
                    Row("Brunel C4, Central", (99.2, 0.8), ("4,960 (99.2 %)", "40 (0.8 %)")),
                    Row("Brunel C4, South", (81.5, 18.5), ("815 (81.5 %)", "185 (18.5 %)")),
                ],
                note="Wherever the words are long, the bars lie.",
                stacked=True,
                lies=True,
                most=100,
            )
        },
    )


@_cases
def _confirmation() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "all of it", tags.confirmation("Will be booked", 412_884, "hub", "In", 21, "slot")
    yield (
        "a part stays",
        tags.confirmation("Will be cancelled", 1, "hub", "Stay: past their cut-off", 311, "hub"),
    )
    yield "nothing", tags.confirmation("Will be cancelled", 0, "hub")


@_cases
def _empty() -> Iterator[tuple[str, Mapping[str, Any]]]:
    words = {"title": "No groups yet", "text": "A group is a list of hubs that you book or protect together."}
    yield "with a way to begin", {**words, "address": "#", "action": "Make a group"}
    yield "for whoever may only read", words


@_cases
def _evidence_over_time() -> Iterator[tuple[str, Mapping[str, Any]]]:
    def track(letter: str, name: str, *shares: float) -> Track:
        stream = Stream(letter=letter, name=name, model=1, network=None, watched=None, is_halted=False)
        return Track(stream, [(NOW + timedelta(hours=hour), share) for hour, share in enumerate(shares)])

    tracks = [
        track("A", "Brunel C4", 0.02, 0.1, 0.3, 0.6, 1.0),
        track("B", "Central", 0.01, 0.05, 0.04, 0.1, 0.2),
    ]
    history = History(since=NOW, until=NOW + timedelta(hours=5), step=timedelta(hours=1), tracks=tracks)
    yield "up to a halt", tags.evidence_over_time(history, 1, "CPL-2026-410")


@_cases
def _facts() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield (
        "",
        {
            "facts": [
                ("CPL Entry ID", "CPL-2026-410"),
                ("CPL hash (SHA-256)", "9975acfdfa23339e843e920ed6cdec96b6dab9716fe23554321486e5fb9b9f6e"),
                ("Known issues", ""),
            ]
        },
    )


@_cases
def _form_actions() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "the way on", {"word": "Book 412,884 hubs", "back": "#", "back_word": "Back: when"}
    yield (
        "no way back",
        {"word": "Cancel 1 hub", "back": "#", "back_word": "Keep the booking", "danger": True},
    )


class _Form(forms.Form):
    reason = forms.CharField(error_messages={"required": "Say why: the other Supplier reads it."})
    until = forms.DateField(error_messages={"required": "Choose a day."})


@_cases
def _form_errors() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "", {"form": _Form({}), "title": "Nothing was changed."}


@_cases
def _limit_bar() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for word, share in (("nothing", 0.0), ("little", 0.004), ("watched", 0.71), ("halts", 1.2)):
        yield word, tags.limit_bar(share)


@_cases
def _messages() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield (
        "",
        {"messages": [_Message("success", "The window is deleted."), _Message("error", "It had changed.")]},
    )


class _Message(SimpleNamespace):
    def __init__(self, level_tag: str, text: str) -> None:
        super().__init__(level_tag=level_tag, text=text)

    def __str__(self) -> str:
        return str(self.text)


@_cases
def _nav_link() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "here", {"address": "#", "word": "Bookings", "name": "bookings", "here": "bookings"}
    yield (
        "with things to do",
        {
            "address": "#",
            "word": "Consents",
            "name": "consents",
            "badge": "99+",
            "badge_word": "to answer",
        },
    )


@_cases
def _pager() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield (
        "in the middle",
        {"shown": "50 hubs, from 00-DB-12-34", "first": "#", "previous": "#", "next": "#"},
    )


@_cases
def _refusal() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield (
        "",
        {"content": SafeString("<strong>12 hubs on North</strong><p>No open slot has room for them.</p>")},
    )


@_cases
def _refusals() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield (
        "",
        {
            "refusals": [
                {
                    "hubs": 1_204,
                    "what": "installed version is not a predecessor",
                    "why": "The release goes over 10020500 and later.",
                    "forward": "First book a release that leads to one of its predecessors.",
                },
                {
                    "what": "row 7 names no hub",
                    "why": "It holds “12345”.",
                    "forward": "Put a CHF ID into the row.",
                },
            ]
        },
    )


@_cases
def _rehearsal_course() -> Iterator[tuple[str, Mapping[str, Any]]]:
    course = {
        "points": [[0.0, 0, 0], [1.0, 50, 1], [2.0, 550, 9], [3.0, 5_550, 160]],
        "openings": [[0.0, "Brunel C4", 1, 50], [1.0, "Brunel C4", 2, 500], [2.0, "Brunel C4", 3, 5_000]],
        "halted_at": 3.0,
        "begins": 0.0,
    }
    yield "a visible defect", tags.rehearsal_course({"course": course, "runs": 1}, 1)


@_cases
def _slot_cell() -> Iterator[tuple[str, Mapping[str, Any]]]:
    cells = [
        Cell("open", "Room for 48,000: all of them fit", room="48k", fits="all", depth=4, address="#"),
        Cell("open", "Room for 9,000: 40 % fit", room="9k", fits="40 %", depth=2, own=1, address="#"),
        Cell("open", "Room for 200: few fit", room="200", fits="1 %", depth=1, address="#"),
        *(Cell(kind, kind.capitalize()) for kind in ("full", "protected", "maintenance", "incident")),
        *(Cell(kind, kind.capitalize()) for kind in ("passed", "closed", "none")),
    ]
    for cell in cells:
        yield cell.label, {"cell": cell}


@_cases
def _stacked_bar() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "nothing yet", tags.stacked_bar({}, "Your hubs")
    yield "little", tags.stacked_bar({State.BOOKED: 3, State.SUCCEEDED: 1}, "Your hubs")
    yield (
        "millions, running",
        tags.stacked_bar(
            {
                State.BOOKED: 4_113_902,
                State.STAGING: 48_000,
                State.STAGED: 1_204_118,
                State.ACTIVATING: 9_983,
                State.SUCCEEDED: 6_082_511,
                State.FAILED: 3,
                State.UNCONFIRMED: 1_204,
                State.MISSED: 22_392,
            },
            "Your hubs",
        ),
    )
    yield "halted", tags.stacked_bar({State.HELD: 700, State.SUCCEEDED: 250, State.FAILED: 50}, "Your hubs")


@_cases
def _stat() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "nothing", {"label": "Bad", "figure": 0, "unit": "hubs"}
    yield "little, leads on", {"label": "Missed", "figure": 1, "unit": "hub", "address": "#"}
    yield "millions", {"label": "Succeeded", "figure": 11_482_113, "unit": "hubs", "note": tags.as_of(NOW)}
    yield "words", {"label": "Next slot", "figure": "Tue 5 May, 02:00"}


@_cases
def _state() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for member in (*State, *ReleaseState, *Health):
        yield "", tags.state(member)
    for word, label in (
        ("urgent", ""),
        ("open", ""),
        ("success", "agrees"),
        ("warning", "short"),
        ("error", "silent"),
    ):
        yield "", tags.state(word, label)


@_cases
def _steps() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number in (1, 2, 3):
        yield f"step {number}", {"current": number}


@_cases
def _timeline() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield (
        "",
        {
            "events": [
                {
                    "moment": NOW,
                    "shape": "booked",
                    "title": "Booked",
                    "text": "by Dipa Rowan, in BK-7F3K-92QD",
                },
                {"moment": NOW + timedelta(days=1), "shape": "staged", "title": "Image sent", "text": ""},
                {
                    "moment": NOW + timedelta(days=2),
                    "shape": "succeeded",
                    "title": "Runs 10020501",
                    "text": "as read back",
                },
            ]
        },
    )


@_cases
def _words() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield "", {"words": glossary.used_in("A booking puts hubs into slots.")}
