"""The chain of decisions: whoever changes the record is found, and where."""

import hashlib
import re
import threading
from datetime import datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, connections, transaction

from portal.ground import audit, chain, sql
from portal.ground.chain import NO_HEAD, Head
from portal.ground.models import AuditEntry, AuditLink, AuditPending
from tests.factories import SupplierFactory, UserFactory
from tests.scheduling.test_races import at_once

pytestmark = pytest.mark.django_db(transaction=True)
ALL = ("ground_auditentry", "ground_auditlink")


def decide(number: int, *, now: datetime) -> list[int]:
    """Record so many decisions; return their ids."""
    decisions = [
        audit.Decision(f"release:{one}", "Because", {"share": 0.25, "b": one}) for one in range(number)
    ]
    audit.record_many(actor=None, verb="release.halted", decisions=decisions, now=now)
    return list(AuditEntry.objects.order_by("-pk").values_list("pk", flat=True)[:number])[::-1]


def chained(number: int, *, now: datetime) -> list[int]:
    """Record so many decisions, and chain them."""
    entries = decide(number, now=now)
    assert chain.extend(now=now)
    return entries


def forge(*statements: str) -> None:
    """Do to the database what nobody but its owner can."""
    with connection.cursor() as cursor, transaction.atomic():
        for table in ALL:
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for statement in statements:
            cursor.execute(statement)
            assert cursor.rowcount
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in ALL:
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


class TestExtend:
    def test_chains_what_was_recorded_in_its_order(self, now: datetime) -> None:
        entries = decide(3, now=now)

        head = chain.extend(now=now)

        assert head == chain.head()
        assert list(AuditLink.objects.order_by("number").values_list("number", "entry_id")) == [
            *enumerate(entries, start=1)
        ]
        assert not AuditPending.objects.exists()

    def test_goes_on_from_the_last_link(self, now: datetime) -> None:
        chained(2, now=now)
        before = chain.head()
        [entry] = chained(1, now=now)

        [[line]] = sql.rows(
            f"SELECT {chain.LINE} FROM ground_auditentry entry WHERE id = %(entry)s", {"entry": entry}
        )
        assert chain.head() == Head(3, hashlib.sha256(before.link + line.encode()).digest())

    def test_says_where_nothing_was_recorded(self, now: datetime) -> None:
        assert chain.extend(now=now) is None
        assert chain.head() == NO_HEAD

    def test_takes_a_portion_at_a_time(self, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chain, "AT_A_TIME", 2)
        decide(5, now=now)

        assert [chain.extend(now=now) is not None for _ in range(4)] == [True, True, True, False]
        assert list(chain.verify()) == []

    def test_is_done_once_however_many_do_it(self, now: datetime) -> None:
        decide(40, now=now)

        heads = at_once(*[lambda: chain.extend(now=now)] * 4)

        assert sorted(map(str, heads)) == sorted([*[str(None)] * 3, str(chain.head())])
        assert AuditLink.objects.count() == 40
        assert list(chain.verify()) == []

    def test_leaves_out_what_is_not_committed_and_takes_it_up_afterwards(self, now: datetime) -> None:
        """A decision that took long has an earlier number than those that were chained meanwhile."""
        recorded, chained_meanwhile = threading.Event(), threading.Event()

        def take_long() -> None:
            try:
                with transaction.atomic():
                    decide(1, now=now)
                    recorded.set()
                    assert chained_meanwhile.wait(30)
            finally:
                connections.close_all()

        slow = threading.Thread(target=take_long)
        slow.start()
        assert recorded.wait(30)
        [quick] = chained(1, now=now)
        chained_meanwhile.set()
        slow.join()

        assert chain.extend(now=now) is not None
        assert [link.entry_id - quick for link in AuditLink.objects.order_by("number")] == [0, -1]
        assert list(chain.verify()) == []


class TestVerify:
    def test_finds_nothing_where_nothing_was_changed(self, now: datetime) -> None:
        chained(3, now=now)
        kept = chain.head()
        chained(2, now=now)
        decide(1, now=now)

        assert list(chain.verify(kept=kept)) == []

    @pytest.mark.parametrize(
        "change",
        [
            "reason = 'Another'",
            "verb = 'release.resumed'",
            "subject = 'release:7'",
            """facts = facts || '{"share": 0.26}'""",
            "recorded_at = recorded_at + interval '1 microsecond'",
            "role = 'DCC auditors'",
        ],
    )
    def test_finds_a_decision_that_was_changed(self, now: datetime, change: str) -> None:
        entry = chained(5, now=now)[2]
        forge(f"UPDATE ground_auditentry SET {change} WHERE id = {entry}")

        assert list(chain.verify()) == [
            f"Decision {entry}, number 3 of the chain, is not what was recorded, or its link is not."
        ]

    def test_finds_a_decision_that_was_given_to_somebody_else(self, now: datetime) -> None:
        entry = chained(2, now=now)[0]
        other = UserFactory()
        forge(f"UPDATE ground_auditentry SET actor_id = {other.pk} WHERE id = {entry}")

        assert len(list(chain.verify())) == 1

    @pytest.mark.parametrize("role", ["", "read-only", "DCC auditors"])
    def test_finds_a_role_that_was_changed(self, role: str, now: datetime) -> None:
        person = UserFactory.create(supplier=SupplierFactory.create(), role="administrator")
        audit.record(actor=person, verb="booking.made", subject="booking:1", now=now)
        chain.extend(now=now)
        assert list(chain.verify()) == []
        forge(f"UPDATE ground_auditentry SET role = '{role}'")

        assert len(list(chain.verify())) == 1

    def test_holds_for_what_was_chained_before_there_were_roles(self, now: datetime) -> None:
        """The link of a decision without a role is what it always was."""
        [entry] = chained(1, now=now)
        [[line]] = sql.rows(
            "SELECT jsonb_build_array(id, actor_id, verb, subject, reason, facts,"
            " (extract(epoch FROM recorded_at) * 1000000)::bigint)::text FROM ground_auditentry",
            {},
        )

        assert (
            bytes(AuditLink.objects.get(entry=entry).link)
            == hashlib.sha256(bytes(32) + line.encode()).digest()
        )

    def test_finds_a_decision_that_was_deleted(self, now: datetime) -> None:
        entry = chained(5, now=now)[2]
        forge(f"DELETE FROM ground_auditentry WHERE id = {entry}")

        assert list(chain.verify()) == [f"Decision {entry}, number 3 of the chain, was deleted."]

    def test_names_decisions_that_were_deleted_together_in_one_sentence(self, now: datetime) -> None:
        entries = chained(5, now=now)
        forge(f"DELETE FROM ground_auditentry WHERE id IN ({entries[0]}, {entries[3]}, {entries[4]})")

        assert list(chain.verify()) == [
            f"Decision {entries[0]}, number 1 of the chain, was deleted.",
            f"Decisions {entries[3]} to {entries[4]}, numbers 4 to 5 of the chain, were deleted.",
        ]

    def test_finds_decisions_that_were_deleted_with_their_links(self, now: datetime) -> None:
        entries = chained(5, now=now)
        forge(
            f"DELETE FROM ground_auditentry WHERE id IN ({entries[1]}, {entries[2]})",
            "DELETE FROM ground_auditlink WHERE number IN (2, 3)",
        )

        assert list(chain.verify()) == ["Links 2 to 3 of the chain are missing."]

    def test_finds_a_tail_that_was_cut(self, now: datetime) -> None:
        entry = chained(5, now=now)[3]
        forge(
            f"DELETE FROM ground_auditentry WHERE id >= {entry}",
            "DELETE FROM ground_auditlink WHERE number >= 4",
        )

        assert list(chain.verify()) == [
            "Links 4 to 5 of the chain are missing. The end of the chain was cut off."
        ]

    def test_finds_by_a_kept_head_a_tail_that_was_cut_whole(self, now: datetime) -> None:
        entry = chained(3, now=now)[1]
        kept = chain.head()
        forge(
            f"DELETE FROM ground_auditentry WHERE id >= {entry}",
            "DELETE FROM ground_auditlink WHERE number >= 2",
            "UPDATE ground_audithead SET number = 1, link = (SELECT link FROM ground_auditlink)",
        )

        assert list(chain.verify()) == []
        assert list(chain.verify(kept=kept)) == [
            "A head of 3 links was kept, and there are 1: the end of the chain was cut off."
        ]

    def test_finds_by_a_kept_head_a_chain_that_was_made_anew(self, now: datetime) -> None:
        entry = chained(3, now=now)[1]
        kept = chain.head()
        forge(
            f"UPDATE ground_auditentry SET reason = 'Another' WHERE id = {entry}",
            "DELETE FROM ground_auditlink",
            "DELETE FROM ground_audithead",
            "INSERT INTO ground_auditpending SELECT id FROM ground_auditentry",
        )
        chain.extend(now=now)

        assert list(chain.verify()) == []
        assert list(chain.verify(kept=kept)) == [
            "Link 3 is not the one that was kept: the chain was made anew up to there, or further."
        ]

    def test_finds_what_was_put_in_past_the_portal(self, now: datetime) -> None:
        entry = chained(1, now=now)[0]
        forge(
            "INSERT INTO ground_auditentry (verb, subject, reason, facts, recorded_at)"
            " SELECT verb, subject, 'Forged', facts, recorded_at FROM ground_auditentry"
        )

        forged = AuditEntry.objects.exclude(pk=entry).get().pk
        assert list(chain.verify()) == [f"Decision {forged} is in no chain: it was put in past the portal."]

    def test_finds_what_was_deleted_before_it_was_chained(self, now: datetime) -> None:
        [entry] = decide(1, now=now)
        forge("DELETE FROM ground_auditentry")

        assert list(chain.verify()) == [f"Decision {entry} was deleted before it was chained."]

    def test_finds_a_head_that_says_something_else(self, now: datetime) -> None:
        chained(1, now=now)
        forge("UPDATE ground_audithead SET link = decode(repeat('ab', 32), 'hex')")

        assert list(chain.verify()) == ["The chain ends with link 1, and its head says something else."]

    def test_tells_how_far_it_is(self, now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
        chained(5, now=now)
        monkeypatch.setattr(chain, "AT_A_TIME", 2)
        told: list[tuple[int, int]] = []

        assert list(chain.verify(tell=lambda *how_far: told.append(how_far))) == []
        assert told == [(2, 5), (4, 5), (5, 5)]


class TestAuditLink:
    @pytest.mark.parametrize("earlier", [0, 1])
    def test_refuses_to_be_that_of_another_decision(
        self, earlier: int, now: datetime, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A process of a version that knew no roles leaves them out."""
        if earlier:
            chained(earlier, now=now)
        person = UserFactory.create(supplier=SupplierFactory.create(), role="administrator")
        audit.record(actor=person, verb="booking.made", subject="booking:1", now=now)
        with monkeypatch.context() as patch:
            without = re.sub(r"CASE WHEN entry\.role.* END", "'[]'", chain.TAKE)
            assert without != chain.TAKE
            patch.setattr(chain, "TAKE", without)
            with pytest.raises(
                IntegrityError, match=f"link {earlier + 1} of the audit is not that of its decision"
            ):
                chain.extend(now=now)

        assert chain.head().number == earlier
        assert chain.extend(now=now)
        assert list(chain.verify()) == []

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE ground_auditlink SET made_at = now() WHERE false",
            "DELETE FROM ground_auditlink",
            "TRUNCATE ground_auditlink",
        ],
    )
    def test_refuses_to_be_changed_by_any_statement(self, statement: str, now: datetime) -> None:
        chained(1, now=now)
        with (
            pytest.raises(IntegrityError, match="links of the audit are only ever added"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)


class TestParse:
    def test_reads_what_a_head_writes(self) -> None:
        head = Head(12, bytes(range(32)))
        assert chain.parse(text=f" {head}\n") == head

    @pytest.mark.parametrize(
        "text", ["", "12", "12:ab", "x:" + "ab" * 32, "-1:" + "ab" * 32, "1:" + "xy" * 32]
    )
    def test_says_what_a_head_looks_like(self, text: str) -> None:
        with pytest.raises(ValueError, match="a number, a colon and 64 hexadecimal digits"):
            chain.parse(text=text)


class TestCommand:
    def run(self, capsys: pytest.CaptureFixture[str], *words: str) -> str:
        call_command("audit", *words)
        return capsys.readouterr().out

    def test_says_that_the_record_holds(self, now: datetime, capsys: pytest.CaptureFixture[str]) -> None:
        chained(2, now=now)
        named = self.run(capsys, "head").strip()

        assert named == str(chain.head())
        assert self.run(capsys, "verify", "--head", named) == f"The record of decisions holds: {named}\n"

    def test_fails_where_it_does_not(self, now: datetime, capsys: pytest.CaptureFixture[str]) -> None:
        entry = chained(2, now=now)[0]
        forge(f"UPDATE ground_auditentry SET reason = 'x' WHERE id = {entry}")

        with pytest.raises(CommandError, match="1 of its decisions, links or lots"):
            self.run(capsys, "verify")
        assert f"DIFFERS: Decision {entry}" in capsys.readouterr().out

    def test_says_what_a_head_looks_like(self) -> None:
        with pytest.raises(CommandError, match="64 hexadecimal digits"):
            call_command("audit", "verify", "--head", "12")
