"""The record of decisions: written with the act, and never changed."""

from datetime import datetime

import pytest
from django.db import IntegrityError, connection, transaction

from portal.ground import audit
from portal.ground.models import AuditEntry


@pytest.mark.django_db
class TestRecord:
    def test_writes_who_what_why_and_when(self, now: datetime) -> None:
        audit.record(
            actor=None, verb="release.halted", subject="release:1", now=now, reason="Why", facts={"a": 1}
        )

        entry = AuditEntry.objects.get()
        assert (entry.actor, entry.verb, entry.subject) == (None, "release.halted", "release:1")
        assert (entry.reason, entry.facts, entry.recorded_at) == ("Why", {"a": 1}, now)


@pytest.mark.django_db
class TestRecordMany:
    def test_writes_each_decision_in_order(self, now: datetime) -> None:
        decisions = [
            audit.Decision(f"window:{number}", f"Why {number}", {"a": number}) for number in range(3)
        ]

        audit.record_many(actor=None, verb="window.kept", decisions=decisions, now=now, batch=2)

        entries = AuditEntry.objects.order_by("id")
        assert [(one.subject, one.reason, one.facts) for one in entries] == decisions
        assert {(one.verb, one.recorded_at) for one in entries} == {("window.kept", now)}


@pytest.mark.django_db
class TestAuditEntry:
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE ground_auditentry SET reason = 'forged'",
            "DELETE FROM ground_auditentry",
            "TRUNCATE ground_auditentry",
            "UPDATE ground_auditentry SET reason = 'forged' WHERE false",
        ],
    )
    def test_refuses_to_be_changed_by_any_statement(self, statement: str, now: datetime) -> None:
        audit.record(actor=None, verb="release.halted", subject="release:1", now=now)
        with connection.cursor() as cursor:  # nothing else is to stand in the way of TRUNCATE
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

        with (
            pytest.raises(IntegrityError, match="audit entries are only ever added") as refusal,
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)

        assert refusal.value.__cause__.diag.constraint_name == "audit_only_grows"  # type: ignore[union-attr]
        assert AuditEntry.objects.get().reason == ""
