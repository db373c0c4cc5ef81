"""
What enforces each promise, and the tests that must fail without it.

A change takes the enforcement out and nothing else: text that has to stand in its file exactly once, or SQL that fails
where there is no such rule. So a predicate that is renamed or moved is missed here at once.
"""

from dataclasses import dataclass

from tests.mutations.changes import Change, Edit, Rewrite, Statement, constraint, index, trigger


@dataclass(frozen=True, slots=True)
class Enforcement:
    """One of the things that keep a promise, how it is taken out, and the tests of which one at least must fail."""

    promise: int
    name: str
    change: Change
    tests: tuple[str, ...]


CLAIMS = "scheduling/operations/deployments/claims.py"
GATE = "scheduling/operations/deployments/gate.py"
PROTECTION = "scheduling/operations/deployments/protection.py"
SENDER = "scheduling/operations/deployments/sender.py"
TAKEN = "scheduling/operations/deployments/receipts.py"
LEAVING = "scheduling/operations/deployments/leaving.py"
REPORTS = "scheduling/operations/deployments/reports.py"
WORK = "scheduling/operations/deployments/work.py"
HALTED = "scheduling/operations/deployments/halted.py"
HALTED_PARTS = "tests/scheduling/test_halted_parts.py"
REACTIONS = "scheduling/reactions.py"
ELIGIBILITY = "scheduling/queries/eligibility.py"
SLOTS = "scheduling/queries/slots.py"
PLACING = "scheduling/operations/placing.py"
BOOKINGS = "scheduling/operations/bookings.py"
DECISIONS = "firmware/operations/decisions.py"
RELEASES = "firmware/operations/releases.py"
STORED = "firmware/operations/stored_images.py"
LOCKS = "firmware/locks.py"
SENDING = "scheduling/operations/notices/sending.py"
SET_ASIDE = "scheduling/queries/quarantine.py"
DECIDING = "scheduling/operations/quarantine.py"

GATE_TESTS = "tests/scheduling/test_gate.py"
ADMITS = f"{GATE_TESTS}::TestAdmits"
IN_TIME = f"{ADMITS}::test_what_is_due_in_its_time_and_nothing_else"
STOPPED = f"{ADMITS}::test_nothing_of_a_stopped_release_but_the_reading_back"
OUTSIDE = f"{ADMITS}::test_nothing_outside_the_period_but_the_reading_back"
WHOLE_IMAGE = f"{ADMITS}::test_no_transfer_of_an_image_that_changed"
CLOSED = f"{ADMITS}::test_no_activation_while_the_network_or_the_hub_is_closed"
ONE_MORE_TRY = f"{ADMITS}::test_what_is_then_awaited_with_one_more_try"
LAST_MOMENTS = f"{ADMITS}::test_no_command_that_outlives_its_slot_its_period_or_its_silence"
LOST = f"{ADMITS}::test_nothing_for_whoever_lost_the_lot"
NEIGHBOUR = f"{ADMITS}::test_nothing_of_a_neighbouring_lot"
RECALLED = f"{GATE_TESTS}::TestRecall::test_takes_back_what_surely_did_nothing_and_nothing_else"
EARLIER = f"{GATE_TESTS}::TestRecall::test_takes_back_no_earlier_command_of_the_same_hub"
SILENCE = f"{GATE_TESTS}::TestSilence::test_is_the_hubs_only_when_the_carrier_took_the_command"
DEADLINE = f"{GATE_TESTS}::TestSilence::test_is_none_before_the_deadline"
NOT_ASKED = f"{GATE_TESTS}::TestSilence::test_is_nobodys_who_was_not_asked"
SLOT_END = f"{GATE_TESTS}::TestTheEndOfTheSlot::test_ends_what_was_not_activated_and_says_why"
NOT_YET = f"{GATE_TESTS}::TestTheEndOfTheSlot::test_is_not_there_a_moment_before"
GRACE = f"{GATE_TESTS}::TestGrace::test_ends_the_tries_of_a_staged_hub_that_was_missed_too_long"
HOLDS = f"{GATE_TESTS}::TestHolding::test_takes_hold_of_everything_that_is_not_on_its_way"
UNHOLDS = f"{GATE_TESTS}::TestHolding::test_ends_as_it_began"
ELIGIBLE = f"{GATE_TESTS}::TestEligibility::test_is_asked_of_every_hub_that_is_due"
BY_CONSENT = f"{GATE_TESTS}::TestEligibility::test_is_that_of_a_lead_that_another_shares_by_consent"
OVERRIDDEN = f"{GATE_TESTS}::TestEligibility::test_is_not_asked_of_the_other_supplier_where_dcc_overrode"
OTHER_BOOKED = f"{GATE_TESTS}::TestEligibility::test_is_that_of_the_other_supplier_where_it_booked"

HANDS_OVER = "tests/scheduling/test_sender.py::TestHandsOver"
UNTAKEN = f"{HANDS_OVER}::test_what_nobody_has_taken_yet_and_may_still_be_done"
AWAITED = f"{HANDS_OVER}::test_no_command_but_the_one_that_is_awaited"
FIFTY = f"{HANDS_OVER}::test_fifty_at_a_time_and_each_once"
SENDS_NO_NEIGHBOUR = f"{HANDS_OVER}::test_nothing_of_a_neighbouring_lot"
STAMPS = f"{HANDS_OVER}::test_stamps_what_it_hands_over_and_nothing_else_with_the_first_moment"
KEEPS = "tests/scheduling/test_sender.py::TestKeepsBack"
KEPT = f"{KEEPS}::test_what_never_left_for_the_gate_to_take_back_soon"
KEPT_AWAITED = f"{KEEPS}::test_the_command_that_is_awaited_and_no_other"
NO_LATER = f"{KEEPS}::test_nothing_later_than_it_was_due"
RECEIPTS = "tests/scheduling/test_sender.py::TestReceipts"
FOR_ALL = "tests/scheduling/test_sender.py::TestTheReceiptForAll"
OTHERS_RECEIPT = f"{GATE_TESTS}::TestSilence::test_is_not_the_hubs_for_a_receipt_of_others"

AN_ANSWER = "tests/scheduling/test_reports.py::TestAnAnswer"
AS_COMMANDED = f"{AN_ANSWER}::test_is_one_only_if_all_of_it_is_as_commanded"
FIRST_ANSWER = f"{AN_ANSWER}::test_is_the_first_and_no_later_one"
TOGETHER = f"{AN_ANSWER}::test_is_the_first_of_those_that_came_together"
STRAY_ONCE = f"{AN_ANSWER}::test_that_is_nobodys_is_kept_once"
A_DEPLOYMENT = "tests/scheduling/test_reports.py::TestADeployment"
THAT_ANSWER = f"{A_DEPLOYMENT}::test_moves_only_while_it_awaits_that_very_answer"

WHOLE_WAY = "tests/scheduling/test_whole_way.py"
FACTS = f"{WHOLE_WAY}::TestEveryModelHardwareAndNetwork"
VERSIONS = f"{WHOLE_WAY}::TestEveryVersion::test_goes_forward_from_a_predecessor_or_not_at_all"
NIGHTS = f"{WHOLE_WAY}::TestClockChangeNights::test_have_a_slot_for_each_hour_that_passes_and_activate_in_it"
BYTES = f"{WHOLE_WAY}::TestTheApprovedBytes"
HASHED = f"{BYTES}::test_are_hashed_again_before_anything_is_staged"
DROPPED = (
    f"{WHOLE_WAY}::TestReports::test_that_never_come_end_as_unconfirmed_and_lead_to_no_second_activation"
)
LAPSES = "tests/scheduling/test_quarantine.py::TestLapse"
DEPLOYMENTS = "tests/scheduling/test_deployments.py"
DATABASE = f"{DEPLOYMENTS}::TestTheDatabase"
LEASES = f"{DEPLOYMENTS}::TestLeases"
RACES = "tests/scheduling/test_races.py"
HALTS = "tests/scheduling/test_halts.py"
WAITING = f"{HALTS}::TestWaiting"
DECIDED = "tests/firmware/test_decisions.py"
CONSTRAINTS = f"{DECIDED}::TestConstraints"
TIME = "tests/portal/test_time.py"
DOUBT = "tests/faults/test_doubt.py"
NOTICES = "tests/scheduling/test_notices.py"
TASKS = "tests/scheduling/test_tasks.py"
GUARDS_GATE = "tests/scheduling/test_guards.py::TestTheGate"
WINDOWS_GATE = "tests/scheduling/test_windows.py::TestTheGate"
REGISTRATIONS = "tests/scheduling/test_registrations.py"


def gate(promise: int, name: str, old: str, new: str, *tests: str) -> Enforcement:
    """Return the loss of something in the Gate."""
    return Enforcement(promise, name, Edit(GATE, old, new), tests)


def edit(promise: int, name: str, file: str, old: str, new: str, *tests: str) -> Enforcement:
    """Return the loss of something in a file."""
    return Enforcement(promise, name, Edit(file, old, new), tests)


def rule(promise: int, name: str, change: Statement | Rewrite, *tests: str) -> Enforcement:
    """Return the loss of a rule of the database."""
    return Enforcement(promise, name, change, tests)


THE_SLOT = (
    gate(1, "activation in the slot", " and slot.holds(now)", "", IN_TIME),
    Enforcement(
        1,
        "activation asks that it may",
        Edit(GATE, 'if not terms["may_activate"] or not found', "if not found"),
        (IN_TIME, OUTSIDE, STOPPED),
    ),
    gate(
        1,
        "staging not before it opens",
        "lot.staging_from <= now < slot.end_at",
        "now < slot.end_at",
        IN_TIME,
    ),
    gate(1, "staging asks that it may", " AND %(may_stage)s)", ")", IN_TIME, OUTSIDE, WHOLE_IMAGE),
    gate(1, "slot's end ends the tries", '    if terms["is_over"]:', "    if False:", SLOT_END),
    gate(1, "slot's end and no earlier", "now >= slot.end_at,", "True,", NOT_YET),
    gate(
        1,
        "slot's end is for what was not activated",
        "state IN ('provisional', 'booked', 'staging', 'staged', 'held')",
        "state IN ('provisional', 'booked', 'staging', 'held')",
        SLOT_END,
    ),
    gate(
        1,
        "no command outlives its slot",
        "min(slot.end_at, period_end) if in_period",
        "period_end if in_period",
        LAST_MOMENTS,
    ),
    gate(
        1,
        "activation not after its silence",
        'min(until, stops["clear_until"], silent_at)',
        'min(until, stops["clear_until"])',
        LAST_MOMENTS,
    ),
    Enforcement(
        1,
        "sender: not after its last moment",
        Edit(
            SENDER,
            " AND command.valid_until > %(now)s",
            "",
            also=(
                ("[command for command in commands if self._now < command.valid_until]", "list(commands)"),
            ),
        ),
        (UNTAKEN,),
    ),
    gate(
        1,
        "due and not before",
        "NOT awaiting AND next_at <= %(now)s\n      AND (   (",
        "NOT awaiting\n      AND (   (",
        IN_TIME,
    ),
    gate(1, "grace: only once it is over", " AND first_miss_at <= %(grace_began)s", "", GRACE),
    gate(
        1,
        "grace: ends the tries",
        "state = 'staged' AND first_miss_at <=",
        "state = 'booked' AND first_miss_at <=",
        GRACE,
    ),
    gate(
        1, "grace: of staged hubs", "AND state = 'staged' AND first_miss_at <=", "AND first_miss_at <=", GRACE
    ),
)
THE_PERIOD = (
    gate(
        2,
        "staging in the period",
        "published and in_period and image_whole",
        "published and image_whole",
        OUTSIDE,
    ),
    gate(
        2,
        "activation in the period",
        "published and in_period and slot.holds",
        "published and slot.holds",
        OUTSIDE,
    ),
    gate(
        2,
        "period of the network",
        " AND period.network_id = %(network)s\n",
        "\n",
        OUTSIDE,
    ),
    gate(2, "period of the release", "period.release_id = release.id AND ", "", OUTSIDE),
    gate(2, "period has begun", "period.start_at <= %(now)s AND ", "", OUTSIDE),
    gate(2, "period is not over", " AND period.end_at > %(now)s", "", OUTSIDE),
    gate(
        2,
        "no command outlives its period",
        "min(slot.end_at, period_end) if in_period",
        "slot.end_at if in_period",
        LAST_MOMENTS,
    ),
    edit(
        2,
        "booking in the period",
        SLOTS,
        "WHERE slot.start_at >= available.opens AND slot.end_at <= available.closes",
        "WHERE slot.start_at >= available.opens",
        "tests/scheduling/test_bookings.py::TestBookAsEarlyAsPossible::test_passes_over_slots_outside_the_period",
        f"{WHOLE_WAY}::TestABookingThatCannotBe",
    ),
)
THE_NIGHTS = (
    edit(
        3,
        "a local time that happens twice is refused",
        "portal/ground/uk_time.py",
        "if len(candidates) == 1:",
        "if candidates:",
        "tests/portal/test_uk_time.py::TestFromLocal",
    ),
    edit(
        3,
        "a local time that does not exist is refused",
        "portal/ground/uk_time.py",
        "        .replace(tzinfo=None)\n        == at",
        "        .replace(tzinfo=None)\n        != datetime.min",
        "tests/portal/test_uk_time.py::TestFromLocal",
    ),
    edit(
        3,
        "slots are stepped in real time",
        "scheduling/operations/slots.py",
        "    return opens, datetime.combine(day, pattern.ends, LONDON).astimezone(UTC)",
        "    return opens, opens + (datetime.combine(day, pattern.ends) - datetime.combine(day, pattern.starts))",
        NIGHTS,
        "tests/scheduling/test_slots.py::TestSpansOf",
    ),
)
THE_CLOCK = (
    edit(
        4,
        "the moment is the database's",
        "portal/ground/clock.py",
        "return moment.astimezone(UTC)",
        "return datetime.now(UTC)",
        f"{TIME}::TestAWorkerAnHourOff",
    ),
    edit(
        4,
        "no other clock is asked",
        "scheduling/tasks.py",
        "    notices.owe_deadlines(now=clock.now())",
        "    notices.owe_deadlines(now=__import__('django.utils').utils.timezone.now())",
        f"{TIME}::TestTheSources",
    ),
)
ONE_DEPLOYMENT = (
    rule(
        5,
        "one open deployment per hub",
        constraint(table="scheduling_deployment", name="deployment_one_open_per_hub"),
        "tests/scheduling/test_bookings.py::TestDatabase::test_refuses_a_second_open_deployment_of_a_hub",
        f"{RACES}::TestTwoBookingsOfOneHub::test_leave_one_winner_and_one_sentence",
    ),
    edit(
        5,
        "booking passes over hubs that have one",
        ELIGIBILITY,
        "WHEN deployment.id IS NOT NULL THEN {Refusal.OPEN_DEPLOYMENT}",
        "WHEN false THEN {Refusal.OPEN_DEPLOYMENT}",
        "tests/scheduling/test_bookings.py::TestRefusals::test_name_hubs_that_are_booked_already",
    ),
    rule(
        5,
        "one booking per selection",
        index(name="booking_one_per_selection"),
        f"{RACES}::TestTwoBookingsOfOneHub::test_of_one_selection_are_one_booking",
    ),
)
PLACES = (
    rule(
        6,
        "never over capacity",
        constraint(table="scheduling_slot", name="slot_never_over_capacity"),
        "tests/scheduling/test_bookings.py::TestDatabase::test_refuses_more_than_the_capacity",
    ),
    edit(
        6,
        "places only where there is room",
        PLACING,
        " AND slot.capacity >= slot.taken + change.hubs",
        "",
        "tests/scheduling/test_placing.py::TestMovePlaces",
    ),
    edit(
        6,
        "room is asked again under the locks",
        BOOKINGS,
        "if any(room.get(slot, 0) < hubs for slot, hubs in places.items()):",
        "if False:",
        f"{RACES}::TestAShare",
    ),
    edit(
        6,
        "a share and no more",
        SLOTS,
        "CASE WHEN slot.start_at > %(shared_after)s",
        "CASE WHEN false",
        "tests/scheduling/test_bookings.py::TestShares",
    ),
    edit(
        6,
        "the reserve is kept",
        SLOTS,
        "slot.capacity - kept.reserve - slot.taken",
        "slot.capacity - slot.taken",
        "tests/scheduling/test_bookings.py::TestShares",
    ),
    edit(
        6,
        "slots are locked in the order of their ids",
        PLACING,
        '.order_by("pk").select_for_update(no_key=True)',
        '.order_by("-pk").select_for_update(no_key=True)',
        "tests/scheduling/test_placing.py::TestLock",
    ),
)
FITTING = (
    edit(
        7,
        "booking: model",
        ELIGIBILITY,
        "WHEN hub.model_id <> ALL (%(models)s) THEN",
        "WHEN false THEN",
        f"{FACTS}::test_books_the_right_ones_and_no_other",
    ),
    edit(
        7,
        "booking: hardware",
        ELIGIBILITY,
        "hub.hardware_version NOT BETWEEN %(minimum_hardware)s AND %(maximum_hardware)s",
        "false",
        f"{FACTS}::test_books_the_right_ones_and_no_other",
    ),
    edit(
        7,
        "booking: network",
        ELIGIBILITY,
        "WHEN hub.network_id <> ALL (%(networks)s) THEN",
        "WHEN false THEN",
        "tests/scheduling/test_bookings.py::TestRefusals::test_name_hubs_on_a_network_without_a_period",
    ),
    edit(
        7,
        "booking: status",
        ELIGIBILITY,
        "WHEN hub.status <> ALL (%(bookable)s) THEN",
        "WHEN false THEN",
        "tests/scheduling/test_bookings.py::TestRefusals::test_name_the_status",
    ),
    gate(
        7,
        "Gate: model",
        "hub.model_id = ANY (%(models)s) AND ",
        "",
        ELIGIBLE,
    ),
    gate(7, "Gate: model that was booked", "AND hub.model_id = deployment.model_id ", "", ELIGIBLE),
    gate(
        7,
        "Gate: network",
        "AND hub.network_id = %(network)s",
        "",
        ELIGIBLE,
        f"{FACTS}::test_commands_the_right_ones_and_no_other",
    ),
    gate(
        7,
        "Gate: hardware not too old",
        "hub.hardware_version BETWEEN %(minimum_hardware)s AND %(maximum_hardware)s",
        "hub.hardware_version <= %(maximum_hardware)s",
        ELIGIBLE,
    ),
    gate(
        7,
        "Gate: hardware not too new",
        "hub.hardware_version BETWEEN %(minimum_hardware)s AND %(maximum_hardware)s",
        "hub.hardware_version >= %(minimum_hardware)s",
        ELIGIBLE,
    ),
    gate(7, "Gate: status", "\n    AND hub.status = ANY (%(bookable)s)", "", ELIGIBLE),
    gate(
        7,
        "Gate: asks at all",
        "AND NOT ({STILL_ELIGIBLE} AND {ASKED_WHOM_IT_CONCERNS})",
        "AND false",
        ELIGIBLE,
    ),
    gate(
        7,
        "Gate: asks whether still eligible",
        "AND NOT ({STILL_ELIGIBLE} AND {ASKED",
        "AND NOT ({ASKED",
        ELIGIBLE,
    ),
    gate(
        7,
        "Gate: of every state before activation",
        "deployment.state IN ('booked', 'staging', 'staged') AND NOT",
        "deployment.state IN ('booked', 'staging') AND NOT",
        ELIGIBLE,
    ),
    gate(
        7,
        "Gate: of no other state",
        "  AND deployment.state IN ('booked', 'staging', 'staged') AND NOT deployment.awaiting",
        "  AND NOT deployment.awaiting",
        ELIGIBLE,
    ),
    gate(
        7,
        "Gate: when it is due",
        "\n  AND deployment.next_at <= %(now)s AND NOT (",
        "\n  AND NOT (",
        ELIGIBLE,
    ),
    gate(
        7,
        "Gate: of the hub itself",
        " AND hub.chf_id = deployment.hub_id\n  AND deployment.state",
        "\n  AND deployment.state",
        f"{FACTS}::test_commands_the_right_ones_and_no_other",
    ),
    gate(
        7,
        "Gate: why it ended",
        "CASE WHEN {STILL_ELIGIBLE} THEN %(no_consent)s ELSE %(not_eligible)s END",
        "%(not_eligible)s",
        ELIGIBLE,
    ),
    gate(
        7, "Gate: gives its place back", "placing.free_places(places={lot.slot_id: gone})", "pass", ELIGIBLE
    ),
)
FORWARD = (
    edit(
        8,
        "booking: the version is a predecessor",
        ELIGIBILITY,
        "WHEN hub.installed_version_id <> ALL (%(versions)s) THEN",
        "WHEN false THEN",
        VERSIONS,
    ),
    edit(
        8,
        "booking: the version is not installed",
        ELIGIBILITY,
        "WHEN hub.installed_version_id = %(version)s THEN",
        "WHEN false THEN",
        "tests/scheduling/test_bookings.py::TestRefusals",
    ),
    edit(
        8,
        "the version that is read is a predecessor",
        REACTIONS,
        "    if not _leads_to(target, version, predecessors):\n",
        "    if False:\n",
        VERSIONS,
    ),
    edit(
        8,
        "older versions only, where any will do",
        REACTIONS,
        "0 <= version < target if predecessors",
        "0 <= version if predecessors",
        VERSIONS,
    ),
    edit(
        8,
        "a version that runs already is left",
        REACTIONS,
        "        return _ended(State.CANCELLED, Phase.READ, Ending.ALREADY_INSTALLED)",
        "        pass",
        f"{DEPLOYMENTS}::TestTheWholeWay",
    ),
    edit(
        8,
        "the version is read before staging",
        PLACING,
        "'', {Phase.READ:d}, 0, 0, false,",
        "'', {Phase.STAGE:d}, 0, 0, false,",
        VERSIONS,
    ),
    edit(
        8,
        "an answer without a version is none",
        REACTIONS,
        (
            "    if outcome is not Outcome.DONE or version is None:\n"
            "        return Reaction(State.STAGING, Phase.READ"
        ),
        "    if outcome is not Outcome.DONE:\n        return Reaction(State.STAGING, Phase.READ",
        "tests/scheduling/test_reactions.py::TestReadBeforeStaging",
    ),
    gate(
        8,
        "what was held is read anew",
        "phase = %(read)s, tries = 0, first_miss_at = NULL",
        "tries = 0, first_miss_at = NULL",
        UNHOLDS,
        IN_TIME,
    ),
)
THE_BYTES = (
    edit(
        9,
        "the hash is compared",
        STORED,
        "if found != digest:",
        "if False:",
        "tests/firmware/test_releases.py::TestVerifyStoredImage",
        HASHED,
    ),
    edit(
        9,
        "a file that is gone is no image",
        STORED,
        "    except OSError as error:\n        is_gone",
        "    except OSError as error:\n        return\n        is_gone",
        HASHED,
    ),
    edit(
        9,
        "hashed again before staging",
        WORK,
        "    try:\n        stored_images.verify_stored_image(release=lot.release)",
        "    try:\n        pass",
        HASHED,
    ),
    gate(
        9,
        "nothing staged of a changed image",
        "in_period and image_whole and lot",
        "in_period and lot",
        WHOLE_IMAGE,
    ),
    edit(
        9,
        "a changed image halts its release",
        WORK,
        "if FirmwareRelease.objects.filter(pk=lot.release_id, state=ReleaseState.PUBLISHED).exists():",
        "if False:",
        HASHED,
    ),
    edit(
        9,
        "hashed again at publishing",
        DECISIONS,
        (
            "        stored_images.verify_stored_image(release=locked)\n"
            "    except stored_images.ImageUnusable as error:\n"
            "        raise UnableToPublish"
        ),
        "        pass\n    except stored_images.ImageChanged as error:\n        raise UnableToPublish",
        f"{DECIDED}::TestPublish::test_refuses_when_the_stored_file_was_swapped",
    ),
    edit(
        9,
        "hashed again at resuming",
        DECISIONS,
        (
            "        stored_images.verify_stored_image(release=locked)\n"
            "    except stored_images.ImageUnusable as error:\n"
            "        raise UnableToResume"
        ),
        "        pass\n    except stored_images.ImageChanged as error:\n        raise UnableToResume",
        f"{DECIDED}::TestResume::test_refuses_a_swapped_file",
    ),
    edit(
        9,
        "compared with what was typed",
        RELEASES,
        "    if faults:\n        raise UnableToUpload(faults)",
        "    if False:\n        raise UnableToUpload(faults)",
        "tests/firmware/test_releases.py::TestUpload",
    ),
    edit(
        9,
        "the digest in each command",
        LEAVING,
        "(release.digest, release.version.number)",
        '("0" * 64, release.version.number)',
        f"{BYTES}::test_are_named_in_every_command_that_is_about_them",
    ),
    edit(
        9,
        "the version in each command",
        LEAVING,
        "(release.digest, release.version.number)",
        "(release.digest, 1)",
        f"{BYTES}::test_are_named_in_every_command_that_is_about_them",
    ),
    rule(
        9,
        "what was submitted is frozen",
        Rewrite("firmware_release_changed", "IF OLD.state <> 'draft' THEN", "IF false THEN"),
        f"{CONSTRAINTS}::test_freeze_what_was_submitted",
    ),
)
TWO_PEOPLE = (
    rule(
        10,
        "sign-off by another person",
        constraint(table="firmware_signoff", name="sign_off_by_another_person"),
        f"{CONSTRAINTS}::test_keep_a_sign_off_from_author_and_submitter",
    ),
    edit(
        10,
        "nobody who took part signs off",
        DECISIONS,
        "    if by.pk in queries.contributors(release=locked):",
        "    if False:",
        f"{DECIDED}::TestSignOff",
    ),
    edit(
        10,
        "signed as it was read",
        DECISIONS,
        "    if (locked.revision, locked.digest) != (revision, digest):",
        "    if False:",
        f"{DECIDED}::TestSignOff::test_refuses_what_was_changed_since_it_was_read",
    ),
    edit(
        10,
        "signed off by whoever may",
        DECISIONS,
        "    if not by.has_perm(SIGN_OFF):",
        "    if False:",
        f"{DECIDED}::TestSignOff",
    ),
    edit(
        10,
        "published only when signed off",
        DECISIONS,
        "    if not queries.standing_sign_off(release=locked, act=SignedAct.PUBLISH):",
        "    if False:",
        f"{DECIDED}::TestPublish::test_needs_a_sign_off",
    ),
    Enforcement(
        10,
        "resumed only when signed off",
        Edit(
            DECISIONS,
            "signed = queries.standing_sign_off(release=locked, act=SignedAct.RESUME, halt=standing)",
            'signed = SignOff.objects.filter(release=locked).latest("id")',
            also=(("if signed is None or signed.signed_at < standing.halted_at:", "if signed is None:"),),
        ),
        (f"{DECIDED}::TestResume::test_needs_a_sign_off_of_this_halt",),
    ),
    edit(
        10,
        "resumed with all reasons known",
        DECISIONS,
        "    if not agreed.update(voided_at=now) and is_known:",
        "    if is_known:",
        f"{DECIDED}::TestHaltOfAPart::test_stands_once_with_the_reasons_of_all_who_halt_it",
        f"{DECIDED}::TestResumeWithoutAPart::test_voids_what_was_agreed_of_those_parts_before",
    ),
    edit(
        10,
        "nothing is resumed of what has ended",
        DECISIONS,
        "    if locked.state not in OPEN_TO_SUPPLIERS:\n        return None\n",
        "",
        f"{DECIDED}::TestHaltOfAPart::test_is_not_lifted_once_the_release_was_withdrawn",
    ),
    edit(
        10,
        "resumed by another than who signed",
        DECISIONS,
        "    if signed.signed_by_id == by.pk:",
        "    if False:",
        f"{DECIDED}::TestResume",
    ),
    edit(
        10,
        "an edit voids the sign-off",
        RELEASES,
        "    voided = SignOff.objects.filter(release=locked, voided_at=None).update(voided_at=now)",
        "    voided = 0",
        "tests/firmware/test_releases.py::TestChange",
    ),
    edit(
        10,
        "edit and decision one after the other",
        DECISIONS,
        'FirmwareRelease.objects.select_for_update(no_key=True, of=("self",))\n        .select_related',
        "FirmwareRelease.objects\n        .select_related",
        f"{DECIDED}::TestRaces::test_let_no_decision_be_made_on_what_an_edit_is_changing",
    ),
    rule(
        10,
        "a sign-off is of the release as it is",
        trigger(table="firmware_signoff", name="sign_off_written"),
        f"{CONSTRAINTS}::test_keep_a_sign_off_from_naming_anything_but_the_release_as_it_is",
        f"{CONSTRAINTS}::test_let_a_sign_off_only_be_voided_once",
    ),
    rule(
        10,
        "one standing sign-off per act",
        index(name="sign_off_one_standing_per_act"),
        f"{CONSTRAINTS}::test_leave_one_standing_sign_off_per_act",
    ),
    rule(
        10,
        "a change has a new revision",
        Rewrite("firmware_release_changed", "IF NEW.revision <= OLD.revision THEN", "IF false THEN"),
        f"{CONSTRAINTS}::test_hold_for_a_draft",
    ),
)
THE_HALT = (
    edit(
        11,
        "the Gate shares the release's lock",
        CLAIMS,
        "statements=[MINE, locks.ADMIT_SHARED]",
        'statements=[MINE, "SELECT"]',
        WAITING,
    ),
    edit(
        11,
        "the halt takes the lock alone",
        DECISIONS,
        (
            '        raise UnableToHalt("Say in a few words why: the Suppliers will read it.")\n'
            "    locks.take_exclusive(release_id=release.pk)"
        ),
        '        raise UnableToHalt("Say in a few words why: the Suppliers will read it.")',
        WAITING,
    ),
    edit(
        11,
        "the lock of the halt excludes",
        LOCKS,
        "SELECT pg_advisory_xact_lock(%s",
        "SELECT pg_advisory_xact_lock_shared(%s",
        WAITING,
    ),
    edit(
        11,
        "the lot first, then the lock",
        CLAIMS,
        "(mine, _), now = several_then_now(clock=clock, statements=[MINE, locks.ADMIT_SHARED]",
        "(_, mine), now = several_then_now(clock=clock, statements=[locks.ADMIT_SHARED, MINE]",
        f"{RACES}::TestAHalt",
    ),
    Enforcement(
        11,
        "staging of what is published, whether or not the others are held",
        Edit(
            GATE,
            '"may_stage": published and ',
            '"may_stage": ',
            also=(("        sql.run(HOLD, terms)\n", "        pass\n"),),
        ),
        (STOPPED,),
    ),
    Enforcement(
        11,
        "activation of what is published, whether or not the others are held",
        Edit(
            GATE,
            '"may_activate": published and ',
            '"may_activate": ',
            also=(("        sql.run(HOLD, terms)\n", "        pass\n"),),
        ),
        (STOPPED,),
    ),
    gate(
        11,
        "nothing is read during a halt",
        '"may_verify": state != ReleaseState.HALTED',
        '"may_verify": True',
        STOPPED,
    ),
    gate(
        11,
        "reading asks that it may",
        "state = 'activating' AND %(may_verify)s)",
        "state = 'activating')",
        STOPPED,
    ),
    gate(
        11,
        "what waits is held",
        '(terms["published"] and terms["part_halted"]):\n        sql.run(HOLD, terms)',
        '(terms["published"] and terms["part_halted"]):\n        pass',
        HOLDS,
    ),
    gate(
        11,
        "hold: of what is not on its way",
        "'staged') OR (state = 'staging' AND NOT awaiting))",
        "'staged', 'staging'))",
        HOLDS,
    ),
    gate(11, "hold: of staging too", " OR (state = 'staging' AND NOT awaiting))", ")", HOLDS),
    gate(
        11,
        "hold: of what is staging alone",
        "OR (state = 'staging' AND NOT awaiting))",
        "OR NOT awaiting)",
        HOLDS,
    ),
    gate(
        11,
        "hold: of these states",
        "(state IN ('provisional', 'booked', 'staged') OR",
        "(state IN ('provisional', 'booked') OR",
        HOLDS,
    ),
    gate(
        11,
        "hold ends with the halt",
        '    if terms["published"]:\n        sql.run(UNHOLD, terms)\n    elif not',
        "    if False:\n        sql.run(UNHOLD, terms)\n    elif not",
        UNHOLDS,
        IN_TIME,
    ),
    gate(
        11,
        "hold's end is for what is held",
        "{OURS} AND state = 'held' AND NOT",
        "{OURS} AND state IN ('held', 'booked') AND NOT",
        UNHOLDS,
    ),
    edit(
        11,
        "the sender asks for a halt",
        SENDER,
        '    if terms["halted"]:\n        return Leaving((), now, stops, is_whole=False)\n',
        "",
        UNTAKEN,
        WAITING,
    ),
    edit(
        11,
        "the sender asks for a withdrawal",
        SENDER,
        "(%(published)s AND NOT {IN_HALTED_PART})",
        "NOT {IN_HALTED_PART}",
        UNTAKEN,
    ),
    edit(
        11,
        "the sender reads back after a withdrawal",
        SENDER,
        "(command.phase = %(verify)s OR (%(published)s AND NOT {IN_HALTED_PART}))",
        "(%(published)s AND NOT {IN_HALTED_PART})",
        UNTAKEN,
    ),
    edit(
        11,
        "the sender asks anew for the state",
        SENDER,
        "    parts = Parts(*found)\n",
        "    parts = Parts(*found)\n    state = lot.release.state\n",
        f"{KEEPS}::test_also_what_was_claimed_before_the_stop",
    ),
    edit(11, "kept back: what a halt keeps", SENDER, "AND (%(halted)s OR (NOT", "AND ((NOT", KEPT),
    edit(
        11,
        "kept back: what a withdrawal keeps",
        SENDER,
        "(%(halted)s OR (NOT %(published)s AND command.phase <> %(verify)s)",
        "(%(halted)s",
        KEPT,
    ),
    edit(
        11,
        "kept back: not the reading back",
        SENDER,
        "(NOT %(published)s AND command.phase <> %(verify)s)\n       OR",
        "(NOT %(published)s)\n       OR",
        KEPT,
    ),
    edit(
        11,
        "kept back: what never left",
        SENDER,
        "AND command.attempt = deployment.attempt AND command.sent_at IS NULL\n",
        "AND command.attempt = deployment.attempt\n",
        KEPT,
    ),
    edit(
        11,
        "kept back: what is awaited",
        SENDER,
        "{OURS} AND deployment.awaiting AND deployment.next_at > %(now)s",
        "{OURS} AND deployment.next_at > %(now)s",
        KEPT,
    ),
    edit(
        11,
        "kept back: no later than it was due",
        SENDER,
        " AND deployment.next_at > %(now)s\n",
        "\n",
        NO_LATER,
    ),
    edit(
        11,
        "kept back: of the same phase",
        SENDER,
        (
            "command.deployment_id = deployment.id AND command.phase = deployment.phase\n"
            "  AND command.attempt = deployment.attempt AND command.sent_at"
        ),
        (
            "command.deployment_id = deployment.id\n"
            "  AND command.attempt = deployment.attempt AND command.sent_at"
        ),
        KEPT_AWAITED,
    ),
    edit(
        11,
        "kept back: of the same attempt",
        SENDER,
        "  AND command.attempt = deployment.attempt AND command.sent_at IS NULL",
        "  AND command.sent_at IS NULL",
        KEPT_AWAITED,
    ),
    edit(
        11,
        "kept back: of the same hub",
        SENDER,
        (
            "  AND command.deployment_id = deployment.id AND command.phase = deployment.phase\n"
            "  AND command.attempt = deployment.attempt AND command.sent_at"
        ),
        (
            "  AND command.phase = deployment.phase\n"
            "  AND command.attempt = deployment.attempt AND command.sent_at"
        ),
        KEPT,
    ),
    gate(
        11,
        "recall: what a halt overtook",
        "command.valid_until <= %(now)s OR %(halted)s\n",
        "command.valid_until <= %(now)s\n",
        RECALLED,
    ),
    gate(
        11,
        "recall: what a withdrawal overtook",
        "\n                   OR (NOT %(published)s AND command.phase <> %(verify)s))))",
        "))))".replace("))))", ")))"),
        RECALLED,
    ),
    gate(
        11,
        "recall: not the reading back",
        "OR (NOT %(published)s AND command.phase <> %(verify)s)",
        "OR NOT %(published)s",
        RECALLED,
    ),
    gate(11, "recall: what never left", "OR (command.sent_at IS NULL AND (\n", "OR ((\n", RECALLED),
    edit(
        11,
        "lots are woken when a release stops",
        WORK,
        "WHEN release.state = 'halted' THEN lot.provisional + lot.booked + lot.staged > 0",
        "WHEN release.state = 'halted' THEN false",
        f"{DEPLOYMENTS}::TestTheGate::test_takes_held_hubs_up_again_after_the_halt",
    ),
    gate(
        11,
        "a halted part is held",
        "WHERE {OURS} AND (%(halted)s OR {IN_HALTED_PART})\n",
        "WHERE {OURS} AND %(halted)s\n",
        f"{HALTED_PARTS}::TestTheGate::test_holds_the_part_and_admits_the_rest",
    ),
    gate(
        11,
        "a halted part stays held",
        "AND state = 'held' AND NOT {IN_HALTED_PART}\n",
        "AND state = 'held'\n",
        f"{HALTED_PARTS}::TestTheGate::test_holds_the_part_and_admits_the_rest",
    ),
    gate(
        11,
        "recall: of a halted part",
        "                   OR (command.phase <> %(verify)s AND {IN_HALTED_PART})\n",
        "",
        f"{HALTED_PARTS}::TestTheGate::test_takes_back_what_has_not_left",
    ),
    gate(
        11,
        "hold: all of a halted release",
        "WHERE {OURS} AND (%(halted)s OR {IN_HALTED_PART})\n",
        "WHERE {OURS} AND {IN_HALTED_PART}\n",
        HOLDS,
    ),
    edit(
        11,
        "kept back: what the halt of a part keeps",
        SENDER,
        "       OR (command.phase <> %(verify)s AND {IN_HALTED_PART})\n",
        "",
        f"{HALTED_PARTS}::TestTheSender::test_hands_over_nothing_of_the_part_that_another_had_admitted",
    ),
    edit(
        11,
        "nothing is stamped of a halted part",
        SENDER,
        "(%(published)s AND NOT {IN_HALTED_PART})",
        "%(published)s",
        f"{HALTED_PARTS}::TestTheSender::test_hands_over_nothing_of_the_part_that_another_had_admitted",
    ),
    edit(
        11,
        "halts of parts are asked between two handfuls",
        SENDER,
        "                            WHERE halt.release_id = release.id AND halt.lifted_at IS NULL ORDER BY halt.id)\n",
        "                            WHERE false)\n",
        f"{HALTED_PARTS}::TestTheSender::test_stops_between_two_handfuls_when_a_part_is_halted",
    ),
    *(
        edit(
            11,
            f"a halted {kind} is found",
            HALTED,
            old,
            new,
            f"{HALTED_PARTS}::TestTheGate::test_holds_the_part_and_admits_the_rest",
        )
        for kind, old, new in (
            ("network", "AND halt.network_id = %(network)s),", "AND false),"),
            ("hub model", "AND halt.model_id IS NOT NULL),", "AND false),"),
            ("version", "AND halt.installed_version_id IS NOT NULL)", "AND false)"),
        )
    ),
    edit(
        11,
        "halted is also what a hub's model was corrected to",
        HALTED,
        "               OR hub.model_id = ANY (%(models_halted)s::bigint[])",
        "               OR false",
        f"{HALTED_PARTS}::TestTheGate::test_holds_the_part_and_admits_the_rest",
    ),
    edit(
        11,
        "halted is what a hub was booked as",
        HALTED,
        "OR deployment.model_id = ANY (%(models_halted)s::bigint[])",
        "",
        f"{HALTED_PARTS}::TestTheGate::test_holds_also_what_was_booked_as_of_the_part",
    ),
    rule(
        11,
        "one standing halt",
        index(name="halt_one_standing_per_part"),
        f"{CONSTRAINTS}::test_leave_one_standing_halt_of_a_release",
    ),
)
NOTHING_BUT_THE_DATABASE = (
    edit(
        12,
        "no Redis on the path of a halt",
        DECISIONS,
        "    standing = Halt.objects.create(\n",
        (
            "    address = __import__('django.conf').conf.settings.REDIS_ADDRESS\n"
            "    __import__('redis').Redis.from_url(address).set('halted', 1)\n"
            "    standing = Halt.objects.create(\n"
        ),
        f"{HALTS}::TestWithoutRedisAndMail",
    ),
    edit(
        12,
        "no mail server on the path of a halt",
        DECISIONS,
        "    standing = Halt.objects.create(\n",
        (
            "    __import__('django.core.mail').core.mail.mail_managers('Halted', reason)\n"
            "    by.email_user('Halted', reason) if by else None\n"
            "    standing = Halt.objects.create(\n"
        ),
        f"{HALTS}::TestWithoutRedisAndMail",
    ),
)

STAGES = "tests/scheduling/test_stages.py::TestTheDatabase"
RESUMPTION = "tests/scheduling/test_early_warning.py::TestAResumption"
BUDGETS = (
    rule(
        13,
        "in flight within the budget",
        constraint(table="scheduling_inflight", name="in_flight_within_budget"),
        f"{STAGES}::test_refuses_more_in_flight_than_the_budget",
    ),
    rule(
        13,
        "a stage never over its size",
        constraint(table="scheduling_stage", name="stage_never_over_its_size"),
        f"{STAGES}::test_refuses_more_than_the_stage_takes",
    ),
    rule(
        13,
        "one open stage per model",
        index(name="stage_one_open_per_model"),
        f"{STAGES}::test_refuses_two_open_stages_of_a_model",
    ),
    edit(
        13,
        "no larger stage on the word of nobody",
        "scheduling/operations/stages.py",
        "(stage.cut_at IS NULL AND NOT {HARDLY_JUDGED})::int",
        "(stage.cut_at IS NULL)::int",
        "tests/scheduling/test_stages.py::TestAdvance::"
        "test_tries_the_same_size_again_where_hardly_anybody_could_be_judged",
    ),
    edit(
        13,
        "none but chosen hubs in a first stage that tries again",
        "scheduling/operations/stages.py",
        "return stage.chosen_at is not None or tries_again",
        "return stage.chosen_at is not None",
        "tests/scheduling/test_first_hubs.py::TestChoose::"
        "test_lets_nobody_into_a_first_stage_that_tries_again_before_its_hubs_are_chosen",
    ),
    rule(
        13,
        "nothing in flight without a budget",
        Rewrite(
            "scheduling_deployment_moved",
            (
                "count(*) FROM moved) INTO wanted, present;\n"
                "    IF wanted <> present THEN\n"
                "        RAISE EXCEPTION 'a release"
            ),
            (
                "count(*) FROM moved) INTO wanted, present;\n"
                "    IF false THEN\n"
                "        RAISE EXCEPTION 'a release"
            ),
        ),
        f"{STAGES}::test_refuses_what_has_no_budget",
    ),
    rule(
        13,
        "nothing in a stage that is not there",
        Rewrite(
            "scheduling_deployment_moved",
            "IF wanted <> present THEN\n        RAISE EXCEPTION 'hubs were",
            "IF false THEN\n        RAISE EXCEPTION 'hubs were",
        ),
        f"{STAGES}::test_refuses_a_stage_that_is_not_there",
    ),
    rule(
        13,
        "a stage is closed when all are resolved",
        constraint(table="scheduling_stage", name="stage_closed_when_all_resolved"),
        f"{STAGES}::test_refuses_stages_that_cannot_be",
    ),
    edit(
        13,
        "no next stage during a halt",
        "scheduling/operations/stages.py",
        "\n  AND release.state = 'published' AND NOT {MODEL_HALTED}\n",
        "\n  AND NOT {MODEL_HALTED}\n",
        "tests/scheduling/test_stages.py::TestAdvance::test_leaves_the_stages_of_a_halted_release",
    ),
    edit(
        13,
        "nobody in a stage of before a resumption",
        "scheduling/operations/stages.py",
        "stage.closed_at IS NULL AND NOT {RESUMED_SINCE}",
        "stage.closed_at IS NULL",
        f"{RESUMPTION}::test_admits_nobody_before_the_stage_is_cut_off",
    ),
    edit(
        13,
        "no next stage for a release that has to stop",
        "scheduling/operations/stages.py",
        " if release not in stopping]",
        "]",
        "tests/scheduling/test_early_warning.py::TestTheEndOfATranche",
    ),
)
ONCE = (
    rule(
        14,
        "one command per key",
        constraint(table="scheduling_command", name="scheduling_command_pkey"),
        "tests/scheduling/test_reports.py::TestTheKeyOfACommand",
    ),
    edit(14, "answer: the first alone", REPORTS, " AND command.answered_at IS NULL", "", FIRST_ANSWER),
    edit(
        14,
        "answer: to this deployment",
        REPORTS,
        "WHERE command.deployment_id = report.deployment_id\n      AND command.phase =",
        "WHERE command.phase =",
        AS_COMMANDED,
    ),
    edit(
        14,
        "answer: to this phase",
        REPORTS,
        "\n      AND command.phase = (%(phases)s::smallint[])[report.kind]\n",
        "\n",
        AS_COMMANDED,
    ),
    edit(
        14,
        "answer: to this attempt",
        REPORTS,
        "  AND command.attempt = report.attempt AND command.answered_at",
        "  AND command.answered_at",
        AS_COMMANDED,
    ),
    edit(
        14,
        "answer: of the deployment's hub",
        REPORTS,
        "AND asked.id = report.deployment_id AND asked.hub_id = report.hub\n    RETURNING",
        "AND asked.id = report.deployment_id\n    RETURNING",
        AS_COMMANDED,
    ),
    edit(14, "a deployment moves while it awaits", REPORTS, " AND deployment.awaiting\n", "\n", THAT_ANSWER),
    edit(14, "a stray is kept once", REPORTS, "\nON CONFLICT DO NOTHING\n", "\n", STRAY_ONCE),
    edit(14, "of two that came together the first", REPORTS, "reversed(reports)", "reports", TOGETHER),
    gate(14, "a command is numbered anew", "attempt = attempt + 1,", "attempt = attempt + 2,", ONE_MORE_TRY),
    gate(
        14,
        "what is told is awaited",
        "tries = tries + 1, awaiting = true,",
        "tries = tries + 1,",
        ONE_MORE_TRY,
    ),
    gate(14, "a try is counted", "tries = tries + 1, awaiting", "awaiting", ONE_MORE_TRY),
    gate(
        14,
        "answered by its deadline",
        "next_at = %(answer_by)s, moved_at = %(now)s\n    WHERE",
        "moved_at = %(now)s\n    WHERE",
        ONE_MORE_TRY,
    ),
)
LEDGER = (
    rule(
        15,
        "a lot's counts add up",
        constraint(table="scheduling_lot", name="lot_counts_add_up"),
        "tests/scheduling/test_constraints.py::TestALot",
    ),
    rule(
        15,
        "a lot's counts follow every move",
        Rewrite(
            "scheduling_deployment_moved",
            "WHERE lot.id = ANY (lots) AND lot.id = change.lot_id;",
            "WHERE false;",
        ),
        f"{DATABASE}::test_keeps_the_counts_of_lots_through_every_move",
    ),
    rule(
        15,
        "open with a moment to look, or ended",
        constraint(table="scheduling_deployment", name="deployment_open_or_ended"),
        "tests/scheduling/test_constraints.py::TestADeployment",
    ),
    rule(
        15,
        "awaited only after a command",
        constraint(table="scheduling_deployment", name="deployment_awaits_only_after_a_command"),
        "tests/scheduling/test_constraints.py::TestADeployment",
    ),
    rule(
        15,
        "answered with an outcome",
        constraint(table="scheduling_command", name="command_answered_at_with_outcome"),
        "tests/scheduling/test_constraints.py::TestACommand",
    ),
    rule(
        15,
        "a receipt only when sent",
        constraint(table="scheduling_command", name="command_receipt_only_when_sent"),
        "tests/scheduling/test_constraints.py::TestACommand",
    ),
    rule(
        15,
        "deployments are kept",
        trigger(table="scheduling_deployment", name="deployment_is_kept"),
        "tests/scheduling/test_counters.py::TestTheDatabase::test_keeps_every_deployment",
    ),
    rule(
        15,
        "a deployment begins in a lot, at its beginning",
        trigger(table="scheduling_deployment", name="deployment_begins"),
        "tests/scheduling/test_counters.py::TestTheDatabase::test_lets_a_deployment_begin_at_its_beginning_alone",
    ),
    rule(
        15,
        "a deployment stays its hub's",
        trigger(table="scheduling_deployment", name="deployment_is_of_one_hub"),
        "tests/scheduling/test_counters.py::TestTheDatabase::test_keeps_each_in_its_lot_for_its_hub",
    ),
    edit(
        15,
        "a booking that died gives its places back",
        BOOKINGS,
        "    placing.free_places(places=places)\n    booking.lots.all().delete()",
        "    booking.lots.all().delete()",
        "tests/scheduling/test_bookings.py::TestGiveBackAbandoned",
    ),
    edit(
        15,
        "a hub that needs nothing gives its place back",
        REPORTS,
        "placing.free_places(places=+freed)",
        "pass",
        f"{A_DEPLOYMENT}::test_of_a_hub_that_needs_nothing_gives_its_place_back",
    ),
    edit(
        15,
        "an answer makes its lot due",
        REPORTS,
        "    THEN least(lot.due_at, ",
        "    THEN greatest(lot.due_at, ",
        f"{A_DEPLOYMENT}::test_makes_its_lot_due_no_later_than_itself",
    ),
    gate(
        15,
        "recall: what was refused as too late",
        "(command.verdict = %(refused_late)s\n           OR (command.phase",
        "(false\n           OR (command.phase",
        RECALLED,
    ),
    gate(
        15,
        "recall: a read that nobody took",
        "OR (command.phase = %(verify)s AND command.valid_until <= %(now)s AND {NOT_RECEIVED})\n",
        "\n",
        RECALLED,
    ),
    gate(
        15,
        "recall: not a read that was taken",
        "command.valid_until <= %(now)s AND {NOT_RECEIVED})",
        "command.valid_until <= %(now)s)",
        RECALLED,
    ),
    gate(
        15,
        "recall: reads alone without a receipt",
        "OR (command.phase = %(verify)s AND command.valid_until <= %(now)s AND {NOT_RECEIVED}",
        "OR (command.valid_until <= %(now)s AND {NOT_RECEIVED}",
        RECALLED,
    ),
    gate(
        15,
        "recall: no read that may still be taken",
        "command.phase = %(verify)s AND command.valid_until <= %(now)s AND",
        "command.phase = %(verify)s AND",
        RECALLED,
    ),
    gate(
        15,
        "recall: what came to its last moment unsent",
        "command.valid_until <= %(now)s OR %(halted)s",
        "%(halted)s",
        RECALLED,
    ),
    gate(
        15,
        "recall: what is awaited",
        " AND deployment.awaiting\n      AND command.deployment_id",
        "\n      AND command.deployment_id",
        RECALLED,
    ),
    gate(
        15,
        "recall: of the same hub",
        (
            "AND command.deployment_id = deployment.id AND command.phase = deployment.phase\n"
            "      AND command.attempt = deployment.attempt AND command.answered_at"
        ),
        (
            "AND command.phase = deployment.phase\n"
            "      AND command.attempt = deployment.attempt AND command.answered_at"
        ),
        RECALLED,
    ),
    gate(
        15,
        "recall: of the same phase",
        (
            "deployment.id AND command.phase = deployment.phase\n"
            "      AND command.attempt = deployment.attempt AND command.answered_at"
        ),
        "deployment.id\n      AND command.attempt = deployment.attempt AND command.answered_at",
        EARLIER,
    ),
    gate(
        15,
        "recall: of the same attempt",
        "\n      AND command.attempt = deployment.attempt AND command.answered_at",
        "\n      AND command.answered_at",
        EARLIER,
    ),
    gate(
        15,
        "recall: what is not answered",
        (
            "      AND command.attempt = deployment.attempt AND command.answered_at IS NULL\n"
            "      AND (command.verdict"
        ),
        "      AND command.attempt = deployment.attempt\n      AND (command.verdict",
        RECALLED,
    ),
    gate(
        15,
        "recall: an activation is undone",
        (
            "state = CASE WHEN recalled.phase = %(activate)s THEN 'staged' ELSE deployment.state END,\n"
            "    awaiting"
        ),
        "awaiting",
        RECALLED,
    ),
    gate(15, "recall: its try does not count", "tries = deployment.tries - 1, next_at", "next_at", RECALLED),
    gate(
        15,
        "slot's end: says that a halt was to blame",
        "        WHEN state = 'held' OR %(halted)s OR {IN_HALTED_PART} THEN %(by_halt)s\n",
        "",
        SLOT_END,
    ),
    gate(
        15,
        "slot's end: says that the halt of a part was to blame",
        "OR %(halted)s OR {IN_HALTED_PART} THEN",
        "OR %(halted)s THEN",
        f"{HALTED_PARTS}::TestTheGate::test_says_of_the_part_that_its_slot_passed_in_the_halt",
    ),
    gate(
        15,
        "slot's end: says that nobody agreed",
        "        WHEN state = 'provisional' THEN %(no_consent)s\n",
        "",
        SLOT_END,
    ),
    gate(
        15,
        "slot's end: says that nobody was there",
        "        WHEN first_miss_at IS NOT NULL THEN %(unreachable)s\n",
        "",
        SLOT_END,
    ),
    gate(
        15,
        "slot's end: says that it was not staged",
        "        WHEN state = 'staging' THEN %(not_staged)s\n",
        "",
        SLOT_END,
    ),
    gate(
        15,
        "slot's end: says that the network was closed",
        "        WHEN state = 'staged' AND %(closed_slot)s THEN %(network_closed)s\n",
        "",
        WINDOWS_GATE,
    ),
    gate(
        15,
        "slot's end: says that the hub was protected",
        "        WHEN state = 'staged' AND {PROTECTED.format(when=\"slot\")} THEN %(protected_window)s\n",
        "",
        WINDOWS_GATE,
    ),
)
SILENT = (
    gate(
        16,
        "silence only after the deadline",
        " AND awaiting AND next_at <= %(now)s\n",
        " AND awaiting\n",
        DEADLINE,
    ),
    gate(
        16,
        "silence only of who was asked",
        " AND awaiting AND next_at <= %(now)s\n",
        " AND next_at <= %(now)s\n",
        NOT_ASKED,
    ),
    gate(
        16,
        "silence leads to a read",
        "    phase = CASE WHEN phase = %(activate)s THEN %(verify)s ELSE phase END,\n",
        "",
        SILENCE,
    ),
    Enforcement(
        16,
        "silence leads to no second activation",
        Edit(
            GATE,
            "    phase = CASE WHEN phase = %(activate)s THEN %(verify)s ELSE phase END,\n",
            "",
            also=(
                (
                    "    state = CASE WHEN phase = %(verify)s AND tries",
                    "    state = CASE WHEN phase = %(activate)s THEN 'staged' WHEN phase = %(verify)s AND tries",
                ),
            ),
        ),
        (SILENCE,),
    ),
    gate(
        16,
        "the reads of an activation are counted anew",
        "    tries = CASE WHEN phase = %(activate)s THEN 0 ELSE tries END,\n",
        "",
        SILENCE,
    ),
    gate(16, "reads end as unconfirmed", "reactions.VERIFY_ATTEMPTS,", "99,", SILENCE, DROPPED),
    Enforcement(
        16,
        "reads end after the last try",
        Edit(GATE, "phase = %(verify)s AND tries >= %(verify_attempts)s", "phase = %(verify)s", times=4),
        (SILENCE,),
    ),
    Enforcement(
        16,
        "only reads end as unconfirmed",
        Edit(
            GATE,
            "phase = %(verify)s AND tries >= %(verify_attempts)s",
            "tries >= %(verify_attempts)s",
            times=4,
        ),
        (SILENCE,),
    ),
    gate(
        16,
        "silence is noted as a miss",
        "    first_miss_at = coalesce(first_miss_at, %(now)s),\n",
        "",
        SILENCE,
    ),
    gate(
        16,
        "silence of an activated hub speaks against its release",
        "    silent = silent OR state = 'activating',\n",
        "",
        SILENCE,
    ),
    gate(16, "silence before an activation does not", "silent OR state = 'activating'", "true", SILENCE),
    rule(
        16,
        "silence is counted against the release",
        trigger(table="scheduling_deployment", name="deployment_shows_signs"),
        "tests/scheduling/test_early_warning.py::TestLook::"
        "test_takes_a_hub_that_is_silent_at_its_deadline_for_bad_until_it_is_read",
    ),
    gate(16, "no receipt: sent again", "    sql.run(NO_RECEIPT, terms)\n", "", SILENCE),
    gate(
        16,
        "no receipt: what is awaited",
        " AND deployment.awaiting AND deployment.next_at <= %(now)s",
        " AND deployment.next_at <= %(now)s",
        NOT_ASKED,
    ),
    gate(
        16,
        "no receipt: once the deadline has passed",
        " AND deployment.awaiting AND deployment.next_at <= %(now)s",
        " AND deployment.awaiting",
        DEADLINE,
    ),
    gate(
        16,
        "no receipt: none has come",
        " AND {NOT_RECEIVED} AND command.answered_at IS NULL\n  AND command.valid_until > ",
        " AND command.answered_at IS NULL\n  AND command.valid_until > ",
        SILENCE,
    ),
    edit(16, "no receipt: none of its own", TAKEN, "(command.verdict IS NULL AND NOT", "(NOT", SILENCE),
    edit(
        16,
        "no receipt: none for all that left together",
        TAKEN,
        "FROM scheduling_handover handover",
        "FROM (SELECT * FROM scheduling_handover LIMIT 0) handover",
        SILENCE,
    ),
    edit(
        16,
        "the receipt for all: of the lot",
        TAKEN,
        "handover.lot_id = command.deployment_id / {LOT_SPAN} AND ",
        "",
        OTHERS_RECEIPT,
    ),
    edit(
        16,
        "the receipt for all: of that holder",
        TAKEN,
        " AND handover.token = command.token\n",
        "\n",
        OTHERS_RECEIPT,
    ),
    edit(
        16,
        "the receipt for all: of that moment",
        TAKEN,
        "\n      AND handover.stamped_at = command.sent_at",
        "",
        OTHERS_RECEIPT,
    ),
    edit(
        16,
        "the receipt for all: only where every one was taken",
        SENDER,
        "for receipt in self._receipts if receipt.verdict is Verdict.ACCEPTED}",
        "for receipt in self._receipts}",
        f"{FOR_ALL}::test_is_none_where_one_of_them_was_refused",
    ),
    edit(
        16,
        "the receipt for all: only where nothing was kept back",
        SENDER,
        "taken == {command[:3] for command in self._leaving.commands}",
        "taken",
        f"{FOR_ALL}::test_is_none_where_some_were_kept_back",
        f"{FOR_ALL}::test_is_none_where_a_receipt_is_of_another_command",
    ),
    edit(
        16,
        "the receipt for all: not for what others stamped",
        SENDER,
        "if self._leaving.is_whole and taken",
        "if taken",
        f"{FOR_ALL}::test_is_not_for_what_an_earlier_holder_left_behind",
    ),
    gate(
        16,
        "no receipt: no answer either",
        " AND {NOT_RECEIVED} AND command.answered_at IS NULL\n  AND command.valid_until > ",
        " AND {NOT_RECEIVED}\n  AND command.valid_until > ",
        f"{GATE_TESTS}::TestSilence::test_is_that_of_the_command_that_is_awaited",
    ),
    gate(16, "no receipt: while it is valid", "\n  AND command.valid_until > %(now)s\n", "\n", SILENCE),
    gate(
        16,
        "no receipt: of the same hub",
        (
            "AND command.deployment_id = deployment.id AND command.phase = deployment.phase\n"
            "  AND command.attempt = deployment.attempt AND {NOT_RECEIVED}"
        ),
        (
            "AND command.phase = deployment.phase\n"
            "  AND command.attempt = deployment.attempt AND {NOT_RECEIVED}"
        ),
        SILENCE,
    ),
    gate(
        16,
        "no receipt: of the same phase",
        (
            "deployment.id AND command.phase = deployment.phase\n"
            "  AND command.attempt = deployment.attempt AND {NOT_RECEIVED}"
        ),
        "deployment.id\n  AND command.attempt = deployment.attempt AND {NOT_RECEIVED}",
        f"{GATE_TESTS}::TestSilence::test_is_that_of_the_command_that_is_awaited",
    ),
    gate(
        16,
        "no receipt: of the same attempt",
        "\n  AND command.attempt = deployment.attempt AND {NOT_RECEIVED}",
        "\n  AND {NOT_RECEIVED}",
        f"{GATE_TESTS}::TestSilence::test_is_that_of_the_command_that_is_awaited",
    ),
    edit(
        16,
        "an unanswered activation is read, not repeated",
        REACTIONS,
        "    if outcome in NOT_CONTACTED:\n        return Reaction(State.STAGED",
        "    if outcome is not Outcome.ACTIVATION_FAILED:\n        return Reaction(State.STAGED",
        "tests/scheduling/test_reactions.py::TestEveryReport",
    ),
    edit(
        16,
        "success is a version read back",
        REACTIONS,
        "        return Reaction(State.ACTIVATING, Phase.VERIFY, Wait.NOW, restart=True)",
        "        return _ended(State.SUCCEEDED, Phase.VERIFY)",
        "tests/scheduling/test_reactions.py::TestEveryReport",
    ),
    edit(
        16,
        "success is the version that was wanted",
        REACTIONS,
        "    if version == target:\n        return _ended(State.SUCCEEDED, Phase.VERIFY)",
        "    if version:\n        return _ended(State.SUCCEEDED, Phase.VERIFY)",
        "tests/scheduling/test_reactions.py::TestEveryReport",
    ),
    edit(
        16,
        "set aside: given up only after its silence",
        SET_ASIDE,
        "WHERE kept.since <= deadline.since AND",
        "WHERE kept.since IS NOT NULL AND",
        f"{LAPSES}::test_ends_what_was_being_activated_once_it_was_silent_for_too_long",
    ),
    Enforcement(
        16,
        "set aside: only an activation is given up",
        Edit(
            SET_ASIDE,
            "deadline.since AND deployment.state = 'activating'",
            "deadline.since AND deployment.ended_at IS NULL",
            also=(("IS NOT NULL AND deployment.state = 'activating'", "IS NOT NULL"),),
        ),
        (f"{LAPSES}::test_leaves_what_is_not_being_activated_to_dcc",),
    ),
    edit(
        16,
        "set aside: what never left is taken back",
        DECIDING,
        "(command.sent_at IS NULL OR command.verdict",
        "(command.verdict",
        f"{LAPSES}::test_takes_back_an_activation_that_surely_never_left",
    ),
    edit(
        16,
        "set aside: what may have left is not taken back",
        DECIDING,
        "\n      AND (command.sent_at IS NULL OR command.verdict = %(refused_late)s)",
        "",
        f"{LAPSES}::test_ends_what_was_being_activated_once_it_was_silent_for_too_long",
    ),
    gate(
        16,
        "a stage is of what is not staged",
        "(phase IN (%(read)s, %(stage)s) AND state IN",
        "(state IN",
        IN_TIME,
    ),
    gate(
        16,
        "a transfer to what waits for it",
        " AND state IN ('booked', 'staging') AND %(may_stage)s",
        " AND %(may_stage)s",
        IN_TIME,
    ),
    gate(
        16,
        "an activation is asked where it is next",
        "AND phase = %(activate)s AND state = 'staged' AND NOT",
        "AND state = 'staged' AND NOT",
        IN_TIME,
    ),
    gate(
        16,
        "an activation of what is staged",
        "AND phase = %(activate)s AND state = 'staged' AND NOT",
        "AND phase = %(activate)s AND NOT",
        IN_TIME,
    ),
    gate(
        16,
        "a read back where it is next",
        "OR (phase = %(verify)s AND state = 'activating'",
        "OR (state = 'activating'",
        IN_TIME,
    ),
    gate(
        16,
        "a read back of what was activated",
        "OR (phase = %(verify)s AND state = 'activating' AND",
        "OR (phase = %(verify)s AND",
        IN_TIME,
    ),
)
CLAIM_TESTS = "tests/scheduling/test_claims.py"
LEASED = (
    edit(
        17,
        "a claim has a new token",
        CLAIMS,
        "token = lot.token + 1\n",
        "token = greatest(lot.token, 1)\n",
        f"{CLAIM_TESTS}::TestClaim",
    ),
    edit(
        17,
        "a lot is its holder's until the lease runs out",
        CLAIMS,
        " AND (lease_until IS NULL OR lease_until <= %(now)s)",
        "",
        f"{CLAIM_TESTS}::TestClaim",
    ),
    edit(
        17,
        "a lease that ran out is nobody's",
        CLAIMS,
        "(lease_until IS NULL OR lease_until <= %(now)s)",
        "(lease_until IS NULL)",
        f"{CLAIM_TESTS}::TestClaim",
    ),
    edit(
        17,
        "a holder's every step names its token",
        CLAIMS,
        " AND token = %(token)s FOR NO KEY UPDATE",
        " FOR NO KEY UPDATE",
        f"{CLAIM_TESTS}::TestAHolderThatLostTheLot",
    ),
    edit(
        17,
        "the lease is renewed",
        CLAIMS,
        '        sql.run(RENEW, terms | {"now": now, "lease": LEASE})\n',
        "        pass\n",
        f"{CLAIM_TESTS}::TestTheLease",
    ),
    edit(
        17,
        "the carrier refuses an older token",
        SENDER,
        "if any(receipt.verdict is Verdict.STALE_TOKEN for receipt in receipts):",
        "if False:",
        f"{RECEIPTS}::test_of_a_newer_token_end_the_work_of_this_worker",
    ),
    edit(
        17,
        "each command carries its holder's token",
        LEAVING,
        "claimed.lot.pk, claimed.token, claimed",
        "claimed.lot.pk, 0, claimed",
        f"{HANDS_OVER}::test_fifty_at_a_time_and_each_once",
    ),
    gate(
        17,
        "a command names the token that admitted it",
        "SELECT id, phase, attempt, %(token)s,",
        "SELECT id, phase, attempt, 0,",
        ONE_MORE_TRY,
    ),
    edit(
        17,
        "a dead sender's commands are sent again",
        SENDER,
        " AND {NOT_RECEIVED}\n      AND command.answered_at",
        " AND command.sent_at IS NULL\n      AND command.answered_at",
        UNTAKEN,
        f"{LEASES}::test_of_a_sender_that_died_are_followed_with_the_same_keys",
    ),
    gate(
        17,
        "nothing of a neighbouring lot",
        "    gone = sql.run(NOT_ELIGIBLE, terms)",
        '    terms["last"] += 9 * 2048\n    gone = sql.run(NOT_ELIGIBLE, terms)',
        NEIGHBOUR,
    ),
)
TWICE = (
    edit(
        18,
        "sent: what has no receipt",
        SENDER,
        " AND {NOT_RECEIVED}\n      AND command.answered_at",
        "\n      AND command.answered_at",
        UNTAKEN,
    ),
    edit(
        18,
        "sent: what is not answered",
        SENDER,
        "command.answered_at IS NULL AND command.valid_until > %(now)s",
        "command.valid_until > %(now)s",
        UNTAKEN,
    ),
    edit(
        18,
        "sent: what is awaited",
        SENDER,
        "deployment.attempt = command.attempt AND deployment.awaiting\n",
        "deployment.attempt = command.attempt\n",
        UNTAKEN,
    ),
    edit(
        18,
        "sent: of the phase that is awaited",
        SENDER,
        " AND deployment.phase = command.phase\n",
        "\n",
        AWAITED,
    ),
    edit(
        18,
        "sent: of the attempt that is awaited",
        SENDER,
        "AND deployment.attempt = command.attempt AND deployment.awaiting",
        "AND deployment.awaiting",
        AWAITED,
    ),
    edit(18, "sent: fifty at a time", SENDER, "SEND = 50", "SEND = 49", FIFTY),
    edit(18, "sent: the first stamp stands", SENDER, "coalesce(command.sent_at, %(now)s)", "%(now)s", STAMPS),
    edit(
        18,
        "receipts: kept with their command",
        SENDER,
        "SET verdict = %(verdict)s\n",
        "SET verdict = verdict\n",
        RECEIPTS,
    ),
    edit(
        18,
        "receipts: too late is taken back at once",
        SENDER,
        "if receipt.verdict is Verdict.EXPIRED]:",
        "if False]:",
        RECEIPTS,
    ),
    edit(
        18,
        "unknown words do not stop a task",
        "scheduling/tasks.py",
        "def keep_bookings(**_: object)",
        "def keep_bookings()",
        f"{TASKS}::TestDeliveredThreeTimes::test_or_with_words_of_another_version_of_the_portal_does_the_same",
    ),
)
CRASHES = (
    gate(
        19,
        "stamped before the carrier is called",
        '{"stamp": now if stamps else None}',
        '{"stamp": None}',
        f"{DOUBT}::TestTheCarrier",
    ),
    edit(
        19,
        "stamped before it is sent again",
        SENDER,
        "SET sent_at = coalesce(command.sent_at, %(now)s)",
        "SET sent_at = coalesce(command.sent_at, command.admitted_at - interval '1 hour')",
        STAMPS,
    ),
)
TIMETABLES = (
    edit(
        20,
        "due is an open-ended question",
        CLAIMS,
        "WHERE due_at <= %(now)s AND",
        "WHERE due_at BETWEEN %(now)s - interval '5 minutes' AND %(now)s AND",
        f"{CLAIM_TESTS}::TestClaim",
        f"{TASKS}::TestAnHourOfSilence",
    ),
    edit(
        20,
        "due and no earlier",
        CLAIMS,
        "WHERE due_at <= %(now)s AND",
        "WHERE due_at IS NOT NULL AND",
        f"{CLAIM_TESTS}::TestClaim",
    ),
    rule(
        20,
        "one allocation a day",
        index(name="allocation_once_a_day"),
        "tests/scheduling/test_constraints.py::TestAnAllocation",
    ),
)
LETTERS = (
    rule(
        22,
        "one e-mail per subject and address",
        constraint(table="scheduling_notice", name="notice_once_per_address"),
        "tests/scheduling/test_constraints.py::TestANotice",
    ),
    rule(
        22,
        "owed or sent",
        constraint(table="scheduling_notice", name="notice_owed_or_sent"),
        "tests/scheduling/test_constraints.py::TestANotice",
    ),
    edit(
        22,
        "sent by one at a time",
        SENDING,
        "next_try_at = %(now)s + least(",
        "next_try_at = %(now)s - least(",
        f"{NOTICES}::TestSend::test_leaves_an_email_alone_that_another_worker_is_still_sending",
    ),
    edit(
        22,
        "tried again",
        SENDING,
        "WHERE next_try_at <= %(now)s\n",
        "WHERE next_try_at <= %(now)s AND attempts < 20\n",
        f"{NOTICES}::TestSend::test_tries_again_for_as_long_as_the_mail_server_is_away",
    ),
    edit(
        22,
        "the same Message-ID",
        SENDING,
        'headers={"Message-ID": notice.message_id}',
        'headers={"Message-ID": "<another@portal.example>"}',
        f"{NOTICES}::TestBookingDone",
    ),
    edit(
        22,
        "one that cannot go holds up nobody",
        SENDING,
        "            continue\n",
        "            break\n",
        f"{NOTICES}::TestSend",
    ),
)
BOTH_SUPPLIERS = (
    gate(
        23,
        "Gate: its Supplier's still",
        (
            "    (hub.lead_id = %(supplier)s OR hub.other_id IS NOT DISTINCT FROM %(supplier)s)\n"
            "    AND hub.model_id"
        ),
        "    hub.model_id",
        ELIGIBLE,
    ),
    gate(
        23,
        "Gate: the Lead's",
        "(hub.lead_id = %(supplier)s OR hub.other_id IS NOT DISTINCT FROM %(supplier)s)",
        "(hub.other_id IS NOT DISTINCT FROM %(supplier)s)",
        IN_TIME,
    ),
    gate(
        23,
        "Gate: or the other's who booked",
        "(hub.lead_id = %(supplier)s OR hub.other_id IS NOT DISTINCT FROM %(supplier)s)",
        "(hub.lead_id = %(supplier)s)",
        OTHER_BOOKED,
    ),
    gate(23, "Gate: asks who was asked", "AND {ASKED_WHOM_IT_CONCERNS})", "AND true)", ELIGIBLE),
    gate(
        23,
        "Gate: nobody where DCC overrode",
        "    %(is_override)s OR {eligibility.PARTNER} IS NULL",
        "    {eligibility.PARTNER} IS NULL",
        OVERRIDDEN,
    ),
    gate(
        23,
        "Gate: nobody where nobody shares",
        "{eligibility.PARTNER} IS NULL\n    OR",
        "false\n    OR",
        f"{GATE_TESTS}::TestEligibility::test_is_that_of_a_lead_whose_hub_nobody_shares_any_more",
    ),
    gate(
        23,
        "Gate: the one who was asked",
        "    OR {eligibility.PARTNER} IS NOT DISTINCT FROM %(partner)s::smallint)",
        ")",
        BY_CONSENT,
    ),
    gate(
        23,
        "a hold ends as a question where one is open",
        "state = CASE WHEN %(is_asked)s THEN 'provisional' ELSE 'booked' END,",
        "state = 'booked',",
        UNHOLDS,
    ),
    gate(
        23,
        "a question is looked at when the slot is over",
        "next_at = CASE WHEN %(is_asked)s THEN %(slot_end)s::timestamptz\n",
        "next_at = CASE WHEN false THEN %(slot_end)s::timestamptz\n",
        UNHOLDS,
    ),
    gate(23, "open questions alone", " AND consent.state = %(asked)s", "", UNHOLDS),
    gate(
        23,
        "Gate: not in a protected window",
        " AND NOT {NOT_NOW}),\nready",
        "),\nready",
        CLOSED,
    ),
    gate(
        23,
        "Gate: no activation into a window",
        'min(until, stops["clear_until"], silent_at)',
        "min(until, silent_at)",
        LAST_MOMENTS,
    ),
    gate(
        23,
        "recall: what a window overtook",
        "                   OR (command.phase = %(activate)s AND {NOT_NOW})\n",
        "",
        RECALLED,
    ),
    gate(
        23,
        "recall: a window stops activations alone",
        "OR (command.phase = %(activate)s AND {NOT_NOW})\n                   OR",
        "OR {NOT_NOW}\n                   OR",
        RECALLED,
    ),
    edit(
        23,
        "sender: not in a protected window",
        SENDER,
        "AND (command.phase <> %(activate)s OR NOT {NOT_NOW})",
        "",
        UNTAKEN,
    ),
    edit(
        23,
        "sender: a window stops activations alone",
        SENDER,
        "(command.phase <> %(activate)s OR NOT {NOT_NOW})",
        "(NOT {NOT_NOW})",
        UNTAKEN,
    ),
    edit(
        23,
        "kept back: what a window keeps",
        SENDER,
        "\n       OR (command.phase = %(activate)s AND {NOT_NOW}))",
        ")",
        KEPT,
    ),
    edit(
        23,
        "kept back: a window keeps activations alone",
        SENDER,
        "OR (command.phase = %(activate)s AND {NOT_NOW}))",
        "OR {NOT_NOW})",
        KEPT,
    ),
    edit(
        23,
        "windows of all hubs",
        PROTECTION,
        "(%(own_{when})s OR (%(some_{when})s",
        "(false OR (%(some_{when})s",
        CLOSED,
    ),
    edit(
        23,
        "windows of a payment mode",
        PROTECTION,
        (
            "(hub.payment_mode = ANY (%(modes_{when})s::smallint[])\n"
            "           OR EXISTS (SELECT FROM scheduling_protectedhub"
        ),
        "(EXISTS (SELECT FROM scheduling_protectedhub",
        WINDOWS_GATE,
    ),
    edit(23, "windows of listed hubs", PROTECTION, "listed.hub = hub.chf_id\n", "false\n", WINDOWS_GATE),
    edit(
        23,
        "a list's own window",
        PROTECTION,
        "\n                        AND listed.window_id = ANY (%(lists_{when})s::bigint[])",
        "",
        f"{GATE_TESTS}::TestProtection::test_is_that_of_the_windows_own_list",
    ),
    edit(23, "windows of groups", PROTECTION, "member.hub = hub.chf_id\n", "false\n", GUARDS_GATE),
    edit(23, "changes of supplier", PROTECTION, "change.hub = hub.chf_id\n", "false\n", GUARDS_GATE),
    edit(
        23,
        "of this very hub",
        PROTECTION,
        "WHERE hub.chf_id = deployment.hub_id\n",
        "WHERE true\n",
        WINDOWS_GATE,
    ),
    edit(
        23,
        "networks that DCC closed",
        PROTECTION,
        'NOT_NOW = f"(%(closed_now)s OR {',
        'NOT_NOW = f"(false OR {',
        WINDOWS_GATE,
    ),
    edit(
        23,
        "windows of the other Supplier too",
        PROTECTION,
        "*([lot.consent.supplier_id] if lot.consent else [])",
        "*[]",
        GUARDS_GATE,
    ),
)
MOVES = (
    rule(
        28,
        "moves of deployments",
        trigger(table="scheduling_deployment", name="deployment_moves"),
        f"{DATABASE}::test_refuses_every_move_that_the_lifecycle_does_not_have",
    ),
    rule(
        28,
        "the table of moves",
        Statement(
            "scheduling_move",
            "ALTER TABLE scheduling_move DISABLE TRIGGER moves_stay;"
            " INSERT INTO scheduling_move (source, target) VALUES ('succeeded', 'booked')",
        ),
        f"{DATABASE}::test_has_the_moves_of_the_lifecycle_and_no_other",
        f"{DATABASE}::test_refuses_every_move_that_the_lifecycle_does_not_have",
    ),
    rule(
        28,
        "moves of releases",
        Rewrite("firmware_release_changed", "IF OLD.state <> NEW.state AND", "IF false AND"),
        f"{DECIDED}::TestMoves",
    ),
    edit(
        28,
        "Python refuses them first",
        "firmware/models.py",
        "        if target not in MOVES[source]:",
        "        if False:",
        f"{DECIDED}::TestMoves::test_are_refused_by_python_first",
    ),
    rule(
        28,
        "a state that is known",
        constraint(table="scheduling_deployment", name="deployment_state_known"),
        "tests/scheduling/test_constraints.py::TestADeploymentsState",
    ),
)
IN_DOUBT = (
    Enforcement(
        29,
        "the carrier is called after the commit",
        Edit(
            SENDER,
            "@transaction.atomic(durable=True)\ndef _stamp",
            "@transaction.atomic\ndef _stamp",
            also=(
                ("def send(\n    *,\n    claimed", "@transaction.atomic\ndef send(\n    *,\n    claimed"),
                (
                    "    @transaction.atomic(durable=True)\n    def _settle_each",
                    "    @transaction.atomic\n    def _settle_each",
                ),
            ),
        ),
        (f"{DOUBT}::TestWhatCannotBeCommitted::test_is_not_sent_and_goes_on_later",),
    ),
)

BUDGETED = f"{GATE_TESTS}::TestBudgets"
FIRST_HUBS = f"{BUDGETED}::test_are_for_the_first_hubs_of_the_open_stage_alone"
POISON = "tests/scheduling/test_poison.py"
ASIDE = "scheduling/operations/deployments/aside.py"
GOES_ON = "tests/scheduling/test_sender.py::TestBetweenTwoHandfuls"
ADMISSION = (
    gate(
        13,
        "Gate: no more than the stage takes",
        " AND (room IS NULL OR place <= room)\n",
        "\n",
        BUDGETED,
    ),
    gate(13, "Gate: a stage without limit has none", "(room IS NULL OR place", "(place", BUDGETED),
    gate(13, "Gate: a stage with a limit has one", "room IS NULL OR place <= room", "room IS NULL", BUDGETED),
    gate(13, "Gate: none but the first hubs", " AND may_be_in_it AND", " AND", FIRST_HUBS),
    gate(13, "Gate: all where none were chosen", "stage.chosen IS NULL OR EXISTS", "EXISTS", BUDGETED),
    gate(
        13,
        "Gate: some where some were chosen",
        "           stage.chosen IS NULL OR EXISTS (\n"
        "               SELECT FROM scheduling_firsthub first\n"
        "               WHERE first.stage_id = stage.chosen AND first.deployment_id = deployment.id) AS may",
        "           true AS may",
        FIRST_HUBS,
    ),
    gate(13, "Gate: first hubs of this stage", "first.stage_id = stage.chosen AND", "", FIRST_HUBS),
    gate(13, "Gate: those very hubs", " AND first.deployment_id = deployment.id)", ")", FIRST_HUBS),
    gate(
        13,
        "Gate: the others before them take no place",
        "ORDER BY may_be_in_it DESC, id",
        "ORDER BY id",
        FIRST_HUBS,
    ),
    gate(13, "Gate: no more than may be in flight", "LIMIT %(room)s)", "LIMIT 1000)", BUDGETED),
    gate(
        13,
        "Gate: activations have a budget",
        "OR id IN (SELECT id FROM chosen)",
        "OR id IN (SELECT id FROM ready)",
        BUDGETED,
    ),
    gate(
        13,
        "Gate: only activations take places of a stage",
        "      AND phase = %(activate)s AND state = 'staged' AND NOT {NOT_NOW}),",
        "      AND NOT {NOT_NOW}),",
        BUDGETED,
    ),
    gate(
        13,
        "Gate: a model without a stage waits",
        "number IS NOT NULL AND may_be_in_it",
        "may_be_in_it",
        BUDGETED,
    ),
    gate(
        13,
        "Gate: what waits for its turn takes no place",
        "WHERE %(activates)s AND {OURS} AND NOT awaiting AND next_at <= %(now)s",
        "WHERE %(activates)s AND {OURS} AND NOT awaiting",
        BUDGETED,
    ),
    gate(
        13,
        "Gate: an activation is counted in its stage",
        "stage = CASE WHEN phase = %(activate)s",
        "stage = CASE WHEN false",
        BUDGETED,
    ),
    gate(
        14,
        "what is read or staged is staging",
        "state = CASE WHEN phase IN (%(read)s, %(stage)s) THEN 'staging'",
        "state = CASE WHEN false THEN 'staging'",
        ONE_MORE_TRY,
    ),
    gate(
        16,
        "a read back ends with its silence",
        "CASE phase WHEN %(verify)s THEN %(silent_at)s WHEN",
        "CASE phase WHEN",
        LAST_MOMENTS,
    ),
    gate(
        1,
        "an activation has a last moment of its own",
        " WHEN %(activate)s THEN %(activate_until)s",
        "",
        LAST_MOMENTS,
    ),
    gate(
        15,
        "slot's end: says that its turn did not come",
        "        WHEN state = 'staged' AND %(waited)s THEN %(no_turn)s\n",
        "",
        f"{GATE_TESTS}::TestTheEndOfTheSlot::test_says_of_what_waited_for_room_that_its_turn_did_not_come",
    ),
    edit(
        23,
        "a group's own window",
        PROTECTION,
        "\n                        AND member.group_id = ANY (%(groups_{when})s::bigint[])",
        "",
        f"{GATE_TESTS}::TestProtection",
    ),
    edit(
        23,
        "a change's own day",
        PROTECTION,
        "\n                        AND change.effective_on = ANY (%(changes_{when})s::date[])",
        "",
        f"{GATE_TESTS}::TestProtection",
    ),
    edit(
        14,
        "a new phase begins with no try",
        REPORTS,
        "tries = CASE WHEN reaction.restart THEN 0 ELSE deployment.tries END,",
        "tries = deployment.tries,",
        A_DEPLOYMENT,
    ),
    edit(
        14,
        "a phase goes on with its tries",
        REPORTS,
        "tries = CASE WHEN reaction.restart THEN 0 ELSE deployment.tries END,",
        "tries = 0,",
        A_DEPLOYMENT,
    ),
    edit(
        14,
        "a miss is one where nobody was there",
        REPORTS,
        "CASE WHEN reaction.missed THEN coalesce(deployment.first_miss_at, %(now)s) END",
        "coalesce(deployment.first_miss_at, %(now)s)",
        A_DEPLOYMENT,
    ),
    edit(
        14,
        "what ends is stamped",
        REPORTS,
        "ended_at = CASE WHEN reaction.next_at IS NULL THEN %(now)s::timestamptz END",
        "ended_at = NULL",
        A_DEPLOYMENT,
    ),
    edit(
        15,
        "places of cancelled hubs are counted",
        REPORTS,
        "count(*) FILTER (WHERE state = %(cancelled)s)",
        "0",
        A_DEPLOYMENT,
    ),
    gate(
        13,
        "Gate: each lot's stage is its model's",
        "PARTITION BY model_id ORDER BY may_be_in_it DESC, id",
        "ORDER BY may_be_in_it DESC, id",
        f"{BUDGETED}::test_are_each_models_own",
    ),
    gate(
        13,
        "Gate: what waits for room stays due",
        "waits)s AND state = 'staged' AND",
        "waits)s AND false AND",
        BUDGETED,
    ),
    edit(
        11,
        "between two handfuls: the halt",
        SENDER,
        "found == [self._leaving.stops] and is_fresh",
        "is_fresh",
        GOES_ON,
    ),
    edit(
        11,
        "between two handfuls: everything, after a while",
        SENDER,
        "found == [self._leaving.stops] and is_fresh and",
        "found == [self._leaving.stops] and",
        GOES_ON,
    ),
    edit(
        11,
        "between two handfuls: at all",
        SENDER,
        "if not sending.may_go_on():",
        "if False:",
        GOES_ON,
    ),
    edit(17, "between two handfuls: the token", SENDER, " AND lot.token = %(token)s\n", "\n", GOES_ON),
    edit(
        1,
        "between two handfuls: the last moment",
        SENDER,
        "[command for command in commands if self._now < command.valid_until]",
        "list(commands)",
        GOES_ON,
    ),
    edit(
        18,
        "what did not leave is unstamped",
        SENDER,
        "            sql.run(UNSTAMP, ",
        "            dict(",
        GOES_ON,
    ),
    edit(
        18,
        "unstamped: what this holder stamped",
        SENDER,
        " AND command.sent_at = %(stamped_at)s",
        "",
        GOES_ON,
    ),
    edit(
        21,
        "a hub that is set aside is left alone",
        CLAIMS,
        ' AND deployment.id <> ALL (%(aside)s::bigint[])"\n',
        '"\n',
        POISON,
    ),
    edit(
        21,
        "a hub that was struck rests",
        ASIDE,
        "(since IS NOT NULL OR last_at > %(now)s - %(pause)s::interval)",
        "since IS NOT NULL",
        POISON,
    ),
    edit(21, "after some strikes a hub is set aside", ASIDE, "STRIKES = 3", "STRIKES = 30", POISON),
    edit(
        21,
        "a poisoned command is sought by halves",
        SENDER,
        "            if len(commands) == 1:\n",
        "            if True:\n",
        POISON,
    ),
    edit(
        21,
        "a lot with which holders die is taken in halves",
        CLAIMS,
        "    if lot.deaths >= DEATHS:",
        "    if False:",
        POISON,
    ),
    edit(21, "deaths are counted", CLAIMS, "    lot.deaths += 1\n", "", POISON),
    edit(
        21,
        "the one hub that is left is set aside",
        CLAIMS,
        "            aside.set_aside(",
        "            dict(",
        POISON,
    ),
    edit(
        21,
        "an error of one lot stops no other",
        WORK,
        "                fail(claimed=claimed, error=error, now=clock())",
        "                raise",
        POISON,
    ),
    edit(
        21,
        "a report that cannot be recorded is sought by halves",
        REPORTS,
        "        if len(reports) > 1:",
        "        if False:",
        POISON,
    ),
    edit(
        17,
        "nothing but what the claim reaches",
        CLAIMS,
        '"deployment.id BETWEEN %(first)s AND %(last)s AND',
        '"deployment.id > 0 AND',
        NEIGHBOUR,
    ),
    edit(
        17,
        "sent: nothing but what the claim reaches",
        SENDER,
        "WHERE {OURS} AND command.deployment_id BETWEEN %(first)s AND %(last)s AND",
        "WHERE",
        SENDS_NO_NEIGHBOUR,
    ),
    gate(
        16, "looked at again soon", "    sql.run(LOOK_LATER,", "    dict(a=", f"{GATE_TESTS}::TestLooksAgain"
    ),
    gate(
        16,
        "looked at again: what is due",
        "WHERE {OURS} AND ended_at IS NULL AND next_at <= %(now)s\n",
        "WHERE {OURS} AND ended_at IS NULL\n",
        f"{GATE_TESTS}::TestLooksAgain",
    ),
    gate(
        16,
        "looked at again: no later than the slot's end",
        "WHEN state <> 'activating' AND %(slot_end)s > %(now)s THEN",
        "WHEN false THEN",
        f"{GATE_TESTS}::TestLooksAgain",
    ),
    gate(
        16,
        "looked at again: soon, while activating",
        "WHEN state <> 'activating' AND %(slot_end)s",
        "WHEN %(slot_end)s",
        f"{GATE_TESTS}::TestLooksAgain",
    ),
    edit(
        14,
        "answer: of what was sent",
        REPORTS,
        " AND command.sent_at IS NOT NULL\n      AND asked.id",
        "\n      AND asked.id",
        f"{AN_ANSWER}::test_to_what_never_left_is_nobodys",
    ),
    edit(
        14,
        "stray: what never left",
        REPORTS,
        "\nWHERE command.sent_at IS NOT NULL\n",
        "\n",
        f"{AN_ANSWER}::test_to_what_never_left_is_nobodys",
    ),
    edit(
        14,
        "a deployment moves by the answer to its phase",
        REPORTS,
        "\n      AND deployment.phase = answered.phase AND",
        "\n      AND",
        THAT_ANSWER,
    ),
    edit(
        14,
        "a deployment moves by the answer to its attempt",
        REPORTS,
        " AND deployment.attempt = answered.attempt\n",
        "\n",
        THAT_ANSWER,
    ),
    edit(
        14,
        "receipts: of those that were handed over",
        SENDER,
        "WHERE deployment_id = ANY (%(deployments)s::bigint[]) AND phase",
        "WHERE sent_at IS NOT NULL AND phase",
        RECEIPTS,
    ),
    edit(
        14,
        "receipts: of the same phase",
        SENDER,
        " AND phase = %(phase)s AND attempt = %(attempt)s\n",
        " AND attempt = %(attempt)s\n",
        RECEIPTS,
    ),
    edit(14, "receipts: of the same attempt", SENDER, " AND attempt = %(attempt)s\n", "\n", RECEIPTS),
    edit(14, "stamped: of the same phase", SENDER, " AND command.phase = leaving.phase\n", "\n", AWAITED),
    edit(
        14,
        "stamped: of the same attempt",
        SENDER,
        "\n  AND command.attempt = leaving.attempt\n",
        "\n",
        AWAITED,
    ),
    edit(
        14, "too late: of the same phase", SENDER, " AND deployment.phase = late.phase AND", " AND", RECEIPTS
    ),
    edit(
        14,
        "too late: of the same attempt",
        SENDER,
        " AND deployment.attempt = late.attempt\n",
        "\n",
        RECEIPTS,
    ),
    edit(
        14,
        "too late: of what is awaited",
        SENDER,
        "late.attempt\n  AND deployment.awaiting\n",
        "late.attempt\n",
        RECEIPTS,
    ),
)

LOOKED = f"{GATE_TESTS}::TestOneLook"
ONE_LOOK = (
    gate(16, "looked: what is overdue", "\n        or found.overdue\n", "\n", f"{GATE_TESTS}::TestSilence"),
    gate(11, "looked: what was not received", "\n        or found.unreceived\n", "\n", RECALLED),
    gate(1, "looked: what was missed", "\n        or found.missed\n", "\n", GRACE),
    gate(11, "looked: what is held", "\n        or found.held\n", "\n", LOOKED),
    gate(1, "looked: the slot is over", '\n        or terms["is_over"]\n', "\n", LOOKED),
    gate(
        11,
        "looked: the release is stopped",
        '        not terms["published"]\n        or ',
        "        ",
        LOOKED,
    ),
    gate(
        11,
        "looked: a part is halted",
        '\n        or terms["part_halted"]\n',
        "\n",
        f"{HALTED_PARTS}::TestTheGate::test_holds_the_part_and_admits_the_rest",
    ),
    gate(7, "looked: what is to begin", "if found.to_begin else 0", "if False else 0", ELIGIBLE),
    gate(
        15,
        "looked: what was left for later",
        "if found.due > gone + len(commands):",
        "if False:",
        f"{GATE_TESTS}",
    ),
)
IN_TURN = (
    edit(
        14,
        "one collects at a time",
        REPORTS,
        "while is_ours and (came := collect(gateway=gateway, clock=clock, known=known)):",
        "while came := collect(gateway=gateway, clock=clock, known=known):",
        "tests/scheduling/test_keeping_at_it.py::TestKeepAtIt::test_collects_nothing_while_somebody_else_does",
    ),
    edit(
        20,
        "a turn is over with its lease",
        "portal/ground/turns.py",
        " WHERE turn.until <= %(now)s",
        " WHERE false",
        "tests/portal/test_turns.py",
    ),
    edit(
        20,
        "a turn is one's at a time",
        "portal/ground/turns.py",
        " WHERE turn.until <= %(now)s",
        "",
        "tests/portal/test_turns.py",
    ),
    edit(
        20,
        "nobody gives back another's turn",
        "portal/ground/turns.py",
        " AND token = %(token)s",
        "",
        "tests/portal/test_turns.py",
    ),
)

NO_KNOT = (
    edit(
        18,
        "a carrier without answers is told all the same",
        WORK,
        '        except sender.UNAVAILABLE:\n            logger.warning("answers',
        '        except ZeroDivisionError:\n            logger.warning("answers',
        "tests/scheduling/test_keeping_at_it.py::TestKeepAtIt::test_goes_on_where_no_answers_can_be_fetched",
    ),
    edit(
        19,
        "receipts: under the lot's row",
        SENDER,
        "        hold_on(claimed=self._claimed)\n",
        "",
        f"{RACES}::TestReceiptsAndReports",
    ),
    gate(
        13,
        "waiting: said where it was seen",
        "        wait_for_room(claimed=claimed)\n",
        "        pass\n",
        f"{BUDGETED}::test_in_which_room_is_made_meanwhile_are_looked_at_again_at_once",
    ),
    Enforcement(
        13,
        "waiting: not over room that was made meanwhile",
        Edit(
            CLAIMS,
            "waits = lot.waits AND %(waits)s,",
            "waits = %(waits)s,",
            also=(
                ("lot.waits AND %(waits)s AND deployment.state", "%(waits)s AND deployment.state"),
                ("WHEN lot.waits AND %(waits)s THEN", "WHEN %(waits)s THEN"),
            ),
        ),
        (f"{BUDGETED}::test_in_which_room_is_made_meanwhile_are_looked_at_again_at_once",),
    ),
    edit(
        13,
        "waiting: due at once where room was made meanwhile",
        CLAIMS,
        "lot.waits AND %(waits)s AND deployment.state",
        "%(waits)s AND deployment.state",
        f"{BUDGETED}::test_in_which_room_is_made_meanwhile_are_looked_at_again_at_once",
    ),
    edit(
        21,
        "a poisoned hub is not touched by the claim that finds it",
        CLAIMS,
        "left_alone += _reach_less",
        "_reach_less",
        f"{POISON}::TestALotWithWhichWorkersDie::test_is_taken_in_halves_until_one_hub_is_left_and_set_aside",
    ),
    edit(
        11,
        "the Gate's locks need a transaction",
        CLAIMS,
        "if not connection.in_atomic_block:",
        "if False:",
        f"{CLAIM_TESTS}::TestTheLocksOfTheGate",
    ),
)

ASKED_AS = "tests/portal/test_asking.py"
ACTING = f"{ASKED_AS}::TestActing"
WALLED = "tests/scheduling/test_walls.py"
BARE = f"{WALLED}::TestBareTables"

THE_WALLS = (
    edit(
        24,
        "each transaction says as whom it asks",
        "portal/ground/asking.py",
        """    answer = execute(f"{who.words}; {statement}", parameters, many, context)
    for _ in range(STATEMENTS):
        cursor.nextset()
""",
        "    answer = execute(statement, parameters, many, context)\n",
        f"{ACTING}::test_sees_what_the_supplier_may_see_and_no_more",
    ),
    edit(
        24,
        "and the server forgets it with the transaction",
        "portal/ground/asking.py",
        "SET LOCAL ROLE {self.role.value}; SET LOCAL portal.supplier",
        "SET ROLE {self.role.value}; SET portal.supplier",
        f"{ACTING}::test_leaves_nothing_on_the_connection",
    ),
    edit(
        24,
        "and with the part of one in which it was said",
        "portal/ground/asking.py",
        'if str(statement).startswith("ROLLBACK TO"):',
        "if False:",
        f"{ACTING}::test_says_again_who_asks_when_that_was_taken_back",
    ),
    edit(
        24,
        "a person asks for their Supplier",
        "portal/access.py",
        "return asking.Asker(asking.Role.SUPPLIER, user.supplier_id)",
        "return asking.Asker(asking.Role.STAFF)",
        f"{ASKED_AS}::TestRequests::test_are_asked_as_who_asks_and_forgotten",
    ),
    edit(
        24,
        "no owner serves pages",
        "portal/walls.py",
        "    if owns:\n",
        "    if False:\n",
        f"{ASKED_AS}::TestLogin::test_is_judged",
    ),
    rule(
        24,
        "hubs are their Suppliers'",
        Statement("of_the_supplier", "ALTER POLICY of_the_supplier ON hubs_communicationshub USING (true)"),
        f"{BARE}::test_show_a_supplier_that_has_nothing_nothing",
        f"{BARE}::test_show_each_side_of_a_shared_hub_what_concerns_both",
    ),
    rule(
        24,
        "bookings are their Supplier's",
        Statement("of_the_supplier", "ALTER POLICY of_the_supplier ON scheduling_booking USING (true)"),
        f"{BARE}::test_show_a_supplier_that_has_nothing_nothing",
        f"{WALLED}::TestEveryPageWithoutAFilter::test_shows_nothing_of_another_supplier",
    ),
    rule(
        24,
        "nobody writes into another's group",
        Statement(
            "written_by_the_supplier",
            "ALTER POLICY written_by_the_supplier ON scheduling_groupedhub USING (true) WITH CHECK (true)",
        ),
        f"{BARE}::test_take_nothing_that_is_another_s",
    ),
    rule(
        24,
        "the policies hold for the owner too",
        Statement("everything", "ALTER TABLE scheduling_booking NO FORCE ROW LEVEL SECURITY"),
        f"{WALLED}::TestEveryTable::test_is_kept_as_it_is_said",
    ),
)

ENFORCEMENTS: tuple[Enforcement, ...] = (
    *THE_WALLS,
    *THE_SLOT,
    *THE_PERIOD,
    *THE_NIGHTS,
    *THE_CLOCK,
    *ONE_DEPLOYMENT,
    *PLACES,
    *FITTING,
    *FORWARD,
    *THE_BYTES,
    *TWO_PEOPLE,
    *THE_HALT,
    *NOTHING_BUT_THE_DATABASE,
    *BUDGETS,
    *ONCE,
    *LEDGER,
    *SILENT,
    *LEASED,
    *TWICE,
    *CRASHES,
    *TIMETABLES,
    *LETTERS,
    *BOTH_SUPPLIERS,
    *MOVES,
    *IN_DOUBT,
    *ADMISSION,
    *ONE_LOOK,
    *IN_TURN,
    *NO_KNOT,
)
