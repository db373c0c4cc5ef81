"""A worker beside another version of the portal: words and tasks that it does not know do no harm."""

import inspect

from celery import Task

from portal.celery import TIMETABLE, app
from portal.ground import clock
from scheduling.models import Notice
from scheduling.operations import notices
from tests.conftest import StartCelery, eventually

FUTURE = "scheduling.tasks.something_of_the_next_version"


def our_tasks() -> dict[str, Task]:
    """Return every task of ours by its name."""
    app.loader.import_default_modules()
    return {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}


class TestEveryTask:
    def test_takes_words_that_it_does_not_know_and_needs_none(self) -> None:
        tasks = our_tasks()
        assert {entry["task"] for entry in TIMETABLE.values()} <= set(tasks)
        for name, task in tasks.items():
            kinds = [parameter.kind for parameter in inspect.signature(task.run).parameters.values()]
            assert kinds == [inspect.Parameter.VAR_KEYWORD], name


class TestAWorkerOfTheVersionBefore:
    def test_drops_a_task_that_it_does_not_know_and_goes_on(
        self, transactional_db: None, start_celery: StartCelery
    ) -> None:
        """That wake-up is lost to the new version, and the next is seconds away: rows still say what is due."""
        notices.owe(
            kind=Notice.Kind.ACCOUNT,
            subject_key="account:1",
            addresses=["person@northern.example.com"],
            context={"subject": "Hello", "text": "Hello", "html": "<p>Hello</p>"},
            now=clock.now(),
        )
        worker = start_celery("worker", "--concurrency", "1")
        app.send_task(FUTURE, kwargs={"lot": 1})
        app.send_task("scheduling.tasks.send_notices", kwargs={"asked_by": "the next version"})

        assert eventually(lambda: Notice.objects.filter(sent_at__isnull=False).exists(), within=60)
        assert worker.poll() is None
        with app.connection_or_acquire() as broker:
            assert eventually(lambda: broker.default_channel.client.llen("celery") == 0, within=30)
