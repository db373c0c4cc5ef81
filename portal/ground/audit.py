"""Write the record of decisions."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.models import Model

from portal.ground.models import AuditEntry

if TYPE_CHECKING:
    from portal.models import User


def record(
    *,
    actor: "User | None",
    verb: str,
    subject: str,
    now: datetime,
    reason: str = "",
    facts: Mapping[str, Any] | None = None,
) -> None:
    """
    Add one decision to the record, in the caller's transaction.

    `verb` is a dotted past tense such as `release.published`; `subject` names the thing decided
    upon, such as `release:12` or `booking:BK-7F3K-92QD`; an `actor` of None is the portal itself.
    """
    AuditEntry.objects.create(
        actor=actor,
        role=actor.acts_as if actor else "",
        verb=verb,
        subject=subject,
        reason=reason,
        facts=dict(facts or {}),
        recorded_at=now,
    )


def columns(row: Model) -> dict[str, str | None]:
    """Return what a row says, by the names of its columns: for facts that tell before from after."""
    return {
        field.attname: None if field.value_from_object(row) is None else field.value_to_string(row)
        for field in row._meta.concrete_fields
    }


class Decision(NamedTuple):
    """What one of several decisions was upon, why, and its facts, as `record` takes them."""

    subject: str
    reason: str
    facts: Mapping[str, Any]


def record_many(
    *, actor: "User | None", verb: str, decisions: Iterable[Decision], now: datetime, batch: int = 1_000
) -> None:
    """Add decisions of one kind to the record, as `record` does, in few statements."""
    role = actor.acts_as if actor else ""
    AuditEntry.objects.bulk_create(
        (
            AuditEntry(
                actor=actor,
                role=role,
                verb=verb,
                subject=one.subject,
                reason=one.reason,
                facts=dict(one.facts),
                recorded_at=now,
            )
            for one in decisions
        ),
        batch_size=batch,
    )
