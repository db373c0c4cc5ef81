"""One table for each list. They take lists, already fetched and cut to a page, and never count anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import django_tables2 as tables

NUMBER = {"th": {"class": "number"}, "td": {"class": "number"}}
ONE_LINE = {"th": {"class": "text-nowrap"}, "td": {"class": "text-nowrap"}}


def cell(name: str, **options: Any) -> tables.TemplateColumn:
    """Make a column that is written by `templates/scheduling/cells/<name>.html`."""
    return tables.TemplateColumn(template_name=f"scheduling/cells/{name}.html", **options)


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a column: how it is written, and where the list is in its order, if it can be; `sorted` if it is."""

    header: str
    attributes: str
    address: str = ""
    sorted: str = ""


class ListTable(tables.Table):  # type: ignore[misc]  # without types
    """
    What the tables have in common: our markup, in the order in which the rows come.

    `orders` says by the name of a column where the list is in its order, and which way it is sorted by it now.
    """

    orders: Mapping[str, tuple[str, str]] = {}

    class Meta:
        template_name = "scheduling/table.html"
        orderable = False

    @property
    def heads(self) -> list[Head]:
        """The heads of its columns."""
        return [
            Head(column.header, column.attrs["th"].as_html(), *self.orders.get(column.name, ("", "")))
            for column in self.columns
        ]


class BookingTable(ListTable):
    """A Supplier's bookings, each a `scheduling.lists.bookings.Line`."""

    reference = cell("booking", accessor="booking__reference", verbose_name="Booking")
    release = tables.Column(accessor="booking__release__name", verbose_name="Release")
    hubs = cell("number", accessor="booking__hubs", attrs=NUMBER)
    progress = cell("progress", verbose_name="Progress")
    booked_at = cell("moment", accessor="booking__created_at", verbose_name="Booked")
    by = tables.Column(accessor="booking__maker", verbose_name="By")
    unplaced = cell("number", accessor="booking__unplaced", attrs=NUMBER, verbose_name="Without a place")
    done_at = cell("moment", accessor="booking__done_at", verbose_name="Over since", default="–")


class ProposalTable(ListTable):
    """Proposals, each a `Proposal` with the word for where it is."""

    proposal = cell("proposal", accessor="0", verbose_name="Proposal")
    by = tables.Column(accessor="0__asked_by", verbose_name="By")
    asked_at = cell("moment", accessor="0__asked_at", verbose_name="When")
    hubs = cell("number", accessor="0__hubs", attrs=NUMBER)
    until = cell("moment", accessor="0__until", verbose_name="Can be agreed to until")
    word = tables.Column(accessor="1", verbose_name="Where it is")
    decided_by = tables.Column(accessor="0__decided_by", verbose_name="Answered by", default="–")


class SlotTable(ListTable):
    """The slots of a booking with their progress, each a `scheduling.views.bookings.SlotLine`."""

    start_at = cell("moment", verbose_name="Starts")
    end_at = cell("clock", verbose_name="Ends")
    network = tables.Column()
    hubs = cell("number", accessor="progress__total", attrs=NUMBER)
    progress = cell("progress", verbose_name="Progress")
    change_until = cell("moment", verbose_name="Can be changed until")


class PlannedSlotTable(ListTable):
    """The slots that a booking would use, each a `scheduling.queries.previews.Part`."""

    start_at = cell("moment", verbose_name="Starts")
    end_at = cell("clock", verbose_name="Ends")
    network = tables.Column()
    hubs = cell("number", attrs=NUMBER)
    change_until = cell("moment", verbose_name="Can be changed until")


class BookedHubTable(ListTable):
    """The hubs of a booking, each a `scheduling.lists.bookings.BookedLine`."""

    hub = cell("hub", verbose_name="CHF ID")
    network = tables.Column()
    slot_start = cell("moment", verbose_name="Slot")
    state = cell("state")
    why = tables.Column(verbose_name="Why", default="–")
    moved_at = cell("moment", verbose_name="Since")
    change = cell("change", verbose_name="Change")


class HubTable(ListTable):
    """A Supplier's hubs, each a `scheduling.lists.hubs.Line`."""

    hub = cell("hub", accessor="hub__chf_id", verbose_name="CHF ID")
    gpf_id = cell("eui64", accessor="hub__gpf_id", verbose_name="GPF ID")
    network = tables.Column(accessor="hub__network__name")
    region = tables.Column(accessor="hub__get_region_display")
    model = tables.Column(accessor="hub__model__name", verbose_name="Model")
    hardware = tables.Column(accessor="hub__hardware_version", attrs=NUMBER, verbose_name="Hardware")
    installed_version = cell("version", accessor="hub__installed_version", verbose_name="Installed")
    status = tables.Column(accessor="hub__get_status_display")
    payment_mode = tables.Column(accessor="hub__get_payment_mode_display", verbose_name="Payment")
    mpan = tables.Column(verbose_name="MPAN", attrs=ONE_LINE, default="–", empty_values=("",))
    mprn = tables.Column(verbose_name="MPRN", attrs=ONE_LINE, default="–", empty_values=("",))
    role = tables.Column(verbose_name="You are")
    deployment = cell("booked_in", verbose_name="Booked for")


class ShareTable(ListTable):
    """A Supplier's hubs of a release's models, each a `scheduling.views.releases.ShareLine`."""

    network = tables.Column()
    model = tables.Column(attrs=ONE_LINE)
    version = cell("version", accessor="version_text", verbose_name="Installed version")
    hubs = cell("share", attrs=NUMBER)
    word = tables.Column(verbose_name="This release")


class WindowTable(ListTable):
    """Protected windows, each a `scheduling.lists.windows.Line`."""

    kind = tables.Column(accessor="window__get_kind_display", verbose_name="What for")
    when = tables.Column(verbose_name="When (UK time)")
    who = tables.Column(verbose_name="Which hubs")
    strength = tables.Column()
    blocked = cell("number", attrs=NUMBER, verbose_name="Slots of open releases")
    reason = tables.Column(accessor="window__reason")
    made_at = cell("moment", accessor="window__created_at", verbose_name="Made")
    made_by = tables.Column(accessor="window__made_by", verbose_name="Made by")
    acts = cell("window_acts", verbose_name="Change", empty_values=())


class GroupTable(ListTable):
    """Saved groups of hubs, each a `scheduling.views.groups.Line`."""

    name = cell("group", accessor="group")
    hubs = cell("number", accessor="group__hubs", attrs=NUMBER)
    is_pilot = cell("pilot", accessor="group__is_pilot", verbose_name="Pilots")
    windows = cell("number", attrs=NUMBER, verbose_name="Protected windows on it")
    made_by = tables.Column(accessor="group__made_by", verbose_name="Made by")
    changed_at = cell("moment", accessor="group__changed_at", verbose_name="Changed")


class MemberTable(ListTable):
    """The hubs of a group, each a `CommunicationsHub` with its facts."""

    chf_id = cell("hub", verbose_name="CHF ID")
    gpf_id = cell("eui64", verbose_name="GPF ID")
    network = tables.Column(accessor="network__name")
    region = tables.Column(accessor="get_region_display")
    model = tables.Column(accessor="model__name", verbose_name="Model")
    hardware = tables.Column(accessor="hardware_version", attrs=NUMBER, verbose_name="Hardware")
    installed_version = cell("version", verbose_name="Installed")
    status = tables.Column(accessor="get_status_display")
    payment_mode = tables.Column(accessor="get_payment_mode_display", verbose_name="Payment")


class QuestionTable(ListTable):
    """Questions to answer, each a `scheduling.queries.consents.Question`."""

    start_at = cell("moment", accessor="consent__slot__start_at", verbose_name="Slot")
    end_at = cell("clock", accessor="consent__slot__end_at", verbose_name="Ends")
    network = tables.Column(accessor="consent__slot__network__name", verbose_name="Network")
    hubs = cell("asked_hubs", attrs=NUMBER)
    answer_by = cell("moment", accessor="consent__answer_by", attrs=ONE_LINE, verbose_name="Answer by")
    without = cell(
        "without_an_answer",
        accessor="consent__is_explicit",
        attrs=ONE_LINE,
        verbose_name="Without an answer",
    )
    answer = cell("answer", accessor="consent__pk", attrs=ONE_LINE, verbose_name="Your answer")


class WaitingTable(ListTable):
    """What own bookings ask of others, each a `scheduling.queries.consents.Asked`."""

    reference = cell("booking", accessor="booking__reference", verbose_name="Booking")
    release = tables.Column(accessor="booking__release__name", verbose_name="Release")
    party = tables.Column(verbose_name="Asked of")
    hubs = cell("number", attrs=NUMBER)
    slots = cell("number", attrs=NUMBER)
    answer_by = cell("moment", verbose_name="First answer by")


class AnsweredTable(ListTable):
    """Answered questions, each a `scheduling.lists.consents.Answer`."""

    reference = cell("consent", accessor="question__consent", verbose_name="Booking")
    release = tables.Column(accessor="question__consent__booking__release__name", verbose_name="Release")
    party = tables.Column(accessor="question__party", verbose_name="Asked by")
    start_at = cell("moment", accessor="question__consent__slot__start_at", verbose_name="Slot")
    network = tables.Column(accessor="question__consent__slot__network__name", verbose_name="Network")
    hubs = cell("number", accessor="question__hubs", attrs=NUMBER)
    state = tables.Column(verbose_name="Answer")
    answered_at = cell("moment", accessor="question__consent__answered_at", verbose_name="When")
    by = tables.Column(verbose_name="By")


class AskedHubTable(ListTable):
    """The hubs of a question, each a `scheduling.queries.consents.AskedHub`."""

    hub = cell("hub", verbose_name="CHF ID")
    state = cell("state")


class PartTable(ListTable):
    """Parts of an own booking that wait for an answer, each a `scheduling.queries.consents.Question`."""

    start_at = cell("moment", accessor="consent__slot__start_at", verbose_name="Slot")
    network = tables.Column(accessor="consent__slot__network__name", verbose_name="Network")
    hubs = cell("number", attrs=NUMBER)
    party = tables.Column(verbose_name="Waits for the")
    answer_by = cell("moment", accessor="consent__answer_by", verbose_name="Until")
    without = cell(
        "without_an_answer",
        accessor="consent__is_explicit",
        attrs=ONE_LINE,
        verbose_name="Without an answer",
    )
