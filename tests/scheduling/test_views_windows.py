"""Protected windows as people keep them: list, form, cap, deletion; and what booking shows of them."""

import io
import threading
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, PaymentMode, Supplier
from hubs.operations import count_fleet
from portal.ground.audit import AuditEntry
from portal.models import User
from scheduling.models import HubGroup, Incident, Maintenance, ProtectedHub, ProtectedWindow
from scheduling.operations import groups
from scheduling.operations import windows as acts
from scheduling.views import pictures
from scheduling.views import windows as pages
from tests.scheduling import world as worlds
from tests.scheduling.world import World

HOUR = timedelta(hours=1)
Scope = ProtectedWindow.Scope
ONCE = {
    "kind": "tariff",
    "reason": "April prices",
    "strength": "hard",
    "scope": "all",
    "how_often": "once",
    "start": "2030-04-01T00:00",
    "end": "2030-04-02T00:00",
}
WEEKLY = ONCE | {
    "how_often": "weekly",
    "weekdays": ["0", "4"],
    "starts": "18:00",
    "ends": "02:00",
    "start": "",
    "end": "",
}
LIST = "/windows/"
NEW = "/windows/new/"


@pytest.fixture
def world(todays_world: World, client: Client) -> World:
    """A world whose northern person is signed in."""
    client.force_login(todays_world.person)
    return todays_world


def words(response: Any) -> str:
    return " ".join(response.content.decode().split())


def make_group(world: World, *hubs: CommunicationsHub, supplier: Supplier | None = None) -> HubGroup:
    group, _ = groups.make(
        supplier=supplier or world.northern,
        name="Flats",
        hubs=io.BytesIO("\n".join(format_eui64(hub.chf_id) for hub in hubs).encode()),
        by=world.person,
        now=world.clock(),
    )
    return group


class TestNewWindow:
    def test_keeps_one_that_comes_once_in_uk_time(self, world: World, client: Client) -> None:
        response = client.post(NEW, ONCE)

        assert response.headers["Location"] == LIST
        window = ProtectedWindow.objects.get()
        assert (window.supplier, window.is_hard, window.made_by) == (world.northern, True, world.person)
        assert window.start_at == datetime(2030, 3, 31, 23, tzinfo=UTC)  # British Summer Time
        assert AuditEntry.objects.get(verb="window.kept").reason == "April prices"

    def test_keeps_a_weekly_one(self, world: World, client: Client) -> None:
        client.post(NEW, WEEKLY | {"scope": "payment_mode", "payment_mode": "2", "strength": "soft"})

        window = ProtectedWindow.objects.get()
        assert [day.label for day in window.days] == ["Monday", "Friday"]
        assert (window.starts, window.ends) == (time(18), time(2))
        assert (window.payment_mode, window.is_hard) == (PaymentMode.PREPAYMENT, False)

    @pytest.mark.parametrize(
        ("clock", "start"),
        [("1", datetime(2030, 10, 27, 0, 30, tzinfo=UTC)), ("0", datetime(2030, 10, 27, 1, 30, tzinfo=UTC))],
    )
    def test_asks_which_of_two_hours_is_meant(
        self, clock: str, start: datetime, world: World, client: Client
    ) -> None:
        ambiguous = ONCE | {"start": "2030-10-27T01:30", "end": "2030-10-28T00:00"}

        asked = client.post(NEW, ambiguous)
        client.post(NEW, ambiguous | {"start_clock": clock})

        assert "happens twice in UK time" in words(asked)
        assert ProtectedWindow.objects.get().start_at == start

    def test_refuses_an_hour_that_does_not_exist(self, world: World, client: Client) -> None:
        response = client.post(NEW, ONCE | {"start": "2030-03-31T01:30"})

        assert "does not exist in UK time" in words(response)
        assert not ProtectedWindow.objects.exists()

    @pytest.mark.parametrize(
        ("said", "answer"),
        [
            (ONCE | {"start": ""}, "This is needed here"),
            (ONCE | {"end": "2030-04-01T00:00"}, "The end is not after the start"),
            (ONCE | {"start": "soon"}, "Give a date and a time"),
            (ONCE | {"scope": "network"}, "This is needed here"),
            (WEEKLY | {"weekdays": []}, "This is needed here"),
            (
                WEEKLY | {"valid_from": "2030-02-02", "valid_until": "2030-02-01"},
                "The last day is before the first",
            ),
            (ONCE | {"scope": "hubs", "hubs": "not one"}, "Line 1"),
            (ONCE | {"scope": "group"}, "This is needed here"),
            (ONCE | {"scope": "group", "group": "99999"}, "Choose one of your groups"),
            (ONCE | {"start": "0001-01-01T00:00"}, "Give a year from 2000 to 2199"),
            (WEEKLY | {"valid_until": "9999-12-31"}, "Give a year from 2000 to 2199"),
            (WEEKLY | {"valid_until": "2020-01-01"}, "The last day of this window has passed"),
            (ONCE | {"start": "2020-01-01T00:00", "end": "2020-01-02T00:00"}, "over already"),
        ],
    )
    def test_says_what_is_wrong(
        self, said: dict[str, Any], answer: str, world: World, client: Client
    ) -> None:
        response = client.post(NEW, said)

        assert answer in words(response)
        assert not ProtectedWindow.objects.exists()

    def test_keeps_a_list_of_own_hubs(self, world: World, client: Client) -> None:
        hubs = world.hubs(2)
        text = "\n".join(format_eui64(hub.chf_id) for hub in [*hubs, hubs[0]])

        client.post(NEW, ONCE | {"scope": "hubs", "hubs": text})

        window = ProtectedWindow.objects.get()
        assert window.hubs == 2
        assert {one.hub for one in window.listed.all()} == {hub.chf_id for hub in hubs}

    def test_says_of_foreign_hubs_just_what_it_says_of_unknown_ones(
        self, world: World, client: Client
    ) -> None:
        [own] = world.hubs(1)
        [foreign] = world.hubs(1, supplier=world.southern)
        answers = set()
        for other in (foreign.chf_id, 0x00DB000000000001):
            text = f"{format_eui64(own.chf_id)}\n{format_eui64(other)}"
            response = client.post(NEW, ONCE | {"scope": "hubs", "hubs": text})
            answers.add((response.status_code, "1 of the 2 hubs" in words(response)))

        assert answers == {(409, True)}
        assert not ProtectedWindow.objects.exists()
        assert not ProtectedHub.objects.exists()

    def test_keeps_one_for_a_group(self, world: World, client: Client) -> None:
        group = make_group(world, *world.hubs(2))

        page = words(client.get(f"{NEW}?scope=group&group={group.pk}"))
        client.post(NEW, ONCE | {"scope": "group", "group": group.pk})

        assert f'<option value="{group.pk}" selected>Flats</option>' in page
        assert ProtectedWindow.objects.get().group == group
        assert "2 hubs of the group “Flats”" in words(client.get(LIST))

    def test_does_not_keep_the_same_twice(self, world: World, client: Client) -> None:
        client.post(NEW, ONCE)

        response = client.post(NEW, ONCE)

        assert response.status_code == 409
        assert "You keep this very window already." in words(response)
        assert ProtectedWindow.objects.count() == 1

    def test_takes_another_suppliers_group_for_no_choice(self, world: World, client: Client) -> None:
        shared = world.hubs(2, gas_supplier=world.southern)
        theirs = make_group(world, *shared, supplier=world.southern)

        response = client.post(NEW, ONCE | {"scope": "group", "group": theirs.pk})

        assert "Choose one of your groups" in words(response)
        assert not ProtectedWindow.objects.exists()


class TestEditWindow:
    def address(self, window: ProtectedWindow) -> str:
        return reverse("scheduling:edit-window", args=[window.pk])

    def sent_back(self, response: Any) -> dict[str, Any]:
        """Return what a browser would send of a form that nobody touched."""
        form = response.context["form"]
        values = {name: form[name].value() for name in form.fields}
        return {name: value for name, value in values.items() if value not in (None, "")}

    @pytest.mark.parametrize(
        "said",
        [
            ONCE,
            ONCE | {"start": "2030-10-27T01:30", "start_clock": "0", "end": "2030-10-28T00:00"},
            WEEKLY | {"valid_from": "2030-02-01", "strength": "soft"},
            WEEKLY | {"scope": "payment_mode", "payment_mode": "2"},
        ],
    )
    def test_begins_with_what_the_window_is(self, said: dict[str, Any], world: World, client: Client) -> None:
        client.post(NEW, said)
        before = ProtectedWindow.objects.values().get()
        address = self.address(ProtectedWindow.objects.get())

        response = client.post(address, self.sent_back(client.get(address)))

        assert response.headers["Location"] == LIST
        assert ProtectedWindow.objects.values().get() == before

    def test_changes_everything_and_records_before_and_after(self, world: World, client: Client) -> None:
        hubs = world.hubs(2)
        window = world.protect(start=5 * HOUR, hubs=hubs[:1])
        listed = format_eui64(hubs[1].chf_id)

        client.post(
            self.address(window),
            WEEKLY
            | {"kind": "history", "reason": "Reads", "strength": "soft", "scope": "hubs", "hubs": listed},
        )

        changed = ProtectedWindow.objects.get()
        assert (changed.pk, changed.kind, changed.is_hard) == (window.pk, "history", False)
        assert (changed.start_at, changed.starts) == (None, time(18))
        assert (changed.made_by, changed.created_at) == (window.made_by, window.created_at)
        assert [one.hub for one in changed.listed.all()] == [hubs[1].chf_id]
        facts = AuditEntry.objects.get(verb="window.changed", subject=f"window:{window.pk}").facts
        assert (facts["before"]["kind"], facts["after"]["kind"]) == ("tariff", "history")
        assert facts["before"]["when"] != facts["after"]["when"]

    def test_empties_the_list_of_what_is_now_for_all(self, world: World, client: Client) -> None:
        window = world.protect(start=5 * HOUR, hubs=world.hubs(2))

        client.post(self.address(window), ONCE)

        assert ProtectedWindow.objects.get().hubs == 0
        assert not ProtectedHub.objects.exists()

    def test_is_judged_as_a_new_one_is_but_not_against_itself(self, world: World, client: Client) -> None:
        daily = WEEKLY | {"weekdays": [str(day) for day in range(7)], "starts": "00:00", "ends": "11:00"}
        client.post(NEW, daily)
        address = self.address(ProtectedWindow.objects.get())

        kept = client.post(address, daily | {"starts": "01:00", "ends": "12:00"})
        refused = client.post(address, daily | {"ends": "13:00"})

        assert kept.status_code == 302
        assert refused.status_code == 409
        assert "hard windows would cover" in words(refused)
        assert ProtectedWindow.objects.get().ends == time(12)

    def test_does_not_show_hubs_that_went_to_another_supplier(self, world: World, client: Client) -> None:
        gone, kept = world.hubs(2)
        window = world.protect(start=5 * HOUR, hubs=[gone, kept])
        type(gone).objects.filter(pk=gone.pk).update(import_supplier=world.southern)

        page = words(client.get(self.address(window)))

        assert format_eui64(kept.chf_id) in page
        assert format_eui64(gone.chf_id) not in page
        assert "1 hub of its list is no longer yours" in page

    def test_says_that_it_was_deleted_meanwhile(self, world: World) -> None:
        window = world.protect(start=5 * HOUR)
        wish = acts.Wish(ProtectedWindow(kind="other", reason="Quiet", scope=Scope.ALL))
        ProtectedWindow.objects.all().delete()

        with pytest.raises(acts.UnableToProtect, match="deleted meanwhile"):
            acts.change(window=window, wish=wish, by=world.person, now=world.clock())


class TestTheCap:
    def keep(self, world: World, **facts: Any) -> ProtectedWindow:
        window = ProtectedWindow(
            **{"kind": "other", "reason": "Quiet", "scope": Scope.ALL, "is_hard": True, **facts}
        )
        return acts.protect(
            window=window, supplier=world.northern, hubs=[], by=world.person, now=world.clock()
        )

    def daily(self, hours: int) -> dict[str, Any]:
        return {"weekdays": 127, "starts": time(0), "ends": time(hours)}

    def test_lets_half_of_the_hours_pass_and_not_more(self, world: World) -> None:
        self.keep(world, **self.daily(11))

        with pytest.raises(acts.UnableToProtect, match=r"would cover 5\d\d hours of .* at most half .* 504"):
            self.keep(world, weekdays=127, starts=time(12), ends=time(14))
        assert ProtectedWindow.objects.count() == 1

    def test_names_the_release_whose_period_it_is(self, world: World) -> None:
        start = world.clock() + timedelta(days=25)

        with pytest.raises(acts.UnableToProtect, match=r"744 hours of “Spring release” on .* 720"):
            self.keep(world, start_at=start, end_at=start + timedelta(days=31))

    def test_counts_only_windows_that_meet_in_one_hub(self, world: World) -> None:
        self.keep(world, **self.daily(8))
        for mode in PaymentMode:
            self.keep(
                world,
                scope=Scope.PAYMENT_MODE,
                payment_mode=mode,
                weekdays=127,
                starts=time(8),
                ends=time(11),
            )

        assert ProtectedWindow.objects.count() == 3

    def test_counts_lists_that_share_a_hub(self, world: World) -> None:
        hubs = world.hubs(3)
        halves = [(hubs[:2], time(0), time(8)), (hubs[2:], time(8), time(16))]
        for listed, starts, ends in halves:
            world.protect(hubs=listed, weekdays=127, starts=starts, ends=ends)
        window = ProtectedWindow(
            kind="other", reason="Quiet", scope=Scope.HUBS, weekdays=127, starts=time(8), ends=time(16)
        )

        with pytest.raises(acts.UnableToProtect, match="for some of your hubs"):
            acts.protect(
                window=window,
                supplier=world.northern,
                hubs=[hubs[0].chf_id],
                by=world.person,
                now=world.clock(),
            )

    def test_does_not_count_soft_windows_nor_those_of_others(self, world: World) -> None:
        world.protect(**self.daily(11), is_hard=False)
        world.protect(**self.daily(11), supplier=world.southern)

        self.keep(world, weekdays=127, starts=time(12), ends=time(23))

        assert ProtectedWindow.objects.count() == 3

    @pytest.mark.django_db(transaction=True)
    def test_is_not_passed_by_two_at_once(self, transactional_db: None) -> None:
        world = worlds.make(now=datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
        barrier = threading.Barrier(4)
        refused: list[str] = []

        def keep(hour: int) -> None:
            try:
                barrier.wait(30)
                self.keep(world, weekdays=127, starts=time(hour), ends=time(hour + 5))
            except acts.UnableToProtect as refusal:
                refused.append(str(refusal))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=keep, args=[hour]) for hour in (0, 5, 10, 15)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

        assert (ProtectedWindow.objects.count(), len(refused)) == (2, 2)


class TestWindows:
    def test_says_what_would_be_here(self, world: World, client: Client) -> None:
        assert "No protected windows" in words(client.get(LIST))

    def test_lists_own_ones_with_what_each_blocks(self, world: World, client: Client) -> None:
        for hours in (5, 6, 7):
            world.slot(start=hours * HOUR, room=10)
        world.slot(start=timedelta(days=90), room=10)  # of no release
        world.protect(start=5.5 * HOUR, reason="Ours")
        world.protect(start=timedelta(days=89), length=timedelta(days=3), reason="Beyond")
        world.protect(start=5.5 * HOUR, supplier=world.southern, reason="Theirs")
        world.protect(start=-3 * HOUR, reason="Past")

        response = client.get(LIST)

        rows = [(row.record.window.reason, row.record.blocked) for row in response.context["table"].rows]
        assert rows == [("Beyond", 0), ("Ours", 2)]

    def test_pages_through_them(self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pages, "SHOWN", 2)
        made = [world.protect(start=hours * HOUR).pk for hours in (1, 2, 3)]

        first = client.get(LIST)
        second = client.get(first.context["next"])

        shown = [[row.record.window.pk for row in page.context["table"].rows] for page in (first, second)]
        assert shown == [[made[2], made[1]], [made[0]]]
        assert (first.context["first"], second.context["first"], second.context["next"]) == ("", LIST, "")


class TestDeleteWindow:
    def test_deletes_and_keeps_a_record(self, world: World, client: Client) -> None:
        world.slot(start=5 * HOUR, room=10)
        window = world.protect(start=5 * HOUR)
        address = reverse("scheduling:delete-window", args=[window.pk])

        assert "It touches 1 slot of open releases" in words(client.get(address))
        client.post(address)

        assert not ProtectedWindow.objects.exists()
        assert AuditEntry.objects.filter(verb="window.lifted", subject=f"window:{window.pk}").exists()

    @pytest.mark.parametrize("verb", ["get", "post"])
    def test_does_not_exist_for_another_supplier(self, verb: str, world: World, client: Client) -> None:
        window = world.protect(start=5 * HOUR)
        client.force_login(
            User.objects.create_user(email="person@southern.example.com", supplier=world.southern)
        )

        response = getattr(client, verb)(reverse("scheduling:delete-window", args=[window.pk]))

        assert response.status_code == 404
        assert ProtectedWindow.objects.exists()


class TestBooking:
    def test_shows_closed_times_with_a_word(self, world: World, client: Client) -> None:
        world.hubs(3)
        slots = [world.slot(start=hours * HOUR, room=10) for hours in (5, 6)]
        count_fleet(now=world.clock())
        world.protect(start_at=slots[0].start_at, end_at=slots[0].end_at)
        Maintenance.objects.create(
            network=world.network, start_at=slots[1].start_at, end_at=slots[1].end_at, reason="Mast"
        )
        selection = world.choose()
        pages = "".join(
            words(client.get(reverse("scheduling:when", args=[selection.pk]), {"day": slot.start_at.date()}))
            for slot in slots
        )

        for kind in ("protected", "maintenance"):
            assert f'class="cell-{kind} depth-' in pages
            assert pictures.CLOSED[kind] in pages

    def test_asks_why_a_soft_window_does_not_matter(self, world: World, client: Client) -> None:
        world.hubs(3)
        world.slot(start=5 * HOUR, room=10)
        count_fleet(now=world.clock())
        world.protect(start=5 * HOUR, is_hard=False, reason="Readings")
        address = reverse("scheduling:check", args=[world.choose().pk])
        plan = {"plan": "earliest"}

        page = client.get(address, plan)
        refused = client.post(address, plan)
        booked = client.post(address, plan | {"despite": "Readings are done"})

        assert "3 hubs: Tariff or price change, Readings" in words(page)
        assert refused.status_code == 409
        assert "Give a reason to proceed" in words(refused)
        assert booked.status_code == 302
        assert AuditEntry.objects.get(verb="booking.proceeded").reason == "Readings are done"


class TestTheAdmin:
    @pytest.mark.parametrize(
        ("name", "facts"),
        [
            (
                "maintenance",
                {
                    "start_at_0": "2030-04-01",
                    "start_at_1": "02:00",
                    "end_at_0": "2030-04-01",
                    "end_at_1": "05:00",
                    "reason": "Mast work",
                },
            ),
            (
                "incident",
                {"category": 1, "summary": "Mast work", "opened_at_0": "2030-04-01", "opened_at_1": "02:00"},
            ),
        ],
    )
    def test_keeps_it_in_uk_time_with_a_record(
        self, name: str, facts: dict[str, Any], world: World, client: Client
    ) -> None:
        client.force_login(world.staff)

        response = client.post(f"/admin/scheduling/{name}/add/", facts | {"network": world.network.pk})

        assert response.status_code == 302
        kept = Maintenance.objects.first() or Incident.objects.first()
        begins = kept.start_at if isinstance(kept, Maintenance) else kept and kept.opened_at
        assert begins == datetime(2030, 4, 1, 1, tzinfo=UTC)
        assert AuditEntry.objects.get(verb=f"{name}.made").reason == "Mast work"
        assert client.get(f"/admin/scheduling/{name}/").status_code == 200
