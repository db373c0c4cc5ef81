"""
The Celery app and its timetable.

Celery only wakes: what is due stands in PostgreSQL, so an entry that is lost, doubled or late does no harm.
"""

import os
from typing import Any, TypedDict

from celery import Celery, Task

from portal.ground import logs


class Entry(TypedDict):
    """A task by name, every so many seconds, thrown away when nobody took it in time."""

    task: str
    schedule: float
    options: dict[str, float]


def every(seconds: float, task: str) -> Entry:
    """Return the entry that wakes a task of the scheduling app so often."""
    return {"task": f"scheduling.tasks.{task}", "schedule": seconds, "options": {"expires": 2 * seconds}}


TIMETABLE: dict[str, Entry] = {
    "carry out": every(2, "carry_out"),
    "collect reports": every(2, "collect_reports"),
    "read files": every(2, "read_files"),
    "sweep files": every(600, "sweep_files"),
    "keep bookings": every(5, "keep_bookings"),
    "allocate": every(30, "allocate"),
    "keep exceptions": every(60, "keep_exceptions"),
    "settle consents": every(5, "settle_consents"),
    "owe notices": every(15, "owe_notices"),
    "owe deadlines": every(600, "owe_deadlines"),
    "send notices": every(5, "send_notices"),
    "change suppliers": every(30, "change_suppliers"),
    "open slots": every(60, "open_slots"),
    "count fleet": every(60, "count_fleet"),
}


class LoggedTask(Task[Any, Any]):
    """A task whose every line in the log says which it is."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it, bound to its id and name."""
        with logs.bound(task=self.request.id, job=self.name.rpartition(".")[2]):
            return super().__call__(*args, **kwargs)


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
app = Celery("portal", task_cls=LoggedTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.beat_schedule = TIMETABLE
app.autodiscover_tasks()
