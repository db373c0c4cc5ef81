"""DCC staff rehearse a release in the admin, and read what it came to."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse

from firmware.models import FirmwareRelease, RolloutPolicy
from firmware.operations.groups import APPROVERS, AUDITORS, RELEASE_MANAGERS
from hubs.models import FleetCount
from portal import databases, fast_rehearsals
from portal.ground import clock
from portal.models import User
from portal.rehearsal_runs import of_fast
from portal.rehearsals import Plan
from scheduling.models import CapacityPattern, Rehearsal
from scheduling.operations import asked_rehearsals
from tests.factories import UserFactory
from tests.portal.test_access import assert_obeys_policy
from tests.scheduling import world as worlds
from tests.scheduling.world import World

ASKED = {"percent": "2", "kind": "silent", "where": "all", "hubs": "4000", "seed": "1", "way": "fast"}


@pytest.fixture
def world(db: None) -> World:
    """A release that is for forty hubs, with an hour's slot every night."""
    world = worlds.make(now=clock.now())
    FleetCount.objects.create(
        lead=world.northern, network=world.network, model=world.model, status=4, payment_mode=1, hubs=40,
        installed_version=world.release.predecessors.get().version, hardware_version=1,
        counted_at=world.clock(),
    )  # fmt: skip
    for weekday in range(7):
        CapacityPattern.objects.create(
            network=world.network, weekday=weekday, starts="02:00", ends="03:00", capacity=10
        )
    RolloutPolicy.objects.update(tolerated_bad_percent="0.75", silence_deadline="120 minutes")
    return world


def member(group: str) -> User:
    """Return somebody of DCC in a group."""
    person = UserFactory.create()
    person.groups.add(Group.objects.get(name=group))
    return person


def address(world: World, *, name: str = "rehearsals", rehearsal: Rehearsal | None = None) -> str:
    return reverse(name, args=[world.release.pk, *([rehearsal.pk] if rehearsal else [])])


def words(response: Any) -> str:
    page: str = response.content.decode()
    assert_obeys_policy(page)
    return " ".join(page.split())


@pytest.fixture
def rehearsed(world: World) -> Callable[..., Rehearsal]:
    """Return what asks for a rehearsal of the release and carries it out, in numbers alone."""

    def rehearse(client: Client, **asked: str) -> Rehearsal:
        client.force_login(world.staff)
        response = client.post(address(world), ASKED | asked)
        assert response.status_code == 302, words(response)
        taken = asked_rehearsals.take(is_whole=False, now=clock.now())
        assert taken is not None
        plan = Plan.from_facts(taken.plan)
        found = fast_rehearsals.simulate(plan=plan, tell=lambda step, share=None: None)
        asked_rehearsals.finish(
            rehearsal=taken.pk, token=taken.token, result=of_fast(plan=plan, found=found), now=clock.now()
        )
        return Rehearsal.objects.get(pk=taken.pk)

    return rehearse


class TestPage:
    def test_offers_what_one_asks_first(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        page = words(client.get(address(world)))

        assert 'name="percent" value="2"' in page
        assert '<option value="silent" selected>' in page
        assert 'name="hubs" value="40"' in page
        assert f"Only on network {world.network}" in page
        assert f"Only in model {world.model}" in page
        assert "None yet. What a rehearsal finds out stands here" in page

    def test_takes_what_was_asked_and_shows_how_far_it_is(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        response = client.post(address(world), ASKED | {"where": f"network:{world.network.code}"})

        rehearsal = Rehearsal.objects.get()
        assert response["Location"] == address(world, name="rehearsal", rehearsal=rehearsal)
        assert rehearsal.network == world.network
        assert rehearsal.asked_by == world.staff
        assert rehearsal.plan["defect"]["network"] == world.network.code
        page = words(client.get(response["Location"]))
        assert "Waiting for its turn" in page
        assert 'hx-trigger="every 2s"' in page

    def test_forgets_kind_and_place_of_no_defect(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        client.post(address(world), ASKED | {"percent": "0", "where": f"model:{world.model.pk}"})
        rehearsal = Rehearsal.objects.get()
        assert (rehearsal.kind, rehearsal.model, rehearsal.plan["defect"]) == ("", None, None)

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ({"percent": "101"}, "less than or equal to 100"),
            ({"hubs": "0"}, "greater than or equal to 1"),
            ({"hubs": "2000000", "way": "whole"}, "at most 1,000,000 hubs can be rehearsed"),
            ({"where": "network:elsewhere"}, "not one of the available choices"),
        ],
    )
    def test_says_beside_the_field_what_cannot_be(
        self, world: World, client: Client, asked: dict[str, str], sentence: str
    ) -> None:
        client.force_login(world.staff)
        assert sentence in words(client.post(address(world), ASKED | asked))
        assert not Rehearsal.objects.exists()

    def test_says_why_a_release_cannot_be_rehearsed(self, world: World, client: Client) -> None:
        FleetCount.objects.all().delete()
        client.force_login(world.staff)
        assert "No hub can take this release" in words(client.post(address(world), ASKED))

    def test_refuses_the_real_code_on_compressed_time(self, world: World, client: Client) -> None:
        RolloutPolicy.objects.update(silence_deadline="2 minutes")
        client.force_login(world.staff)
        assert "that is compressed time" in words(client.post(address(world), ASKED | {"way": "whole"}))

    def test_says_what_is_missing_where_no_database_can_be_made(
        self, world: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(databases, "may_make", lambda: False)
        client.force_login(world.staff)
        page = words(client.post(address(world), ASKED | {"way": "whole"}))
        assert "ALTER ROLE" in page
        assert "In numbers alone it can be rehearsed now." in page
        assert client.post(address(world), ASKED).status_code == 302

    def test_refuses_a_second_one_while_the_first_is_not_over(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        client.post(address(world), ASKED)
        assert "Another rehearsal of this release is waiting or running" in words(
            client.post(address(world), ASKED)
        )

    def test_lists_what_was_found_out(
        self, world: World, client: Client, rehearsed: Callable[..., Rehearsal]
    ) -> None:
        rehearsal = rehearsed(client, percent="20")
        FirmwareRelease.objects.update(revision=7)
        page = words(client.get(address(world)))
        assert f'href="{address(world, name="rehearsal", rehearsal=rehearsal)}"' in page
        assert "A silent defect in 20 % of the hubs, to 4,000 hubs, in numbers alone, seed 1" in page
        assert "It halts by itself after" in page
        assert "Of revision 1; the release was changed since" in page
        assert "hx-trigger" not in page

    def test_sends_only_the_list_to_a_page_that_asks_again(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        client.post(address(world), ASKED)
        part = words(client.get(address(world), headers={"HX-Request": "true"}))
        assert part.startswith("<section")
        assert 'hx-trigger="every 2s"' in part


class TestOne:
    def test_draws_it_with_the_same_numbers_and_says_what_it_means(
        self, world: World, client: Client, rehearsed: Callable[..., Rehearsal]
    ) -> None:
        rehearsal = rehearsed(client, percent="20")
        page = words(client.get(address(world, name="rehearsal", rehearsal=rehearsal)))

        assert "It halts by itself after" in page
        assert "Hubs commanded before the halt" in page
        assert "A healthy rollout takes" in page
        assert page.count("<polyline") == 2
        assert ">halt</text>" in page
        numbers = page.partition("The same as numbers")[2].partition("</table>")[0]
        assert "it halts" in numbers
        assert f"stage 1 of {world.model} opens" in numbers
        assert rehearsal.digest in page
        assert "hx-trigger" not in page

    def test_shows_the_step_and_lets_it_be_stopped(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        client.post(address(world), ASKED)
        taken = asked_rehearsals.take(is_whole=False, now=clock.now())
        assert taken is not None
        asked_rehearsals.renew(
            rehearsal=taken.pk, token=1, step="day 2: 3 of 200 rollouts go on", progress=0.4, now=clock.now()
        )
        place = address(world, name="rehearsal", rehearsal=taken)
        part = words(client.get(place, headers={"HX-Request": "true"}))
        assert "Running: 40 % done" in part
        assert "day 2: 3 of 200 rollouts go on." in part

        client.post(address(world, name="stop-rehearsal", rehearsal=taken))
        page = words(client.get(place))
        assert "Stopped before it was done" in page
        assert "hx-trigger" not in page
        again = client.post(address(world, name="stop-rehearsal", rehearsal=taken), follow=True)
        assert "The rehearsal was over before it could be stopped." in words(again)

    def test_says_why_it_failed(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        client.post(address(world), ASKED)
        taken = asked_rehearsals.take(is_whole=False, now=clock.now())
        assert taken is not None
        asked_rehearsals.fail(rehearsal=taken.pk, token=1, error="No room <here>.", now=clock.now())
        page = words(client.get(address(world, name="rehearsal", rehearsal=taken)))
        assert "It could not be rehearsed" in page
        assert "No room &lt;here&gt;." in page

    def test_is_not_found_at_another_release(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        client.post(address(world), ASKED)
        place = reverse("rehearsal", args=[world.release.pk + 1, Rehearsal.objects.get().pk])
        assert client.get(place).status_code == 404


class TestWhoMayDoWhat:
    @pytest.mark.parametrize(
        ("group", "may_ask"), [(RELEASE_MANAGERS, True), (APPROVERS, True), (AUDITORS, False)]
    )
    def test_follows_the_group(self, world: World, client: Client, group: str, may_ask: bool) -> None:
        client.force_login(member(group))
        page = words(client.get(address(world)))
        assert ('class="rehearsal-form"' in page) is may_ask
        assert client.post(address(world), ASKED).status_code == (302 if may_ask else 403)
        assert Rehearsal.objects.exists() is may_ask

    def test_lets_an_auditor_see_and_not_stop(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        client.post(address(world), ASKED)
        rehearsal = Rehearsal.objects.get()
        client.force_login(member(AUDITORS))
        page = words(client.get(address(world, name="rehearsal", rehearsal=rehearsal)))
        assert "Stop it" not in page
        assert client.post(address(world, name="stop-rehearsal", rehearsal=rehearsal)).status_code == 403

    def test_keeps_staff_out_who_may_not_see_releases(self, world: World, client: Client) -> None:
        client.force_login(UserFactory.create())
        assert client.get(address(world)).status_code == 403

    def test_does_not_exist_for_a_supplier(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        client.post(address(world), ASKED)
        rehearsal = Rehearsal.objects.get()
        client.force_login(world.person)
        for name, named in (("rehearsals", None), ("rehearsal", rehearsal), ("stop-rehearsal", rehearsal)):
            place = address(world, name=name, rehearsal=named)
            assert client.get(place).status_code == client.post(place, ASKED).status_code == 404
        assert Rehearsal.objects.get().state == "waiting"


class TestLinks:
    def test_lead_here_from_the_desk_and_the_control_room(self, world: World, client: Client) -> None:
        client.force_login(world.staff)
        for place in (
            reverse("admin:firmware_firmwarerelease_change", args=[world.release.pk]),
            reverse("control-room"),
        ):
            assert f'href="{address(world)}"' in client.get(place).content.decode()
