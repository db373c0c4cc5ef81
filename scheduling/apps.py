"""Name this app to Django."""

from django.apps import AppConfig


class SchedulingConfig(AppConfig):
    """Who deploys what to which hubs, when, and how it went."""

    name = "scheduling"
    label = "scheduling"
    verbose_name = "Scheduling"
