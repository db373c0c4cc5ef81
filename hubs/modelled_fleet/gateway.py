"""
The modelled fleet as a `HubGateway`.

Nothing runs in the background: `collect` first lets every hub act whose time has come, in the order of
those times, and then hands over the reports that have arrived. What a hub does is decided by when it
acts, never by when somebody asks.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime

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
from hubs.modelled_fleet.models import Defect, FleetHub, FleetImage, NetworkProfile, Outage
from portal.ground import sql

SEND_LIMIT = 50
BATCH = 1_000
ROUNDS = 20
"""Batches of due commands that one `collect` lets act, so that it returns within a second or so."""

# The row of the lot stays locked until the commands are logged: a command with an older token cannot
# slip in behind a newer one.
_SHOW_TOKENS = """
    INSERT INTO modelled_fleet_fleetlottoken AS known (lot, token)
    SELECT lot, token FROM (SELECT pg_advisory_xact_lock_shared(%s)) AS logging,
        unnest(%s::bigint[], %s::bigint[]) AS shown (lot, token) ORDER BY lot
    ON CONFLICT (lot) DO UPDATE SET token = greatest(known.token, excluded.token)
    RETURNING lot, token
"""
_COUNT_REFUSED = """
    UPDATE modelled_fleet_fleetlottoken AS known SET refused = known.refused + stale.commands
    FROM unnest(%s::bigint[], %s::int[]) AS stale (lot, commands) WHERE known.lot = stale.lot
"""
_LOG = """
    INSERT INTO modelled_fleet_commandlog AS known
        (deployment, phase, attempt, hub, lot, token, digest, version, received_at, valid_until, acts_at,
         verdict, outcome, acted_at, repeats)
    SELECT deployment, phase, attempt, hub, lot, token, digest, version, %(now)s, valid_until, acts_at,
           verdict, outcome, CASE WHEN verdict = %(expired)s THEN %(now)s::timestamptz END, repeats
    FROM unnest(
        %(deployment)s::bigint[], %(phase)s::smallint[], %(attempt)s::smallint[], %(hub)s::bigint[],
        %(lot)s::bigint[], %(token)s::bigint[], %(digest)s::text[], %(version)s::bigint[],
        %(valid_until)s::timestamptz[], %(acts_at)s::timestamptz[], %(verdict)s::smallint[],
        %(outcome)s::smallint[], %(repeats)s::int[]
    ) AS sent (deployment, phase, attempt, hub, lot, token, digest, version, valid_until, acts_at, verdict,
               outcome, repeats)
    ORDER BY deployment, phase, attempt
    ON CONFLICT (deployment, phase, attempt) DO UPDATE SET repeats = known.repeats + excluded.repeats + 1
    RETURNING deployment, phase, attempt, verdict
"""
# A hub acts on its commands one after the other: the NOT EXISTS keeps a later one back, also while
# another process holds the earlier one.
_DUE = """
    SELECT due.id, due.deployment, due.phase, due.attempt, due.hub, due.lot, due.token, due.valid_until,
           due.digest, due.version, due.acts_at, due.outcome,
           hub.network_id, hub.model_id, hub.hardware_version, hub.running_version, hub.staged_version,
           hub.staged_digest, hub.activations, hub.quiet_until, hub.quiet_from
    FROM modelled_fleet_commandlog AS due
    LEFT JOIN modelled_fleet_fleethub AS hub ON hub.chf_id = due.hub
    WHERE due.acted_at IS NULL AND due.acts_at <= %s
      AND NOT EXISTS (
        SELECT FROM modelled_fleet_commandlog AS earlier
        WHERE earlier.acted_at IS NULL AND earlier.hub = due.hub
          AND (earlier.acts_at, earlier.id) < (due.acts_at, due.id)
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
    SELECT least((SELECT min(acts_at) FROM modelled_fleet_commandlog WHERE acted_at IS NULL),
                 (SELECT min(due_at) FROM modelled_fleet_fleetreport))
"""
# A hub that was not contacted is as it was; one that is quiet went wrong whatever it had said before.
_ACTIVATED = """
    SELECT count(DISTINCT log.hub),
           count(DISTINCT log.hub) FILTER (
               WHERE log.outcome <> ALL (%s) OR hub.quiet_until IS NOT NULL OR hub.quiet_from IS NOT NULL)
    FROM modelled_fleet_commandlog log LEFT JOIN modelled_fleet_fleethub hub ON hub.chf_id = log.hub
    WHERE log.phase = %s
"""

_PROFILE_FIELDS = [field.name for field in fields(behaviour.Profile)]
_DEFAULT_PROFILE = behaviour.Profile()

Key = tuple[int, int, int]


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
            newest = _show_tokens(commands)
            fresh: dict[Key, list[Command]] = {}
            for command in commands:
                if command.token >= newest[command.lot]:
                    fresh.setdefault(_key(command), []).append(command)
            verdicts = _log(fresh, now=now)
        return [
            Receipt(
                command.deployment,
                command.phase,
                command.attempt,
                verdicts[_key(command)] if command.token >= newest[command.lot] else Verdict.STALE_TOKEN,
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

    def next_at(self) -> datetime | None:
        """Return when a hub acts or a report arrives next; None where nothing is under way."""
        with connection.cursor() as cursor:
            cursor.execute(_NEXT_AT)
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
            hub.chf_id: behaviour.HubState(
                hub.chf_id,
                hub.network_id,
                hub.model_id,
                hub.hardware_version,
                hub.running_version,
                quiet_until=hub.quiet_until,
                quiet_from=hub.quiet_from,
            )
            for hub in FleetHub.objects.filter(chf_id__in=hubs)
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


def _key(command: Command) -> Key:
    return command.deployment, command.phase, command.attempt


def _show_tokens(commands: Sequence[Command]) -> dict[int, int]:
    """Keep and return the newest token of each lot; count the commands that come with an older one."""
    shown: dict[int, int] = {}
    for command in commands:
        shown[command.lot] = max(command.token, shown.get(command.lot, command.token))
    with connection.cursor() as cursor:
        cursor.execute(_SHOW_TOKENS, [_LOG_LOCK, list(shown), list(shown.values())])
        newest = dict(cursor.fetchall())
        stale: dict[int, int] = {}
        for command in commands:
            if command.token < newest[command.lot]:
                stale[command.lot] = stale.get(command.lot, 0) + 1
        if stale:
            cursor.execute(_COUNT_REFUSED, [list(stale), list(stale.values())])
    return newest


def _log(fresh: dict[Key, list[Command]], *, now: datetime) -> dict[Key, Verdict]:
    """Log each key once with the moment at which its hub will act; return what was first said of each."""
    if not fresh:
        return {}
    commands = [copies[0] for copies in fresh.values()]
    profiles = _profiles()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT chf_id, network_id FROM modelled_fleet_fleethub WHERE chf_id = ANY(%s::bigint[])",
            [sql.array(command.hub for command in commands)],
        )
        network_of = dict(cursor.fetchall())
        acts_at, verdicts, outcomes = [], [], []
        for command in commands:
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
        cursor.execute(
            _LOG,
            {
                "now": now,
                "expired": Verdict.EXPIRED.value,
                "deployment": sql.array(command.deployment for command in commands),
                "phase": sql.array(command.phase.value for command in commands),
                "attempt": sql.array(command.attempt for command in commands),
                "hub": sql.array(command.hub for command in commands),
                "lot": sql.array(command.lot for command in commands),
                "token": sql.array(command.token for command in commands),
                "digest": [command.digest for command in commands],
                "version": sql.array(command.version for command in commands),
                "valid_until": sql.array(command.valid_until for command in commands),
                "acts_at": sql.array(acts_at),
                "verdict": sql.array(verdicts),
                "outcome": sql.array(outcomes),
                "repeats": sql.array(len(copies) - 1 for copies in fresh.values()),
            },
        )
        return {
            (deployment, phase, attempt): Verdict(verdict)
            for deployment, phase, attempt, verdict in cursor.fetchall()
        }


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
    return {
        network: behaviour.Profile(*values)
        for network, *values in NetworkProfile.objects.values_list("network_id", *_PROFILE_FIELDS)
    }


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
