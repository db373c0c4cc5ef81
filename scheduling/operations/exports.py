"""
Write lists of any size to files, while whoever asked does something else.

One export is written at a time in the whole portal, in the order of asking, so that millions of rows never take more
than one worker from what hubs wait for. It is read in portions by key, each of its own moment: nothing holds the
database's past for as long as a large file takes. It is written beside the media folder, and put there whole: a worker
that dies leaves nothing behind, and once its lease is over the next one begins anew.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

from django.conf import settings
from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F

from hubs.models import Supplier
from portal.ground import asking, audit, downloads, logs, sql
from portal.ground.asking import Asker, Role
from portal.ground.clock import Clock
from portal.ground.stopping import KeepGoing, always
from scheduling.models import Export
from scheduling.queries.exports import KEPT, OPEN

if TYPE_CHECKING:
    from portal.models import User

logger = logging.getLogger(__name__)
LEASE: Final = timedelta(seconds=settings.LEASE_SECONDS)
FOLDER: Final = "exports"
PORTION: Final = 5_000
"""Rows that are read at a time."""
ATTEMPTS: Final = 3
"""So often an export is begun whose worker died; then it is what kills workers."""
MOST_OPEN: Final = 5
"""Exports of a Supplier's that wait or are written at a time: the others have their turn as well."""
LEFT_BEHIND: Final = timedelta(days=1)
"""A file that no export knows is deleted when it is older."""
State = Export.State


class UnableToExport(Exception):
    """There will be no such file; the message says why and what to do."""


class Source(Protocol):
    """A list as it is exported."""

    def heads(self) -> Sequence[str]:
        """Return what stands at the head of each column."""
        ...

    def portion(self, *, after: str, limit: int) -> tuple[Sequence[Sequence[str | int]], str | None]:
        """Return some lines behind a key, and the key to go on with; None at the end."""
        ...


@transaction.atomic
def ask(
    *,
    supplier: Supplier,
    name: str,
    subject: str,
    query: str,
    title: str,
    kind: Export.Format,
    expected: int | None,
    by: "User",
    now: datetime,
) -> Export:
    """
    Put an export in line, and on record who takes what away; the same that is in line already is returned.

    :raises UnableToExport: if the Supplier has as many in line as it may
    """
    Supplier.objects.select_for_update(no_key=True).get(pk=supplier.pk)
    waiting = Export.objects.filter(supplier=supplier, state__in=OPEN)
    same = waiting.filter(list=name, subject=subject, query=query, format=kind, asked_by=by).first()
    if same:
        return same
    if waiting.count() >= MOST_OPEN:
        raise UnableToExport(
            f"Your Supplier has {MOST_OPEN} exports under way, the most at a time. Wait until one is ready, or stop "
            "one."
        )
    export = Export.objects.create(
        supplier=supplier,
        asked_by=by,
        asked_at=now,
        list=name,
        subject=subject,
        query=query,
        title=title[:200],
        format=kind,
        expected=expected,
    )
    _record(export, "asked", by, now, {"list": name, "of": subject, "query": query, "format": kind})
    return export


@transaction.atomic
def stop(*, export: Export, by: "User", now: datetime) -> bool:
    """End an export that waits or is being written; whoever writes it finds out with the next portion."""
    stopped = Export.objects.filter(pk=export.pk, state__in=OPEN).update(
        state=State.STOPPED, lease_until=None, ended_at=now
    )
    if stopped:
        _record(export, "stopped", by, now, {})
    return bool(stopped)


@transaction.atomic
def again(*, export: Export, by: "User", now: datetime) -> bool:
    """Put an export that failed, was stopped, or whose file has gone, in line once more."""
    begun = (
        Export.objects.filter(pk=export.pk, stored="")
        .exclude(state__in=OPEN)
        .update(state=State.WAITING, rows=0, attempts=0, began_at=None, ended_at=None, size=None, error="")
    )
    if begun:
        _record(export, "asked", by, now, {"list": export.list, "of": export.subject, "query": export.query})
    return bool(begun)


def _record(export: Export, verb: str, by: "User", now: datetime, facts: dict[str, Any]) -> None:
    audit.record(actor=by, verb=f"export.{verb}", subject=f"export:{export.pk}", now=now, facts=facts)


# -- writing -------------------------------------------------------------------------------------------------

# Raw SQL: found and taken by one statement. What died comes first, so that nothing waits behind it; and nothing is
# taken while another is being written.
TAKE = """
UPDATE scheduling_export export SET
    state = 'running', token = export.token + 1, attempts = export.attempts + 1, rows = 0,
    lease_until = %(now)s + %(lease)s, began_at = %(now)s
WHERE export.id = (
    SELECT id FROM scheduling_export
    WHERE state IN ('waiting', 'running') AND (state = 'waiting' OR lease_until <= %(now)s)
      AND NOT EXISTS (
          SELECT FROM scheduling_export other WHERE other.state = 'running' AND other.lease_until > %(now)s)
    ORDER BY state, id LIMIT 1 FOR UPDATE)
RETURNING export.id
"""
ONE_AT_A_TIME: Final = 0x_E790


def take(*, now: datetime) -> Export | None:
    """Take the next export, or one whose worker was not heard of any more; None where there is none to take."""
    with transaction.atomic():
        # two that look at the same moment would both see that nobody writes
        if sql.rows("SELECT pg_try_advisory_xact_lock(%(key)s)", {"key": ONE_AT_A_TIME}) == [(False,)]:
            return None
        Export.objects.filter(state=State.RUNNING, lease_until__lte=now, attempts__gte=ATTEMPTS).update(
            state=State.FAILED,
            lease_until=None,
            ended_at=now,
            error="Whoever wrote it ended without a word, more than once. Begin again, with fewer rows or columns.",
        )
        taken = sql.rows(TAKE, {"now": now, "lease": LEASE})
    return Export.objects.select_related("supplier", "asked_by").get(pk=taken[0][0]) if taken else None


def make_next(
    *,
    source_of: Callable[[Export], Source],
    clock: Clock,
    keep_going: KeepGoing = always,
) -> bool:
    """
    Write the next export that nobody writes; return whether there was one.

    Who is asked to stop hands it back after the portion that it is at. `source_of` may raise `UnableToExport`.
    """
    if not keep_going() or (export := take(now=clock())) is None:
        return False
    with logs.bound(export=export.pk, supplier=export.supplier_id):
        try:
            _write(export, source_of, clock, keep_going)
        except UnableToExport as refusal:
            _end(export, clock(), state=State.FAILED, error=str(refusal))
        except Exception:
            logger.exception("the export cannot be written")
            _end(
                export,
                clock(),
                state=State.FAILED,
                error="Something went wrong on our side, and our log has it. Begin again; if it fails again, tell DCC.",
            )
        except BaseException:  # broken off as the worker ends: the next one begins anew
            _hand_back(export)
            raise
    return True


def _write(
    export: Export, source_of: Callable[[Export], Source], clock: Clock, keep_going: KeepGoing
) -> None:
    who = Asker(Role.SUPPLIER, export.supplier_id)
    with asking.acting(who):
        source = source_of(export)
    with tempfile.TemporaryFile() as file:
        written = 0
        with _writer(export, file, source.heads()) as write:
            after: str | None = ""
            while after is not None:
                with asking.acting(who):
                    lines, after = source.portion(after=after, limit=PORTION)
                write(lines)
                written += len(lines)
                now = clock()
                if not _held(export).update(rows=written, lease_until=now + LEASE):
                    return  # stopped, or somebody else's by now
                if after is not None and not keep_going():
                    _hand_back(export)
                    return
        size = file.tell()
        file.seek(0)
        stored = default_storage.save(
            f"{FOLDER}/{export.supplier_id}-{export.pk}-{export.token}.{export.format}", File(file)
        )
    if not _end(export, clock(), state=State.DONE, stored=stored, size=size):
        default_storage.delete(stored)


def _writer(export: Export, file: IO[bytes], heads: Sequence[str]) -> Any:
    if export.format == Export.Format.CSV:
        return downloads.csv_file(file=file, header=heads)
    return downloads.workbook_file(file=file, header=heads, name="List")


def _held(export: Export) -> Any:
    return Export.objects.filter(pk=export.pk, state=State.RUNNING, token=export.token)


def _end(export: Export, now: datetime, **facts: Any) -> bool:
    return bool(_held(export).update(lease_until=None, ended_at=now, **facts))


def _hand_back(export: Export) -> None:
    """Let somebody else begin anew, because this process was asked to end: that is no fault of the export's."""
    _held(export).update(state=State.WAITING, lease_until=None, rows=0, attempts=F("attempts") - 1)


# -- forgetting ----------------------------------------------------------------------------------------------


def sweep(*, now: datetime) -> None:
    """Delete files that have lain ready for long enough, and those that no export knows."""
    for export in Export.objects.exclude(stored="").filter(ended_at__lte=now - KEPT):
        default_storage.delete(export.stored)
        Export.objects.filter(pk=export.pk, stored=export.stored).update(stored="")
    for stored in _stored():
        if Export.objects.filter(stored=stored).exists():
            continue
        with suppress(FileNotFoundError):  # another sweeper was quicker
            if default_storage.get_modified_time(stored) <= now - LEFT_BEHIND:
                default_storage.delete(stored)


def _stored() -> Iterator[str]:
    if default_storage.exists(FOLDER):
        for name in default_storage.listdir(FOLDER)[1]:
            yield f"{FOLDER}/{name}"
