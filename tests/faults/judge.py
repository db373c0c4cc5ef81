"""
What must hold after whatever happened, judged from the database, the Oracle, and what was seen outside.

Every judgement answers with the breaches that it found, one sentence each; none is good. The Oracle is the fleet's
own log of the commands that it received, which the portal cannot write.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hubs.gateway import Outcome, Phase, Verdict
from portal.ground import sql
from scheduling.lifecycle import FINAL, State
from scheduling.models import LOT_SPAN, Lot, Notice
from scheduling.reactions import VERIFY_ATTEMPTS
from tests.faults.carrier import Arrival
from tests.smtp import Mail

SHOWN = 5
"""Breaches of one kind that are told."""


@dataclass(frozen=True, slots=True)
class Stop:
    """
    A release that was halted, or withdrawn, by somebody who watched the clock.

    `since` was read while the stop held its lock and had not committed; `until` before a resumption began.
    """

    release: int
    since: datetime
    until: datetime | None = None
    is_halt: bool = True


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen outside the portal and the fleet."""

    arrivals: Sequence[Arrival] = ()
    stops: Sequence[Stop] = ()
    mails: Sequence[Mail] | None = None
    """None where no mail server was watched."""
    may_double_mail: bool = False
    """Somebody may have died between an e-mail and its stamp."""
    places: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """The most places that a Supplier may have: by slot id and Supplier id."""


Judgement = Callable[[Evidence], list[str]]
TERMS: dict[str, Any] = {
    **{phase.name.lower(): int(phase) for phase in Phase},
    **{outcome.name.lower(): int(outcome) for outcome in Outcome},
    "accepted": int(Verdict.ACCEPTED),
    "span": LOT_SPAN,
    "final": [str(state) for state in FINAL],
}


def breaches(evidence: Evidence | None = None) -> list[str]:
    """Return everything that does not hold, when all is over."""
    evidence = evidence or Evidence()
    return [
        f"{judgement.__name__}: {told}" for judgement in JUDGEMENTS for told in judgement(evidence)[:SHOWN]
    ]


def _found(sentence: str, statement: str, terms: Mapping[str, Any] | None = None) -> list[str]:
    """Return the sentence for each row that a statement finds."""
    return [sentence.format(*row) for row in sql.rows(statement, {**TERMS, **(terms or {})})]


# -- time ----------------------------------------------------------------------------------------------------


def activates_only_in_its_slot(_: Evidence) -> list[str]:
    """Promises 1 and 2: nothing is activated, or taken for activation, outside the slot and the period."""
    return _found(
        "the activation of {0} came at {1}, acted at {2}: outside {3} to {4}",
        """
        SELECT log.deployment, log.received_at, log.acted_at, slot.start_at, slot.end_at
        FROM modelled_fleet_commandlog log
        JOIN scheduling_lot lot ON lot.id = log.lot JOIN scheduling_slot slot ON slot.id = lot.slot_id
        WHERE log.phase = %(activate)s AND log.verdict = %(accepted)s AND (
            log.received_at < slot.start_at OR log.received_at >= slot.end_at
            OR (log.is_applied AND (log.acted_at < slot.start_at OR log.acted_at > slot.end_at))
            OR NOT EXISTS (
                SELECT FROM firmware_availabilityperiod period
                WHERE period.release_id = lot.release_id AND period.network_id = slot.network_id
                  AND period.start_at <= log.received_at AND period.end_at > log.received_at))
        """,
    )


def admits_only_in_time(_: Evidence) -> list[str]:
    """Promises 1 and 2, at the Gate: staging in its time, activation in its slot, and in this order."""
    return _found(
        "command {0}/{1}/{2} was admitted {3}, sent {4}, answered {5}, valid until {6}",
        """
        SELECT command.deployment_id, command.phase, command.attempt, command.admitted_at, command.sent_at,
               command.answered_at, command.valid_until
        FROM scheduling_command command
        JOIN scheduling_lot lot ON lot.id = command.deployment_id / %(span)s
        JOIN scheduling_slot slot ON slot.id = lot.slot_id
        WHERE (command.phase <> %(verify)s AND (command.admitted_at < lot.staging_from
                   OR command.admitted_at >= slot.end_at OR command.valid_until > slot.end_at))
           OR (command.phase = %(activate)s AND command.admitted_at < slot.start_at)
           OR (command.phase = %(verify)s AND command.admitted_at < slot.start_at)
           OR command.sent_at < command.admitted_at OR command.answered_at < command.admitted_at
        """,
    )


# -- unasked, twice, too new ---------------------------------------------------------------------------------


def activates_a_hub_once(_: Evidence) -> list[str]:
    """At most one applied activation of a hub for a release, and none that nobody logged."""
    return _found(
        "hub {0} was activated {1} times for release {2}",
        """
        SELECT log.hub, count(*), lot.release_id
        FROM modelled_fleet_commandlog log JOIN scheduling_lot lot ON lot.id = log.lot
        WHERE log.phase = %(activate)s AND log.is_applied GROUP BY log.hub, lot.release_id HAVING count(*) > 1
        """,
    ) + _found(
        "hub {0} counts {1} activations, and the log {2}",
        """
        SELECT hub.chf_id, hub.activations, coalesce(logged.times, 0)
        FROM modelled_fleet_fleethub hub LEFT JOIN (
            SELECT hub, count(*) AS times FROM modelled_fleet_commandlog
            WHERE phase = %(activate)s AND is_applied GROUP BY hub) logged ON logged.hub = hub.chf_id
        WHERE hub.activations <> coalesce(logged.times, 0)
        """,
    )


def sends_nothing_unasked(evidence: Evidence) -> list[str]:
    """Promises 19 and 29: no commit, no command; and nothing answers what was never said."""
    unasked = """
        SELECT {keys} FROM {received} WHERE NOT EXISTS (
            SELECT FROM scheduling_command command JOIN scheduling_deployment deployment
                ON deployment.id = command.deployment_id
            JOIN scheduling_lot lot ON lot.id = command.deployment_id / %(span)s
            WHERE command.deployment_id = log.deployment AND command.phase = log.phase
              AND command.attempt = log.attempt AND command.sent_at IS NOT NULL
              AND deployment.hub_id = log.hub AND lot.id = log.lot AND log.token <= lot.token)
        """
    keys = "log.deployment, log.phase, log.attempt, log.hub"
    sentence = "command {0}/{1}/{2} came to hub {3} without a committed row that says so"
    seen: dict[str, list[int]] = {
        name: [getattr(arrival, name) for arrival in evidence.arrivals]
        for name in ("deployment", "phase", "attempt", "hub", "lot", "token")
    }
    return (
        _found(sentence, unasked.format(keys=keys, received="modelled_fleet_commandlog log"))
        + _found(
            sentence,
            unasked.format(
                keys=keys,
                received="unnest(%(deployment)s::bigint[], %(phase)s::int[], %(attempt)s::int[], %(hub)s::bigint[],"
                " %(lot)s::bigint[], %(token)s::bigint[]) AS log (deployment, phase, attempt, hub, lot, token)",
            ),
            seen,
        )
        + _found(
            "a report of {0}/{1} is stray",
            "SELECT deployment_id, attempt FROM scheduling_strayreport",
        )
    )


def refuses_older_tokens(_: Evidence) -> list[str]:
    """Promise 17: whoever lost its lease is not listened to, and nobody has a token that was never given."""
    return _found(
        "lot {0}: command {1}/{2}/{3} came with token {4} after {5}",
        """
        SELECT lot, deployment, phase, attempt, token, newest FROM (
            SELECT *, max(token) OVER (PARTITION BY lot ORDER BY id) AS newest FROM modelled_fleet_commandlog) log
        WHERE token < newest
        """,
    ) + _found(
        "lot {0} gave tokens up to {1}, and the fleet saw {2}",
        """
        SELECT lot.id, lot.token, known.token FROM scheduling_lot lot
        JOIN modelled_fleet_fleetlottoken known ON known.lot = lot.id WHERE known.token > lot.token
        """,
    )


def sends_only_the_approved_image(_: Evidence) -> list[str]:
    """Promises 7 and 9: the release's digest and version, to hubs of its models, hardware and network."""
    return _found(
        "command {0}/{1}/{2} named version {3} and digest {4}, not its release's",
        """
        SELECT log.deployment, log.phase, log.attempt, log.version, log.digest
        FROM modelled_fleet_commandlog log JOIN scheduling_lot lot ON lot.id = log.lot
        JOIN firmware_firmwarerelease release ON release.id = lot.release_id
        JOIN hubs_firmwareversion version ON version.id = release.version_id
        WHERE (log.phase IN (%(stage)s, %(activate)s)
               AND (log.digest <> release.digest OR log.version <> version.number))
           OR (log.phase IN (%(read)s, %(verify)s) AND (log.digest <> '' OR log.version <> 0))
        """,
    ) + _found(
        "hub {0} was commanded for a release that is not for it",
        """
        SELECT DISTINCT hub.chf_id FROM modelled_fleet_commandlog log
        JOIN scheduling_lot lot ON lot.id = log.lot
        JOIN firmware_firmwarerelease release ON release.id = lot.release_id
        JOIN modelled_fleet_fleethub hub ON hub.chf_id = log.hub
        WHERE hub.network_id <> lot.network_id
           OR hub.hardware_version NOT BETWEEN release.minimum_hardware AND release.maximum_hardware
           OR NOT EXISTS (SELECT FROM firmware_firmwarerelease_hub_models listed
                          WHERE listed.firmwarerelease_id = release.id AND listed.hubmodel_id = hub.model_id)
        """,
    )


def skips_no_step(_: Evidence) -> list[str]:
    """Promise 8: read, then staged, then activated; and never over a version that is no predecessor."""
    return _found(
        "{0} was staged without a read of a version that the release goes over",
        """
        SELECT DISTINCT command.deployment_id FROM scheduling_command command
        JOIN scheduling_lot lot ON lot.id = command.deployment_id / %(span)s
        WHERE command.phase = %(stage)s AND NOT EXISTS (
            SELECT FROM scheduling_command read
            JOIN hubs_firmwareversion version ON version.number = read.version
            JOIN firmware_predecessor step ON step.version_id = version.id AND step.release_id = lot.release_id
            WHERE read.deployment_id = command.deployment_id AND read.phase = %(read)s
              AND read.attempt < command.attempt AND read.outcome = %(done)s)
        """,
    ) + _found(
        "{0} was activated without having been staged",
        """
        SELECT DISTINCT command.deployment_id FROM scheduling_command command
        WHERE command.phase = %(activate)s AND NOT EXISTS (
            SELECT FROM scheduling_command staged WHERE staged.deployment_id = command.deployment_id
              AND staged.phase = %(stage)s AND staged.attempt < command.attempt AND staged.outcome = %(done)s)
        """,
    )


def waits_for_the_other_supplier(_: Evidence) -> list[str]:
    """Promise 23: no command for shared hubs before their other Supplier has agreed."""
    return _found(
        "command {0}/{1}/{2} was admitted while the other Supplier's answer was “{3}”",
        """
        SELECT command.deployment_id, command.phase, command.attempt, consent.state
        FROM scheduling_command command JOIN scheduling_lot lot ON lot.id = command.deployment_id / %(span)s
        JOIN scheduling_consent consent ON consent.id = lot.consent_id
        WHERE consent.state NOT IN ('given', 'lapsed', 'objected') OR consent.answered_at > command.admitted_at
        """,
    )


# -- stopping ------------------------------------------------------------------------------------------------


def admits_nothing_after_a_stop(evidence: Evidence) -> list[str]:
    """Promise 11: once a halt has committed nothing is admitted, nor decided to be sent."""
    found = []
    for stop in evidence.stops:
        terms = {"release": stop.release, "since": stop.since, "until": stop.until}
        found += _found(
            "command {0}/{1}/{2} was admitted at {3}, after release {4} stopped at {5}",
            """
            SELECT command.deployment_id, command.phase, command.attempt, command.admitted_at, lot.release_id,
                   %(since)s
            FROM scheduling_command command JOIN scheduling_lot lot ON lot.id = command.deployment_id / %(span)s
            WHERE lot.release_id = %(release)s AND command.admitted_at > %(since)s
              AND (%(until)s::timestamptz IS NULL OR command.admitted_at < %(until)s)
              AND (%(is_halt)s OR command.phase <> %(verify)s)
            """,
            {**terms, "is_halt": stop.is_halt},
        )
        lots = set(Lot.objects.filter(release=stop.release).values_list("pk", flat=True))
        found += [
            f"{arrival.deployment}/{arrival.phase}/{arrival.attempt} was sent by a decision of "
            f"{arrival.decided_at}, after release {stop.release} stopped at {stop.since}"
            for arrival in evidence.arrivals
            if arrival.lot in lots
            and arrival.decided_at > stop.since
            and (stop.until is None or arrival.decided_at < stop.until)
            and (stop.is_halt or arrival.phase != Phase.VERIFY)
        ]
    return found


# -- the ledger ----------------------------------------------------------------------------------------------


def balances_its_ledger(_: Evidence) -> list[str]:
    """Promise 15: lots count their rows, bookings their lots, deployments their commands."""
    counts = "\n".join(
        f"+ abs(lot.{state} - count(deployment.id) FILTER (WHERE deployment.state = '{state}'))"
        for state in State
    )
    return (
        _found(
            "lot {0} of {1} hubs has {2} rows, and miscounts {3}",
            f"""
            SELECT lot.id, lot.size, count(deployment.id), 0 {counts}
            FROM scheduling_lot lot LEFT JOIN scheduling_deployment deployment
                ON deployment.id BETWEEN lot.id * %(span)s AND lot.id * %(span)s + %(span)s - 1
            GROUP BY lot.id HAVING count(deployment.id) <> lot.size OR 0 {counts} <> 0
            """,
        )
        + _found(
            "deployment {0} belongs to no lot",
            """
            SELECT id FROM scheduling_deployment deployment
            WHERE NOT EXISTS (SELECT FROM scheduling_lot lot WHERE lot.id = deployment.id / %(span)s)
            """,
        )
        + _found(
            "booking {0} has {1} hubs, and its lots {2}",
            """
            SELECT booking.reference, booking.hubs, coalesce(sum(lot.size - lot.moved), 0)
            FROM scheduling_booking booking LEFT JOIN scheduling_lot lot ON lot.booking_id = booking.id
            WHERE booking.abandoned_at IS NULL GROUP BY booking.id
            HAVING booking.hubs <> coalesce(sum(lot.size - lot.moved), 0)
            """,
        )
        + _found(
            "deployment {0} says {1} commands, and has {2}, the last {3}",
            """
            SELECT deployment.id, deployment.attempt, count(command.attempt), max(command.attempt)
            FROM scheduling_deployment deployment
            LEFT JOIN scheduling_command command ON command.deployment_id = deployment.id
            GROUP BY deployment.id
            HAVING deployment.attempt <> count(command.attempt)
                OR deployment.attempt <> coalesce(max(command.attempt), 0)
                OR count(DISTINCT command.attempt) <> count(command.attempt)
            """,
        )
        + _found(
            "deployment {0} awaits an answer to command {1}, which is not out",
            """
            SELECT deployment.id, deployment.attempt FROM scheduling_deployment deployment
            WHERE deployment.awaiting AND NOT EXISTS (
                SELECT FROM scheduling_command command
                WHERE command.deployment_id = deployment.id AND command.phase = deployment.phase
                  AND command.attempt = deployment.attempt AND command.answered_at IS NULL)
            """,
        )
    )


def counts_what_is_under_way(_: Evidence) -> list[str]:
    """Promise 13: the counters of what is in flight and in each stage are those of the rows, and within bounds."""
    # who came back because it was surely not reached keeps the number of its stage, and does not count
    admitted = (
        "deployment.stage > 0 AND deployment.phase IN (%(activate)s, %(verify)s)"
        " AND deployment.state IN ('activating', 'succeeded', 'failed', 'unconfirmed')"
    )
    return (
        _found(
            "release {0} counts {1} in flight and {2} resolved, and has {3} and {4}",
            f"""
            SELECT counted.release_id, counted.activating, counted.resolved, rows.activating, rows.resolved
            FROM scheduling_inflight counted CROSS JOIN LATERAL (
                SELECT count(*) FILTER (WHERE deployment.state = 'activating') AS activating,
                       count(*) FILTER (WHERE deployment.state <> 'activating') AS resolved
                FROM scheduling_deployment deployment JOIN scheduling_lot lot
                    ON lot.id = deployment.id / %(span)s
                WHERE {admitted} AND lot.release_id = counted.release_id) rows
            WHERE (counted.activating, counted.resolved) <> (rows.activating, rows.resolved)
               OR counted.activating > least(
                    counted.ceiling, greatest(counted.floor, counted.resolved * counted.percent / 100))
            """,
        )
        + _found(
            "stage {1} of release {0}, of {2} hubs, counts {3} admitted and {4} resolved, and has {5} and {6}",
            f"""
            SELECT stage.release_id, stage.number, stage.size, stage.admitted, stage.resolved, rows.admitted,
                   rows.resolved
            FROM scheduling_stage stage CROSS JOIN LATERAL (
                SELECT count(*) AS admitted,
                       count(*) FILTER (WHERE deployment.state <> 'activating') AS resolved
                FROM scheduling_deployment deployment JOIN scheduling_lot lot
                    ON lot.id = deployment.id / %(span)s
                WHERE {admitted} AND deployment.stage = stage.number AND deployment.model_id = stage.model_id
                  AND lot.release_id = stage.release_id) rows
            WHERE (stage.admitted, stage.resolved) <> (rows.admitted, rows.resolved)
               OR stage.admitted > stage.size
            """,
        )
        + _found(
            "{0} was activated, and is in no stage",
            """
            SELECT DISTINCT deployment.id FROM scheduling_deployment deployment
            JOIN modelled_fleet_commandlog log ON log.deployment = deployment.id
            WHERE log.phase = %(activate)s AND log.is_applied AND deployment.stage = 0
            """,
        )
        + _found(
            "{2} hubs of release {0} are {1}, and the tally has {3}",
            """
            SELECT release_id, state, sum(had), sum(counted) FROM (
                SELECT lot.release_id, deployment.state, 1 AS had, 0 AS counted
                FROM scheduling_deployment deployment JOIN scheduling_lot lot
                    ON lot.id = deployment.id / %(span)s
                UNION ALL SELECT release_id, state, 0, hubs FROM scheduling_tally
                UNION ALL SELECT release_id, state, 0, hubs FROM scheduling_tallychange) both_ways
            GROUP BY release_id, state HAVING sum(had) <> sum(counted)
            """,
        )
    )


def sells_no_place_twice(evidence: Evidence) -> list[str]:
    """Promises 5 and 6: the slots count their hubs, hold what they can, and no Supplier has more than its share."""
    found = _found(
        "slot {0} of {1} counts {2} hubs, and has {3}",
        """
        SELECT slot.id, slot.capacity, slot.taken, coalesce(sum(lot.size - lot.cancelled), 0)
        FROM scheduling_slot slot LEFT JOIN scheduling_lot lot ON lot.slot_id = slot.id
        GROUP BY slot.id HAVING slot.taken <> coalesce(sum(lot.size - lot.cancelled), 0)
            OR slot.taken > slot.capacity
        """,
    ) + _found(
        "hub {0} has {1} open deployments",
        """
        SELECT hub_id, count(*) FROM scheduling_deployment WHERE ended_at IS NULL
        GROUP BY hub_id HAVING count(*) > 1
        """,
    )
    had: Counter[tuple[int, int]] = Counter()
    for slot, supplier, size, cancelled in Lot.objects.values_list("slot", "supplier", "size", "cancelled"):
        had[slot, supplier] += size - cancelled
    return found + [
        f"Supplier {supplier} has {had[slot, supplier]} places of {most} in slot {slot}"
        for (slot, supplier), most in evidence.places.items()
        if had[slot, supplier] > most
    ]


# -- what came of it -----------------------------------------------------------------------------------------


def believes_only_what_is_true(_: Evidence) -> list[str]:
    """Promises 8, 15 and 19: success where the hub runs the version, and no activation under another name."""
    return (
        _found(
            "{0} is a success, and hub {1} runs {2}",
            """
            SELECT deployment.id, deployment.hub_id, hub.running_version FROM scheduling_deployment deployment
            JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
            JOIN firmware_firmwarerelease release ON release.id = lot.release_id
            JOIN hubs_firmwareversion version ON version.id = release.version_id
            LEFT JOIN modelled_fleet_fleethub hub ON hub.chf_id = deployment.hub_id
            WHERE deployment.state = 'succeeded' AND hub.running_version IS DISTINCT FROM version.number
            """,
        )
        + _found(
            "{0} is a success that nobody read back, or that the hub never applied",
            """
            SELECT deployment.id FROM scheduling_deployment deployment
            JOIN scheduling_lot lot ON lot.id = deployment.id / %(span)s
            JOIN firmware_firmwarerelease release ON release.id = lot.release_id
            JOIN hubs_firmwareversion version ON version.id = release.version_id
            WHERE deployment.state = 'succeeded' AND NOT (
                EXISTS (SELECT FROM scheduling_command command
                        WHERE command.deployment_id = deployment.id AND command.phase = %(verify)s
                          AND command.outcome = %(done)s AND command.version = version.number)
                AND EXISTS (SELECT FROM modelled_fleet_commandlog log WHERE log.deployment = deployment.id
                              AND log.phase = %(activate)s AND log.is_applied))
            """,
        )
        + _found(
            "hub {1} was activated, and deployment {0} ended as {2} {3}",
            """
            SELECT deployment.id, deployment.hub_id, deployment.state, deployment.ending
            FROM modelled_fleet_commandlog log JOIN scheduling_deployment deployment
                ON deployment.id = log.deployment
            WHERE log.phase = %(activate)s AND log.is_applied
              AND deployment.state NOT IN ('activating', 'succeeded', 'unconfirmed')
            """,
        )
    )


def records_what_the_fleet_said(_: Evidence) -> list[str]:
    """Promise 14: each outcome once, as the fleet had it; taken back only what surely did nothing."""
    return _found(
        "command {0}/{1}/{2}: outcome {3} with version {4} is recorded, and the fleet had {5} with {6}",
        """
        SELECT command.deployment_id, command.phase, command.attempt, command.outcome, command.version,
               log.outcome, log.version_read
        FROM scheduling_command command LEFT JOIN modelled_fleet_commandlog log
            ON log.deployment = command.deployment_id AND log.phase = command.phase
           AND log.attempt = command.attempt
        WHERE command.outcome IS NOT NULL AND CASE
            WHEN command.outcome = %(expired)s THEN log.is_applied
            ELSE log.id IS NULL OR log.acted_at IS NULL OR log.outcome <> command.outcome
                 OR log.version_read IS DISTINCT FROM command.version END
        """,
    )


def takes_silence_for_an_outcome(_: Evidence) -> list[str]:
    """Promise 16: after an activation without an answer read, never activate again; no success out of silence."""
    return (
        _found(
            "{0} was activated again by command {2} although command {1} may have been done",
            """
        SELECT first.deployment_id, first.attempt, second.attempt
        FROM scheduling_command first JOIN scheduling_command second
            ON second.deployment_id = first.deployment_id AND second.phase = first.phase
           AND second.attempt > first.attempt
        WHERE first.phase = %(activate)s AND (first.outcome IS NULL OR first.answered_at > second.admitted_at
            OR first.outcome NOT IN (%(unreachable)s, %(expired)s))
        """,
        )
        + _found(
            "{0} is unconfirmed ({2}) after {1} reads",
            """
        SELECT deployment.id, count(log.id), deployment.ending FROM scheduling_deployment deployment
        LEFT JOIN modelled_fleet_commandlog log ON log.deployment = deployment.id
            AND log.phase = %(verify)s AND log.verdict = %(accepted)s
        WHERE deployment.state = 'unconfirmed' AND deployment.ending <> 'set_aside' GROUP BY deployment.id
        HAVING count(log.id) < %(reads)s OR deployment.ending <> 'silent'
        """,
            {"reads": VERIFY_ATTEMPTS},
        )
        + _found(
            "{0} was set aside, and ended at {1} although nobody decided so and its time was not over",
            """
        SELECT deployment.id, deployment.ended_at FROM scheduling_deployment deployment
        WHERE deployment.state = 'unconfirmed' AND deployment.ending = 'set_aside' AND NOT EXISTS (
            SELECT FROM ground_auditentry said
            WHERE said.facts -> 'which' @> jsonb_build_array(jsonb_build_object('deployment', deployment.id))
              AND said.recorded_at = deployment.ended_at
              AND (said.verb = 'quarantine.ended' OR (said.verb = 'quarantine.lapsed' AND NOT EXISTS (
                  SELECT FROM scheduling_command command
                  WHERE command.deployment_id = deployment.id AND command.valid_until > deployment.ended_at))))
        """,
        )
    )


def leaves_nothing_behind(_: Evidence) -> list[str]:
    """Promises 15 and 17: every deployment has ended, no lot is due or leased, every booking is done."""
    return (
        _found(
            "{1} deployments are still {0}",
            "SELECT state, count(*) FROM scheduling_deployment WHERE ended_at IS NULL GROUP BY state",
        )
        + _found(
            "lot {0} is due {1}, leased until {2}",
            """
            SELECT id, due_at, lease_until FROM scheduling_lot
            WHERE due_at IS NOT NULL OR lease_until IS NOT NULL
            """,
        )
        + _found(
            "booking {0} is not done",
            """
            SELECT reference FROM scheduling_booking WHERE done_at IS NULL AND abandoned_at IS NULL
            """,
        )
    )


# -- notices -------------------------------------------------------------------------------------------------


def loses_no_notice(evidence: Evidence) -> list[str]:
    """Promise 22: what is owed is sent; doubled only where somebody may have died, or was not answered."""
    found = _found(
        "{0} to {1} was never sent: {2}",
        "SELECT kind, address, last_error FROM scheduling_notice WHERE sent_at IS NULL",
    ) + _found(
        "no notice tells that booking {0} is done",
        """
        SELECT booking.reference FROM scheduling_booking booking
        WHERE booking.done_at IS NOT NULL
          AND EXISTS (SELECT FROM portal_user person
                      WHERE person.supplier_id = booking.supplier_id AND person.is_active)
          AND NOT EXISTS (SELECT FROM scheduling_notice notice WHERE notice.kind = 'booking_done'
                            AND notice.subject_key = 'booking:' || booking.reference)
        """,
    )
    if evidence.mails is None:
        return found
    ids = dict(Notice.objects.values_list("message_id", "address"))
    if len(ids) < Notice.objects.count():
        found.append("two notices have the same Message-ID")
    sent = set(Notice.objects.filter(sent_at__isnull=False).values_list("message_id", flat=True))
    taken = Counter(mail.message_id for mail in evidence.mails)
    unheard = Counter(mail.message_id for mail in evidence.mails if not mail.is_answered)
    found += [f"the notice {one} counts as sent, and never arrived" for one in sent - taken.keys()]
    found += [
        f"the e-mail {mail.message_id} to {mail.address} is of no notice"
        for mail in evidence.mails
        if ids.get(mail.message_id) != mail.address
    ]
    if not evidence.may_double_mail:
        found += [
            f"the notice {one} arrived {times} times"
            for one, times in taken.items()
            if times - unheard[one] > 1
        ]
    return found


JUDGEMENTS: tuple[Judgement, ...] = (
    activates_only_in_its_slot,
    admits_only_in_time,
    activates_a_hub_once,
    sends_nothing_unasked,
    refuses_older_tokens,
    sends_only_the_approved_image,
    skips_no_step,
    waits_for_the_other_supplier,
    admits_nothing_after_a_stop,
    balances_its_ledger,
    counts_what_is_under_way,
    sells_no_place_twice,
    believes_only_what_is_true,
    records_what_the_fleet_said,
    takes_silence_for_an_outcome,
    leaves_nothing_behind,
    loses_no_notice,
)
