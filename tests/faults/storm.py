"""
A storm: a small world whose hubs are booked into slots of seconds, everything going wrong at once, then calm.

All that is decided is drawn from the seed before anything begins. What the machine then makes of it differs from
run to run, as it does in life; the judge's questions do not.
"""

import contextlib
import io
import re
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

import psutil
from django.db import transaction
from django.db.models import Count

from firmware.models import FirmwareRelease, ReleaseState, RolloutPolicy, SignedAct
from firmware.operations import decisions
from hubs.identifiers import format_eui64
from hubs.modelled_fleet.models import Defect, FleetHub, NetworkProfile
from hubs.models import CommunicationsHub
from portal.ground import clock, sql
from portal.models import User
from scheduling import tasks
from scheduling.models import LOT_SPAN, Booking, Consent, Deployment, HubSelection
from scheduling.operations import bookings, consents, selections
from scheduling.queries.plans import Timing
from tests import factories
from tests.faults import carrier, judge, tides
from tests.faults.faults import FAULTS, LONGEST, Fault
from tests.faults.judge import Evidence, Stop
from tests.faults.lane import Lane, tried
from tests.faults.lanes import Outcome
from tests.scheduling import world as worlds
from tests.scheduling.world import World

NEWER = 0x01000003
LEAD = timedelta(seconds=75)
"""Of the database's time, from the making of the world to the first wind; its release opens after a minute."""
STORM = 7.0
"""Real seconds in which faults begin."""
PATIENCE, LONGEST_WAIT = 45.0, 240.0
"""Real seconds that may pass after that without anything ending, and until everything has ended."""
IDLE = timedelta(seconds=8)
"""Of the database's time: a longer wait for something is leapt over."""
TAIL = 15
"""Last lines of each log that are told."""
FAULT = "fault: "
DYING_WORDS = re.compile(r"TimeLimit|WorkerLost|Terminat|raised unexpected|cancell", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Blow:
    """One fault: what, from when until when in real seconds, and the seed of its luck."""

    fault: Fault
    start: float
    end: float
    seed: int

    def __str__(self) -> str:
        return f"{self.start:5.2f} to {self.end:5.2f} s  {self.fault.__name__}"


@dataclass(frozen=True, slots=True)
class Decree:
    """What DCC decides of a release, by number, at a moment: to halt it or withdraw it, and when to resume it."""

    release: int
    act: str
    at: float
    resumed_at: float | None = None

    def __str__(self) -> str:
        then = f", resumed at {self.resumed_at:.2f} s" if self.resumed_at else ""
        return f"{self.at:5.2f} s  release {self.release} is to be {self.act}{then}"


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is decided before a storm begins."""

    seed: int
    hubs: int
    networks: int
    releases: int
    shared: int
    agrees: str
    slots: int
    slot_seconds: int
    ahead: int
    workers: tuple[int, ...]
    doubles: float
    drops: float
    stages: tuple[int, ...]
    in_flight: int
    policy: dict[str, str]
    profile: dict[str, float]
    defect: dict[str, float | str] | None
    day: datetime
    blows: tuple[Blow, ...]
    decrees: tuple[Decree, ...]
    answered_at: float

    def __str__(self) -> str:
        lines = [
            f"{self.hubs} hubs and {self.shared} shared ({self.agrees}) on {self.networks} networks, "
            f"{self.releases} releases, {self.slots} slots of {self.slot_seconds} s {self.ahead} s from {self.day}",
            f"workers {self.workers}, the beat doubles {self.doubles:.2f} and drops {self.drops:.2f}",
            f"stages {self.stages}, in flight {self.in_flight}, policy {self.policy}",
            f"profile {self.profile}, defect {self.defect}",
            *map(str, sorted(self.blows, key=lambda blow: blow.start)),
            *map(str, self.decrees),
        ]
        return "\n".join(lines)


def plan(*, seed: int) -> Plan:
    """Draw everything that is decided."""
    luck = Random(seed)
    releases = luck.choice([1, 1, 2])
    return Plan(
        seed=seed,
        hubs=luck.randint(60, 240),
        networks=luck.choice([1, 1, 2, 3]),
        releases=releases,
        shared=luck.choice([0, 20, 40]),
        agrees=luck.choice(["at once", "by silence", "later", "never", "objects"]),
        slots=luck.choice([1, 1, 2, 3]),
        # a long one costs no more: where nothing is left to do in it, it is leapt over
        slot_seconds=luck.choice([100, 200, 400]),
        ahead=luck.choice([20, 60]),
        workers=tuple(luck.randint(1, 2) for _ in range(luck.randint(1, 2))),
        doubles=luck.choice([0.0, 0.3]),
        drops=luck.choice([0.0, 0.3]),
        stages=luck.choice([(5_000,), (20, 5_000), (10, 40, 5_000)]),
        in_flight=luck.choice([15, 50, 500]),
        policy={
            "silence_deadline": f"{luck.randint(12, 30)} seconds",
            "retry_interval": f"{luck.randint(4, 12)} seconds",
            "grace": f"{luck.randint(20, 90)} seconds",
            "staging_opens": f"{luck.choice([0, 300, 300])} seconds",
            "objection_window": f"{luck.randint(5, 20)} seconds",
        },
        profile={
            "seed": luck.randrange(1 << 40),
            "reachability": luck.choice([1.0, luck.uniform(0.7, 1.0)]),
            "never_reached": luck.choice([0.0, 0.03]),
            "read_delay": luck.uniform(0.2, 3.0),
            "stage_delay": luck.uniform(0.5, 6.0),
            "activate_delay": luck.uniform(0.5, 8.0),
            "verify_delay": luck.uniform(0.2, 3.0),
            "delay_spread": luck.uniform(0.0, 0.8),
            "transfer_failed": luck.choice([0.0, 0.05]),
            "hash_mismatch": luck.choice([0.0, 0.0, 0.02]),
            "verification_failed": luck.choice([0.0, 0.02]),
            "activation_failed": luck.choice([0.0, 0.03]),
            "silent_activation": luck.choice([0.0, 0.05]),
            "report_dropped": luck.choice([0.0, 0.05, 0.2, 1.0] if luck.random() < 0.5 else [0.0, 0.05]),
            "report_doubled": luck.choice([0.0, 0.1, 0.5]),
            "report_delayed": luck.choice([0.0, 0.1, 0.3]),
            "report_delay": luck.uniform(2.0, 40.0),
        },
        defect=luck.choice(
            [None, None, {"kind": luck.choice(["visible", "silent", "late"]), "share": 0.1, "late_by": 20.0}]
        ),
        # the nights on which UK clocks change are as good as any other
        day=luck.choice(
            [
                datetime(2026, 10, 25, 0, 58, tzinfo=UTC),
                datetime(2027, 3, 28, 0, 57, tzinfo=UTC),
                datetime(2026, 11, 3, 14, 0, tzinfo=UTC),
                datetime(2026, 12, 31, 23, 58, tzinfo=UTC),
            ]
        ),
        blows=tuple(_blows(luck)),
        decrees=tuple(_decrees(luck, releases)),
        answered_at=luck.uniform(0.1, 2.0),
    )


def _blows(luck: Random) -> Iterator[Blow]:
    busy: dict[str, float] = {}
    for start in sorted(luck.uniform(0.1, STORM) for _ in range(luck.randint(3, 7))):
        fault = luck.choice(FAULTS)
        longest = LONGEST.get(fault, 4.5)
        end = start + luck.choice([luck.uniform(0.05, longest / 4), luck.uniform(0.1, longest)])
        if busy.get(fault.__name__, 0.0) < start:  # one of a kind at a time
            busy[fault.__name__] = end
            yield Blow(fault, start, min(end, STORM + 1.5), luck.randrange(1 << 30))


def _decrees(luck: Random, releases: int) -> Iterator[Decree]:
    for release in range(releases):
        act = luck.choice(["left alone", "left alone", "halted", "halted", "withdrawn"])
        at = luck.uniform(0.2, STORM)
        again = at + luck.uniform(0.3, 3.0) if act == "halted" and luck.random() < 0.5 else None
        if act != "left alone":
            yield Decree(release, act, at, again)


# -- the world -----------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """The world of a storm, and what its people keep in mind."""

    world: World
    releases: list[FirmwareRelease]
    southern_person: User
    stops: dict[int, list[Stop]] = field(default_factory=dict)
    """What was stopped, by release id, in order."""
    resuming_since: dict[int, datetime] = field(default_factory=dict)
    """Before a resumption was first tried: nobody knows when a transaction whose answer was lost committed."""


def build(drawn: Plan) -> Scene:
    """Make the world, book its hubs, and let the database's time run from shortly before the first slot."""
    world = worlds.make(now=drawn.day)
    person = User.objects.create_user(email="person@southern.example.com", supplier=world.southern)
    networks = [world.network]
    networks += [
        factories.NetworkProfileFactory.create(network__code=code).network
        for code in ("central", "south")[: drawn.networks - 1]
    ]
    releases = [world.release]
    if drawn.releases == 2:
        factories.FirmwareVersionFactory.create(number=NEWER)
        releases.append(
            worlds.publish(
                model=world.model,
                network=world.network,
                staff=world.staff,
                approver=world.approver,
                now=drawn.day,
                version=NEWER,
            )
        )
    NetworkProfile.objects.update(**drawn.profile)
    RolloutPolicy.objects.update(
        cut_off="5 seconds",
        soak="0 minutes",
        stage_sizes=list(drawn.stages),
        in_flight_floor=drawn.in_flight,
        explicit_consent_within="10 minutes" if drawn.agrees == "never" else "1 seconds",
        **drawn.policy,
    )
    if drawn.defect:
        Defect.objects.create(version=worlds.NEW, **drawn.defect)
    scene = Scene(world, releases, person)
    for network in networks:
        for release in releases:
            release.periods.get_or_create(
                network=network,
                defaults={
                    "start_at": drawn.day + timedelta(minutes=1),
                    "end_at": drawn.day + timedelta(days=60),
                },
            )
        _people(scene, replace(world, network=network, slots=[]), drawn)
    _book(scene)
    if drawn.agrees == "at once":
        agree(scene, now=world.clock())
    tides.run_from(moment=drawn.day + LEAD)
    return scene


def _people(scene: Scene, here: World, drawn: Plan) -> None:
    """Put hubs and slots on one network, some of the hubs not as the inventory has them."""
    hubs = drawn.hubs // drawn.networks
    for supplier in (here.northern, here.southern):
        here.hubs(hubs // 2, supplier=supplier)
    if drawn.shared:
        here.shared(drawn.shared // drawn.networks)
    odd = list(FleetHub.objects.filter(network=here.network).order_by("chf_id").values_list("pk", flat=True))
    FleetHub.objects.filter(pk__in=odd[::41]).update(running_version=worlds.NEW)
    FleetHub.objects.filter(pk__in=odd[7::43]).update(running_version=0x00FFFFFF)
    everybody = CommunicationsHub.objects.filter(network=here.network).count()
    length = timedelta(seconds=drawn.slot_seconds)
    for number in range(drawn.slots):
        here.slot(
            start=LEAD + timedelta(seconds=drawn.ahead) + number * length,
            # the last one takes the rest, so that the first can be full
            room=everybody if number == drawn.slots - 1 else everybody // drawn.slots,
            length=length,
        )


def _book(scene: Scene) -> None:
    """Book for both Suppliers: some northern hubs for the second release, all the rest for the first."""
    world, second = scene.world, scene.releases[1:]
    for release in second:
        hubs = CommunicationsHub.objects.filter(import_supplier=world.northern, network=world.network)
        ids = list(hubs.order_by("chf_id").values_list("pk", flat=True))[::3]
        text = "\n".join(map(format_eui64, ids))
        file = io.BytesIO(text.encode())
        _book_selection(
            scene,
            selections.choose_from_file(
                supplier=world.northern,
                release=release,
                file=file,
                name="hubs.csv",
                by=world.person,
                now=world.clock(),
            ),
        )
    for supplier, person in ((world.northern, world.person), (world.southern, scene.southern_person)):
        _book_selection(
            scene,
            selections.choose(
                supplier=supplier, release=world.release, criteria={}, by=person, now=world.clock()
            ),
        )


def _book_selection(scene: Scene, selection: HubSelection) -> None:
    person = selection.chosen_by
    bookings.book(
        selection=selection, timing=Timing(Booking.Plan.EARLIEST), by=person, clock=scene.world.clock
    )


def agree(scene: Scene, *, now: datetime) -> None:
    """Let the southern Supplier agree to whatever it is asked."""
    asked = list(Consent.objects.filter(supplier=scene.world.southern, state=Consent.State.ASKED))
    if asked:
        consents.agree(consents=asked, by=scene.southern_person, now=now)


def object_to_all(scene: Scene) -> None:
    """Let the southern Supplier offer the last slot for every hub that it is asked about."""
    for consent in Consent.objects.filter(supplier=scene.world.southern, state=Consent.State.ASKED):
        slots = consent.slot.network.slots.order_by("-start_at")
        offer = consents.Offer(hubs=None, alternative=slots[0])
        consents.object_to(
            consent=consent, offer=offer, reason="Not then.", by=scene.southern_person, clock=clock.now
        )


def _answer(scene: Scene, drawn: Plan) -> None:
    try:
        if drawn.agrees == "later":
            agree(scene, now=clock.now())
        elif drawn.agrees == "objects":
            object_to_all(scene)
    except consents.UnableToAnswer:
        return  # the time was over, and they were told so


# -- what DCC decides ----------------------------------------------------------------------------------------


def stop(scene: Scene, release: FirmwareRelease, *, act: str) -> None:
    """Halt or withdraw a release, and note a moment at which the stop already held."""
    staff, reason = scene.world.staff, "Something is wrong."
    of_release = scene.stops.setdefault(release.pk, [])
    before = clock.now()
    with transaction.atomic(durable=True):
        locked = FirmwareRelease.objects.get(pk=release.pk)
        if act == "halted" and locked.state == ReleaseState.PUBLISHED:
            decisions.halt(release=locked, by=staff, reason=reason, now=before)
        elif act == "withdrawn" and locked.state in (ReleaseState.PUBLISHED, ReleaseState.HALTED):
            decisions.withdraw(release=locked, by=staff, reason=reason, now=before)
        locked.refresh_from_db()
        since = clock.now()
    if act == "withdrawn":  # after which hubs may be read again
        of_release[:] = [replace(one, until=before) if one.until is None else one for one in of_release]
    if locked.state in (ReleaseState.HALTED, ReleaseState.WITHDRAWN):
        of_release.append(Stop(release.pk, since, is_halt=locked.state == ReleaseState.HALTED))


def resume(scene: Scene, release: FirmwareRelease) -> None:
    """Resume a release that is halted, with somebody else's agreement."""
    world = scene.world
    locked = FirmwareRelease.objects.get(pk=release.pk)
    if locked.state == ReleaseState.HALTED:
        scene.resuming_since.setdefault(release.pk, clock.now())
        reason = "It was nothing."
        # it may be signed off already: the answer to the last try was lost
        with contextlib.suppress(decisions.UnableToSignOff):
            decisions.sign_off(
                release=locked,
                act=SignedAct.RESUME,
                revision=locked.revision,
                digest=locked.digest,
                by=world.approver,
                reason=reason,
                now=clock.now(),
            )
        decisions.resume(release=locked, by=world.staff, reason=reason, now=clock.now())
    of_release = scene.stops.get(release.pk, [])
    if since := scene.resuming_since.pop(release.pk, None):
        of_release[:] = [replace(one, until=since) if one.until is None else one for one in of_release]


# -- the run -------------------------------------------------------------------------------------------------


@dataclass
class _Weather:
    """The storm as it goes on: what is still to come, what has begun, and what happened when."""

    lane: Lane
    scene: Scene
    began: float
    to_come: list[tuple[float, str, Callable[[], None]]]
    told: list[str] = field(default_factory=list)

    def moment(self) -> float:
        return time.monotonic() - self.began

    def say(self, words: str) -> None:
        self.told.append(f"{self.moment():5.2f} s  {words}")

    def is_any_fault_left(self) -> bool:
        return any(words.startswith(FAULT) for _, words, _ in self.to_come)

    def go_on(self) -> None:
        """Let happen whose time has come; what needs the database and does not get it stays to come."""
        self.to_come.sort(key=lambda one: one[0])
        for one in [one for one in self.to_come if one[0] <= self.moment()]:
            _, words, act = one
            if tried(act):
                self.say(words)
                self.to_come.remove(one)


def run(*, lane: Lane, seed: int) -> Outcome:
    """Run the storm of a seed, and judge it."""
    began = time.monotonic()
    drawn = plan(seed=seed)
    told: list[str] = []
    summary = ""
    try:
        lane.begin()
        scene = build(drawn)
        weather = _Weather(lane, scene, time.monotonic(), [])
        told = weather.told
        _storm(weather, drawn)
        weather.say("calm")
        _let_end(weather)
        weather.say("judgement")
        lane.end()
        found = judge.breaches(_evidence(lane, scene))
        summary = _summary()
    except Exception:
        found = [f"the storm itself broke:\n{traceback.format_exc()}"]
    finally:
        lane.end()
    tails = [line for name, words in lane.words().items() for line in (f"--- {name}", *words[-TAIL:])]
    story = "\n".join([str(drawn), "", "what happened", *told, "", *tails])
    return Outcome(seed, found, story, summary, time.monotonic() - began)


def _storm(weather: _Weather, drawn: Plan) -> None:
    lane, scene = weather.lane, weather.scene
    for processes in drawn.workers:
        lane.start_worker(processes=processes)
    lane.start_beat(doubles=drawn.doubles, drops=drawn.drops)
    for blow in drawn.blows:
        weather.to_come += _steps(blow, lane)
    for decree in drawn.decrees:
        release = scene.releases[decree.release]
        weather.to_come.append(
            (
                decree.at,
                f"release {release.pk} {decree.act}",
                lambda release=release, act=decree.act: stop(scene, release, act=act),
            )
        )
        if decree.resumed_at:
            weather.to_come.append(
                (
                    decree.resumed_at,
                    f"release {release.pk} resumed",
                    lambda release=release: resume(scene, release),
                )
            )
    weather.to_come.append((drawn.answered_at, f"consent {drawn.agrees}", lambda: _answer(scene, drawn)))
    while weather.moment() < STORM or weather.is_any_fault_left():
        weather.go_on()
        time.sleep(0.03)


def _steps(blow: Blow, lane: Lane) -> Iterator[tuple[float, str, Callable[[], None]]]:
    going = blow.fault(lane, Random(blow.seed))
    name = blow.fault.__name__

    def step() -> None:
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):  # whom it was for is gone already
            next(going, None)

    yield blow.start, f"{FAULT}{name} begins", step
    yield blow.end, f"{FAULT}{name} ends", step


def _let_end(weather: _Weather) -> None:
    """End all faults; let healthy workers go on until nothing is left to do, or patience is over."""
    lane = weather.lane
    lane.calm()
    for beat in lane.living("beat"):
        lane.kill(beat)
    lane.start_worker(processes=2)
    lane.start_beat()
    left, since, until = None, weather.moment(), weather.moment() + LONGEST_WAIT
    while weather.moment() < min(since + PATIENCE, until):
        weather.go_on()
        tried(lambda: _lift_halts(weather))  # who is at work may hold what this wants: then the next time
        tried(lambda: _take_back(weather))
        if (still := _left()) != left:
            left, since = still, weather.moment()
        if any(still):
            tried(lambda: _leap_if_idle(weather))
            time.sleep(0.1)
            continue
        if tried(_owe_what_is_left) and not any(_left()):
            return
    weather.say("patience is over")
    weather.told += lane.whereabouts()


def _owe_what_is_left() -> None:
    """Owe now the notices that are owed a while after what they tell."""
    tasks.keep_bookings()
    tasks.owe_notices()


def _lift_halts(weather: _Weather) -> None:
    """Decide what becomes of halted releases: nothing of them ends while they are."""
    scene = weather.scene
    for release in FirmwareRelease.objects.filter(state=ReleaseState.HALTED):
        if any(not one.is_halt or one.until for one in scene.stops.get(release.pk, [])) or release.pk % 2:
            stop(scene, release, act="withdrawn")
            weather.say(f"release {release.pk} withdrawn at last")
        else:
            resume(scene, release)
            weather.say(f"release {release.pk} resumed at last")


TAKE_BACK = """
WITH taken_back AS (
    DELETE FROM scheduling_quarantine WHERE since IS NOT NULL AND lapsed_at IS NULL RETURNING deployment_id)
UPDATE scheduling_lot SET due_at = clock_timestamp()
WHERE id IN (SELECT deployment_id / %(span)s FROM taken_back)
"""


def _take_back(weather: _Weather) -> None:
    """Let the portal try again what it set aside: the storm was to blame, not the hub."""
    if lots := sql.run(TAKE_BACK, {"span": LOT_SPAN}):
        weather.say(f"hubs of {lots} lots taken back that had been set aside")


LEFT = """
SELECT (SELECT count(*) FROM scheduling_deployment WHERE ended_at IS NULL),
       (SELECT count(*) FROM scheduling_lot WHERE due_at IS NOT NULL OR lease_until IS NOT NULL),
       (SELECT count(*) FROM scheduling_booking WHERE done_at IS NULL AND abandoned_at IS NULL),
       (SELECT count(*) FROM scheduling_notice WHERE sent_at IS NULL)
"""
NEXT = """
SELECT least((SELECT min(due_at) FROM scheduling_lot),
             (SELECT min(acts_at) FROM modelled_fleet_commandlog WHERE acted_at IS NULL),
             (SELECT min(due_at) FROM modelled_fleet_fleetreport),
             (SELECT min(answer_by) FROM scheduling_consent WHERE state = 'asked')),
       clock_timestamp()
WHERE NOT EXISTS (SELECT FROM scheduling_lot WHERE lease_until > clock_timestamp())
  AND NOT EXISTS (SELECT FROM scheduling_notice WHERE attempts > 0 AND sent_at IS NULL)
"""


def _left() -> tuple[int, ...]:
    """Return how many deployments, lots, bookings and notices are not done."""
    [counts] = sql.rows(LEFT, {})
    return counts


def _leap_if_idle(weather: _Weather) -> None:
    for upcoming, now in sql.rows(NEXT, {}):
        if upcoming and upcoming - now > IDLE:
            tides.leap(span=upcoming - now)
            weather.say(f"leapt over {(upcoming - now).total_seconds():.0f} s")


def _evidence(lane: Lane, scene: Scene) -> Evidence:
    somebody_died = any(DYING_WORDS.search(line) for words in lane.words().values() for line in words)
    return Evidence(
        arrivals=carrier.arrivals(),
        stops=[one for of_release in scene.stops.values() for one in of_release],
        mails=lane.mail_server.mails,
        may_double_mail=lane.may_double_mail or somebody_died,
    )


def _summary() -> str:
    """Say in a line how the hubs fared."""
    counts: Counter[str] = Counter()
    for state, ending, hubs in Deployment.objects.values_list("state", "ending").annotate(hubs=Count("id")):
        counts[f"{state} {ending}".strip()] += hubs
    return ", ".join(f"{hubs} {name}" for name, hubs in counts.most_common())
