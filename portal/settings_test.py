"""The settings of the tests: servers of their own without fsync, a quick hasher, e-mails kept in memory."""

import os

os.environ.setdefault("DEBUG", "true")
os.environ.setdefault("PORTAL_PROFILE", "test")

from portal.settings import *
from portal.settings import CELERY_BROKER_TRANSPORT_OPTIONS, DATABASES

# Django gives each worker of a parallel run a database of its own; this keeps their keys apart too.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "")
if "global_keyprefix" in CELERY_BROKER_TRANSPORT_OPTIONS:  # else another broker than Redis was named
    CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"] = _worker
DATABASES["default"]["CONN_MAX_AGE"] = 0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
if "EMAIL_URL" not in os.environ:  # else this process was started to speak to a mail server of a test
    EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
