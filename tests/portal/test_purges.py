"""Purges: the oldest decisions go, by a decision on record, and what is left can still be checked."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.db.utils import ProgrammingError
from pytest_django import Settings

from portal.ground import audit, chain, clock, purges, sql
from portal.ground.chain import NO_HEAD, Head
from portal.ground.models import AuditBase, AuditEntry, AuditLink
from portal.ground.purges import UnableToPurge
from portal.models import User
from scheduling.queries.purges import CARRIED, Purgeable, purgeable
from tests.factories import UserFactory
from tests.portal.test_chain import forge
from tests.scheduling.test_races import at_once

pytestmark = pytest.mark.django_db(transaction=True)
YEAR = timedelta(days=365.25)
TO = "UPDATE ground_auditbase SET (number, link) = (SELECT number, link FROM ground_auditlink WHERE number = {})"


@pytest.fixture
def present() -> datetime:
    """Return the database's present moment, to which decisions are old."""
    return clock.now()


@pytest.fixture
def manager() -> User:
    """Return the person of DCC who decides."""
    return UserFactory.create(email="keeper@dcc.example", is_superuser=True)


def decide(number: int, *, now: datetime, verb: str = "thing.done", subject: str = "thing") -> None:
    """Record so many decisions, and chain them."""
    decisions = [audit.Decision(f"{subject}:{one}", "", {"one": one}) for one in range(number)]
    audit.record_many(actor=None, verb=verb, decisions=decisions, now=now)
    while chain.extend(now=now):
        pass


@pytest.fixture
def old(present: datetime) -> list[Head]:
    """Make ten decisions of eight years ago and five of today; return the heads after each of the old ones."""
    heads = [NO_HEAD]
    for _ in range(10):
        decide(1, now=present - 8 * YEAR)
        heads.append(chain.head())
    decide(5, now=present)
    return heads


def purge(number: int, *, by: User, now: datetime) -> int:
    """Purge up to a link."""
    purges.decide(number=number, until=now - 7 * YEAR, by=by, reason="Retention", now=now)
    return purges.proceed(carried=CARRIED, clock=lambda: now)


@pytest.fixture
def purged(old: list[Head], manager: User, present: datetime) -> list[Head]:
    """Purge the ten, and chain the decision to."""
    assert purge(10, by=manager, now=present) == 10
    chain.extend(now=present)
    return old


class TestPurge:
    def test_takes_the_beginning_away_and_leaves_a_chain_that_holds(self, purged: list[Head]) -> None:
        assert AuditEntry.objects.count() == AuditLink.objects.count() == 6
        assert chain.base() == purged[10]
        assert list(chain.verify()) == []

    def test_is_a_decision_on_record(self, purged: list[Head], manager: User, present: datetime) -> None:
        entry = AuditEntry.objects.get(verb="audit.purged")

        assert (entry.actor, entry.role, entry.reason) == (manager, "superuser", "Retention")
        assert entry.facts == {
            "decisions": 10,
            "number": 10,
            "link": purged[10].link.hex(),
            "until": (present - 7 * YEAR).isoformat(),
        }

    def test_lets_the_chain_go_on(self, purged: list[Head], present: datetime) -> None:
        decide(3, now=present)

        assert chain.head().number == 19
        assert list(chain.verify()) == []

    def test_may_take_all_that_is_chained(self, manager: User, present: datetime) -> None:
        """The decision to do so is what comes next."""
        decide(3, now=present - 8 * YEAR)

        assert purge(3, by=manager, now=present) == 3
        assert chain.extend(now=present)
        assert list(chain.verify()) == []

    def test_comes_again_with_its_earlier_decision(
        self, purged: list[Head], manager: User, present: datetime
    ) -> None:
        assert purge(16, by=manager, now=present) == 6
        chain.extend(now=present)

        assert chain.base().number == 16
        assert AuditEntry.objects.get().facts["decisions"] == 6
        assert list(chain.verify()) == []

    @pytest.mark.parametrize("number", [0, 10, 17])
    def test_goes_to_a_link_that_is_there(
        self, purged: list[Head], number: int, manager: User, present: datetime
    ) -> None:
        with pytest.raises(UnableToPurge, match=f"no link {number}"):
            purge(number, by=manager, now=present)

    def test_holds_wherever_it_is_cut_off(
        self, old: list[Head], manager: User, present: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(purges, "AT_A_TIME", 3)
        purges.decide(number=10, until=present - 7 * YEAR, by=manager, reason="", now=present)
        found = []

        def killed(done: int, of: int) -> None:
            chain.extend(now=present)
            found.append((done, of, list(chain.verify()), chain.base().number))
            raise KeyboardInterrupt

        for _ in range(4):
            assert purges.is_unfinished()
            with pytest.raises(KeyboardInterrupt):
                purges.proceed(carried=CARRIED, clock=lambda: present, tell=killed)

        assert found == [(3, 10, [], 3), (3, 7, [], 6), (3, 4, [], 9), (1, 1, [], 10)]
        assert not purges.is_unfinished()
        assert chain.base() == old[10]

    def test_is_all_or_nothing_in_each_portion(
        self, old: list[Head], manager: User, present: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        purges.decide(number=10, until=present - 7 * YEAR, by=manager, reason="", now=present)
        monkeypatch.setattr(purges, "TAKE_LINKS", "SELECT 1 / 0")

        with pytest.raises(DatabaseError):
            purges.proceed(carried=CARRIED, clock=lambda: present)

        assert AuditEntry.objects.count() == 16
        assert chain.base().number == 0
        assert list(chain.verify()) == []

    def test_is_refused_while_another_is_unfinished(
        self, old: list[Head], manager: User, present: datetime
    ) -> None:
        purges.decide(number=5, until=present, by=manager, reason="", now=present)

        with pytest.raises(UnableToPurge, match="finish that one first"):
            purges.decide(number=6, until=present, by=manager, reason="", now=present)

    def test_is_done_once_however_many_do_it(
        self, old: list[Head], manager: User, present: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(purges, "AT_A_TIME", 2)
        purges.decide(number=10, until=present, by=manager, reason="", now=present)

        gone = at_once(*[lambda: purges.proceed(carried=CARRIED, clock=lambda: present)] * 3)

        assert sum(gone) == 10
        assert list(chain.verify()) == []

    def test_records_anew_what_is_kept_for_longer(self, manager: User, present: datetime) -> None:
        then = present - 8 * YEAR
        decide(1, now=then)
        audit.record(
            actor=None,
            verb="outcomes.sealed",
            subject="outcomes:lots",
            now=then,
            facts={"lots": {"7": [2, "ab"]}},
        )
        chain.extend(now=then)
        decide(1, now=present)

        assert purge(2, by=manager, now=present) == 2
        chain.extend(now=present)

        entry = AuditEntry.objects.get(verb="outcomes.sealed")
        assert entry.facts["lots"] == {"7": [2, "ab"]}
        assert datetime.fromisoformat(entry.facts["first_recorded_at"]) == then
        assert entry.recorded_at == present
        assert list(chain.verify()) == []


class TestWhoMay:
    """The owner alone, and no further than a decision says."""

    @pytest.mark.parametrize("role", ["portal_entrance", "portal_supplier", "portal_staff", "portal_worker"])
    def test_no_process_of_the_portals(
        self, old: list[Head], role: str, manager: User, present: datetime
    ) -> None:
        purges.decide(number=10, until=present, by=manager, reason="", now=present)
        for statement in (
            "UPDATE ground_auditbase SET number = 10",
            "INSERT INTO ground_auditbase (id, number, link) VALUES (2, 0, '')",
            "DELETE FROM ground_auditbase",
            "DELETE FROM ground_auditentry",
            "DELETE FROM ground_auditlink",
        ):
            with (
                pytest.raises(ProgrammingError, match="permission denied"),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(f"SET LOCAL ROLE {role}; {statement}")

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM ground_auditentry WHERE id = (SELECT entry_id FROM ground_auditlink WHERE number = 11)",
            "DELETE FROM ground_auditlink WHERE number = 11",
            "UPDATE ground_auditbase SET number = 9",
            "UPDATE ground_auditbase SET number = 12",
            "UPDATE ground_auditbase base SET number = link.number, link = link.link "
            "FROM ground_auditlink link WHERE link.number = 12",
            "DELETE FROM ground_auditbase",
        ],
    )
    def test_the_owner_no_further_than_decided(self, purged: list[Head], statement: str) -> None:
        with (
            pytest.raises(DatabaseError, match=r"only ever added|as far as a decision says"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)

        assert list(chain.verify()) == []


def forged(*statements: str) -> None:
    """Do to the base as well what nobody but the owner can."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE ground_auditbase DISABLE TRIGGER USER")
        forge(*statements)
        cursor.execute("ALTER TABLE ground_auditbase ENABLE TRIGGER USER")


class TestVerify:
    def test_finds_a_beginning_that_nobody_decided_to_purge(self, old: list[Head]) -> None:
        forged(
            "INSERT INTO ground_auditbase SELECT 1, number, link FROM ground_auditlink WHERE number = 3",
            "DELETE FROM ground_auditentry WHERE id IN (SELECT entry_id FROM ground_auditlink WHERE number <= 3)",
            "DELETE FROM ground_auditlink WHERE number <= 3",
        )

        assert list(chain.verify()) == [
            "The chain begins after link 3, and no decision on record says that those up to there go: they were taken "
            "away past the portal."
        ]

    def test_finds_more_gone_than_was_decided(self, purged: list[Head]) -> None:
        forged(
            TO.format(12),
            "DELETE FROM ground_auditentry WHERE id IN (SELECT entry_id FROM ground_auditlink WHERE number <= 12)",
            "DELETE FROM ground_auditlink WHERE number <= 12",
        )

        [finding] = chain.verify()
        assert finding.startswith("The chain begins after link 12, and no decision on record says")

    def test_finds_another_base_than_was_decided(self, purged: list[Head]) -> None:
        forged("UPDATE ground_auditbase SET link = decode(repeat('ab', 32), 'hex')")

        another, first = chain.verify()
        assert another.startswith("The chain begins after another link 10 than the one to which decision")
        assert "number 11 of the chain, is not what was recorded" in first

    def test_finds_another_link_than_the_one_to_which_is_to_be_purged(
        self, old: list[Head], manager: User, present: datetime
    ) -> None:
        purges.decide(number=10, until=present, by=manager, reason="", now=present)
        forged(
            """UPDATE ground_auditentry SET facts = facts || '{"number": 9}' WHERE verb = 'audit.purged'"""
        )

        assert [finding[:40] for finding in chain.verify()] == ["Link 9 is not the one to which decision "]

    def test_finds_a_base_that_was_put_back(self, purged: list[Head]) -> None:
        forged("DELETE FROM ground_auditbase")

        assert "Links 1 to 10 of the chain are missing." in list(chain.verify())

    def test_finds_what_was_left_before_the_base(
        self, old: list[Head], manager: User, present: datetime
    ) -> None:
        purges.decide(number=3, until=present, by=manager, reason="", now=present)
        forged(TO.format(3))

        assert list(chain.verify()) == ["Links from 1 on lie before the base, 3, and are still there."]

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ("UPDATE ground_auditentry SET reason = 'x' WHERE id = {entry}", "is not what was recorded"),
            ("DELETE FROM ground_auditentry WHERE id = {entry}", "was deleted"),
            ("DELETE FROM ground_auditlink WHERE number >= 15", "The end of the chain was cut off."),
        ],
    )
    def test_still_finds_what_was_changed_afterwards(
        self, purged: list[Head], change: str, words: str
    ) -> None:
        entry = AuditLink.objects.get(number=12).entry_id
        forged(change.format(entry=entry))

        assert words in next(chain.verify())

    def test_finds_the_decision_to_purge_changed(self, purged: list[Head]) -> None:
        forged(
            """UPDATE ground_auditentry SET facts = facts || '{"decisions": 9}' WHERE verb = 'audit.purged'"""
        )

        [finding] = chain.verify()
        assert "is not what was recorded" in finding

    def test_holds_the_base_against_a_head_that_was_kept(self, purged: list[Head]) -> None:
        assert list(chain.verify(kept=purged[10])) == []
        assert list(chain.verify(kept=Head(10, bytes(32)))) == [
            "The base, link 10, is not the link that was kept."
        ]

    def test_tells_how_far_it_is(self, purged: list[Head]) -> None:
        told: list[tuple[int, int]] = []

        assert list(chain.verify(tell=lambda *how_far: told.append(how_far))) == []
        assert told == [(6, 6)]


class TestPurgeable:
    def test_is_what_is_old_at_the_beginning(self, old: list[Head], present: datetime) -> None:
        assert purgeable(before=present - 7 * YEAR) == Purgeable(1, 10, "")
        assert purgeable(before=present - 9 * YEAR) == Purgeable(1, 0, "")

    def test_is_nothing_of_what_is_behind_a_young_one(self, present: datetime) -> None:
        for age in (8, 0, 8):
            decide(1, now=present - age * YEAR)

        assert purgeable(before=present - 7 * YEAR) == Purgeable(1, 1, "")

    def test_is_nothing_where_there_is_nothing(self, present: datetime) -> None:
        assert purgeable(before=present).decisions == 0

    def test_is_nothing_that_is_in_no_chain(self, present: datetime) -> None:
        decide(2, now=present - 8 * YEAR)
        audit.record(actor=None, verb="thing.done", subject="thing:1", now=present - 8 * YEAR)

        assert purgeable(before=present).number == 2


class TestCommand:
    @pytest.fixture
    def run(self, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
        def run(*words: str) -> str:
            call_command("audit", *words)
            return capsys.readouterr().out

        return run

    def test_says_what_may_go_and_takes_nothing(self, old: list[Head], run: Callable[..., str]) -> None:
        said = run("purge")

        assert "10 decisions of before" in said
        assert "Nothing was taken away" in said
        assert AuditEntry.objects.count() == 15

    def test_takes_it_and_says_so_ever_after(
        self, old: list[Head], manager: User, present: datetime, run: Callable[..., str]
    ) -> None:
        assert f"The record begins after {old[10]}" in run(
            "purge", "--by", manager.email, "--reason", "Retention"
        )
        chain.extend(now=present)

        entry = AuditEntry.objects.get(verb="audit.purged")
        said = run("verify", "--head", str(old[10]))
        assert f"It begins after {old[10]}: the 10 decisions up to there were purged" in said
        assert f"by {manager}" in said
        assert f"as decision {entry.pk} says" in said

    def test_finishes_what_was_cut_off(
        self, old: list[Head], manager: User, present: datetime, run: Callable[..., str]
    ) -> None:
        purges.decide(number=10, until=present, by=manager, reason="", now=present)
        chain.extend(now=present)
        assert "That purge has not come to its end" in run("verify")

        assert "Purged: 10 decisions" in run("purge")
        assert AuditEntry.objects.filter(verb="audit.purged").count() == 1

    def test_keeps_what_is_young(
        self, old: list[Head], settings: Settings, manager: User, run: Callable[..., str]
    ) -> None:
        settings.DECISIONS_KEPT_YEARS = 9

        assert "No decision at the beginning" in run("purge", "--by", manager.email, "--reason", "x")
        assert AuditEntry.objects.count() == 15

    def test_takes_nothing_of_a_record_that_does_not_hold(self, old: list[Head], manager: User) -> None:
        forged("UPDATE ground_auditentry SET reason = 'x' WHERE id = (SELECT max(id) FROM ground_auditentry)")

        with pytest.raises(CommandError, match="does not hold, so nothing goes"):
            call_command("audit", "purge", "--by", manager.email, "--reason", "x")
        assert AuditEntry.objects.count() == 15

    def test_wants_to_know_who_and_why(self, old: list[Head], manager: User, northern: User) -> None:
        with pytest.raises(CommandError, match="nobody of DCC"):
            call_command("audit", "purge", "--by", northern.email, "--reason", "x")
        with pytest.raises(CommandError, match="--reason"):
            call_command("audit", "purge", "--by", manager.email)

    def test_says_that_a_head_lies_before_the_base(self, purged: list[Head]) -> None:
        with pytest.raises(CommandError, match="of 9 links, lies before the base"):
            call_command("audit", "verify", "--head", str(purged[9]))

    def test_says_that_only_the_owner_may(
        self, old: list[Head], manager: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As a worker's role, which may read the record and add to it."""
        sql.run("SET ROLE portal_worker", {})
        try:
            with pytest.raises(CommandError, match="Only the owner of the tables purges"):
                call_command("audit", "purge", "--by", manager.email, "--reason", "x")
        finally:
            sql.run("RESET ROLE", {})
        assert AuditEntry.objects.count() == 15
        assert not AuditBase.objects.exists()
