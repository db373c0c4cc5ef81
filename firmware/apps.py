"""Name this app to Django."""

from django.apps import AppConfig


class FirmwareConfig(AppConfig):
    """What may be deployed, and when."""

    name = "firmware"
    label = "firmware"
    verbose_name = "Firmware"
