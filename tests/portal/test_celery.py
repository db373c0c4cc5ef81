"""Tests of how Celery is set: it wakes, keeps nothing, and may repeat itself."""

import psutil
from django.conf import settings
from django.db import connection

from portal.celery import PATIENCE, TIMETABLE, app
from tests.conftest import StartCelery


class TestTimetable:
    def test_names_only_tasks_that_exist(self) -> None:
        app.loader.import_default_modules()

        assert {entry["task"] for entry in TIMETABLE.values()} <= set(app.tasks)

    def test_lets_wake_ups_expire_that_nobody_takes(self) -> None:
        """However long the workers are away, no more than a few of each kind wait for them."""
        assert TIMETABLE
        for name, entry in TIMETABLE.items():
            assert 0 < entry["options"]["expires"] <= max(3 * entry["schedule"], PATIENCE), name

    def test_lets_everything_have_its_turn_beside_carrying_out(self) -> None:
        """Every worker may be at carrying out, for a sixth of a lease, when something else is due."""
        for name, entry in TIMETABLE.items():
            if name != "carry out":
                assert entry["options"]["expires"] >= settings.LEASE_SECONDS / 6 * 2, name


class TestApp:
    def test_takes_the_settings(self) -> None:
        assert app.conf.task_acks_late
        assert app.conf.task_reject_on_worker_lost
        assert app.conf.task_ignore_result
        assert app.conf.worker_prefetch_multiplier == 1
        assert app.conf.accept_content == ["json"]
        assert app.conf.beat_schedule == TIMETABLE

    def test_ends_a_task_before_another_may_take_its_lease(self) -> None:
        assert app.conf.task_soft_time_limit < app.conf.task_time_limit < settings.LEASE_SECONDS


class TestWorker:
    def test_runs_on_the_test_s_own_database_and_queue(self, start_celery: StartCelery) -> None:
        """Whatever a fault test kills is this process, and nothing but this test speaks to it."""
        worker = start_celery("worker", "--concurrency", "1")

        assert (
            psutil.Process(worker.pid)
            .environ()["DATABASE_URL"]
            .split("?")[0]
            .endswith(str(connection.settings_dict["NAME"]))
        )
        assert app.control.ping(timeout=10)
