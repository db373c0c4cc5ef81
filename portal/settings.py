"""
Every setting, once.

Without DEMO or DEBUG this is production: what it needs and does not find stops the start with one sentence.
With either, PostgreSQL and Redis are our own where no URL names them (`portal.embedded`).
"""

import contextlib
import hashlib
import ipaddress
import os
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import django_stubs_ext
import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

django_stubs_ext.monkeypatch()  # lets admin classes, forms and views name their model in brackets

BASE_DIR: Final = Path(__file__).resolve().parent.parent
env = environ.Env()

DEMO: bool = env.bool("DEMO", default=False)
DEBUG: bool = env.bool("DEBUG", default=False)
PRODUCTION: Final = not (DEMO or DEBUG)


def required(name: str, *, otherwise: str, meaning: str) -> str:
    """
    Return what the environment says, or `otherwise` where this is not production.

    :raises ImproperlyConfigured: if production was not told
    """
    if value := str(env(name, default="")).strip():
        return value
    if PRODUCTION:
        raise ImproperlyConfigured(
            f"{name} is not set: set it to {meaning}. (To try the portal on your own machine, run "
            "python3 manage.py demo; to work on it, set DEBUG=true.)"
        )
    return otherwise


# Who we are

LOCAL_SECRET: Final = "never used in production, where SECRET_KEY must be set and must differ from this"  # noqa: S105
SECRET_KEY = required("SECRET_KEY", otherwise=LOCAL_SECRET, meaning="at least 50 random characters")
if PRODUCTION and (SECRET_KEY == LOCAL_SECRET or len(SECRET_KEY) < 50):
    raise ImproperlyConfigured(
        "SECRET_KEY is a default or too short: set it to at least 50 random characters."
    )
SECRET_KEY_FALLBACKS: list[str] = env.list(
    "SECRET_KEY_FALLBACKS", default=[]
)  # the old keys, while sessions last

ALLOWED_HOSTS = [
    host.strip()
    for host in required(
        "ALLOWED_HOSTS",
        otherwise="localhost,127.0.0.1,[::1],testserver",
        meaning="the host names that the portal answers to, with commas between them",
    ).split(",")
]
if PRODUCTION and any("*" in host or host.startswith(".") for host in ALLOWED_HOSTS):
    raise ImproperlyConfigured(
        "ALLOWED_HOSTS is open: name each host that the portal answers to, without * and without a leading dot."
    )
PORTAL_ADDRESS = required(
    "PORTAL_ADDRESS",
    otherwise="http://127.0.0.1:8000",
    meaning="the address that e-mails link to, with https://",
).rstrip("/")
if PRODUCTION and not PORTAL_ADDRESS.startswith("https://"):
    raise ImproperlyConfigured(
        "PORTAL_ADDRESS does not begin with https://: passwords travel to that address."
    )

# What we are made of

INSTALLED_APPS = [
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "django.contrib.auth",  # all three before the portal, which takes tables of theirs out of the admin again
    "portal",
    "scheduling",
    "firmware",
    "hubs",
    "hubs.modelled_fleet",
    "portal.ground",
    "portal.apps.StaffAdminConfig",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.forms",
    "crispy_forms",
    "crispy_bootstrap5",
    "csp",
    "django_filters",
    "django_htmx",
    "django_tables2",
]
MIDDLEWARE = [
    "portal.access.Logged",
    "portal.access.AtTheDoor",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "portal.access.kept_nowhere",
    "csp.middleware.CSPMiddleware",
    "portal.sessions.Sessions",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "portal.sign_in.SignedOut",
    "django.contrib.auth.middleware.LoginRequiredMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "portal.sign_in.SecondFactor",
    "django_htmx.middleware.HtmxMiddleware",
    "portal.access.london_time",
    "portal.access.Sorry",
    "portal.ground.once.Once",
    "portal.access.AsWhoAsks",
]
ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "builtins": ["portal.templatetags.once"],  # every form has a key
        },
    }
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
CRISPY_ALLOWED_TEMPLATE_PACKS = "bootstrap5"
CRISPY_TEMPLATE_PACK = "bootstrap5"
DJANGO_TABLES2_TEMPLATE = "django_tables2/bootstrap5-responsive.html"

# Named in production, so that nobody takes the modelled fleet's successes for those of real hubs by forgetting it.
HUB_GATEWAY = required(
    "HUB_GATEWAY",
    otherwise="hubs.modelled_fleet.gateway.ModelledFleet",
    meaning="the dotted path of the carrier adapter, or hubs.modelled_fleet.gateway.ModelledFleet to reach no real hub",
)
REHEARSAL_GATEWAY: Final = "hubs.modelled_fleet.gateway.RehearsedFleet"
"""What a rehearsal commands, whatever carrier the portal has: it never reaches a real hub."""
LEASE_SECONDS: int = env.int("LEASE_SECONDS", default=60)
# For so long a decision is on record before `audit purge` may take it; the words of e-mails go after two years.
FEWEST_YEARS: Final = 3
DECISIONS_KEPT_YEARS: int = env.int("DECISIONS_KEPT_YEARS", default=7)
if DECISIONS_KEPT_YEARS < FEWEST_YEARS:
    raise ImproperlyConfigured(
        f"DECISIONS_KEPT_YEARS is below {FEWEST_YEARS}: an auditor asks about the years before. Set it to "
        f"{FEWEST_YEARS} or more, or leave it out."
    )
# Whoever bears it may read the metrics; without it there are none.
METRICS_TOKEN: str = env("METRICS_TOKEN", default="")
if PRODUCTION and METRICS_TOKEN and len(METRICS_TOKEN) < 32:
    raise ImproperlyConfigured(
        "METRICS_TOKEN is too short: set it to at least 32 random characters, or leave it out."
    )
# Signs evidence packs; whoever has it can make one, so it is nobody's but the portal's.
LOCAL_EVIDENCE_KEY: Final = hashlib.sha256(b"never used in production").hexdigest()
EVIDENCE_KEY = required(
    "EVIDENCE_KEY",
    otherwise=LOCAL_EVIDENCE_KEY,
    meaning="64 random hexadecimal digits; evidence packs are signed with it",
)
if not re.fullmatch("[0-9a-fA-F]{64}", EVIDENCE_KEY) or (PRODUCTION and EVIDENCE_KEY == LOCAL_EVIDENCE_KEY):
    raise ImproperlyConfigured(
        "EVIDENCE_KEY is a default, or not 64 hexadecimal digits: make one with "
        "python3 -c 'import secrets; print(secrets.token_hex(32))'."
    )
# What must not lie in the database in the clear is sealed with it: secrets of second factors, and sessions.
LOCAL_SEALING_KEY: Final = hashlib.sha256(b"never used in production either").hexdigest()
SEALING_KEY = required(
    "SEALING_KEY",
    otherwise=LOCAL_SEALING_KEY,
    meaning="64 random hexadecimal digits; second factors and sessions are sealed with it in the database",
)
SEALING_KEYS: list[str] = [SEALING_KEY, *env.list("SEALING_KEY_FALLBACKS", default=[])]
if any(
    not re.fullmatch("[0-9a-fA-F]{64}", key) or (PRODUCTION and key == LOCAL_SEALING_KEY)
    for key in SEALING_KEYS
):
    raise ImproperlyConfigured(
        "SEALING_KEY or one of SEALING_KEY_FALLBACKS is a default, or not 64 hexadecimal digits: make one with "
        "python3 -c 'import secrets; print(secrets.token_hex(32))'."
    )
PORTAL_VERSION: str = env("PORTAL_VERSION", default="")  # without it, a checkout knows its commit

# The carrier over HTTP, for the adapter that speaks to it and for the modelled fleet that can stand in for it

FLEET_SERVER: bool = env.bool("FLEET_SERVER", default=False)
"""Whether the modelled fleet may be served in production: it reaches no real hub."""
LOCAL_CARRIER_SECRET: Final = "never used in production, where CARRIER_SECRET must be set"  # noqa: S105
CARRIER_URL: str = env("CARRIER_URL", default="http://127.0.0.1:8100")
CARRIER_SECRETS: list[str] = [env("CARRIER_SECRET", default=LOCAL_CARRIER_SECRET)]
CARRIER_SECRETS += env.list(
    "CARRIER_SECRET_FALLBACKS", default=[]
)  # the old one, while the other side signs with it


def is_this_machine(url: str) -> bool:
    """Tell whether what is sent to an address stays on this machine."""
    parts = urlsplit(url)
    return parts.scheme == "unix" or is_own_host(parts.hostname or "")


def is_own_host(host: str) -> bool:
    """Tell whether a host is this machine: by a name, an address, or the folder of a socket."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.startswith("/")


if HUB_GATEWAY == "hubs.http_carrier.HttpCarrier":
    required("CARRIER_URL", otherwise=CARRIER_URL, meaning="the carrier's address, with https://")
    if PRODUCTION and urlsplit(CARRIER_URL).scheme != "https" and not is_this_machine(CARRIER_URL):
        raise ImproperlyConfigured(
            "CARRIER_URL does not begin with https:// and names another machine: what hubs are told and answer "
            "would travel in the open."
        )
if PRODUCTION and (FLEET_SERVER or HUB_GATEWAY == "hubs.http_carrier.HttpCarrier"):
    required(
        "CARRIER_SECRET", otherwise="", meaning="at least 32 random characters that the carrier knows as well"
    )
    if any(len(secret) < 32 or secret in (LOCAL_CARRIER_SECRET, SECRET_KEY) for secret in CARRIER_SECRETS):
        raise ImproperlyConfigured(
            "CARRIER_SECRET or one of CARRIER_SECRET_FALLBACKS is a default, too short, or SECRET_KEY itself: "
            "set it to at least 32 random characters that only the carrier knows as well."
        )

# PostgreSQL and Redis

EMBEDDED = (
    () if PRODUCTION else tuple(url for url in ("DATABASE_URL", "REDIS_URL") if not os.environ.get(url))
)
if EMBEDDED:
    # Imported only here: the servers and what drives them are no part of a production image.
    from portal import embedded

    for _name in EMBEDDED:
        os.environ[_name] = embedded.current().urls()[_name]  # processes that we start find them there too

DATABASE_URL = required("DATABASE_URL", otherwise="", meaning="postgres://user:password@host/database")
REDIS_URL = required("REDIS_URL", otherwise="", meaning="redis://host:6379/0")

DATABASES: dict[str, dict[str, Any]] = {"default": env.db_url_config(DATABASE_URL)}
DATABASES["default"] |= {
    "CONN_MAX_AGE": env.int("CONN_MAX_AGE", default=60),
    "CONN_HEALTH_CHECKS": True,
    # Each operation owns its transaction: none is held across a conversation with anything outside.
    "ATOMIC_REQUESTS": False,
}
if PRODUCTION:
    _options = DATABASES["default"].get("OPTIONS", {})
    _hosts: str = _options.get("host") or DATABASES["default"]["HOST"] or env("PGHOST", default="/")
    _hidden = _options.get("sslmode") in ("require", "verify-ca", "verify-full")
    if not (_hidden or all(map(is_own_host, _hosts.split(",")))):
        raise ImproperlyConfigured(
            "DATABASE_URL names another machine and no TLS: add ?sslmode=verify-full, or use a socket with "
            "?host=/directory."
        )
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def redis_url(*, database: int) -> str:
    """Return the address of one of Redis's logical databases, as redis-py spells it."""
    parts = urlsplit(REDIS_URL)
    if parts.scheme == "unix":
        return f"unix://{parts.path}?db={database}"
    return parts._replace(path=f"/{database}").geturl()


def broker_url(*, database: int) -> str:
    """Return the same address as Celery spells it: a Unix socket has another scheme and parameter there."""
    parts = urlsplit(REDIS_URL)
    if parts.scheme == "unix":
        return f"redis+socket://{parts.path}?virtual_host={database}"
    return redis_url(database=database)


REDIS_ADDRESS: Final = redis_url(database=0)
# What is counted here must outlive a Redis that is emptied, so PostgreSQL keeps it.
CACHES: dict[str, dict[str, Any]] = {"default": {"BACKEND": "portal.attempts.AttemptCache"}}

# Celery: it only wakes, the schedule and every result are rows

# Redis unless another is named, such as amqp://user:password@host:5672/portal for RabbitMQ.
CELERY_BROKER_URL: str = env("BROKER_URL", default="") or broker_url(database=0)
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {
        "visibility_timeout": 3600,
        "global_keyprefix": env("REDIS_PREFIX", default=""),
        # a server that hangs is given up, and asked again
        "socket_timeout": 5,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
    }
    if urlsplit(CELERY_BROKER_URL).scheme.startswith(("redis", "sentinel"))
    else {"confirm_publish": True, "read_timeout": 5, "write_timeout": 5}
)
CELERY_BROKER_HEARTBEAT = 20  # seconds; RabbitMQ's own, so that either side sees when the other is gone
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TIME_LIMIT = LEASE_SECONDS * 0.9  # a task must be dead before its lease lets another begin
CELERY_TASK_SOFT_TIME_LIMIT = LEASE_SECONDS * 0.8
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULER = (
    "portal.heartbeat:LivingScheduler"  # keeps no file: what is due is asked of the database
)
CELERY_TIMEZONE = "UTC"

# Who may come in

AUTH_USER_MODEL = "portal.User"
AUTHENTICATION_BACKENDS = ["portal.adapters.Backend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 15},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "scheduling:home"
ACCOUNT_ADAPTER = "portal.adapters.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "portal.forms.LoginForm",
    "reset_password": "portal.forms.ResetPasswordForm",
    "reset_password_from_key": "portal.forms.ResetPasswordKeyForm",
    "change_password": "portal.forms.ChangePasswordForm",
    "reauthenticate": "portal.forms.ReauthenticateForm",
}
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_EMAIL_NOTIFICATIONS = True  # a changed password is told to whom it belongs
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False  # the portal writes to nobody whom it does not know
ACCOUNT_EMAIL_VERIFICATION = "none"  # by invitation only: the link that was followed proves the address
ACCOUNT_LOGOUT_ON_PASSWORD_CHANGE = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_DEFAULT_HTTP_PROTOCOL = urlsplit(PORTAL_ADDRESS).scheme
ACCOUNT_RATE_LIMITS = {"invitation": "30/m/ip"}  # beside those that allauth has by itself

# Whether DCC staff, and the people of the Suppliers that ask for it, need a second factor to work.
SECOND_FACTOR: str = env("SECOND_FACTOR", default="required" if PRODUCTION else "optional")
if SECOND_FACTOR not in ("required", "optional") or (PRODUCTION and SECOND_FACTOR != "required"):
    raise ImproperlyConfigured(
        "SECOND_FACTOR is not required: in production it has to be; only a demo may say optional."
    )
MFA_ADAPTER = "portal.adapters.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_FORMS = {
    "authenticate": "portal.forms.CodeForm",
    "reauthenticate": "portal.forms.CodeAgainForm",
    "activate_totp": "portal.forms.ActivateAppForm",
    "add_webauthn": "portal.forms.AddKeyForm",
    "authenticate_webauthn": "portal.forms.KeyForm",
    "reauthenticate_webauthn": "portal.forms.KeyAgainForm",
}
MFA_TOTP_ISSUER = "Hub firmware portal"
MFA_TOTP_TOLERANCE = 1  # steps of 30 s before and after: telephones' clocks are not ours
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_ALLOW_UNVERIFIED_EMAIL = True  # see ACCOUNT_EMAIL_VERIFICATION

SESSION_ENGINE = "portal.sessions"
SESSION_COOKIE_AGE = 8 * 60 * 60  # from signing in, whatever is done meanwhile
IDLE_MINUTES: Final = {"staff": 15, "supplier": 60}
"""For so long a session lives without anything being done in it. What a page asks by itself is nothing done."""
# By such a name a browser takes a cookie from this very host alone, through TLS, and for all of its addresses.
COOKIES: Final = "__Host-" if PRODUCTION else ""
SESSION_COOKIE_NAME = f"{COOKIES}session"
CSRF_COOKIE_NAME = f"{COOKIES}csrf"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = PRODUCTION
SESSION_EXPIRE_AT_BROWSER_CLOSE = True
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = PRODUCTION
CSRF_TRUSTED_ORIGINS = [PORTAL_ADDRESS]
# What was done, in numbers, waits on our side for the next page and not in a cookie.
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"

# What a browser is told

# How many proxies in front of us set X-Forwarded-For and X-Forwarded-Proto; by default none is believed.
TRUSTED_PROXIES: int = env.int("TRUSTED_PROXIES", default=0)
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXIES
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_SSL_REDIRECT = PRODUCTION
SECURE_REDIRECT_EXEMPT = [r"^health/", r"^metrics$"]
SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60 if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = PRODUCTION
SECURE_HSTS_PRELOAD = PRODUCTION
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "data:"],  # Bootstrap's icons
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# Files

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Only production collects its static files; elsewhere they are served from where they lie.
STATIC_ROOT = Path(env("STATIC_ROOT", default=str(BASE_DIR / ".static"))) if PRODUCTION else None
WHITENOISE_USE_FINDERS = not PRODUCTION
WHITENOISE_AUTOREFRESH = DEBUG
MEDIA_ROOT = Path(env("MEDIA_ROOT", default=str(BASE_DIR / ".media")))
MEDIA_URL = ""  # nothing that was uploaded is ever served from a folder
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if PRODUCTION
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
IMAGE_SIZE_LIMIT: int = env.int("IMAGE_SIZE_LIMIT", default=750_000)  # bytes of one firmware image
DATA_UPLOAD_MAX_MEMORY_SIZE = 2_500_000  # bytes of a form without its files
FILE_UPLOAD_MAX_MEMORY_SIZE = 2_500_000  # bytes of a file kept in memory; above it goes to disk
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5_000
DATA_UPLOAD_MAX_NUMBER_FILES = 10
FILE_UPLOAD_PERMISSIONS = 0o640

# E-mails

# Elsewhere than in production nothing leaves; every e-mail is a row, which staff read in the admin.
EMAIL_URL = required(
    "EMAIL_URL", otherwise="dummymail://", meaning="the mail server, as smtp+tls://user:password@host:587"
)
_ways = {"smtps", "smtp+tls", "smtp+ssl"} | ({"smtp"} if is_this_machine(EMAIL_URL) else set())
if PRODUCTION and urlsplit(EMAIL_URL).scheme not in _ways:
    raise ImproperlyConfigured(
        "EMAIL_URL is no mail server that is reached through TLS: invitations and links to a new password travel "
        "that way. Set it to smtp+tls://user:password@host:587, or to smtp://localhost:25 for a relay here."
    )
vars().update(env.email_url_config(EMAIL_URL))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL: str = env(
    "DEFAULT_FROM_EMAIL", default=f"Firmware portal <portal@{urlsplit(PORTAL_ADDRESS).hostname}>"
)
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# Words and times

USE_TZ = True
TIME_ZONE = "UTC"  # screens show Europe/London
USE_I18N = True
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = ["portal.formats"]

LOG_FORMAT: str = env("LOG_FORMAT", default="json" if PRODUCTION else "line")
if LOG_FORMAT not in ("json", "line"):
    raise ImproperlyConfigured("LOG_FORMAT is neither json nor line: set it to one of them, or leave it out.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        # The demo's supervisor writes the time and the program's name before each line.
        "line": {
            "()": "portal.ground.logs.Lines",
            "fmt": ("" if DEMO else "%(asctime)s ") + "%(levelname)-7s %(name)s: %(message)s",
        },
        "json": {"()": "portal.ground.logs.JsonLines"},
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["console"], "level": env("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django": {"handlers": [], "propagate": True},
        "django.server": {"handlers": [], "propagate": True},
        # paths can hold what must not be in a log; only gunicorn's first process, which serves nobody, writes by itself
        "gunicorn.access": {"handlers": [], "propagate": True},
        "gunicorn.error": {"handlers": [], "propagate": True},
        # A task wakes every few seconds and mostly finds nothing: what it did is in the rows.
        "celery.app.trace": {"level": "WARNING"},
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
    },
}
