"""
Hold what the carrier received, the commands, the deployments and the counters against each other.

Nothing is written here, and each statement is one look at one moment: what moves meanwhile moves together with its
counters, so a difference is a difference. The large tables are read by portions, in the order of their keys.

Raw SQL throughout, because whole portions of them are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hubs.gateway import Accountable, Outcome, Phase, ReceivedCommand, Verdict
from hubs.identifiers import format_eui64
from portal.ground import sql
from portal.ground.uk_time import LONDON
from scheduling.lifecycle import MOVES, State
from scheduling.models import EXCESSES, LOT_SPAN, Mismatch, OutcomeTally
from scheduling.queries import outcomes

SKEW = timedelta(seconds=10)
"""By so much a carrier's clock may be behind ours; that of the end of a slot is its own."""
LOTS = 100
COMMANDS = 5_000
"""How many are compared at a time."""
LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that does not agree: what it is about, and the sentence that says how."""

    kind: Mismatch
    subject: str
    words: str
    row: int = 0
    """The id of the lot or slot, or of the release, whose counters it is about."""

    @property
    def is_excess(self) -> bool:
        """Something reached a hub, or may have, that nobody admitted."""
        return self.kind in EXCESSES


# -- what the carrier received -------------------------------------------------------------------------------

# What surely did nothing may be followed by another activation: not sent, refused, or the hub was not contacted.
MAY_HAVE_ACTED = """{command}.sent_at IS NOT NULL AND {command}.verdict IS DISTINCT FROM %(refused_late)s
    AND ({command}.outcome IS NULL OR {command}.outcome NOT IN (%(unreachable)s, %(expired)s))"""
RECEIVED = f"""
SELECT received.number, CASE
    WHEN command.deployment_id IS NULL THEN '{Mismatch.UNADMITTED}'
    WHEN deployment.hub_id IS DISTINCT FROM received.hub THEN '{Mismatch.OTHER_HUB}'
    WHEN received.phase IN (%(stage)s, %(activate)s)
         AND (received.digest, received.version) IS DISTINCT FROM (release.digest::text, version.number)
        THEN '{Mismatch.OTHER_IMAGE}'
    WHEN received.phase = %(activate)s AND received.is_accepted AND (
             received.received_at < slot.start_at - %(skew)s OR received.received_at >= slot.end_at
             OR received.valid_until > slot.end_at)
        THEN '{Mismatch.OUTSIDE_SLOT}'
    WHEN received.phase = %(activate)s AND received.is_accepted AND EXISTS (
             SELECT FROM scheduling_command earlier
             WHERE earlier.deployment_id = received.deployment AND earlier.phase = received.phase
               AND earlier.attempt < received.attempt AND {MAY_HAVE_ACTED.format(command="earlier")})
        THEN '{Mismatch.SECOND_ACTIVATION}' END AS kind
FROM unnest(%(numbers)s::int[], %(deployments)s::bigint[], %(phases)s::smallint[], %(attempts)s::smallint[],
            %(hubs)s::bigint[], %(digests)s::text[], %(versions)s::bigint[], %(received_at)s::timestamptz[],
            %(valid_until)s::timestamptz[], %(accepted)s::boolean[])
    AS received (number, deployment, phase, attempt, hub, digest, version, received_at, valid_until, is_accepted)
LEFT JOIN scheduling_command command ON command.deployment_id = received.deployment
    AND command.phase = received.phase AND command.attempt = received.attempt
LEFT JOIN scheduling_deployment deployment ON deployment.id = received.deployment
LEFT JOIN scheduling_lot lot ON lot.id = received.deployment / %(span)s
LEFT JOIN scheduling_slot slot ON slot.id = lot.slot_id
LEFT JOIN firmware_firmwarerelease release ON release.id = lot.release_id
LEFT JOIN hubs_firmwareversion version ON version.id = release.version_id
"""  # noqa: S608 - our own constants
_NUMBERS = {
    "stage": int(Phase.STAGE),
    "activate": int(Phase.ACTIVATE),
    "refused_late": int(Verdict.EXPIRED),
    "unreachable": int(Outcome.UNREACHABLE),
    "expired": int(Outcome.EXPIRED),
    "span": LOT_SPAN,
    "skew": SKEW,
}


def received(*, commands: Sequence[ReceivedCommand]) -> list[Found]:
    """Return what of the carrier's log the portal did not admit, or not for that hub, image or moment."""
    terms = {
        **_NUMBERS,
        "numbers": list(range(len(commands))),
        "deployments": [command.deployment for command in commands],
        "phases": [command.phase for command in commands],
        "attempts": [command.attempt for command in commands],
        "hubs": [command.hub for command in commands],
        "digests": [command.digest for command in commands],
        "versions": [command.version for command in commands],
        "received_at": [command.received_at for command in commands],
        "valid_until": [command.valid_until for command in commands],
        "accepted": [command.is_accepted for command in commands],
    }
    judged = f"SELECT number, kind FROM ({RECEIVED}) judged WHERE kind IS NOT NULL ORDER BY number"  # noqa: S608
    found = []
    for number, kind in sql.rows(judged, terms):
        command = commands[number]
        found.append(
            Found(
                Mismatch(kind),
                _key(command.deployment, command.phase, command.attempt),
                f"Received on {_written(command.received_at)} for hub {format_eui64(command.hub)}, valid until "
                f"{_written(command.valid_until)}, with {f'image {command.digest}' if command.digest else 'no image'}.",
            )
        )
    return found


def _key(deployment: int, phase: int, attempt: int) -> str:
    name = Phase(phase).name if phase in list(Phase) else str(phase)
    return f"{name} {deployment}/{attempt}"


def _written(moment: datetime) -> str:
    """Write a moment in UK time, to the second: people look for it in logs."""
    return f"{moment.astimezone(LONDON):%-d %b %Y, %H:%M:%S %Z}"


# -- lots, their deployments and their commands --------------------------------------------------------------

_EACH = ", ".join(f"count(*) FILTER (WHERE state = '{state}') AS {state}" for state in State)
_OF_LOT = ", ".join(f"lot.{state}" for state in State)
_OF_ROWS = ", ".join(f"coalesce(rows.{state}, 0)" for state in State)
# The lots of a booking that is being placed are there before its deployments.
COUNTS = f"""
SELECT coalesce(lot.id, rows.lot_id), lot.id IS NOT NULL, {_OF_LOT}, {_OF_ROWS}
FROM (SELECT lot.*, booking.placed_at IS NOT NULL AS is_placed
      FROM scheduling_lot lot JOIN scheduling_booking booking ON booking.id = lot.booking_id
      WHERE lot.id > %(after)s AND lot.id <= %(last)s) lot
FULL JOIN (SELECT id / %(span)s AS lot_id, {_EACH} FROM scheduling_deployment
           WHERE id >= %(first_id)s AND id <= %(last_id)s GROUP BY 1) rows ON rows.lot_id = lot.id
WHERE lot.id IS NULL OR (({_OF_LOT}) IS DISTINCT FROM ({_OF_ROWS}) AND (lot.is_placed OR rows.lot_id IS NOT NULL))
ORDER BY 1
"""  # noqa: S608 - our own constants
IN_RANGE = "BETWEEN %(first_id)s AND %(last_id)s"
ACTIVATIONS = f"""
SELECT command.deployment_id, command.attempt,
       CASE WHEN command.admitted_at < slot.start_at OR command.admitted_at >= slot.end_at
                 OR command.valid_until > slot.end_at THEN '{Mismatch.OUTSIDE_SLOT}'
            ELSE '{Mismatch.SECOND_ACTIVATION}' END,
       command.admitted_at, command.valid_until
FROM (SELECT *, {MAY_HAVE_ACTED.format(command="command")} AS may_have_acted,
             count(*) FILTER (WHERE {MAY_HAVE_ACTED.format(command="command")})
                 OVER (PARTITION BY deployment_id ORDER BY attempt ROWS UNBOUNDED PRECEDING) AS nth
      FROM scheduling_command command
      WHERE deployment_id {IN_RANGE} AND phase = %(activate)s) command
JOIN scheduling_lot lot ON lot.id = command.deployment_id / %(span)s
JOIN scheduling_slot slot ON slot.id = lot.slot_id
WHERE command.admitted_at < slot.start_at OR command.admitted_at >= slot.end_at
   OR command.valid_until > slot.end_at OR (command.may_have_acted AND command.nth > 1)
ORDER BY 1, 2
"""  # noqa: S608 - our own constants
# What was activated, or awaits an answer, was commanded; and no command is of nobody, or beyond the last attempt.
UNCOMMANDED = f"""
SELECT id, CASE
    WHEN awaiting AND NOT EXISTS (
        SELECT FROM scheduling_command command
        WHERE command.deployment_id = deployment.id AND command.phase = deployment.phase
          AND command.attempt = deployment.attempt) THEN 'It awaits an answer to a command that there is not.'
    WHEN state IN ('activating', 'succeeded', 'unconfirmed') AND NOT EXISTS (
        SELECT FROM scheduling_command command
        WHERE command.deployment_id = deployment.id AND command.phase = %(activate)s)
        THEN 'It is ' || state || ', and there is no command to activate it.' END AS words
FROM scheduling_deployment deployment
WHERE id {IN_RANGE} AND (awaiting OR state IN ('activating', 'succeeded', 'unconfirmed'))
UNION ALL
SELECT command.deployment_id, CASE
    WHEN deployment.id IS NULL THEN 'There are commands for it, and it does not exist.'
    ELSE 'There is a command of attempt ' || max(command.attempt) || ', and it counts ' || deployment.attempt || '.' END
FROM scheduling_command command LEFT JOIN scheduling_deployment deployment ON deployment.id = command.deployment_id
WHERE command.deployment_id {IN_RANGE}
GROUP BY 1, deployment.id, deployment.attempt
HAVING deployment.id IS NULL OR max(command.attempt) > deployment.attempt
"""  # noqa: S608 - our own constants


@dataclass(frozen=True, slots=True)
class Portion:
    """What was found in some lots, how many there were, and the id of the last; none where no lot is left."""

    found: Sequence[Found]
    lots: int
    last: int | None


def lots(*, after: int, limit: int = LOTS) -> Portion:
    """Hold the next lots after this id against their deployments, and those against their commands."""
    ids = [
        lot
        for (lot,) in sql.rows(
            "SELECT id FROM scheduling_lot WHERE id > %(after)s ORDER BY id LIMIT %(limit)s",
            {"after": after, "limit": limit},
        )
    ]
    is_last = len(ids) < limit
    terms = {
        **_NUMBERS,
        "after": after,
        "last": LAST if is_last else ids[-1],
        "first_id": (after + 1) * LOT_SPAN if after else -LAST,
        "last_id": LAST if is_last else (ids[-1] + 1) * LOT_SPAN - 1,
    }
    found = [_of_lot(row) for row in sql.rows(COUNTS, terms)]
    found += [
        Found(
            Mismatch(kind),
            _key(deployment, Phase.ACTIVATE, attempt),
            f"Admitted on {_written(admitted_at)}, valid until {_written(valid_until)}.",
        )
        for deployment, attempt, kind, admitted_at, valid_until in sql.rows(ACTIVATIONS, terms)
    ]
    uncommanded = f"SELECT id, words FROM ({UNCOMMANDED}) judged WHERE words IS NOT NULL ORDER BY 1, 2"  # noqa: S608
    words: dict[int, list[str]] = {}
    for deployment, sentence in sql.rows(uncommanded, terms):
        words.setdefault(deployment, []).append(sentence)
    found += [
        Found(Mismatch.COMMANDS, f"deployment {deployment}", " ".join(sentences))
        for deployment, sentences in words.items()
    ]
    return Portion(found, len(ids), None if is_last else ids[-1])


def _of_lot(row: tuple[Any, ...]) -> Found:
    lot, exists, *counts = row
    if not exists:
        return Found(Mismatch.LOT, f"lot {lot}", "There are deployments in it, and it does not exist.", lot)
    kept, true = counts[: len(State)], counts[len(State) :]
    differ = ", ".join(
        f"{has:,} {state} counted, {is_true:,} there"
        for state, has, is_true in zip(State, kept, true, strict=True)
        if has != is_true
    )
    return Found(Mismatch.LOT, f"lot {lot}", f"{differ}.", lot)


# -- the counters --------------------------------------------------------------------------------------------

TALLIED = """SELECT release_id, network_id, model_id, stage, state, hubs FROM scheduling_tally
    UNION ALL SELECT release_id, network_id, model_id, stage, state, hubs FROM scheduling_tallychange"""
TALLIES = f"""
SELECT coalesce(lots.release_id, tallied.release_id), coalesce(lots.network_id, tallied.network_id),
       coalesce(lots.state, tallied.state), coalesce(lots.hubs, 0), coalesce(tallied.hubs, 0)
FROM (SELECT release_id, network_id, each.state, each.hubs
      FROM (SELECT lot.release_id, lot.network_id, {", ".join(f"sum(lot.{state}) AS {state}" for state in State)}
            FROM scheduling_lot lot JOIN scheduling_booking booking ON booking.id = lot.booking_id
            WHERE booking.placed_at IS NOT NULL GROUP BY 1, 2) lot
      CROSS JOIN LATERAL (VALUES {", ".join(f"('{state}', lot.{state})" for state in State)}) AS each (state, hubs)
      ) lots
FULL JOIN (SELECT release_id, network_id, state, sum(hubs) AS hubs FROM ({TALLIED}) tallied GROUP BY 1, 2, 3) tallied
    ON tallied.release_id = lots.release_id AND tallied.network_id = lots.network_id AND tallied.state = lots.state
WHERE coalesce(lots.hubs, 0) <> coalesce(tallied.hubs, 0) ORDER BY 1, 2, 3
"""  # noqa: S608 - our own constants
# Of whom, where and when outcomes are: the lots know all of it but the model and the reason.
OUTCOMES = f"""
SELECT coalesce(lots.release_id, kept.release_id), coalesce(lots.supplier_id, kept.supplier_id),
       coalesce(lots.network_id, kept.network_id), coalesce(lots.day, kept.day), coalesce(lots.state, kept.state),
       coalesce(lots.hubs, 0), coalesce(kept.hubs, 0)
FROM (SELECT lot.release_id, lot.supplier_id, lot.network_id,
             (slot.start_at AT TIME ZONE 'Europe/London')::date AS day, each.state, sum(each.hubs) AS hubs
      FROM scheduling_lot lot JOIN scheduling_slot slot ON slot.id = lot.slot_id
      CROSS JOIN LATERAL (VALUES
          {", ".join(f"('{state}', lot.{state})" for state in OutcomeTally.STATES)}) AS each (state, hubs)
      WHERE each.hubs > 0 GROUP BY 1, 2, 3, 4, 5) lots
FULL JOIN (SELECT release_id, supplier_id, network_id, day, state, sum(hubs) AS hubs
           FROM ({outcomes.COUNTED}) counted GROUP BY 1, 2, 3, 4, 5) kept
    ON (kept.release_id, kept.supplier_id, kept.network_id, kept.day, kept.state)
     = (lots.release_id, lots.supplier_id, lots.network_id, lots.day, lots.state)
WHERE coalesce(lots.hubs, 0) <> coalesce(kept.hubs, 0) ORDER BY 1, 2, 3, 4, 5
"""  # noqa: S608 - our own constants
_RESOLVED = "('succeeded', 'failed', 'unconfirmed')"
IN_FLIGHT = f"""
SELECT coalesce(in_flight.release_id, tallied.release_id),
       coalesce(in_flight.activating, 0), coalesce(tallied.activating, 0),
       coalesce(in_flight.resolved, 0), coalesce(tallied.resolved, 0),
       in_flight.release_id IS NULL OR (in_flight.floor, in_flight.percent, in_flight.ceiling)
           = (policy.in_flight_floor, policy.in_flight_percent, policy.in_flight_ceiling)
FROM scheduling_inflight in_flight
FULL JOIN (SELECT release_id, sum(hubs) FILTER (WHERE state = 'activating') AS activating,
                  sum(hubs) FILTER (WHERE state IN {_RESOLVED}) AS resolved
           FROM ({TALLIED}) tallied WHERE stage > 0 GROUP BY 1) tallied ON tallied.release_id = in_flight.release_id
LEFT JOIN firmware_rolloutpolicy policy ON policy.release_id = in_flight.release_id
WHERE coalesce(in_flight.activating, 0) <> coalesce(tallied.activating, 0)
   OR coalesce(in_flight.resolved, 0) <> coalesce(tallied.resolved, 0)
   OR (in_flight.floor, in_flight.percent, in_flight.ceiling)
      IS DISTINCT FROM (policy.in_flight_floor, policy.in_flight_percent, policy.in_flight_ceiling)
      AND in_flight.release_id IS NOT NULL
ORDER BY 1
"""  # noqa: S608 - our own constants
STAGES = f"""
SELECT coalesce(stage.release_id, tallied.release_id), coalesce(stage.model_id, tallied.model_id),
       coalesce(stage.number, tallied.stage), coalesce(stage.admitted, 0), coalesce(tallied.admitted, 0),
       coalesce(stage.resolved, 0), coalesce(tallied.resolved, 0)
FROM scheduling_stage stage
FULL JOIN (SELECT release_id, model_id, stage,
                  sum(hubs) FILTER (WHERE state = 'activating' OR state IN {_RESOLVED}) AS admitted,
                  sum(hubs) FILTER (WHERE state IN {_RESOLVED}) AS resolved
           FROM ({TALLIED}) tallied WHERE stage > 0 GROUP BY 1, 2, 3) tallied
    ON tallied.release_id = stage.release_id AND tallied.model_id = stage.model_id AND tallied.stage = stage.number
WHERE coalesce(stage.admitted, 0) <> coalesce(tallied.admitted, 0)
   OR coalesce(stage.resolved, 0) <> coalesce(tallied.resolved, 0)
ORDER BY 1, 2, 3
"""  # noqa: S608 - our own constants
SLOTS = """
SELECT slot.id, slot.taken, coalesce(lots.hubs, 0)
FROM scheduling_slot slot
LEFT JOIN (SELECT slot_id, sum(size - cancelled) AS hubs FROM scheduling_lot GROUP BY 1) lots ON lots.slot_id = slot.id
WHERE slot.taken <> coalesce(lots.hubs, 0) ORDER BY 1
"""


def counters() -> list[Found]:
    """Return which of the maintained counters do not agree, from the counters and the lots alone."""
    found = [
        Found(
            Mismatch.TALLY,
            f"release {release}, network {network}, {state}",
            f"{tallied:,} in the tally, {hubs:,} in the lots.",
        )
        for release, network, state, hubs, tallied in sql.rows(TALLIES, {})
    ]
    found += [
        Found(
            Mismatch.TALLY,
            f"outcomes of release {release}, Supplier {supplier}, network {network}, {day}, {state}",
            f"{kept:,} in the tally, {hubs:,} in the lots.",
        )
        for release, supplier, network, day, state, hubs, kept in sql.rows(OUTCOMES, {})
    ]
    for release, activating, are_activating, resolved, are_resolved, is_policy in sql.rows(IN_FLIGHT, {}):
        words = _differ({"in flight": (activating, are_activating), "resolved": (resolved, are_resolved)}) + (
            "" if is_policy else " Its budget is not the policy's."
        )
        found.append(Found(Mismatch.IN_FLIGHT, f"release {release}", words.strip(), release))
    found += [
        Found(
            Mismatch.STAGE,
            f"release {release}, model {model}, stage {number}",
            _differ({"admitted": (admitted, are_admitted), "resolved": (resolved, are_resolved)}),
            release,
        )
        for release, model, number, admitted, are_admitted, resolved, are_resolved in sql.rows(STAGES, {})
    ]
    found += [
        Found(
            Mismatch.SLOT, f"slot {slot}", f"{taken:,} places are taken, {hubs:,} hubs are in its lots.", slot
        )
        for slot, taken, hubs in sql.rows(SLOTS, {})
    ]
    return found


def _differ(numbers: Mapping[str, tuple[int, int]]) -> str:
    differ = [f"{kept:,} {name}, {true:,} tallied" for name, (kept, true) in numbers.items() if kept != true]
    return f"{'; '.join(differ)}." if differ else ""


# -- what enforces all of it ---------------------------------------------------------------------------------

ENFORCING: Mapping[str, tuple[str, ...]] = {
    "firmware_firmwarerelease": ("release_changed",),
    "firmware_firmwarerelease_hub_models": ("release_models_frozen",),
    "firmware_predecessor": ("release_predecessors_frozen",),
    "firmware_availabilityperiod": ("release_periods_frozen",),
    "firmware_rolloutpolicy": ("release_policy_frozen",),
    "firmware_signoff": ("sign_off_written",),
    "ground_auditbase": ("audit_base_moves_by_decisions",),
    "ground_auditentry": ("audit_goes_by_purges", "audit_is_to_be_chained", "audit_only_grows"),
    "ground_auditlink": (
        "audit_chain_goes_by_purges",
        "audit_chain_only_grows",
        "audit_link_is_of_its_decision",
    ),
    "portal_user": ("user_changed", "user_of_a_supplier_has_no_groups"),
    "portal_user_groups": ("user_changes_groups", "user_roles_apart"),
    "portal_user_user_permissions": ("user_changes_permissions",),
    "scheduling_deployment": (
        "deployment_activated_in_a_stage",
        "deployment_begins",
        "deployment_is_kept",
        "deployment_is_of_one_hub",
        "deployment_leaves_its_stage",
        "deployment_looked_at_later",
        "deployment_moves",
        "deployment_shows_signs",
    ),
    "scheduling_move": ("moves_stay",),
    "scheduling_tallychange": ("changes_are_taken_up",),
}
"""Triggers by table without which a promise is only Python's."""
TRIGGERS = """
SELECT wanted.relation, wanted.name
FROM unnest(%(tables)s::text[], %(names)s::text[]) AS wanted (relation, name)
LEFT JOIN pg_trigger held ON held.tgrelid = to_regclass(wanted.relation) AND held.tgname = wanted.name
WHERE coalesce(held.tgenabled, 'D') = 'D' ORDER BY 1, 2
"""


def enforcement() -> list[Found]:
    """Return what was taken out of the database that keeps promises, or added to the table of moves."""
    wanted = {(str(source), str(target)) for source, targets in MOVES.items() for target in targets}
    there = set(sql.rows("SELECT source, target FROM scheduling_move", {}))
    found = [
        Found(
            Mismatch.MOVES,
            f"{source} to {target}",
            "It is in the table." if (source, target) in there else "It is not in the table.",
        )
        for source, target in sorted(wanted ^ there)
    ]
    pairs = [(table, name) for table, names in ENFORCING.items() for name in names]
    found += [
        Found(Mismatch.TRIGGER, f"{name} on {table}", "It is missing or off.")
        for table, name in sql.rows(
            TRIGGERS, {"tables": [table for table, _ in pairs], "names": [name for _, name in pairs]}
        )
    ]
    return found


# -- all of it -----------------------------------------------------------------------------------------------

# For small systems alone: it reads every deployment in one statement.
BY_MODEL_AND_STAGE = f"""
SELECT coalesce(rows.release_id, tallied.release_id), coalesce(rows.network_id, tallied.network_id),
       coalesce(rows.model_id, tallied.model_id), coalesce(rows.stage, tallied.stage),
       coalesce(rows.state, tallied.state), coalesce(rows.hubs, 0), coalesce(tallied.hubs, 0)
FROM (SELECT lot.release_id, lot.network_id, model_id, stage, state, count(*) AS hubs
      FROM scheduling_deployment deployment JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
      GROUP BY 1, 2, 3, 4, 5) rows
FULL JOIN (SELECT release_id, network_id, model_id, stage, state, sum(hubs) AS hubs
           FROM ({TALLIED}) tallied GROUP BY 1, 2, 3, 4, 5) tallied
    ON (tallied.release_id, tallied.network_id, tallied.model_id, tallied.stage, tallied.state)
     = (rows.release_id, rows.network_id, rows.model_id, rows.stage, rows.state)
WHERE coalesce(rows.hubs, 0) <> coalesce(tallied.hubs, 0) ORDER BY 1, 2, 3, 4, 5
"""  # noqa: S608 - our own constants
OUTCOMES_ONE_BY_ONE = f"""
SELECT release_id, supplier_id, network_id, model_id, day, state, ending, is_activated, sum(there), sum(kept)
FROM (SELECT lot.release_id, lot.supplier_id, lot.network_id, model_id,
             (slot.start_at AT TIME ZONE 'Europe/London')::date AS day, state, ending, stage > 0 AS is_activated,
             1 AS there, 0 AS kept
      FROM scheduling_deployment deployment JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
      JOIN scheduling_slot slot ON slot.id = lot.slot_id
      WHERE state IN ({", ".join(f"'{state}'" for state in OutcomeTally.STATES)})
      UNION ALL
      SELECT release_id, supplier_id, network_id, model_id, day, state, ending, is_activated, 0, hubs
      FROM ({outcomes.COUNTED}) counted) both_ways
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 HAVING sum(there) <> sum(kept)
"""  # noqa: S608 - our own constants
SIGNS = """
SELECT release_id, network_id, model_id, stage, kind, sum(there), sum(kept)
FROM (SELECT lot.release_id, lot.network_id, model_id, stage, sign.kind, sign.hubs AS there, 0 AS kept
      FROM scheduling_deployment deployment JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
      CROSS JOIN LATERAL (VALUES
          ('silent', (silent AND state = 'activating')::int),
          ('refused', (ending IN ('hash_mismatch', 'wrong_hardware'))::int),
          ('bad', (stage > 0 AND (state IN ('failed', 'unconfirmed') OR (silent AND state = 'activating')))::int)
      ) AS sign (kind, hubs)
      UNION ALL
      SELECT release_id, network_id, model_id, stage, kind, 0, hubs FROM scheduling_warningsign) counted
GROUP BY 1, 2, 3, 4, 5 HAVING sum(there) <> sum(kept) ORDER BY 1, 2, 3, 4, 5
"""


def everything(*, gateway: object) -> list[Found]:
    """
    Return all that does not agree, from the beginning of the carrier's log and with every deployment counted.

    For tests and small systems; a large one is reconciled by portions (`operations.reconciliation`).
    """
    found: list[Found] = []
    if isinstance(gateway, Accountable):
        position = 0
        while commands := gateway.received(after=position, limit=COMMANDS):
            found += received(commands=commands)
            position = commands[-1].position
    after: int | None = 0
    while after is not None:
        portion = lots(after=after)
        found += portion.found
        after = portion.last
    found += counters()
    found += [
        Found(
            Mismatch.TALLY,
            f"release {release}, network {network}, model {model}, stage {stage}, {state}",
            f"{tallied:,} in the tally, {hubs:,} there.",
        )
        for release, network, model, stage, state, hubs, tallied in sql.rows(
            BY_MODEL_AND_STAGE, {"span": LOT_SPAN}
        )
    ]
    found += [
        Found(
            Mismatch.TALLY,
            f"outcomes of release {release}, Supplier {supplier}, network {network}, model {model}, {day}, {state}",
            f"{kept:,} in the tally, {there:,} there: {ending or 'no reason'}.",
        )
        for release, supplier, network, model, day, state, ending, _, there, kept in sql.rows(
            f"{OUTCOMES_ONE_BY_ONE} ORDER BY 1, 2, 3, 4, 5, 6, 7, 8", {"span": LOT_SPAN}
        )
    ]
    found += [
        Found(
            Mismatch.TALLY,
            f"release {release}, network {network}, model {model}, stage {stage}, {kind}",
            f"{kept:,} among the signs, {hubs:,} there.",
        )
        for release, network, model, stage, kind, hubs, kept in sql.rows(SIGNS, {"span": LOT_SPAN})
    ]
    return found + enforcement()
