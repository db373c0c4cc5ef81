"""What a release says: uploading it, and changing it while it may be changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction

from firmware import images, policies, queries
from firmware.models import (
    EDITABLE,
    AvailabilityPeriod,
    FirmwareRelease,
    Predecessor,
    ReleaseState,
    RolloutPolicy,
    SignOff,
    Urgency,
)
from firmware.operations import stored_images
from hubs.models import FirmwareVersion, HubModel, Network
from portal.ground import audit

if TYPE_CHECKING:
    from portal.models import User


class UnableToUpload(Exception):
    """The image, or what was typed about it, is not accepted. `faults` maps fields to sentences."""

    def __init__(self, faults: Mapping[str, Sequence[str]]) -> None:
        super().__init__(" ".join(sentence for sentences in faults.values() for sentence in sentences))
        self.faults = faults


class UnableToChange(Exception):
    """The release cannot be changed any more, or was changed by another hand in the meantime."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """The half-open span in which a network is open to the release, in UTC."""

    network: Network
    start_at: datetime
    end_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A version over which the release may be installed."""

    version: int
    cpl_entry_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Particulars:
    """
    Everything that people state about a release.

    `policy` holds what differs from the defaults of the urgency, by field of RolloutPolicy.
    """

    cpl_entry_id: str
    name: str
    version: int
    digest: str
    hub_models: Sequence[HubModel]
    minimum_hardware: int = 0
    maximum_hardware: int = 0xFFFF
    has_no_predecessor: bool = False
    predecessors: Sequence[Step] = ()
    notes: str
    known_issues: str = ""
    contact: str
    urgency: Urgency = Urgency.NORMAL
    urgency_reason: str = ""
    periods: Sequence[Period] = ()
    policy: Mapping[str, Any] = field(default_factory=dict)

    @property
    def claim(self) -> images.Claim:
        """Return the part that the image can be compared with."""
        return images.Claim(
            digest=self.digest,
            version=self.version,
            minimum_hardware=self.minimum_hardware,
            maximum_hardware=self.maximum_hardware,
            models=[
                images.CoveredModel(model.name, model.manufacturer, model.image_type)
                for model in self.hub_models
            ],
        )


@transaction.atomic
def upload(*, particulars: Particulars, content: IO[bytes], author: "User", now: datetime) -> FirmwareRelease:
    """
    Create a draft from an image and what was typed about it.

    :raises UnableToUpload: if the two do not agree, or the image is none, naming fields and both values
    :raises stored_images.ImageUnusable: if a damaged file bears the image's name, or images cannot be read here
    """
    image = _accept(particulars, content)
    release = FirmwareRelease.objects.create(
        author=author,
        created_at=now,
        image=stored_images.store(content=content, digest=image.digest),
        **_columns(particulars, image),
    )
    _write_parts(release, particulars)
    audit.record(
        actor=author,
        verb="release.uploaded",
        subject=queries.subject(release_id=release.pk),
        now=now,
        facts=_facts(release),
    )
    return release


@transaction.atomic
def change(
    *,
    release: FirmwareRelease,
    revision: int,
    particulars: Particulars,
    content: IO[bytes] | None,
    by: "User",
    now: datetime,
) -> FirmwareRelease:
    """
    Replace what a release says, and its image where `content` is given; void its sign-offs.

    The release goes back to draft. `revision` is the one that the editor saw.

    :raises UnableToChange: if it is published or ended, or was changed since
    :raises UnableToUpload: if the image and what was typed do not agree
    :raises stored_images.ImageUnusable: if the stored image is not the one that was uploaded, or cannot be read here
    """
    locked = FirmwareRelease.objects.select_for_update(no_key=True).get(pk=release.pk)
    if locked.state not in EDITABLE:
        raise UnableToChange(
            f"A release that is {locked.get_state_display().lower()} cannot be changed. "
            "Upload a new release that names this one as a predecessor."
        )
    if locked.revision != revision:
        raise UnableToChange(
            f"The release was changed in the meantime (it is at revision {locked.revision}, you began from "
            f"{revision}). Open it again and repeat your changes."
        )
    if content is None:
        stored_images.verify_stored_image(release=locked)
        with locked.image.open("rb") as stored:
            image = _accept(particulars, stored)
        name = locked.image.name
    else:
        image = _accept(particulars, content)
        name = stored_images.store(content=content, digest=image.digest)
    before = _facts(locked)
    release_row = FirmwareRelease.objects.filter(pk=locked.pk)
    if locked.state == ReleaseState.SUBMITTED:
        release_row.move(ReleaseState.SUBMITTED, ReleaseState.DRAFT, submitter=None, submitted_at=None)
    release_row.update(
        revision=locked.revision + 1,
        image=name,
        **_columns(particulars, image),
    )
    voided = SignOff.objects.filter(release=locked, voided_at=None).update(voided_at=now)
    locked.refresh_from_db()
    _write_parts(locked, particulars)
    audit.record(
        actor=by,
        verb="release.changed",
        subject=queries.subject(release_id=locked.pk),
        now=now,
        facts={"before": before, "after": _facts(locked), "voided sign-offs": voided},
    )
    return locked


def examine(*, claim: images.Claim, content: IO[bytes]) -> images.Image:
    """
    Read an image and compare it with what was typed about it; return what it is.

    :raises UnableToUpload: if the image is none, or differs, naming the fields and both values
    """
    content.seek(0)
    limit: int = settings.IMAGE_SIZE_LIMIT
    try:
        image = images.inspect(content, limit)
    except images.ImageFault as fault:
        raise UnableToUpload({"file": [str(fault)]}) from fault
    faults: dict[str, list[str]] = {}
    for check in images.compare(image=image, claim=claim, size_limit=limit):
        if not check.agrees:
            faults.setdefault(check.field, []).append(check.message)
    if not claim.models:
        faults["hub_models"] = ["Choose at least one hub model."]
    if faults:
        raise UnableToUpload(faults)
    return image


def refuse_predecessors(*, version: int, predecessors: Sequence[Step], has_no_predecessor: bool) -> None:
    """
    Say nothing if the predecessors make sense.

    :raises UnableToUpload: if one is not older than `version`, comes twice, or should not be there
    """
    sentences = [
        f"Predecessor {step.version:08X} is not older than the release, {version:08X}: "
        "hubs are never taken back to an older version."
        for step in predecessors
        if step.version >= version
    ]
    numbers = [step.version for step in predecessors]
    sentences += [
        f"Predecessor {number:08X} is named twice."
        for number in sorted(set(numbers))
        if numbers.count(number) > 1
    ]
    if has_no_predecessor and predecessors:
        sentences.append(
            "Either name predecessors, or tick that the release may be installed over any version."
        )
    if sentences:
        raise UnableToUpload({"predecessors": sentences})


def _accept(particulars: Particulars, content: IO[bytes]) -> images.Image:
    image = examine(claim=particulars.claim, content=content)
    refuse_predecessors(
        version=particulars.version,
        predecessors=particulars.predecessors,
        has_no_predecessor=particulars.has_no_predecessor,
    )
    return image


def _columns(particulars: Particulars, image: images.Image) -> dict[str, Any]:
    version, _ = FirmwareVersion.objects.get_or_create(number=particulars.version)
    return {
        "cpl_entry_id": particulars.cpl_entry_id,
        "name": particulars.name,
        "version": version,
        "manufacturer": image.header.manufacturer,
        "image_type": image.header.image_type,
        "minimum_hardware": particulars.minimum_hardware,
        "maximum_hardware": particulars.maximum_hardware,
        "digest": image.digest,
        "size": image.size,
        "has_no_predecessor": particulars.has_no_predecessor,
        "notes": particulars.notes,
        "known_issues": particulars.known_issues,
        "contact": particulars.contact,
        "urgency": particulars.urgency,
        "urgency_reason": particulars.urgency_reason,
    }


def _write_parts(release: FirmwareRelease, particulars: Particulars) -> None:
    """Write the rows that belong to the release, in place of those that it had."""
    release.hub_models.set(particulars.hub_models)
    release.predecessors.all().delete()
    Predecessor.objects.bulk_create(
        Predecessor(
            release=release,
            version=FirmwareVersion.objects.get_or_create(number=step.version)[0],
            cpl_entry_id=step.cpl_entry_id,
        )
        for step in particulars.predecessors
    )
    release.periods.all().delete()
    AvailabilityPeriod.objects.bulk_create(
        AvailabilityPeriod(
            release=release, network=period.network, start_at=period.start_at, end_at=period.end_at
        )
        for period in particulars.periods
    )
    policy = RolloutPolicy(
        release=release,
        **{
            "stage_sizes": list(policies.STAGE_SIZES),
            **policies.BY_URGENCY[particulars.urgency],
            **particulars.policy,
        },
    )
    try:
        policy.clean_fields()
        policy.validate_constraints()
    except ValidationError as error:
        raise UnableToUpload({"policy": error.messages}) from error
    RolloutPolicy.objects.filter(release=release).delete()
    policy.save()


def _facts(release: FirmwareRelease) -> dict[str, Any]:
    """Return what the release says of itself, as its rows have it now."""
    policy = RolloutPolicy.objects.filter(release=release).first()
    return {
        "revision": release.revision,
        "CPL Entry ID": release.cpl_entry_id,
        "name": release.name,
        "version": f"{release.version.number:08X}",
        "SHA-256": release.digest,
        "hardware": [release.minimum_hardware, release.maximum_hardware],
        "hub models": sorted(release.hub_models.values_list("name", flat=True)),
        "predecessors": "any"
        if release.has_no_predecessor
        else sorted(f"{step.version.number:08X}" for step in release.predecessors.select_related("version")),
        "periods": {
            period.network.name: [period.start_at.isoformat(), period.end_at.isoformat()]
            for period in release.periods.select_related("network").order_by("network")
        },
        "urgency": release.urgency,
        "urgency reason": release.urgency_reason,
        "notes": release.notes,
        "known issues": release.known_issues,
        "contact": release.contact,
        "policy": {
            name: value for name, value in audit.columns(policy).items() if name not in ("id", "release_id")
        }
        if policy
        else None,
    }
