"""Filters of lists that somebody keeps under names."""

import pytest
from django.test import Client
from django.urls import reverse

from portal.ground.roles import SupplierRole
from portal.models import User
from scheduling.models import SavedFilter
from tests.factories import UserFactory
from tests.scheduling.test_views_home import queries_of
from tests.scheduling.test_views_hubs import words
from tests.scheduling.world import World

HUBS = reverse("scheduling:hubs")
ALL = reverse("saved-filters")


@pytest.fixture
def person(todays_world: World, client: Client) -> User:
    """Somebody who only reads, with hubs to look at."""
    todays_world.hubs(3)
    person = UserFactory.create(supplier=todays_world.northern, role=SupplierRole.READ_ONLY)
    client.force_login(person)
    return person


def keep(client: Client, name: str, query: str = "sort=-hub", **said: str) -> str:
    asked = {"list": "hubs", "of": "", "query": query, "name": name, **said}
    return words(client.post(ALL, asked, follow=True))


class TestKeeping:
    def test_puts_a_link_above_the_list_that_shows_the_same(self, person: User, client: Client) -> None:
        page = keep(client, "  Down\n wards ", "sort=-hub&columns=network&nonsense=1&after=7")

        assert "“Down wards” is kept" in page
        address = f"{HUBS}?sort=-hub&amp;columns=hub&amp;columns=network"
        assert f'<a href="{address}" aria-current="true">Down wards</a>' in page
        assert f'<a href="{address}">Down wards</a>' in words(client.get(HUBS))

    def test_under_a_name_that_is_there_takes_its_place(self, person: User, client: Client) -> None:
        keep(client, "Mine")
        keep(client, "Mine", "columns=hub&columns=status")

        assert SavedFilter.objects.get().query == "columns=hub&columns=status"

    @pytest.mark.parametrize(
        ("name", "sentence"),
        [("  ", "Give the filter a name."), ("x" * 61, "at most 60"), ("\0", "Give the")],
    )
    def test_says_what_is_wrong_with_a_name(
        self, name: str, sentence: str, person: User, client: Client
    ) -> None:
        assert sentence in keep(client, name)
        assert not SavedFilter.objects.exists()

    def test_ends_where_there_are_too_many(
        self, person: User, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scheduling.queries.saved.MOST", 1)
        keep(client, "One")

        assert "Delete one that you need no more." in keep(client, "Two")
        assert SavedFilter.objects.get().name == "One"

    def test_of_no_list_is_refused(self, person: User, client: Client) -> None:
        assert "That is no list" in keep(client, "x", list="passwords")
        assert client.post(ALL, {"list": "record", "name": "x"}).status_code == 404

    def test_is_ones_own(self, person: User, client: Client) -> None:
        keep(client, "Mine")
        kept = SavedFilter.objects.get()
        client.force_login(UserFactory.create(supplier=person.supplier))

        assert "Mine" not in words(client.get(HUBS))
        assert client.get(reverse("saved-filter", args=[kept.pk])).status_code == 404

    def test_costs_no_question_more_for_many(self, person: User, client: Client) -> None:
        few = queries_of(client, HUBS)
        for name in "abc":
            keep(client, name)

        assert len(queries_of(client, HUBS)) == len(few)


class TestOne:
    def test_is_renamed_and_deleted(self, person: User, client: Client) -> None:
        keep(client, "Mine")
        keep(client, "Other")
        kept = SavedFilter.objects.get(name="Mine")
        address = reverse("saved-filter", args=[kept.pk])

        refused = client.post(address, {"name": "Other"})
        assert refused.status_code == 409
        assert "Choose a different one." in words(refused)
        assert "New" in words(client.post(address, {"name": "New"}, follow=True))
        assert "“New” is deleted." in words(client.post(address, {"delete": "yes"}, follow=True))
        assert list(SavedFilter.objects.values_list("name", flat=True)) == ["Other"]
