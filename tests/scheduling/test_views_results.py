"""What became of a Supplier's hubs, on a page and in files."""

import csv
import io
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse

from portal.models import User
from scheduling.lifecycle import Ending, State
from scheduling.models import Deployment, OutcomeTally
from scheduling.operations import tallies
from scheduling.queries import outcomes
from tests.scheduling.test_early_warning import activate, end, publish_another, stage
from tests.scheduling.test_views_home import queries_of
from tests.scheduling.world import World

ADDRESS = "/results/"


@pytest.fixture
def done(todays_world: World) -> World:
    """Twenty hubs: nine succeeded, two failed, one was missed, the others wait."""
    world = stage(todays_world, 20)
    activate(12)
    end(9, world=world, state=State.SUCCEEDED)
    end(2, world=world, state=State.FAILED, ending=Ending.WRONG_VERSION)
    missed = Deployment.objects.filter(state=State.STAGED).earliest("id")
    Deployment.objects.filter(pk=missed.pk).update(
        state=State.MISSED, ending=Ending.UNREACHABLE, ended_at=world.clock(), next_at=None
    )
    tallies.fold(limit=1_000)
    return world


def words(client: Client, person: User, address: str = ADDRESS) -> str:
    """Return the words of a page, as somebody reads them."""
    client.force_login(person)
    return " ".join(client.get(address).content.decode().split())


def rows(client: Client, address: str) -> list[list[str]]:
    """Return the rows of a file."""
    text = client.get(address).getvalue().decode("utf-8-sig")  # type: ignore[attr-defined]
    return list(csv.reader(io.StringIO(text)))


class TestPage:
    def test_says_what_would_be_here(self, todays_world: World, client: Client) -> None:
        page = words(client, todays_world.person)

        assert "No hub has an outcome yet" in page
        assert "chart.umd" not in page

    def test_tells_outcomes_and_reasons(self, done: World, client: Client) -> None:
        page = words(client, done.person)

        assert "chart.umd.min" in page
        assert '<td data-value="9">9</td><td data-value="2">2</td>' in page
        assert f"{done.model}, {done.network}" in page
        assert "After activation the hub runs another version (failed)" in page
        assert '<td data-value="2">2 (66.7 %)</td>' in page
        assert "The hub could not be reached in its slot (missed)" in page
        assert '<td data-value="69.23">9 (69.2 %)</td>' in page  # with the one under way

    def test_says_so_where_nothing_went_wrong(self, todays_world: World, client: Client) -> None:
        stage(todays_world, 1)
        activate(1)
        end(1, world=todays_world, state=State.SUCCEEDED)
        tallies.fold(limit=1_000)

        assert "Each hub that has an outcome got the release." in words(client, todays_world.person)

    def test_lets_one_choose_the_release(self, done: World, client: Client) -> None:
        assert "results-release" not in words(client, done.person)
        other = publish_another(done)
        row = OutcomeTally.objects.get(state=State.SUCCEEDED)
        row.pk, row.release, row.hubs = None, other, 77
        row.save()

        assert 'data-value="77"' in words(client, done.person)
        assert 'data-value="77"' not in words(client, done.person, f"{ADDRESS}?release={done.release.pk}")

    def test_knows_no_other_releases(self, done: World, client: Client) -> None:
        client.force_login(done.person)
        for asked in (str(publish_another(done).pk), "0", "what"):
            assert client.get(f"{ADDRESS}?release={asked}").status_code == 404

    def test_shows_nobody_elses(self, done: World, client: Client) -> None:
        other = User.objects.create_user(email="person@southern.example.com", supplier=done.southern)

        assert "No hub has an outcome yet" in words(client, other)
        assert client.get(f"{ADDRESS}?release={done.release.pk}").status_code == 404
        assert len(rows(client, reverse("scheduling:export-results"))) == 1

    def test_asks_a_fixed_number_of_questions(self, done: World, client: Client) -> None:
        client.force_login(done.person)
        few = queries_of(client, ADDRESS)
        for number, row in enumerate(OutcomeTally.objects.filter(hubs__gt=0)):
            row.pk, row.day = None, row.day + timedelta(days=7 * (number + 1))
            row.save()

        assert len(queries_of(client, ADDRESS)) == len(few)


class TestFiles:
    def test_have_the_same_counts(self, done: World, client: Client) -> None:
        client.force_login(done.person)

        header, *results = rows(client, reverse("scheduling:export-results"))

        [result] = outcomes.results(supplier=done.northern, release=done.release).by_week
        week = result.week.isoformat()
        assert header[:4] == ["Week from", "Network", "Hub model", "Succeeded"]
        assert results == [[week, done.network.name, done.model.name, "9", "2", "0", "1", "1"]]

    def test_have_the_reasons(self, done: World, client: Client) -> None:
        client.force_login(done.person)

        _, *reasons = rows(client, reverse("scheduling:export-reasons"))

        assert [line[3:] for line in reasons] == [
            ["Failed", "After activation the hub runs another version", "2"],
            ["Missed", "The hub could not be reached in its slot", "1"],
        ]
