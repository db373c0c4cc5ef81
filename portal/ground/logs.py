"""
Say in each log line what it is about, and let nothing personal or secret into any of them.

What is being worked on is bound once, at the top of the work; every line written below carries it, whoever
writes it. Standard library only, so that settings can name it before anything else is there.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, TypedDict, Unpack


class Keys(TypedDict, total=False):
    """
    All that a line may be bound to: our own numbers and references, never a household's.

    `release` is a CPL Entry ID, `booking` a reference, `network` a code; `command` is deployment, phase and attempt,
    such as `2049/ACTIVATE/1`; `task` is a task's id and `job` its name; the others are ids.
    """

    request: str | None
    user: int | None
    supplier: int | None
    task: str | None
    job: str | None
    release: str | None
    booking: str | None
    lot: int | None
    export: int | None
    command: str | None
    network: str | None
    notice: int | None
    selection: str | None


_bound: ContextVar[Mapping[str, str | int]] = ContextVar("bound", default=MappingProxyType({}))


@contextmanager
def bound(**keys: Unpack[Keys]) -> Iterator[None]:
    """
    Let every line that is written inside carry these, beside what is bound outside; None says nothing.

    What `add` binds inside is forgotten at the end as well.
    """
    before = _bound.set(_with(keys))
    try:
        yield
    finally:
        _bound.reset(before)


def add(**keys: Unpack[Keys]) -> None:
    """Bind what became known only now, until the innermost `bound` ends."""
    _bound.set(_with(keys))


def current() -> Mapping[str, str | int]:
    """Return what is bound at this moment, by name."""
    return _bound.get()


def _with(keys: Keys) -> Mapping[str, str | int]:
    told = {name: value for name, value in keys.items() if isinstance(value, str | int)}
    return MappingProxyType({**_bound.get(), **told})


# What a message, or the words of an exception, might repeat: a database names the row that it refused. The
# letters of a postcode may be any, so an ordinary word such as "a1 2bc" goes with them; nobody misses it. MPRNs of
# fewer than ten digits look like any other number: nothing but care keeps them out.
_HIDDEN: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)", "[login]"),
        (r"[\w.+-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+", "[e-mail address]"),
        # links that let their holder in
        (r"(?<=/invitation/)[^/\s]+|(?<=/reset/key/)[^/\s]+", "[link]"),
        (
            r"(\b\w*(?:password|passwd|secret|api_?key|csrf\w*token|authorization|cookie|__Host-session|__Host-csrf)\w*"
            r"[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|(?:(?:basic|bearer)\s+)?[^\s,;&)}\]]+)",
            r"\1[secret]",
        ),
        (r"\b(bearer)\s+[\w.~+/=-]+", r"\1 [secret]"),
        (r"(?<![\w.])\d{10}(?:\d{3})?(?![\w.]\d|\w)", "[meter point]"),
        (r"\b[A-Z]{1,2}\d[A-Z\d]?(?:\s|\+|%20)?\d[A-Z]{2}\b", "[postcode]"),
    )
)


def redacted(text: str) -> str:
    """Return the text without e-mail addresses, meter points, postcodes, passwords and links that let people in."""
    for pattern, instead in _HIDDEN:
        text = pattern.sub(instead, text)
    return text


def remember(*, thing: object) -> None:
    """
    Keep what is bound now with a thing that a later line may be about.

    Django tells of a request that it refused when the request is over already.
    """
    setattr(thing, _REMEMBERED, current())


_REMEMBERED: Final = "keys_of_the_log"


def _keys_of(record: logging.LogRecord) -> dict[str, str | int]:
    """Return what a line is about; a request or a task that is over says so itself."""
    keys = {**getattr(getattr(record, "request", None), _REMEMBERED, {}), **current()}
    told = getattr(record, "data", None)
    if isinstance(told, dict) and isinstance(told.get("id"), str):
        keys |= {"task": told["id"], "job": str(told.get("name", "")).rpartition(".")[2]}
    return keys


class _Discreet(logging.Formatter):
    """What both have in common: tracebacks name the row that a database refused."""

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the standard library's name
        """Write the traceback without anything personal."""
        return redacted(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Write the stack without anything personal."""
        return redacted(super().formatStack(stack_info))


class Lines(_Discreet):
    """For people: one line, with what is bound in brackets at its end, and any traceback below."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Write the line without anything personal; the keys are ours and stay as they are."""
        record.message = redacted(record.message)
        line = super().formatMessage(record)
        if keys := _keys_of(record):
            line += " [" + " ".join(f"{name}={value}" for name, value in keys.items()) + "]"
        return line


class JsonLines(_Discreet):
    """For machines: one JSON object in each line, with what is bound beside `time`, `level`, `logger`, `message`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the object without anything personal; the keys are ours and stay as they are."""
        line: dict[str, str | int] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process or 0,
            "message": redacted(record.getMessage()),
            **_keys_of(record),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, ensure_ascii=False)
