"""
What the demo shows: a fleet on compressed time, people to sign in as, and releases on their way.

Nothing here is used in production: `fill` refuses to run there, since its password is known to everybody.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import transaction
from django.db.models import Max, Min, Sum

from firmware import images
from firmware.models import AvailabilityPeriod, FirmwareRelease, ReleaseState, SignedAct
from firmware.operations import decisions, groups, releases
from hubs.models import BOOKABLE, FleetCount, HubModel, Network, Supplier
from portal.ground.roles import DccRole, SupplierRole
from portal.models import User
from scheduling.models import Booking, CapacityPattern, Weekday
from scheduling.operations import bookings, notices, selections, slots
from scheduling.queries.plans import Timing

PASSWORD = "a demo needs no secrets"  # noqa: S105 - printed at every start of the demo, and refused in production
SEED = 24
TIME_SCALE = 40.0
"""The modelled fleet lives so many times faster: an image takes half a minute instead of twenty."""
DEFECT = 0.3
"""Which share of the hubs that have it fails, where the demo is asked for a defect: enough that all see it stop."""
FEW_IN_FLIGHT = 10
"""And how many hubs may be in flight at first, so that one can follow how it comes to that."""
SLOT_MINUTES = 5
OPEN_FOR = timedelta(days=28)
POLICY = {
    "notice_before_opening": "0 minutes",
    "minimum_period": "1 day",
    "cut_off": "1 minute",
    "objection_window": "2 minutes",
    "explicit_consent_within": "3 minutes",
    "fair_share_until": "5 minutes",
    "default_allocation_notice": "10 minutes",
    "staging_opens": "10 minutes",
    "grace": "4 minutes",
    "retry_interval": "30 seconds",
    "silence_deadline": "2 minutes",
    "first_reminder": "10 minutes",
    "last_reminder": "3 minutes",
    "stage_sizes": [200, 2_000],
    "soak": "1 minute",
}
"""Minutes where production has days, so that a visitor sees a deployment from booking to outcome."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody to sign in as."""

    email: str
    first_name: str
    last_name: str
    group: str = ""
    supplier: int | None = None
    """Which Supplier, by size, the largest first; DCC staff have none."""
    role: str = SupplierRole.OPERATIONS
    """What a Supplier's person may do."""


ACCOUNTS: Sequence[Account] = (
    Account("author@example.com", "Asha", "Mistry", group=DccRole.AUTHOR),
    Account("approver@example.com", "Bryn", "Hughes", group=DccRole.APPROVER),
    Account("operations@example.com", "Idris", "Vaughan", group=DccRole.OPERATIONS),
    Account("auditor@example.com", "Claire", "Novak", group=DccRole.AUDITOR),
    Account("administrator@example.com", "Hana", "Okoro", group=DccRole.ADMINISTRATOR),
    Account("northern.lights@example.com", "Dipa", "Rowan", supplier=0, role=SupplierRole.ADMINISTRATOR),
    Account("northern.lights.reader@example.com", "Jonas", "Keane", supplier=0, role=SupplierRole.READ_ONLY),
    Account("southern.power@example.com", "Ewan", "Fraser", supplier=1),
    Account("harbour@example.com", "Fiona", "Baker", supplier=2),
    Account("meadow.gas@example.com", "Gareth", "Lloyd", supplier=3),
)
SUPPLIERS = ("Northern Lights Energy", "Southern Power & Gas", "Harbour Energy Supply", "Meadow Gas")


class UnableToFill(Exception):
    """The demo was not filled; the message says why."""


def fill(*, hubs: int, now: datetime, tell: Callable[[str], None], has_defect: bool = False) -> None:
    """
    Fill an empty portal with the demo; leave one that is filled as it is.

    With a defect the first release is for two hub models, breaks some of one of them, and is booked by a Supplier
    already, so that its first slot shows it. `tell` is given each step in a few words.

    :raises UnableToFill: in production
    """
    if not (settings.DEMO or settings.DEBUG):
        raise UnableToFill("The demo's passwords are known to everybody, so it is not made in production.")
    groups.ensure_groups()
    _open_the_fleet()
    if FirmwareRelease.objects.exists():
        tell(_welcome_back(now, has_defect=has_defect))
        return
    if not Supplier.objects.exists():
        tell(f"Making a fleet of {hubs:,} hubs.")
        call_command("load_fleet", hubs=hubs, seed=SEED, time_scale=TIME_SCALE, quiet=True)
    family = _families_by_size()[_STORIES[0].model]
    if has_defect and len(family) == 1:
        tell("Making a hub model that the first release breaks.")
        call_command("add_faulty_twin", model=family[0].name, breaks=_next_version(family), share=DEFECT)
    tell("Making people, capacity and releases.")
    with (
        transaction.atomic()
    ):  # whole or not at all: a start that was interrupted here is made up for by the next
        _make_people()
        _make_capacity(hubs)
        _make_releases(now)
        slots.open_slots(now=now)
        notices.owe_published(now=now)
    if has_defect:
        tell(f"Booking {SUPPLIERS[1]}'s hubs.")
        _book(now)


def _welcome_back(now: datetime, *, has_defect: bool) -> str:
    if has_defect and len(_families_by_size()[_STORIES[0].model]) == 1:
        return "The demo's data is here from an earlier start, without a defect: --fresh --defect makes it with one."
    last = AvailabilityPeriod.objects.filter(release__state=ReleaseState.PUBLISHED).aggregate(
        end=Max("end_at")
    )
    if last["end"] is None or last["end"] <= now:
        return "The demo's data is here, but its releases have closed: --fresh makes new ones."
    return "The demo's data is here from an earlier start; --fresh makes it anew."


def _open_the_fleet() -> None:
    """Let operations staff of the demo see the modelled fleet, and inject faults; in production nobody does."""
    Group.objects.get(name=groups.OPERATIONS).permissions.add(
        *Permission.objects.filter(content_type__app_label="modelled_fleet")
    )


def _make_people() -> None:
    for account in ACCOUNTS:
        supplier = None
        if account.supplier is not None:
            supplier = Supplier.objects.get(name=SUPPLIERS[account.supplier])
        person = User.objects.create_user(
            email=account.email,
            password=PASSWORD,
            first_name=account.first_name,
            last_name=account.last_name,
            supplier=supplier,
            role=account.role if supplier else "",
            is_staff=supplier is None,
        )
        if account.group:
            person.groups.add(Group.objects.get(name=account.group))


def _make_capacity(hubs: int) -> None:
    CapacityPattern.objects.bulk_create(
        CapacityPattern(
            network=network,
            weekday=weekday,
            starts=time(),
            ends=None,
            slot_minutes=SLOT_MINUTES,
            capacity=max(20, hubs // 40),
        )
        for network in Network.objects.order_by("id")
        for weekday in Weekday
    )


@dataclass(frozen=True, slots=True)
class _Story:
    """One of the demo's releases: which models by number of hubs, how far on its way, and what it says."""

    model: int
    name: str
    reach: ReleaseState
    opens: timedelta
    notes: str
    known_issues: str = ""


_STORIES = (
    _Story(
        0,
        "Hub firmware 4.2",
        ReleaseState.PUBLISHED,
        timedelta(seconds=5),
        "Mends a memory leak that makes hubs restart after about 400 days, and shortens the time that a hub needs "
        "to rejoin its network after a power cut.",
        "The hub's clock is up to two minutes off until its first contact after activation.",
    ),
    _Story(
        1,
        "Dual-band hub firmware 2.7",
        ReleaseState.PUBLISHED,
        timedelta(days=2),
        "Improves sub-GHz range in flats by choosing a quieter channel at start-up.",
    ),
    _Story(
        2,
        "Single-band hub firmware 3.1",
        ReleaseState.SUBMITTED,
        timedelta(days=3),
        "Renews the certificates that end in spring.",
    ),
)


def _make_releases(now: datetime) -> None:
    author = User.objects.get(email=ACCOUNTS[0].email)
    approver = User.objects.get(email=ACCOUNTS[1].email)
    families = _families_by_size()
    for number, story in enumerate(_STORIES):
        release = _upload(story, families[story.model % len(families)], number, author, now)
        decisions.submit(release=release, by=author, now=now)
        if story.reach != ReleaseState.PUBLISHED:
            continue
        decisions.sign_off(
            release=release,
            act=SignedAct.PUBLISH,
            revision=release.revision,
            digest=release.digest,
            by=approver,
            now=now,
        )
        decisions.publish(release=release, by=author, now=now)


def _families_by_size() -> list[list[HubModel]]:
    """Return the hub models that take the same images, those with the most hubs first."""
    kinds = FleetCount.objects.values("model__manufacturer", "model__image_type")
    return [
        list(
            HubModel.objects.filter(
                manufacturer=kind["model__manufacturer"], image_type=kind["model__image_type"]
            ).order_by("name")
        )
        for kind in kinds.annotate(total=Sum("hubs"), first=Min("model")).order_by("-total", "first")
    ]


def _installed(family: Sequence[HubModel]) -> list[int]:
    """Return the versions that the bookable hubs of some models run, the oldest first."""
    counts = FleetCount.objects.filter(model__in=family, status__in=BOOKABLE)
    return sorted(set(counts.values_list("installed_version__number", flat=True)))


def _next_version(family: Sequence[HubModel]) -> int:
    return _installed(family)[-1] + 1


def _upload(
    story: _Story, family: Sequence[HubModel], number: int, author: User, now: datetime
) -> FirmwareRelease:
    counts = FleetCount.objects.filter(model__in=family, status__in=BOOKABLE)
    installed = _installed(family)
    version = _next_version(family)
    content = images.build(
        blueprint=images.Blueprint(
            manufacturer=family[0].manufacturer,
            image_type=family[0].image_type,
            version=version,
            payload=180_000,
            text=story.name[:32],
        ),
        seed=SEED + number,
        key=ec.generate_private_key(ec.SECP256R1()),
    )
    return releases.upload(
        particulars=releases.Particulars(
            cpl_entry_id=f"CPL-2026-{410 + number}",
            name=story.name,
            version=version,
            digest=images.inspect(io.BytesIO(content), size_limit=settings.IMAGE_SIZE_LIMIT).digest,
            hub_models=family,
            # all but the oldest: a few hubs show what a version gap looks like
            predecessors=[releases.Step(version=older) for older in installed[1:] or installed],
            notes=story.notes,
            known_issues=story.known_issues,
            contact="Release desk, release.desk@example.com",
            periods=[
                releases.Period(
                    network=network, start_at=now + story.opens, end_at=now + story.opens + OPEN_FOR
                )
                for network in Network.objects.filter(pk__in=counts.values("network").distinct()).order_by(
                    "id"
                )
            ],
            policy=POLICY if len(family) == 1 else {**POLICY, "in_flight_floor": FEW_IN_FLIGHT},
        ),
        content=io.BytesIO(content),
        author=author,
        now=now,
    )


def _book(now: datetime) -> None:
    """Book all hubs of a Supplier for the first release, so that somebody has hubs in its first slots."""
    person = User.objects.get(supplier__name=SUPPLIERS[1])
    assert person.supplier is not None  # noqa: S101 - found by it
    release = FirmwareRelease.objects.get(name=_STORIES[0].name)
    bookings.book(
        selection=selections.choose(
            supplier=person.supplier, release=release, criteria={}, by=person, now=now
        ),
        timing=Timing(Booking.Plan.EARLIEST),
        by=person,
        clock=lambda: now,
    )
