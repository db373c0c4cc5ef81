"""A week of windows as a picture, days across and hours down by the UK wall clock: where each span is drawn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from portal.ground.uk_time import LONDON, day_bounds
from scheduling.queries.weeks import Entry, Sort

DAY = timedelta(days=1)
WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)
LEFT, TOP, COLUMN, HEIGHT = 78, 30, 110, 24
"""Room for the hours' words and for the days' names, width of a day and height of an hour, in units of the picture."""
MOST_LANES = 5
"""Spans that are drawn beside each other; more of them at one time would be too narrow to be told apart."""
LEAST_HEIGHT = 6
FIRST_LINE, SECOND_LINE = 15, 31
NARROW = 50
"""Width of a bar below which its shape alone has room."""
SHAPES = {Sort.HARD: "■", Sort.SOFT: "□", Sort.MAINTENANCE: "×", Sort.INCIDENT: "!"}
WORDS = {Sort.HARD: "Hard", Sort.SOFT: "Soft", Sort.MAINTENANCE: "DCC", Sort.INCIDENT: "DCC"}

Row = tuple[int, int]
"""An hour by the wall clock, and whether it is that hour's second time."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A span's part of one day, as a rectangle in the picture."""

    entry: Entry
    x: float
    y: float
    width: float
    height: float
    address: str

    @property
    def words(self) -> Sequence[tuple[int, str]]:
        """Return what is written into it, line by line, each with its height: as much as there is room for."""
        shape, word = SHAPES[self.entry.sort], WORDS[self.entry.sort]
        if self.width < NARROW:
            return [(FIRST_LINE, shape)]
        lines = [(FIRST_LINE, f"{shape} {word}")]
        if self.height >= SECOND_LINE + 6:
            lines.append((SECOND_LINE, self.entry.what))
        return lines

    @property
    def face(self) -> tuple[float, float]:
        """Return the width and the height of what is seen of it, inside its border."""
        return round(self.width - 2, 2), round(self.height - 2, 2)


@dataclass(frozen=True, slots=True)
class Mark:
    """A word beside the picture: its end, and the line below which it stands."""

    word: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Column:
    """A day of the picture; `left_out` are the tops of hours that it has not."""

    day: date
    x: float
    is_today: bool
    left_out: Sequence[float]
    undrawn: int
    """Spans for which there is no room in the picture; the table has them."""


@dataclass(frozen=True, slots=True)
class Week:
    """The whole picture."""

    left: float
    width: float
    height: float
    bottom: float
    hours: Sequence[Mark]
    columns: Sequence[Column]
    bars: Sequence[Bar]

    @property
    def undrawn(self) -> int:
        """Return how many parts of spans are not drawn."""
        return sum(column.undrawn for column in self.columns)


def monday(*, asked: str, today: date, first: date, last: date) -> date:
    """Return the Monday of the week that is asked for, between two days; of this week if nobody can tell which."""
    try:
        day = min(max(date.fromisoformat(asked), first), last)
    except ValueError:
        day = today
    return day - timedelta(days=day.weekday())


def draw(*, first: date, entries: Sequence[Entry], today: date, edit: Callable[[Entry], str]) -> Week:
    """Lay out the week that begins with the day `first`; `edit` returns where an entry can be changed, if it can."""
    days = [first + DAY * number for number in range(7)]
    hours = {day: [_row(hour) for hour in _hours(day)] for day in days}
    rows = sorted({row for of_day in hours.values() for row in of_day})
    tops = {row: TOP + HEIGHT * number for number, row in enumerate(rows)}
    bottom = TOP + HEIGHT * len(rows)

    def height_of(moment: datetime, day: date, is_end: bool) -> float:
        opens, closes = day_bounds(day)
        if moment <= opens or moment >= closes:
            return bottom if is_end and moment >= closes else TOP
        local = moment.astimezone(LONDON)
        return tops[_row(moment)] + HEIGHT * (local.minute + local.second / 60) / 60

    bars: list[Bar] = []
    columns: list[Column] = []
    for number, day in enumerate(days):
        opens, closes = day_bounds(day)
        left = LEFT + COLUMN * number
        parts = [
            (height_of(entry.start_at, day, False), height_of(entry.end_at or closes, day, True), entry)
            for entry in entries
            if entry.start_at < closes and (entry.end_at is None or entry.end_at > opens)
        ]
        undrawn = 0
        for top, end, lane, lanes, entry in _side_by_side(parts):
            if lane >= MOST_LANES:
                undrawn += 1
                continue
            width = (COLUMN - 4) / min(lanes, MOST_LANES)
            bars.append(
                Bar(
                    entry,
                    round(left + 2 + lane * width, 2),
                    round(top, 2),
                    round(width - 1, 2),
                    round(max(end - top, LEAST_HEIGHT), 2),
                    edit(entry),
                )
            )
        left_out = [tops[row] for row in rows if row not in hours[day]]
        columns.append(Column(day, left, day == today, left_out, undrawn))
    marks = [Mark(_word(row), LEFT - 8, tops[row]) for row in rows]
    return Week(LEFT, LEFT + 7 * COLUMN, bottom + 1, bottom, marks, columns, bars)


def _hours(day: date) -> Iterator[datetime]:
    hour, end = day_bounds(day)
    while hour < end:
        yield hour
        hour += HOUR


def _row(moment: datetime) -> Row:
    local = moment.astimezone(UTC).astimezone(LONDON)
    return local.hour, local.fold


def _word(row: Row) -> str:
    return f"{row[0]:02d}:00{' again' if row[1] else ''}"


def _side_by_side(
    parts: Sequence[tuple[float, float, Entry]],
) -> Iterator[tuple[float, float, int, int, Entry]]:
    """Yield (top, end, lane, number of lanes, entry); what overlaps lies in lanes of its own."""
    cluster: list[tuple[float, float, int, Entry]] = []
    ends: list[float] = []
    for top, end, entry in sorted(parts, key=lambda part: (part[0], -part[1])):
        if cluster and top >= max(ends):
            yield from ((*one[:3], len(ends), one[3]) for one in cluster)
            cluster, ends = [], []
        lane = next((number for number, taken in enumerate(ends) if taken <= top), len(ends))
        if lane == len(ends):
            ends.append(end)
        else:
            ends[lane] = end
        cluster.append((top, end, lane, entry))
    yield from ((*one[:3], len(ends), one[3]) for one in cluster)
