"""Name this app to Django."""

from django.apps import AppConfig


class HubsConfig(AppConfig):
    """The fleet of Communications Hubs, and the door to it."""

    name = "hubs"
    label = "hubs"
    verbose_name = "Communications Hubs"
