"""The least valid row of everything. Each helper's rows follow those that they stand on."""

from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO

import factory
from factory.django import DjangoModelFactory

from firmware.models import (
    AvailabilityPeriod,
    FirmwareRelease,
    Halt,
    Predecessor,
    ReleaseState,
    RolloutPolicy,
    SignedAct,
    SignOff,
    image_path,
)
from firmware.operations import stored_images
from hubs.modelled_fleet.models import FleetHub, NetworkProfile
from hubs.models import (
    CommunicationsHub,
    FirmwareVersion,
    FleetCount,
    HubModel,
    HubStatus,
    Network,
    PaymentMode,
    Region,
    Supplier,
)
from portal.ground.roles import SupplierRole
from portal.models import User
from scheduling.models import Booking, Lot, Slot

PASSWORD = "correct horse battery staple"


class NetworkFactory(DjangoModelFactory[Network]):
    """A network beside the four that every portal has; give `code` for one of those."""

    class Meta:
        model = Network
        django_get_or_create = ("code",)

    code = factory.Sequence(lambda number: f"network-{number}")
    name = factory.LazyAttribute(lambda network: network.code.title())


LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def three_letters(number: int) -> str:
    """Write a number below 46,656 with three letters or digits: a whole run makes thousands of Suppliers."""
    return LETTERS[number // 1_296] + LETTERS[number // 36 % 36] + LETTERS[number % 36]


class SupplierFactory(DjangoModelFactory[Supplier]):
    """A Supplier of both fuels."""

    class Meta:
        model = Supplier

    name = factory.Sequence(lambda number: f"Supplier {number}")
    import_participant_id = factory.Sequence(lambda number: "E" + three_letters(number))
    gas_participant_id = factory.Sequence(lambda number: "G" + three_letters(number))


class HubModelFactory(DjangoModelFactory[HubModel]):
    """A hub model of a manufacturer with code 0x1234."""

    class Meta:
        model = HubModel

    name = factory.Sequence(lambda number: f"Model {number}")
    manufacturer_name = "Testing Devices"
    manufacturer = 0x1234
    image_type = factory.Sequence(lambda number: number % 0x10000)


class FirmwareVersionFactory(DjangoModelFactory[FirmwareVersion]):
    """A file version; give `number` for one in particular."""

    class Meta:
        model = FirmwareVersion
        django_get_or_create = ("number",)

    number = factory.Sequence(lambda number: 0x02000000 + number)


class CommunicationsHubFactory(DjangoModelFactory[CommunicationsHub]):
    """A commissioned hub on the North network, with electricity alone."""

    class Meta:
        model = CommunicationsHub

    chf_id = factory.Sequence(lambda number: 0x00DB123400000000 + 16 * number)
    gpf_id = factory.LazyAttribute(lambda hub: hub.chf_id + 1)
    network = factory.SubFactory(NetworkFactory, code="north")
    model = factory.SubFactory(HubModelFactory)
    installed_version = factory.SubFactory(FirmwareVersionFactory)
    import_supplier = factory.SubFactory(SupplierFactory)
    gas_supplier = None
    hardware_version = 1
    region = Region.NORTH
    status = HubStatus.COMMISSIONED
    payment_mode = PaymentMode.CREDIT
    electricity_commissioned = True


class NetworkProfileFactory(DjangoModelFactory[NetworkProfile]):
    """A network whose hubs answer at once and never fail."""

    class Meta:
        model = NetworkProfile
        django_get_or_create = ("network",)

    network = factory.SubFactory(NetworkFactory, code="north")
    reachability = 1.0
    never_reached = 0.0
    read_delay = stage_delay = activate_delay = verify_delay = delay_spread = 0.0
    transfer_failed = hash_mismatch = verification_failed = activation_failed = silent_activation = 0.0
    report_dropped = report_doubled = report_delayed = report_delay = stale_inventory = 0.0


class FleetHubFactory(DjangoModelFactory[FleetHub]):
    """A modelled hub on the North network."""

    class Meta:
        model = FleetHub

    chf_id = factory.Sequence(lambda number: 0x00DB567800000000 + 16 * number)
    network = factory.SubFactory(NetworkFactory, code="north")
    model = factory.SubFactory(HubModelFactory)
    hardware_version = 1
    running_version = 0x02000001


class UserFactory(DjangoModelFactory[User]):
    """A person of DCC, with `PASSWORD`; give `supplier` for a Supplier's."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    email = factory.Sequence(lambda number: f"person{number}@portal.example")
    first_name = "Maya"
    last_name = factory.Sequence(lambda number: f"Okafor {number}")
    password = factory.django.Password(PASSWORD)
    supplier = None
    is_staff = factory.LazyAttribute(lambda user: user.supplier is None)
    role = factory.LazyAttribute(lambda user: SupplierRole.OPERATIONS if user.supplier else "")


class FirmwareReleaseFactory(DjangoModelFactory[FirmwareRelease]):
    """
    A draft without hub models, predecessors, periods or policy; `published=True` and its like move it on.

    Give `content` (bytes) to store an image with it; otherwise there is no file behind its name.
    """

    class Meta:
        model = FirmwareRelease

    class Params:
        content = None
        submitted = factory.Trait(
            state=ReleaseState.SUBMITTED,
            submitter=factory.SelfAttribute("author"),
            submitted_at=datetime(2026, 1, 1, 1, tzinfo=UTC),
        )
        published = factory.Trait(
            submitted=True, state=ReleaseState.PUBLISHED, published_at=datetime(2026, 1, 1, 2, tzinfo=UTC)
        )
        halted = factory.Trait(published=True, state=ReleaseState.HALTED)

    cpl_entry_id = factory.Sequence(lambda number: f"CPL-{number}")
    name = factory.Sequence(lambda number: f"Release {number}")
    version = factory.SubFactory(FirmwareVersionFactory)
    manufacturer = 0x1234
    image_type = 1
    digest = factory.LazyAttributeSequence(
        lambda release, number: sha256(release.content or str(number).encode()).hexdigest()
    )
    size = factory.LazyAttribute(lambda release: len(release.content or b"-"))
    image = factory.LazyAttribute(
        lambda release: (
            stored_images.store(content=BytesIO(release.content), digest=release.digest)
            if release.content
            else image_path(FirmwareRelease(digest=release.digest), "")
        )
    )
    notes = "Mends the clock."
    contact = "Release desk"
    author = factory.SubFactory(UserFactory)
    created_at = datetime(2026, 1, 1, tzinfo=UTC)


class PredecessorFactory(DjangoModelFactory[Predecessor]):
    """A version over which a release may be installed."""

    class Meta:
        model = Predecessor

    release = factory.SubFactory(FirmwareReleaseFactory)
    version = factory.SubFactory(FirmwareVersionFactory)


class AvailabilityPeriodFactory(DjangoModelFactory[AvailabilityPeriod]):
    """Spring of 2026 on the North network."""

    class Meta:
        model = AvailabilityPeriod

    release = factory.SubFactory(FirmwareReleaseFactory)
    network = factory.SubFactory(NetworkFactory, code="north")
    start_at = datetime(2026, 3, 1, tzinfo=UTC)
    end_at = datetime(2026, 6, 1, tzinfo=UTC)


class RolloutPolicyFactory(DjangoModelFactory[RolloutPolicy]):
    """The defaults of a normal release."""

    class Meta:
        model = RolloutPolicy

    release = factory.SubFactory(FirmwareReleaseFactory)
    stage_sizes = factory.LazyFunction(lambda: [50, 500, 5_000, 50_000])


class SignOffFactory(DjangoModelFactory[SignOff]):
    """Agreement of a third person to publish a submitted release as it is."""

    class Meta:
        model = SignOff

    release = factory.SubFactory(FirmwareReleaseFactory, submitted=True)
    act = SignedAct.PUBLISH
    revision = factory.SelfAttribute("release.revision")
    digest = factory.SelfAttribute("release.digest")
    signed_by = factory.SubFactory(UserFactory)
    author = factory.SelfAttribute("release.author")
    submitter = factory.SelfAttribute("release.submitter")
    signed_at = datetime(2026, 1, 1, 1, 30, tzinfo=UTC)


class HaltFactory(DjangoModelFactory[Halt]):
    """A halt that stands, by the portal itself."""

    class Meta:
        model = Halt

    release = factory.SubFactory(FirmwareReleaseFactory, halted=True)
    reason = "Too many hubs were silent."
    halted_at = datetime(2026, 4, 1, tzinfo=UTC)


class FleetCountFactory(DjangoModelFactory[FleetCount]):
    """Ten commissioned hubs of one Supplier on the North network."""

    class Meta:
        model = FleetCount

    lead = factory.SubFactory(SupplierFactory)
    network = factory.SubFactory(NetworkFactory, code="north")
    model = factory.SubFactory(HubModelFactory)
    installed_version = factory.SubFactory(FirmwareVersionFactory)
    hardware_version = 1
    status = HubStatus.COMMISSIONED
    payment_mode = PaymentMode.CREDIT
    hubs = 10
    counted_at = datetime(2026, 1, 1, tzinfo=UTC)


class SlotFactory(DjangoModelFactory[Slot]):
    """An hour of the North network with room for ten hubs."""

    class Meta:
        model = Slot

    network = factory.SubFactory(NetworkFactory, code="north")
    start_at = datetime(2026, 4, 1, 2, tzinfo=UTC)
    end_at = datetime(2026, 4, 1, 3, tzinfo=UTC)
    capacity = 10


class BookingFactory(DjangoModelFactory[Booking]):
    """A booking by DCC of one hub, placed."""

    class Meta:
        model = Booking

    reference = factory.Sequence(lambda number: f"BK-{number:09}")
    origin = Booking.Origin.DEFAULT
    supplier = factory.SubFactory(SupplierFactory)
    release = factory.SubFactory(FirmwareReleaseFactory, published=True)
    plan = Booking.Plan.EARLIEST
    hubs = 1
    created_at = datetime(2026, 3, 2, tzinfo=UTC)
    placed_at = datetime(2026, 3, 2, tzinfo=UTC)


class LotFactory(DjangoModelFactory[Lot]):
    """A lot for one booked hub, whose deployment is not written."""

    class Meta:
        model = Lot

    booking = factory.SubFactory(BookingFactory)
    release = factory.SelfAttribute("booking.release")
    supplier = factory.SelfAttribute("booking.supplier")
    slot = factory.SubFactory(SlotFactory)
    network = factory.SelfAttribute("slot.network")
    size = 1
    booked = 1
    staging_from = datetime(2026, 3, 29, 2, tzinfo=UTC)
    change_until = datetime(2026, 3, 30, tzinfo=UTC)
