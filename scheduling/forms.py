"""What people tell the portal when they book, cancel and look for hubs."""

import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import IO, Any

from crispy_forms.helper import FormHelper
from crispy_forms.layout import Column, Fieldset, Layout, Row
from django import forms
from django.core.files.uploadedfile import UploadedFile

from hubs import identifiers
from hubs.models import SHOWN, HubStatus, Network, PaymentMode
from hubs.queries import Filters
from portal.ground import uk_time
from scheduling.lifecycle import State
from scheduling.models import (
    Booking,
    Consent,
    HubGroup,
    HubSelection,
    Proposal,
    ProtectedWindow,
    Slot,
    Weekday,
)
from scheduling.operations.consents import Offer
from scheduling.planning import Hours
from scheduling.queries.parts import Destination, Part
from scheduling.queries.plans import Timing
from scheduling.queries.standings import Choice

FILE_LIMIT = 128 * 1024 * 1024
"""Bytes of an uploaded list of hubs: a million rows of a hundred characters."""
LIST_LIMIT = 2 * 1024 * 1024
"""Characters of a list of hubs: about a hundred thousand CHF IDs."""
GROUP_FILE_LIMIT = 16 * 1024 * 1024
"""Bytes of an uploaded list of a group's hubs."""
LISTED_LIMIT = 10_000
"""CHF IDs that can be typed into one field."""
FACETS = {
    "network": "Network",
    "model": "Hub model",
    "installed_version": "Installed version",
    "payment_mode": "Payment mode",
}
CHOSEN_BY = FACETS | {"group": "Saved group"}
"""What a booking's filter offers; a group is of the Supplier's own making."""
FILTERED = ("network", "model", "installed_version", "status", "payment_mode")


class ChooseForm(forms.Form):
    """Which hubs: all that are left, those that a filter names, or those of a file."""

    method = forms.ChoiceField(choices=HubSelection.Method, widget=forms.RadioSelect)
    file = forms.FileField(
        label="CSV or XLSX file",
        required=False,
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,.tsv,.xlsx"}),
    )

    postcode_area = forms.CharField(
        label="Postcode areas",
        required=False,
        max_length=500,
        help_text="The letters before the first digit of the postcode, with commas between: LS, BD, M.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, *args: Any, choices: Mapping[str, Sequence[Choice]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.facet_choices = choices
        for facet, label in CHOSEN_BY.items():
            self.fields[facet] = forms.TypedMultipleChoiceField(
                label=label,
                required=False,
                coerce=int,
                choices=[(choice.value, choice.word) for choice in choices[facet]],
                widget=forms.CheckboxSelectMultiple,
                error_messages={"invalid_choice": "Choose from the values shown."},
            )

    @property
    def facets(self) -> list[tuple[str, str, list[tuple[Choice, bool]]]]:
        """Return (name, label, choices with whether each is ticked) of each facet, for the page."""
        return [
            (
                facet,
                label,
                [(choice, str(choice.value) in self._ticked(facet)) for choice in self.facet_choices[facet]],
            )
            for facet, label in CHOSEN_BY.items()
        ]

    @property
    def chosen(self) -> str:
        """Return the method that is chosen, for the page."""
        value: str = self["method"].value() or str(HubSelection.Method.ALL)
        return value

    def _ticked(self, facet: str) -> set[str]:
        return {str(value) for value in self[facet].value() or ()}

    def clean_file(self) -> "UploadedFile[bytes] | None":
        """Refuse what is too large to be a list of hubs."""
        file: UploadedFile[bytes] | None = self.cleaned_data["file"]
        if file and file.size and file.size > FILE_LIMIT:
            raise forms.ValidationError(
                f"The file has {file.size / 1024 / 1024:.0f} MB; the limit is {FILE_LIMIT // 1024 // 1024} MB. "
                "Split it and book in parts."
            )
        return file

    def clean_postcode_area(self) -> list[str]:
        """Read the areas; refuse what has not the form of one."""
        words = re.split(r"[,;\s]+", self.cleaned_data["postcode_area"].upper().strip(",; \t\r\n"))
        areas = sorted({word for word in words if word})
        if wrong := [area for area in areas if not re.fullmatch(r"[A-Z]{1,2}", area)]:
            raise forms.ValidationError(
                f"Not a postcode area: {', '.join(area[:10] for area in wrong[:5])}. Give one or two letters each, "
                "with commas between, such as LS, BD, M."
            )
        return areas

    def clean(self) -> dict[str, Any]:
        """Ask for what the chosen method needs."""
        cleaned: dict[str, Any] = super().clean() or {}
        method = cleaned.get("method")
        if method == HubSelection.Method.FILE and not cleaned.get("file") and "file" not in self.errors:
            self.add_error("file", "Choose a file, or another way to say which hubs.")
        if (
            method == HubSelection.Method.FILTER
            and not any(cleaned.get(facet) for facet in (*CHOSEN_BY, "postcode_area"))
            and not any(facet in self.errors for facet in (*CHOSEN_BY, "postcode_area"))
        ):
            self.add_error("method", "Tick at least one value to filter by, or choose all remaining hubs.")
        return cleaned

    @property
    def criteria(self) -> dict[str, list[int] | list[str]]:
        """Return the ticked values by facet, and the postcode areas; none unless the method is the filter."""
        if self.cleaned_data["method"] != HubSelection.Method.FILTER:
            return {}
        return {facet: self.cleaned_data[facet] for facet in (*CHOSEN_BY, "postcode_area")}


EARLIEST_DAY, LATEST_DAY = date(2000, 1, 1), date(2199, 12, 31)
"""What a plan may name: far beyond any period, and near enough to reckon with."""
INSTANT_FORMATS = ["%Y-%m-%dT%H:%M:%S%z"]


class PlanForm(forms.Form):
    """When: as early as possible, in one slot, between two slots, or spread over days and hours."""

    plan = forms.ChoiceField(choices=Booking.Plan)
    start = forms.DateTimeField(required=False, input_formats=INSTANT_FORMATS)
    last = forms.DateTimeField(required=False, input_formats=INSTANT_FORMATS)
    weekdays = forms.TypedMultipleChoiceField(
        label="On these weekdays",
        required=False,
        coerce=int,
        choices=Weekday,
        widget=forms.CheckboxSelectMultiple,
    )
    opens = forms.TimeField(label="From", required=False)
    closes = forms.TimeField(label="To", required=False)
    first_day = forms.DateField(label="First day", required=False)
    last_day = forms.DateField(label="Last day", required=False)

    def clean(self) -> dict[str, Any]:
        """Ask for what the chosen plan needs."""
        cleaned: dict[str, Any] = super().clean() or {}
        match cleaned.get("plan"):
            case Booking.Plan.ONE_SLOT:
                self._ask_for_starts("start")
            case Booking.Plan.RANGE:
                self._ask_for_starts("start", "last")
            case Booking.Plan.SPREAD:
                self._ask_for_hours()
        return cleaned

    def _ask_for_starts(self, *fields: str) -> None:
        starts = [self.cleaned_data.get(field) for field in fields]
        if not all(start and EARLIEST_DAY.year <= start.year <= LATEST_DAY.year for start in starts):
            raise forms.ValidationError("Choose a slot." if len(fields) == 1 else "Choose two slots.")

    def _ask_for_hours(self) -> None:
        first, last = self.cleaned_data.get("first_day"), self.cleaned_data.get("last_day")
        if not self.cleaned_data.get("weekdays"):
            raise forms.ValidationError("Tick at least one weekday.")
        if self.cleaned_data.get("opens") is None or self.cleaned_data.get("closes") is None:
            raise forms.ValidationError("Give the hours, such as 02:00 to 05:00.")
        if not first or not last or first < EARLIEST_DAY or last > LATEST_DAY:
            raise forms.ValidationError("Give the first and the last day.")
        if first > last:
            raise forms.ValidationError("The last day is before the first.")

    @property
    def timing(self) -> Timing:
        """Return the plan with its particulars; of two slots the earlier is the first, whichever came first."""
        said = self.cleaned_data
        match plan := Booking.Plan(said["plan"]):
            case Booking.Plan.ONE_SLOT:
                return Timing(plan, start_at=said["start"])
            case Booking.Plan.RANGE:
                first, last = sorted([said["start"], said["last"]])
                return Timing(plan, start_at=first, last_start_at=last)
            case Booking.Plan.SPREAD:
                return Timing(
                    plan,
                    hours=Hours(
                        tuple(sorted(said["weekdays"])),
                        said["opens"],
                        said["closes"],
                        said["first_day"],
                        said["last_day"],
                    ),
                )
        return Timing(plan)


def plan_fields(*, timing: Timing) -> list[tuple[str, str]]:
    """Return the names and values by which `PlanForm` reads a plan again: for an address, or hidden inputs."""
    fields = [("plan", str(timing.plan))]
    if timing.start_at:
        fields.append(("start", timing.start_at.isoformat()))
    if timing.last_start_at:
        fields.append(("last", timing.last_start_at.isoformat()))
    if hours := timing.hours:
        fields += [("weekdays", str(weekday)) for weekday in hours.weekdays]
        fields += [("opens", f"{hours.opens:%H:%M}"), ("closes", f"{hours.closes:%H:%M}")]
        fields += [("first_day", hours.first_day.isoformat()), ("last_day", hours.last_day.isoformat())]
    return fields


class CancelForm(forms.Form):
    """Why a booking is taken back."""

    reason = forms.CharField(
        label="Why do you cancel?",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="Kept in the booking's history, which your colleagues and DCC can read.",
    )

    helper = FormHelper()
    helper.form_tag = False
    helper.disable_csrf = True


def read_hubs(*, text: str) -> list[int] | None:
    """
    Read CHF IDs, one per line or with commas between; None where there are none.

    :raises ValidationError: if they are too many, or naming the first words that are no CHF ID
    """
    words = [word for word in re.split(r"[\r\n,;]+", text) if word.strip()]
    if not words:
        return None
    if len(words) > LISTED_LIMIT:
        raise forms.ValidationError(
            f"{len(words):,} CHF IDs are too many for this field: at most {LISTED_LIMIT:,}. Use a filter, or "
            "change them in parts."
        )
    read: list[int] = []
    unreadable: list[str] = []
    for word in words:
        try:
            read.append(identifiers.parse_eui64(word))
        except identifiers.InvalidIdentifier:
            unreadable.append(word.strip()[:40])
    if unreadable:
        more = f" and {len(unreadable) - 5:,} more" if len(unreadable) > 5 else ""
        raise forms.ValidationError(
            f"Not a CHF ID: {', '.join(unreadable[:5])}{more}. Give 16 hexadecimal digits, such as "
            "00-DB-12-34-56-78-90-A0."
        )
    return read


class ChangeForm(forms.Form):
    """Which hubs of a booking, what is to become of them, and why."""

    CANCEL = "cancel"
    act = forms.ChoiceField(
        choices=[
            (CANCEL, "Cancel them"),
            (Booking.Plan.EARLIEST, "Move them, as early as possible from"),
            (Booking.Plan.ONE_SLOT, "Move them to the slot that begins on"),
        ],
        widget=forms.RadioSelect,
        label="Cancel, or move",
        error_messages={"required": "Choose what shall become of them."},
    )
    slot = forms.TypedChoiceField(coerce=int, empty_value=None, required=False, label="Slot")
    hubs = forms.CharField(
        label="CHF IDs",
        required=False,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocomplete": "off"}),
        help_text=f"One per line, or with commas between; at most {LISTED_LIMIT:,}. Empty: no list.",
    )
    moment = forms.CharField(
        label="Day and time",
        required=False,
        max_length=20,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="UK time; for one slot the minute at which it begins.",
    )
    clock = forms.ChoiceField(
        label="For the hour that happens twice in October",
        required=False,
        choices=[("", "Not needed"), ("1", "First time (BST)"), ("0", "Second time (GMT)")],
    )
    only_if_all = forms.BooleanField(label="Only if all of them can go", required=False)
    reason = forms.CharField(
        label="Why?",
        required=False,
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Kept in the booking's history, which your colleagues and DCC can read.",
    )

    def __init__(
        self,
        *args: Any,
        slots: Sequence[tuple[int, str]],
        choices: Mapping[str, Sequence[Choice]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        slot = self.fields["slot"]
        assert isinstance(slot, forms.ChoiceField)  # noqa: S101 - declared above
        slot.choices = [("", "All"), *slots]
        for facet, label in FACETS.items():
            self.fields[facet] = forms.TypedMultipleChoiceField(
                label=label,
                required=False,
                coerce=int,
                choices=[(choice.value, choice.word) for choice in choices[facet]],
                widget=forms.CheckboxSelectMultiple,
            )

    @property
    def facets(self) -> list[forms.BoundField]:
        """Return the fields of the facets that have more than one value, for the page."""
        return [self[facet] for facet in FACETS if len(self.fields[facet].choices) > 1]  # type: ignore[attr-defined]

    def clean_hubs(self) -> list[int] | None:
        """Read the CHF IDs; name those that are none."""
        return read_hubs(text=self.cleaned_data["hubs"])

    def clean(self) -> dict[str, Any]:
        """Ask for a time where hubs are to be moved, and settle which instant it is."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("act") in (None, self.CANCEL):
            return cleaned | {"moment": None}
        try:
            local = datetime.fromisoformat(cleaned.get("moment") or "").replace(tzinfo=None)
        except ValueError:
            self.add_error("moment", "Give the day and time to which they shall move.")
            return cleaned
        hours = cleaned.get("clock")
        try:
            cleaned["moment"] = uk_time.from_local(
                local, offset=timedelta(hours=int(hours)) if hours else None
            )
        except uk_time.AmbiguousLocalTime as error:
            self.add_error("clock" if not hours else "moment", str(error))
        return cleaned

    @property
    def part(self) -> Part:
        """Return which hubs are meant."""
        criteria = {facet: self.cleaned_data[facet] for facet in FACETS}
        if (slot := self.cleaned_data["slot"]) is not None:
            criteria["slot"] = [slot]
        return Part(criteria, self.cleaned_data["hubs"])

    @property
    def fingerprint(self) -> str:
        """Return what tells this choice from any other: what was looked at is what is done."""
        chosen = (self.part, self.destination, self.cleaned_data["only_if_all"])
        return hashlib.sha256(repr(chosen).encode()).hexdigest()

    @property
    def destination(self) -> Destination | None:
        """Return where they shall move; None where they are to be cancelled."""
        if self.cleaned_data["act"] == self.CANCEL:
            return None
        return Destination(Booking.Plan(self.cleaned_data["act"]), self.cleaned_data["moment"])


class ListFilterForm(forms.Form):
    """What a list is narrowed to, read from an address; the page draws it in one row."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = FormHelper()
        self.helper.form_tag = False
        self.helper.disable_csrf = True
        self.helper.layout = Layout(
            Row(*(Column(name, css_class="col-12 col-sm-6 col-md-4 col-xl-3") for name in self.fields))
        )


class BookingFilterForm(ListFilterForm):
    """Which bookings."""

    OPEN, OVER = "open", "over"

    release = forms.TypedChoiceField(coerce=int, empty_value=None, required=False)
    standing = forms.ChoiceField(
        label="Where they are",
        required=False,
        choices=[("", "All"), (OPEN, "Hubs still to come"), (OVER, "Every hub has ended")],
    )

    def __init__(self, *args: Any, releases: Sequence[tuple[int, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["release"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        field.choices = [("", "All"), *releases]


class StateFilterForm(forms.Form):
    """Which hubs of a booking."""

    state = forms.ChoiceField(required=False, choices=[("", "All"), *State.choices])


class ProposalFilterForm(ListFilterForm):
    """Which proposals."""

    state = forms.ChoiceField(
        label="Where they are", required=False, choices=[("", "All"), *Proposal.State.choices]
    )


class AnswerFilterForm(ListFilterForm):
    """Which answered questions."""

    answer = forms.ChoiceField(
        required=False,
        choices=[("", "All"), *(one for one in Consent.State.choices if one[0] != Consent.State.ASKED)],
    )


class WindowFilterForm(ListFilterForm):
    """Which protected windows."""

    HARD, SOFT = "hard", "soft"

    kind = forms.ChoiceField(
        label="What for", required=False, choices=[("", "All"), *ProtectedWindow.Kind.choices]
    )
    strength = forms.ChoiceField(
        required=False, choices=[("", "Hard and soft"), (HARD, "Hard"), (SOFT, "Soft")]
    )
    scope = forms.ChoiceField(
        label="Which hubs", required=False, choices=[("", "Any"), *ProtectedWindow.Scope.choices]
    )
    which = forms.ChoiceField(
        label="When", required=False, choices=[("", "On or to come"), ("all", "Also those that are over")]
    )


class HubFilterForm(forms.Form):
    """Which hubs to list: by facet, or one by its identifier."""

    network = forms.TypedChoiceField(coerce=int, empty_value=None, required=False)
    model = forms.TypedChoiceField(label="Hub model", coerce=int, empty_value=None, required=False)
    installed_version = forms.TypedChoiceField(coerce=int, empty_value=None, required=False)
    status = forms.TypedChoiceField(
        coerce=int,
        empty_value=None,
        required=False,
        choices=[("", "All"), *((int(status), HubStatus(status).label) for status in SHOWN)],
    )
    payment_mode = forms.TypedChoiceField(
        coerce=int, empty_value=None, required=False, choices=[("", "All"), *PaymentMode.choices]
    )
    search = forms.CharField(
        label="CHF ID, MPAN or MPRN",
        required=False,
        max_length=40,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(
        self,
        *args: Any,
        networks: Sequence[tuple[int, str]],
        models: Sequence[tuple[int, str]],
        versions: Sequence[tuple[int, str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        for name, choices in (("network", networks), ("model", models), ("installed_version", versions)):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
            field.choices = [("", "All"), *choices]
        self.helper = FormHelper()
        self.helper.form_tag = False
        self.helper.disable_csrf = True
        self.helper.layout = Layout(
            Row(
                *(Column(name, css_class="col-6 col-md-4 col-xl-2") for name in FILTERED),
                Column("search", css_class="col-12 col-md-4 col-xl-2"),
            )
        )

    def clean_search(self) -> str:
        """Refuse what is no identifier."""
        text: str = self.cleaned_data["search"].strip()
        if text:
            try:
                identifiers.recognise(text)
            except identifiers.InvalidIdentifier as error:
                raise forms.ValidationError(str(error)) from error
        return text

    @property
    def filters(self) -> Filters:
        """Return what the list is narrowed to."""
        wanted = {name: self.cleaned_data.get(name) for name in FILTERED}
        return Filters(**wanted, search=self.cleaned_data.get("search") or "")


class ListFields(forms.Form):
    """A list of hubs, typed or as a file."""

    listed = forms.CharField(
        label="CHF IDs, MPANs or MPRNs",
        required=False,
        max_length=LIST_LIMIT,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "autocomplete": "off"}),
        help_text="One per line, or with commas between.",
    )
    file = forms.FileField(
        label="Or a CSV or XLSX file",
        required=False,
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,.tsv,.xlsx"}),
        help_text="One hub per row in one column, with or without a header; at most 100,000 rows.",
    )

    def clean_file(self) -> "UploadedFile[bytes] | None":
        """Refuse what is too large to be a list of a hundred thousand rows."""
        file: UploadedFile[bytes] | None = self.cleaned_data["file"]
        if file and file.size and file.size > GROUP_FILE_LIMIT:
            raise forms.ValidationError(
                f"The file has {file.size / 1024 / 1024:.0f} MB; the limit is {GROUP_FILE_LIMIT // 1024 // 1024} MB. "
                "Split it, and add its parts one after the other."
            )
        return file

    def ask_for_list(self) -> None:
        """Ask for one list, and not for two."""
        if self.errors.keys() & {"listed", "file"}:
            return
        typed, file = self.cleaned_data.get("listed"), self.cleaned_data.get("file")
        if typed and file:
            self.add_error("file", "Give the hubs in the field or in a file, not both.")
        elif not typed and not file:
            self.add_error("listed", "Give the hubs here or in a file.")

    @property
    def named(self) -> IO[bytes]:
        """Return the list of a valid form as a file."""
        if file := self.cleaned_data["file"]:
            content: IO[bytes] = file.file
            return content
        lines = re.sub(r"[,;]", "\n", self.cleaned_data["listed"])
        return io.BytesIO(lines.encode())

    @property
    def file_name(self) -> str:
        """Return what the file was called; nothing where the list was typed."""
        file = self.cleaned_data["file"]
        return (file.name or "") if file else ""


class GroupForm(ListFields, HubFilterForm):
    """A new group: its name, and its hubs by a list or by a filter."""

    LIST, FILTER = "list", "filter"
    name = forms.CharField(max_length=80, help_text="Your colleagues find it by this name.")
    source = forms.ChoiceField(
        label="Which hubs",
        choices=[(LIST, "Those in a list"), (FILTER, "All that a filter shows")],
        widget=forms.RadioSelect,
        initial=LIST,
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        half = "col-12 col-md-6"
        self.helper.layout = Layout(
            "name",
            "source",
            Fieldset("A list", "listed", "file"),
            Fieldset("A filter", Row(*(Column(name, css_class=half) for name in FILTERED))),
        )

    def clean(self) -> dict[str, Any]:
        """Ask for a list where there is to be one, and for something to filter by where not."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("source") == self.LIST:
            self.ask_for_list()
        elif cleaned.get("source") == self.FILTER and all(cleaned.get(name) is None for name in FILTERED):
            self.add_error("source", "Choose at least one value to filter by.")
        return cleaned


class RenameForm(forms.Form):
    """Another name for a group."""

    name = forms.CharField(max_length=80)


class PilotForm(forms.Form):
    """Whether a group's hubs are volunteered as pilots."""

    is_pilot = forms.BooleanField(label="These hubs are pilots", required=False)


class MembersForm(ListFields):
    """Hubs to add to a group, or to take out of it."""

    ADD, TAKE_OUT = "add", "take_out"
    act = forms.ChoiceField(
        label="What to do",
        choices=[(ADD, "Add these hubs"), (TAKE_OUT, "Take these hubs out")],
        widget=forms.RadioSelect,
        initial=ADD,
        error_messages={"required": "Choose what shall become of them."},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.helper = FormHelper()
        self.helper.form_tag = False
        self.helper.disable_csrf = True
        self.helper.layout = Layout("act", "listed", "file")

    def clean(self) -> dict[str, Any]:
        """Ask for the list."""
        cleaned: dict[str, Any] = super().clean() or {}
        self.ask_for_list()
        return cleaned


CLOCKS = [("", "Not at a clock change"), ("1", "BST, before the clocks go back"), ("0", "GMT, after it")]


CLOCK_CHANGE = "clock_change"
"""The code of a local time that happens twice, or never."""


class LocalTimeField(forms.Field):
    """
    A date and time by the UK wall clock, naive: which instant it is has to be asked, for it may be two, or none.

    Where an offset from UTC is written behind it, it is an instant, and aware.
    """

    widget = forms.DateTimeInput(attrs={"type": "datetime-local"})

    def to_python(self, value: Any) -> datetime | None:
        """
        Read what a browser sends, or a person types.

        :raises ValidationError: if it is neither a date and time nor nothing
        """
        if value in self.empty_values:
            return None
        try:
            read = datetime.fromisoformat(str(value).strip()).replace(second=0, microsecond=0)
        except ValueError as error:
            raise forms.ValidationError("Give a date and a time, such as 2026-05-04 02:00.") from error
        _refuse_far_away(read)
        return read


class DayField(forms.DateField):
    """A day that is near enough to reckon with."""

    widget = forms.DateInput(attrs={"type": "date"})

    def to_python(self, value: Any) -> date | None:
        """
        Read a day.

        :raises ValidationError: if it is none, or far away
        """
        read = super().to_python(value)
        if read is not None:
            _refuse_far_away(read)
        return read


def _refuse_far_away(day: date) -> None:
    if not EARLIEST_DAY.year <= day.year <= LATEST_DAY.year:
        raise forms.ValidationError(f"Give a year from {EARLIEST_DAY.year} to {LATEST_DAY.year}.")


class WindowForm(forms.Form):
    """A protected window, once or week by week."""

    kind = forms.ChoiceField(label="What for", choices=ProtectedWindow.Kind)
    reason = forms.CharField(
        label="Reason",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="For your colleagues and DCC; no household data.",
    )
    strength = forms.ChoiceField(
        label="Strength",
        choices=[
            ("hard", "Hard: refuse bookings, and stop activations"),
            ("soft", "Soft: warn when booking"),
        ],
        widget=forms.RadioSelect,
        initial="hard",
    )
    scope = forms.ChoiceField(
        label="Which hubs",
        choices=ProtectedWindow.Scope,
        initial=ProtectedWindow.Scope.ALL,
    )
    network = forms.TypedChoiceField(required=False, empty_value=None)
    group = forms.TypedChoiceField(
        label="Saved group",
        required=False,
        empty_value=None,
        error_messages={"invalid_choice": "Choose one of your groups."},
    )
    payment_mode = forms.TypedChoiceField(
        coerce=int, empty_value=None, required=False, choices=[("", "---------"), *PaymentMode.choices]
    )
    hubs = forms.CharField(
        label="CHF IDs of the list",
        required=False,
        max_length=LIST_LIMIT,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="One a line.",
    )
    how_often = forms.ChoiceField(
        label="How often",
        choices=[("once", "Once"), ("weekly", "Every week")],
        widget=forms.RadioSelect,
        initial="once",
    )
    start = LocalTimeField(label="From (UK time)", required=False)
    start_clock = forms.ChoiceField(label="From: which clock", choices=CLOCKS, required=False)
    end = LocalTimeField(label="To (UK time)", required=False)
    end_clock = forms.ChoiceField(label="To: which clock", choices=CLOCKS, required=False)
    weekdays = forms.TypedMultipleChoiceField(
        label="Begins on",
        coerce=int,
        required=False,
        choices=Weekday.choices,
        widget=forms.CheckboxSelectMultiple,
    )
    starts = forms.TimeField(
        label="Opens (UK time)", required=False, widget=forms.TimeInput(attrs={"type": "time"})
    )
    ends = forms.TimeField(
        label="Closes (UK time)",
        required=False,
        widget=forms.TimeInput(attrs={"type": "time"}),
        help_text="At or before the opening: on the next day.",
    )
    valid_from = DayField(label="First day", required=False)
    valid_until = DayField(label="Last day", required=False)

    def __init__(
        self, *args: Any, networks: Sequence[Network], groups: Sequence[HubGroup], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        for name, objects in (("network", networks), ("group", groups)):
            field = self.fields[name]
            assert isinstance(field, forms.TypedChoiceField)  # noqa: S101 - declared above
            by_key: dict[str, Network | HubGroup] = {str(one.pk): one for one in objects}
            field.choices = [("", "---------"), *((key, str(one)) for key, one in by_key.items())]
            field.coerce = by_key.__getitem__
        half = "col-12 col-md-6"
        self.helper = FormHelper()
        self.helper.form_tag = False
        self.helper.disable_csrf = True
        self.helper.layout = Layout(
            "kind",
            "reason",
            "strength",
            Fieldset(
                "Which hubs",
                "scope",
                Row(Column("network", css_class=half), Column("payment_mode", css_class=half)),
                "group",
                "hubs",
            ),
            Fieldset("When", "how_often"),
            Fieldset(
                "Once",
                Row(Column("start", css_class=half), Column("start_clock", css_class=half)),
                Row(Column("end", css_class=half), Column("end_clock", css_class=half)),
            ),
            Fieldset(
                "Every week",
                "weekdays",
                Row(Column("starts", css_class=half), Column("ends", css_class=half)),
                Row(Column("valid_from", css_class=half), Column("valid_until", css_class=half)),
            ),
        )

    def clean_hubs(self) -> list[int]:
        """Read the CHF IDs, refusing the first line that is none."""
        found = []
        for number, line in enumerate(self.cleaned_data["hubs"].splitlines(), start=1):
            if text := line.strip().strip(",;"):
                try:
                    found.append(identifiers.parse_eui64(text))
                except identifiers.InvalidIdentifier as error:
                    raise forms.ValidationError(f"Line {number}: {error}") from error
        return found

    def clean(self) -> dict[str, Any]:
        """Ask for what the scope and the repetition need, and find the instants of local times."""
        cleaned: dict[str, Any] = super().clean() or {}
        scope = str(cleaned.get("scope"))
        wanted = [scope] if scope in ("network", "payment_mode", "group", "hubs") else []
        weekly = cleaned.get("how_often") == "weekly"
        wanted += ["weekdays", "starts", "ends"] if weekly else ["start", "end"]
        for name in wanted:
            if name not in self.errors and cleaned.get(name) in (None, "", []):
                self.add_error(name, "This is needed here.")
        if weekly:
            first, last = cleaned.get("valid_from"), cleaned.get("valid_until")
            if first and last and last < first:
                self.add_error("valid_until", "The last day is before the first.")
            return cleaned
        for name in ("start", "end"):
            if cleaned.get(name):
                clock = cleaned.get(f"{name}_clock")
                try:
                    cleaned[name] = _instant(cleaned[name], clock)
                except uk_time.AmbiguousLocalTime as error:
                    self.add_error(name, forms.ValidationError(str(error), code=CLOCK_CHANGE))
        if not self.errors and cleaned["end"] <= cleaned["start"]:
            self.add_error("end", "The end is not after the start.")
        return cleaned

    @property
    def window(self) -> ProtectedWindow:
        """Return the window that a valid form asks for, not kept yet."""
        said = self.cleaned_data
        scope = ProtectedWindow.Scope(said["scope"])
        window = ProtectedWindow(
            kind=said["kind"],
            reason=said["reason"],
            is_hard=said["strength"] == "hard",
            scope=scope,
            network=said["network"] if scope == ProtectedWindow.Scope.NETWORK else None,
            payment_mode=said["payment_mode"] if scope == ProtectedWindow.Scope.PAYMENT_MODE else None,
            group=said["group"] if scope == ProtectedWindow.Scope.GROUP else None,
        )
        if said["how_often"] == "weekly":
            window.weekdays = sum(1 << day for day in said["weekdays"])
            window.starts, window.ends = said["starts"], said["ends"]
            window.valid_from, window.valid_until = said["valid_from"], said["valid_until"]
        else:
            window.start_at, window.end_at = said["start"], said["end"]
        return window


def _instant(said: datetime, clock: str | None) -> datetime:
    """Return the instant that is said, in UTC; a written offset needs no clock."""
    if said.tzinfo:
        return said.astimezone(UTC)
    return uk_time.from_local(said, offset=timedelta(hours=int(clock)) if clock else None)


def window_fields(*, window: ProtectedWindow, hubs: Iterable[int]) -> dict[str, Any]:
    """Return what `WindowForm` would be told to ask for a window; `hubs` are the CHF IDs of its list."""
    said: dict[str, Any] = {
        "kind": window.kind,
        "reason": window.reason,
        "strength": "hard" if window.is_hard else "soft",
        "scope": window.scope,
        "network": window.network_id,
        "payment_mode": window.payment_mode,
        "group": window.group_id,
        "hubs": "\n".join(identifiers.format_eui64(hub) for hub in hubs),
        "how_often": "once" if window.start_at else "weekly",
        "weekdays": window.days,
        "starts": window.starts,
        "ends": window.ends,
        "valid_from": window.valid_from,
        "valid_until": window.valid_until,
    }
    for name, moment in (("start", window.start_at), ("end", window.end_at)):
        if moment:
            local = moment.astimezone(uk_time.LONDON)
            said[name] = f"{local:%Y-%m-%dT%H:%M}"
            if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
                said[f"{name}_clock"] = "0" if local.fold else "1"
    return said


class WindowFileForm(forms.Form):
    """A file of windows."""

    file = forms.FileField(
        label="CSV file",
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,.tsv"}),
        help_text="In UTF-8, with a header; at most 10,000 rows.",
    )


class ObjectForm(forms.Form):
    """Which hubs of a question, why they must not go then, and what the objector offers instead."""

    ALL, LIST = "all", "list"
    WINDOW, SLOT = "window", "slot"
    which = forms.ChoiceField(
        label="Object to",
        choices=[(ALL, "All that wait for your answer in this slot"), (LIST, "Only those that you list")],
        widget=forms.RadioSelect,
        initial=ALL,
    )
    hubs = forms.CharField(
        label="CHF IDs",
        required=False,
        strip=True,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "autocomplete": "off"}),
        help_text=f"One per line, or with commas between; at most {LISTED_LIMIT:,}.",
    )
    reason = forms.CharField(
        label="Why not then?",
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="The Supplier that booked and DCC read it; no household data.",
    )
    instead = forms.ChoiceField(
        label="Offer one of these",
        choices=[
            (WINDOW, "Keep a protected window: the hubs go to the first slot clear for both Suppliers"),
            (SLOT, "Offer another slot: there you have agreed"),
        ],
        widget=forms.RadioSelect,
        initial=WINDOW,
    )
    kind = forms.ChoiceField(
        label="What for",
        choices=[("", "Choose"), *ProtectedWindow.Kind.choices],
        required=False,
        error_messages={"invalid_choice": "Choose what the window is for."},
    )
    scope = forms.ChoiceField(
        label="For which hubs",
        required=False,
        choices=[
            (ProtectedWindow.Scope.HUBS, "Those that you object to"),
            (ProtectedWindow.Scope.NETWORK, "All our hubs on this network"),
            (ProtectedWindow.Scope.ALL, "All our hubs"),
        ],
    )
    start = LocalTimeField(label="From (UK time)", required=False)
    start_clock = forms.ChoiceField(label="From: which clock", choices=CLOCKS, required=False)
    end = LocalTimeField(label="To (UK time)", required=False)
    end_clock = forms.ChoiceField(label="To: which clock", choices=CLOCKS, required=False)
    alternative = forms.TypedChoiceField(
        label="Slot that you offer (UK time)",
        coerce=int,
        empty_value=None,
        required=False,
        help_text="Those of this network that have room. Others are full or not available.",
        error_messages={"invalid_choice": "That slot is no longer free. Choose another one."},
    )

    def __init__(
        self, *args: Any, slot: Slot, alternatives: Sequence[tuple[int, str]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._slot = slot
        field = self.fields["alternative"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - declared above
        field.choices = [("", "Choose a slot"), *alternatives]
        for name, moment in (("start", slot.start_at), ("end", slot.end_at)):
            local = moment.astimezone(uk_time.LONDON)
            self.initial.setdefault(name, f"{local:%Y-%m-%dT%H:%M}")
            if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
                self.initial.setdefault(f"{name}_clock", "0" if local.fold else "1")

    def clean_hubs(self) -> list[int] | None:
        """Read the CHF IDs; name those that are none."""
        return read_hubs(text=self.cleaned_data["hubs"])

    def clean(self) -> dict[str, Any]:
        """Ask for what the choices need, and settle which instants are meant."""
        cleaned: dict[str, Any] = super().clean() or {}
        if cleaned.get("which") == self.LIST and "hubs" not in self.errors and not cleaned.get("hubs"):
            self.add_error("hubs", "List the hubs that you object to, or object to all of them.")
        if cleaned.get("instead") == self.SLOT:
            if "alternative" not in self.errors and cleaned.get("alternative") is None:
                self.add_error("alternative", "Choose the slot that you offer, or keep a protected window.")
            return cleaned
        needed = {
            "kind": "Choose what the protected window is for.",
            "scope": "Choose for which hubs the protected window is.",
            "start": "Give the beginning of the protected window.",
            "end": "Give the end of the protected window.",
        }
        for name, sentence in needed.items():
            if name not in self.errors and cleaned.get(name) in (None, ""):
                self.add_error(name, sentence)
        for name in ("start", "end"):
            if cleaned.get(name):
                try:
                    cleaned[name] = _instant(cleaned[name], cleaned.get(f"{name}_clock"))
                except uk_time.AmbiguousLocalTime as error:
                    self.add_error(name, str(error))
        if not self.errors and cleaned["end"] <= cleaned["start"]:
            self.add_error("end", "The end is not after the start.")
        return cleaned

    @property
    def offer(self) -> Offer:
        """Return what a valid form offers in place of the slot."""
        said = self.cleaned_data
        hubs = said["hubs"] if said["which"] == self.LIST else None
        if said["instead"] == self.SLOT:
            return Offer(hubs, alternative=Slot.objects.get(pk=said["alternative"]))
        scope = ProtectedWindow.Scope(said["scope"])
        return Offer(
            hubs,
            window=ProtectedWindow(
                kind=said["kind"],
                reason=said["reason"],
                is_hard=True,
                scope=scope,
                network_id=self._slot.network_id if scope == ProtectedWindow.Scope.NETWORK else None,
                start_at=said["start"],
                end_at=said["end"],
            ),
        )

    @property
    def fingerprint(self) -> str:
        """Return what tells this choice from any other, but for the reason: what was looked at is what is done."""
        said = {name: value for name, value in self.cleaned_data.items() if name != "reason"}
        return hashlib.sha256(repr(sorted(said.items(), key=lambda item: item[0])).encode()).hexdigest()
