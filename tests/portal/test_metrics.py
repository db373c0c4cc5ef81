"""Tests of the metrics: who may read them, and that they are what the health page says."""

from datetime import timedelta

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families
from pytest_django import DjangoAssertNumQueries, Settings

from hubs.models import Supplier
from portal import checks
from portal.ground import clock
from portal.models import Heartbeat
from scheduling.models import Lot
from tests.factories import LotFactory, SlotFactory

TOKEN = "0123456789abcdef0123456789abcdef"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def with_a_token(settings: Settings) -> None:
    """Open the metrics."""
    settings.METRICS_TOKEN = TOKEN


def read(client: Client) -> dict[str, list[tuple[dict[str, str], float]]]:
    """Return every sample by its name, with its labels, as Prometheus reads them."""
    response = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    samples: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(response.content.decode()):
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


class TestMetrics:
    def test_do_not_exist_without_a_token(self, client: Client, settings: Settings) -> None:
        settings.METRICS_TOKEN = ""

        assert client.get("/metrics", headers={"authorization": "Bearer "}).status_code == 404

    @pytest.mark.parametrize("borne", [None, "Bearer ", "Bearer wrong", TOKEN, f"Basic {TOKEN}", "Bearer é"])
    def test_are_for_whoever_bears_the_token(self, client: Client, borne: str | None) -> None:
        headers = {} if borne is None else {"authorization": borne}

        response = client.get("/metrics", headers=headers)

        assert response.status_code == 401
        assert response["WWW-Authenticate"] == "Bearer"
        assert b"firmware_portal" not in response.content

    def test_hold_every_check_and_whether_it_worries(self, client: Client) -> None:
        found = read(client)

        worries = {labels["check"]: value for labels, value in found["firmware_portal_worry"]}
        assert set(worries) == {check.name for check in checks.every()}
        assert worries["workers"] == 1
        assert worries["oldest_due"] == 0
        assert found["firmware_portal_workers"] == [({}, 0)]
        assert "firmware_portal_oldest_due_seconds" not in found  # nothing waits, which is not nought seconds

    def test_say_what_each_process_is(self, client: Client) -> None:
        now = clock.now()
        Heartbeat.objects.create(
            kind="worker",
            name="host:1",
            version='3"1',
            processes=4,
            started_at=now,
            seen_at=now - timedelta(seconds=90),
        )

        found = read(client)

        [(labels, silence)] = found["firmware_portal_process_silence_seconds"]
        assert labels == {"kind": "worker", "name": "host:1"}
        assert 90 <= silence < 900
        assert found["firmware_portal_process_info"] == [
            ({"kind": "worker", "name": "host:1", "version": '3"1'}, 1)
        ]

    def test_say_what_waits_on_each_network_and_how_far_each_release_is(self, client: Client) -> None:
        lot = LotFactory.create(size=7, booked=7, due_at=clock.now() - timedelta(minutes=5))

        found = read(client)

        [due] = [
            value
            for labels, value in found["firmware_portal_network_due_hubs"]
            if labels == {"network": "north"}
        ]
        assert due == 7
        [booked] = [value for labels, value in found["firmware_portal_hubs"] if labels["state"] == "booked"]
        assert booked == 7
        assert {labels["release"] for labels, _ in found["firmware_portal_hubs"]} == {
            lot.release.cpl_entry_id
        }
        assert ({"kind": "stray"}, 0) in found["firmware_portal_reports_total"]
        worries = {labels["check"]: value for labels, value in found["firmware_portal_worry"]}
        assert worries["oldest_due"] == 1

    def test_name_no_supplier(self, client: Client) -> None:
        LotFactory.create(due_at=clock.now())

        response = client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})

        [supplier] = Supplier.objects.all()
        assert supplier.name not in response.content.decode()
        assert f'"{supplier.import_participant_id}"' not in response.content.decode()

    def test_cost_no_more_when_there_is_more(
        self, client: Client, django_assert_max_num_queries: DjangoAssertNumQueries
    ) -> None:
        slot = SlotFactory.create()
        for _ in range(3):
            LotFactory.create(due_at=clock.now(), slot=slot)
        assert Lot.objects.count() == 3

        with django_assert_max_num_queries(10):
            read(client)
