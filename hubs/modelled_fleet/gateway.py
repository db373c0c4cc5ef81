"""
The modelled fleet as a `HubGateway`.

Nothing runs in the background: `collect` first lets every hub act whose time has come, in the order of
those times, and then hands over the reports that have arrived. What a hub does is decided by when it
acts, never by when somebody asks.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any, NamedTuple

from django.db import connection, transaction

from hubs.gateway import (
    LOOK_LIMIT,
    Activated,
    Command,
    Outcome,
    Phase,
    Receipt,
    ReceivedCommand,
    Report,
    Sighting,
    Verdict,
)
from hubs.modelled_fleet import behaviour
from hubs.modelled_fleet.draws import Draws
from hubs.modelled_fleet.models import Defect, FleetImage, Outage
from portal.ground import sql

SEND_LIMIT = 50
BATCH = 1_000
ROUNDS = 20
"""Batches of due commands that one `collect` lets act as a rule, so that it returns within a second or so."""

_LOOKED_AT = """
    SELECT chf_id, network_id, model_id, hardware_version, running_version, quiet_until, quiet_from
    FROM modelled_fleet_fleethub WHERE chf_id = ANY (%(hubs)s::bigint[])
"""
_PROFILES = sql.Often(
    f"SELECT {', '.join(field.name for field in fields(behaviour.Profile))}, network_id "  # noqa: S608 - our own names
    "FROM modelled_fleet_networkprofile"
)
_NETWORKS = sql.Often(
    "SELECT chf_id, network_id FROM modelled_fleet_fleethub WHERE chf_id = ANY (%(hubs)s::bigint[])"
)
# The row of the lot stays locked until the commands are logged: a command with an older token cannot
# slip in behind a newer one.
_LOG = sql.Often("""
WITH newest AS (
    INSERT INTO modelled_fleet_fleetlottoken AS known (lot, token)
    SELECT lot, token FROM (SELECT pg_advisory_xact_lock_shared(%(logging)s)) AS logging,
        unnest(%(lots)s::bigint[], %(tokens)s::bigint[]) AS shown (lot, token) ORDER BY lot
    ON CONFLICT (lot) DO UPDATE SET token = greatest(known.token, excluded.token)
    RETURNING lot, token),
logged AS (
    INSERT INTO modelled_fleet_commandlog AS known
        (deployment, phase, attempt, hub, lot, token, digest, version, received_at, valid_until, acts_at,
         verdict, outcome, acted_at, repeats)
    SELECT sent.deployment, alike.phase, sent.attempt, sent.hub, alike.lot, newest.token, alike.digest, alike.version,
           %(now)s, alike.valid_until, sent.acts_at, alike.verdict, sent.outcome,
           CASE WHEN alike.verdict = %(expired)s THEN %(now)s::timestamptz END, sent.repeats
    FROM unnest(%(deployment)s::bigint[], %(attempt)s::smallint[], %(hub)s::bigint[], %(kind)s::int[],
                %(acts_at)s::timestamptz[], %(outcome)s::smallint[], %(repeats)s::int[])
        AS sent (deployment, attempt, hub, kind, acts_at, outcome, repeats)
    JOIN unnest(%(phase)s::smallint[], %(lot)s::bigint[], %(token)s::bigint[], %(digest)s::text[],
                %(version)s::bigint[], %(valid_until)s::timestamptz[], %(verdict)s::smallint[])
        WITH ORDINALITY AS alike (phase, lot, token, digest, version, valid_until, verdict, kind) USING (kind)
    JOIN newest ON newest.lot = alike.lot AND newest.token = alike.token
    ORDER BY sent.deployment, alike.phase, sent.attempt
    ON CONFLICT (deployment, phase, attempt) DO UPDATE SET repeats = known.repeats + excluded.repeats + 1
    RETURNING deployment, phase, attempt, verdict)
SELECT deployment, phase, attempt, verdict FROM logged
""")
_COUNT_REFUSED = """
    UPDATE modelled_fleet_fleetlottoken AS known SET refused = known.refused + stale.commands
    FROM unnest(%(lots)s::bigint[], %(commands)s::int[]) AS stale (lot, commands) WHERE known.lot = stale.lot
"""
# A hub acts on its commands one after the other: a later one is kept back, also while another process holds the earlier
# one. All that wait up to the last of the batch are read for that, in the order of time: what the planner believes of
# how many they are is so often wrong that it would go through all of them for each hub. Plain is what a hub does as it
# is told, if luck is with it.
_DUE = """
WITH due AS MATERIALIZED (
    SELECT * FROM modelled_fleet_commandlog
    WHERE acted_at IS NULL AND acts_at <= %(now)s AND acts_at >= %(since)s
    ORDER BY acts_at, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED),
waiting AS MATERIALIZED (
    SELECT id, hub, acts_at FROM modelled_fleet_commandlog
    WHERE acted_at IS NULL AND acts_at <= (SELECT max(acts_at) FROM due) AND acts_at >= %(since)s),
earliest AS (SELECT DISTINCT ON (hub) id FROM waiting ORDER BY hub, acts_at, id)
SELECT due.id, due.hub, due.phase, due.attempt, hub.network_id, due.id IN (SELECT id FROM earliest),
       (SELECT date_part('epoch', max(acts_at)) FROM due),
       due.outcome IS NULL AND hub.quiet_until IS NULL AND hub.quiet_from IS NULL
       AND NOT EXISTS (SELECT FROM modelled_fleet_outage outage WHERE outage.since <= %(now)s)
       AND CASE due.phase
           WHEN %(stage)s THEN due.digest ~ '^[0-9a-f]{64}$'
               AND due.digest <> ALL (ARRAY(SELECT digest FROM modelled_fleet_fleetimage))
           WHEN %(activate)s THEN hub.staged_digest = due.digest AND hub.staged_version = due.version
               AND due.version <> ALL (ARRAY(SELECT version FROM modelled_fleet_defect))
           ELSE true END
FROM due LEFT JOIN modelled_fleet_fleethub hub ON hub.chf_id = due.hub
"""
_ACT_AS_TOLD = """
WITH settled AS (
    UPDATE modelled_fleet_commandlog log
    SET acted_at = log.acts_at, outcome = %(done)s, is_applied = log.phase IN (%(stage)s, %(activate)s),
        version_read = CASE WHEN log.phase NOT IN (%(stage)s, %(activate)s) THEN hub.running_version END
    FROM modelled_fleet_fleethub hub
    WHERE log.id = ANY (%(commands)s::bigint[]) AND hub.chf_id = log.hub
    RETURNING log.deployment, log.phase, log.attempt, log.hub, log.version, log.digest, log.version_read, log.acts_at),
changed AS (
    UPDATE modelled_fleet_fleethub hub
    SET running_version = CASE settled.phase WHEN %(activate)s THEN settled.version ELSE hub.running_version END,
        staged_version = CASE settled.phase WHEN %(stage)s THEN settled.version END,
        staged_digest = CASE settled.phase WHEN %(stage)s THEN settled.digest ELSE '' END,
        activations = hub.activations + (settled.phase = %(activate)s)::int
    FROM settled WHERE hub.chf_id = settled.hub AND settled.phase IN (%(stage)s, %(activate)s))
INSERT INTO modelled_fleet_fleetreport (deployment, phase, attempt, hub, outcome, version, observed_at, due_at)
SELECT deployment, phase, attempt, hub, %(done)s, version_read, acts_at, acts_at FROM settled
"""
_WHOLE = """
    SELECT log.id, log.deployment, log.phase, log.attempt, log.hub, log.lot, log.token, log.valid_until,
           log.digest, log.version, log.acts_at, log.outcome,
           hub.network_id, hub.model_id, hub.hardware_version, hub.running_version, hub.staged_version,
           hub.staged_digest, hub.activations, hub.quiet_until, hub.quiet_from
    FROM modelled_fleet_commandlog log LEFT JOIN modelled_fleet_fleethub hub ON hub.chf_id = log.hub
    WHERE log.id = ANY (%(commands)s::bigint[]) ORDER BY log.acts_at, log.id
"""
_SETTLE = """
    UPDATE modelled_fleet_commandlog AS log
    SET acted_at = log.acts_at, outcome = done.outcome, version_read = done.version,
        is_applied = done.is_applied
    FROM unnest(%s::bigint[], %s::smallint[], %s::bigint[], %s::boolean[])
        AS done (id, outcome, version, is_applied)
    WHERE log.id = done.id
"""
_CHANGE_HUBS = """
    UPDATE modelled_fleet_fleethub AS hub
    SET running_version = done.running_version, staged_version = done.staged_version,
        staged_digest = done.staged_digest, activations = done.activations, quiet_until = done.quiet_until,
        quiet_from = done.quiet_from
    FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::smallint[], %s::timestamptz[],
                %s::timestamptz[])
        AS done (chf_id, running_version, staged_version, staged_digest, activations, quiet_until, quiet_from)
    WHERE hub.chf_id = done.chf_id
"""
_REPORT = """
    COPY modelled_fleet_fleetreport
        (deployment, phase, attempt, hub, outcome, version, observed_at, due_at) FROM STDIN
"""
_COLLECT = """
    SELECT id, deployment, phase, attempt, hub, outcome, version, date_part('epoch', observed_at)
    FROM modelled_fleet_fleetreport WHERE due_at <= %s ORDER BY due_at, id LIMIT %s
"""
# First all are locked in the order of their ids, as two who forget the same ones need it. In one statement, whoever
# believes that the table is still as empty as when it was last analysed would read all of it for each report.
_ACKNOWLEDGE = (
    "SELECT FROM modelled_fleet_fleetreport WHERE id = ANY (%(reports)s::bigint[]) ORDER BY id FOR UPDATE",
    "DELETE FROM modelled_fleet_fleetreport WHERE id = ANY (%(reports)s::bigint[])",
)

# Who logs commands holds this lock shared from before that until they are committed. Whoever has held it alone for a
# moment knows that every number up to the last one is in the log by now or never will be.
_LOG_LOCK = 0x4C4F474C
_SETTLE_LOG = "SELECT pg_advisory_xact_lock(%s)"
_LAST = "SELECT coalesce(max(id), 0) FROM modelled_fleet_commandlog"
_RECEIVED = """
    SELECT id, deployment, phase, attempt, hub, digest, version, received_at, valid_until, verdict
    FROM modelled_fleet_commandlog WHERE id > %s AND id <= %s ORDER BY id LIMIT %s
"""

_NEXT_AT = """
    SELECT least((SELECT min(acts_at) FROM modelled_fleet_commandlog
                  WHERE acted_at IS NULL AND acts_at >= %(since)s AND phase = ANY (%(phases)s::smallint[])),
                 (SELECT min(due_at) FROM modelled_fleet_fleetreport WHERE phase = ANY (%(phases)s::smallint[])))
"""
# A hub that was not contacted is as it was; one that is quiet went wrong whatever it had said before.
_ACTIVATED = """
    SELECT count(DISTINCT log.hub),
           count(DISTINCT log.hub) FILTER (
               WHERE log.outcome <> ALL (%s) OR hub.quiet_until IS NOT NULL OR hub.quiet_from IS NOT NULL)
    FROM modelled_fleet_commandlog log LEFT JOIN modelled_fleet_fleethub hub ON hub.chf_id = log.hub
    WHERE log.phase = %s
"""

_DEFAULT_PROFILE = behaviour.Profile()
_PHASES = {phase.value: phase for phase in Phase}
_VERDICTS = {verdict.value: verdict for verdict in Verdict}
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_MARKS = {"stage": Phase.STAGE.value, "activate": Phase.ACTIVATE.value, "done": Outcome.DONE.value}
_EVER = datetime.min.replace(tzinfo=UTC)


class ModelledFleet:
    """A `HubGateway` to hubs that are rows."""

    rounds = ROUNDS
    """Batches that one `collect` lets act."""

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        """
        Log at most 50 commands; return one receipt each, in order.

        :raises ValueError: if there are more
        """
        if len(commands) > SEND_LIMIT:
            raise ValueError(f"{len(commands)} commands are more than the {SEND_LIMIT} of one sending.")
        if not commands:
            return []
        said = _log(commands, now=now)
        return [
            Receipt(
                command.deployment,
                command.phase,
                command.attempt,
                said.get(_key(command), Verdict.STALE_TOKEN),
            )
            for command in commands
        ]

    def collect(self, *, limit: int, now: datetime) -> Sequence[Report]:
        """Let the hubs act whose time has come, then return reports that have arrived, oldest first."""
        self._let_act(now=now, rounds=self.rounds)
        with connection.cursor() as cursor:
            cursor.execute(_COLLECT, [now, limit])
            return [
                Report(
                    number,
                    deployment,
                    _PHASES[phase],
                    attempt,
                    hub,
                    _OUTCOMES[outcome],
                    version,
                    datetime.fromtimestamp(seconds, UTC),
                )
                for number, deployment, phase, attempt, hub, outcome, version, seconds in cursor.fetchall()
            ]

    def acknowledge(self, *, reports: Sequence[int]) -> None:
        """Forget reports; those already forgotten do no harm."""
        sql.several(_ACKNOWLEDGE, {"reports": sql.numbers(reports)})

    def received(self, *, after: int, limit: int) -> Sequence[ReceivedCommand]:
        """Return up to `limit` commands from the log, those beyond position `after`, in its order."""
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            cursor.execute(_SETTLE_LOG, [_LOG_LOCK])
            cursor.execute(_LAST)
            [(last,)] = cursor.fetchall()
        with connection.cursor() as cursor:
            cursor.execute(_RECEIVED, [after, last, limit])
            return [
                ReceivedCommand(
                    position=position,
                    deployment=deployment,
                    phase=phase,
                    attempt=attempt,
                    hub=hub,
                    digest=digest,
                    version=version,
                    received_at=received_at,
                    valid_until=valid_until,
                    is_accepted=verdict == Verdict.ACCEPTED,
                )
                for (
                    position,
                    deployment,
                    phase,
                    attempt,
                    hub,
                    digest,
                    version,
                    received_at,
                    valid_until,
                    verdict,
                ) in cursor.fetchall()
            ]

    def act(self, *, now: datetime) -> int:
        """Let the hubs act whose time has come, as `collect` does first; return how many commands they carried out."""
        return self._let_act(now=now, rounds=None)

    def _let_act(self, *, now: datetime, rounds: int | None) -> int:
        """Let hubs act, in as many batches at most; return how many commands they carried out."""
        return sum(batch.acted for batch in _batches(now=now, rounds=rounds, since=lambda: _EVER))

    def next_at(self, *, phases: Sequence[Phase] = tuple(Phase)) -> datetime | None:
        """Return when a hub acts, or its report arrives, next in one of some phases; None where none is under way."""
        return self._next_at(phases=phases)

    def _next_at(self, *, phases: Sequence[Phase], since: datetime = _EVER) -> datetime | None:
        terms = {"phases": sql.numbers(phase.value for phase in phases), "since": since}
        moment: datetime | None = sql.rows(_NEXT_AT, terms)[0][0]
        return moment

    def last_position(self) -> int:
        """Return the place of the last command in the log; nought where there is none."""
        with connection.cursor() as cursor:
            cursor.execute(_LAST)
            last: int = cursor.fetchall()[0][0]
        return last

    def activated(self) -> Activated:
        """Count the hubs that were told to activate, and those of them that went wrong."""
        harmless = [Outcome.DONE.value, Outcome.UNREACHABLE.value, Outcome.EXPIRED.value]
        with connection.cursor() as cursor:
            cursor.execute(_ACTIVATED, [harmless, Phase.ACTIVATE.value])
            [counts] = cursor.fetchall()
        return Activated(*counts)

    def look(self, *, hubs: Sequence[int], now: datetime) -> Sequence[Sighting]:
        """
        Say of at most 1,000 hubs whether each answers now; return one sighting each, in order.

        :raises ValueError: if there are more
        """
        if len(hubs) > LOOK_LIMIT:
            raise ValueError(f"{len(hubs)} hubs are more than the {LOOK_LIMIT} of one look.")
        profiles, outages = _profiles(), _outages(now)
        known = {
            chf_id: behaviour.HubState(
                chf_id, network, model, hardware, version, quiet_until=quiet_until, quiet_from=quiet_from
            )
            for chf_id, network, model, hardware, version, quiet_until, quiet_from in sql.rows(
                _LOOKED_AT, {"hubs": sql.numbers(hubs)}
            )
        }
        look = int(now.timestamp()) & 0x7FFFFFFF
        return [
            Sighting(chf_id, is_heard=True, version=hub.running_version)
            if (hub := known.get(chf_id)) is not None
            and behaviour.is_heard(
                hub=hub,
                look=look,
                at=now,
                profile=profiles.get(hub.network, _DEFAULT_PROFILE),
                outages=outages,
            )
            else Sighting(chf_id, is_heard=False)
            for chf_id in hubs
        ]


class RehearsedFleet(ModelledFleet):
    """
    A modelled fleet that one process has to itself, whose time never goes back.

    It remembers until when all hubs have acted, batch by batch, and looks no further back: what is over and not yet
    vacuumed would otherwise be gone through time and again. Several threads may let the hubs act at once; nobody sends
    meanwhile.
    """

    rounds = 1

    def __init__(self) -> None:
        self._lock = Lock()
        self._until: dict[object, datetime] = {}
        """Until when each of those who let hubs act at once has left nothing behind, but what another holds."""
        self._is_held = False
        """Whether one of them kept a command back, which any of them may find later."""
        self._since = _EVER

    def _let_act(self, *, now: datetime, rounds: int | None) -> int:
        mine, total = object(), 0
        with self._lock:
            self._until[mine] = self._since
        for batch in _batches(now=now, rounds=rounds, since=lambda: self._since):
            total += batch.acted
            with self._lock:
                self._is_held |= batch.is_keeping_back
                if not self._is_held:
                    self._until[mine] = batch.until
                    self._since = min(self._until.values())
        # whoever failed stays: what was rolled back has yet to be done
        with self._lock:
            del self._until[mine]
            if not self._until:
                self._is_held = False
            elif not self._is_held:
                self._since = min(self._until.values())
        return total

    def _next_at(self, *, phases: Sequence[Phase], since: datetime = _EVER) -> datetime | None:
        return super()._next_at(phases=phases, since=max(since, self._since))


def _key(command: Command) -> tuple[int, int, int, int]:
    return command.deployment, command.phase, command.attempt, command.token


def _log(commands: Sequence[Command], *, now: datetime) -> dict[tuple[int, int, int, int], Verdict]:
    """
    Log each key once with the moment at which its hub will act; return what was first said of each.

    The newest token of each lot is kept. Commands that come with an older one are counted, and nothing is said of them.
    It is one statement, and a transaction by itself; only the counting is apart.
    """
    newest: dict[int, int] = {}
    for command in commands:
        newest[command.lot] = max(command.token, newest.get(command.lot, command.token))
    fresh: dict[tuple[int, int, int, int], list[Command]] = {}
    for command in commands:
        if command.token == newest[command.lot]:
            fresh.setdefault(_key(command), []).append(command)
    first = [copies[0] for copies in fresh.values()]
    found = sql.several([_PROFILES, _NETWORKS], {"hubs": sql.numbers(command.hub for command in first)})
    profiles, network_of = _by_network(found[0]), dict(found[1])
    # commands of one sending are mostly alike in all but their hub
    kinds: dict[tuple[Phase, int, int, str, int, datetime], int] = {}
    chosen, acts_at, outcomes = [], [], []
    for _, phase, attempt, hub, lot, token, valid_until, digest, version in first:
        chosen.append(kinds.setdefault((phase, lot, token, digest, version, valid_until), len(kinds) + 1))
        moment = now
        if now <= valid_until and hub in network_of:
            profile = profiles.get(network_of[hub], _DEFAULT_PROFILE)
            draws = Draws(seed=profile.seed, chf_id=hub, phase=phase.value, attempt=attempt)
            moment += behaviour.delay(phase=phase, profile=profile, draws=draws)
        # who would come too late gives up when the time is over
        outcomes.append(Outcome.EXPIRED.value if moment > valid_until else None)
        acts_at.append(now if now > valid_until else min(moment, valid_until))
    phases, lots, tokens, digests, versions, ends = zip(*kinds, strict=True)
    terms = {
        "logging": _LOG_LOCK,
        "lots": sql.numbers(newest),
        "tokens": sql.numbers(newest.values()),
        "now": now,
        "expired": Verdict.EXPIRED.value,
        "deployment": sql.numbers([command.deployment for command in first]),
        "attempt": sql.numbers([command.attempt for command in first]),
        "hub": sql.numbers([command.hub for command in first]),
        "kind": sql.numbers(chosen),
        "acts_at": sql.array(acts_at),
        "outcome": sql.array(outcomes),
        "repeats": sql.numbers([len(copies) - 1 for copies in fresh.values()]),
        "phase": sql.numbers([phase.value for phase in phases]),
        "lot": sql.numbers(lots),
        "token": sql.numbers(tokens),
        "digest": list(digests),
        "version": sql.numbers(versions),
        "valid_until": sql.array(ends),
        "verdict": sql.numbers([(Verdict.EXPIRED if now > end else Verdict.ACCEPTED).value for end in ends]),
    }
    said = {
        (deployment, number, attempt): _VERDICTS[verdict]
        for deployment, number, attempt, verdict in sql.rows(_LOG, terms)
    }
    verdict_of = {key: said[key[:3]] for key in fresh if key[:3] in said}
    stale: dict[int, int] = {}
    for command in commands:
        if _key(command) not in verdict_of:
            stale[command.lot] = stale.get(command.lot, 0) + 1
    if stale:
        sql.run(_COUNT_REFUSED, {"lots": list(stale), "commands": list(stale.values())})
    return verdict_of


class _Batch(NamedTuple):
    acted: int
    until: datetime
    """Nothing due before is left, but what was kept back and what others hold."""
    is_keeping_back: bool
    """Whether it left commands of hubs that had to carry out others first."""
    is_all: bool


def _batches(*, now: datetime, rounds: int | None, since: Callable[[], datetime]) -> Iterator[_Batch]:
    """Let hubs act on what is due no earlier than `since` says before each batch, until all have or in so many."""
    for _ in itertools.count() if rounds is None else range(rounds):
        batch = _act(now=now, since=since())
        yield batch
        if batch.is_all:
            return


def _act(*, now: datetime, since: datetime) -> _Batch:
    """Let one batch of hubs act, each on its earliest command that is due."""
    with transaction.atomic(durable=True):
        due = sql.rows(_DUE, {**_MARKS, "now": now, "since": since, "limit": BATCH})
        if not due:
            return _Batch(0, now, is_keeping_back=False, is_all=True)
        profiles = _profiles()
        hazards = {
            (network, phase.value): behaviour.Hazards(phase=phase, profile=profile)
            for network, profile in profiles.items()
            for phase in Phase
        }
        plain, other = [], []
        for number, chf_id, phase, attempt, network, is_first, _, is_plain in due:
            if not is_first:
                continue
            of_phase = hazards.get((network, phase)) if is_plain else None
            if of_phase is None or of_phase.strike(chf_id=chf_id, attempt=attempt):
                other.append(number)
            else:
                plain.append(number)
        if plain:
            sql.run(_ACT_AS_TOLD, {**_MARKS, "commands": sql.numbers(plain)})
        if other:
            _react(other, profiles, now=now)
    acted = len(plain) + len(other)
    is_keeping_back, is_full = acted < len(due), len(due) == BATCH
    return _Batch(
        acted,
        datetime.fromtimestamp(due[0][6], UTC) if is_full else now,
        is_keeping_back=is_keeping_back,
        is_all=not (is_keeping_back or is_full),
    )


def _react(commands: Sequence[int], profiles: Mapping[int, behaviour.Profile], *, now: datetime) -> None:
    """Let hubs act on commands of the log, by id, whatever their luck."""
    faults, images, outages = _faults(), _images(), _outages(now)
    with connection.cursor() as cursor:
        settled: list[tuple[object, ...]] = []
        changed: list[tuple[object, ...]] = []
        reports: list[tuple[object, ...]] = []
        for row in sql.rows(_WHOLE, {"commands": sql.numbers(commands)}):
            number, deployment, phase, attempt, chf_id, lot, token, valid_until, digest, version = row[:10]
            at, foreseen, network, *state = row[10:]
            command = Command(
                deployment, Phase(phase), attempt, chf_id, lot, token, valid_until, digest, version
            )
            hub = None if network is None else behaviour.HubState(chf_id, network, *state)
            if foreseen is not None:
                reaction = behaviour.Reaction(hub, Outcome(foreseen), reports_at=(at,))
            else:
                reaction = behaviour.react(
                    hub=hub,
                    command=command,
                    at=at,
                    profile=profiles.get(network, _DEFAULT_PROFILE),
                    faults=faults,
                    image=images.get(digest),
                )
            if (
                outages
                and hub is not None
                and behaviour.is_out(
                    hub=hub, at=at, profile=profiles.get(network, _DEFAULT_PROFILE), outages=outages
                )
            ):
                reaction = replace(reaction, reports_at=())
            outcome = reaction.outcome.value
            settled.append((number, outcome, reaction.version, reaction.is_applied))
            if reaction.is_applied and reaction.hub is not None:
                after = reaction.hub
                changed.append(
                    (
                        chf_id,
                        after.running_version,
                        after.staged_version,
                        after.staged_digest,
                        after.activations,
                        after.quiet_until,
                        after.quiet_from,
                    )
                )
            reports += [
                (deployment, phase, attempt, chf_id, outcome, reaction.version, at, arrives_at)
                for arrives_at in reaction.reports_at
            ]
        for statement, rows in ((_SETTLE, settled), (_CHANGE_HUBS, changed)):
            if rows:
                cursor.execute(statement, [sql.array(column) for column in zip(*rows, strict=True)])
        with cursor.copy(_REPORT) as copy:
            for report in reports:
                copy.write_row(report)


def _profiles() -> dict[int, behaviour.Profile]:
    return _by_network(sql.rows(_PROFILES, {}))


def _by_network(rows: Sequence[tuple[Any, ...]]) -> dict[int, behaviour.Profile]:
    return {network: behaviour.Profile(*values) for *values, network in rows}


def _faults() -> list[behaviour.Fault]:
    return [
        behaviour.Fault(*values)
        for values in Defect.objects.order_by("id").values_list(
            "version", "share", "kind", "late_by", "network_id", "model_id"
        )
    ]


def _outages(now: datetime) -> list[behaviour.Outage]:
    """Return those that have begun; what hubs did while one lasted may be asked for after it."""
    return [
        behaviour.Outage(*values)
        for values in Outage.objects.filter(since__lte=now)
        .order_by("id")
        .values_list("network_id", "share", "since", "until")
    ]


def _images() -> dict[str, behaviour.Image]:
    return {
        image.digest: behaviour.Image(
            image.version,
            frozenset(model.pk for model in image.models_covered.all()),
            image.minimum_hardware,
            image.maximum_hardware,
        )
        for image in FleetImage.objects.prefetch_related("models_covered")
    }
