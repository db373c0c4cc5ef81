"""
A release's whole rollout, rehearsed on virtual time with a stated defect: what it needs, and what came of it.

A `Plan` says everything in words and numbers, so that it can be handed to a process whose database is empty. `rehearse`
makes there what the plan says, from the fleet to the publication of the release, and rolls it out.
"""

import io
import json
import math
import re
import time as stopwatch
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.core.management import call_command
from django.db.models import Max, Sum

from firmware import images, policies
from firmware import queries as releases_found
from firmware.models import FirmwareRelease, RolloutPolicy, SignedAct
from firmware.operations import decisions, groups, releases
from hubs import gateway
from hubs.models import FirmwareVersion, HubModel, Network, Supplier
from portal.ground.clock import VirtualClock
from portal.ground.uk_time import LONDON
from portal.models import User
from scheduling.models import Booking, CapacityPattern, Slot, Stage, Weekday
from scheduling.operations import rehearsals, slots
from scheduling.planning import Hours
from scheduling.queries import rehearsals as results
from scheduling.queries.plans import Timing

BASELINE = 0.005
"""The share of hubs that go wrong whatever is sent to them."""
KINDS = ("visible", "silent", "late")
PUBLISHED = datetime(2027, 1, 4, 9, tzinfo=UTC)
"""When the release of a rehearsal is published that is nobody's: a working day like any other."""
OLD, NEW = 0x01000001, 0x01000002
IMAGE_BYTES = 200_000
NETWORKS = {"north": "North", "central": "Central", "south": "South"}
SUPPLIERS = (240, 190, 145, 115, 95, 72, 50, 40, 28, 15, 10)
"""Suppliers by their part of the hubs, in per mille: as unequal as in the field."""
LEAD_DAYS = 3
"""Days from the opening to the first night, in which images are staged."""
SHORTEST_DEADLINE = timedelta(minutes=60)
"""Hubs of the modelled fleet take minutes to answer, on each of three commands."""
NIGHT = timedelta(hours=8)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NEEDED = 0.5
"""The part of the nights in which all hubs have room: the first stages leave most of the first ones empty."""


class UnableToRehearse(Exception):
    """Nothing was rehearsed; the message says why and what to do."""


class Tell(Protocol):
    """Is told how far a rehearsal is."""

    def __call__(self, step: str, share: float | None = None) -> None:
        """Take a step in a few words, and how much of all is done, where that is known."""


@dataclass(frozen=True, slots=True)
class Defect:
    """What the release breaks: a share of the hubs, beyond those that go wrong anyway, everywhere or in one place."""

    share: float
    kind: str
    network: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A hub model that the release is for."""

    name: str
    manufacturer_name: str


@dataclass(frozen=True, slots=True)
class Kind:
    """Hubs that are alike, and how many of them there are beside the others."""

    network: str
    model: str
    version: int
    hardware: int
    weight: int


@dataclass(frozen=True, slots=True)
class Nights:
    """A slot on one night and network, and its room; where a plan has no pattern of capacity."""

    network: str
    start_at: str
    hubs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    Everything that a rehearsal is made from, by names; moments are in ISO form.

    `networks` are names by code, `periods` the opening and closing by network code, `patterns` the weekly capacity by
    network code, `nights` slots beyond any pattern. Suppliers spread their hubs over the period until DCC allocates
    what is left.
    """

    hubs: int
    seed: int
    defect: Defect | None
    name: str
    version: int
    manufacturer: int
    image_type: int
    minimum_hardware: int
    maximum_hardware: int
    models: Sequence[Model]
    networks: Mapping[str, str]
    kinds: Sequence[Kind]
    suppliers: Sequence[tuple[str, int]]
    published_at: str
    periods: Mapping[str, tuple[str, str]]
    policy: Mapping[str, Any] = field(default_factory=dict)
    patterns: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    nights: Sequence[Nights] = ()

    def as_json(self) -> str:
        """Write it down."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Plan":
        """Read what `as_json` wrote."""
        return cls.from_facts(json.loads(text))

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], /) -> "Plan":
        """Make it of what `as_json` writes, read as JSON."""
        facts = dict(facts)
        facts["defect"] = Defect(**facts["defect"]) if facts["defect"] else None
        facts["models"] = [Model(**one) for one in facts["models"]]
        facts["kinds"] = [Kind(**one) for one in facts["kinds"]]
        facts["nights"] = [Nights(**one) for one in facts["nights"]]
        facts["suppliers"] = [(name, weight) for name, weight in facts["suppliers"]]
        facts["periods"] = {code: (opens, closes) for code, (opens, closes) in facts["periods"].items()}
        return cls(**facts)


def defect_from(*, share: str | None, kind: str, where: str) -> Defect | None:
    """
    Read a defect from the words of a command or a form: "2%", "silent", "network:south"; no share is no defect.

    :raises UnableToRehearse: naming what cannot be read
    """
    if not share:
        return None
    if not (match := re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?) ?%", share.strip())):
        raise UnableToRehearse(f"“{share}” is no share of hubs: give a percentage, such as 2% or 0.5%.")
    if not 0 < float(match[1]) <= 100:
        raise UnableToRehearse("A defect concerns more than 0% and at most 100% of the hubs.")
    if kind not in KINDS:
        raise UnableToRehearse(f"There is no defect of the kind “{kind}”. There are: {', '.join(KINDS)}.")
    what, _, name = where.partition(":")
    if where == "all":
        return Defect(float(match[1]) / 100, kind)
    if what not in ("network", "model") or not name:
        raise UnableToRehearse(f"“{where}” is no place: give all, network:NAME or model:NAME.")
    return Defect(float(match[1]) / 100, kind, **{what: name})


def nobodys(*, hubs: int, defect: Defect | None, seed: int) -> Plan:
    """
    Plan the rollout of a release that is nobody's: one model, three networks, the policy that releases begin with.

    DCC opens nights of eight hours, all alike. Suppliers spread their hubs over the period until DCC allocates what is
    left; those that the first stages have no turn for are moved by the portal.
    """
    policy = RolloutPolicy(stage_sizes=list(policies.STAGE_SIZES), **policies.BY_URGENCY["normal"])
    earliest = policy.notice_before_opening.after(PUBLISHED).astimezone(LONDON).date()
    opening = earliest + timedelta(days=1)
    opens, closes = _midnight(opening), _midnight(opening + timedelta(days=policy.minimum_period.amount))
    model = Model("Rehearsal Hub", "Rehearsal Devices")
    return Plan(
        hubs=hubs,
        seed=seed,
        defect=_placed(defect, NETWORKS, [model]),
        name="Rehearsed release",
        version=NEW,
        manufacturer=0x1A05,
        image_type=0x0101,
        minimum_hardware=0,
        maximum_hardware=0xFFFF,
        models=[model],
        networks=NETWORKS,
        kinds=[Kind(code, model.name, OLD, 0x0100, 1) for code in NETWORKS],
        suppliers=[(f"Supplier {number}", weight) for number, weight in enumerate(SUPPLIERS, 1)],
        published_at=PUBLISHED.isoformat(),
        periods=dict.fromkeys(NETWORKS, (opens.isoformat(), closes.isoformat())),
        nights=_nights(hubs, policy, opening, list(NETWORKS)),
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), LONDON).astimezone(UTC)


def _nights(hubs: int, policy: RolloutPolicy, opening: date, networks: Sequence[str]) -> "list[Nights]":
    """Open every night alike, with room for all hubs in a part of them, whichever these are."""
    nights = range(LEAD_DAYS, policy.minimum_period.amount)
    bookable = 1 - policy.reserve_percent / 100
    room = math.ceil(hubs / len(networks) / (len(nights) * NEEDED) / bookable) + len(SUPPLIERS)
    return [
        Nights(code, _midnight(opening + timedelta(days=night)).isoformat(), room)
        for night in nights
        for code in networks
    ]


def of_release(*, release: FirmwareRelease, hubs: int | None, defect: Defect | None, seed: int) -> Plan:
    """
    Plan the rollout of one of the portal's releases: its policy, models, networks, periods, hubs, and its capacity.

    With another number of `hubs` than it has, capacity shrinks or grows with them. Suppliers spread their hubs over the
    period until DCC allocates what is left.

    :raises UnableToRehearse: if no hub may take it, or it is not complete
    """
    found = list(
        releases_found.eligible_counts(release=release)
        .filter(lead__isnull=False)
        .values("network__code", "model__name", "installed_version__number", "hardware_version")
        .annotate(total=Sum("hubs"))
        .order_by("network", "model", "installed_version", "hardware_version")
    )
    total = sum(row["total"] for row in found)
    if not total:
        raise UnableToRehearse(
            "No hub can take this release, as the fleet was last counted: check its models, predecessors and periods."
        )
    hubs = hubs or total
    networks = {period.network.code: period.network for period in release.periods.select_related("network")}
    models = list(release.hub_models.order_by("pk"))
    leads = (
        releases_found.eligible_counts(release=release)
        .filter(lead__isnull=False)
        .values("lead__name")
        .annotate(total=Sum("hubs"))
        .order_by("-total", "lead")
    )
    named = {code: network.name for code, network in networks.items()}
    described = [Model(model.name, model.manufacturer_name) for model in models]
    return Plan(
        hubs=hubs,
        seed=seed,
        defect=_placed(defect, named, described),
        name=release.name,
        version=release.version.number,
        manufacturer=release.manufacturer,
        image_type=release.image_type,
        minimum_hardware=release.minimum_hardware,
        maximum_hardware=release.maximum_hardware,
        models=described,
        networks=named,
        kinds=[
            Kind(
                row["network__code"],
                row["model__name"],
                row["installed_version__number"],
                row["hardware_version"],
                row["total"],
            )
            for row in found
        ],
        suppliers=[(row["lead__name"], row["total"]) for row in leads],
        published_at=_in_time(release).isoformat(),
        periods={
            period.network.code: (period.start_at.isoformat(), period.end_at.isoformat())
            for period in release.periods.select_related("network")
        },
        policy=_policy_of(release.policy),
        patterns={
            code: [
                {
                    "weekday": pattern.weekday,
                    "starts": pattern.starts.isoformat(),
                    "ends": pattern.ends.isoformat() if pattern.ends else None,
                    "slot_minutes": pattern.slot_minutes,
                    "capacity": math.ceil(pattern.capacity * hubs / total),
                }
                for pattern in CapacityPattern.objects.filter(network=network).order_by("pk")
            ]
            for code, network in networks.items()
        },
    )


def _in_time(release: FirmwareRelease) -> datetime:
    """Return the last full hour at which the release could be published, by the notice that its policy owes."""
    notice = release.policy.notice_before_opening
    opens = min(period.start_at for period in release.periods.all())
    moment = notice.before(opens).replace(minute=0, second=0, microsecond=0) - HOUR
    while notice.after(moment) > opens:  # of the night before a day that is no working day
        moment -= HOUR
    return moment


def _policy_of(policy: RolloutPolicy) -> dict[str, Any]:
    names = [one.name for one in RolloutPolicy._meta.concrete_fields if one.name not in ("id", "release")]
    found = {name: getattr(policy, name) for name in names}
    return {name: value if isinstance(value, int | list) else str(value) for name, value in found.items()}


def policy_of(*, plan: Plan) -> RolloutPolicy:
    """Return the policy of the plan's release, not kept anywhere: what it says, otherwise what releases begin with."""
    policy = RolloutPolicy(
        **{
            "stage_sizes": list(policies.STAGE_SIZES),
            **policies.BY_URGENCY["normal"],
            **plan.policy,
        }
    )
    policy.clean_fields(exclude=["id", "release"])  # numbers and spans, where the plan has words
    return policy


def check_whole(*, plan: Plan) -> None:
    """
    Pass a plan that the real code can roll out on virtual time, which goes on by minutes.

    :raises UnableToRehearse: if its policy is one on compressed time, as in a demo
    """
    deadline = policy_of(plan=plan).silence_deadline
    if deadline.after(PUBLISHED) - PUBLISHED < SHORTEST_DEADLINE:
        raise UnableToRehearse(
            f"This policy counts a hub as silent after {deadline}: that is compressed time, as in a demo, and a "
            f"rehearsal through the real code needs at least {SHORTEST_DEADLINE // timedelta(minutes=1)} minutes. "
            "In numbers alone it can be rehearsed."
        )


def _placed(defect: Defect | None, networks: Mapping[str, str], models: Sequence[Model]) -> Defect | None:
    """Return the defect with its place as the plan names it: a network by its code, a model by its name."""
    if defect is None:
        return None
    if defect.network is not None:
        codes = [
            code
            for code, name in networks.items()
            if defect.network.casefold() in (code.casefold(), name.casefold())
        ]
        if not codes:
            raise UnableToRehearse(
                f"The release is for no network “{defect.network}”. It is for: {', '.join(networks)}."
            )
        return Defect(defect.share, defect.kind, network=codes[0])
    if defect.model is not None:
        names = [model.name for model in models]
        if defect.model not in names:
            raise UnableToRehearse(
                f"The release is for no model “{defect.model}”. It is for: {', '.join(names)}."
            )
    return defect


def rehearse(*, plan: Plan, tell: Tell, has_helper: bool = False) -> dict[str, Any]:
    """
    Make what the plan says in an empty, migrated database, roll the release out, and return how it went.

    `tell` is given each step. A helper makes it faster, outside of transactions (`rehearsals.roll_out`).

    :raises UnableToRehearse: if there can be no such release
    """
    began = stopwatch.perf_counter()
    groups.ensure_groups()
    clock = VirtualClock(moment=datetime.fromisoformat(plan.published_at))
    networks, models = _make_world(plan)
    people = _make_people(plan)
    _make_fleet(plan, networks, models)
    try:
        release = _publish(plan, networks, models, clock)
    except (releases.UnableToUpload, decisions.UnableToDecide) as refusal:
        raise UnableToRehearse(
            f"The release could not be published as it is, so there is no rollout to rehearse: {refusal}"
        ) from refusal
    _make_slots(plan, networks, clock)
    made = stopwatch.perf_counter()
    unplaced = rehearsals.book_all(
        release=release, timing=_timing(release), people=people, clock=clock, tell=tell
    )
    booked = stopwatch.perf_counter()
    carrier = gateway.connect()
    assert isinstance(carrier, gateway.Foreseeable)  # noqa: S101 - the settings of a rehearsal name no other
    teller = _Teller(tell, release, plan.hubs)
    course = rehearsals.roll_out(
        release=release,
        gateway=carrier,
        clock=clock,
        until=max(period.end_at for period in release.periods.all()),
        tell=teller,
        has_helper=has_helper,
    )
    done = stopwatch.perf_counter()
    found = _outcome(plan, release, course, unplaced, carrier.activated())
    return {
        **found,
        "wall_s": {
            "making": round(made - began, 1),
            "booking": round(booked - made, 1),
            "rolling out": round(done - booked, 1),
            "all": round(stopwatch.perf_counter() - began, 1),
        },
    }


class _Teller:
    """Tells how far a rollout is, every few seconds of our own time."""

    def __init__(self, tell: Tell, release: FirmwareRelease, hubs: int) -> None:
        self._tell = tell
        self._release = release
        self._hubs = hubs
        self._began_at = min(period.start_at for period in release.periods.all())
        self._told = stopwatch.monotonic()

    def __call__(self, moment: rehearsals.Moment) -> None:
        """Tell it, if it is time."""
        if stopwatch.monotonic() - self._told < 5:
            return
        self._told = stopwatch.monotonic()
        stages = Stage.objects.filter(release=self._release)
        newest = stages.aggregate(stage=Max("number"), hubs=Sum("admitted"))
        self._tell(
            f"day {(moment.at - self._began_at).days + 1}, {moment.at.astimezone(LONDON):%H:%M}: "
            f"{newest['hubs'] or 0:,} hubs commanded, stage {newest['stage'] or 1}, "
            f"{moment.in_flight:,} in flight, {moment.open:,} to go",
            1 - min(moment.open / self._hubs, 1),
        )


def _make_world(plan: Plan) -> tuple[dict[str, Network], dict[str, HubModel]]:
    for code, name in plan.networks.items():
        Network.objects.get_or_create(code=code, defaults={"name": name})
    networks = {network.code: network for network in Network.objects.filter(code__in=plan.networks)}
    models = {
        model.name: HubModel.objects.create(
            name=model.name,
            manufacturer_name=model.manufacturer_name,
            manufacturer=plan.manufacturer,
            image_type=plan.image_type,
        )
        for model in plan.models
    }
    for number in sorted({plan.version, *(kind.version for kind in plan.kinds)}):
        FirmwareVersion.objects.get_or_create(number=number)
    for number, (name, _) in enumerate(plan.suppliers):
        Supplier.objects.create(name=name, import_participant_id=f"R{number:03d}")
    return networks, models


def _make_people(plan: Plan) -> dict[int, User]:
    """Make somebody of each Supplier; nobody of them can sign in anywhere."""
    return {
        supplier.pk: User.objects.create_user(
            email=f"{supplier.import_participant_id}@example.com".lower(), supplier=supplier
        )
        for supplier in Supplier.objects.order_by("pk")
    }


def _make_fleet(plan: Plan, networks: Mapping[str, Network], models: Mapping[str, HubModel]) -> None:
    """Make the hubs; by a command, since only settings name the carrier that they belong to."""
    versions = dict(FirmwareVersion.objects.values_list("number", "pk"))
    suppliers = dict(Supplier.objects.values_list("name", "pk"))
    defect = plan.defect
    facts = {
        "hubs": plan.hubs,
        "seed": plan.seed,
        "baseline": BASELINE,
        "kinds": [
            {
                "network": networks[kind.network].pk,
                "model": models[kind.model].pk,
                "version": versions[kind.version],
                "version_number": kind.version,
                "hardware": kind.hardware,
                "weight": kind.weight,
            }
            for kind in plan.kinds
        ],
        "suppliers": [(suppliers[name], weight) for name, weight in plan.suppliers],
        "fault": defect
        and {
            "version": plan.version,
            "share": defect.share,
            "kind": defect.kind,
            "network": defect.network and networks[defect.network].pk,
            "model": defect.model and models[defect.model].pk,
        },
    }
    call_command("load_rehearsal", plan=json.dumps(facts))


def _publish(
    plan: Plan, networks: Mapping[str, Network], models: Mapping[str, HubModel], clock: VirtualClock
) -> FirmwareRelease:
    """Take the release the whole way, from an image of its own to its publication by two people."""
    author, approver = (
        User.objects.create_superuser(email=f"{name}@dcc.example.com") for name in ("author", "approver")
    )
    content = images.build(
        blueprint=images.Blueprint(
            manufacturer=plan.manufacturer,
            image_type=plan.image_type,
            version=plan.version,
            payload=IMAGE_BYTES,
        ),
        seed=plan.seed,
        key=ec.generate_private_key(ec.SECP256R1()),
    )
    release = releases.upload(
        particulars=releases.Particulars(
            cpl_entry_id="REHEARSAL",
            name=plan.name,
            version=plan.version,
            digest=images.inspect(io.BytesIO(content), size_limit=settings.IMAGE_SIZE_LIMIT).digest,
            hub_models=list(models.values()),
            predecessors=[
                releases.Step(version=number) for number in sorted({kind.version for kind in plan.kinds})
            ],
            notes="A rehearsal.",
            contact="nobody@example.com",
            periods=[
                releases.Period(
                    network=networks[code],
                    start_at=datetime.fromisoformat(opens),
                    end_at=datetime.fromisoformat(closes),
                )
                for code, (opens, closes) in plan.periods.items()
            ],
            policy=plan.policy,
        ),
        content=io.BytesIO(content),
        author=author,
        now=clock(),
    )
    decisions.submit(release=release, by=author, now=clock())
    decisions.sign_off(
        release=release,
        act=SignedAct.PUBLISH,
        revision=release.revision,
        digest=release.digest,
        by=approver,
        now=clock(),
    )
    decisions.publish(release=release, by=author, now=clock())
    # read anew: the spans of its policy are spans then
    return FirmwareRelease.objects.select_related("policy", "version").get(pk=release.pk)


def _make_slots(plan: Plan, networks: Mapping[str, Network], clock: VirtualClock) -> None:
    CapacityPattern.objects.bulk_create(
        _pattern(pattern, networks[code]) for code, patterns in plan.patterns.items() for pattern in patterns
    )
    if plan.patterns:
        slots.open_slots(now=clock())
    nights = ((night, datetime.fromisoformat(night.start_at)) for night in plan.nights)
    Slot.objects.bulk_create(
        Slot(network=networks[night.network], start_at=start, end_at=start + NIGHT, capacity=night.hubs)
        for night, start in nights
    )


def room_of(*, plan: Plan) -> int:
    """Return how many hubs the slots of the plan's periods have room for."""
    room = sum(night.hubs for night in plan.nights)
    for code, (opens, closes) in plan.periods.items():
        spans = slots.spans_of(
            patterns=[_pattern(pattern) for pattern in plan.patterns.get(code, ())],
            start=datetime.fromisoformat(opens),
            end=datetime.fromisoformat(closes),
        )
        room += sum(capacity for _, _, capacity in spans)
    return room


def period_days(*, plan: Plan) -> float:
    """Return how many days there are from the first opening of the plan's periods to the last closing."""
    opens = min(datetime.fromisoformat(opens) for opens, _ in plan.periods.values())
    closes = max(datetime.fromisoformat(closes) for _, closes in plan.periods.values())
    return _rounded(closes - opens, DAY)


def _pattern(facts: Mapping[str, Any], network: Network | None = None) -> CapacityPattern:
    """Return a pattern as the plan writes it, not kept anywhere."""
    return CapacityPattern(
        network=network,
        **{
            **facts,
            "weekday": Weekday(facts["weekday"]),
            "starts": time.fromisoformat(facts["starts"]),
            "ends": time.fromisoformat(facts["ends"]) if facts["ends"] else None,
        },
    )


def _timing(release: FirmwareRelease) -> Timing:
    periods = list(release.periods.all())
    part = release.policy.default_allocation_percent / 100
    first = min(period.start_at for period in periods)
    last = max(period.start_at + (period.end_at - period.start_at) * part for period in periods)
    return Timing(
        Booking.Plan.SPREAD,
        hours=Hours(
            weekdays=tuple(range(7)),
            opens=time(),
            closes=time(),
            first_day=first.astimezone(LONDON).date(),
            last_day=last.astimezone(LONDON).date(),
        ),
    )


def _outcome(
    plan: Plan,
    release: FirmwareRelease,
    course: rehearsals.Course,
    unplaced: int,
    activated: gateway.Activated,
) -> dict[str, Any]:
    """Put together what the rehearsal is for."""
    ends = results.ends()
    untried = plan.hubs - sum(end.hubs for end in ends) + sum(end.hubs for end in ends if end.is_untried)
    opened = min(period.start_at for period in release.periods.all())
    last = results.last_outcome(release=release)
    halted = course.halted
    return {
        "release": plan.name,
        "hubs": plan.hubs,
        "seed": plan.seed,
        "defect": plan.defect and asdict(plan.defect),
        "baseline": BASELINE,
        "tolerated": float(release.policy.tolerated_bad_percent) / 100,
        "commanded": activated.hubs,
        "bad": activated.bad,
        "halt": halted
        and {
            "at": halted.at.isoformat(),
            "days": round((halted.at - opened) / DAY, 4),
            "hours": None if course.first_at is None else _rounded(halted.at - course.first_at, HOUR),
            "reason": halted.reason,
            "admitted_after": halted.admitted_after,
        },
        "days": None if halted or last is None else _rounded(last - opened, DAY),
        "period_days": _rounded(max(period.end_at for period in release.periods.all()) - opened, DAY),
        "fits": None if halted else untried == 0,
        "untried": untried,
        "unplaced_at_first": unplaced,
        "outcomes": [
            {"state": end.state.label, "reason": end.ending.label, "hubs": end.hubs} for end in ends
        ],
        "capacity": [
            {
                "network": str(use.network),
                "places": use.places,
                "taken": use.taken,
                "fullest": round(use.fullest, 3),
            }
            for use in results.capacity(release=release)
        ],
        "stages": [
            {
                "model": str(stage.model),
                "number": stage.number,
                "size": stage.size,
                "commanded": stage.admitted,
                "opened": _rounded(max(stage.opened_at, opened) - opened, DAY),
                "full": stage.full_at and _rounded(stage.full_at - opened, DAY),
                "closed": stage.closed_at and _rounded(stage.closed_at - opened, DAY),
            }
            for stage in results.stages(release=release)
        ],
        "course": [
            [round(point.days, 4), point.commanded, point.bad]
            for point in results.course(release=release, opened=opened)
        ],
        "looks": course.looks,
    }


def _rounded(span: timedelta, unit: timedelta) -> float:
    return round(span / unit, 2)
