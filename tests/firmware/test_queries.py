"""Questions about releases."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from firmware import queries
from firmware.models import ReleaseState, SignedAct
from hubs.models import HubModel, HubStatus, Network
from tests.factories import (
    AvailabilityPeriodFactory,
    FirmwareReleaseFactory,
    FirmwareVersionFactory,
    FleetCountFactory,
    HubModelFactory,
    NetworkFactory,
    PredecessorFactory,
    SignOffFactory,
    SupplierFactory,
)

pytestmark = pytest.mark.django_db
ENDED = {"ended_at": datetime(2026, 1, 9, tzinfo=UTC)}


class TestOpenTo:
    @pytest.mark.parametrize(
        ("traits", "is_open"),
        [
            ({}, False),
            ({"submitted": True}, False),
            ({"published": True}, True),
            ({"halted": True}, True),
            ({"published": True, "state": ReleaseState.WITHDRAWN, **ENDED}, False),
            ({"published": True, "state": ReleaseState.CLOSED, **ENDED}, False),
        ],
    )
    def test_shows_what_is_published_or_halted(self, traits: dict[str, Any], is_open: bool) -> None:
        count = FleetCountFactory()
        release = FirmwareReleaseFactory(**traits)
        release.hub_models.add(count.model)

        assert (release in queries.open_to(supplier=count.lead)) is is_open

    def test_shows_a_supplier_the_releases_for_models_of_which_it_leads_hubs_once_each(self) -> None:
        northern, southern = SupplierFactory(), SupplierFactory()
        model, second, other = HubModelFactory(), HubModelFactory(), HubModelFactory()
        for count in range(3):
            FleetCountFactory(lead=northern, model=model, hardware_version=count)
        FleetCountFactory(lead=northern, model=second)
        FleetCountFactory(lead=southern, model=other)
        release = FirmwareReleaseFactory(published=True)
        release.hub_models.add(model, second)

        assert list(queries.open_to(supplier=northern)) == [release]
        assert list(queries.open_to(supplier=southern)) == []


class TestEligibleVersions:
    def test_are_the_predecessors(self) -> None:
        step = PredecessorFactory()
        FirmwareVersionFactory()

        assert list(queries.eligible_versions(release=step.release)) == [step.version]

    def test_are_all_older_ones_where_none_is_named(self) -> None:
        older, same, newer = (FirmwareVersionFactory(number=number) for number in (1, 2, 3))
        release = FirmwareReleaseFactory(version=same, has_no_predecessor=True)

        assert list(queries.eligible_versions(release=release)) == [older]
        assert newer not in queries.eligible_versions(release=release)


class TestReach:
    @pytest.mark.parametrize(
        ("otherwise", "hubs"),
        [
            ({}, 10),
            ({"model": None}, 0),
            ({"network": None}, 0),
            ({"installed_version": None}, 0),
            ({"hardware_version": 9}, 0),
            ({"hardware_version": 4}, 0),
            ({"status": HubStatus.SUSPENDED}, 10),
            ({"status": HubStatus.RECOVERY}, 0),
            ({"lead": None}, 0),
        ],
    )
    def test_counts_hubs_that_the_release_is_for(
        self, otherwise: dict[str, Any], hubs: int, model: HubModel, north: Network
    ) -> None:
        step = PredecessorFactory(release__minimum_hardware=5, release__maximum_hardware=8)
        release = step.release
        release.hub_models.add(model)
        AvailabilityPeriodFactory(release=release, network=north)
        strangers = {
            "model": HubModelFactory,
            "network": NetworkFactory,
            "installed_version": FirmwareVersionFactory,
        }
        facts = {"model": model, "network": north, "installed_version": step.version, "hardware_version": 5}
        for name, value in otherwise.items():
            facts[name] = strangers[name]() if name in strangers else value
        FleetCountFactory(**facts)

        found = queries.reach(release=release)

        assert (found.hubs, found.suppliers) == (hubs, min(hubs, 1))


class TestStandingSignOff:
    def test_is_of_this_act_revision_and_hash_and_not_voided(self, now: datetime) -> None:
        signed = SignOffFactory()
        release = signed.release

        assert queries.standing_sign_off(release=release, act=SignedAct.PUBLISH) == signed
        assert queries.standing_sign_off(release=release, act=SignedAct.RESUME) is None
        release.revision = 2
        assert queries.standing_sign_off(release=release, act=SignedAct.PUBLISH) is None
        release.revision, release.digest = 1, "0" * 64
        assert queries.standing_sign_off(release=release, act=SignedAct.PUBLISH) is None
        release.refresh_from_db()
        type(signed).objects.update(voided_at=now)
        assert queries.standing_sign_off(release=release, act=SignedAct.PUBLISH) is None


class TestReleaseTable:
    def test_adds_when_a_release_opens_and_closes_and_whether_it_is_signed_off(self) -> None:
        signed = SignOffFactory().release
        periods = [
            AvailabilityPeriodFactory(
                release=signed,
                network=NetworkFactory(),
                start_at=datetime(2026, 3, day, tzinfo=UTC),
                end_at=datetime(2026, 6, day, tzinfo=UTC),
            )
            for day in (1, 2)
        ]
        draft = FirmwareReleaseFactory()

        newest, oldest = queries.release_table()

        assert (newest, newest.opens_at, newest.is_signed_off) == (draft, None, False)
        assert (oldest, oldest.is_signed_off) == (signed, True)
        assert (oldest.opens_at, oldest.closes_at) == (periods[0].start_at, periods[1].end_at)
        assert oldest.closes_at - oldest.opens_at == timedelta(days=93)
