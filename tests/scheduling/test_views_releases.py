"""A release as its Suppliers see it: how it fares in the whole country, in DCC's own words and figures."""

import pytest
from django.test import Client
from django.urls import reverse

from firmware.models import Part, RolloutPolicy
from firmware.operations import decisions
from hubs.models import FirmwareVersion
from hubs.operations import count_fleet
from portal.ground import clock
from scheduling.lifecycle import Ending, State
from scheduling.operations import halts
from scheduling.queries import control_room
from tests.scheduling.test_early_warning import activate, end, silence, stage
from tests.scheduling.test_views_home import home, queries_of
from tests.scheduling.world import OLD, World


@pytest.fixture
def staged(todays_world: World) -> World:
    """Sixty staged hubs of the northern Supplier, the first fifty of which may be activated."""
    RolloutPolicy.objects.update(tolerated_bad_percent="0.75")
    stage(todays_world, 60)
    count_fleet(now=todays_world.clock())
    return todays_world


def release(client: Client, world: World) -> str:
    """Return the words of the page, as the northern Supplier reads them."""
    client.force_login(world.person)
    page = client.get(reverse("scheduling:release", args=[world.release.pk]))
    return " ".join(page.content.decode().split())


class TestInGreatBritain:
    def test_says_that_nothing_has_begun(self, staged: World, client: Client) -> None:
        page = release(client, staged)

        assert "No hub has been activated yet, so nothing speaks for or against the release." in page
        assert "0 of 50 hubs admitted" in page
        assert "60 hubs booked by all Suppliers, 0 ended" in page

    def test_names_the_stages_that_are_expected_to_open(self, staged: World, client: Client) -> None:
        page = release(client, staged)
        assert "Expected to open" in page
        assert "stage 2, 500 hubs, " in page

        decisions.halt(release=staged.release, by=staged.staff, reason="Trouble", now=staged.clock())
        assert "Expected to open" not in release(client, staged)

    def test_tells_totals_and_the_nearest_limit(self, staged: World, client: Client) -> None:
        activate(50)
        end(40, world=staged, state=State.SUCCEEDED)
        end(2, world=staged, state=State.FAILED, ending=Ending.WRONG_VERSION)
        silence(1)
        halts.watch(now=staged.clock())
        [situation] = control_room.situations(shown=control_room.rolling_out(), now=clock.now())

        page = release(client, staged)

        assert "Healthy</span>" in page
        assert "50 hubs, of which 7 have yet to answer" in page
        assert "<dd> 40 hubs </dd>" in page
        assert "3 hubs: 2 failed, 0 unconfirmed, 1 silent at its deadline" in page
        assert 0 < situation.share < 0.5
        assert f"{int(100 * situation.share)} % of the limit" in page
        assert "up to 0.75 % are tolerated" in page

    def test_says_that_it_is_watched_as_the_first_page_does(self, staged: World, client: Client) -> None:
        activate(50)
        end(4, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        halts.watch(now=staged.clock())

        for page in (release(client, staged), home(client, staged)):
            assert "Watched</span>" in page
            assert "Healthy</span>" not in page

    def test_says_why_it_was_halted(self, staged: World, client: Client) -> None:
        activate(50)
        end(20, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        halts.watch(now=staged.clock())

        page = release(client, staged)

        assert "DCC halted this release." in page
        assert "20 are bad (40.0%)" in page
        assert "No command goes to any hub until DCC resumes the release." in page
        assert "beyond the limit" in page

    @pytest.mark.parametrize("kind", ["network", "model", "installed_version"])
    def test_says_which_part_is_halted(self, staged: World, client: Client, kind: str) -> None:
        staged.hubs(1)
        count_fleet(now=staged.clock())
        parts = {
            "network": Part(network=staged.network),
            "model": Part(model=staged.model),
            "installed_version": Part(installed_version=FirmwareVersion.objects.get(number=OLD)),
        }
        decisions.halt(
            release=staged.release, by=staged.staff, reason="Odd.", now=staged.clock(), part=parts[kind]
        )

        page = release(client, staged)

        assert f"DCC halted this release for {parts[kind]}." in page
        assert "Halted for them" in page
        assert "Is for them" not in page

    def test_names_nobody_else(self, staged: World, client: Client) -> None:
        staged.hubs(3, supplier=staged.southern)
        decisions.halt(release=staged.release, by=staged.staff, reason="Odd reports.", now=staged.clock())

        page = release(client, staged)

        assert "Odd reports." in page
        assert staged.southern.name not in page
        assert str(staged.staff) not in page

    def test_asks_nothing_of_the_hubs(self, staged: World, client: Client) -> None:
        client.force_login(staged.person)
        address = reverse("scheduling:release", args=[staged.release.pk])
        few = queries_of(client, address)
        activate(50)
        end(30, world=staged, state=State.SUCCEEDED)
        many = queries_of(client, address)

        assert len(few) == len(many), "\n".join(many)
        assert not [query for query in many if "scheduling_deployment" in query]
