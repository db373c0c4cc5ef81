"""A week of slots as a table, days across and hours down: what each cell says, and where it leads."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

from django.http import QueryDict

from portal.ground.uk_time import LONDON, day_bounds
from scheduling.models import Booking
from scheduling.queries.pictures import OpenHour
from scheduling.queries.plans import Timing

WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)
PLACE = "#picture"
CLOSED = {
    "protected": "in a protected window of yours",
    "maintenance": "closed by DCC for maintenance",
    "incident": "closed by an incident",
}
THOUSAND, MILLION = 1_000, 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """What of the picture is asked for, as its address says it."""

    network: int
    first_day: date
    ranging: bool = False
    """A click chooses the first or the last slot of a range, rather than one slot."""
    first: datetime | None = None
    """The start of the first slot of a range, once that is chosen."""
    hour: datetime | None = None
    """The hour whose slots are listed one by one."""

    @property
    def address(self) -> str:
        """Return the address of the picture as asked for."""
        said = {"network": str(self.network), "week": self.first_day.isoformat()}
        if self.ranging:
            said["range"] = "1"
        for name, moment in (("first", self.first), ("hour", self.hour)):
            if moment:
                said[name] = moment.isoformat()
        return f"?{urlencode(said)}{PLACE}"

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Return the half-open span of the week, in UTC."""
        return day_bounds(self.first_day)[0], day_bounds(self.first_day + WEEK)[0]


def asked(*, query: QueryDict, networks: Sequence[int], first: datetime, last: datetime) -> Asked:
    """Read what is asked for, kept within the networks and the open slots; whatever cannot be read is ignored."""
    network = query.get("network", "")
    low, high = (moment.astimezone(LONDON).date() for moment in (first, last))
    try:
        day = min(max(date.fromisoformat(query.get("week", "")), low), high)
    except ValueError:
        day = low
    return Asked(
        network=next((one for one in networks if str(one) == network), networks[0]),
        first_day=day,
        ranging=bool(query.get("range")),
        first=_moment(query.get("first", ""), first, last) if query.get("range") else None,
        hour=_moment(query.get("hour", ""), first - HOUR, last),
    )


def _moment(text: str, first: datetime, last: datetime) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo and first <= moment <= last else None


@dataclass(frozen=True, slots=True)
class Cell:
    """
    One hour of one day; its `kind` says its class too.

    It is `open`, `full`, `passed`, `closed` (past the cut-off), `none`, or a reason of `CLOSED`.
    """

    kind: str
    label: str
    room: str = ""
    """Short enough for a cell; the label has the number."""
    fits: str = ""
    depth: int = 0
    """0 to 4: how much of what is chosen fits."""
    own: int = 0
    address: str = ""
    first: str = ""
    last: str = ""
    count: int = 0
    is_first: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """An hour of the UK day, across the days."""

    word: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Link:
    """A word that leads somewhere, or is where one is."""

    word: str
    address: str
    is_here: bool = False


@dataclass(frozen=True, slots=True)
class Option:
    """An hour to choose the first or the last slot of a range from."""

    word: str
    first: str
    last: str
    is_first: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """The whole table, with its ways around."""

    network: str
    tabs: Sequence[Link]
    modes: Sequence[Link]
    days: Sequence[date]
    rows: Sequence[Row]
    options: Sequence[Option]
    before: str
    after: str
    asked: Asked

    @property
    def first_start(self) -> str:
        """The start that was chosen as the first, as a form sends it."""
        return _written(self.asked.first) if self.asked.first else ""


def draw(
    *,
    asked: Asked,
    networks: Mapping[int, str],
    needed: Mapping[int, int],
    hours: Sequence[OpenHour],
    passed: Mapping[datetime, datetime],
    own: Mapping[datetime, int],
    first: datetime,
    last: datetime,
    check: Callable[[Timing], str],
    now: datetime,
) -> Picture:
    """
    Lay a week out, from what its hours have.

    `networks` are the names of those that can be turned to, `first` and `last` the starts of the open slots,
    and `check` returns the address of the last step for a plan.
    """
    days = [asked.first_day + timedelta(days=number) for number in range(7)]
    at = {_place(hour): hour for hour in _hours(asked.span)}
    open_at = {one.hour: one for one in hours}
    used = sorted({_place(hour)[1:] for hour in {*open_at, *passed, *own}})

    def cell(day: date, row: tuple[int, int]) -> Cell:
        hour = at.get((day, *row))
        if hour is None:
            return Cell("none", "There is no such hour on this day")
        mine = own.get(hour, 0)
        if (one := open_at.get(hour)) is None:
            return _shut(hour, passed.get(hour), mine, now)
        return _open(one, mine, needed[asked.network], asked, check)

    low, high = (moment.astimezone(LONDON).date() for moment in (first, last))
    turned = replace(asked, hour=None)
    return Picture(
        network=networks[asked.network],
        tabs=[
            Link(name, replace(turned, network=network).address, network == asked.network)
            for network, name in networks.items()
        ],
        modes=[
            Link("One slot", replace(turned, ranging=False, first=None).address, not asked.ranging),
            Link("From one slot to another", replace(turned, ranging=True).address, asked.ranging),
        ],
        days=days,
        rows=[Row(_hour_word(*row), [cell(day, row) for day in days]) for row in used],
        options=[
            Option(
                f"{_moment_word(one.hour)}: room for {one.room:,}",
                _written(one.first_start),
                _written(one.last_start),
                bool(asked.first and one.first_start <= asked.first <= one.last_start),
            )
            for one in hours
            if not one.closed
        ],
        before=replace(turned, first_day=max(days[0] - WEEK, low)).address if days[0] > low else "",
        after=replace(turned, first_day=days[0] + WEEK).address if days[-1] < high else "",
        asked=asked,
    )


COLUMNS = ("Network", "Day", "Hour (UK)", "State", "Room for you", "Of your choice fit", "Booked by you")
STATES = {
    "open": "open",
    "full": "full",
    "passed": "passed",
    "closed": "past the cut-off",
    "none": "no slot",
    **CLOSED,
}


def lines(picture: Picture) -> Iterator[Sequence[str]]:
    """Yield each cell of the table as a line below `COLUMNS`, day by day."""
    for place, day in enumerate(picture.days):
        for row in picture.rows:
            cell = row.cells[place]
            room = str(cell.count) if cell.kind in ("open", "full") else ""
            yield (
                picture.network,
                day.isoformat(),
                row.word,
                STATES[cell.kind],
                room,
                cell.fits,
                str(cell.own),
            )


def _hours(span: tuple[datetime, datetime]) -> Iterator[datetime]:
    hour, end = span
    while hour < end:
        yield hour
        hour += HOUR


def _place(hour: datetime) -> tuple[date, int, int]:
    """Return the day, the hour by the wall clock, and whether it is that hour's second time."""
    local = hour.astimezone(LONDON)
    return local.date(), local.hour, local.fold


def _shut(hour: datetime, last: datetime | None, own: int, now: datetime) -> Cell:
    """Say of an hour without open slots why it has none."""
    booked = f" {own:,} of yours are booked in it." if own else ""
    if last is None:
        return Cell("none", f"{_moment_word(hour)}: no slot.{booked}", own=own)
    if last < now:
        return Cell("passed", f"{_moment_word(hour)}: passed.{booked}", own=own)
    return Cell("closed", f"{_moment_word(hour)}: past the cut-off.{booked}", own=own)


def _open(one: OpenHour, own: int, wanted: int, asked: Asked, check: Callable[[Timing], str]) -> Cell:
    if one.closed:
        booked = f" {own:,} of yours are booked in it." if own else ""
        return Cell(one.closed, f"{_moment_word(one.hour)}: {CLOSED[one.closed]}.{booked}", own=own)
    fitting = min(one.room, wanted)
    label = f"{_moment_word(one.hour)}: room for {one.room:,}; "
    if fitting < wanted:
        label += f"{fitting:,} of {wanted:,} chosen hubs fit"
    else:
        label += "the chosen hub fits" if wanted == 1 else f"all {wanted:,} chosen hubs fit"
    if one.slots > 1:
        label += f", in {one.slots} slots"
    if own:
        label += f"; {own:,} of yours are booked"
    if asked.ranging and asked.first:
        address = check(Timing(Booking.Plan.RANGE, start_at=asked.first, last_start_at=one.last_start))
        act = "Choose it as the last."
    elif asked.ranging:
        address, act = replace(asked, first=one.first_start, hour=None).address, "Choose it as the first."
    elif one.slots == 1 and one.fits_at:
        address, act = check(Timing(Booking.Plan.ONE_SLOT, start_at=one.fits_at)), "Choose it."
    else:
        address = replace(asked, hour=one.hour).address.replace(PLACE, "#hour")
        act = "Show its slots."
    return Cell(
        kind="open" if one.room else "full",
        label=f"{label}. {act}",
        room=_short(one.room),
        fits="all" if fitting == wanted else f"{100 * fitting // wanted} %",
        depth=-(-4 * fitting // wanted) if fitting == wanted else min(3, -(-4 * fitting // wanted)),
        own=own,
        address=address,
        first=_written(one.first_start),
        last=_written(one.last_start),
        count=one.room,
        is_first=bool(asked.first and one.first_start <= asked.first <= one.last_start),
    )


def _short(number: int) -> str:
    """Write a number in at most five characters or so."""
    if number < 10 * THOUSAND:
        return f"{number:,}"
    if number < MILLION:
        return f"{number // THOUSAND}k"
    return f"{number / MILLION:.1f}M"


def _written(moment: datetime) -> str:
    """Write an instant so that instants sort as their words do."""
    return moment.astimezone(UTC).isoformat()


def _hour_word(hour: int, fold: int) -> str:
    return f"{hour:02d}:00, second time" if fold else f"{hour:02d}:00"


def _moment_word(moment: datetime) -> str:
    local = moment.astimezone(LONDON)
    twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
    return f"{local:%A %-d %B, %H:%M}{f' {local:%Z}' if twice else ''}"
