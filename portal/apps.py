"""Name this app to Django, and bind shared tasks to the portal's Celery app."""

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps

# Imported here, not in portal/__init__.py, which a bare Python reads before there is a Celery.
from portal.celery import app as celery_app

__all__ = ["PortalConfig", "StaffAdminConfig", "celery_app"]


class PortalConfig(AppConfig):
    """The site itself."""

    default = True
    name = "portal"
    label = "portal"
    verbose_name = "People"


class StaffAdminConfig(admin_apps.AdminConfig):
    """The admin, with a site that only DCC staff can see."""

    default = False
    default_site = "portal.staff_site.StaffSite"
