"""Name this app to Django."""

from django.apps import AppConfig


class ModelledFleetConfig(AppConfig):
    """A stand-in for the carriers and their hubs, behind the same gateway."""

    name = "hubs.modelled_fleet"
    label = "modelled_fleet"
    verbose_name = "Modelled fleet"
