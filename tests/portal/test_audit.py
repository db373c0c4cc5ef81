"""The record of decisions: written with the act, and never changed."""

import csv
from collections.abc import Callable
from datetime import datetime

import pytest
from django.contrib.auth.models import Group
from django.db import IntegrityError, connection, transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from portal import operations
from portal.ground import audit, chain, sql
from portal.ground.models import AuditEntry
from portal.ground.roles import DccRole, SupplierRole
from portal.models import User
from tests.factories import SupplierFactory, UserFactory


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
class TestRole:
    """What whoever decided acted in, at the moment of the decision."""

    def recorded(self, actor: User | None, now: datetime) -> str:
        audit.record(actor=actor, verb="thing.done", subject="thing:1", now=now)
        return AuditEntry.objects.latest("pk").role

    @pytest.mark.parametrize("role", SupplierRole)
    def test_is_the_one_of_a_suppliers_person(self, role: SupplierRole, now: datetime) -> None:
        assert self.recorded(UserFactory.create(supplier=SupplierFactory.create(), role=role), now) == role

    def test_are_all_of_dccs(self, now: datetime) -> None:
        person = UserFactory.create(is_staff=True)
        for name in (DccRole.OPERATIONS, DccRole.AUTHOR, "Somebody else's group"):
            person.groups.add(Group.objects.create(name=name))

        assert self.recorded(person, now) == "DCC release managers, DCC operations"
        assert AuditEntry.objects.get().acting_as == "DCC: Author, Operations"

    def test_says_who_may_do_everything(self, now: datetime) -> None:
        assert self.recorded(UserFactory.create(is_staff=True, is_superuser=True), now) == "superuser"
        assert AuditEntry.objects.get().acting_as == "DCC: Superuser"

    def test_is_none_of_the_portal(self, now: datetime) -> None:
        assert self.recorded(None, now) == ""
        assert AuditEntry.objects.get().acting_as == ""

    def test_is_the_one_in_which_somebody_gave_themselves_another(self, now: datetime) -> None:
        supplier = SupplierFactory.create()
        one, other = (UserFactory.create(supplier=supplier, role="administrator") for _ in range(2))
        assert one != other

        operations.change_role(user=one, role="read-only", by=one, now=now)

        assert User.objects.get(pk=one.pk).role == "read-only"
        assert AuditEntry.objects.get(verb="user.role_changed").role == "administrator"

    def test_is_the_one_of_then_whatever_became_of_its_person(self, northern: User, now: datetime) -> None:
        before = self.recorded(northern, now)
        User.objects.filter(pk=northern.pk).update(role="read-only", is_active=False)

        assert AuditEntry.objects.get().role == before == "operations"

    def test_is_looked_for_once_however_many_decisions(
        self, staff: User, now: datetime, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        decisions = [audit.Decision(f"thing:{number}", "", {}) for number in range(50)]

        with django_assert_num_queries(2):
            audit.record_many(actor=staff, verb="thing.done", decisions=decisions, now=now)
        with django_assert_num_queries(1):
            audit.record(actor=staff, verb="thing.done", subject="thing:1", now=now)

        assert set(AuditEntry.objects.values_list("role", flat=True)) == {staff.acts_as}


@pytest.mark.django_db
class TestList:
    """The record as DCC reads it."""

    @pytest.fixture
    def shown(self, client: Client, staff: User, northern: User, now: datetime) -> Callable[[str], list[str]]:
        author = UserFactory.create(is_staff=True)
        author.groups.add(*(Group.objects.create(name=name) for name in (DccRole.AUTHOR, DccRole.OPERATIONS)))
        for number, actor in enumerate((northern, author, None)):
            audit.record(actor=actor, verb="thing.done", subject=f"thing:{number}", now=now)
        client.force_login(staff)

        def ask(query: str) -> list[str]:
            page = client.get(f"/admin/ground/auditentry/?{query}").content.decode()
            return [f"thing:{number}" for number in range(3) if f"thing:{number}<" in page]

        return ask

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("", ["thing:0", "thing:1", "thing:2"]),
            ("role=operations", ["thing:0"]),
            ("role=administrator", []),
            ("role=DCC+operations", ["thing:1"]),
            ("role=DCC+release+managers", ["thing:1"]),
            ("role=DCC+approvers", []),
            ("q=release+managers", ["thing:1"]),
        ],
    )
    def test_is_narrowed_by_role(
        self, shown: Callable[[str], list[str]], query: str, found: list[str]
    ) -> None:
        assert shown(query) == found

    def test_shows_roles_in_words(self, shown: Callable[[str], list[str]], client: Client) -> None:
        page = client.get("/admin/ground/auditentry/").content.decode()
        entry = AuditEntry.objects.get(subject="thing:1")

        assert '<td class="field-role_shown">Supplier: Operations</td>' in page
        assert '<td class="field-role_shown">DCC: Author, Operations</td>' in page
        assert (
            "DCC: Author, Operations"
            in client.get(f"/admin/ground/auditentry/{entry.pk}/change/").content.decode()
        )


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
        held_by = "audit_goes_by_purges" if statement.startswith("DELETE") else "audit_only_grows"
        audit.record(actor=None, verb="release.halted", subject="release:1", now=now)
        with connection.cursor() as cursor:  # nothing else is to stand in the way of TRUNCATE
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

        with (
            pytest.raises(IntegrityError, match="audit entries are only ever added") as refusal,
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)

        assert refusal.value.__cause__.diag.constraint_name == held_by  # type: ignore[union-attr]
        assert AuditEntry.objects.get().reason == ""


@pytest.mark.django_db
class TestRights:
    @pytest.mark.parametrize("role", ["portal_entrance", "portal_supplier", "portal_staff", "portal_worker"])
    @pytest.mark.parametrize("table", ["ground_auditentry", "ground_auditlink"])
    def test_let_no_process_change_or_take_away(self, role: str, table: str) -> None:
        for right in ("UPDATE", "DELETE", "TRUNCATE", "TRIGGER"):
            assert sql.rows("SELECT has_table_privilege(%(role)s, %(table)s, %(right)s)", {
                "role": role, "table": table, "right": right,
            }) == [(False,)], right  # fmt: skip

    @pytest.mark.parametrize("role", ["portal_entrance", "portal_supplier", "portal_staff", "portal_worker"])
    def test_let_everybody_who_acts_add(self, role: str) -> None:
        assert sql.rows(
            "SELECT has_table_privilege(%(role)s, 'ground_auditentry', 'INSERT')", {"role": role}
        ) == [(True,)]


class TestExport:
    """What auditors take away."""

    ADDRESS = "/admin/ground/auditentry/export/"

    def lines(self, client: Client, query: str = "") -> list[list[str]]:
        response = client.get(self.ADDRESS + query)
        assert response.headers["Content-Disposition"] == 'attachment; filename="decisions.csv"'
        text = b"".join(response).decode("utf-8-sig")  # type: ignore[arg-type]
        return list(csv.reader(text.splitlines()))

    def test_holds_every_decision_with_its_place_in_the_chain(
        self, client: Client, staff: User, now: datetime
    ) -> None:
        for number in range(3):
            audit.record(
                actor=staff, verb="release.halted", subject=f"release:{number}", now=now, reason="Why"
            )
        chain.extend(now=now)
        audit.record(actor=None, verb="release.closed", subject="release:9", now=now, facts={"a": [1]})
        client.force_login(staff)

        header, *lines = self.lines(client)

        assert header[:3] == ["Decision", "When (UTC)", "Who"]
        assert [line[2:9] for line in lines] == [
            *(
                [
                    staff.email,
                    "DCC: Superuser",
                    "release.halted",
                    f"release:{number}",
                    "Why",
                    "{}",
                    str(number + 1),
                ]
                for number in range(3)
            ),
            ["the portal", "", "release.closed", "release:9", "", '{"a": [1]}', ""],
        ]
        assert lines[2][9] == chain.head().link.hex()
        assert lines[0][1] == "2026-10-25T00:30:00+00:00"

    def test_holds_what_the_list_shows(self, client: Client, staff: User, now: datetime) -> None:
        for subject in ("release:1", "user:1"):
            audit.record(actor=staff, verb="thing.done", subject=subject, now=now)
        client.force_login(staff)

        assert [line[5] for line in self.lines(client, "?kind=user")[1:]] == ["user:1"]
        assert [line[5] for line in self.lines(client, "?q=release")[1:]] == ["release:1"]
        assert client.get(f"{self.ADDRESS}?recorded_at__gte=nonsense").status_code == 302

    def test_begins_no_formula(self, client: Client, staff: User, now: datetime) -> None:
        audit.record(
            actor=None, verb="thing.done", subject="hub:1", now=now, reason='=HYPERLINK("https://x")'
        )
        client.force_login(staff)

        assert self.lines(client)[1][6] == '\'=HYPERLINK("https://x")'

    def test_is_offered_beside_the_list(self, client: Client, staff: User) -> None:
        client.force_login(staff)

        page = client.get("/admin/ground/auditentry/?kind=user").content.decode()

        assert f'href="{self.ADDRESS}?kind=user"' in page

    def test_is_for_those_who_may_read_the_record(self, client: Client, db: None) -> None:
        client.force_login(UserFactory.create(is_staff=True))

        assert client.get(self.ADDRESS).status_code == 403
