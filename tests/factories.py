"""The least valid row of everything. Each helper's rows follow those that they stand on."""

import factory
from factory.django import DjangoModelFactory

from hubs.modelled_fleet.models import FleetHub, NetworkProfile
from hubs.models import (
    CommunicationsHub,
    FirmwareVersion,
    HubModel,
    HubStatus,
    Network,
    PaymentMode,
    Region,
    Supplier,
)


class NetworkFactory(DjangoModelFactory[Network]):
    """A network beside the four that every portal has; give `code` for one of those."""

    class Meta:
        model = Network
        django_get_or_create = ("code",)

    code = factory.Sequence(lambda number: f"network-{number}")
    name = factory.LazyAttribute(lambda network: network.code.title())


class SupplierFactory(DjangoModelFactory[Supplier]):
    """A Supplier of both fuels."""

    class Meta:
        model = Supplier

    name = factory.Sequence(lambda number: f"Supplier {number}")
    import_participant_id = factory.Sequence(lambda number: f"E{number:03X}")
    gas_participant_id = factory.Sequence(lambda number: f"G{number:03X}")


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
