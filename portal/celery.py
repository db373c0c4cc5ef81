"""
The Celery app and its timetable.

Celery only wakes: what is due stands in PostgreSQL, so an entry that is lost, doubled or late does no harm.
"""

import os
from typing import TypedDict

from celery import Celery


class Entry(TypedDict):
    """A task by name, every so many seconds, thrown away when nobody took it in time."""

    task: str
    schedule: float
    options: dict[str, float]


TIMETABLE: dict[str, Entry] = {}

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
app = Celery("portal")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.beat_schedule = TIMETABLE
app.autodiscover_tasks()
