"""
What is decided about a release: submitting, signing off, publishing, halting, resuming, ending it.

Every decision locks the release's row, so that an edit and an approval never pass each other; whatever
stops a release takes the halt lock first (`firmware.locks`).
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction

from firmware import locks, queries
from firmware.models import (
    OPEN_TO_SUPPLIERS,
    WHOLE,
    FirmwareRelease,
    Halt,
    Part,
    ReleaseState,
    SignedAct,
    SignOff,
)
from firmware.operations import stored_images
from hubs.models import Network
from portal.ground import audit
from portal.ground.uk_time import LONDON

if TYPE_CHECKING:
    from portal.models import User

SIGN_OFF = "firmware.sign_off_firmwarerelease"
PUBLISH = "firmware.publish_firmwarerelease"
HALT = "firmware.halt_firmwarerelease"
CHANGE = "firmware.change_firmwarerelease"


class UnableToDecide(Exception):
    """The decision is refused; the sentence says why, and what to do next."""


class UnableToSubmit(UnableToDecide):
    """The release cannot be submitted for sign-off."""


class UnableToSignOff(UnableToDecide):
    """This person, or nobody, can sign off that act on this revision."""


class UnableToPublish(UnableToDecide):
    """The release cannot be published as it is."""


class UnableToHalt(UnableToDecide):
    """There is nothing to halt."""


class UnableToResume(UnableToDecide):
    """The release cannot be resumed."""


class UnableToWithdraw(UnableToDecide):
    """The release has ended already, or a reason is missing."""


class UnableToClose(UnableToDecide):
    """The release is not over."""


class UnableToExtend(UnableToDecide):
    """The period cannot be given more time."""


@transaction.atomic
def submit(*, release: FirmwareRelease, by: "User", now: datetime) -> FirmwareRelease:
    """
    Ask for sign-off of a draft, which is what it says from here on.

    :raises UnableToSubmit: naming what is missing
    """
    locked = _lock(release)
    if not by.has_perm(CHANGE):
        raise UnableToSubmit("Only a DCC release manager can submit a release.")
    if locked.state != ReleaseState.DRAFT:
        raise UnableToSubmit(f"Only a draft can be submitted; this release is {_state(locked)}.")
    if missing := _missing(locked):
        raise UnableToSubmit(missing)
    _move(
        locked,
        ReleaseState.SUBMITTED,
        UnableToSubmit,
        submitter=by,
        submitted_at=now,
    )
    _record(locked, "release.submitted", by, now)
    return locked


@transaction.atomic
def sign_off(
    *,
    release: FirmwareRelease,
    act: SignedAct,
    revision: int,
    digest: str,
    by: "User",
    now: datetime,
    reason: str = "",
    halt: Halt | None = None,
    leaves_out: Collection[Part] = (),
) -> SignOff:
    """
    Record a second person's agreement to publish, or to resume, what they saw.

    `revision` and `digest` are those that the approver was shown. A resumption is signed off for one `halt` that
    stands, without any for that of the whole release, and after it; it may leave out parts of the release, which
    then stay halted.

    :raises UnableToSignOff: if it is not theirs to sign, or not what they saw
    """
    locked = _lock(release)
    if not by.has_perm(SIGN_OFF):
        raise UnableToSignOff("Only a DCC approver can sign off.")
    if act == SignedAct.PUBLISH:
        if locked.state != ReleaseState.SUBMITTED:
            raise UnableToSignOff(
                f"There is nothing to sign off: the release is {_state(locked)}, and this sign-off is for one "
                "that is submitted."
            )
    else:
        halt = _standing(locked, halt)
        if halt is None:
            raise UnableToSignOff(
                f"There is nothing to sign off: the release is {_state(locked)}, and this sign-off is for "
                "one that is halted. What you read about may have been resumed since."
            )
        _check_left_out(locked, leaves_out)
    if (locked.revision, locked.digest) != (revision, digest):
        raise UnableToSignOff(
            "The release was changed since you opened this page. Read it again before you sign it off."
        )
    if by.pk in queries.contributors(release=locked):
        raise UnableToSignOff(
            "You uploaded, changed or submitted this release. Ask somebody who did not to sign it off."
        )
    if locked.submitter is None:
        raise UnableToSignOff("Nobody submitted the release. Ask a release manager to submit it.")
    SignOff.objects.filter(release=locked, act=act, voided_at=None).exclude(
        revision=locked.revision, digest=locked.digest
    ).update(voided_at=now)
    if queries.standing_sign_off(release=locked, act=act, halt=halt):
        raise UnableToSignOff("This has been signed off already. It can be carried out now.")
    try:
        with transaction.atomic():
            signed = SignOff.objects.create(
                release=locked,
                act=act,
                halt=halt,
                leaves_out=[dict(part.key) for part in leaves_out],
                revision=locked.revision,
                digest=locked.digest,
                signed_by=by,
                author=locked.author,
                submitter=locked.submitter,
                reason=reason,
                signed_at=now,
            )
    except IntegrityError as error:
        if "sign_off_by_another_person" in str(error):
            raise UnableToSignOff(
                "The author and the submitter cannot sign off their own release. Ask somebody else."
            ) from error
        raise
    facts: dict[str, Any] = {"act": SignedAct(act).value}
    if halt is not None and not halt.is_whole:
        facts["of"] = str(halt.part)
    if leaves_out:
        facts["leaves out"] = [str(part) for part in leaves_out]
    _record(locked, "release.signed_off", by, now, reason, facts)
    return signed


@transaction.atomic
def publish(*, release: FirmwareRelease, by: "User", now: datetime) -> FirmwareRelease:
    """
    Open a signed-off release to its Suppliers.

    :raises UnableToPublish: naming what is missing or has changed
    """
    locked = _lock(release)
    if not by.has_perm(PUBLISH):
        raise UnableToPublish("Only a DCC release manager can publish a release.")
    if locked.state != ReleaseState.SUBMITTED:
        raise UnableToPublish(f"Only a submitted release can be published; this one is {_state(locked)}.")
    if not queries.standing_sign_off(release=locked, act=SignedAct.PUBLISH):
        raise UnableToPublish(
            "Somebody other than the author and the submitter has to sign this revision off first."
        )
    if obstacle := _missing(locked) or _too_soon(locked, now):
        raise UnableToPublish(obstacle)
    try:
        stored_images.verify_stored_image(release=locked)
    except stored_images.ImageUnusable as error:
        raise UnableToPublish(str(error)) from error
    reach = queries.reach(release=locked)
    _move(locked, ReleaseState.PUBLISHED, UnableToPublish, published_at=now)
    _record(
        locked,
        "release.published",
        by,
        now,
        facts={"suppliers": reach.suppliers, "hubs": reach.hubs, "SHA-256": locked.digest},
    )
    return locked


@transaction.atomic
def halt(
    *,
    release: FirmwareRelease,
    by: "User | None",
    reason: str,
    now: datetime,
    facts: Mapping[str, Any] | None = None,
    part: Part = WHOLE,
) -> Halt:
    """
    Stop a published release, or a part of it; once this has committed, no command is admitted for it.

    What has begun in a halted part is still read back, since the rest of the release waits for its outcomes. A part
    can be halted while the whole release is: it stays so when that is resumed.

    Needs the database and nothing else. Halting what is halted already returns the halt that stands; a person's reason
    is kept with it, and whoever agreed to its end without that reason has to agree again. `by` is None where the portal
    itself halts, for the numbers in `facts`.

    :raises UnableToHalt: if the release is not published, has no such part, no reason is given, or it is not
        theirs to halt
    """
    if by is not None and not by.has_perm(HALT):
        raise UnableToHalt("Only DCC staff with the right to halt can halt a release.")
    if not reason.strip():
        raise UnableToHalt("Say in a few words why: the Suppliers will read it.")
    locks.take_exclusive(release_id=release.pk)
    locked = _lock(release)
    if part != WHOLE:
        return _halt_part(locked, part, by, reason, now, facts)
    if standing := queries.standing_halt(release=locked):
        return _halt_again(locked, standing, by, reason, now)
    if locked.state != ReleaseState.PUBLISHED:
        raise UnableToHalt(f"Only a published release can be halted; this one is {_state(locked)}.")
    _move(locked, ReleaseState.HALTED, UnableToHalt)
    standing = Halt.objects.create(
        release=locked, reason=reason, halted_by=by, halted_at=now, facts=dict(facts or {})
    )
    # a resumption is agreed to in the knowledge of the halts that stand
    SignOff.objects.filter(release=locked, act=SignedAct.RESUME, voided_at=None).update(voided_at=now)
    _record(locked, "release.halted", by, now, reason, facts)
    return standing


def _halt_part(
    locked: FirmwareRelease,
    part: Part,
    by: "User | None",
    reason: str,
    now: datetime,
    facts: Mapping[str, Any] | None,
) -> Halt:
    if locked.state not in OPEN_TO_SUPPLIERS:
        raise UnableToHalt(f"Only a part of a published release can be halted; this one is {_state(locked)}.")
    if part not in queries.parts(release=locked):
        raise UnableToHalt(f"The release is not for {part}. Choose one of its own parts.")
    standing, is_new = Halt.objects.get_or_create(
        release=locked,
        **part._asdict(),
        lifted_at=None,
        defaults={"reason": reason, "halted_by": by, "halted_at": now, "facts": dict(facts or {})},
    )
    if not is_new:
        return _halt_again(locked, standing, by, reason, now)
    _record(locked, "release.part_halted", by, now, reason, {"part": str(part)} | dict(facts or {}))
    return standing


def _halt_again(
    locked: FirmwareRelease, standing: Halt, by: "User | None", reason: str, now: datetime
) -> Halt:
    """Keep a person's reason with a halt that stands, and void the agreement to its end that did not know of it."""
    if by is None:
        return standing
    said = standing.facts.get("again", [])
    is_known = (by.pk, reason) == (standing.halted_by_id, standing.reason)
    is_known |= any((one["by"], one["reason"]) == (str(by), reason) for one in said)
    agreed = SignOff.objects.filter(halt=standing, act=SignedAct.RESUME, voided_at=None)
    if not agreed.update(voided_at=now) and is_known:  # pressed twice
        return standing
    standing.facts = standing.facts | {
        "again": [*said, {"by": str(by), "reason": reason, "at": now.isoformat()}]
    }
    Halt.objects.filter(pk=standing.pk).update(facts=standing.facts)
    _record(locked, "release.halted_again", by, now, reason, {"part": str(standing.part)})
    return standing


@transaction.atomic
def resume(
    *, release: FirmwareRelease, by: "User", reason: str, now: datetime, halt: Halt | None = None
) -> FirmwareRelease:
    """
    Lift a halt of a release, once somebody else has signed that off after the halt; without any, that of all of it.

    The parts that the sign-off leaves out are halted in the same moment.

    :raises UnableToResume: naming what is missing
    """
    locks.take_exclusive(release_id=release.pk)
    locked = _lock(release)
    if not by.has_perm(PUBLISH):
        raise UnableToResume("Only a DCC release manager can resume a release.")
    if not reason.strip():
        raise UnableToResume("Say in a few words why it is safe to go on.")
    standing = _standing(locked, halt)
    if standing is None:
        has_ended = locked.state not in OPEN_TO_SUPPLIERS
        beside = "" if halt is None or has_ended else f", and {halt.part} is halted no longer"
        raise UnableToResume(f"Only what is halted can be resumed: the release is {_state(locked)}{beside}.")
    signed = queries.standing_sign_off(release=locked, act=SignedAct.RESUME, halt=standing)
    if signed is None or signed.signed_at < standing.halted_at:
        raise UnableToResume("A DCC approver has to sign off the resumption of this halt first.")
    if signed.signed_by_id == by.pk:
        raise UnableToResume("You signed the resumption off. Ask somebody else to resume the release.")
    try:
        stored_images.verify_stored_image(release=locked)
    except stored_images.ImageUnusable as error:
        raise UnableToResume(str(error)) from error
    Halt.objects.filter(pk=standing.pk).update(lifted_by=by, lifted_at=now, lifted_reason=reason)
    SignOff.objects.filter(pk=signed.pk).update(voided_at=now)  # good for one resumption
    if standing.is_whole:
        _move(locked, ReleaseState.PUBLISHED, UnableToResume)
        _record(locked, "release.resumed", by, now, reason)
    else:
        _record(locked, "release.part_resumed", by, now, reason, {"part": str(standing.part)})
    for part in queries.left_out(signed=signed):
        # whoever reads why the part is halted reads first what was wrong with it
        why = f"{standing.reason.strip().rstrip('.')}. Left out when the release was resumed: {reason}"
        _halt_part(locked, part, by, why, now, None)
    return locked


@transaction.atomic
def withdraw(*, release: FirmwareRelease, by: "User", reason: str, now: datetime) -> FirmwareRelease:
    """
    End a release for good; what has not started of it is cancelled later, by the timetable.

    :raises UnableToWithdraw: if it has ended already, no reason is given, or it is not theirs to withdraw
    """
    if not by.has_perm(PUBLISH):
        raise UnableToWithdraw("Only a DCC release manager can withdraw a release.")
    if not reason.strip():
        raise UnableToWithdraw("Say in a few words why: the Suppliers will read it.")
    locks.take_exclusive(release_id=release.pk)
    locked = _lock(release)
    if locked.state in (ReleaseState.WITHDRAWN, ReleaseState.CLOSED):
        raise UnableToWithdraw(f"The release is {_state(locked)} already.")
    source = locked.state
    _move(locked, ReleaseState.WITHDRAWN, UnableToWithdraw, ended_at=now)
    SignOff.objects.filter(release=locked, voided_at=None).update(voided_at=now)
    _record(locked, "release.withdrawn", by, now, reason, {"was": source})
    return locked


@transaction.atomic
def close(*, release: FirmwareRelease, by: "User", now: datetime) -> FirmwareRelease:
    """
    Put a release away whose periods are all over.

    :raises UnableToClose: if it is not published, or still open somewhere
    """
    if not by.has_perm(PUBLISH):
        raise UnableToClose("Only a DCC release manager can close a release.")
    locks.take_exclusive(release_id=release.pk)
    locked = _lock(release)
    if locked.state not in (ReleaseState.PUBLISHED, ReleaseState.HALTED):
        raise UnableToClose(f"Only a published release can be closed; this one is {_state(locked)}.")
    still_open = locked.periods.filter(end_at__gt=now).select_related("network").order_by("-end_at").first()
    if still_open:
        raise UnableToClose(
            f"The release is open on {still_open.network} until {_shown(still_open.end_at)}. "
            "Close it after that, or withdraw it to stop it now."
        )
    _move(locked, ReleaseState.CLOSED, UnableToClose, ended_at=now)
    _record(locked, "release.closed", by, now)
    return locked


@transaction.atomic
def extend_period(
    *, release: FirmwareRelease, network: Network, until: datetime, by: "User", reason: str, now: datetime
) -> FirmwareRelease:
    """
    Give a published release more time on a network: its availability period there ends at `until`.

    :raises UnableToExtend: if that is not later than now and than it ends already, or it is not theirs to decide
    """
    if not by.has_perm(PUBLISH):
        raise UnableToExtend("Only a DCC release manager can give a release more time.")
    if not reason.strip():
        raise UnableToExtend("Say in a few words why it needs more time.")
    locked = _lock(release)
    if locked.state not in OPEN_TO_SUPPLIERS:
        raise UnableToExtend(
            f"Only a published release can be given more time; this one is {_state(locked)}."
        )
    period = locked.periods.select_for_update(of=("self",)).filter(network=network).first()
    if period is None:
        raise UnableToExtend(f"The release is not available on {network}.")
    if until <= max(period.end_at, now):
        raise UnableToExtend(
            f"The period on {network} ends at {_shown(period.end_at)} already. Choose a later end, and one that is "
            "still to come."
        )
    was = period.end_at
    locked.periods.filter(pk=period.pk).update(end_at=until)
    _record(
        locked,
        "release.period_extended",
        by,
        now,
        reason,
        {"network": network.name, "was": was.isoformat(), "until": until.isoformat()},
    )
    return locked


def _standing(locked: FirmwareRelease, halt: Halt | None) -> Halt | None:
    """Return a halt if it still stands on a release that has not ended, or, without one, that of the whole release."""
    if locked.state not in OPEN_TO_SUPPLIERS:
        return None
    if halt is None or halt.is_whole:
        return queries.standing_halt(release=locked) if locked.state == ReleaseState.HALTED else None
    return queries.halted_parts(release=locked).filter(pk=halt.pk).first()


def _check_left_out(locked: FirmwareRelease, leaves_out: Collection[Part]) -> None:
    """
    Refuse to leave out what is not a part of the release, or all of it.

    :raises UnableToSignOff: with the sentence
    """
    parts = queries.parts(release=locked)
    if strange := [part for part in leaves_out if part not in parts]:
        raise UnableToSignOff(f"The release is not for {strange[0]}. Choose among its own parts.")
    for name, words in (("network", "networks"), ("model", "hub models"), ("installed_version", "versions")):
        alike = [part for part in parts if getattr(part, name)]
        if alike and all(part in leaves_out for part in alike):
            raise UnableToSignOff(
                f"This leaves out all {words} of the release: nothing would go on. Leave it halted instead."
            )


def _lock(release: FirmwareRelease) -> FirmwareRelease:
    # no_key: rows that refer to the release, such as bookings, may go on being added
    return (
        FirmwareRelease.objects.select_for_update(no_key=True, of=("self",))
        .select_related("version", "author", "submitter")
        .get(pk=release.pk)
    )


def _move(
    locked: FirmwareRelease, target: ReleaseState, refusal: type[UnableToDecide], **stamps: Any
) -> None:
    moved = FirmwareRelease.objects.filter(pk=locked.pk).move(ReleaseState(locked.state), target, **stamps)
    if moved != 1:
        raise refusal("The release was moved by somebody else at the same moment. Open it again.")
    locked.refresh_from_db()


def _missing(release: FirmwareRelease) -> str:
    """Return the sentence on what a release still lacks, or nothing."""
    if not release.hub_models.exists():
        return "Choose the hub models that the release is for."
    if not release.has_no_predecessor and not release.predecessors.exists():
        return "Name at least one predecessor, or tick that the release may be installed over any version."
    if not release.periods.exists():
        return "Give at least one network an availability period."
    return ""


def _too_soon(release: FirmwareRelease, now: datetime) -> str:
    """Return the sentence on a period that opens too soon or is too short, or nothing."""
    policy = release.policy
    for period in release.periods.select_related("network").order_by("start_at", "pk"):
        if policy.notice_before_opening.before(period.start_at) < now:
            return (
                f"The period on {period.network} opens at {_shown(period.start_at)}, but Suppliers have to "
                f"be told {policy.notice_before_opening} before. Let it open at "
                f"{_shown(policy.notice_before_opening.after(now))} or later, or change the policy."
            )
        if policy.minimum_period.after(period.start_at) > period.end_at:
            return (
                f"The period on {period.network} closes at {_shown(period.end_at)}, but has to last at least "
                f"{policy.minimum_period}: until {_shown(policy.minimum_period.after(period.start_at))} or "
                "later. Change the period or the policy."
            )
    return ""


def _shown(at: datetime) -> str:
    return f"{at.astimezone(LONDON):%H:%M %Z on %-d %B %Y}"


def _state(release: FirmwareRelease) -> str:
    return release.get_state_display().lower()


def _record(
    release: FirmwareRelease,
    verb: str,
    by: "User | None",
    now: datetime,
    reason: str = "",
    facts: Mapping[str, Any] | None = None,
) -> None:
    audit.record(
        actor=by,
        verb=verb,
        subject=queries.subject(release_id=release.pk),
        now=now,
        reason=reason,
        facts={"revision": release.revision} | dict(facts or {}),
    )
