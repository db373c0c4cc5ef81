"""Tests of the control room: what DCC reads of each release, and that it costs little."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from firmware.models import FirmwareRelease, Part, RolloutPolicy, SignedAct
from firmware.operations import decisions
from firmware.operations.groups import AUDITORS
from portal.ground import clock
from portal.ground.uk_time import LONDON
from scheduling.lifecycle import Ending, State
from scheduling.models import ControlLook, LateLook, Stage
from scheduling.operations import halts, stages
from scheduling.queries import control_room
from tests.factories import UserFactory
from tests.scheduling import world as worlds
from tests.scheduling.test_early_warning import activate, end, publish_another, resume, silence, stage
from tests.scheduling.world import World

ADDRESS = "/admin/control-room/"


@pytest.fixture
def staged(db: None) -> World:
    """A published release with sixty staged hubs, the first fifty of which may be activated."""
    world = worlds.make(now=clock.now())
    RolloutPolicy.objects.update(tolerated_bad_percent="0.75")
    return stage(world, 60)


def room(client: Client, world: World) -> str:
    """Return the words of the page, as DCC staff with every permission read it."""
    client.force_login(world.staff)
    return " ".join(client.get(ADDRESS).content.decode().split())


def pass_a_day_and(*, minutes: int, days: int = 1) -> None:
    """Let all that has happened in the one stage have happened so much earlier."""
    passed = timedelta(days=days, minutes=minutes)
    LateLook.objects.update(succeeded_at=F("succeeded_at") - passed)
    Stage.objects.update(full_at=F("full_at") - passed, opened_at=F("opened_at") - passed)


class TestPage:
    def test_says_what_would_be_here(self, db: None, client: Client) -> None:
        client.force_login(UserFactory.create())

        page = client.get(ADDRESS).content.decode()

        assert "Nothing is being rolled out" in page
        assert "has a card here" in page

    def test_shows_a_release_that_is_healthy(self, staged: World, client: Client) -> None:
        activate(20)
        end(7, world=staged, state=State.SUCCEEDED)

        page = room(client, staged)

        assert "1 release: 1 healthy" in page
        assert "20 <span>hubs</span>" in page
        assert "7 <span>hubs</span>" in page
        assert "13 <span>of at most 50 hubs</span>" in page
        assert "Nothing speaks against it." in page
        assert "1, size 1 of 4" in page
        assert "0 % of the limit" in page
        assert "Up to 0.75 % bad hubs are tolerated" in page
        assert f"/admin/firmware/firmwarerelease/{staged.release.pk}/decide/halt/" in page
        assert "From the first activated hub on, a picture here" in page

    def test_says_that_a_stage_waits_for_later_looks(self, staged: World, client: Client) -> None:
        RolloutPolicy.objects.update(soak="24 hours")
        activate(50)
        end(50, world=staged, state=State.SUCCEEDED)
        stages.advance(now=staged.clock())
        assert "soaks for 24 hours" in room(client, staged)

        pass_a_day_and(minutes=10)
        LateLook.objects.filter(pk__in=LateLook.objects.order_by("pk")[:38]).update(looks=1)
        page = room(client, staged)
        assert "For its hubs to be looked at again: 12 of 50 are left </td>" in page

        pass_a_day_and(minutes=40, days=0)
        due_since = LateLook.objects.earliest("succeeded_at").succeeded_at + timedelta(days=1)
        shown = due_since.astimezone(LONDON)
        assert (
            f"12 of 50 are left; it has been time for the first of them since {shown:%-d %b, %H:%M}, so see whether "
            "the carrier answers, and whether their network is closed </td>"
        ) in room(client, staged)

        LateLook.objects.update(looks=1)
        assert "to be looked at again" not in room(client, staged)

    @pytest.mark.parametrize(("hubs", "words"), [(49, "Too few to tell"), (50, "50 % of the limit")])
    def test_says_which_networks_have_too_few_controls(
        self, staged: World, client: Client, hubs: int, words: str
    ) -> None:
        ControlLook.objects.create(
            network=staged.network,
            at=staged.clock(),
            hubs=hubs,
            silent=1,
            usual=0.005,
            evidence=5,
            threshold=10,
        )

        page = room(client, staged)

        controls = page.partition('id="controls"')[2].partition("</section>")[0]
        assert words in controls
        assert ("Too few" in controls) is (hubs < ControlLook.LEAST)

    def test_shows_the_evidence_over_time_with_the_same_numbers(self, staged: World, client: Client) -> None:
        activate(50)
        halts.watch(now=staged.clock())
        staged.clock.move(minutes=5)
        end(3, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        halts.watch(now=staged.clock())
        share = int(100 * control_room.situations(shown=control_room.rolling_out(), now=clock.now())[0].share)

        page = room(client, staged)

        assert share > 0
        assert page.count("<polyline") == 2
        moments = re.findall(r">(\d\d:\d\d:\d\d)</text>", page)
        assert len(moments) == len(set(moments)) == 5
        assert "The same as numbers" in page
        numbers = page.partition("The same as numbers")[2].partition("</table>")[0]
        assert numbers.count("<tr>") == 3
        assert numbers.count(f"<td>{share} %</td>") == 2
        assert numbers.count("<td>0 %</td>") == 2

    def test_says_that_a_stream_beyond_half_of_its_limit_is_watched(
        self, staged: World, client: Client
    ) -> None:
        activate(50)
        end(3, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        silence(1)

        page = room(client, staged)

        assert "1 release: 1 watched" in page
        assert "Watched</span>" in page
        assert f"Model {staged.model.name}: 75 % of the limit at which the release halts by itself." in page

    def test_says_why_it_was_halted_and_what_is_needed(self, staged: World, client: Client) -> None:
        activate(50)
        end(15, world=staged, state=State.FAILED, ending=Ending.ACTIVATION_FAILED)
        end(5, world=staged, state=State.SUCCEEDED)
        halts.watch(now=staged.clock())

        page = room(client, staged)

        assert "1 release: 1 halted" in page
        assert "by the portal itself. Early warning: of 50 hubs" in page
        assert (
            "50 hubs had been commanded to activate: 5 succeeded, 15 are bad, 30 have yet to answer." in page
        )
        assert "10 staged hubs and 0 held ones." in page
        assert "beyond the limit" in page
        assert "Two people. A DCC approver" in page
        assert "/decide/halt/" not in page

    def test_says_which_part_is_halted_by_itself(self, staged: World, client: Client) -> None:
        part = Part(model=staged.model)
        decisions.halt(
            release=staged.release, by=staged.staff, reason="They fail.", now=staged.clock(), part=part
        )

        page = room(client, staged)

        assert "1 release: 1 healthy; 1 halted in part" in page
        assert f"Halted: hub model {staged.model}</strong>" in page
        assert "For the model to be resumed: it is halted by itself" in page
        assert "Halted by itself: says nothing more for or against the rest" in page

    @pytest.mark.parametrize("name", ["room", "desk", "sign-off"])
    def test_says_who_else_halted_it_and_why(self, staged: World, client: Client, name: str) -> None:
        for by, reason in ((None, "Early warning."), (staged.staff, "They <burn>.")):
            decisions.halt(
                release=FirmwareRelease.objects.get(), by=by, reason=reason, now=staged.clock(), facts={}
            )
        client.force_login(staged.approver)
        release = [staged.release.pk]
        page = {
            "room": lambda: reverse("control-room"),
            "desk": lambda: reverse("admin:firmware_firmwarerelease_change", args=release),
            "sign-off": lambda: reverse(
                "admin:firmware_firmwarerelease_decide", args=[*release, "sign-off-resumption"]
            ),
        }[name]()

        shown = " ".join(client.get(page).content.decode().split())

        assert f"<strong>Halted again</strong> by {staged.staff}: They &lt;burn&gt;." in shown

    def test_names_who_has_agreed_to_the_resumption(self, staged: World, client: Client) -> None:
        decisions.halt(release=staged.release, by=staged.staff, reason="Odd.", now=staged.clock())
        release = FirmwareRelease.objects.get()
        decisions.sign_off(
            release=release,
            act=SignedAct.RESUME,
            revision=release.revision,
            digest=release.digest,
            by=staged.approver,
            reason="Known.",
            now=staged.clock(),
        )

        page = room(client, staged)

        assert f"by {staged.staff}. Odd." in page
        assert f"{staged.approver} signed the resumption off" in page
        assert f"other than {staged.approver} can resume it now" in page

    def test_says_that_a_stage_was_cut_off(self, staged: World, client: Client) -> None:
        activate(5)
        decisions.halt(release=staged.release, by=staged.staff, reason="Odd.", now=staged.clock())
        staged.clock.move(minutes=1)
        resume(staged)
        stages.cut_off(now=staged.clock())

        page = room(client, staged)

        assert "Cut off by the resumption at" in page
        assert "No hub of it has been activated in this episode" in page

    def test_says_what_a_full_stage_waits_for(self, staged: World, client: Client) -> None:
        activate(50)
        Stage.objects.update(full_at=staged.clock())
        assert "for the outcomes of all its hubs" in room(client, staged)
        end(50, world=staged, state=State.SUCCEEDED)
        assert "All have an outcome:" in room(client, staged)

    def test_offers_no_halt_and_no_release_to_those_who_may_not(self, staged: World, client: Client) -> None:
        client.force_login(UserFactory.create())
        page = client.get(ADDRESS).content.decode()
        assert "Spring release" in page
        assert "/admin/firmware/firmwarerelease/" not in page.partition('id="control-room"')[2]

        auditor = UserFactory.create()
        auditor.groups.add(Group.objects.get(name=AUDITORS))
        client.force_login(auditor)
        page = client.get(ADDRESS).content.decode().partition('id="control-room"')[2]
        assert f"/admin/firmware/firmwarerelease/{staged.release.pk}/change/" in page
        assert "/decide/halt/" not in page

    def test_answers_htmx_with_the_part_that_changes(self, staged: World, client: Client) -> None:
        client.force_login(staged.staff)

        page = client.get(ADDRESS, headers={"hx-request": "true"}).content.decode()

        assert page.strip().startswith('<div id="control-room"')

    def test_does_not_exist_for_a_supplier(self, staged: World, client: Client) -> None:
        client.force_login(staged.person)

        assert client.get(ADDRESS).status_code == 404

    def test_is_found_from_the_index(self, staged: World, client: Client) -> None:
        client.force_login(staged.staff)

        assert ADDRESS in client.get("/admin/").content.decode()

    def test_asks_few_questions_and_none_of_them_of_the_hubs(self, staged: World, client: Client) -> None:
        def questions() -> list[str]:
            with CaptureQueriesContext(connection) as captured:
                assert client.get(ADDRESS, headers={"hx-request": "true"}).status_code == 200
            return [query["sql"] for query in captured.captured_queries]

        activate(10)
        halts.watch(now=staged.clock())
        client.force_login(staged.staff)
        few = questions()
        activate(30)
        end(10, world=staged, state=State.SUCCEEDED)
        halts.watch(now=staged.clock() + timedelta(minutes=3))
        assert len(questions()) == len(few)

        # session, user, clock; releases with models, periods, networks; names of models and of networks; stages,
        # budgets, outcomes, halts; what speaks against each (four for every release); evidence over time; cohorts;
        # the course by day of what was commanded; controls
        assert len(few) == 21, "\n".join(few)
        assert not [
            query for query in few if "scheduling_deployment" in query or "communicationshub" in query
        ]

        publish_another(staged)
        Stage.objects.get_or_create(
            release=FirmwareRelease.objects.latest("pk"),
            model=staged.model,
            number=1,
            defaults={"size": 50, "opened_at": staged.clock()},
        )
        assert len(questions()) == len(few) + 4
