"""Questions about releases."""

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Exists, F, Max, Min, OuterRef, Q, QuerySet, Sum

from firmware.models import (
    OPEN_TO_SUPPLIERS,
    FirmwareRelease,
    Halt,
    Part,
    SignedAct,
    SignOff,
)
from hubs.models import BOOKABLE, FirmwareVersion, FleetCount, Supplier
from portal.ground.models import AuditEntry


def subject(*, release_id: int) -> str:
    """Return the name under which the audit knows a release."""
    return f"release:{release_id}"


def open_to(*, supplier: Supplier) -> QuerySet[FirmwareRelease]:
    """
    Return the releases that a Supplier may see: published or halted, for models of which it leads hubs.

    Everything else is not found for it.
    """
    leads = FleetCount.objects.filter(lead=supplier, model__in=OuterRef("hub_models"))
    covered = FirmwareRelease.objects.filter(Exists(leads), pk=OuterRef("pk"))
    return FirmwareRelease.objects.filter(Exists(covered), state__in=OPEN_TO_SUPPLIERS)


def eligible_versions(*, release: FirmwareRelease) -> QuerySet[FirmwareVersion]:
    """Return the installed versions over which the release may go: never its own, never a newer one."""
    if release.has_no_predecessor:
        return FirmwareVersion.objects.filter(number__lt=release.version.number)
    return FirmwareVersion.objects.filter(pk__in=release.predecessors.values("version"))


def eligible_counts(*, release: FirmwareRelease) -> QuerySet[FleetCount]:
    """Return the counts of the hubs that the release is for, as last counted."""
    return FleetCount.objects.filter(
        model__in=release.hub_models.values("pk"),
        network__in=release.periods.values("network"),
        installed_version__in=eligible_versions(release=release).values("pk"),
        hardware_version__range=(release.minimum_hardware, release.maximum_hardware),
        status__in=BOOKABLE,
    )


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a release concerns: how many Suppliers, and how many hubs that they lead."""

    suppliers: int
    hubs: int
    counted_at: datetime | None


def reach(*, release: FirmwareRelease) -> Reach:
    """Return how many Suppliers will be told about how many hubs when the release is published."""
    row = (
        eligible_counts(release=release)
        .filter(lead__isnull=False)
        .aggregate(suppliers=Count("lead", distinct=True), hubs=Sum("hubs"), counted_at=Max("counted_at"))
    )
    return Reach(suppliers=row["suppliers"], hubs=row["hubs"] or 0, counted_at=row["counted_at"])


def standing_sign_off(
    *, release: FirmwareRelease, act: SignedAct, halt: Halt | None = None
) -> SignOff | None:
    """Return the sign-off of `act` that stands for the release as it is now, if there is one: of this halt's end."""
    return (
        SignOff.objects.filter(
            release=release,
            act=act,
            halt=halt,
            voided_at=None,
            revision=release.revision,
            digest=release.digest,
        )
        .select_related("signed_by")
        .first()
    )


def standing_halt(*, release: FirmwareRelease) -> Halt | None:
    """Return the halt that stands on the whole release, if there is one."""
    return (
        Halt.objects.filter(release=release, network=None, model=None, installed_version=None, lifted_at=None)
        .select_related("halted_by")
        .first()
    )


def halted_parts(*, release: FirmwareRelease) -> QuerySet[Halt]:
    """Return the halts that stand on parts of the release, the oldest first; the rest of it may go on."""
    return (
        Halt.objects.filter(release=release, lifted_at=None)
        .exclude(network=None, model=None, installed_version=None)
        .select_related("halted_by", "network", "model", "installed_version")
        .order_by("pk")
    )


def parts(*, release: FirmwareRelease) -> list[Part]:
    """Return every part of the release that could be halted by itself: its networks, models and installed versions."""
    return [
        *(
            Part(network=period.network)
            for period in release.periods.select_related("network").order_by("network__name")
        ),
        *(Part(model=model) for model in release.hub_models.order_by("name")),
        *(
            Part(installed_version=version)
            for version in eligible_versions(release=release).order_by("number")
        ),
    ]


def left_out(*, signed: SignOff) -> list[Part]:
    """Return the parts that a sign-off of a resumption leaves out."""
    return [part for part in parts(release=signed.release) if part.key in signed.leaves_out]


def contributors(*, release: FirmwareRelease) -> set[int]:
    """Return the ids of the people who uploaded, changed or submitted the release, in any revision."""
    return set(
        AuditEntry.objects.filter(
            subject=subject(release_id=release.pk),
            verb__in=["release.uploaded", "release.changed", "release.submitted"],
            actor__isnull=False,
        ).values_list("actor", flat=True)
    )


def release_table() -> QuerySet[FirmwareRelease]:
    """
    Return the releases with what a list of them shows, newest first.

    Adds `opens_at` and `closes_at` over all networks, and `is_signed_off` for publication.
    """
    signed = SignOff.objects.filter(
        release=OuterRef("pk"),
        act=SignedAct.PUBLISH,
        voided_at=None,
        revision=OuterRef("revision"),
        digest=OuterRef("digest"),
    )
    return (
        FirmwareRelease.objects.select_related("version", "author")
        .annotate(
            opens_at=Min("periods__start_at"),
            closes_at=Max("periods__end_at"),
            is_signed_off=Exists(signed),
        )
        .order_by(F("pk").desc())
    )


def history(*, release: FirmwareRelease) -> QuerySet[AuditEntry]:
    """Return every decision about the release, newest first."""
    return (
        AuditEntry.objects.filter(Q(subject=subject(release_id=release.pk)))
        .select_related("actor")
        .order_by("-pk")
    )


def last_contact() -> str:
    """Return whom Suppliers can ask about the newest release, nothing where there is none."""
    return FirmwareRelease.objects.order_by("-pk").values_list("contact", flat=True).first() or ""
