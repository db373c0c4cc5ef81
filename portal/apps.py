"""Name this app to Django, and bind shared tasks to the portal's Celery app."""

from django.apps import AppConfig

# Imported here, not in portal/__init__.py, which a bare Python reads before there is a Celery.
from portal.celery import app as celery_app

__all__ = ["PortalConfig", "celery_app"]


class PortalConfig(AppConfig):
    """The site itself."""

    name = "portal"
    label = "portal"
    verbose_name = "Portal"
