"""What may be deployed, and when: releases, their periods, policies and sign-offs."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from hubs.models import FirmwareVersion, HubModel, Network
from portal.ground.spans import SpanField


def image_path(release: "FirmwareRelease", _filename: str) -> str:
    """Name the stored image by its hash, so that one name never means two contents."""
    return f"images/{release.digest[:2]}/{release.digest}.ota"


class ReleaseState(models.TextChoices):
    """Where a release is on its way. Halted is a stop on a published release."""

    DRAFT = "draft", "Draft"
    SUBMITTED = "submitted", "Submitted"
    PUBLISHED = "published", "Published"
    HALTED = "halted", "Halted"
    WITHDRAWN = "withdrawn", "Withdrawn"
    CLOSED = "closed", "Closed"


MOVES = {
    ReleaseState.DRAFT: (ReleaseState.SUBMITTED, ReleaseState.WITHDRAWN),
    ReleaseState.SUBMITTED: (ReleaseState.DRAFT, ReleaseState.PUBLISHED, ReleaseState.WITHDRAWN),
    ReleaseState.PUBLISHED: (ReleaseState.HALTED, ReleaseState.CLOSED, ReleaseState.WITHDRAWN),
    ReleaseState.HALTED: (ReleaseState.PUBLISHED, ReleaseState.CLOSED, ReleaseState.WITHDRAWN),
    ReleaseState.WITHDRAWN: (),
    ReleaseState.CLOSED: (),
}
EDITABLE = (ReleaseState.DRAFT, ReleaseState.SUBMITTED)
OPEN_TO_SUPPLIERS = (ReleaseState.PUBLISHED, ReleaseState.HALTED)


class Urgency(models.TextChoices):
    """How fast the release has to reach the fleet."""

    NORMAL = "normal", "Normal"
    URGENT = "urgent", "Urgent"


class IllegalMove(Exception):
    """A release cannot go from that state to this one."""


class FirmwareReleaseQuerySet(models.QuerySet["FirmwareRelease"]):
    """Move releases from state to state."""

    def move(
        self, source: ReleaseState, target: ReleaseState, **stamps: datetime | models.Model | None
    ) -> int:
        """
        Move the rows still in `source` to `target`; return how many moved.

        :raises IllegalMove: if no release may ever go that way
        """
        if target not in MOVES[source]:
            raise IllegalMove(f"{source} to {target}")
        return self.filter(state=source).update(state=target, **stamps)


class FirmwareRelease(models.Model):
    """
    One image for one hub model family, with its CPL Entry ID.

    `manufacturer` to `size` are read from the image's header; `digest` is its SHA-256. Everything but
    the state is frozen from the moment of submission: a change takes the release back to draft and
    voids its sign-offs (`revision` counts such changes).
    """

    cpl_entry_id = models.CharField("CPL Entry ID", max_length=40, unique=True)
    name = models.CharField(max_length=80)
    version = models.ForeignKey(FirmwareVersion, on_delete=models.PROTECT, related_name="+")
    hub_models = models.ManyToManyField(HubModel, related_name="+")
    manufacturer = models.PositiveIntegerField("manufacturer code")
    image_type = models.PositiveIntegerField()
    minimum_hardware = models.PositiveIntegerField(default=0)
    maximum_hardware = models.PositiveIntegerField(default=0xFFFF)
    digest = models.CharField("CPL hash (SHA-256)", max_length=64)
    size = models.PositiveIntegerField(help_text="bytes")
    image = models.FileField(upload_to=image_path, max_length=200)
    has_no_predecessor = models.BooleanField(
        "may be installed over any version", default=False, help_text="The CPL says “N/A”."
    )
    notes = models.TextField("what it changes")
    known_issues = models.TextField(blank=True)
    contact = models.CharField("whom to ask", max_length=200)
    urgency = models.CharField(max_length=10, choices=Urgency, default=Urgency.NORMAL)
    urgency_reason = models.TextField("why it is urgent", blank=True)
    state = models.CharField(max_length=10, choices=ReleaseState, default=ReleaseState.DRAFT)
    revision = models.PositiveIntegerField(default=1)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    submitter = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    submitted_at = models.DateTimeField(null=True)
    published_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField("withdrawn or closed at", null=True)

    objects = FirmwareReleaseQuerySet.as_manager()

    class Meta:
        permissions = [
            ("sign_off_firmwarerelease", "Can sign off publication and resumption"),
            ("publish_firmwarerelease", "Can publish, resume, withdraw and close"),
            ("halt_firmwarerelease", "Can halt"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(digest__regex=r"^[0-9a-f]{64}$"), name="release_digest_is_sha256"
            ),
            models.CheckConstraint(
                condition=Q(minimum_hardware__lte=F("maximum_hardware"), maximum_hardware__lte=0xFFFF),
                name="release_hardware_range_in_order",
            ),
            models.CheckConstraint(
                condition=Q(urgency=Urgency.NORMAL) | ~Q(urgency_reason=""), name="release_urgency_has_reason"
            ),
            models.CheckConstraint(
                condition=Q(submitter=None, submitted_at=None)
                | Q(submitter__isnull=False, submitted_at__isnull=False),
                name="release_submitted_at_with_submitter",
            ),
            models.CheckConstraint(
                condition=Q(state=ReleaseState.DRAFT, submitted_at=None, published_at=None)
                | Q(state=ReleaseState.SUBMITTED, submitted_at__isnull=False, published_at=None)
                | (
                    Q(state__in=[ReleaseState.PUBLISHED, ReleaseState.HALTED])
                    & Q(submitted_at__isnull=False, published_at__isnull=False)
                )
                | Q(state__in=[ReleaseState.WITHDRAWN, ReleaseState.CLOSED]),
                name="release_state_has_its_stamps",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[ReleaseState.WITHDRAWN, ReleaseState.CLOSED], ended_at__isnull=False)
                | (~Q(state__in=[ReleaseState.WITHDRAWN, ReleaseState.CLOSED]) & Q(ended_at=None)),
                name="release_ended_at_when_ended",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.cpl_entry_id})"


class Predecessor(models.Model):
    """A version over which the release may be installed, with its CPL Entry ID where it is known."""

    release = models.ForeignKey(FirmwareRelease, on_delete=models.CASCADE, related_name="predecessors")
    version = models.ForeignKey(FirmwareVersion, on_delete=models.PROTECT, related_name="+")
    cpl_entry_id = models.CharField("CPL Entry ID", max_length=40, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["release", "version"], name="predecessor_once_per_release"),
        ]

    def __str__(self) -> str:
        return self.cpl_entry_id or str(self.version)


class AvailabilityPeriod(models.Model):
    """The half-open span in which a release may be deployed on one network."""

    release = models.ForeignKey(FirmwareRelease, on_delete=models.CASCADE, related_name="periods")
    network = models.ForeignKey(Network, on_delete=models.PROTECT, related_name="+")
    start_at = models.DateTimeField("opens")
    end_at = models.DateTimeField("closes", help_text="The first moment that is no longer in the period.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["release", "network"], name="period_one_per_release_and_network"),
            models.CheckConstraint(condition=Q(start_at__lt=F("end_at")), name="period_ends_after_start"),
        ]

    def __str__(self) -> str:
        return f"{self.network}: {self.start_at:%d %b %Y} to {self.end_at:%d %b %Y}"

    @property
    def middle(self) -> datetime:
        """When half of it is over: from then on either Supplier of a shared hub may book it."""
        return self.start_at + (self.end_at - self.start_at) / 2


class RolloutPolicy(models.Model):
    """
    The rules of one release, with the defaults of its urgency; DCC may change them on a draft.

    Spans read like "20 working days", "72 hours" or "3 minutes"; a demo uses minutes.
    """

    release = models.OneToOneField(FirmwareRelease, on_delete=models.CASCADE, related_name="policy")
    notice_before_opening = SpanField(default="20 working days")
    minimum_period = SpanField(default="42 days")
    cut_off = SpanField("booking and change cut-off", default="2 working days")
    objection_window = SpanField(default="2 working days")
    explicit_consent_within = SpanField("explicit consent to slots nearer than", default="5 working days")
    fair_share_until = SpanField("fair share until this long before a slot", default="5 working days")
    reserve_percent = models.PositiveSmallIntegerField("DCC reserve of each slot, %", default=30)
    default_allocation_percent = models.PositiveSmallIntegerField(
        "default allocation after this part of the period, %", default=67
    )
    default_allocation_notice = SpanField(default="5 working days")
    staging_opens = SpanField("staging opens this long before a slot", default="72 hours")
    grace = SpanField("retry an unreachable hub for", default="4 hours")
    retry_interval = SpanField("try an unreachable hub again after", default="20 minutes")
    silence_deadline = SpanField(default="120 minutes")
    first_reminder = SpanField("first reminder before a slot", default="7 days")
    last_reminder = SpanField("last reminder before a slot", default="1 days")
    stage_sizes = models.JSONField(default=list, help_text="Hubs per stage, then tranches of the last size.")
    soak = SpanField(
        "soak after each of these stages", default="24 hours", db_default=models.Value("24 hours")
    )
    in_flight_floor = models.PositiveIntegerField("in flight at least", default=50)
    in_flight_percent = models.PositiveSmallIntegerField("in flight, % of resolved", default=10)
    in_flight_ceiling = models.PositiveIntegerField("in flight at most", default=10_000)
    tolerated_bad_percent = models.DecimalField(
        "tolerated bad rate, %", max_digits=5, decimal_places=2, default="0.75"
    )

    class Meta:
        verbose_name_plural = "rollout policies"
        constraints = [
            models.CheckConstraint(
                condition=Q(reserve_percent__lte=100)
                & Q(default_allocation_percent__lte=100)
                & Q(in_flight_percent__lte=100),
                name="policy_percentages_at_most_100",
            ),
            models.CheckConstraint(
                condition=Q(tolerated_bad_percent__gt=0, tolerated_bad_percent__lte=33),
                name="policy_tolerates_a_third_at_most",
            ),
            models.CheckConstraint(
                condition=Q(in_flight_floor__lte=F("in_flight_ceiling")), name="policy_in_flight_in_order"
            ),
        ]

    def __str__(self) -> str:
        return f"Policy of {self.release}"


class Part(NamedTuple):
    """
    Some of a release's hubs: those on a network, of a hub model, or that run a version before they are updated.

    One of the three is given; without any it is the whole release.
    """

    network: Network | None = None
    model: HubModel | None = None
    installed_version: FirmwareVersion | None = None

    def __str__(self) -> str:
        if self.network:
            return f"network {self.network}"
        if self.model:
            return f"hub model {self.model}"
        if self.installed_version:
            return f"installed version {self.installed_version}"
        return "the whole release"

    @property
    def key(self) -> Mapping[str, int]:
        """What it is, by id, as it is kept in a sign-off."""
        return {name: row.pk for name, row in self._asdict().items() if row is not None}

    @property
    def code(self) -> str:
        """What it is, as a form sends it; nothing for the whole release."""
        return "".join(f"{name}-{key}" for name, key in self.key.items())


WHOLE = Part()


class SignedAct(models.TextChoices):
    """What a second person agrees to."""

    PUBLISH = "publish", "Publish"
    RESUME = "resume", "Resume"


class SignOff(models.Model):
    """
    A second person's agreement to one act on one revision of a release.

    `author` and `submitter` are copied here so that the database itself can refuse a sign-off by
    either of them. A resumption is of one halt; `leaves_out` are the parts of the release, each as `Part.key`, that
    stay halted when the rest of it goes on.
    """

    release = models.ForeignKey(FirmwareRelease, on_delete=models.CASCADE, related_name="sign_offs")
    act = models.CharField(max_length=10, choices=SignedAct)
    halt = models.ForeignKey("Halt", on_delete=models.CASCADE, null=True, related_name="sign_offs")
    leaves_out = models.JSONField(
        default=list, db_default=models.Value([], models.JSONField()), blank=True, editable=False
    )
    revision = models.PositiveIntegerField()
    digest = models.CharField(max_length=64)
    signed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    submitter = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.TextField(blank=True)
    signed_at = models.DateTimeField()
    voided_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(signed_by=F("author")) & ~Q(signed_by=F("submitter")),
                name="sign_off_by_another_person",
                violation_error_message="Someone other than the author and the submitter has to sign off.",
            ),
            models.UniqueConstraint(
                fields=["release", "act", "halt"],
                condition=Q(voided_at=None),
                nulls_distinct=False,
                name="sign_off_one_standing_per_act",
            ),
            models.CheckConstraint(
                condition=Q(act=SignedAct.PUBLISH, halt=None) | Q(act=SignedAct.RESUME, halt__isnull=False),
                name="sign_off_of_a_resumption_names_the_halt",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_act_display()} signed off by {self.signed_by}"


class Halt(models.Model):
    """
    A stop on a release, or on one network, hub model or installed version of it. It stands while `lifted_at` is empty.

    The Gate of the carrying-out asks for it under the release's advisory lock, so that no command is
    admitted after the halt has committed. A release of which only a part is halted stays published.
    """

    release = models.ForeignKey(FirmwareRelease, on_delete=models.CASCADE, related_name="halts")
    network = models.ForeignKey(Network, on_delete=models.PROTECT, null=True, related_name="+")
    model = models.ForeignKey(HubModel, on_delete=models.PROTECT, null=True, related_name="+")
    installed_version = models.ForeignKey(
        FirmwareVersion, on_delete=models.PROTECT, null=True, related_name="+"
    )
    reason = models.TextField()
    halted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    halted_at = models.DateTimeField()
    facts = models.JSONField(default=dict, db_default=models.Value({}, models.JSONField()), blank=True)
    """The numbers behind the reason, where the portal itself halted; for pages and for whoever looks into it."""
    lifted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
    lifted_at = models.DateTimeField(null=True)
    lifted_reason = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["release", "network", "model", "installed_version"],
                condition=Q(lifted_at=None),
                nulls_distinct=False,
                name="halt_one_standing_per_part",
            ),
            models.CheckConstraint(
                condition=Q(network=None, model=None)
                | Q(network=None, installed_version=None)
                | Q(model=None, installed_version=None),
                name="halt_of_one_part_at_most",
            ),
            models.CheckConstraint(
                condition=Q(lifted_at=None, lifted_by=None)
                | Q(lifted_at__isnull=False, lifted_by__isnull=False),
                name="halt_lifted_at_with_lifted_by",
            ),
        ]

    def __str__(self) -> str:
        return f"Halt of {self.release}: {self.part}"

    @property
    def part(self) -> Part:
        """What is halted."""
        return Part(self.network, self.model, self.installed_version)

    @property
    def is_whole(self) -> bool:
        """Whether nothing at all of the release goes on."""
        return self.network_id is None and self.model_id is None and self.installed_version_id is None
