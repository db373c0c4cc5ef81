"""Warning cohorts: bad hubs one by one, what they have in common, and that nothing of it halts or hinders a halt."""

import importlib
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from firmware.models import FirmwareRelease, Halt, Part
from firmware.operations import decisions
from hubs.gateway import Outcome, Phase
from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, FirmwareVersion
from hubs.operations import count_fleet
from portal.ground import sql
from scheduling.lifecycle import Ending, State
from scheduling.models import BadHub, Cohort, Deployment, Lot
from scheduling.operations import cohorts as keeping
from scheduling.operations import halts, stages
from scheduling.queries import cohorts
from scheduling.queries.cohorts import InCommon, Line
from tests.factories import UserFactory
from tests.scheduling import world as worlds
from tests.scheduling.rows import add_command
from tests.scheduling.test_early_warning import activate, end, publish_another, resume, silence, stage, state
from tests.scheduling.world import World

ODD = 3
"""The hardware version of which more hubs are bad."""


@pytest.fixture
def mixed(world: World) -> World:
    """Fifty hubs that are being activated: forty of the usual hardware, ten of the odd one, whose ids come last."""
    world.release.policy.tolerated_bad_percent = "0.75"
    world.release.policy.save()
    stage(world, 40)
    stage(world, 10, hardware_version=ODD)
    activate(50)
    return world


def fail(number: int, world: World, **which: Any) -> None:
    """Let so many hubs fail at their activation."""
    end(number, world=world, state=State.FAILED, ending=Ending.ACTIVATION_FAILED, **which)


def odd() -> dict[str, Any]:
    """Choose the hubs of the odd hardware."""
    return {"hub__hardware_version": ODD}


def answered(world: World, deployment: int, *, version: int) -> None:
    """Let a hub have answered, before it was staged, which version it ran."""
    add_command(
        *(world, deployment, Phase.READ, 1),
        sent_at=world.clock(),
        answered_at=world.clock(),
        outcome=Outcome.DONE,
        version=version,
    )


def found(world: World) -> list[Cohort]:
    """Find what the bad hubs have in common, without keeping it."""
    release = FirmwareRelease.objects.select_related("policy").get(pk=world.release.pk)
    return cohorts.find(release=release, among=cohorts.watched(release=release.pk), now=world.clock())


def of(kind: Cohort.Kind, found: list[Cohort]) -> dict[int, tuple[int, int]]:
    """Return bad and commanded hubs by the values of a kind."""
    return {one.value: (one.bad, one.hubs) for one in found if one.kind == kind}


def lines(world: World) -> InCommon:
    """Keep what is found, and return it as people read it."""
    keeping.keep(release=world.release.pk, now=world.clock())
    return cohorts.in_common(releases=[world.release.pk])[world.release.pk]


def line(words: str, found: InCommon) -> Line:
    """Return one line."""
    [one] = [line for line in found.lines if line.words == words]
    return one


class TestBadHubs:
    def test_are_kept_with_what_they_may_have_in_common(self, mixed: World) -> None:
        fail(1, mixed, **odd())

        bad = BadHub.objects.get()
        deployment = Deployment.objects.get(state=State.FAILED)
        assert (bad.deployment_id, bad.hub_id) == (deployment.pk, deployment.hub_id)
        assert bad.release == mixed.release
        assert (bad.network, bad.model, bad.supplier) == (mixed.network, mixed.model, mixed.northern)
        assert (bad.stage, bad.hardware_version, bad.version_before) == (1, ODD, worlds.OLD)

    def test_are_those_that_were_silent_until_they_turn_out_well(self, mixed: World) -> None:
        silence(2)
        assert BadHub.objects.count() == 2

        end(1, world=mixed, state=State.SUCCEEDED, silent=True)
        assert BadHub.objects.count() == 1

        end(1, world=mixed, state=State.UNCONFIRMED, ending=Ending.SILENT, silent=True)
        assert BadHub.objects.count() == 1

    def test_are_none_that_succeed_or_are_never_activated(self, world: World) -> None:
        stage(world, 3)
        activate(1)
        end(1, world=world, state=State.SUCCEEDED)
        Deployment.objects.filter(state=State.STAGED).update(
            state=State.MISSED, ending=Ending.SLOT_PASSED, ended_at=world.clock(), next_at=None
        )

        assert not BadHub.objects.exists()

    def test_say_what_the_hub_answered_before_it_was_staged(self, mixed: World) -> None:
        deployment = Deployment.objects.order_by("id")[0]
        answered(mixed, deployment.pk, version=worlds.OLD - 1)
        CommunicationsHub.objects.filter(pk=deployment.hub_id).update(
            installed_version=FirmwareVersion.objects.get(number=worlds.NEW)
        )

        fail(1, mixed, pk=deployment.pk)

        assert BadHub.objects.get().version_before == worlds.OLD - 1

    def test_that_were_there_before_are_taken_up_by_the_migration(self, mixed: World) -> None:
        fail(2, mixed)
        silence(1)
        before = set(BadHub.objects.values_list())
        BadHub.objects.all().delete()
        migration = importlib.import_module("scheduling.migrations.0029_bad_hubs_one_by_one")

        with connection.cursor() as cursor:
            cursor.execute(migration.THOSE_THAT_ARE)

        assert len(before) == 3
        assert set(BadHub.objects.values_list()) == before


class TestFind:
    def test_counts_bad_and_commanded_hubs_of_each_value(self, mixed: World) -> None:
        fail(4, mixed, **odd())
        fail(1, mixed)
        end(3, world=mixed, state=State.SUCCEEDED)

        cohorts_found = found(mixed)

        usual = CommunicationsHub.objects.exclude(hardware_version=ODD).values_list(
            "hardware_version", flat=True
        )[0]
        assert of(Cohort.Kind.HARDWARE, cohorts_found) == {ODD: (4, 10), usual: (1, 40)}
        assert of(Cohort.Kind.SUPPLIER, cohorts_found) == {mixed.northern.pk: (5, 50)}
        assert of(Cohort.Kind.VERSION, cohorts_found) == {worlds.OLD: (5, 50)}
        assert not any(one.is_estimate for one in cohorts_found)

    def test_says_nothing_of_fewer_than_three(self, mixed: World) -> None:
        fail(2, mixed)

        assert found(mixed) == []

    def test_goes_by_what_hubs_ran_before_also_where_they_run_the_release_by_now(self, mixed: World) -> None:
        fail(3, mixed)
        done = list(Deployment.objects.filter(state=State.ACTIVATING).order_by("id")[:20])
        for deployment in done:
            answered(mixed, deployment.pk, version=worlds.OLD)
        CommunicationsHub.objects.filter(pk__in=[one.hub_id for one in done]).update(
            installed_version=FirmwareVersion.objects.get(number=worlds.NEW)
        )

        assert of(Cohort.Kind.VERSION, found(mixed)) == {worlds.OLD: (3, 50)}

    def test_leaves_out_what_was_commanded_before_a_resumption(self, mixed: World) -> None:
        fail(15, mixed)
        halts.watch(now=mixed.clock())
        mixed.clock.move(minutes=1)
        resume(mixed)
        stages.cut_off(now=mixed.clock())

        assert found(mixed) == []
        assert BadHub.objects.count() == 15

    @pytest.mark.parametrize("what", ["network", "model"])
    def test_leaves_out_what_is_halted_by_itself(self, what: str, mixed: World) -> None:
        fail(4, mixed, **odd())
        assert found(mixed)

        decisions.halt(
            release=mixed.release,
            by=mixed.staff,
            reason="Known.",
            now=mixed.clock(),
            part=Part(**{what: getattr(mixed, what)}),
        )

        assert cohorts.watched(release=mixed.release.pk).hubs == 0
        assert found(mixed) == []

    def test_estimates_from_a_sample_where_there_are_too_many(
        self, mixed: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fail(4, mixed, **odd())
        monkeypatch.setattr(cohorts, "HUBS", 25)

        cohorts_found = found(mixed)

        assert all(one.is_estimate for one in cohorts_found)
        assert of(Cohort.Kind.SUPPLIER, cohorts_found) == {mixed.northern.pk: (4, 50)}
        hardware = of(Cohort.Kind.HARDWARE, cohorts_found)
        assert sum(hubs for _, hubs in hardware.values()) == 50
        assert hardware[ODD][1] % 2 == 0

    def test_is_slower_to_warn_by_an_estimate(self, mixed: World, monkeypatch: pytest.MonkeyPatch) -> None:
        fail(4, mixed, **odd())
        [exact] = [one for one in found(mixed) if (one.kind, one.value) == (Cohort.Kind.HARDWARE, ODD)]
        monkeypatch.setattr(cohorts, "HUBS", 49)
        [estimated] = [one for one in found(mixed) if (one.kind, one.value) == (Cohort.Kind.HARDWARE, ODD)]

        assert estimated.evidence < exact.evidence

    def test_seeks_in_no_more_lots_than_it_may(self, mixed: World, monkeypatch: pytest.MonkeyPatch) -> None:
        fail(4, mixed, **odd())
        assert Lot.objects.count() > 1
        monkeypatch.setattr(cohorts, "LOTS", 1)

        assert all(one.is_estimate for one in found(mixed))


class TestInCommon:
    def test_names_the_hardware_whose_hubs_are_bad(self, mixed: World) -> None:
        fail(6, mixed, **odd())
        fail(1, mixed)

        common = lines(mixed)

        assert (common.bad, common.hubs) == (7, 50)
        assert common.sentence == "Of the 7 bad hubs 6 with hardware version 0003."
        assert common.lines[0] == line("with hardware version 0003", common)
        assert common.lines[0].warns
        assert common.lines[0].rate == 0.6
        assert common.lines[0].times == pytest.approx(24)

    def test_says_that_no_other_is_bad(self, mixed: World) -> None:
        fail(6, mixed, **odd())

        assert line("with hardware version 0003", lines(mixed)).is_only_bad

    def test_warns_of_nothing_that_all_hubs_share(self, mixed: World) -> None:
        fail(6, mixed, **odd())
        common = lines(mixed)

        for words in (f"booked by {mixed.northern}", f"that ran {worlds.OLD:08X} before"):
            assert not line(words, common).warns
            assert not line(words, common).is_only_bad

    def test_warns_of_nothing_where_the_release_is_bad_everywhere(self, mixed: World) -> None:
        fail(20, mixed)
        fail(5, mixed, **odd())

        common = lines(mixed)

        assert not common.warnings
        assert common.sentence == (
            "No Supplier, hardware version or former version stands out yet among the 25 bad hubs."
        )

    def test_says_what_is_true_of_all_although_they_are_too_few(self, mixed: World) -> None:
        fail(3, mixed, **odd())

        common = lines(mixed)

        assert not common.warnings
        assert common.sentence == (
            "No Supplier, hardware version or former version stands out yet among the 3 bad hubs, though all of them "
            f"are hubs with hardware version {ODD:04X}."
        )

    def test_warns_of_nothing_that_chance_explains(self, mixed: World) -> None:
        """Eight of ten are bad, where of the others every second one is."""
        fail(20, mixed)
        fail(8, mixed, **odd())

        common = lines(mixed)

        assert line("with hardware version 0003", common).times == pytest.approx(1.6)
        assert not common.warnings

    def test_names_suppliers_and_former_versions(self, mixed: World) -> None:
        common = cohorts.as_lines(
            cohorts=[
                Cohort(
                    kind=kind,
                    value=value,
                    bad=bad,
                    hubs=20,
                    is_estimate=False,
                    evidence=9.0 * bad,
                    threshold=6.0,
                    seen_at=mixed.clock(),
                )
                for kind, value, bad in (
                    (Cohort.Kind.SUPPLIER, 1, 4),
                    (Cohort.Kind.SUPPLIER, 2, 0),
                    (Cohort.Kind.VERSION, 0x10020100, 4),
                    (Cohort.Kind.VERSION, 0x10020200, 0),
                )
            ],
            suppliers={1: "Northern", 2: "Southern"},
        )

        assert common.sentence == "Of the 4 bad hubs 4 booked by Northern, 4 that ran 10020100 before."


class TestKeep:
    def test_looks_again_where_further_hubs_are_bad_or_a_minute_has_passed(self, mixed: World) -> None:
        fail(3, mixed)
        began = mixed.clock()
        keeping.keep(release=mixed.release.pk, now=began)
        keeping.keep(release=mixed.release.pk, now=mixed.clock.move(minutes=9))
        assert {one.seen_at for one in Cohort.objects.all()} == {began}

        fail(1, mixed)
        keeping.keep(release=mixed.release.pk, now=mixed.clock())
        assert {one.seen_at for one in Cohort.objects.all()} == {mixed.clock()}
        keeping.keep(release=mixed.release.pk, now=mixed.clock.move(minutes=10))
        assert {one.seen_at for one in Cohort.objects.all()} == {mixed.clock()}

    def test_lets_one_bad_hub_more_among_many_wait_where_a_rough_look_will_do(
        self, mixed: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(keeping, "FEW", 4)
        fail(3, mixed)
        began = mixed.clock()
        keeping.keep_all(now=began)
        fail(1, mixed)
        keeping.keep_all(now=mixed.clock.move(minutes=9))
        assert {one.seen_at for one in Cohort.objects.all()} == {began}

        keeping.keep(release=mixed.release.pk, now=mixed.clock())
        assert {one.seen_at for one in Cohort.objects.all()} == {mixed.clock()}
        fail(2, mixed)
        keeping.keep_all(now=mixed.clock.move(minutes=1))
        assert {one.seen_at for one in Cohort.objects.all()} == {mixed.clock()}

    def test_forgets_what_was_found_before_the_evidence_began_anew(self, mixed: World) -> None:
        fail(15, mixed)
        halts.watch(now=mixed.clock())
        assert Cohort.objects.exists()
        mixed.clock.move(minutes=1)
        resume(mixed)

        halts.watch(now=mixed.clock())

        assert not Cohort.objects.exists()

    def test_goes_on_while_a_release_is_halted(self, mixed: World) -> None:
        fail(15, mixed)
        halts.watch(now=mixed.clock())
        fail(3, mixed, **odd())

        halts.watch(now=mixed.clock())

        assert line("with hardware version 0003", lines(mixed)).bad == 3

    def test_of_one_release_hinders_none_of_another(
        self, mixed: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fail(15, mixed)
        asked = []

        def fails(*, release: int, **_: object) -> None:
            asked.append(release)
            raise RuntimeError("odd")

        monkeypatch.setattr(keeping, "keep", fails)
        other = publish_another(mixed)

        assert halts.watch(now=mixed.clock()) == 1
        assert asked[-2:] == [mixed.release.pk, other.pk]

    def test_is_of_no_cost_to_a_release_without_bad_hubs(self, mixed: World) -> None:
        assert keeping.keep(release=mixed.release.pk, now=mixed.clock()) == 0
        assert not Cohort.objects.exists()


class TestHalts:
    def test_keep_with_them_what_the_bad_hubs_had_in_common(self, mixed: World) -> None:
        fail(9, mixed, **odd())
        fail(1, mixed)

        assert halts.watch(now=mixed.clock()) == 1

        common = Halt.objects.get().facts["in_common"]
        assert common["sentence"] == "Of the 10 bad hubs 9 with hardware version 0003."
        assert common["lines"][0]["words"] == "with hardware version 0003"
        assert common["lines"][0]["warns"]

    @pytest.mark.parametrize("fault", [RuntimeError("odd"), "SELECT 1 / 0", "SELECT pg_sleep(60)"])
    def test_wait_for_none_of_it(
        self, fault: Exception | str, mixed: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(**_: object) -> None:
            if isinstance(fault, Exception):
                raise fault
            sql.run(fault, {})

        monkeypatch.setattr(cohorts, "find", fails)
        monkeypatch.setattr(keeping, "PATIENCE", 100)
        fail(15, mixed)

        assert halts.check(releases=[mixed.release.pk], now=mixed.clock()) == 1

        assert state(mixed) == "halted"
        assert Halt.objects.get().facts["in_common"] == {}
        assert sql.rows("SELECT current_setting('statement_timeout')", {}) == [("0",)]

    def test_are_none_where_a_cohort_alone_stands_out(self, mixed: World) -> None:
        """Four of ten are bad, which no stream of fifty hubs is halted for."""
        fail(4, mixed, **odd())

        assert halts.watch(now=mixed.clock()) == 0
        assert lines(mixed).warnings
        assert state(mixed) == "published"


class TestPages:
    @pytest.fixture
    def halted(self, mixed: World) -> World:
        """Nine bad hubs of the odd hardware, one of the usual, and the halt that followed."""
        fail(9, mixed, **odd())
        fail(1, mixed)
        halts.watch(now=mixed.clock())
        return mixed

    @pytest.mark.parametrize("name", ["control-room", "release-report", "bad-hubs"])
    def test_show_what_the_bad_hubs_have_in_common(self, name: str, halted: World, client: Client) -> None:
        client.force_login(halted.staff)
        words = [] if name == "control-room" else [halted.release.pk]

        page = " ".join(client.get(reverse(name, args=words)).content.decode().split())

        assert "Of the 10 bad hubs 9 with hardware version 0003." in page
        assert "look into it" in page
        assert "36.0 times" in page
        address = "bad-hubs-file" if name == "bad-hubs" else "bad-hubs"
        assert f'href="{reverse(address, args=[halted.release.pk])}"' in page

    def test_list_the_hubs_concerned_page_by_page(
        self, halted: World, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("portal.release_reports.HUBS", 6)
        client.force_login(halted.staff)
        first = client.get(reverse("bad-hubs", args=[halted.release.pk])).content.decode()
        address = first.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
        second = client.get(address).content.decode()

        for bad in BadHub.objects.all():
            assert (format_eui64(bad.hub_id) in first) != (format_eui64(bad.hub_id) in second)
        assert 'rel="next"' not in second
        assert "First page" in second

    def test_are_not_for_staff_who_may_not_see_releases(self, halted: World, client: Client) -> None:
        client.force_login(UserFactory.create())

        for name in ("bad-hubs", "bad-hubs-file"):
            assert client.get(reverse(name, args=[halted.release.pk])).status_code == 403

    def test_send_all_of_them_to_dcc(self, halted: World, client: Client) -> None:
        client.force_login(halted.staff)

        file = client.get(reverse("bad-hubs-file", args=[halted.release.pk])).getvalue().decode()

        assert len(file.splitlines()) == 11
        for bad in BadHub.objects.all():
            assert (
                f"{format_eui64(bad.hub_id)},{halted.model},{halted.network},{bad.hardware_version:04X},"
                in file
            )
        assert file.count("The hub could not activate the image,Northern") == 10

    def test_send_a_supplier_its_own_alone(self, halted: World, client: Client) -> None:
        kept, given, lost = BadHub.objects.order_by("deployment_id")[:3]
        CommunicationsHub.objects.filter(pk=given.hub_id).update(gas_supplier=halted.southern)
        CommunicationsHub.objects.filter(pk=lost.hub_id).update(import_supplier=halted.southern)
        count_fleet(now=halted.clock())
        address = reverse("scheduling:bad-hubs", args=[halted.release.pk])

        client.force_login(halted.person)
        own = client.get(address).getvalue().decode()
        client.force_login(UserFactory.create(supplier=halted.southern))
        others = client.get(address)

        assert format_eui64(kept.hub_id) in own
        assert format_eui64(given.hub_id) in own
        assert format_eui64(lost.hub_id) not in own
        assert "Northern" not in own
        assert "Booked by" not in own
        assert others.status_code == 200
        text = others.getvalue().decode()
        assert len(text.splitlines()) == 3
        assert format_eui64(given.hub_id) in text
        assert format_eui64(lost.hub_id) in text
        assert "Northern" not in text
