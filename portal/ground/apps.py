"""Name this app to Django."""

from django.apps import AppConfig


class GroundConfig(AppConfig):
    """What every app stands on: the database's time, the audit, UK local time."""

    name = "portal.ground"
    label = "ground"
    verbose_name = "Decisions on record"
