"""
What there is to say of a release after the fact: for the page of its report, and for its evidence pack.

Hubs are counted from the maintained counters alone, so that it takes no longer for thirty million of them. What can be
long, bookings, decisions and evidence, is yielded row by row; whoever needs all of it to be of one moment asks within
one snapshot.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from typing import IO, Any, TypeAlias

from django.db.models import CharField, Count, F, Q, QuerySet, Sum, Value, Window
from django.db.models.functions import Concat, RowNumber

from firmware import queries as releases
from firmware.models import (
    AvailabilityPeriod,
    FirmwareRelease,
    Halt,
    Part,
    Predecessor,
    RolloutPolicy,
    SignOff,
)
from hubs.models import HubModel, Network, Supplier
from portal.ground import chain
from portal.ground.models import AuditEntry
from scheduling import packs
from scheduling.models import Booking, Consent, Evidence, Lot, Objection, Rehearsal, Stage
from scheduling.packs import Finding
from scheduling.queries import asked_rehearsals, cohorts, control_room, progress
from scheduling.queries.asked_rehearsals import Told
from scheduling.queries.cohorts import InCommon
from scheduling.queries.control_room import History, Situation
from scheduling.queries.progress import Progress

PAGE = 1_000
NAMED = 20
"""Bookings of each Supplier that are named in a report; the pack lists all of them."""
DECISIONS = 500
"""Decisions about the release itself that a report shows."""
Names: TypeAlias = Mapping[tuple[int | None, int | None], str]
"""Words for a model, or for a network, by id; the other is None."""
EVER = timedelta(days=3_650)
"""A report draws the evidence from its beginning."""


@dataclass(frozen=True, slots=True)
class OfSupplier:
    """What a Supplier's hubs were booked for, and what became of them; `references` are its first bookings."""

    supplier: Supplier
    bookings: int
    allocated: int
    carried_over: int
    progress: Progress
    references: Sequence[str]

    @property
    def further(self) -> int:
        """How many bookings have no reference here."""
        return self.bookings - len(self.references)


@dataclass(frozen=True, slots=True)
class Consents:
    """Questions to other Suppliers by what became of them, and hubs that they objected to."""

    by_state: Sequence[tuple[str, int]]
    objected: int
    moved: int
    handed_back: int

    @property
    def asked(self) -> int:
        """All questions."""
        return sum(number for _, number in self.by_state)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a stream of hubs said at a moment; `share` is how much of its limit the evidence had reached."""

    words: str
    episode: int
    good: int
    bad: int
    waiting: int
    share: float
    at: datetime

    @property
    def hubs(self) -> int:
        """All that had been commanded in the episode."""
        return self.good + self.bad + self.waiting


@dataclass(frozen=True, slots=True)
class HaltStory:
    """
    A halt, and what could not be undone by then.

    `commanded` counts all hubs that had been admitted to activation in stages that were open by then: of the release,
    or of the model that was halted by itself; None where a network or version was, which stages do not tell apart.
    `seen` is the evidence for which the portal halted, or the last that had been kept when a person did.
    """

    halt: Halt
    commanded: int | None
    seen: Sequence[Seen]

    @property
    def in_common(self) -> Mapping[str, Any]:
        """What the bad hubs had in common, as it was found at the halt; empty where it was not."""
        found: Mapping[str, Any] = self.halt.facts.get("in_common", {})
        return found


@dataclass(frozen=True, slots=True)
class Agreed:
    """A sign-off, and the parts of the release that it leaves out of a resumption."""

    sign_off: SignOff
    leaves_out: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to a release, from its upload on."""

    release: FirmwareRelease
    as_of: datetime
    situation: Situation
    history: History | None
    in_common: InCommon | None
    predecessors: Sequence[Predecessor]
    periods: Sequence[AvailabilityPeriod]
    policy: Sequence[tuple[str, object]]
    sign_offs: Sequence[Agreed]
    decisions: Sequence[AuditEntry]
    further_decisions: int
    """Earlier ones, of which a report only says that there are so many; the pack has them."""
    suppliers: Sequence[OfSupplier]
    consents: Consents
    stages: Sequence[Stage]
    halts: Sequence[HaltStory]
    rehearsals: Sequence[Told]

    @property
    def booked(self) -> int:
        """All bookings that were placed."""
        return sum(one.bookings for one in self.suppliers)


def published() -> QuerySet[FirmwareRelease]:
    """Return the releases that have a report: those that were ever published."""
    return (
        FirmwareRelease.objects.filter(published_at__isnull=False)
        .select_related("version", "policy", "author", "submitter")
        .prefetch_related("hub_models", "periods__network")
    )


def of_release(*, release: FirmwareRelease, now: datetime) -> Report:
    """Say what happened to a release, as `published` fetches it, until now."""
    [situation] = control_room.situations(shown=[release], now=now)
    histories = control_room.histories(shown=[situation], lasting=EVER)
    stages = list(
        Stage.objects.filter(release=release).select_related("model").order_by("model__name", "number")
    )
    decided = releases.history(release=release)
    return Report(
        release=release,
        as_of=now,
        situation=situation,
        history=histories.get(release.pk),
        in_common=cohorts.in_common(releases=[release.pk]).get(release.pk),
        predecessors=list(release.predecessors.select_related("version").order_by("version__number")),
        periods=sorted(release.periods.all(), key=lambda period: period.network.name),
        policy=_policy(release.policy),
        sign_offs=_sign_offs(release),
        decisions=list(decided[:DECISIONS])[::-1],
        further_decisions=max(0, decided.count() - DECISIONS),
        suppliers=_suppliers(release),
        consents=_consents(release),
        stages=stages,
        halts=_halts(release, stages),
        rehearsals=asked_rehearsals.of_release(release=release),
    )


def _sign_offs(release: FirmwareRelease) -> list[Agreed]:
    signed = release.sign_offs.select_related(
        *("signed_by", "halt__network", "halt__model", "halt__installed_version")
    )
    parts = releases.parts(release=release)
    return [
        Agreed(one, [part for part in parts if part.key in one.leaves_out]) for one in signed.order_by("pk")
    ]


def _policy(policy: RolloutPolicy) -> list[tuple[str, object]]:
    return [
        (str(field.verbose_name), getattr(policy, field.name))
        for field in RolloutPolicy._meta.concrete_fields
        if field.name not in ("id", "release")
    ]


def _suppliers(release: FirmwareRelease) -> list[OfSupplier]:
    placed = Booking.objects.filter(release=release, placed_at__isnull=False)
    counts = {
        row["supplier"]: row
        for row in placed.order_by()
        .values("supplier")
        .annotate(
            bookings=Count("pk"),
            allocated=Count("pk", filter=Q(origin=Booking.Origin.DEFAULT)),
            carried_over=Count("pk", filter=Q(origin=Booking.Origin.CARRIED_OVER)),
        )
    }
    references: dict[int, list[str]] = {}
    numbered = placed.annotate(number=Window(RowNumber(), partition_by=F("supplier"), order_by=F("pk").asc()))
    for supplier, reference in (
        numbered.filter(number__lte=NAMED).order_by("pk").values_list("supplier", "reference")
    ):
        references.setdefault(supplier, []).append(reference)
    went = progress.by_supplier(lots=Lot.objects.filter(release=release))
    return [
        OfSupplier(
            supplier,
            counts[supplier.pk]["bookings"],
            counts[supplier.pk]["allocated"],
            counts[supplier.pk]["carried_over"],
            went.get(supplier.pk, progress.NOTHING),
            references[supplier.pk],
        )
        for supplier in Supplier.objects.filter(pk__in=counts).order_by("name")
    ]


def _consents(release: FirmwareRelease) -> Consents:
    asked = dict(
        Consent.objects.filter(booking__release=release)
        .order_by()
        .values_list("state")
        .annotate(number=Count("pk"))
    )
    objections = Objection.objects.filter(consent__booking__release=release).aggregate(
        objected=Sum("hubs", default=0), went=Sum("moved", default=0), returned=Sum("handed_back", default=0)
    )
    return Consents(
        [(state.label, asked[state]) for state in Consent.State if state in asked],
        objections["objected"],
        objections["went"],
        objections["returned"],
    )


def _halts(release: FirmwareRelease, stages: Sequence[Stage]) -> list[HaltStory]:
    names = _names()
    halts = release.halts.select_related(
        *("halted_by", "lifted_by", "network", "model", "installed_version")
    ).order_by("halted_at", "pk")
    return [
        HaltStory(
            halt,
            _commanded(halt, stages),
            _seen_at(halt, names) or [_seen(kept, names) for kept in _last_kept(release, halt)],
        )
        for halt in halts
    ]


def _commanded(halt: Halt, stages: Sequence[Stage]) -> int | None:
    """Count by the stages, to which nobody is admitted any more once they are halted, and cut off by a resumption."""
    if not (halt.is_whole or halt.model_id):
        return None
    return sum(
        stage.admitted
        for stage in stages
        if stage.opened_at <= halt.halted_at and halt.model_id in (None, stage.model_id)
    )


def _seen_at(halt: Halt, names: Names) -> list[Seen]:
    """Return what each stream of commanded hubs said when the portal halted; nothing where a person did."""
    return [
        Seen(
            names[one["model"], one["network"]],
            one["episode"],
            one["good"],
            one["bad"],
            one["waiting"],
            max(one["evidence"], 0.0) / one["limit"],
            halt.halted_at,
        )
        for one in halt.facts.get("streams", [])
        if one["good"] + one["bad"] + one["waiting"]
    ]


def _last_kept(release: FirmwareRelease, halt: Halt) -> list[Evidence]:
    """Return what each stream said last before a halt, models before networks; found by reading an index backwards."""
    kept = Evidence.objects.filter(release=release, seen_at__lte=halt.halted_at)
    return list(kept.order_by("-model", "-network", "-at").distinct("model", "network"))[::-1]


def _names() -> Names:
    return {(model.pk, None): f"Model {model.name}" for model in HubModel.objects.all()} | {
        (None, network.pk): f"Network {network.name}" for network in Network.objects.all()
    }


def _seen(kept: Evidence, names: Names) -> Seen:
    return Seen(
        names[kept.model_id, kept.network_id],
        kept.episode,
        kept.good,
        kept.bad,
        kept.waiting,
        max(kept.evidence, 0.0) / kept.threshold,
        kept.seen_at,
    )


def every_seen(*, release: FirmwareRelease) -> Iterator[Seen]:
    """Yield all evidence that was kept of a release, in order of time."""
    names = _names()
    for kept in Evidence.objects.filter(release=release).order_by("at", "pk").iterator(PAGE):
        yield _seen(kept, names)


def every_rehearsal(*, release: FirmwareRelease) -> Iterator[Rehearsal]:
    """Yield the rehearsals of a release, the first one first."""
    asked = Rehearsal.objects.filter(release=release).select_related("network", "model").order_by("id")
    yield from asked.iterator(chunk_size=10)


def every_booking(*, release: FirmwareRelease) -> Iterator[tuple[Booking, Progress]]:
    """Yield all bookings of a release that were placed, with what became of their hubs, in the order in which made."""
    placed = Booking.objects.filter(release=release, placed_at__isnull=False).select_related("supplier")
    after = 0
    while page := list(placed.filter(pk__gt=after).order_by("pk")[:PAGE]):
        went = progress.by_booking(bookings=[booking.pk for booking in page])
        for booking in page:
            yield booking, went.get(booking.pk, progress.NOTHING)
        after = page[-1].pk


def every_decision(*, release: FirmwareRelease) -> Iterator[AuditEntry]:
    """
    Yield every decision about a release and about its bookings, in the order of the audit.

    Within a transaction: what there is of them is read as it is yielded.
    """
    of_bookings = Booking.objects.filter(release=release).values_list(
        Concat(Value("booking:"), "reference", output_field=CharField())
    )
    yield from merge(
        releases.history(release=release).select_related(None).order_by("pk").iterator(PAGE),
        AuditEntry.objects.filter(subject__in=of_bookings).order_by("pk").iterator(PAGE),
        key=lambda entry: entry.pk,
    )


def as_recorded(*, entry: AuditEntry) -> dict[str, Any]:
    """Return a decision as a pack holds it: what the audit says, with whoever decided by their id alone."""
    return {
        "id": entry.pk,
        "recorded_at": entry.recorded_at.isoformat(),
        "actor": entry.actor_id,
        # a pack of before there were roles in the record has none in its lines
        **({"role": entry.role} if entry.role else {}),
        "verb": entry.verb,
        "subject": entry.subject,
        "reason": entry.reason,
        "facts": entry.facts,
    }


def still_recorded(*, file: IO[bytes], head: str) -> Finding:
    """
    Say whether the audit still has every decision of a pack, as the pack has it: its chain must end in the same head.

    The pack is one whose signature holds. Decisions that came later, or that were being made then, are no difference.
    """
    number, last = 0, packs.BEGINNING
    purge = chain.last_purge()
    for lines in _batches(packs.lines(file=file)):
        recorded = AuditEntry.objects.in_bulk([json.loads(line)["id"] for line in lines])
        for line in lines:
            number += 1
            entry = recorded.get(json.loads(line)["id"])
            if (
                entry is None
                and purge
                and datetime.fromisoformat(json.loads(line)["recorded_at"]) < purge.until
            ):
                return Finding(
                    False,
                    f"Decision {json.loads(line)['id']} of the pack was purged from the audit, with all up to number "
                    f"{purge.upto.number} of its chain, as decision {purge.decision} says: the audit cannot speak for "
                    "this pack any more. Its own signature and hashes do.",
                )
            if entry is None or packs.as_line(entry=as_recorded(entry=entry)) != line:
                what = "is not in the audit" if entry is None else "was changed in the audit"
                return Finding(
                    False, f"Decision {json.loads(line)['id']} of the pack {what}, since it was made."
                )
            last = packs.link(before=last, line=line)
    if last != head:
        return Finding(False, "The audit's decisions make another chain than the pack's.")
    return Finding(
        True,
        f"The audit still has all {number:,} decisions as the pack has them; their chain ends in {head}.",
    )


def _batches(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    remaining = iter(lines)
    while batch := list(islice(remaining, PAGE)):
        yield batch
