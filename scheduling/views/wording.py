"""Numbers and moments in the words that several pages use."""

from collections.abc import Sequence
from datetime import datetime, time, timedelta

from django.db.models import TextChoices

from portal.ground.uk_time import LONDON
from scheduling.models import Booking, Proposal, Weekday
from scheduling.operations.proposals import read_timing
from scheduling.planning import Hours
from scheduling.queries import previews
from scheduling.queries.parts import Destination
from scheduling.queries.plans import Timing
from scheduling.queries.standings import Standing


class Stand(TextChoices):
    """How a Supplier's hubs stand with a release; the values choose the colour and the shape."""

    DONE = "succeeded", "Done"
    BOOKED = "booked", "Booked"
    LEFT = "provisional", "Left to book"


def bar_of(standing: Standing) -> dict[Stand, int]:
    """Return a standing as the parts of a bar."""
    return {Stand.DONE: standing.done, Stand.BOOKED: standing.booked, Stand.LEFT: standing.left}


def time_left(*, until: datetime, now: datetime) -> str:
    """Say how long there is until a moment, in the largest unit that says enough."""
    left = until - now
    if left <= timedelta():
        return "over"
    for length, unit in ((timedelta(days=1), "day"), (timedelta(hours=1), "hour")):
        if left >= 2 * length:
            return f"{left // length} {unit}s left"
    minutes = max(left // timedelta(minutes=1), 1)
    return f"{minutes} minute{'' if minutes == 1 else 's'} left"


def plan_words(*, of: Timing | Booking) -> str:
    """Say how the slots are chosen, with the particulars of the plan, in UK time."""
    if isinstance(of, Booking) and of.origin == Booking.Origin.CARRIED_OVER:
        return "The slots in which the hubs came"
    if of.hours:
        return f"Spread evenly over {_hours_words(of.hours)}"
    if of.start_at and of.last_start_at:
        first, last = _moment_words(of.start_at), _moment_words(of.last_start_at)
        return f"As early as possible, from the slot of {first}, to that of {last}"
    if of.start_at:
        return f"One slot: {_moment_words(of.start_at)}"
    return str(Booking.Plan(of.plan).label)


def _hours_words(hours: Hours) -> str:
    if hours.opens == hours.closes:
        clock = "at any hour"
    elif hours.closes == time():
        clock = f"{hours.opens:%H:%M} to midnight"
    else:
        next_morning = " the next morning" if hours.closes < hours.opens else ""
        clock = f"{hours.opens:%H:%M} to {hours.closes:%H:%M}{next_morning}"
    first, last = hours.first_day, hours.last_day
    return f"{_weekday_words(hours.weekdays)}, {clock} UK time, {first:%-d %B %Y} to {last:%-d %B %Y}"


def _weekday_words(weekdays: Sequence[int]) -> str:
    """Name weekdays, given in order; three or more in a row by the first and the last."""
    names = [str(Weekday(weekday).label) for weekday in weekdays]
    if len(weekdays) == len(Weekday):
        return "every day"
    if len(weekdays) > 2 and weekdays[-1] - weekdays[0] == len(weekdays) - 1:
        return f"{names[0]} to {names[-1]}"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _moment_words(moment: datetime) -> str:
    local = moment.astimezone(LONDON)
    twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return f"{local:%A %-d %B %Y, %H:%M}{f' {local:%Z}' if twice else ''}"


def asks(*, of: previews.Preview) -> list[tuple[str, int, int]]:
    """
    Say of a preview who would be asked about how many hubs, and to how many of them it would have to agree.

    Each by one market participant ID: its role can differ from hub to hub, and which IDs belong together is not told.
    """
    return [
        (
            f"Supplier {ask.supplier.gas_participant_id or ask.supplier.import_participant_id}",
            ask.hubs,
            ask.explicit,
        )
        for ask in of.asks
    ]


def title_of(*, proposal: Proposal) -> str:
    """Say in a few words what is proposed."""
    if proposal.act == Proposal.Act.RULE:
        return "Change how many hubs one person may touch alone"
    hubs = f"{proposal.hubs:,} hub{'' if proposal.hubs == 1 else 's'}"
    assert proposal.release is not None  # noqa: S101 - but for the rule, each is about one
    of = f"of {proposal.booking.reference}" if proposal.booking else f"for {proposal.release.name}"
    return f"{proposal.get_act_display()} {hubs} {of}"


def terms_of(*, proposal: Proposal) -> list[tuple[str, str]]:
    """Return the particulars of what is proposed, by name."""
    terms = proposal.terms
    if proposal.act == Proposal.Act.RULE:
        return [("Now", _size_words(terms["before"])), ("Then", _size_words(terms["size"]))]
    if proposal.act == Proposal.Act.BOOK:
        particulars = [("Plan", plan_words(of=read_timing(terms=terms["timing"])))]
        if terms["despite"]:
            particulars.append(("In soft protected windows, because", terms["despite"]))
        return particulars
    part = terms["part"]
    which = "The whole booking, as far as it can still be changed"
    if part and part["hubs"] is not None:
        which = f"{len(part['hubs']):,} hubs by their CHF IDs"
    elif part and part["criteria"]:
        which = "Those that match a filter: " + ", ".join(sorted(part["criteria"])).replace("_", " ")
    particulars = [("Which hubs", which)]
    if proposal.act == Proposal.Act.MOVE:
        to = Destination(Booking.Plan(terms["to"]["plan"]), datetime.fromisoformat(terms["to"]["at"]))
        particulars.append(("To", to.words))
    if terms["only_if_all"]:
        particulars.append(("If one of them cannot go", "none does"))
    return particulars


def _size_words(size: int | None) -> str:
    if size is None:
        return "Any number of hubs"
    return f"{size:,} hub{'' if size == 1 else 's'} in 24 hours"
