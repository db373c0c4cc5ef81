"""
The modelled fleet as a `HubGateway`.

Nothing runs in the background: `collect` first lets every hub act whose time has come, in the order of
those times, and then hands over the reports that have arrived. What a hub does is decided by when it
acts, never by when somebody asks.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

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
"""Batches of due commands that one `collect` lets act, so that it returns within a second or so."""

_LOOKED_AT = """
    SELECT chf_id, network_id, model_id, hardware_version, running_version, quiet_until, quiet_from
    FROM modelled_fleet_fleethub WHERE chf_id = ANY (%(hubs)s::bigint[])
"""
_PROFILES = (
    f"SELECT {', '.join(field.name for field in fields(behaviour.Profile))}, network_id "  # noqa: S608 - our own names
    "FROM modelled_fleet_networkprofile"
)
_NETWORKS = "SELECT chf_id, network_id FROM modelled_fleet_fleethub WHERE chf_id = ANY (%(hubs)s::bigint[])"
# The row of the lot stays locked until the commands are logged: a command with an older token cannot
# slip in behind a newer one.
_LOG = """
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
    SELECT sent.deployment, sent.phase, sent.attempt, sent.hub, sent.lot, newest.token, sent.digest, sent.version,
           %(now)s, sent.valid_until, sent.acts_at, sent.verdict, sent.outcome,
           CASE WHEN sent.verdict = %(expired)s THEN %(now)s::timestamptz END, sent.repeats
    FROM unnest(
        %(deployment)s::bigint[], %(phase)s::smallint[], %(attempt)s::smallint[], %(hub)s::bigint[],
        %(lot)s::bigint[], %(token)s::bigint[], %(digest)s::text[], %(version)s::bigint[],
        %(valid_until)s::timestamptz[], %(acts_at)s::timestamptz[], %(verdict)s::smallint[],
        %(outcome)s::smallint[], %(repeats)s::int[]
    ) AS sent (deployment, phase, attempt, hub, lot, token, digest, version, valid_until, acts_at, verdict,
               outcome, repeats)
    JOIN newest ON newest.lot = sent.lot AND newest.token = sent.token
    ORDER BY sent.deployment, sent.phase, sent.attempt
    ON CONFLICT (deployment, phase, attempt) DO UPDATE SET repeats = known.repeats + excluded.repeats + 1
    RETURNING deployment, phase, attempt, verdict)
SELECT deployment, phase, attempt, verdict FROM logged
"""
_COUNT_REFUSED = """
    UPDATE modelled_fleet_fleetlottoken AS known SET refused = known.refused + stale.commands
    FROM unnest(%(lots)s::bigint[], %(commands)s::int[]) AS stale (lot, commands) WHERE known.lot = stale.lot
"""
# A hub acts on its commands one after the other: a later one is kept back, also while another process holds the earlier
# one. Asked for each command by itself: whoever joins goes through all that wait, which may be a hundred thousand.
_DUE = """
    SELECT due.id, due.deployment, due.phase, due.attempt, due.hub, due.lot, due.token, due.valid_until,
           due.digest, due.version, due.acts_at, due.outcome,
           hub.network_id, hub.model_id, hub.hardware_version, hub.running_version, hub.staged_version,
           hub.staged_digest, hub.activations, hub.quiet_until, hub.quiet_from
    FROM modelled_fleet_commandlog AS due
    LEFT JOIN modelled_fleet_fleethub AS hub ON hub.chf_id = due.hub
    WHERE due.acted_at IS NULL AND due.acts_at <= %s
      AND due.id = (
        SELECT earliest.id FROM modelled_fleet_commandlog AS earliest
        WHERE earliest.acted_at IS NULL AND earliest.hub = due.hub
        ORDER BY earliest.acts_at, earliest.id LIMIT 1
      )
    ORDER BY due.acts_at, due.id
    LIMIT %s
    FOR UPDATE OF due SKIP LOCKED
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
    SELECT id, deployment, phase, attempt, hub, outcome, version, observed_at
    FROM modelled_fleet_fleetreport WHERE due_at <= %s ORDER BY due_at, id LIMIT %s
"""
_ACKNOWLEDGE = """
    DELETE FROM modelled_fleet_fleetreport WHERE id IN (
        SELECT id FROM modelled_fleet_fleetreport WHERE id = ANY(%s::bigint[]) ORDER BY id FOR UPDATE)
"""

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
                  WHERE acted_at IS NULL AND phase = ANY (%(phases)s::smallint[])),
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


class ModelledFleet:
    """A `HubGateway` to hubs that are rows."""

    def send(self, *, commands: Sequence[Command], now: datetime) -> Sequence[Receipt]:
        """
        Log at most 50 commands; return one receipt each, in order.

        :raises ValueError: if there are more
        """
        if len(commands) > SEND_LIMIT:
            raise ValueError(f"{len(commands)} commands are more than the {SEND_LIMIT} of one sending.")
        if not commands:
            return []
        with transaction.atomic(durable=True):
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
        for _ in range(ROUNDS):
            if not _act(now=now):
                break
        with connection.cursor() as cursor:
            cursor.execute(_COLLECT, [now, limit])
            return [
                Report(number, deployment, Phase(phase), attempt, hub, Outcome(outcome), version, at)
                for number, deployment, phase, attempt, hub, outcome, version, at in cursor.fetchall()
            ]

    def acknowledge(self, *, reports: Sequence[int]) -> None:
        """Forget reports; those already forgotten do no harm."""
        with connection.cursor() as cursor:
            cursor.execute(_ACKNOWLEDGE, [sql.array(reports)])

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
        total = 0
        while acted := _act(now=now):
            total += acted
        return total

    def next_at(self, *, phases: Sequence[Phase] = tuple(Phase)) -> datetime | None:
        """Return when a hub acts, or its report arrives, next in one of some phases; None where none is under way."""
        with connection.cursor() as cursor:
            cursor.execute(_NEXT_AT, {"phases": sql.numbers(phase.value for phase in phases)})
            moment: datetime | None = cursor.fetchall()[0][0]
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


def _key(command: Command) -> tuple[int, int, int, int]:
    return command.deployment, command.phase, command.attempt, command.token


def _log(commands: Sequence[Command], *, now: datetime) -> dict[tuple[int, int, int, int], Verdict]:
    """
    Log each key once with the moment at which its hub will act; return what was first said of each.

    The newest token of each lot is kept. Commands that come with an older one are counted, and nothing is said of them.
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
    acts_at, verdicts, outcomes = [], [], []
    for command in first:
        is_late = now > command.valid_until
        moment = now
        if not is_late and command.hub in network_of:
            profile = profiles.get(network_of[command.hub], _DEFAULT_PROFILE)
            draws = Draws(
                seed=profile.seed,
                chf_id=command.hub,
                phase=command.phase.value,
                attempt=command.attempt,
            )
            moment += behaviour.delay(phase=command.phase, profile=profile, draws=draws)
        # who would come too late gives up when the time is over
        verdicts.append((Verdict.EXPIRED if is_late else Verdict.ACCEPTED).value)
        outcomes.append(Outcome.EXPIRED.value if moment > command.valid_until else None)
        acts_at.append(now if is_late else min(moment, command.valid_until))
    terms = {
        "logging": _LOG_LOCK,
        "lots": sql.numbers(newest),
        "tokens": sql.numbers(newest.values()),
        "now": now,
        "expired": Verdict.EXPIRED.value,
        "deployment": sql.numbers([command.deployment for command in first]),
        "phase": sql.numbers([command.phase.value for command in first]),
        "attempt": sql.numbers([command.attempt for command in first]),
        "hub": sql.numbers([command.hub for command in first]),
        "lot": sql.numbers([command.lot for command in first]),
        "token": sql.numbers([command.token for command in first]),
        "digest": [command.digest for command in first],
        "version": sql.numbers([command.version for command in first]),
        "valid_until": sql.array(command.valid_until for command in first),
        "acts_at": sql.array(acts_at),
        "verdict": sql.numbers(verdicts),
        "outcome": sql.array(outcomes),
        "repeats": sql.numbers([len(copies) - 1 for copies in fresh.values()]),
    }
    said = {tuple(key): Verdict(verdict) for *key, verdict in sql.rows(_LOG, terms)}
    verdict_of = {key: said[key[:3]] for key in fresh if key[:3] in said}
    stale: dict[int, int] = {}
    for command in commands:
        if _key(command) not in verdict_of:
            stale[command.lot] = stale.get(command.lot, 0) + 1
    if stale:
        sql.run(_COUNT_REFUSED, {"lots": list(stale), "commands": list(stale.values())})
    return verdict_of


def _act(*, now: datetime) -> int:
    """Let one batch of hubs act, each on its earliest command that is due; return how many did."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute(_DUE, [now, BATCH])
        due = cursor.fetchall()
        if not due:
            return 0
        profiles, faults, images, outages = _profiles(), _faults(), _images(), _outages(now)
        settled: list[tuple[object, ...]] = []
        changed: list[tuple[object, ...]] = []
        reports: list[tuple[object, ...]] = []
        for row in due:
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
        return len(due)


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
