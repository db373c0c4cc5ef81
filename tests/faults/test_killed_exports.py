"""kill -9 of the whole worker in the middle of a large export, and what the next one makes of it."""

import csv
from datetime import timedelta

import pytest
from django.core.files.storage import default_storage

from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub
from portal.ground import clock
from scheduling.models import Export
from scheduling.operations import exports
from tests.conftest import StartCelery, eventually, kill
from tests.scheduling import world as worlds
from tests.scheduling.world import World

HUBS = 60_000
LEASE_SECONDS = "12"


@pytest.fixture
def world(transactional_db: None) -> World:
    return worlds.make(now=clock.now() - timedelta(hours=6))


class TestKillingWhoWrites:
    def test_leaves_a_whole_file_in_the_end(self, world: World, start_celery: StartCelery) -> None:
        [first] = world.hubs(1)
        CommunicationsHub.objects.bulk_create(
            CommunicationsHub(
                **{
                    field.attname: getattr(first, field.attname)
                    for field in CommunicationsHub._meta.concrete_fields
                    if not field.generated and field.attname != "chf_id"
                },
                chf_id=first.chf_id + number,
            )
            for number in range(1, HUBS)
        )
        export = exports.ask(
            supplier=world.northern,
            name="hubs",
            subject="",
            query="",
            title="Hubs",
            kind=Export.Format.CSV,
            expected=HUBS,
            by=world.person,
            now=clock.now(),
        )
        row = Export.objects.filter(pk=export.pk)
        start_celery("beat", LEASE_SECONDS=LEASE_SECONDS)
        worker = start_celery("worker", "--concurrency", "2", LEASE_SECONDS=LEASE_SECONDS)
        assert eventually(lambda: row.get().rows > 0, within=60)
        kill(worker)
        left_at = row.get()
        assert left_at.state == Export.State.RUNNING
        assert 0 < left_at.rows < HUBS
        assert not default_storage.exists(exports.FOLDER)

        start_celery("worker", "--concurrency", "2", LEASE_SECONDS=LEASE_SECONDS)
        assert eventually(lambda: not row.get().is_open, within=120)

        made = row.get()
        assert (made.state, made.rows, made.attempts) == (Export.State.DONE, HUBS, 2)
        with default_storage.open(made.stored, "r") as file:
            ids = [line[0] for line in csv.reader(file)][1:]
        assert ids == [format_eui64(first.chf_id + number) for number in range(HUBS)]
