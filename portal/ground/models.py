"""The record of who decided what, when and why."""

from django.conf import settings
from django.db import models

from portal.ground import roles


class AuditEntry(models.Model):
    """
    One decision of a person, or of the portal itself where `actor` is empty.

    `role` is what its actor acted in, as `portal.ground.roles.in_words` reads it: empty for the portal itself, and for
    what was recorded before roles were.

    Rows are only ever added: triggers refuse UPDATE, TRUNCATE, and DELETE but by `portal.ground.purges`. Write them
    through `portal.ground.audit.record`, in the transaction of the act that they describe.
    """

    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, db_index=False, related_name="+"
    )
    role = models.CharField(max_length=200, blank=True, default="", db_default="")
    verb = models.CharField(max_length=60)
    subject = models.CharField(max_length=120)
    reason = models.TextField(blank=True)
    facts = models.JSONField(default=dict)
    recorded_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["subject", "id"], name="audit_by_subject"),
            models.Index(fields=["actor", "id"], name="audit_by_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.verb} {self.subject}"

    @property
    def acting_as(self) -> str:
        """Write the role as people do."""
        return roles.in_words(role=self.role)


class AuditLink(models.Model):
    """
    A decision's place in the chain of decisions; the link, 32 bytes, is as `portal.ground.chain` says.

    Rows are only ever added, and purged, as those of the record are.
    """

    number = models.BigIntegerField(primary_key=True)
    entry = models.OneToOneField(
        AuditEntry, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    link = models.BinaryField()
    made_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.number}"


class AuditPending(models.Model):
    """A decision that is in no chain yet: for some seconds. Written by the database itself."""

    entry_id = models.BigIntegerField(primary_key=True)

    def __str__(self) -> str:
        return f"{self.entry_id}"


class AuditHead(models.Model):
    """The one end of the chain: how many links it has, and the last of them."""

    number = models.BigIntegerField()
    link = models.BinaryField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="audit_has_one_head")]

    def __str__(self) -> str:
        return f"{self.number}"


class AuditBase(models.Model):
    """
    Where the chain begins: how many links before it were purged, and the last of them.

    `portal.ground.purges` moves it, as the owner of the tables; no process of the portal may.
    """

    number = models.BigIntegerField()
    link = models.BinaryField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(pk=1), name="audit_has_one_base")]

    def __str__(self) -> str:
        return f"{self.number}"


class RequestKey(models.Model):
    """
    A request that acted, or is about to, under the key that its form carried: `portal.ground.once` alone writes it.

    `body` is the SHA-256 of what it brought; `status` and `location` are the answer, once there is one.
    """

    pk = models.CompositePrimaryKey("user_id", "key")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, db_index=False, related_name="+"
    )
    key = models.UUIDField()
    path = models.TextField()
    body = models.BinaryField()
    begun_at = models.DateTimeField()
    status = models.PositiveSmallIntegerField(null=True)
    location = models.TextField(blank=True, db_default="")

    class Meta:
        indexes = [models.Index(fields=["begun_at"], name="request_key_by_age")]

    def __str__(self) -> str:
        return str(self.key)


class Turn(models.Model):
    """
    Who is at something that one process does at a time: nobody, once `until` is over, by the database's clock.

    Taken and given back by `portal.ground.turns` alone. `token` counts the turns, and says whose this one is.
    """

    name = models.CharField(max_length=40, primary_key=True)
    until = models.DateTimeField()
    token = models.PositiveBigIntegerField()

    def __str__(self) -> str:
        return self.name
