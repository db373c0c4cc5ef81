"""
What tells an operator that something is wrong, each number with its limit, and what to do then.

The one place for it: the health page, the metrics and docs/operator.md all come from this table.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

MOST: Final = 10_000
"""Rows that are counted one by one; a reading of one more means at least so many more."""


class Unit(enum.Enum):
    """What a reading counts."""

    THINGS = enum.auto()
    SECONDS = enum.auto()
    ANSWER = enum.auto()
    """1 for yes, 0 for no."""


class Standing(enum.Enum):
    """What a reading means; the value is its word on the page."""

    WELL = "well"
    WORRY = "look into it"
    PLAIN = "no limit"
    NOTHING = "not yet"


@dataclass(frozen=True, slots=True)
class Check:
    """
    One number that is watched.

    It worries above `most` or below `least`; with neither, it only informs. `then` says what to do about it.
    No reading at all means that nothing waits; where it `is_awaited`, that it was not there yet.
    """

    name: str
    title: str
    unit: Unit = Unit.THINGS
    most: float | None = None
    least: float | None = None
    then: str = ""
    is_awaited: bool = False

    def standing(self, reading: float | None) -> Standing:
        """Judge a reading; None is one that there is nothing to take from."""
        if reading is None:
            return Standing.NOTHING if self.is_awaited else Standing.WELL
        if self.most is None and self.least is None:
            return Standing.PLAIN
        is_over = self.most is not None and reading > self.most
        is_under = self.least is not None and reading < self.least
        return Standing.WORRY if is_over or is_under else Standing.WELL

    @property
    def worry_when(self) -> str:
        """The limit in words; empty where there is none."""
        if self.unit is Unit.ANSWER and self.least is not None:
            return "no"
        if self.least is not None:
            return "none" if self.least == 1 else f"under {self.written(self.least)}"
        if self.most is not None:
            return "any" if self.most == 0 else f"over {self.written(self.most)}"
        return ""

    def written(self, reading: float | None) -> str:
        """Write a reading for people."""
        if reading is None:
            return "never" if self.is_awaited else "none"
        if self.unit is Unit.ANSWER:
            return "yes" if reading else "no"
        if self.unit is Unit.SECONDS:
            return duration(reading)
        return f"{MOST:,}+" if reading > MOST else f"{reading:,.0f}"


def duration(seconds: float) -> str:
    """Write a span of time in its two largest units, such as `2 min 5 s` or `3 d 4 h`."""
    left = max(round(seconds), 0)
    parts = []
    for size, name in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        parts.append((count, name))
    while len(parts) > 1 and parts[0][0] == 0:
        parts.pop(0)
    return " ".join(f"{count} {name}" for count, name in parts[:2] if count) or "0 s"


GROUPS: Final[Mapping[str, tuple[Check, ...]]] = {
    "Processes": (
        Check("workers", "Workers that live", least=1, then="Start a worker; on any host."),
        Check("beats", "Beats that live", least=1, then="Start beat. Two do no harm."),
        Check(
            "silent_processes",
            "Processes that fell silent within the hour",
            most=0,
            then="Look at its host and its log. Start another; kill it if it merely hangs. Its lots are taken over "
            "as soon as their leases have run out.",
        ),
        Check(
            "versions",
            "Versions of the code that run",
            most=1,
            then="Finish the deployment: restart what still runs the other version.",
        ),
        Check(
            "redis_answers",
            "Redis answers",
            Unit.ANSWER,
            least=1,
            then="Start Redis, empty if need be. Until then, unless BROKER_URL names another "
            "broker, nothing wakes the workers.",
        ),
        Check(
            "fleet_count_age",
            "Since the last count of the fleet",
            Unit.SECONDS,
            most=180,
            then="Beat wakes a worker for it every minute, through the broker: with all three well, look into the "
            "worker's log.",
            is_awaited=True,
        ),
    ),
    "Carrying out": (
        Check(
            "oldest_due",
            "The oldest due lot has waited",
            Unit.SECONDS,
            most=60,
            then="With the processes well: start more workers.",
        ),
        Check("due_lots", "Lots that are due"),
        Check("due_hubs", "Hubs in lots that are due"),
        Check("leased_lots", "Lots that a worker holds"),
        Check("waiting_lots", "Lots that wait for room in flight"),
        Check(
            "reclaims_of_an_hour",
            "Lots taken over in the last hour, from workers that did not hand them back",
            most=10,
            then="Workers die or hang: see which fell silent, and what their logs and their hosts say.",
        ),
        Check("reclaims_of_a_day", "Lots taken over in the last day"),
        Check(
            "deadly_lots",
            "Lots with which worker after worker died",
            most=0,
            then="They are taken in halves until the hub is found: see the logs by the number of the lot.",
        ),
        Check(
            "set_aside",
            "Hubs set aside, because carrying them out kept failing",
            most=0,
            then="Each is named on the health page with its error. Nobody touches it until DCC has decided, under Hubs "
            "set aside: mend what fails and take it back, or end it. One that was being activated keeps its stage of "
            "the release open until then, or until its release's silence deadline has passed, when it ends "
            "unconfirmed.",
        ),
        Check(
            "lapsed",
            "Hubs set aside that ended unconfirmed in the last day, because nobody decided in time",
            most=0,
            then="What they run is not known, and nothing more is asked of them. See Hubs set aside, ended by time: "
            "each is kept there for 28 days.",
        ),
        Check(
            "unanswered_lots",
            "Lots with hubs still without an answer 12 hours after their slot, their release not halted",
            most=0,
            then="Each hub is read until it answers or is given up: see that the carrier takes and brings reports.",
        ),
        Check(
            "stray_reports",
            "Reports since yesterday for commands that were never given",
            most=0,
            then="A hub answered what the portal never asked: halt its release, and see Stray reports.",
        ),
        Check(
            "unreadable_reports",
            "Reports since yesterday that could not be read",
            most=0,
            then="Show the carrier what it sent: it is kept as it came, with the reason, under Odd reports.",
        ),
        Check(
            "forged_answers",
            "Answers since yesterday that the carrier did not sign",
            most=0,
            then="Somebody without its secret answers in its place, or changes what it says: see the log for what was "
            "asked, and look at who stands between the two. None was believed; whatever was asked is asked again.",
        ),
    ),
    "The books": (
        Check(
            "excesses",
            "Commands of the last 7 days that reached a hub and that nobody admitted",
            most=0,
            then="Every release was halted for it. Find out from Findings how it came, before anything is resumed.",
        ),
        Check(
            "differences",
            "Differences that the last reconciliation found",
            most=0,
            then="See Findings: counts do not agree with what they count. Mend them with the command reconcile once "
            "you know why.",
        ),
        Check(
            "reconciliation_age",
            "Since the last reconciliation ended",
            Unit.SECONDS,
            most=21_600,
            then="It reads everything, a portion every two minutes: see the log of reconcile.",
            is_awaited=True,
        ),
        Check(
            "log_was_read",
            "The last reconciliation could read the carrier's log",
            Unit.ANSWER,
            is_awaited=True,
        ),
    ),
    "Bookings and decisions": (
        Check(
            "half_made_bookings",
            "Bookings half made for over 5 minutes",
            most=0,
            then="A worker gives their places back after 2 minutes: see the log of keep_bookings.",
        ),
        Check(
            "unfinished_allocations",
            "Default allocations unfinished after an hour, their release not halted",
            most=0,
            then="They are begun again by themselves: see the log of allocate.",
        ),
        Check(
            "late_exceptions",
            "Hubs that wait for DCC's decision for over a working day",
            most=0,
            then="Decide about them under Exceptions.",
        ),
        Check("exceptions", "Hubs that wait for DCC's decision"),
        Check(
            "overdue_changes",
            "Changes of supplier are late by",
            Unit.SECONDS,
            most=600,
            then="The workers give these hubs to their gaining Suppliers: see the log of change_suppliers. Nothing "
            "takes effect while registrations are being imported.",
        ),
    ),
    "E-mails": (
        Check(
            "oldest_notice",
            "The oldest e-mail owed has waited",
            Unit.SECONDS,
            most=3_600,
            then="See Notices for what the mail server says. None is lost: each is tried again, at most every 30 "
            "minutes.",
        ),
        Check("owed_notices", "E-mails owed"),
    ),
}


def every() -> Iterator[Check]:
    """Yield the checks in their order."""
    for checks in GROUPS.values():
        yield from checks


def as_markdown() -> str:
    """Write the table for docs/operator.md."""
    lines = ["| what | worry when | then | metric |", "|---|---|---|---|"]
    lines += [
        f"| {check.title} | {check.worry_when or '–'} | {check.then or '–'} | `{metric_of(check)}` |"
        for check in every()
    ]
    return "\n".join(lines) + "\n"


def metric_of(check: Check) -> str:
    """Name a check as Prometheus does."""
    return f"firmware_portal_{check.name}" + ("_seconds" if check.unit is Unit.SECONDS else "")
