"""The first steps of somebody who is new: where each leads, and which are done."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse

from portal.ground import roles
from scheduling.operations import first_steps
from scheduling.queries.first_steps import Progress
from scheduling.queries.standings import Standing
from scheduling.views.base import SupplierPage


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do: what it is for, where one does it, and whether it is done."""

    title: str
    words: str
    is_done: bool
    address: str = ""
    """Empty where there is nothing yet that it could be done with."""
    link: str = ""


def steps(*, progress: Progress, bookable: Sequence[Standing]) -> list[Step]:
    """Return the steps in their order; `bookable` are the releases that have hubs left to book."""
    release = bookable[0].release if bookable else None
    book = reverse("scheduling:book", args=[release.pk]) if release else ""
    has_chosen = progress.has_chosen or progress.has_booked
    return [
        Step(
            "See what is open",
            "Each release that is for hubs of yours has a card on this page: how many are left to book, until when, "
            "and how it fares in Great Britain. Its own page says what it changes.",
            has_chosen,
            reverse("scheduling:release", args=[release.pk]) if release else "",
            f"About {release.name}" if release else "",
        ),
        Step(
            "Choose hubs",
            "All that are left, those of a network or model that you tick, or a file of CHF IDs, MPANs or MPRNs. "
            "Nothing is booked by choosing.",
            has_chosen,
            book,
            "Choose hubs",
        ),
        Step(
            "Pick slots, check, and book",
            "As early as possible, spread over nights, or in one slot of the picture of the period. The last page says "
            "in numbers what will happen, and what cannot and why.",
            progress.has_booked,
            book if progress.has_chosen else "",
            "Go on booking",
        ),
        Step(
            "Follow your hubs",
            "A booking's page follows its hubs by itself, and takes moves and cancellations until the cut-off. Each "
            "hub has its story. You get e-mails before slots and when a booking is done.",
            progress.has_booked and progress.has_followed,
            reverse("scheduling:bookings"),
            "Your bookings",
        ),
        Step(
            "Keep protected windows",
            "Say when your hubs must not be touched: a tariff change, prepayment hours, a meter firmware job. Slots in "
            "them are refused, or warned of.",
            progress.has_protected,
            reverse("scheduling:windows"),
            "Your windows",
        ),
    ]


class FirstStepsView(SupplierPage):
    """Put the first steps away, or call them back."""

    http_method_names = ["post", "options"]
    to_see = roles.ACT

    def post(self, request: HttpRequest) -> HttpResponse:
        """Remember it, and lead back to the home page."""
        first_steps.show(person=self.person, is_shown=request.POST.get("shown") == "yes")
        return redirect("scheduling:home")
