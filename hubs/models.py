"""The fleet: networks, Suppliers, hub models, and the Communications Hubs themselves."""

from django.db import models
from django.db.models.functions import Coalesce, NullIf


class Network(models.Model):
    """A region's carrier. Capacity belongs to it; a hub can stand in another region."""

    id = models.SmallAutoField(primary_key=True)
    code = models.SlugField(max_length=12, unique=True)
    name = models.CharField(max_length=60, unique=True)
    carrier = models.CharField(max_length=120, blank=True)

    def __str__(self) -> str:
        return self.name


class Supplier(models.Model):
    """An energy company, known in the market by a participant ID for each of its roles."""

    id = models.SmallAutoField(primary_key=True)
    name = models.CharField(max_length=80, unique=True)
    import_participant_id = models.CharField(
        "electricity import participant ID", max_length=4, unique=True, null=True, blank=True
    )
    gas_participant_id = models.CharField(
        "gas participant ID", max_length=4, unique=True, null=True, blank=True
    )
    second_factor_required = models.BooleanField(
        default=False,
        db_default=False,
        editable=False,
        help_text="Whether its people need a second factor to work",
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(import_participant_id__isnull=False)
                | models.Q(gas_participant_id__isnull=False),
                name="supplier_has_a_role",
                violation_error_message="Give at least one participant ID.",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class HubModel(models.Model):
    """A hub model family's member, as the image header names it: manufacturer and image type."""

    id = models.SmallAutoField(primary_key=True)
    name = models.CharField(max_length=60, unique=True)
    manufacturer_name = models.CharField(max_length=60)
    manufacturer = models.PositiveIntegerField("manufacturer code", help_text="0 to 65535")
    image_type = models.PositiveIntegerField(help_text="0 to 65535")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(manufacturer__lte=0xFFFF, image_type__lte=0xFFFF),
                name="hub_model_codes_are_16_bit",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class FirmwareVersion(models.Model):
    """A 32-bit file version, given a small number of its own so that hubs can carry it cheaply."""

    id = models.SmallAutoField(primary_key=True)
    number = models.BigIntegerField(unique=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(number__gte=0, number__lte=0xFFFFFFFF), name="firmware_version_is_32_bit"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number:08X}"


class Region(models.IntegerChoices):
    """Where a hub's site stands; its network can be another region's."""

    NORTH = 1, "North"
    CENTRAL = 2, "Central"
    SOUTH = 3, "South"


class HubStatus(models.IntegerChoices):
    """The status of a hub in the smart metering inventory."""

    PENDING = 1, "Pending"
    WHITELISTED = 2, "Whitelisted"
    INSTALLED_NOT_COMMISSIONED = 3, "Installed, not commissioned"
    COMMISSIONED = 4, "Commissioned"
    SUSPENDED = 5, "Suspended"
    RECOVERY = 6, "Recovery"
    DECOMMISSIONED = 7, "Decommissioned"
    WITHDRAWN = 8, "Withdrawn"


BOOKABLE = (HubStatus.COMMISSIONED, HubStatus.SUSPENDED)
GONE = (HubStatus.DECOMMISSIONED, HubStatus.WITHDRAWN)
SHOWN = (*BOOKABLE, HubStatus.INSTALLED_NOT_COMMISSIONED, HubStatus.RECOVERY)


class PaymentMode(models.IntegerChoices):
    """How the household pays."""

    CREDIT = 1, "Credit"
    PREPAYMENT = 2, "Prepayment"


class CommunicationsHub(models.Model):
    """
    One hub: a CHF and a GPF, each known by an EUI-64 kept as a signed 64-bit number.

    Narrow on purpose (see docs/architecture.md): small numbers instead of names, foreign keys that
    the database does not check, and no index on the installed version or the status, which change
    while hubs are updated. `lead` is worked out by the database: the electricity import Supplier where
    an electricity meter is commissioned, otherwise the gas Supplier. `other` is the second Supplier,
    where there is one.
    """

    chf_id = models.BigIntegerField("CHF ID", primary_key=True)
    gpf_id = models.BigIntegerField("GPF ID")
    mpan = models.BigIntegerField("MPAN", null=True)
    mprn = models.BigIntegerField("MPRN", null=True)
    network = models.ForeignKey(Network, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False)
    model = models.ForeignKey(HubModel, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False)
    installed_version = models.ForeignKey(
        FirmwareVersion, on_delete=models.DO_NOTHING, db_index=False, db_constraint=False
    )
    import_supplier = models.ForeignKey(
        Supplier,
        on_delete=models.DO_NOTHING,
        null=True,
        db_index=False,
        db_constraint=False,
        related_name="+",
    )
    gas_supplier = models.ForeignKey(
        Supplier,
        on_delete=models.DO_NOTHING,
        null=True,
        db_index=False,
        db_constraint=False,
        related_name="+",
    )
    hardware_version = models.SmallIntegerField()
    region = models.SmallIntegerField(choices=Region)
    status = models.SmallIntegerField(choices=HubStatus)
    payment_mode = models.SmallIntegerField(choices=PaymentMode)
    electricity_commissioned = models.BooleanField()
    postcode = models.CharField(max_length=8, blank=True)
    lead_id = models.GeneratedField(
        expression=models.Case(
            models.When(electricity_commissioned=True, then=models.F("import_supplier_id")),
            default=Coalesce(models.F("gas_supplier_id"), models.F("import_supplier_id")),
        ),
        output_field=models.SmallIntegerField(null=True),
        db_persist=True,
    )
    other_id = models.GeneratedField(
        expression=models.Case(
            models.When(
                electricity_commissioned=True,
                then=NullIf(models.F("gas_supplier_id"), models.F("import_supplier_id")),
            ),
            models.When(
                gas_supplier_id__isnull=False,
                then=NullIf(models.F("import_supplier_id"), models.F("gas_supplier_id")),
            ),
            default=None,
        ),
        output_field=models.SmallIntegerField(null=True),
        db_persist=True,
    )

    class Meta:
        verbose_name = "Communications Hub"
        constraints = [
            models.CheckConstraint(
                condition=models.Q(electricity_commissioned=False) | models.Q(import_supplier__isnull=False),
                name="hub_commissioned_electricity_has_supplier",
            ),
            models.CheckConstraint(
                condition=models.Q(import_supplier__isnull=False) | models.Q(gas_supplier__isnull=False),
                name="hub_has_a_supplier",
            ),
            models.CheckConstraint(condition=models.Q(status__in=HubStatus.values), name="hub_status_known"),
            models.CheckConstraint(
                condition=models.Q(payment_mode__in=PaymentMode.values), name="hub_payment_mode_known"
            ),
        ]
        indexes = [
            # a Supplier's pages of hubs, and its bookings
            models.Index(fields=["lead_id", "chf_id"], name="hub_by_lead"),
            models.Index(
                fields=["other_id", "chf_id"], condition=models.Q(other_id__isnull=False), name="hub_by_other"
            ),
            # the filters that a page offers; no hot update touches these columns
            models.Index(fields=["lead_id", "model", "network", "chf_id"], name="hub_by_facet"),
            models.Index(
                fields=["other_id", "model", "network", "chf_id"],
                condition=models.Q(other_id__isnull=False),
                name="hub_by_other_facet",
            ),
            models.Index(fields=["mpan"], condition=models.Q(mpan__isnull=False), name="hub_by_mpan"),
            models.Index(fields=["mprn"], condition=models.Q(mprn__isnull=False), name="hub_by_mprn"),
        ]

    def __str__(self) -> str:
        return f"{self.chf_id & 0xFFFFFFFFFFFFFFFF:016X}"


class ChangeOfSupplier(models.Model):
    """
    A registration change of one hub's meter: from the start of a day in UK time, another Supplier has it.

    Known days ahead, from an import of registrations. Around it the hub is protected, for whoever books: from 18:00
    the day before to the end of the day after (`registrations.protected_span`). Once it has taken effect,
    `applied_at` is set, and it is history.
    """

    class Role(models.IntegerChoices):
        """Of which meter the Supplier changes."""

        IMPORT = 1, "Electricity import"
        GAS = 2, "Gas"

    hub = models.BigIntegerField("CHF ID")
    role = models.SmallIntegerField(choices=Role)
    gaining = models.ForeignKey(Supplier, on_delete=models.PROTECT, db_index=False, related_name="+")
    effective_on = models.DateField(help_text="From 00:00 UK time of this day")
    imported_at = models.DateTimeField()
    applied_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "changes of supplier"
        constraints = [
            # also how the changes of a hub are found; one at a time is ahead for each meter
            models.UniqueConstraint(
                fields=["hub", "role"], condition=models.Q(applied_at=None), name="change_one_ahead_per_meter"
            ),
            models.CheckConstraint(condition=models.Q(role__in=[1, 2]), name="change_role_known"),
        ]
        indexes = [
            models.Index(fields=["effective_on", "hub"], name="change_by_day"),
            models.Index(fields=["hub"], name="change_by_hub"),
            # what the timetable looks for, however long the history grows
            models.Index(fields=["effective_on"], condition=models.Q(applied_at=None), name="change_ahead"),
        ]

    def __str__(self) -> str:
        return f"{self.hub & 0xFFFFFFFFFFFFFFFF:016X}: {self.get_role_display()} from {self.effective_on}"


class FleetCount(models.Model):
    """
    How many hubs share these facts, counted in one pass at `counted_at`.

    Every number of hubs on a page comes from here, since no page may wait on a count of millions.
    Only hubs whose status is shown are counted.
    """

    lead = models.ForeignKey(Supplier, on_delete=models.CASCADE, null=True, related_name="+")
    network = models.ForeignKey(Network, on_delete=models.CASCADE, db_index=False)
    model = models.ForeignKey(HubModel, on_delete=models.CASCADE, db_index=False)
    installed_version = models.ForeignKey(FirmwareVersion, on_delete=models.CASCADE, db_index=False)
    hardware_version = models.SmallIntegerField()
    status = models.SmallIntegerField(choices=HubStatus)
    payment_mode = models.SmallIntegerField(choices=PaymentMode)
    hubs = models.IntegerField()
    counted_at = models.DateTimeField()

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(hubs__gt=0), name="fleet_count_is_positive")]

    def __str__(self) -> str:
        return f"{self.hubs} hubs"
