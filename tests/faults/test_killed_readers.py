"""kill -9 of the whole worker in the middle of a large file of hubs, and what the next one makes of it."""

import io
import random
from datetime import timedelta

import pytest

from hubs.identifiers import format_eui64
from portal.ground import clock
from scheduling.eligibility import Refusal
from scheduling.models import HubSelection, SelectionFile, SelectionRow
from scheduling.operations import selections
from tests.conftest import StartCelery, eventually, kill
from tests.scheduling import world as worlds
from tests.scheduling.world import World

ROWS = 200_000
LEASE_SECONDS = "12"


@pytest.fixture
def world(transactional_db: None) -> World:
    return worlds.make(now=clock.now() - timedelta(hours=6))


class TestKillingTheReader:
    def test_doubles_no_row_and_leaves_none_out(self, world: World, start_celery: StartCelery) -> None:
        hubs = [format_eui64(hub.chf_id) for hub in world.hubs(2_000)]
        unknown = [f"FF{number:014X}" for number in range(ROWS - len(hubs))]
        rows = [*hubs, *unknown]
        random.Random(1).shuffle(rows)
        selection = selections.receive(
            supplier=world.northern,
            release=world.release,
            file=io.BytesIO("\r\n".join(["CHF ID", *rows]).encode()),
            name="hubs.csv",
            by=world.person,
            now=clock.now(),
        )
        file = SelectionFile.objects.filter(selection=selection)
        assert selection.state == HubSelection.State.READING
        start_celery("beat", LEASE_SECONDS=LEASE_SECONDS)

        worker = start_celery("worker", "--concurrency", "2", LEASE_SECONDS=LEASE_SECONDS)
        assert eventually(lambda: file.get().rows > 0, within=60)
        kill(worker)
        left_at = file.get()
        assert 0 < left_at.rows < ROWS
        assert left_at.lease_until
        assert SelectionRow.objects.count() == left_at.rows

        start_celery("worker", "--concurrency", "2", LEASE_SECONDS=LEASE_SECONDS)
        assert eventually(lambda: not file.get().stored, within=120)

        selection.refresh_from_db()
        assert selection.state == HubSelection.State.JUDGED
        assert selection.eligible == {str(world.network.pk): len(hubs)}
        assert selection.refused == {str(int(Refusal.NOT_FOUND)): len(unknown)}
        assert file.get().token > left_at.token
        assert list(SelectionRow.objects.order_by("line").values_list("line", "text")) == [
            *enumerate(rows, 2)
        ]
