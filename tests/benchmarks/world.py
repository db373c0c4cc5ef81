"""What the benchmarks stand on: a fleet, a release for all of it, a Supplier's person, a month of slots."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from types import MappingProxyType
from typing import Any

from django.core.management import call_command
from django.db import connection
from django.db.models import Sum

from firmware.models import FirmwareRelease, ReleaseState
from hubs.models import FirmwareVersion, FleetCount, HubModel, Network, PaymentMode, Supplier
from hubs.operations import count_fleet
from portal.ground import clock, sql
from portal.models import User
from scheduling.models import CapacityPattern, HubSelection, Maintenance, ProtectedWindow, Weekday
from scheduling.operations import selections, slots
from scheduling.queries import eligibility
from tests import factories
from tests.benchmarks import database

Tell = Callable[[str], None]
SEED = 24
NEWEST = 0x7F000000
NIGHTS = timedelta(days=29)
HALF_DAY = timedelta(hours=12)
SLOT_MINUTES = 60
HUBS_PER_SLOT = 1_000
SLOTS = 28 * 24


@dataclass(frozen=True, slots=True)
class World:
    """The largest Supplier, a person of it, and a release that every hub of the fleet may take."""

    supplier: Supplier
    person: User
    release: FirmwareRelease

    def choose(self, **criteria: list[int]) -> HubSelection:
        """Choose all hubs that the Supplier has left, or those that match."""
        return selections.choose(
            supplier=self.supplier, release=self.release, criteria=criteria, by=self.person, now=clock.now()
        )


def make(
    *,
    hubs: int,
    room: int,
    tell: Tell,
    content: bytes | None = None,
    policy: Mapping[str, Any] = MappingProxyType({}),
) -> World:
    """
    Make a fleet of so many hubs, and slots of an hour with room for at least `room` on every network.

    The image of the release is stored if there is `content`; otherwise nothing can be staged. `policy` has what its
    policy says beyond the ordinary.
    """
    tell(f"making a fleet of {hubs:,} hubs")
    call_command("load_fleet", hubs=hubs, seed=SEED, quiet=True)
    now = clock.now()
    leads = FleetCount.objects.filter(lead__isnull=False).values("lead").annotate(led=Sum("hubs"))
    supplier = Supplier.objects.get(pk=leads.order_by("-led").values_list("lead", flat=True)[0])
    release = _release(now, content, policy)
    CapacityPattern.objects.bulk_create(
        CapacityPattern(
            network=network,
            weekday=weekday,
            starts=time(),
            slot_minutes=SLOT_MINUTES,
            capacity=max(HUBS_PER_SLOT, -(-room // SLOTS)),
        )
        for network in _networks()
        for weekday in Weekday
    )
    slots.open_slots(now=now)
    database.tidy("scheduling_slot")
    return World(supplier, factories.UserFactory.create(supplier=supplier), release)


def _networks() -> list[Network]:
    return list(Network.objects.filter(pk__in=FleetCount.objects.values("network")).order_by("pk"))


def _release(now: datetime, content: bytes | None, policy: Mapping[str, Any]) -> FirmwareRelease:
    """Publish a release over every installed version of every model on every network."""
    installed = list(FirmwareVersion.objects.order_by("pk"))
    release = factories.FirmwareReleaseFactory.create(
        content=content, version=factories.FirmwareVersionFactory.create(number=NEWEST)
    )
    release.hub_models.set(HubModel.objects.all())
    for version in installed:
        factories.PredecessorFactory.create(release=release, version=version)
    for network in _networks():
        factories.AvailabilityPeriodFactory.create(
            release=release, network=network, start_at=now, end_at=now + NIGHTS
        )
    factories.RolloutPolicyFactory.create(
        **{"release": release, "cut_off": "1 hours", "staging_opens": "4 hours", **policy}
    )
    # only now: its parts are frozen with it
    draft = FirmwareRelease.objects.filter(pk=release.pk)
    draft.move(ReleaseState.DRAFT, ReleaseState.SUBMITTED, submitter=release.author, submitted_at=now)
    draft.move(ReleaseState.SUBMITTED, ReleaseState.PUBLISHED, published_at=now)
    return FirmwareRelease.objects.get(pk=release.pk)  # the spans of its policy read as spans


# one hub in a hundred, by a hash: what is concerned is spread over the whole fleet
LIST = """
WITH listed AS (
    INSERT INTO scheduling_protectedhub (window_id, hub)
    SELECT %(window)s, chf_id FROM hubs_communicationshub
    WHERE lead_id = %(supplier)s AND hashint8(chf_id) %% 100 = 7
    RETURNING hub)
UPDATE scheduling_protectedwindow SET hubs = (SELECT count(*) FROM listed) WHERE id = %(window)s
"""
CHANGES = """
INSERT INTO hubs_changeofsupplier (hub, role, gaining_id, effective_on, imported_at)
SELECT chf_id, 1, %(gaining)s, %(first)s + abs(hashint8(chf_id + 1)) %% %(days)s, %(now)s
FROM hubs_communicationshub WHERE hashint8(chf_id) %% 100 = 3
"""


def protect(*, world: World, tell: Tell) -> None:
    """
    Keep what a full month has: maintenance, everybody's weekly and one-off windows, a list, changes of supplier.

    Prepayment hubs are left alone in the evenings, one hub in a hundred by a list, another one changes its Supplier,
    and each other Supplier closes one morning of the week for all its hubs.
    """
    tell("keeping protected windows and changes of supplier")
    now = clock.now()
    kept = {"made_by": world.person, "created_at": now, "kind": "other", "reason": "As every month"}
    evening = {
        "starts": time(17),
        "ends": time(22),
        "scope": "payment_mode",
        "payment_mode": PaymentMode.PREPAYMENT,
    }
    windows = [
        ProtectedWindow(supplier=world.supplier, weekdays=0b0011111, **evening, **kept),
        ProtectedWindow(
            supplier=world.supplier,
            scope="all",
            start_at=now + NIGHTS / 4,
            end_at=now + NIGHTS / 4 + HALF_DAY,
            **kept,
        ),
        ProtectedWindow(
            supplier=world.supplier,
            scope="network",
            network=_networks()[0],
            is_hard=False,
            start_at=now + NIGHTS - HALF_DAY,
            end_at=now + NIGHTS,
            **kept,
        ),
    ]
    for number, other in enumerate(Supplier.objects.exclude(pk=world.supplier.pk).order_by("pk")):
        morning = {"starts": time(7), "ends": time(11), "weekdays": 1 << number % 7}
        windows.append(ProtectedWindow(supplier=other, scope="all", **morning, **kept))
        windows.append(ProtectedWindow(supplier=other, weekdays=0b1111111, **evening, **kept))
    ProtectedWindow.objects.bulk_create(windows)
    listed = ProtectedWindow.objects.create(
        supplier=world.supplier, scope="hubs", hubs=1, start_at=now, end_at=now + 4 * HALF_DAY, **kept
    )
    Maintenance.objects.bulk_create(
        Maintenance(
            network=network, start_at=now + NIGHTS / 2, end_at=now + NIGHTS / 2 + HALF_DAY / 2, reason="Mast"
        )
        for network in _networks()
    )
    sql.run(LIST, {"window": listed.pk, "supplier": world.supplier.pk})
    sql.run(
        CHANGES,
        {"gaining": world.supplier.pk, "first": now.date(), "days": NIGHTS.days, "now": now},
    )
    database.tidy("scheduling_protectedhub", "hubs_changeofsupplier")


def leave(*, world: World, hubs: int, tell: Tell) -> None:
    """
    Let the Supplier have exactly so many hubs left to book; the others run the release already.

    :raises UnableToMeasure: if the Supplier has too few
    """
    chosen, parameters = eligibility.chosen_hubs(selection=world.choose(), now=clock.now())
    tell(f"leaving {hubs:,} hubs to book")
    with connection.cursor() as cursor:
        cursor.execute(
            f"CREATE TEMPORARY TABLE left_hub AS SELECT hub FROM ({chosen}) judged WHERE refusal IS NULL",
            parameters,
        )
        cursor.execute("SELECT count(*) FROM left_hub")
        if (have := cursor.fetchone()[0]) < hubs:
            raise database.UnableToMeasure(
                f"The largest Supplier of this fleet leads {have:,} hubs that it can book, fewer than "
                f"{hubs:,}: ask for a larger one with --fleet."
            )
        cursor.execute(  # by a hash: what is left is spread over the whole fleet
            """UPDATE hubs_communicationshub SET installed_version_id = %s WHERE chf_id IN
               (SELECT hub FROM left_hub ORDER BY hashint8(hub), hub OFFSET %s)""",
            [world.release.version_id, hubs],
        )
        cursor.execute("DROP TABLE left_hub")
    count_fleet(now=clock.now())
    database.tidy("hubs_communicationshub", "hubs_fleetcount")
