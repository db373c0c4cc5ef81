"""Counting the fleet."""

import threading
from datetime import UTC, datetime

import pytest
from django.db import connection, transaction

from hubs.models import FleetCount, HubStatus
from hubs.operations import count_fleet
from tests.factories import CommunicationsHubFactory, SupplierFactory

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)


class TestCountFleet:
    def test_counts_hubs_that_are_shown_by_what_they_share(self, db):
        northern = SupplierFactory()
        first = CommunicationsHubFactory(import_supplier=northern)
        shared = {"model": first.model, "installed_version": first.installed_version}
        CommunicationsHubFactory(import_supplier=northern, **shared)
        CommunicationsHubFactory(import_supplier=northern, hardware_version=2, **shared)
        CommunicationsHubFactory(import_supplier=northern, status=HubStatus.WITHDRAWN, **shared)

        assert count_fleet(now=NOW) is True

        assert sorted(FleetCount.objects.values_list("lead", "hardware_version", "hubs", "counted_at")) == [
            (northern.pk, 1, 2, NOW),
            (northern.pk, 2, 1, NOW),
        ]

    def test_replaces_the_last_count(self, db):
        hub = CommunicationsHubFactory()
        count_fleet(now=NOW)
        hub.delete()

        count_fleet(now=NOW)

        assert not FleetCount.objects.exists()

    @pytest.mark.django_db(transaction=True)
    def test_goes_away_while_another_counts_and_readers_keep_the_old_numbers(self):
        CommunicationsHubFactory()
        count_fleet(now=NOW)
        CommunicationsHubFactory()
        results = []

        def second():
            try:
                results.append((count_fleet(now=NOW), FleetCount.objects.count()))
            finally:
                connection.close()

        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [0x68756273])
            FleetCount.objects.all().delete()
            thread = threading.Thread(target=second)
            thread.start()
            thread.join(timeout=20)
            transaction.set_rollback(True)

        assert results == [(False, 1)]
        assert count_fleet(now=NOW) is True
        assert FleetCount.objects.count() == 2
