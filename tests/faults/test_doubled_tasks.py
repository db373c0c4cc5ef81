"""
Each task of the timetable three times at once, at a moment when it has work: what it leaves is what one leaves.

Two beats, a message delivered twice, a worker that was thought dead: all of them are this. A task that is new in the
timetable needs its line here.
"""

import io
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.apps import apps
from django.core import mail
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import models

from firmware.models import FirmwareRelease, Halt, RolloutPolicy
from firmware.operations import decisions
from hubs.gateway import Command as Instruction
from hubs.gateway import Phase, connect
from hubs.identifiers import format_eui64
from hubs.modelled_fleet.models import CommandLog
from hubs.models import ChangeOfSupplier, CommunicationsHub, FleetCount
from hubs.operations import count_fleet
from portal import tasks
from portal.celery import TIMETABLE, app
from portal.ground.models import AuditEntry, AuditLink, RequestKey
from portal.models import User
from scheduling.models import (
    Booking,
    CapacityPattern,
    Consent,
    Deployment,
    Export,
    Notice,
    Reconciliation,
    Rehearsal,
    Stage,
    Weekday,
)
from scheduling.operations import bookings, deployments, exports, notices, selections, stages
from tests.scheduling import world as worlds
from tests.scheduling.test_allocations import to_the_day
from tests.scheduling.test_races import at_once
from tests.scheduling.world import World

COPIES = 3
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
Picture = dict[str, Counter[tuple[Any, ...]]]


class Died(BaseException):
    """What a power cut is to the code that it meets: nothing of it catches this."""


# -- a moment at which each task has work --------------------------------------------------------------------


def booked(world: World, *, hubs: int = 6, ahead: timedelta = 5 * HOUR) -> Booking:
    world.hubs(hubs)
    world.slot(start=ahead, room=hubs + 4)
    return world.book()


def commands_due(world: World) -> None:
    booked(world)
    world.clock.move(hours=2)


def reports_waiting(world: World) -> None:
    commands_due(world)
    deployments.carry_out(gateway=connect(), clock=world.clock, lots=10)
    world.clock.move(hours=1)


def file_kept(world: World) -> None:
    hubs = [format_eui64(hub.chf_id) for hub in world.hubs(40)]
    unknown = [f"FF{number:014X}" for number in range(40_000)]
    selections.receive(
        supplier=world.northern,
        release=world.release,
        file=io.BytesIO("\n".join(["CHF ID", *hubs, *unknown]).encode()),
        name="hubs.csv",
        by=world.person,
        now=world.clock(),
    )


def files_forgotten(world: World) -> None:
    for number in range(20):
        default_storage.save(f"{selections.FOLDER}/{number}", ContentFile(b"x"))
    world.clock.moment = datetime.now(tz=world.clock().tzinfo) + 2 * selections.FORGOTTEN


def stage_and_counters_behind(world: World) -> None:
    booked(world)


def first_stage_to_choose(world: World) -> None:
    """The first stage has room for four of the six hubs that are about to be staged."""
    RolloutPolicy.objects.update(stage_sizes=[4, 50])
    stages.open_first(release=world.release.pk, now=world.clock())
    Stage.objects.update(size=4)
    booked(world)


def too_many_for_a_stage(world: World) -> None:
    """Two of six hubs have a turn in their slot, and there is another slot."""
    RolloutPolicy.objects.update(stage_sizes=[2, 50])
    Stage.objects.all().delete()
    stages.advance(now=world.clock())
    booked(world)
    world.slot(start=8 * HOUR, room=10)


def bookings_to_keep(world: World) -> None:
    """One is over, another died half made, and the release of a third is halted while its hubs wait."""
    bookings.cancel(booking=booked(world), by=world.person, reason="", now=world.clock())
    with patch.object(bookings, "_place", side_effect=Died), pytest.raises(Died):
        booked(world, hubs=3, ahead=6 * HOUR)
    world.clock.move(minutes=3)
    booked(world, hubs=2, ahead=7 * HOUR)
    decisions.halt(release=world.release, by=world.staff, reason="Looks bad", now=world.clock())


def nobody_booked(world: World) -> None:
    world.hubs(10)
    to_the_day(world)
    world.slot(start=8 * DAY, room=6)


def missed_twice(world: World) -> None:
    world.hubs(4)
    for _ in range(2):
        world.slot(start=5 * HOUR, room=4)
        world.book()
        world.clock.move(hours=7)
        world.work()


def silence_over(world: World) -> None:
    """One question whose silence is consent, and one that had to be answered."""
    world.shared(3)
    for start in (5 * HOUR, 10 * DAY, 11 * DAY):
        world.slot(start=start, room=3)
    world.book(start_at=world.slots[1].start_at)
    world.shared(2)
    world.book(start_at=world.slots[0].start_at)
    world.clock.moment = max(Consent.objects.values_list("answer_by", flat=True))


def news(world: World) -> None:
    """The release is published, then halted; hubs were missed in a slot, and others are about to go."""
    booked(world)
    world.clock.move(hours=7)
    world.work()
    booked(world, ahead=20 * HOUR)
    count_fleet(now=world.clock())
    notices.owe_published(now=world.clock())
    world.clock.move(minutes=1)
    decisions.halt(release=world.release, by=world.staff, reason="Looks bad", now=world.clock())


def slots_ahead(world: World) -> None:
    booked(world, ahead=20 * HOUR)
    count_fleet(now=world.clock())


def deadline_near(world: World) -> None:
    """Nothing is allocated before, and the last moment is the cut-off of the last slot, three days from now."""
    RolloutPolicy.objects.update(default_allocation_percent=100)
    world.hubs(3)
    world.slot(start=40 * DAY, room=5)
    count_fleet(now=world.clock())
    world.clock.move(days=37)


def letters_owed(world: World) -> None:
    notices.owe(
        kind=Notice.Kind.ACCOUNT,
        subject_key="account:1",
        addresses=[f"person-{number}@northern.example.com" for number in range(30)],
        context={"subject": "Hello", "text": "Hello", "html": "<p>Hello</p>"},
        now=world.clock(),
    )


def decisions_unchained(world: World) -> None:
    booked(world)


def keys_forgotten(world: World) -> None:
    RequestKey.objects.bulk_create(
        RequestKey(
            user=world.person,
            key=uuid.UUID(int=days),
            path="/",
            body=b"",
            begun_at=world.clock() - timedelta(days=days),
        )
        for days in range(4)
    )


def rows_forgotten(world: World) -> None:
    """The rows of three files are three months old."""
    for _ in range(3):
        world.choose_ids("\n".join(["CHF ID", *(format_eui64(hub.chf_id) for hub in world.hubs(3))]))
    world.clock.move(days=91)


def pattern_new(world: World) -> None:
    for weekday in Weekday.values:
        CapacityPattern.objects.create(
            network=world.network,
            weekday=weekday,
            starts=time(1),
            ends=time(5),
            slot_minutes=60,
            capacity=100,
        )


def hubs_change_supplier(world: World) -> None:
    booked(world, ahead=5 * DAY)
    ChangeOfSupplier.objects.bulk_create(
        ChangeOfSupplier(
            hub=deployment.hub_id,
            role=ChangeOfSupplier.Role.IMPORT,
            gaining=world.southern,
            effective_on=world.clock().date() - DAY,
            imported_at=world.clock() - 5 * DAY,
        )
        for deployment in Deployment.objects.all()
    )


def a_day_later(world: World) -> None:
    """Hubs that succeeded have not been looked at again yet."""
    booked(world)
    for _ in range(20):
        world.clock.move(minutes=30)
        world.work()
    world.clock.move(days=1)


def outcomes_settled(world: World) -> None:
    """The hubs of a lot have ended, more than a day ago."""
    a_day_later(world)
    world.clock.move(days=1)


def controls_unseen(world: World) -> None:
    """Nobody has looked at a hub that is not being updated yet, and the release may be activated."""
    booked(world)
    world.hubs(2)
    world.clock.move(hours=2)


def fleet_uncounted(world: World) -> None:
    booked(world)


def command_from_elsewhere(world: World) -> None:
    """The fleet was told something that the Gate never admitted."""
    booked(world)
    deployment = Deployment.objects.order_by("id")[0]
    until = world.clock() + HOUR
    forged = Instruction(deployment.pk, Phase.READ, 9, deployment.hub_id, deployment.lot_id, 1, until)
    connect().send(commands=[forged], now=world.clock())


def rehearsals_asked_for(world: World) -> None:
    """One process is enough for it; none is started here, where what it finds out would come at any moment."""
    asked = {"release": world.release, "revision": 1, "hubs": 1, "percent": 0, "seed": 1, "plan": {}}
    Rehearsal.objects.create(is_whole=False, asked_by=world.staff, asked_at=world.clock(), **asked)


def files_of_lists() -> list[str]:
    kept = default_storage.listdir(exports.FOLDER)[1] if default_storage.exists(exports.FOLDER) else []
    return [f"{exports.FOLDER}/{name}" for name in kept]


def list_asked_for(world: World) -> None:
    for left in files_of_lists():
        default_storage.delete(left)
    world.hubs(20)
    exports.ask(
        supplier=world.northern,
        name="hubs",
        subject="",
        query="",
        title="Hubs",
        kind=Export.Format.CSV,
        expected=20,
        by=world.person,
        now=world.clock(),
    )


def files_of_lists_forgotten(world: World) -> None:
    """One has lain ready for long enough, and no export knows the other."""
    list_asked_for(world)
    tasks.make_exports()
    Export.objects.update(ended_at=world.clock() - 8 * DAY)
    stray = default_storage.save(f"{exports.FOLDER}/stray", ContentFile(b"x"))
    world.clock.moment = default_storage.get_modified_time(stray) + 2 * DAY


MOMENTS: dict[str, list[Callable[[World], None]]] = {
    "carry_out": [commands_due],
    "collect_reports": [reports_waiting],
    "read_files": [file_kept],
    "sweep_files": [files_forgotten],
    "advance_stages": [stage_and_counters_behind],
    "look_at_controls": [controls_unseen],
    "look_again": [a_day_later],
    "keep_turns": [first_stage_to_choose, too_many_for_a_stage],
    "keep_bookings": [bookings_to_keep],
    "allocate": [nobody_booked],
    "keep_exceptions": [missed_twice],
    "settle_consents": [silence_over],
    "owe_notices": [news, slots_ahead],
    "owe_deadlines": [deadline_near],
    "send_notices": [letters_owed],
    "change_suppliers": [hubs_change_supplier],
    "open_slots": [pattern_new],
    "seal_outcomes": [outcomes_settled],
    "count_fleet": [fleet_uncounted],
    "reconcile": [command_from_elsewhere],
    "make_exports": [list_asked_for],
    "sweep_exports": [files_of_lists_forgotten],
    "chain_decisions": [decisions_unchained],
    "start_rehearsals": [rehearsals_asked_for],
    "forget_requests": [keys_forgotten],
    "forget_records": [rows_forgotten],
}


# -- what is left --------------------------------------------------------------------------------------------

VARIES = {
    "token",  # how often something was claimed
    "reference",
    "subject_key",
    "message_id",
    "subject",
    "text",
    "html",
    "stored",
    "name",
    "address",
    "digest",
    "image_type",
    "hash",
    "link",  # of decisions that name the booking
    "words",
    "postcode",
}
ONLY_WHETHER = (models.DateTimeField, models.DateField)
NOT_AT_ALL = (
    models.BigIntegerField,
    models.UUIDField,
    models.JSONField,
    models.BinaryField,
    models.FileField,
)


def picture() -> Picture:
    """Return how many rows there are of each kind and of each look, whatever their keys and moments are."""
    kinds = [
        *apps.get_app_config("scheduling").get_models(),
        *(
            FirmwareRelease,
            Halt,
            ChangeOfSupplier,
            CommunicationsHub,
            FleetCount,
            AuditEntry,
            AuditLink,
            RequestKey,
            RequestKey,
            CommandLog,
        ),
    ]
    kinds.remove(Reconciliation)  # how often somebody has looked; what was found is in
    taken = {model.__name__: Counter(map(_look, model._default_manager.all())) for model in kinds}
    taken["letters"] = Counter((tuple(letter.to), letter.subject) for letter in mail.outbox)
    taken["owed"] = Counter(Notice.objects.values_list("kind", "address"))
    if default_storage.exists(selections.FOLDER):
        taken["files"] = Counter({(): len(default_storage.listdir(selections.FOLDER)[1])})
    taken["lists"] = Counter({(): len(files_of_lists())})
    return taken


def _look(row: models.Model) -> tuple[Any, ...]:
    fields = [
        field
        for field in row._meta.concrete_fields
        if not (
            field.primary_key or field.is_relation or field.name in VARIES or isinstance(field, NOT_AT_ALL)
        )
    ]
    values = ((field, getattr(row, field.attname)) for field in fields)
    return tuple(
        (field.name, value is None if isinstance(field, ONLY_WHETHER) else str(value))
        for field, value in values
    )


@pytest.fixture
def make(
    transactional_db: None, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[World], None]], World]:
    """Return what makes a world from nothing, brings it to a moment, and lets the tasks go by its clock."""

    def make(moment: Callable[[World], None]) -> World:
        call_command("flush", verbosity=0, interactive=False)
        mail.outbox.clear()
        world = worlds.make(now=now)
        User.objects.create_user(email="person@southern.example.com", supplier=world.southern)
        moment(world)
        monkeypatch.setattr("portal.ground.clock.now", world.clock)
        monkeypatch.setattr("portal.rehearsal_processes.start", lambda *, rehearsal: None)
        return world

    return make


def task_of(name: str) -> Callable[..., object]:
    app.loader.import_default_modules()
    [known] = {entry["task"] for entry in TIMETABLE.values() if entry["task"].endswith(f".{name}")}
    task: Callable[..., object] = app.tasks[known]
    return task


def names() -> list[str]:
    """Return the names of what the timetable wakes."""
    return [entry["task"].rpartition(".")[2] for entry in TIMETABLE.values()]


class TestThreeAtOnce:
    def test_are_tried_for_every_task_of_the_timetable(self) -> None:
        assert set(MOMENTS) == set(names())

    @pytest.mark.parametrize(
        ("name", "moment"),
        [(name, moment) for name, moments in MOMENTS.items() for moment in moments],
        ids=lambda given: given if isinstance(given, str) else given.__name__,
    )
    def test_leave_what_one_leaves(
        self, make: Callable[[Callable[[World], None]], World], name: str, moment: Callable[[World], None]
    ) -> None:
        make(moment)
        before = picture()
        assert at_once(task_of(name)) == [None]
        after_one = picture()
        assert after_one != before, "the task had no work at this moment"

        make(moment)
        assert picture() == before
        assert at_once(*[task_of(name)] * COPIES) == [None] * COPIES

        assert picture() == after_one
