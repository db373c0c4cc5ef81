"""The first steps on the home page: ticked by what happened, and shown to whoever wants them."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from hubs.operations import count_fleet
from portal.ground.roles import SupplierRole
from portal.models import User
from scheduling.models import FirstSteps
from tests.scheduling.world import World

STEP = re.compile(r"<li (class=\"done\")?\s*>\s*<div>\s*<strong>([^<]+)</strong>")
ADDRESS = reverse("scheduling:first-steps")


def home(client: Client, person: User) -> str:
    client.force_login(person)
    return client.get(reverse("scheduling:home")).content.decode()


def steps_of(page: str) -> dict[str, bool]:
    """Return which steps a page shows, and whether each is done."""
    _, _, shown = page.partition('aria-labelledby="first-steps-head"')
    return {title: bool(done) for done, title in STEP.findall(shown.partition("</section>")[0])}


@pytest.fixture
def newcomer(todays_world: World) -> User:
    """Return a colleague who has never been here, of a Supplier with hubs to book."""
    todays_world.hubs(3)
    count_fleet(now=todays_world.clock())
    return User.objects.create_user(email="new@northern.example.com", supplier=todays_world.northern)


class TestFirstSteps:
    def test_begin_with_none_that_is_done(self, todays_world: World, newcomer: User, client: Client) -> None:
        page = home(client, newcomer)

        assert list(steps_of(page).values()) == [False] * 5
        assert f'href="{reverse("scheduling:book", args=[todays_world.release.pk])}"' in page
        assert "· done" not in page

    def test_are_ticked_by_what_the_person_did(
        self, todays_world: World, newcomer: User, client: Client
    ) -> None:
        todays_world.person = newcomer
        todays_world.choose()
        todays_world.protect(start=timedelta(days=3))

        assert steps_of(home(client, newcomer)) == {
            "See what is open": True,
            "Choose hubs": True,
            "Pick slots, check, and book": False,
            "Follow your hubs": False,
            "Keep protected windows": True,
        }

    def test_are_not_ticked_by_what_a_colleague_did(
        self, todays_world: World, newcomer: User, client: Client
    ) -> None:
        todays_world.slot(start=timedelta(hours=5), room=5)
        todays_world.book()

        assert steps_of(home(client, newcomer))["Pick slots, check, and book"] is False

    def test_go_by_themselves_once_the_person_has_booked(
        self, todays_world: World, newcomer: User, client: Client
    ) -> None:
        todays_world.person = newcomer
        todays_world.slot(start=timedelta(hours=5), room=5)
        todays_world.book()

        page = home(client, newcomer)

        assert steps_of(page) == {}
        assert "Show the first steps" in page

    def test_are_put_away_and_called_back_by_each_for_themselves(
        self, todays_world: World, newcomer: User, client: Client
    ) -> None:
        client.force_login(newcomer)
        away = client.post(ADDRESS, {"shown": "no"}, follow=True)
        assert away.redirect_chain == [(reverse("scheduling:home"), 302)]
        assert steps_of(away.content.decode()) == {}
        assert len(steps_of(home(client, todays_world.person))) == 5

        client.force_login(newcomer)
        assert len(steps_of(client.post(ADDRESS, {"shown": "yes"}, follow=True).content.decode())) == 5
        assert FirstSteps.objects.get().person == newcomer

    def test_stay_for_whoever_called_them_back_after_booking(
        self, todays_world: World, newcomer: User, client: Client
    ) -> None:
        todays_world.person = newcomer
        todays_world.slot(start=timedelta(hours=5), room=5)
        todays_world.book()
        client.force_login(newcomer)
        client.post(ADDRESS, {"shown": "yes"})

        assert steps_of(home(client, newcomer))["Pick slots, check, and book"] is True

    def test_are_not_for_whoever_may_only_read(self, todays_world: World, client: Client) -> None:
        reader = User.objects.create_user(
            email="reader@northern.example.com",
            supplier=todays_world.northern,
            role=SupplierRole.READ_ONLY,
        )

        page = home(client, reader)

        assert steps_of(page) == {}
        assert "first steps" not in page
