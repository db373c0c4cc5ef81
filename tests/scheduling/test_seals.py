"""Outcomes on record: whoever changes what became of a hub is found, by its lot."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models import F

from firmware.models import FirmwareRelease
from firmware.operations import decisions
from hubs.gateway import Outcome
from portal.ground import chain, purges
from portal.ground.models import AuditEntry, AuditLink
from scheduling.models import Booking, Command, Deployment, Lot
from scheduling.operations import packs
from scheduling.operations import seals as operations
from scheduling.queries import reports, seals
from scheduling.queries.purges import CARRIED, purgeable
from tests.scheduling.world import World

pytestmark = pytest.mark.django_db(transaction=True)
DAY = timedelta(days=1)


def carried_out(world: World, *, hubs: int = 5) -> Lot:
    """Carry a booking of so many hubs out to its end, and let a day and a slot pass."""
    world.hubs(hubs)
    slot = world.slot(start=5 * timedelta(hours=1), room=hubs)
    world.book(start_at=slot.start_at)
    for _ in range(12):
        world.clock.move(hours=1)
        world.work()
    world.clock.move(days=1)
    lot = Lot.objects.latest("pk")
    assert not Deployment.objects.filter(ended_at=None).exists()
    return lot


def sealed(world: World, *, hubs: int = 5) -> Lot:
    """Return a lot whose outcomes are on record."""
    lot = carried_out(world, hubs=hubs)
    assert operations.seal(now=world.clock()) == 1
    return lot


def forge(statement: str, *parameters: object) -> None:
    """Do to the database what nobody but its owner can."""
    with connection.cursor() as cursor, transaction.atomic():
        cursor.execute("ALTER TABLE scheduling_deployment DISABLE TRIGGER USER")
        cursor.execute(statement, parameters)
        assert cursor.rowcount == 1
        cursor.execute("ALTER TABLE scheduling_deployment ENABLE TRIGGER USER")


class TestSeal:
    def test_puts_the_outcomes_of_a_lot_on_record_once(self, world: World) -> None:
        lot = sealed(world)

        [entry] = AuditEntry.objects.filter(verb=seals.VERB)
        assert entry.actor is None
        assert entry.facts["hubs"] == 5
        assert {key: hubs for key, (hubs, _) in entry.facts["lots"].items()} == {str(lot.pk): 5}
        assert operations.seal(now=world.clock()) == 0
        assert list(seals.verify()) == []

    def test_leaves_a_lot_for_a_day_after_its_slot(self, world: World) -> None:
        lot = carried_out(world)

        assert operations.seal(now=lot.slot.end_at + DAY) == 0
        assert operations.seal(now=lot.slot.end_at + DAY + timedelta(seconds=1)) == 1

    def test_leaves_a_lot_whose_hubs_are_open(self, world: World) -> None:
        world.hubs(2)
        world.slot(start=timedelta(hours=5), room=2)
        world.book()
        decisions.halt(release=world.release, by=world.staff, reason="Looks bad", now=world.clock())

        assert operations.seal(now=world.clock() + 9 * DAY) == 0

    def test_takes_some_lots_at_a_time(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(operations, "LOTS_AT_A_TIME", 1)
        carried_out(world)
        carried_out(world)

        assert [operations.seal(now=world.clock()) for _ in range(3)] == [1, 1, 0]
        assert list(seals.verify()) == []

    def test_stands_in_the_chain_of_decisions(self, world: World) -> None:
        sealed(world)
        while chain.extend(now=world.clock()):
            pass

        with connection.cursor() as cursor, transaction.atomic():
            cursor.execute("ALTER TABLE ground_auditentry DISABLE TRIGGER USER")
            cursor.execute(
                "UPDATE ground_auditentry SET facts = facts || '{\"hubs\": 4}' WHERE verb = %s", [seals.VERB]
            )
            cursor.execute("ALTER TABLE ground_auditentry ENABLE TRIGGER USER")

        [finding] = chain.verify()
        assert "is not what was recorded" in finding


class TestVerify:
    @pytest.mark.parametrize(
        "change",
        [
            "ending = 'silent', state = 'unconfirmed'",
            "ended_at = ended_at + interval '1 microsecond'",
            "stage = stage + 1",
            "silent = NOT silent",
            "hub_id = hub_id + 1000000",
        ],
    )
    def test_finds_a_changed_outcome(self, world: World, change: str) -> None:
        lot = sealed(world)
        [deployment] = Deployment.objects.order_by("pk").values_list("pk", flat=True)[2:3]

        forge(f"UPDATE scheduling_deployment SET {change} WHERE id = %s", deployment)

        [finding] = seals.verify()
        assert finding.startswith(f"Outcomes of lot {lot.pk} were changed.")

    @pytest.mark.parametrize("change", ["version = version + 1", "token = token + 1", "outcome = 5"])
    def test_finds_a_changed_command(self, world: World, change: str) -> None:
        lot = sealed(world)
        command = Command.objects.filter(outcome=Outcome.DONE, version__isnull=False).order_by("pk").first()
        assert command is not None

        forge(
            f"UPDATE scheduling_command SET {change} WHERE (deployment_id, phase, attempt) = (%s, %s, %s)",
            *command.pk,
        )

        [finding] = seals.verify()
        assert finding.startswith(f"Outcomes of lot {lot.pk} were changed.")

    def test_finds_a_missing_outcome_and_a_missing_lot(self, world: World) -> None:
        lot, other = sealed(world), sealed(world, hubs=1)
        first, *_ = Deployment.objects.order_by("pk").values_list("pk", flat=True)
        last = Deployment.objects.latest("pk").pk

        forge("DELETE FROM scheduling_deployment WHERE id = %s", first)
        forge("DELETE FROM scheduling_deployment WHERE id = %s", last)

        findings = list(seals.verify())
        assert findings[0].startswith(f"Lot {lot.pk} had 5 outcomes, and has 4.")
        assert findings[1].startswith(f"The outcomes of lot {other.pk} are gone, 1 of them.")

    def test_finds_a_lot_that_pretends_to_be_on_record(self, world: World) -> None:
        lot = carried_out(world)
        Lot.objects.filter(pk=lot.pk).update(sealed_at=world.clock())

        assert list(seals.verify()) == [
            f"Lot {lot.pk} is marked as sealed, and its seal is not in the record of decisions."
        ]

    def test_does_not_mind_an_answer_that_came_too_late(self, world: World) -> None:
        sealed(world)
        ended = Deployment.objects.order_by("pk")[0]
        late = Command.objects.filter(deployment_id=ended.pk).order_by("-phase", "-attempt")[0]
        Command.objects.create(
            deployment_id=ended.pk,
            phase=late.phase,
            attempt=late.attempt + 1,
            token=late.token,
            admitted_at=late.admitted_at,
            valid_until=late.valid_until,
            sent_at=late.sent_at,
        )
        before = seals.of_lots(lots=[ended.lot_id])

        Command.objects.filter(deployment_id=ended.pk, attempt=late.attempt + 1, phase=late.phase).update(
            answered_at=ended.ended_at + timedelta(minutes=1), outcome=Outcome.DONE, version=F("token")
        )

        assert seals.of_lots(lots=[ended.lot_id]) == before


class TestPurges:
    """What a purge of the record of decisions does to the seals in it, and what it waits for."""

    def chained(self, world: World) -> None:
        while chain.extend(now=world.clock()):
            pass

    def purge(self, world: World, *, number: int) -> int:
        purges.decide(number=number, until=world.clock(), by=world.staff, reason="Old", now=world.clock())
        gone = purges.proceed(carried=CARRIED, clock=world.clock)
        self.chained(world)
        return gone

    def test_carry_seals_on(self, world: World) -> None:
        """Twice: the decision that carried the seal goes as well."""
        lot = sealed(world)
        self.chained(world)

        for _ in range(2):
            assert self.purge(world, number=chain.head().number)
            assert list(chain.verify()) == []
            assert list(seals.verify()) == []
        assert set(AuditEntry.objects.values_list("verb", flat=True)) == {"audit.purged", seals.VERB}

        forge("UPDATE scheduling_deployment SET stage = 9 WHERE id = %s", Deployment.objects.latest("pk").pk)
        [finding] = seals.verify()
        assert finding.startswith(f"Outcomes of lot {lot.pk} were changed.")

    def test_leave_what_a_release_or_a_booking_needs(self, world: World) -> None:
        """Whoever changed a release may not sign it off, and a booking tells its story: both by the record."""
        sealed(world)
        self.chained(world)
        first = AuditEntry.objects.filter(subject=f"release:{world.release.pk}").earliest("pk").pk
        booked = AuditEntry.objects.filter(verb="booking.placed").earliest("pk").pk
        numbers = dict(AuditLink.objects.values_list("entry_id", "number"))
        later = world.clock() + DAY

        kept = purgeable(before=later)
        assert (kept.number, kept.kept_by) == (numbers[first] - 1, f"release:{world.release.pk}")

        ended = later - 2 * DAY
        FirmwareRelease.objects.filter(pk=world.release.pk).update(state="closed", ended_at=ended)
        assert Booking.objects.get().done_at is None
        kept = purgeable(before=later)
        assert (kept.number, kept.kept_by) == (
            numbers[booked] - 1,
            f"booking:{Booking.objects.get().reference}",
        )

        Booking.objects.update(done_at=ended)
        assert purgeable(before=later).number == chain.head().number
        # whatever ended of late is asked about
        assert purgeable(before=ended).decisions < chain.head().number

    def test_are_no_forgery_of_packs_of_before(self, world: World) -> None:
        sealed(world)
        self.chained(world)
        pack = io.BytesIO()
        packs.make(release=world.release, file=pack, by=world.staff, now=world.clock())
        world.clock.move(days=1)
        self.purge(world, number=chain.head().number)
        pack.seek(0)

        finding = reports.still_recorded(file=pack, head="")

        assert not finding.holds
        assert "was purged from the audit" in finding.words


class TestCommandLine:
    def test_checks_outcomes_where_it_is_asked_to(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        lot = sealed(world)
        while chain.extend(now=world.clock()):
            pass
        call_command("audit", "verify", "--outcomes")
        assert "and so do the outcomes" in capsys.readouterr().out
        forge("UPDATE scheduling_deployment SET stage = 9 WHERE id = %s", Deployment.objects.latest("pk").pk)

        call_command("audit", "verify")
        with pytest.raises(CommandError, match="1 of its decisions, links or lots differ"):
            call_command("audit", "verify", "--outcomes")

        assert f"DIFFERS: Outcomes of lot {lot.pk} were changed." in capsys.readouterr().out
