"""
Make the evidence pack of a release: its report as a page, and the rows that it stands on.

All of it is read in one snapshot, so that no two numbers in it are of different moments; and it is written to a file,
not to whoever asked, whose line may be slow: a snapshot that is kept for long keeps the database from tidying up.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.template.loader import render_to_string

from firmware import queries as releases
from firmware.models import FirmwareRelease
from portal.ground import audit, downloads, sql
from portal.ground.uk_time import Span
from scheduling import packs
from scheduling.lifecycle import State
from scheduling.models import Rehearsal
from scheduling.queries import reports
from scheduling.queries.asked_rehearsals import told
from scheduling.queries.reports import Report

if TYPE_CHECKING:
    from portal.models import User

STYLES: Final = ("components.css", "pack.css", "health.css", "control_room.css", "release_report.css")
"""The stylesheets of the report, in `static/css`; a pack carries them."""


def make(*, release: FirmwareRelease, file: IO[bytes], by: "User", now: datetime) -> str:
    """
    Write the evidence pack of a release to a file, signed, and put on record who has it.

    Returns the SHA-256 of its manifest, by which the record knows it.
    """
    with packs.Pack(file=file) as pack:
        with sql.snapshot():
            report = reports.of_release(release=reports.published().get(pk=release.pk), now=now)
            signer = packs.private_key(text=settings.EVIDENCE_KEY)
            people, decided = _write_decisions(pack, report.release)
            with pack.add(name="report.html") as part:
                part.write(_page(report, packs.as_digits(key=signer.public_key())).encode())
            with pack.add(name="release.json") as part:
                part.write(_json(_facts(report)))
            with pack.add(name="rehearsals.json") as part:
                part.write(
                    _json([_rehearsal(one) for one in reports.every_rehearsal(release=report.release)])
                )
            _write_table(pack, "bookings.csv", BOOKING, _bookings(report.release))
            _write_table(pack, "evidence.csv", EVIDENCE, _evidence(report.release))
            _write_table(pack, "people.csv", PERSON, _people(people | _named(report)))
        digest = pack.seal(
            facts={
                "release": release.pk,
                "cpl_entry_id": release.cpl_entry_id,
                "image_sha256": release.digest,
                "made_at": now.isoformat(),
                "made_by": by.pk,
                "portal": settings.PORTAL_ADDRESS,
                "decisions": decided,
            },
            key=signer,
        )
    audit.record(
        actor=by,
        verb="release.evidence_taken",
        subject=releases.subject(release_id=release.pk),
        now=now,
        facts={"manifest": digest, "decisions": decided["entries"], "head": decided["head"]},
    )
    return digest


def _write_decisions(pack: packs.Pack, release: FirmwareRelease) -> tuple[set[int], dict[str, Any]]:
    """Write all decisions with their chain; return who decided, and where the chain ends."""
    people: set[int] = set()
    number, head = 0, packs.BEGINNING
    with pack.add(name=packs.DECISIONS) as part:
        for entry in reports.every_decision(release=release):
            line = packs.as_line(entry=reports.as_recorded(entry=entry))
            part.write(line + b"\n")
            number, head = number + 1, packs.link(before=head, line=line)
            if entry.actor_id is not None:
                people.add(entry.actor_id)
    return people, {"entries": number, "head": head}


def _page(report: Report, key: str) -> str:
    styles = "\n".join((settings.BASE_DIR / "static" / "css" / name).read_text() for name in STYLES)
    return render_to_string("reports/pack.html", {"report": report, "styles": styles, "key": key})


class _Encoder(DjangoJSONEncoder):
    def default(self, o: object) -> Any:
        return str(o) if isinstance(o, Span) else super().default(o)


def _json(facts: object) -> bytes:
    return json.dumps(facts, cls=_Encoder, ensure_ascii=False, indent=2).encode()


def _facts(report: Report) -> dict[str, Any]:
    release, situation = report.release, report.situation
    return {
        "as_of": report.as_of,
        "release": _columns(release) | {"version": str(release.version)},
        "hub_models": sorted(model.name for model in release.hub_models.all()),
        "predecessors": [
            {"version": str(one.version), "cpl_entry_id": one.cpl_entry_id} for one in report.predecessors
        ],
        "periods": [
            {"network": one.network.name, "start_at": one.start_at, "end_at": one.end_at}
            for one in report.periods
        ],
        "policy": _columns(release.policy),
        "sign_offs": [_columns(one.sign_off) for one in report.sign_offs],
        "halts": [
            _columns(story.halt)
            | {"part": str(story.halt.part), "commanded": story.commanded, "facts": story.halt.facts}
            for story in report.halts
        ],
        "stages": [_columns(stage) | {"model": stage.model.name} for stage in report.stages],
        "outcomes": [
            {"model": cell.model, "network": cell.network}
            | {name: getattr(cell.outcomes, name) for name in cell.outcomes.__slots__}
            for cell in situation.cells
        ],
        "suppliers": [
            {
                "supplier": one.supplier.name,
                "bookings": one.bookings,
                "allocated": one.allocated,
                "carried_over": one.carried_over,
                "hubs": one.progress.by_state,
            }
            for one in report.suppliers
        ],
        "in_common": report.in_common and asdict(report.in_common),
        "consents": {
            "asked": dict(report.consents.by_state),
            "objected": report.consents.objected,
            "moved": report.consents.moved,
            "handed_back": report.consents.handed_back,
        },
    }


def _rehearsal(one: Rehearsal) -> dict[str, Any]:
    """Return a rehearsal as it was asked for and what it came to; how it was held is nobody's business any more."""
    held = ("step", "progress", "token", "attempts", "lease_until")
    facts = {name: value for name, value in _columns(one).items() if name not in held}
    return facts | {
        "network": one.network and one.network.code,
        "model": one.model and one.model.name,
        "in_words": told(rehearsal=one).headline,
    }


def _columns(row: models.Model) -> dict[str, Any]:
    """Return a row as it lies in its table, but for files, which have no place in a pack."""
    return {
        field.attname: getattr(row, field.attname)
        for field in row._meta.concrete_fields
        if not isinstance(field, models.FileField)
    }


def _write_table(
    pack: packs.Pack, name: str, header: Sequence[str], rows: Iterable[Sequence[object]]
) -> None:
    with pack.add(name=name) as part:
        writer = csv.writer(_Encoded(part))
        writer.writerow(header)
        for row in rows:
            writer.writerow([downloads.safe(_cell(value)) for value in row])


class _Encoded:
    def __init__(self, part: packs.Part) -> None:
        self._part = part

    def write(self, text: str) -> None:
        self._part.write(text.encode())


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)


BOOKING: Final = (
    *("reference", "supplier", "origin", "plan", "made_at", "placed_at", "last_hub_ended_at"),
    *("hubs", "unplaced", *State.values),
)


def _bookings(release: FirmwareRelease) -> Iterator[Sequence[object]]:
    for booking, went in reports.every_booking(release=release):
        yield (
            *(booking.reference, booking.supplier.name, booking.origin, booking.plan, booking.created_at),
            *(booking.placed_at, booking.done_at, booking.hubs, booking.unplaced),
            *(went.by_state[state] for state in State),
        )


EVIDENCE: Final = ("at", "hubs", "episode", "good", "bad", "waiting", "share_of_limit")


def _evidence(release: FirmwareRelease) -> Iterator[Sequence[object]]:
    for seen in reports.every_seen(release=release):
        yield seen.at, seen.words, seen.episode, seen.good, seen.bad, seen.waiting, f"{seen.share:.6f}"


PERSON: Final = ("id", "name", "email", "acts_for")


def _named(report: Report) -> set[int]:
    """Return who stands in the report, whatever the record says."""
    release = report.release
    found: set[int | None] = {release.author_id, release.submitter_id}
    found |= {one.sign_off.signed_by_id for one in report.sign_offs}
    found |= {one.rehearsal.asked_by_id for one in report.rehearsals}
    for story in report.halts:
        found |= {story.halt.halted_by_id, story.halt.lifted_by_id}
    return {person for person in found if person is not None}


def _people(wanted: set[int]) -> Iterator[Sequence[object]]:
    people: Mapping[int, User] = get_user_model().objects.select_related("supplier").in_bulk(wanted)
    for key in sorted(people):
        person = people[key]
        yield key, person.get_full_name(), person.email, person.supplier or "DCC"
