"""How identifiers, moments and counts are written on every page."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.core.serializers.json import DjangoJSONEncoder
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from hubs.identifiers import format_eui64
from portal import checks, pictures
from portal.ground import asking, glossary
from portal.ground.uk_time import LONDON
from scheduling.queries import consents
from scheduling.queries.control_room import WATCHED_FROM, History

register = template.Library()

LONG = timedelta(days=1, minutes=1)
"""What lasts longer needs the day beside the time of day."""
SHORT = timedelta(minutes=8)
"""And what lasts no longer the seconds: two of five moments at even distances would have the same minute."""


@register.filter
def eui64(number: int | None) -> str:
    """Write a CHF or GPF ID as `00-DB-12-34-56-78-90-A0`; nothing for none."""
    return "" if number is None else format_eui64(number)


@register.filter
def local(moment: datetime | None) -> str:
    """Write a moment in UK time, such as `Sun 22 Nov 2026, 14:02`; name BST or GMT where it happens twice."""
    return "" if moment is None else _written(moment.astimezone(LONDON), form="%a %-d %b %Y, %H:%M")


@register.filter
def clock(moment: datetime | None) -> str:
    """Write only the time of day of a moment in UK time, naming BST or GMT where it happens twice."""
    return "" if moment is None else _written(moment.astimezone(LONDON), form="%H:%M")


@register.filter
def moment(moment: datetime | None) -> SafeString | str:
    """Mark a moment up for machines, with its words in UK time as `local` writes them."""
    if moment is None:
        return ""
    return format_html(
        '<time class="moment" datetime="{}">{}</time>', moment.astimezone(LONDON).isoformat(), local(moment)
    )


@register.filter
def as_json(value: Any) -> str:
    """Write a value as JSON, for an attribute that a script reads."""
    return json.dumps(value, cls=DjangoJSONEncoder)


@register.filter
def span(span: timedelta) -> str:
    """Write a span of time in its two largest units, such as `2 min 5 s`."""
    return checks.duration(span.total_seconds())


@register.filter
def as_of(moment: datetime | None) -> str:
    """Say from when a number is: `as of 14:02` today, with the day where it is older."""
    if moment is None:
        return "not counted yet"
    at, today = moment.astimezone(LONDON), timezone.now().astimezone(LONDON).date()
    return f"as of {_written(at, form='%H:%M' if at.date() == today else '%a %-d %b %Y, %H:%M')}"


def _written(at: datetime, *, form: str) -> str:
    words = at.strftime(form)
    twice = at.replace(fold=0).utcoffset() != at.replace(fold=1).utcoffset()
    return f"{words} {at.tzname()}" if twice else words


@register.inclusion_tag("components/stacked_bar.html")
def stacked_bar(counts: Mapping[str, int], caption: str, unit: str = "hubs") -> dict[str, Any]:
    """Draw counts per state as one bar, with the same numbers as a table under it."""
    parts = pictures.bar(counts)
    return {"parts": parts, "caption": caption, "unit": unit, "total": sum(part.count for part in parts)}


@register.inclusion_tag("components/state.html")
def state(state: str, label: str = "") -> dict[str, str]:
    """Show a state as its shape and its word, or another word."""
    return {"state": str(state), "label": label or pictures.label_of(state)}


@register.simple_block_tag
def alert(content: SafeString, kind: str, *title: object) -> str:
    """Show what must not be overlooked, where it is more than a sentence, under a title of one part or several."""
    context = {"kind": kind, "title": "".join(str(part) for part in title), "text": content}
    return render_to_string("components/alert.html", context)


@register.inclusion_tag("components/confirmation.html")
def confirmation(*triples: Any) -> dict[str, list[tuple[str, Any, str]]]:
    """
    Say in numbers what will happen: labels, each with a figure and its unit in the singular.

    What comes to nothing is left out, but for the first.
    """
    figures = list(zip(triples[::3], triples[1::3], triples[2::3], strict=True))
    return {
        "figures": [
            (label, figure, unit if figure == 1 else f"{unit}s")
            for number, (label, figure, unit) in enumerate(figures)
            if figure or not number
        ]
    }


@register.simple_block_tag
def refusal(content: SafeString) -> str:
    """Show one thing that was refused, in a list of them."""
    return render_to_string("components/refusal.html", {"content": content})


@register.filter
def percent(share: float) -> str:
    """Write a share as `0.75 %`."""
    return f"{100 * share:.2f}".rstrip("0").rstrip(".") + " %"


@register.filter
def of_limit(share: float) -> str:
    """Say how much of its limit the evidence has reached."""
    return pictures.share_of_limit(share)


@register.inclusion_tag("components/limit_bar.html")
def limit_bar(share: float) -> dict[str, Any]:
    """Draw how much of its limit the evidence has reached, with the words."""
    return {
        "words": pictures.share_of_limit(share),
        "width": round(100 * min(share, 1.0), 1),
        "half": 100 * WATCHED_FROM,
        "kind": "beyond" if share >= 1 else "near" if share > WATCHED_FROM else "far",
    }


@register.inclusion_tag("components/evidence_over_time.html")
def evidence_over_time(history: History, key: int, name: str, is_whole: bool = False) -> dict[str, Any]:
    """
    Draw how near a release, by its id and its name, came to its limits, with a table of the same shares.

    The table is open from the beginning where the picture has to be whole, as on paper.
    """
    since, until = history.since, history.until
    form = "%-d %b, %H:%M" if until - since > LONG else "%H:%M" if until - since > SHORT else "%H:%M:%S"
    shares = {track.stream.letter: dict(track.shares) for track in history.tracks}
    moments = sorted({moment for track in history.tracks for moment, _ in track.shares})
    rows, latest = [], dict.fromkeys(shares, "–")
    for moment in moments:
        latest |= {letter: f"{int(100 * of[moment])} %" for letter, of in shares.items() if moment in of}
        rows.append((moment, list(latest.values())))
    return {
        "key": key,
        "name": name,
        "history": history,
        "lines": pictures.lines(
            {track.stream.letter: track.shares for track in history.tracks}, since=since, until=until
        ),
        "marks": [
            (pictures.height_of(share), f"{share:.0%}".replace("%", " %")) for share in (0, WATCHED_FROM, 1)
        ],
        "limit_y": pictures.height_of(1.0),
        "ticks": [
            (x, _written(at.astimezone(LONDON), form=form))
            for x, at in pictures.ticks(since=since, until=until)
        ],
        "is_whole": is_whole,
        "rows": reversed(rows),
        "edges": pictures,
    }


@register.inclusion_tag("components/rehearsal_course.html")
def rehearsal_course(result: Mapping[str, Any], key: int) -> dict[str, Any]:
    """Draw the course of a rehearsal, by its id, as its result has it, with the same numbers as a table."""
    course = result["course"]
    openings = [(day, number) for day, _, number, _ in course["openings"]]
    return {
        "key": key,
        "picture": pictures.course(points=course["points"], openings=openings, halted_at=course["halted_at"]),
        "rows": _course_rows(course),
        "days": course["points"][-1][0],
        "is_halted": course["halted_at"] is not None,
        "of_many": result["runs"] > 1 and result["runs"],
        "begins": course["begins"] and checks.duration(course["begins"] * 86_400),
        "edges": pictures,
    }


ROWS = 24
"""Rows of the table beside a rehearsal's picture, about."""


def _course_rows(course: Mapping[str, Any]) -> list[tuple[str, int, int, str]]:
    """Return when stages opened and the halt came, and some moments between, with the counts of then."""
    points = course["points"]
    events = [
        (
            day,
            f"stage {number} of {model} opens, for {size:,} hubs"
            if size
            else f"stage {number} of {model} opens",
        )
        for day, model, number, size in course["openings"][:ROWS]
    ]
    if course["halted_at"] is not None:
        events.append((course["halted_at"], "it halts"))
    every = max(1, len(points) // ROWS)
    told = {day for day, _ in events}
    events += [(day, "") for day, *_ in points[::every] if day not in told]
    rows = []
    for day, words in sorted(events, key=lambda event: event[0]):
        _, commanded, bad = max((point for point in points if point[0] <= day), default=points[0])
        rows.append((checks.duration(day * 86_400), commanded, bad, words))
    if course["halted_at"] is None:
        rows.append((checks.duration(points[-1][0] * 86_400), points[-1][1], points[-1][2], "the end"))
    return rows


@register.simple_tag
def open_questions(supplier: int) -> str:
    """Count what a Supplier, by id, has to answer about shared hubs, for the main menu; nothing for none."""
    # the menu is on pages of accounts and of errors as well, where nobody has said yet for whom is asked
    with asking.acting(asking.Asker(asking.Role.SUPPLIER, supplier)):
        number = consents.count_open(supplier=supplier)
    return f"{consents.MOST}+" if number > consents.MOST else str(number or "")


class ExplainedNode(template.Node):
    """A part of a page, and after it the words that it uses, each with its meaning."""

    def __init__(self, nodelist: template.NodeList) -> None:
        self.nodelist = nodelist

    def render(self, context: template.Context) -> str:
        """Draw the part as it is; the words only for who is signed in, and may look further in the glossary."""
        part = self.nodelist.render(context)
        user = context.get("user")
        if user is None or not user.is_authenticated or context.get("explains_words"):
            return part
        words = render_to_string("components/words.html", {"words": glossary.used_in(part)})
        return mark_safe(part + words)  # noqa: S308 - both come from templates


@register.tag
def explained(parser: template.base.Parser, token: template.base.Token) -> ExplainedNode:
    """
    Explain the words of the field that stand between this tag and its end, once, behind them.

    A page that explains words itself says so by `explains_words`.
    """
    nodelist = parser.parse(("endexplained",))
    parser.delete_first_token()
    return ExplainedNode(nodelist)
