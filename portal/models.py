"""The people who sign in: DCC staff, or the staff of one Supplier, never both; and the processes that live."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils.crypto import salted_hmac
from django.utils.functional import cached_property

from hubs.models import Supplier
from portal.ground import roles
from portal.ground.roles import DccRole, SupplierRole


class UserManager(BaseUserManager["User"]):
    """Make users who are known by their e-mail address."""

    use_in_migrations = True

    def create_user(self, *, email: str, password: str | None = None, **fields: Any) -> "User":
        """
        Create a user; without a password nobody can sign in as them until one is set.

        A Supplier's person of whom nobody says more is for operations.
        """
        if fields.get("supplier"):
            fields.setdefault("role", SupplierRole.OPERATIONS)
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create DCC staff with every permission (Django's createsuperuser calls it so)."""
        return self.create_user(email=email, password=password, is_staff=True, is_superuser=True, **fields)


class User(AbstractUser):
    """DCC staff (`is_staff`), whose groups say what they may do, or a person of one Supplier, with a role."""

    username = None  # type: ignore[assignment]
    email = models.EmailField("e-mail address", unique=True)
    supplier = models.ForeignKey(
        Supplier, on_delete=models.PROTECT, null=True, blank=True, related_name="users"
    )
    role = models.CharField(
        max_length=13, choices=SupplierRole, blank=True, help_text="What a Supplier's person may do."
    )
    session_epoch = models.PositiveIntegerField(
        default=0, db_default=0, editable=False, help_text="Sessions of an earlier one are dead"
    )

    has_read_epoch = False
    """Whether this row was read for the request at hand, and knows what the database raised meanwhile."""

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[UserManager] = UserManager()  # type: ignore[assignment]

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(is_staff=True, supplier=None)
                | models.Q(is_staff=False, supplier__isnull=False),
                name="user_is_dcc_staff_or_of_one_supplier",
                violation_error_message="A person is either DCC staff or belongs to one Supplier.",
            ),
            models.CheckConstraint(
                condition=models.Q(is_superuser=False) | models.Q(is_staff=True),
                name="user_superuser_is_dcc_staff",
            ),
            models.CheckConstraint(
                condition=models.Q(supplier=None, role="")
                | models.Q(supplier__isnull=False, role__in=["administrator", "operations", "read-only"]),
                name="user_of_a_supplier_has_a_role",
                violation_error_message="A person of a Supplier has a role, and nobody else has.",
            ),
        ]

    def __str__(self) -> str:
        return self.get_full_name() or self.email

    @cached_property
    def acts_as(self) -> str:
        """
        Return the roles in which the person acts, for the record of decisions: a Supplier's one, or DCC's.

        They are those of when they were first asked for: whoever gives themselves other ones did so in these.
        """
        if self.supplier_id is not None:
            return self.role
        held = set(self.groups.values_list("name", flat=True))
        everything = [roles.EVERYTHING] if self.is_superuser else []
        return roles.BETWEEN.join([*everything, *(role.value for role in DccRole if role in held)])

    def may(self, capability: roles.SupplierCapability) -> bool:
        """Say whether a Supplier's person has a role that may."""
        return self.role in capability.roles

    @property
    def may_act(self) -> bool:
        """Say, for templates, whether the person may change anything of their Supplier's."""
        return self.may(roles.ACT)

    @property
    def may_administer(self) -> bool:
        """Say, for templates, whether the person manages the people of their Supplier."""
        return self.may(roles.ADMINISTER)

    # A trigger raises the epoch whenever what a person is or may do changes, so that no path misses it.

    def get_session_auth_hash(self) -> str:
        """Return what a session of this person bears; another password, or an epoch that is over, has another."""
        return self._session_hash(None)

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """Yield the same under the earlier keys."""
        for secret in settings.SECRET_KEY_FALLBACKS:
            yield self._session_hash(secret)

    def _session_hash(self, secret: str | None) -> str:
        if not self.has_read_epoch:
            self.refresh_from_db(fields=["session_epoch"])
        return salted_hmac(
            "portal.session", f"{self.session_epoch} {self.password}", secret=secret, algorithm="sha256"
        ).hexdigest()


class Invitation(models.Model):
    """A place kept for one person, redeemed once through the link in an e-mail."""

    email = models.EmailField("e-mail address")
    supplier = models.ForeignKey(Supplier, on_delete=models.PROTECT, null=True, blank=True)
    role = models.CharField(
        max_length=13,
        choices=SupplierRole,
        blank=True,
        help_text="For a Supplier's people: what they may do.",
    )
    groups = models.ManyToManyField("auth.Group", blank=True, help_text="For DCC staff: what they may do.")
    token_digest = models.CharField(max_length=64, unique=True, editable=False)
    invited_by = models.ForeignKey(User, on_delete=models.PROTECT, related_name="+", editable=False)
    invited_at = models.DateTimeField(editable=False)
    expires_at = models.DateTimeField(editable=False)
    accepted_at = models.DateTimeField(null=True, editable=False)
    accepted_by = models.OneToOneField(
        User, on_delete=models.PROTECT, null=True, related_name="invitation", editable=False
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(accepted_at=None, accepted_by=None)
                | models.Q(accepted_at__isnull=False, accepted_by__isnull=False),
                name="invitation_accepted_at_with_accepted_by",
            ),
            models.CheckConstraint(
                condition=models.Q(supplier=None, role="")
                | models.Q(supplier__isnull=False, role__in=["administrator", "operations", "read-only"]),
                name="invitation_to_a_supplier_has_a_role",
                violation_error_message="A place with a Supplier has a role, and no other place has.",
            ),
            models.UniqueConstraint(
                fields=["email"],
                condition=models.Q(accepted_at=None),
                name="invitation_one_open_per_address",
                violation_error_message="An open invitation for this address exists already.",
            ),
        ]

    def __str__(self) -> str:
        return self.email

    def is_open(self, *, now: datetime) -> bool:
        """Say whether the link still works."""
        return self.accepted_at is None and now < self.expires_at


class Heartbeat(models.Model):
    """
    That a worker or beat process lives, as it said last itself, by the database's clock.

    Written by `portal.heartbeat` alone. A row goes when its process ends as it should, or after a day of silence.
    """

    class Kind(models.TextChoices):
        """What kind of process."""

        WORKER = "worker", "Worker"
        BEAT = "beat", "Beat"

    kind = models.CharField(max_length=6, choices=Kind)
    name = models.CharField(max_length=300, help_text="Host and process id")
    version = models.CharField(max_length=100, help_text="Of the code")
    processes = models.PositiveSmallIntegerField(help_text="Tasks that it can do at a time")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField("last heartbeat")
    doing = models.CharField(max_length=200, blank=True)
    doing_since = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["kind", "name"], name="heartbeat_once_per_process"),
            models.CheckConstraint(
                condition=models.Q(kind__in=["worker", "beat"]), name="heartbeat_kind_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.name}"


class Session(AbstractBaseSession):
    """
    A session: `portal.sessions` alone writes it.

    Its key is the digest of what the browser bears. Before somebody has signed in it is nobody's, and has no times.
    """

    handle = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    """What a page calls it by."""
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="sessions")
    began_at = models.DateTimeField(null=True)
    active_at = models.DateTimeField(null=True)
    idle_after = models.DurationField(null=True)
    address = models.CharField(max_length=45, blank=True)
    browser = models.CharField(max_length=300, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(user=None, began_at=None, active_at=None, idle_after=None)
                | models.Q(
                    user__isnull=False,
                    began_at__isnull=False,
                    active_at__isnull=False,
                    idle_after__isnull=False,
                ),
                name="session_of_a_person_has_its_times",
            ),
        ]

    def __str__(self) -> str:
        return str(self.handle)


class Attempt(models.Model):
    """What is counted or was used, under the digest of its key: `portal.attempts` alone writes it."""

    key = models.CharField(max_length=64, primary_key=True)
    value = models.TextField()
    expires_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return self.key
