"""Name this app to Django."""

from django.apps import AppConfig


class PortalConfig(AppConfig):
    """The site itself: who may come in, and what binds the apps together."""

    name = "portal"
    label = "portal"
    verbose_name = "Portal"
