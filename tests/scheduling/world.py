"""A small world to book and carry out in: one release, hubs of two Suppliers, slots, and a fleet that answers."""

import io
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from django.db import connection

from firmware import images
from firmware.models import FirmwareRelease, Halt, Part, ReleaseState, SignedAct
from firmware.operations import decisions, releases
from firmware.operations.groups import ensure_groups
from hubs.gateway import HubGateway, connect
from hubs.modelled_fleet.models import FleetHub
from hubs.models import CommunicationsHub, FirmwareVersion, HubModel, Network, Supplier
from portal.models import User
from scheduling.models import Booking, HubSelection, ProtectedHub, ProtectedWindow, Slot
from scheduling.operations import bookings, deployments, selections, stages
from scheduling.planning import Hours
from scheduling.queries.plans import Timing
from tests import factories

OLD = 0x01000001
NEW = 0x01000002
SLOT = timedelta(hours=1)


@dataclass
class Clock:
    """A clock that a test moves."""

    moment: datetime

    def __call__(self) -> datetime:
        return self.moment

    def move(self, **span: float) -> datetime:
        """Let time pass."""
        self.moment += timedelta(**span)
        return self.moment


@dataclass
class World:
    """Everything that a test of the scheduling app stands on."""

    clock: Clock
    network: Network
    model: HubModel
    northern: Supplier
    southern: Supplier
    release: FirmwareRelease
    person: User
    staff: User
    approver: User
    slots: list[Slot] = field(default_factory=list)

    def hubs(
        self, number: int, *, supplier: Supplier | None = None, **facts: object
    ) -> list[CommunicationsHub]:
        """Add commissioned hubs that run the old version, to the inventory and to the fleet."""
        hubs = factories.CommunicationsHubFactory.build_batch(
            number,
            **{
                "network": self.network,
                "model": self.model,
                "installed_version": FirmwareVersion.objects.get(number=OLD),
                "import_supplier": supplier or self.northern,
                **facts,
            },
        )
        CommunicationsHub.objects.bulk_create(hubs)
        FleetHub.objects.bulk_create(
            FleetHub(
                chf_id=hub.chf_id,
                network=self.network,
                model=hub.model,
                hardware_version=hub.hardware_version,
                running_version=OLD,
            )
            for hub in hubs
        )
        return hubs

    def shared(self, number: int, **facts: object) -> list[CommunicationsHub]:
        """Add hubs that the northern Supplier leads and whose gas is the southern Supplier's."""
        return self.hubs(number, gas_supplier=self.southern, **facts)

    def slot(self, *, start: timedelta, room: int, length: timedelta = SLOT) -> Slot:
        """Open a slot that begins so long from now."""
        at = self.clock() + start
        slot = Slot.objects.create(network=self.network, start_at=at, end_at=at + length, capacity=room)
        self.slots.append(slot)
        return slot

    def protect(
        self,
        *,
        start: timedelta | None = None,
        length: timedelta = SLOT,
        hubs: Sequence[CommunicationsHub] = (),
        **facts: Any,
    ) -> ProtectedWindow:
        """Keep a hard window of the northern Supplier that begins so long from now; `facts` may say otherwise."""
        span = {"start_at": self.clock() + start, "end_at": self.clock() + start + length} if start else {}
        window = ProtectedWindow.objects.create(
            **{
                "supplier": self.northern,
                "kind": ProtectedWindow.Kind.TARIFF,
                "reason": "Spring tariff",
                "scope": ProtectedWindow.Scope.HUBS if hubs else ProtectedWindow.Scope.ALL,
                "hubs": len(hubs),
                "made_by": self.person,
                "created_at": self.clock(),
                **span,
                **facts,
            }
        )
        ProtectedHub.objects.bulk_create(ProtectedHub(window=window, hub=hub.chf_id) for hub in hubs)
        return window

    def choose(self, **criteria: Sequence[int]) -> HubSelection:
        """Choose all remaining hubs of the northern Supplier, or those that match."""
        return selections.choose(
            supplier=self.northern, release=self.release, criteria=criteria, by=self.person, now=self.clock()
        )

    def choose_ids(self, text: str, *, supplier: Supplier | None = None) -> HubSelection:
        """Choose the hubs that a file names."""
        return selections.choose_from_file(
            supplier=supplier or self.northern,
            release=self.release,
            file=io.BytesIO(text.encode()),
            name="hubs.csv",
            by=self.person,
            now=self.clock(),
        )

    def book(
        self,
        selection: HubSelection | None = None,
        *,
        start_at: datetime | None = None,
        last_start_at: datetime | None = None,
        hours: Hours | None = None,
    ) -> Booking:
        """Book as early as possible, in the slot that begins at `start_at`, between two, or spread over hours."""
        plan = Booking.Plan.EARLIEST
        if hours:
            plan = Booking.Plan.SPREAD
        elif start_at:
            plan = Booking.Plan.RANGE if last_start_at else Booking.Plan.ONE_SLOT
        return bookings.book(
            selection=selection or self.choose(),
            timing=Timing(plan, start_at=start_at, last_start_at=last_start_at, hours=hours),
            by=self.person,
            clock=self.clock,
        )

    def resume(self, *, reason: str, halt: Halt | None = None, leaves_out: Collection[Part] = ()) -> None:
        """Have two people resume the release, or end one halt of a part of it."""
        release = FirmwareRelease.objects.get(pk=self.release.pk)
        decisions.sign_off(
            release=release,
            act=SignedAct.RESUME,
            revision=release.revision,
            digest=release.digest,
            by=self.approver,
            now=self.clock(),
            halt=halt,
            leaves_out=leaves_out,
        )
        decisions.resume(release=release, by=self.staff, reason=reason, now=self.clock(), halt=halt)

    def work(self, *, gateway: HubGateway | None = None, rounds: int = 20) -> None:
        """Let the workers do whatever is due now, until nothing is."""
        gateway = gateway or connect()
        for _ in range(rounds):
            done = deployments.carry_out(gateway=gateway, clock=self.clock, lots=1_000)
            done += deployments.collect(gateway=gateway, clock=self.clock)
            if not done + stages.advance(now=self.clock()):
                return


def make(*, now: datetime) -> World:
    """Make the world: a published release from OLD to NEW, open for 60 days on the North network."""
    ensure_groups()
    network = factories.NetworkProfileFactory.create().network
    model = factories.HubModelFactory.create()
    for number in (OLD, NEW):
        factories.FirmwareVersionFactory.create(number=number)
    northern = factories.SupplierFactory.create(name="Northern")
    southern = factories.SupplierFactory.create(name="Southern")
    staff = User.objects.create_user(email="staff@dcc.example.com", is_staff=True, is_superuser=True)
    approver = User.objects.create_user(email="approver@dcc.example.com", is_staff=True, is_superuser=True)
    clock = Clock(now)
    release = publish(model=model, network=network, staff=staff, approver=approver, now=now)
    return World(
        clock=clock,
        network=network,
        model=model,
        northern=northern,
        southern=southern,
        release=release,
        person=User.objects.create_user(email="person@northern.example.com", supplier=northern),
        staff=staff,
        approver=approver,
    )


def publish(
    *, model: HubModel, network: Network, staff: User, approver: User, now: datetime, version: int = NEW
) -> FirmwareRelease:
    """Take a release the whole way, from its image to its publication."""
    content = images.build(
        blueprint=images.Blueprint(
            manufacturer=model.manufacturer, image_type=model.image_type, version=version, payload=2_000
        ),
        seed=version,
        key=ec.generate_private_key(ec.SECP256R1()),
    )
    release = releases.upload(
        particulars=releases.Particulars(
            cpl_entry_id=f"CPL-{version:08X}",
            name="Spring release",
            version=version,
            digest=images.inspect(io.BytesIO(content), size_limit=750_000).digest,
            hub_models=[model],
            predecessors=[releases.Step(version=OLD)],
            notes="Mends the clock.",
            contact="releases@dcc.example.com",
            periods=[
                releases.Period(
                    network=network, start_at=now + timedelta(minutes=1), end_at=now + timedelta(days=60)
                )
            ],
            policy={
                "notice_before_opening": "0 minutes",
                "cut_off": "1 hours",
                "staging_opens": "4 hours",
                "reserve_percent": 0,
                "soak": "0 minutes",
                # these worlds are rough, and few of them are about the early warning
                "tolerated_bad_percent": "33",
            },
        ),
        content=io.BytesIO(content),
        author=staff,
        now=now,
    )
    decisions.submit(release=release, by=staff, now=now)
    decisions.sign_off(
        release=release,
        act=SignedAct.PUBLISH,
        revision=release.revision,
        digest=release.digest,
        by=approver,
        now=now,
    )
    decisions.publish(release=release, by=staff, now=now)
    release = FirmwareRelease.objects.get(pk=release.pk)
    assert release.state == ReleaseState.PUBLISHED
    return release


def forget_deployments() -> None:
    """Delete all deployments, past what keeps them: as if they had never been written."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE scheduling_deployment DISABLE TRIGGER deployment_is_kept")
        cursor.execute("DELETE FROM scheduling_deployment")
        cursor.execute("DELETE FROM scheduling_tallychange")
        cursor.execute("DELETE FROM scheduling_tally")
        cursor.execute("DELETE FROM scheduling_outcometally")
        cursor.execute("DELETE FROM scheduling_warningsign")
        cursor.execute("DELETE FROM scheduling_badhub")
        cursor.execute("ALTER TABLE scheduling_deployment ENABLE TRIGGER deployment_is_kept")


@contextmanager
def in_no_stage() -> Iterator[None]:
    """Let hubs be activated in no stage, and in no budget, as before there were any."""
    trigger = "TRIGGER deployment_activated_in_a_stage"
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE scheduling_deployment DISABLE {trigger}")
        yield
        cursor.execute(f"ALTER TABLE scheduling_deployment ENABLE {trigger}")
