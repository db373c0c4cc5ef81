"""Saved groups of hubs: made, changed, chosen by, protected by, and kept apart from other Suppliers'."""

import io
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import IntegrityError, connections, transaction

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, HubStatus, PaymentMode
from hubs.queries import Filters
from portal.ground.audit import AuditEntry
from scheduling.eligibility import Refusal
from scheduling.models import GroupedHub, HubGroup, ProtectedWindow
from scheduling.operations import groups as acts
from scheduling.operations import windows as protection
from scheduling.operations.groups import Outcome, UnableToGroup
from scheduling.queries import eligibility, groups
from tests.scheduling import world as worlds
from tests.scheduling.world import World

HOUR = timedelta(hours=1)
Scope = ProtectedWindow.Scope


def listed(hubs: Sequence[CommunicationsHub | str]) -> io.BytesIO:
    lines = [hub if isinstance(hub, str) else format_eui64(hub.chf_id) for hub in hubs]
    return io.BytesIO("\n".join(lines).encode())


def make(world: World, hubs: Sequence[CommunicationsHub | str], name: str = "Flats") -> HubGroup:
    group, _ = acts.make(
        supplier=world.northern, name=name, hubs=listed(hubs), by=world.person, now=world.clock()
    )
    return group


def add(world: World, group: HubGroup, hubs: Sequence[CommunicationsHub | str]) -> Outcome:
    return acts.add(group=group, hubs=listed(hubs), by=world.person, now=world.clock())


def members(group: HubGroup) -> set[int]:
    return set(GroupedHub.objects.filter(group=group).values_list("hub", flat=True))


def keys(hubs: Sequence[CommunicationsHub]) -> set[int]:
    return {hub.chf_id for hub in hubs}


def lose(hub: CommunicationsHub, world: World) -> None:
    """Let a hub become the southern Supplier's."""
    CommunicationsHub.objects.filter(pk=hub.pk).update(import_supplier=world.southern)


def protect(world: World, group: HubGroup | None, **facts: Any) -> ProtectedWindow:
    """Keep a hard window on a group, by its rules."""
    window = ProtectedWindow(
        **{"kind": "other", "reason": "Quiet", "scope": Scope.GROUP, "group": group, "is_hard": True, **facts}
    )
    return protection.protect(
        window=window, supplier=world.northern, hubs=[], by=world.person, now=world.clock()
    )


def daily(starts: int, ends: int) -> dict[str, Any]:
    return {"weekdays": 127, "starts": time(starts), "ends": time(ends)}


class TestMake:
    def test_takes_hubs_by_any_of_their_identifiers_and_counts_them(self, world: World) -> None:
        first, second, third = world.hubs(3)
        CommunicationsHub.objects.filter(pk=second.pk).update(mpan=1234567890126)
        CommunicationsHub.objects.filter(pk=third.pk).update(mprn=3938424403, gas_supplier=world.northern.pk)

        group = make(world, [first, "1234567890126", "3938424403"])

        assert members(group) == keys([first, second, third])
        assert (group.hubs, group.made_by, group.supplier) == (3, world.person, world.northern)

    def test_returns_every_other_row_with_its_reason(self, world: World) -> None:
        [own] = world.hubs(1)
        [foreign] = world.hubs(1, supplier=world.southern)
        rows = ["CHF ID", format_eui64(own.chf_id), "what", format_eui64(foreign.chf_id)]
        rows += ["00-DB-12-34-56-78-90-A0", format_eui64(own.chf_id).lower()]

        group, outcome = acts.make(
            supplier=world.northern, name="Flats", hubs=listed(rows), by=world.person, now=world.clock()
        )

        assert (outcome.changed, outcome.rows, group.hubs) == (1, 5, 1)
        assert [(row.cells[0], row.refusal) for row in outcome.refused] == [
            ("what", Refusal.UNREADABLE),
            (rows[3], Refusal.NOT_FOUND),
            (rows[4], Refusal.NOT_FOUND),
            (rows[5], Refusal.REPEATED),
        ]

    def test_takes_an_mpan_that_several_hubs_share_for_none_of_them(self, world: World) -> None:
        twins = world.hubs(2)
        CommunicationsHub.objects.filter(pk__in=keys(twins)).update(mpan=1234567890126)
        [other] = world.hubs(1)

        _, outcome = acts.make(
            supplier=world.northern,
            name="Flats",
            hubs=listed([other, "1234567890126"]),
            by=world.person,
            now=world.clock(),
        )

        assert [row.refusal for row in outcome.refused] == [Refusal.SEVERAL_HUBS]

    def test_takes_all_that_a_filter_shows(self, world: World) -> None:
        prepaid = world.hubs(2, payment_mode=PaymentMode.PREPAYMENT)
        world.hubs(2)
        world.hubs(2, supplier=world.southern, payment_mode=PaymentMode.PREPAYMENT)
        world.hubs(1, payment_mode=PaymentMode.PREPAYMENT, status=HubStatus.WITHDRAWN)

        group, outcome = acts.make(
            supplier=world.northern,
            name="Prepaid",
            hubs=Filters(payment_mode=PaymentMode.PREPAYMENT),
            by=world.person,
            now=world.clock(),
        )

        assert members(group) == keys(prepaid)
        assert outcome == Outcome(2)

    @pytest.mark.parametrize(
        ("name", "answer"), [(" ", "at most 80 characters"), ("x" * 81, "at most 80"), ("flats ", "already")]
    )
    def test_refuses_a_name_that_cannot_be(self, name: str, answer: str, world: World) -> None:
        hubs = world.hubs(1)
        make(world, hubs)

        with pytest.raises(UnableToGroup, match=answer):
            make(world, hubs, name)

        assert HubGroup.objects.count() == 1

    def test_lets_two_suppliers_use_one_name(self, world: World) -> None:
        make(world, world.hubs(1))
        theirs = world.hubs(1, supplier=world.southern)

        acts.make(
            supplier=world.southern, name="Flats", hubs=listed(theirs), by=world.person, now=world.clock()
        )

        assert HubGroup.objects.count() == 2

    @pytest.mark.parametrize(
        ("text", "answer"),
        [
            ("", "no rows"),
            ("00-DB-12-34-56-78-90-A0", "None of the rows names a hub of yours"),
            ("\xff", "not text in UTF-8"),
        ],
    )
    def test_makes_no_empty_group(self, text: str, answer: str, world: World) -> None:
        with pytest.raises(UnableToGroup, match=answer):
            acts.make(
                supplier=world.northern,
                name="Flats",
                hubs=io.BytesIO(text.encode("latin-1")),
                by=world.person,
                now=world.clock(),
            )
        with pytest.raises(UnableToGroup, match="No hub of yours matches"):
            acts.make(
                supplier=world.northern, name="Flats", hubs=Filters(), by=world.person, now=world.clock()
            )

        assert not HubGroup.objects.exists()

    @pytest.mark.parametrize(
        ("limit", "answer"),
        [
            ((acts, "MOST_ROWS"), "more than 1 rows"),
            ((groups, "MOST_HUBS"), "more than 1 hubs"),
            ((groups, "MOST_GROUPS"), "You keep 1 groups"),
        ],
    )
    def test_keeps_within_its_limits(
        self, limit: tuple[Any, str], answer: str, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hubs = world.hubs(2)
        make(world, hubs[:1], "First")
        monkeypatch.setattr(*limit, 1)

        with pytest.raises(UnableToGroup, match=answer):
            make(world, hubs)

        assert HubGroup.objects.count() == GroupedHub.objects.count() == 1

    def test_is_recorded(self, world: World) -> None:
        group = make(world, [*world.hubs(2), "what"])

        entry = AuditEntry.objects.get(verb="group.made")
        assert (entry.actor, entry.subject) == (world.person, f"group:{group.pk}")
        assert entry.facts == {
            "supplier": world.northern.pk,
            "name": "Flats",
            "hubs": 2,
            "changed": 2,
            "refused": 1,
        }


class TestAdd:
    def test_adds_what_was_not_in_it(self, world: World) -> None:
        hubs = world.hubs(3)
        group = make(world, hubs[:2])

        outcome = add(world, group, hubs[1:])

        assert (outcome.changed, outcome.unchanged) == (1, 1)
        assert HubGroup.objects.get().hubs == 3
        assert AuditEntry.objects.get(verb="group.extended").facts["changed"] == 1

    def test_takes_out_what_left_the_supplier(self, world: World) -> None:
        hubs = world.hubs(3)
        group = make(world, hubs[:2])
        lose(hubs[0], world)

        add(world, group, hubs[2:])

        assert members(group) == keys(hubs[1:])
        assert HubGroup.objects.get().hubs == 2

    def test_keeps_within_the_cap_of_hard_windows(self, world: World) -> None:
        hubs = world.hubs(3)
        group = make(world, hubs[:1])
        other = make(world, hubs[1:2], "Others")
        protect(world, group, **daily(0, 8))
        protect(world, other, **daily(8, 16))

        with pytest.raises(UnableToGroup, match=r"With these hubs in it, hard windows would cover 672 hours"):
            add(world, other, hubs[:1])
        outcome = add(world, other, hubs[2:])

        assert outcome.changed == 1
        assert members(other) == keys(hubs[1:])

    def test_says_that_the_group_is_gone(self, world: World) -> None:
        hubs = world.hubs(1)
        group = make(world, hubs)
        HubGroup.objects.all().delete()

        with pytest.raises(UnableToGroup, match="deleted meanwhile"):
            add(world, group, hubs)


class TestTakeOut:
    def test_takes_out_what_is_in_it(self, world: World) -> None:
        hubs = world.hubs(3)
        group = make(world, hubs[:2])

        outcome = acts.take_out(
            group=group, hubs=listed([*hubs[1:], "what"]), by=world.person, now=world.clock()
        )

        assert (outcome.changed, outcome.unchanged, len(outcome.refused)) == (1, 1, 1)
        assert members(group) == keys(hubs[:1])
        assert HubGroup.objects.get().hubs == 1
        assert AuditEntry.objects.get(verb="group.reduced").facts["hubs"] == 1


class TestRename:
    def test_gives_another_name(self, world: World) -> None:
        group = make(world, world.hubs(1))

        acts.rename(group=group, name=" Tower  blocks ", by=world.person, now=world.clock())

        assert HubGroup.objects.get().name == "Tower blocks"
        facts = AuditEntry.objects.get(verb="group.renamed").facts
        assert (facts["before"], facts["after"]) == ("Flats", "Tower blocks")

    def test_may_change_no_more_than_capitals(self, world: World) -> None:
        group = make(world, world.hubs(1))

        acts.rename(group=group, name="FLATS", by=world.person, now=world.clock())

        assert HubGroup.objects.get().name == "FLATS"

    def test_refuses_the_name_of_another(self, world: World) -> None:
        hubs = world.hubs(1)
        make(world, hubs)
        other = make(world, hubs, "Others")

        with pytest.raises(UnableToGroup, match="a group called “Flats” already"):
            acts.rename(group=other, name="Flats", by=world.person, now=world.clock())


class TestVolunteer:
    def test_marks_a_group_and_takes_it_back_each_once(self, world: World) -> None:
        group = make(world, world.hubs(2))

        for is_pilot in (True, True, False, False):
            acts.volunteer(group=group, is_pilot=is_pilot, by=world.person, now=world.clock())
            assert HubGroup.objects.get().is_pilot == is_pilot

        entries = AuditEntry.objects.filter(verb__in=["group.volunteered", "group.withdrawn"]).order_by("pk")
        assert [(entry.verb, entry.facts["hubs"]) for entry in entries] == [
            ("group.volunteered", 2),
            ("group.withdrawn", 2),
        ]

    def test_says_that_the_group_is_gone(self, world: World) -> None:
        group = make(world, world.hubs(1))
        HubGroup.objects.all().delete()

        with pytest.raises(UnableToGroup, match="deleted meanwhile"):
            acts.volunteer(group=group, is_pilot=True, by=world.person, now=world.clock())


class TestDelete:
    def test_deletes_it_and_leaves_the_hubs(self, world: World) -> None:
        group = make(world, world.hubs(2))

        acts.delete(group=group, by=world.person, now=world.clock())

        assert not HubGroup.objects.exists()
        assert not GroupedHub.objects.exists()
        assert CommunicationsHub.objects.count() == 2
        assert AuditEntry.objects.get(verb="group.deleted").facts["hubs"] == 2

    def test_is_refused_while_a_window_stands_on_it(self, world: World) -> None:
        group = make(world, world.hubs(2))
        protect(world, group, **daily(1, 2))

        with pytest.raises(UnableToGroup, match=r"A protected window stands on “Flats”\. Delete it first"):
            acts.delete(group=group, by=world.person, now=world.clock())

        assert members(group)

    def test_takes_windows_that_are_over_with_it(self, world: World) -> None:
        group = make(world, world.hubs(2))
        world.protect(start=-3 * HOUR, scope=Scope.GROUP, group=group)
        world.protect(scope=Scope.GROUP, group=group, **daily(1, 2), valid_until=date(2026, 10, 20))

        acts.delete(group=group, by=world.person, now=world.clock())

        assert not ProtectedWindow.objects.exists()
        assert AuditEntry.objects.filter(verb="window.lifted").count() == 2


class TestTheDatabase:
    def test_refuses_a_name_twice(self, world: World) -> None:
        hubs = world.hubs(1)
        make(world, hubs)
        other = make(world, hubs, "Others")

        with pytest.raises(IntegrityError, match="hub_group_one_per_name"), transaction.atomic():
            HubGroup.objects.filter(pk=other.pk).update(name="Flats")

    def test_refuses_a_hub_twice(self, world: World) -> None:
        hubs = world.hubs(2)
        group = make(world, hubs)

        with pytest.raises(IntegrityError, match="grouped_hub_once_per_group"), transaction.atomic():
            GroupedHub.objects.filter(group=group).update(hub=hubs[0].chf_id)


class TestMembers:
    def test_pages_to_the_end_and_back(self, world: World) -> None:
        hubs = sorted(world.hubs(5), key=lambda hub: hub.chf_id)
        group = make(world, hubs)

        first = groups.members(group=group, limit=2)
        second = groups.members(group=group, after=first.after, limit=2)
        third = groups.members(group=group, after=second.after, limit=2)
        back = groups.members(group=group, before=third.before, limit=2)

        pages = [[hub.chf_id for hub in page.rows] for page in (first, second, third, back)]
        ids = [hub.chf_id for hub in hubs]
        assert pages == [ids[:2], ids[2:4], ids[4:], ids[2:4]]
        assert (first.before, third.after) == (None, None)
        assert (back.after, back.before) == (ids[3], ids[2])

    def test_leaves_out_what_is_no_longer_the_suppliers_to_see(self, world: World) -> None:
        hubs = sorted(world.hubs(4), key=lambda hub: hub.chf_id)
        group = make(world, hubs)
        lose(hubs[0], world)
        CommunicationsHub.objects.filter(pk=hubs[2].pk).update(status=HubStatus.WITHDRAWN)

        page = groups.members(group=group, limit=2)

        assert [hub.chf_id for hub in page.rows] == [hubs[1].chf_id, hubs[3].chf_id]
        assert page.after is None


class TestChosenHubs:
    def test_are_those_of_the_group_and_of_the_other_facets(self, world: World) -> None:
        prepaid = world.hubs(2, payment_mode=PaymentMode.PREPAYMENT)
        credit = world.hubs(3)
        world.hubs(4)
        group = make(world, [*prepaid, *credit])
        other = make(world, credit[:1], "Others")

        of_group = world.choose(group=[group.pk])
        of_both = world.choose(group=[group.pk], payment_mode=[PaymentMode.CREDIT])
        of_either = world.choose(group=[group.pk, other.pk])

        eligible = [sum(one.eligible.values()) for one in (of_group, of_both, of_either)]
        assert eligible == [5, 3, 5]

    def test_are_not_those_that_left_the_supplier(self, world: World) -> None:
        hubs = world.hubs(3)
        group = make(world, hubs)
        lose(hubs[0], world)

        selection = world.choose(group=[group.pk])

        assert sum(selection.eligible.values()) == 2
        assert selection.refused == {}

    def test_are_none_of_another_suppliers_group(self, world: World) -> None:
        shared = world.hubs(2, gas_supplier=world.southern)
        theirs, _ = acts.make(
            supplier=world.southern, name="Theirs", hubs=listed(shared), by=world.person, now=world.clock()
        )

        assert eligibility.judge(
            selection=world.choose(group=[theirs.pk]), now=world.clock()
        ) == eligibility.Verdicts({}, {})

    def test_are_booked(self, world: World) -> None:
        hubs = world.hubs(3)
        world.hubs(2)
        world.slot(start=5 * HOUR, room=10)

        booking = world.book(world.choose(group=[make(world, hubs).pk]))

        assert booking.hubs == 3


class TestAWindowOnAGroup:
    def test_counts_against_the_cap_with_lists_and_other_groups(self, world: World) -> None:
        hubs = world.hubs(3)
        flats, houses = make(world, hubs[:2]), make(world, hubs[2:], "Houses")
        world.protect(hubs=hubs[:1], **daily(0, 8))
        protect(world, houses, **daily(0, 12))

        with pytest.raises(protection.UnableToProtect, match="for some of your hubs"):
            protect(world, flats, **daily(8, 13))
        with pytest.raises(protection.UnableToProtect, match="for some of your hubs"):
            protect(world, houses, **daily(12, 13))
        protect(world, flats, **daily(8, 12))

        assert ProtectedWindow.objects.filter(group=flats).exists()

    def test_counts_against_windows_for_all_hubs(self, world: World) -> None:
        group = make(world, world.hubs(1))
        protect(world, group, **daily(0, 8))

        with pytest.raises(protection.UnableToProtect, match="for some of your hubs"):
            protect(world, None, **daily(8, 13), scope=Scope.ALL)
        protect(world, None, **daily(8, 12), scope=Scope.ALL)

        assert ProtectedWindow.objects.filter(scope=Scope.ALL).exists()

    def test_needs_a_group_that_is_the_suppliers_own(self, world: World) -> None:
        shared = world.hubs(1, gas_supplier=world.southern)
        theirs, _ = acts.make(
            supplier=world.southern, name="Theirs", hubs=listed(shared), by=world.person, now=world.clock()
        )

        with pytest.raises(protection.UnableToProtect, match="There is no such group any more"):
            protect(world, theirs, **daily(8, 12))


class TestRaces:
    @pytest.mark.django_db(transaction=True)
    def test_a_group_that_is_deleted_gets_no_window(self, transactional_db: None) -> None:
        world = worlds.make(now=datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
        hubs = world.hubs(1)
        for number in range(4):
            group = make(world, hubs, f"Group {number}")
            barrier = threading.Barrier(2)
            refused: list[str] = []

            def go(act: Callable[[], object], barrier: threading.Barrier, refused: list[str]) -> None:
                try:
                    barrier.wait(30)
                    act()
                except (UnableToGroup, protection.UnableToProtect) as refusal:
                    refused.append(str(refusal))
                finally:
                    connections.close_all()

            acting = [
                partial(protect, world, group, **daily(number, number + 1)),
                partial(acts.delete, group=group, by=world.person, now=world.clock()),
            ]
            threads = [threading.Thread(target=go, args=[act, barrier, refused]) for act in acting]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)

            stands = ProtectedWindow.objects.filter(group=group.pk).count()
            assert (stands, len(refused)) == (HubGroup.objects.filter(pk=group.pk).count(), 1)
