"""
The settings of a lane of storms: those of the tests, with time passing twenty times as fast.

The database's clock is the only clock, so it alone is sped up (see `tides`): whatever the portal counts in
minutes then lasts seconds, and no figure of its own is changed. What counts real seconds follows here.
"""

import os

os.environ.setdefault("PORTAL_PROFILE", "faults")

from portal import embedded
from portal.settings_test import *
from portal.settings_test import DATABASES, INSTALLED_APPS, LEASE_SECONDS, LOGGING

SPEED = 20
INSTALLED_APPS = [*INSTALLED_APPS, "tests.faults"]
HUB_GATEWAY = "tests.faults.carrier.Carrier"
CELERY_TASK_TIME_LIMIT = LEASE_SECONDS * 0.9 / SPEED
CELERY_TASK_SOFT_TIME_LIMIT = LEASE_SECONDS * 0.8 / SPEED
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False
DATABASES["default"]["CONN_MAX_AGE"] = 60
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_HOST = "127.0.0.1"
MEDIA_ROOT = embedded.current().state / "media"
EMAIL_TIMEOUT = 1.0
LOGGING["formatters"]["line"]["fmt"] = "%(asctime)s %(process)d %(levelname)-7s %(name)s: %(message)s"
LOGGING["loggers"]["celery.app.trace"] = {"level": "INFO"}
