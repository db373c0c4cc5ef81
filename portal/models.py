"""The people who sign in: DCC staff, or the staff of one Supplier, never both; and the processes that live."""

from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models

from hubs.models import Supplier
from portal.ground import roles
from portal.ground.roles import SupplierRole


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
