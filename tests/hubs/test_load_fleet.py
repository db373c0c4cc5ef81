"""The made-up fleet: the same for the same seed, plausible, and never in the way of a real one."""

import hashlib
import re
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from hubs.identifiers import mpan_check_digit_holds, mprn_check_digits_hold
from hubs.modelled_fleet.models import CommandLog, Defect, FleetHub, NetworkProfile
from hubs.models import (
    CommunicationsHub,
    FirmwareVersion,
    FleetCount,
    HubModel,
    HubStatus,
    Network,
    PaymentMode,
    Supplier,
)
from scheduling.models import LOT_SPAN, Deployment
from tests.factories import CommunicationsHubFactory, FleetHubFactory, LotFactory, NetworkFactory

HUBS = 20_000
NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
DUMP = """
    SELECT hub.chf_id, gpf_id, mpan, mprn, network.code, model.name, version.number, import.name, gas.name,
           lead_id = import.id, other_id = gas.id, hub.hardware_version, region, status, payment_mode,
           electricity_commissioned, postcode, real.running_version, real.hardware_version
    FROM hubs_communicationshub AS hub
    JOIN hubs_network AS network ON network.id = hub.network_id
    JOIN hubs_hubmodel AS model ON model.id = hub.model_id
    JOIN hubs_firmwareversion AS version ON version.id = installed_version_id
    LEFT JOIN hubs_supplier AS import ON import.id = import_supplier_id
    LEFT JOIN hubs_supplier AS gas ON gas.id = gas_supplier_id
    JOIN modelled_fleet_fleethub AS real ON real.chf_id = hub.chf_id
    ORDER BY hub.chf_id
"""
POSTCODE = re.compile(r"[A-Z]{1,2}[0-9]{1,2} [0-9][ABD-HJLNP-UW-Z]{2}")


@pytest.fixture(autouse=True)
def networks(db):
    for code, name in (("north", "North"), ("central", "Central"), ("south", "South"), ("4g", "4G")):
        NetworkFactory(code=code, name=name)


def load(**options):
    call_command("load_fleet", **{"hubs": HUBS, "quiet": True} | options)


def digest() -> str:
    with connection.cursor() as cursor:
        cursor.execute(DUMP)
        return hashlib.sha256(repr(cursor.fetchall()).encode()).hexdigest()


def share(**wanted) -> float:
    return CommunicationsHub.objects.filter(**wanted).count() / HUBS


class TestLoadFleet:
    def test_makes_the_same_fleet_from_the_same_seed_and_another_from_another(self):
        digests = []
        for seed in (7, 7, 8):
            load(seed=seed, replace=True)
            digests.append(digest())

        assert digests[0] == digests[1] != digests[2]

    def test_makes_hubs_in_the_shares_of_great_britain(self):
        load()

        assert CommunicationsHub.objects.count() == FleetHub.objects.count() == HUBS
        assert 0.30 < share(other_id__isnull=False) < 0.37
        assert 0.14 < share(payment_mode=PaymentMode.PREPAYMENT) < 0.16
        assert 0.03 < share(electricity_commissioned=False) < 0.07
        assert 0.91 < share(status=HubStatus.COMMISSIONED) < 0.95
        assert set(CommunicationsHub.objects.values_list("status", flat=True)) == set(HubStatus)
        assert share(network__code="4g") == 0.035
        astray = sum(
            share(network__code=code) - share(network__code=code, region=region)
            for region, code in enumerate(("north", "central", "south"), 1)
        )
        assert 0.002 < astray < 0.006

    def test_makes_suppliers_of_every_size_and_fuel(self):
        load()

        led = {name: share(lead_id=pk) for name, pk in Supplier.objects.values_list("name", "pk")}
        assert len(led) == 12
        assert max(led, key=lambda name: led[name]) == "Northern Lights Energy"
        assert 0.22 < led["Northern Lights Energy"] < 0.26
        assert 0 < led["Copper Kettle Energy"] < 0.01
        assert led["Meadow Gas"] > 0
        assert Supplier.objects.get(import_participant_id=None).name == "Meadow Gas"
        assert Supplier.objects.get(gas_participant_id=None).name == "Thistle Electric"
        assert not CommunicationsHub.objects.filter(
            import_supplier__import_participant_id=None, import_supplier__isnull=False
        ).exists()
        assert not CommunicationsHub.objects.filter(
            gas_supplier__gas_participant_id=None, gas_supplier__isnull=False
        ).exists()

    def test_spreads_each_family_over_six_versions_with_most_on_the_newest(self):
        load()

        assert FirmwareVersion.objects.count() == 18
        for model in set(CommunicationsHub.objects.values_list("model", flat=True)):
            hubs = CommunicationsHub.objects.filter(model=model)
            numbers = set(hubs.values_list("installed_version__number", flat=True))
            assert len(numbers) == 6
            assert hubs.filter(installed_version__number=max(numbers)).count() > 0.5 * hubs.count()

    def test_makes_identifiers_in_valid_form(self):
        load()

        hubs = list(CommunicationsHub.objects.all())
        mpans = [hub.mpan for hub in hubs if hub.mpan is not None]
        mprns = [hub.mprn for hub in hubs if hub.mprn is not None]
        assert len(set(mpans)) == len(mpans) > 0.9 * HUBS
        assert len(set(mprns)) == len(mprns) > 0.8 * HUBS
        assert {len(str(mpan)) for mpan in mpans} == {13}
        assert {len(str(mprn)) for mprn in mprns} == {10}
        assert all(10 <= mpan // 10**11 <= 23 for mpan in mpans)
        assert 0.95 < sum(map(mpan_check_digit_holds, mpans)) / len(mpans) < 1.0
        assert 0.95 < sum(map(mprn_check_digits_hold, mprns)) / len(mprns) < 1.0
        assert all(hub.gpf_id == hub.chf_id + 1 and hub.chf_id % 2 == 0 for hub in hubs)
        assert all(POSTCODE.fullmatch(hub.postcode) for hub in hubs)
        assert all((hub.mpan is None) == (hub.import_supplier_id is None) for hub in hubs)
        assert all((hub.mprn is None) == (hub.gas_supplier_id is None) for hub in hubs)

    def test_lets_some_hubs_run_what_the_inventory_does_not_know(self):
        load()

        known = dict(CommunicationsHub.objects.values_list("pk", "installed_version__number"))
        stale = sum(
            known[pk] != running for pk, running in FleetHub.objects.values_list("pk", "running_version")
        )
        assert 0.002 < stale / HUBS < 0.008

    def test_counts_the_fleet_and_sets_the_networks_going(self):
        load(time_scale=60.0, seed=3)

        shown = CommunicationsHub.objects.filter(status__in=[3, 4, 5, 6]).count()
        assert sum(FleetCount.objects.values_list("hubs", flat=True)) == shown
        assert set(NetworkProfile.objects.values_list("seed", "time_scale")) == {(3, 60.0)}
        assert NetworkProfile.objects.count() == Network.objects.count()

    def test_leaves_the_indexes_as_they_were(self):
        def indexes():
            with connection.cursor() as cursor:
                cursor.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'hubs_communicationshub'")
                return sorted(cursor.fetchall())

        before = indexes()
        load(hubs=10)

        assert indexes() == before
        assert len(before) == 7

    def test_refuses_to_add_to_hubs_that_are_there(self):
        CommunicationsHubFactory()

        with pytest.raises(CommandError, match="--replace"):
            load(hubs=10)
        assert CommunicationsHub.objects.count() == 1

    def test_replaces_hubs_and_what_they_were_told_but_keeps_suppliers(self):
        load(hubs=100)
        suppliers = set(Supplier.objects.values_list("pk", "name"))
        load(hubs=50, replace=True)

        assert CommunicationsHub.objects.count() == FleetHub.objects.count() == 50
        assert set(Supplier.objects.values_list("pk", "name")) == suppliers
        assert not CommandLog.objects.exists()

    def test_does_not_replace_hubs_that_have_deployments(self):
        hub = CommunicationsHubFactory()
        lot = LotFactory()
        Deployment.objects.create(id=lot.pk * LOT_SPAN, hub=hub, model=hub.model, next_at=NOW, moved_at=NOW)

        with pytest.raises(CommandError, match="There are deployments of the present hubs"):
            load(hubs=10, replace=True)
        assert CommunicationsHub.objects.get() == hub

    @pytest.mark.parametrize("options", [{"hubs": -1}, {"time_scale": 0.0}])
    def test_refuses_what_cannot_be(self, options):
        with pytest.raises(CommandError, match=r"\.$"):
            load(**options)

    def test_tells_its_progress_unless_asked_to_be_quiet(self, capsys):
        load(hubs=10, quiet=False)
        assert "10 of 10 hubs" in capsys.readouterr().err
        load(hubs=10, replace=True)
        assert capsys.readouterr().err == ""


class TestAddFaultyTwin:
    @pytest.fixture
    def sound(self) -> HubModel:
        """A model of whose twenty hubs eight have the newest hardware."""
        load(hubs=0)
        sound = HubModel.objects.get(name="Brunel C4 Single Band")
        north = Network.objects.get(code="north")
        for hardware in [0x0102] * 12 + [0x0103] * 8:
            hub = CommunicationsHubFactory(network=north, model=sound, hardware_version=hardware)
            FleetHubFactory(chf_id=hub.chf_id, network=north, model=sound, hardware_version=hardware)
        return sound

    def test_makes_the_newest_hubs_a_model_for_the_same_images(self, sound: HubModel) -> None:
        call_command("add_faulty_twin", model=sound.name, breaks=7)

        twin = HubModel.objects.get(name="Brunel C4 Single Band Mark 2")
        assert (twin.manufacturer, twin.image_type) == (sound.manufacturer, sound.image_type)
        for hubs in (CommunicationsHub, FleetHub):
            assert set(hubs.objects.filter(model=twin).values_list("hardware_version", flat=True)) == {0x0103}
            assert (hubs.objects.filter(model=twin).count(), hubs.objects.filter(model=sound).count()) == (
                8,
                12,
            )
        assert sum(FleetCount.objects.filter(model=twin).values_list("hubs", flat=True)) == 8

    def test_has_the_version_break_its_hubs_alone(self, sound: HubModel) -> None:
        call_command("add_faulty_twin", model=sound.name, breaks=7, share=0.4)

        defect = Defect.objects.get()
        assert (defect.version, defect.share, defect.kind) == (7, 0.4, "visible")
        assert defect.model == HubModel.objects.get(name="Brunel C4 Single Band Mark 2")

    @pytest.mark.parametrize(
        ("words", "refusal"),
        [({"model": "Nobody's"}, "There is no hub model Nobody's"), ({"share": 1.5}, "from 0 to 1")],
    )
    def test_says_what_is_wrong(self, sound: HubModel, words: dict[str, object], refusal: str) -> None:
        with pytest.raises(CommandError, match=refusal):
            call_command("add_faulty_twin", **{"model": sound.name, "breaks": 7} | words)
