"""One of everything that a page can show, in a fleet of millions: who asks, and the address of every page."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Sum
from django.urls import reverse

from firmware.operations.groups import ensure_groups
from hubs.identifiers import format_eui64
from hubs.models import CommunicationsHub, FleetCount
from portal.ground import clock, sql
from portal.models import User
from scheduling.lifecycle import State
from scheduling.models import Booking, Deployment, Notice, Slot
from scheduling.operations import bookings
from scheduling.queries.plans import Timing
from tests import factories
from tests.benchmarks import database
from tests.benchmarks import world as worlds
from tests.benchmarks.record import DECIDE
from tests.benchmarks.world import Tell
from tests.portal.every_page import NO_PAGES, PAGES
from tests.portal.matrix import Cast, read
from tests.portal.test_matrix import DECISIONS, TABLE_OF, TABLES, table_address
from tests.scheduling.world import OLD, SLOT, Clock, World

SUPPLIER, STAFF, STRANGER = "northern administrator", "superuser", "a stranger"
PARTS = {"progress", "check, counted"}
"""What a page asks for by itself once it is there: measured, but nobody waits for it to begin to read."""
DECISIONS_PER_HUB, NOTICES_PER_HUB, EXCEPTIONS_PER_HUB = 0.1, 0.01, 0.01
SHOWN = {"list": "changelist", "add": "add", "see": "change", "history": "history"}
"""The ways of a table that are pages, by Django's names."""


class LargeWorld(World):
    """A world whose slots are a whole month's: nothing opens another."""

    def slot(self, *, start: timedelta, room: int, length: timedelta = SLOT) -> Slot:
        """Return the first slot that begins so long from now."""
        at = self.clock() + start
        return Slot.objects.filter(network=self.network, start_at__gte=at).earliest("start_at")


@dataclass(frozen=True, slots=True)
class Everything:
    """People who ask, by name, and every page with its address, by whom it is for."""

    people: Mapping[str, User | None]
    pages: Mapping[str, Mapping[str, str]]
    booked: int


def make(*, hubs: int, tell: Tell) -> Everything:
    """
    Make a fleet of so many hubs with a busy month, and one of everything of its largest Supplier's.

    That Supplier has booked what it has on one network, and chosen all the rest.
    """
    ensure_groups()
    factories.FirmwareVersionFactory.create(number=OLD)  # what the hubs of the matrix run
    large = worlds.make(hubs=hubs, room=hubs, tell=tell)
    worlds.protect(world=large, tell=tell)
    network = FleetCount.objects.filter(lead=large.supplier).order_by("network")[0].network
    tell("making one of everything")
    cast = Cast(
        LargeWorld(
            clock=Clock(clock.now()),
            network=network,
            model=large.release.hub_models.order_by("pk")[0],
            northern=large.supplier,
            southern=factories.SupplierFactory.create(name="Southern"),
            release=large.release,
            person=large.person,
            staff=User.objects.create_user(
                email="staff@dcc.example.com", is_staff=True, is_superuser=True, password=factories.PASSWORD
            ),
            approver=User.objects.create_user(
                email="approver@dcc.example.com",
                is_staff=True,
                is_superuser=True,
                password=factories.PASSWORD,
            ),
        )
    )
    cast.rows  # noqa: B018 - made before there are millions
    tell("booking a part")
    cast.booking = bookings.book(
        selection=large.choose(network=[network.pk]),
        timing=Timing(Booking.Plan.EARLIEST),
        by=large.person,
        clock=clock.now,
    )
    cast.selection = large.choose()
    tell("deciding, noticing and failing for months")
    _go_on_for_months(hubs, cast)
    people = {name: person for column in cast.people.values() for name, person in column.items()}
    return Everything(
        people={name: people[name] for name in (SUPPLIER, STAFF, STRANGER)},
        pages=_pages(cast),
        booked=cast.booking.hubs,
    )


NOTICES = """
INSERT INTO scheduling_notice (kind, subject_key, address, supplier_id, context, owed_at, next_try_at, token, attempts,
                               last_error, sent_at, message_id, subject, text, html, calendar)
SELECT kind, subject_key || number, number || address, supplier_id, context, owed_at, NULL, token, 1, last_error,
       owed_at, number || message_id, 'A subject', 'A text', 'A text', calendar
FROM scheduling_notice, generate_series(1, %(notices)s) AS number WHERE id = %(like)s
"""
EXCEPTIONS = """
INSERT INTO scheduling_hubexception (release_id, hub, why, supplier_id, network_id, raised_at, how)
SELECT %(release)s, chf_id, (ARRAY['no_slot', 'missed_twice', 'failed'])[1 + abs(hashint8(chf_id)) %% 3], lead_id,
       network_id, %(now)s, ''
FROM hubs_communicationshub WHERE lead_id IS NOT NULL ORDER BY hashint8(chf_id), chf_id LIMIT %(exceptions)s
ON CONFLICT DO NOTHING
"""


def _go_on_for_months(hubs: int, cast: Cast) -> None:
    """Fill what grows with the fleet and the years: the record, the e-mails, the exceptions."""
    now = clock.now()
    sql.run(DECIDE, {"hubs": int(hubs * DECISIONS_PER_HUB), "now": now})
    sql.run(NOTICES, {"notices": int(hubs * NOTICES_PER_HUB), "like": cast.row(Notice).pk})
    sql.run(
        EXCEPTIONS,
        {"release": cast.world.release.pk, "exceptions": int(hubs * EXCEPTIONS_PER_HUB), "now": now},
    )
    with_rows = (
        *("deployment", "lot", "slot", "booking", "notice", "hubexception", "hubselection", "unplacedhub"),
    )
    database.tidy("hubs_fleetcount", "ground_auditentry", *(f"scheduling_{name}" for name in with_rows))


def _pages(cast: Cast) -> dict[str, dict[str, str]]:
    """Return every page by whom it is for; lists also in their middle and under filters."""
    pages = {
        who: {
            _short(name): f"/{address.lstrip('/')}"
            for make in makers
            for name, address in make(cast).items()
            if name not in NO_PAGES
        }
        for who, makers in PAGES.items()
    }
    pages[SUPPLIER] |= _of_lists(cast) | {
        "progress": reverse("scheduling:progress", args=[cast.booking.reference]),
        "check, counted": f"{reverse('scheduling:check', args=[cast.selection.pk])}?plan=earliest&counted=yes",
    }
    pages[STAFF] |= _of_tables(cast) | _of_decisions(cast)
    return pages


def _short(name: str) -> str:
    return name.removeprefix("scheduling:")


def _of_tables(cast: Cast) -> dict[str, str]:
    """Return the pages of every table of the admin that the superuser may see."""
    return {
        f"admin {line.route.partition('.')[2]} {way}": table_address(TABLE_OF[line.route], SHOWN[way], cast)
        for line in read(TABLES)
        for way in line.verbs
        if way in SHOWN and line.answers["superuser"] == "200"
    }


def _of_decisions(cast: Cast) -> dict[str, str]:
    """Return the page of each decision about a release that can be taken now."""
    return {
        f"release {line.route}": reverse(
            "admin:firmware_firmwarerelease_decide", args=[cast.world.release.pk, line.route]
        )
        for line in read(DECISIONS)
        if line.verbs == ("GET",)
    }


def _of_lists(cast: Cast) -> dict[str, str]:
    """Return the lists of a Supplier's hubs and of a booking's where they are longest, and where they find least."""
    hubs = reverse("scheduling:hubs")
    northern = cast.world.northern
    counts = FleetCount.objects.filter(lead=northern)
    often = _combination(counts.values("network", "model"), "-")
    rare = _combination(counts.values("installed_version", "status", "payment_mode"), "")
    version = _combination(counts.values("installed_version"), "")
    led = CommunicationsHub.objects.filter(lead_id=northern.pk)
    middle = led.order_by("chf_id")[led.count() // 2]
    booked = Deployment.objects.order_by("id")
    halfway = booked[booked.count() // 2]
    with_mpan = led.exclude(mpan=None).first()
    assert with_mpan
    booked_hubs = reverse("scheduling:booked-hubs", args=[cast.booking.reference])
    return {
        "booked hubs, middle": f"{booked_hubs}?after={halfway.pk}",
        "booked hubs, failed": f"{booked_hubs}?state={State.FAILED}",
        "hubs, middle": f"{hubs}?after={middle.pk}",
        "hubs, often": f"{hubs}?{often}",
        "hubs, one version": f"{hubs}?{version}",
        "hubs, rare": f"{hubs}?{rare}",
        "hubs, rare, middle": f"{hubs}?{rare}&after={middle.pk}",
        "hubs, one CHF ID": f"{hubs}?search={format_eui64(middle.pk)}",
        "hubs, one MPAN": f"{hubs}?search={with_mpan.mpan:013d}",
        "hub, in the middle": reverse("scheduling:hub", args=[middle.pk]),
        "hub, booked": reverse("scheduling:hub", args=[halfway.hub_id]),
    }


def _combination(rows: Any, order: str) -> str:
    """Return the most or least frequent combination of facts, as a page is asked for it."""
    row = rows.annotate(total=Sum("hubs"), rows=Count("pk")).order_by(f"{order}total").first()
    return "&".join(f"{name}={value}" for name, value in row.items() if name not in ("total", "rows"))
