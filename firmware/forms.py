"""What DCC types about a release, checked against the image while it can still be corrected."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from firmware import images, policies
from firmware.models import (
    AvailabilityPeriod,
    FirmwareRelease,
    Part,
    Predecessor,
    RolloutPolicy,
    Urgency,
)
from firmware.operations import releases, stored_images
from hubs.models import FirmwareVersion, Network
from portal.ground.uk_time import LONDON, AmbiguousLocalTime, Span, day_bounds, from_local

FIELD_OF_FAULT = {
    "file": "file",
    "digest": "typed_digest",
    "version": "typed_version",
    "hub_models": "hub_models",
    "hardware": "minimum_hardware",
}


class HexadecimalField(forms.CharField):
    """A number typed as so many hexadecimal digits."""

    def __init__(self, *, digits: int, **options: Any) -> None:
        self.digits = digits
        options.setdefault(
            "widget", forms.TextInput(attrs={"size": digits + 2, "class": "code", "spellcheck": "false"})
        )
        super().__init__(**options)

    def prepare_value(self, value: Any) -> Any:
        """Show a number as its digits, and what was typed as it was typed."""
        return f"{value:0{self.digits}X}" if isinstance(value, int) else value

    def to_python(self, value: Any) -> Any:
        """Read the number; nothing typed is None."""
        text = super().to_python(value)
        if not text:
            return None
        if len(text) != self.digits or set(text.lower()) - set("0123456789abcdef"):
            raise ValidationError(f"“{text}” is not {self.digits} hexadecimal digits (0–9, A–F).")
        return int(text, 16)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare what is shown."""
        return str(self.prepare_value(initial) or "").lower() != str(data or "").strip().lower()


class DigestField(forms.CharField):
    """A SHA-256 typed in hex, in either case, with or without spaces between groups."""

    def to_python(self, value: Any) -> str:
        """Read the hash as 64 lower-case digits."""
        text = "".join((super().to_python(value) or "").split()).lower()
        if text and (len(text) != 64 or set(text) - set("0123456789abcdef")):
            raise ValidationError(
                f"A SHA-256 has 64 hexadecimal digits (0–9, A–F); {len(text)} characters were typed."
            )
        return text


class UkTimeField(forms.Field):
    """A UK local time, kept in UTC; one that does not exist, or exists twice, is refused."""

    widget = forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"})

    def prepare_value(self, value: Any) -> Any:
        """Show a moment in UK time."""
        return value.astimezone(LONDON).replace(tzinfo=None) if isinstance(value, datetime) else value

    def to_python(self, value: Any) -> datetime | None:
        """Read a UK local time such as `2026-05-04T00:00`."""
        if value in self.empty_values:
            return None
        try:
            typed = datetime.fromisoformat(str(value).strip())
        except ValueError as error:
            raise ValidationError(f"“{value}” is not a date and a time, such as 2026-05-04 00:00.") from error
        if typed.tzinfo is not None:
            raise ValidationError("Give a UK local time, without an offset.")
        try:
            return from_local(typed)
        except AmbiguousLocalTime as error:
            raise ValidationError(str(error)) from error

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare what is shown."""
        shown = self.prepare_value(initial)
        return (f"{shown:%Y-%m-%dT%H:%M}" if shown else "") != (str(data or "")[:16].replace(" ", "T"))


class StageSizesField(forms.Field):
    """Numbers of hubs with commas between them, each at least as large as the one before."""

    def prepare_value(self, value: Any) -> Any:
        """Show the numbers in a row."""
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> list[int]:
        """Read the numbers."""
        if isinstance(value, list | tuple):
            return list(value)
        parts = [part.strip() for part in str(value or "").split(",") if part.strip()]
        if not all(part.isascii() and part.isdigit() and int(part) for part in parts):
            raise ValidationError("Give numbers of hubs, such as 50, 500, 5000, 50000.")
        sizes = [int(part) for part in parts]
        if sizes != sorted(sizes):
            raise ValidationError("A stage cannot be smaller than the one before it.")
        return sizes

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare what is shown."""
        return str(self.prepare_value(initial) or "") != str(data or "").strip()


class ReleaseForm(forms.ModelForm[FirmwareRelease]):
    """One release: the image, and what the CPL entry says of it, typed by hand so that the two can differ."""

    file = forms.FileField(
        label="Image file",
        help_text=f"Zigbee OTA image, signed; at most {settings.IMAGE_SIZE_LIMIT:,} bytes.",
    )
    typed_digest = DigestField(
        label="CPL hash (SHA-256)",
        help_text="As the CPL entry states it: 64 hexadecimal digits.",
        widget=forms.TextInput(attrs={"size": 70, "class": "code", "spellcheck": "false"}),
    )
    typed_version = HexadecimalField(
        label="Version", digits=8, help_text="As the CPL entry states it: 8 hexadecimal digits."
    )
    minimum_hardware = HexadecimalField(
        label="Lowest hardware version", digits=4, initial=0, help_text="4 hexadecimal digits."
    )
    maximum_hardware = HexadecimalField(
        label="Highest hardware version", digits=4, initial=0xFFFF, help_text="4 hexadecimal digits."
    )
    expected_revision = forms.IntegerField(widget=forms.HiddenInput, required=False)

    class Meta:
        model = FirmwareRelease
        fields = (
            "cpl_entry_id",
            "name",
            "hub_models",
            "minimum_hardware",
            "maximum_hardware",
            "has_no_predecessor",
            "notes",
            "known_issues",
            "contact",
            "urgency",
            "urgency_reason",
        )
        widgets = {
            "hub_models": forms.CheckboxSelectMultiple,
            "urgency": forms.RadioSelect,
            "urgency_reason": forms.Textarea(attrs={"rows": 2, "cols": 70}),
            "notes": forms.Textarea(attrs={"rows": 5, "cols": 70}),
            "known_issues": forms.Textarea(attrs={"rows": 3, "cols": 70}),
        }
        help_texts = {
            "hub_models": "The manufacturer code and image type of each have to be those of the image.",
            "contact": "A person or desk whom Suppliers can ask, with an address or number.",
            "urgency_reason": "Needed for an urgent release; Suppliers read it.",
            "notes": "In the words of a Supplier's operations desk.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        release = self.instance
        if release.pk:
            self.initial["typed_digest"] = release.digest
            self.initial["typed_version"] = release.version.number
            self.initial["expected_revision"] = release.revision
            if "file" in self.fields:
                self.fields["file"].required = False
                self.fields["file"].label = "New image file"
                self.fields[
                    "file"
                ].help_text = f"Leave empty to keep the stored image of {release.size:,} bytes."
        self.was_urgency = Urgency(release.urgency) if release.pk else None

    def clean_file(self) -> UploadedFile[Any] | None:
        """Refuse a file that is too large, which was not even kept."""
        file: UploadedFile[Any] | None = self.cleaned_data["file"]
        limit: int = settings.IMAGE_SIZE_LIMIT
        if file and (file.size or 0) > limit:
            raise ValidationError(
                f"The file is too large. Wanted at most {limit:,} bytes, found {file.size:,} bytes."
            )
        return file

    def clean(self) -> dict[str, Any]:
        """Compare what was typed with the image, field by field."""
        typed = super().clean() or self.cleaned_data
        if typed.get("urgency") == Urgency.URGENT and not typed.get("urgency_reason", "").strip():
            self.add_error("urgency_reason", "Say why the release is urgent.")
        if typed.get("typed_version") is not None:
            # for the predecessors' formset, which sees only the instance
            self.instance.version = FirmwareVersion(number=typed["typed_version"])
        if typed.get("minimum_hardware") is not None and typed.get("maximum_hardware") is not None:
            if typed["minimum_hardware"] > typed["maximum_hardware"]:
                self.add_error("minimum_hardware", "The lowest hardware version is above the highest.")
            elif not {"file", "typed_digest", "typed_version", "hub_models"} & self.errors.keys():
                self._compare(typed)
        return typed

    def _compare(self, typed: Mapping[str, Any]) -> None:
        claim = images.Claim(
            digest=typed["typed_digest"],
            version=typed["typed_version"],
            minimum_hardware=typed["minimum_hardware"],
            maximum_hardware=typed["maximum_hardware"],
            models=[
                images.CoveredModel(model.name, model.manufacturer, model.image_type)
                for model in typed["hub_models"]
            ],
        )
        try:
            if typed.get("file"):
                releases.examine(claim=claim, content=typed["file"])
            else:
                stored_images.verify_stored_image(release=self.instance)
                with self.instance.image.open("rb") as stored:
                    releases.examine(claim=claim, content=stored)
        except stored_images.ImageUnusable as error:
            self.add_error("file", str(error))
        except releases.UnableToUpload as error:
            for field, sentences in error.faults.items():
                for sentence in sentences:
                    self.add_error(FIELD_OF_FAULT[field], sentence)


class PredecessorForm(forms.ModelForm[Predecessor]):
    """A version over which the release may go, typed as such, or as the CPL Entry ID of a release here."""

    typed_version = HexadecimalField(
        label="Version", digits=8, required=False, help_text="8 hexadecimal digits"
    )

    class Meta:
        model = Predecessor
        fields = ("cpl_entry_id",)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["typed_version"] = self.instance.version.number

    def clean(self) -> dict[str, Any]:
        """Find the version of a CPL Entry ID, and refuse one that belongs to another version."""
        typed = super().clean() or self.cleaned_data
        version, entry = typed.get("typed_version"), typed.get("cpl_entry_id", "")
        known = (
            FirmwareRelease.objects.filter(cpl_entry_id=entry).select_related("version").first()
            if entry
            else None
        )
        if "typed_version" in self.errors or typed.get("DELETE"):
            return typed
        if version is None and known is None:
            self.add_error(
                "typed_version",
                f"No release here has the CPL Entry ID “{entry}”: type its version as well."
                if entry
                else "Type the version, or the CPL Entry ID of a release here.",
            )
        elif known is not None and version is not None and known.version.number != version:
            self.add_error(
                "typed_version",
                f"{version:08X} was typed, but CPL Entry ID “{entry}” is of version {known.version}.",
            )
        elif version is None and known is not None:
            typed["typed_version"] = known.version.number
        return typed


class PredecessorFormSet(forms.BaseInlineFormSet[Predecessor, FirmwareRelease, PredecessorForm]):
    """The predecessors of one release."""

    def clean(self) -> None:
        """Refuse what is not older, comes twice, or contradicts “any version”."""
        super().clean()
        number = self.instance.version.number if self.instance.version_id or _has_version(self) else None
        if number is None or any(self.errors):
            return
        try:
            releases.refuse_predecessors(
                version=number,
                predecessors=steps(self),
                has_no_predecessor=self.instance.has_no_predecessor,
            )
        except releases.UnableToUpload as error:
            raise ValidationError(list(error.faults["predecessors"])) from error


def _has_version(formset: PredecessorFormSet) -> bool:
    return "version" in formset.instance._state.fields_cache


class PeriodForm(forms.ModelForm[AvailabilityPeriod]):
    """The half-open span in which one network is open, in UK local time; a new row without times is none."""

    start_at = UkTimeField(label="Opens (UK time)")
    end_at = UkTimeField(label="Closes (UK time)", help_text="The first moment that is no longer in it.")

    class Meta:
        model = AvailabilityPeriod
        fields = ("network", "start_at", "end_at")

    def has_changed(self) -> bool:
        """Leave out a network that was offered and whose times were taken away."""
        changed = set(self.changed_data)
        return bool(changed if self.instance.pk else changed - {"network"})

    def clean(self) -> dict[str, Any]:
        """Refuse a period that ends before it begins."""
        typed = super().clean() or self.cleaned_data
        start, end = typed.get("start_at"), typed.get("end_at")
        if start and end and end <= start:
            self.add_error("end_at", "The period closes before it opens.")
            # the database's own words for it would add nothing
            typed.pop("end_at", None)
        return typed


TIME_TO_SIGN = timedelta(days=7)
"""What a new release's periods leave until it is published."""


def usual_periods(*, now: datetime) -> list[dict[str, Any]]:
    """Return what a new release begins with: every network, as soon and for as short as its usual policy lets it."""
    usual = policies.BY_URGENCY[Urgency.NORMAL]
    opening = usual["notice_before_opening"].after(now + TIME_TO_SIGN).astimezone(LONDON).date()
    opening += timedelta(days=1)
    closing = usual["minimum_period"].after(day_bounds(opening)[0]).astimezone(LONDON).date()
    return [
        {"network": network, "start_at": day_bounds(opening)[0], "end_at": day_bounds(closing)[0]}
        for network in Network.objects.order_by("pk")
    ]


class PolicyForm(forms.ModelForm[RolloutPolicy]):
    """The rules of one release; what is left empty takes the default of its urgency."""

    stage_sizes = StageSizesField(
        label="Stages",
        required=False,
        initial=list(policies.STAGE_SIZES),
        help_text="Hubs per stage, then tranches of the last size.",
    )

    class Meta:
        model = RolloutPolicy
        fields = (
            "notice_before_opening",
            "minimum_period",
            "cut_off",
            "objection_window",
            "explicit_consent_within",
            "fair_share_until",
            "reserve_percent",
            "default_allocation_percent",
            "default_allocation_notice",
            "staging_opens",
            "grace",
            "retry_interval",
            "silence_deadline",
            "first_reminder",
            "last_reminder",
            "stage_sizes",
            "soak",
            "in_flight_floor",
            "in_flight_percent",
            "in_flight_ceiling",
            "tolerated_bad_percent",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, field in self.fields.items():
            field.required = False
            if isinstance(self.initial.get(name), Span):  # so that what was not touched has not changed
                self.initial[name] = str(self.initial[name])
            if name in policies.BY_URGENCY["normal"]:
                normal, urgent = (
                    policies.BY_URGENCY[urgency][name] for urgency in (Urgency.NORMAL, Urgency.URGENT)
                )
                field.help_text = f"Empty: {normal}, or {urgent} for an urgent release."
                if self.instance._state.adding:
                    self.initial[name] = None
        if self.instance._state.adding:
            self.initial["stage_sizes"] = list(policies.STAGE_SIZES)


class DecisionForm(forms.Form):
    """
    A reason, where the decision wants one, and what the decider saw.

    A halt may be of a part of the release, and a resumption may leave parts out: `parts` are those that it has.
    """

    revision = forms.IntegerField(widget=forms.HiddenInput)
    digest = forms.CharField(widget=forms.HiddenInput)
    reason = forms.CharField(
        widget=forms.Textarea(attrs={"rows": 3, "cols": 70}), max_length=2000, required=False
    )
    part = forms.TypedChoiceField(label="What is halted", required=False)
    leaves_out = forms.TypedMultipleChoiceField(
        label="Leave out what stays halted",
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(self, *args: Any, needs_reason: bool, parts: Sequence[Part] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].required = needs_reason
        by_code = {part.code: part for part in parts}
        choices = [(code, _capitalised(str(part))) for code, part in by_code.items()]
        for name, offered in (("part", [("", "The whole release"), *choices]), ("leaves_out", choices)):
            field = cast(forms.TypedChoiceField, self.fields[name])
            field.choices = offered
            field.coerce = by_code.__getitem__


def _capitalised(words: str) -> str:
    return words[:1].upper() + words[1:]


def _rows(formset: forms.BaseFormSet[Any]) -> list[dict[str, Any]]:
    """Return what was typed into the rows of a formset that are neither empty nor to be deleted."""
    return [
        form.cleaned_data
        for form in formset.forms
        if getattr(form, "cleaned_data", None) and not form.cleaned_data.get("DELETE")
    ]


def steps(formset: forms.BaseFormSet[Any]) -> list[releases.Step]:
    """Return the predecessors of a valid formset."""
    return [
        releases.Step(version=row["typed_version"], cpl_entry_id=row.get("cpl_entry_id", ""))
        for row in _rows(formset)
        if row.get("typed_version") is not None
    ]


def particulars(
    *,
    form: ReleaseForm,
    predecessors: forms.BaseFormSet[Any],
    periods: forms.BaseFormSet[Any],
    policy: forms.BaseFormSet[Any],
) -> releases.Particulars:
    """Translate valid forms into what a release says."""
    typed = form.cleaned_data
    chosen = next(iter(_rows(policy)), {})
    return releases.Particulars(
        cpl_entry_id=typed["cpl_entry_id"],
        name=typed["name"],
        version=typed["typed_version"],
        digest=typed["typed_digest"],
        hub_models=list(typed["hub_models"]),
        minimum_hardware=typed["minimum_hardware"],
        maximum_hardware=typed["maximum_hardware"],
        has_no_predecessor=typed["has_no_predecessor"],
        predecessors=steps(predecessors),
        notes=typed["notes"],
        known_issues=typed["known_issues"],
        contact=typed["contact"],
        urgency=Urgency(typed["urgency"]),
        urgency_reason=typed["urgency_reason"],
        periods=[
            releases.Period(network=row["network"], start_at=row["start_at"], end_at=row["end_at"])
            for row in _rows(periods)
        ],
        policy=_chosen_policy(chosen, was=form.was_urgency, is_now=Urgency(typed["urgency"])),
    )


def _chosen_policy(chosen: Mapping[str, Any], *, was: Urgency | None, is_now: Urgency) -> dict[str, Any]:
    """Return what somebody chose: neither left empty, nor a default of the urgency that was changed."""
    stale = policies.BY_URGENCY[was] if was is not None and was != is_now else {}
    return {
        name: value
        for name in PolicyForm.Meta.fields
        if (value := chosen.get(name)) not in (None, "", []) and str(stale.get(name)) != str(value)
    }
