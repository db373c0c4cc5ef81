"""
What the pictures show: a fleet, people, and releases in every state, the same in every run.

Time is virtual. Everything goes the way that it goes in the portal, through its own operations and workers, from the
first publication in February to `MOMENT`, at which the pages are looked at.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric import ec
from django.core.management import call_command
from django.db import models

from firmware import images
from firmware.models import FirmwareRelease, SignedAct
from firmware.operations import decisions, releases
from firmware.operations.groups import ensure_groups
from hubs import gateway
from hubs.identifiers import format_eui64
from hubs.modelled_fleet.models import Defect
from hubs.models import CommunicationsHub, FleetCount, Network, PaymentMode, Supplier
from portal import demo, fast_rehearsals, lists, rehearsal_runs, rehearsals
from portal import operations as portal_operations
from portal.ground.clock import VirtualClock
from portal.ground.roles import SupplierRole
from portal.models import Invitation, User
from scheduling.lifecycle import State
from scheduling.models import (
    Booking,
    CapacityPattern,
    Consent,
    Decision,
    Deployment,
    Exemption,
    Export,
    HubException,
    HubSelection,
    Incident,
    Lot,
    Maintenance,
    ProtectedWindow,
    SavedFilter,
    Weekday,
)
from scheduling.operations import (
    allocations,
    asked_rehearsals,
    bookings,
    consents,
    deployments,
    exceptions,
    exports,
    groups,
    halts,
    late_looks,
    notices,
    proposals,
    selections,
    slots,
    stages,
    tallies,
    turns,
    uploads,
    windows,
)
from scheduling.planning import Hours
from scheduling.queries.plans import Timing
from scheduling.queries.second_person import Forecast
from scheduling.queries.uploads import RefusedRow, Upload
from scheduling.sheets import Format
from tests.scheduling.addresses import Things

Tell = Callable[[str], None]
SEED = 24
MOMENT = datetime(2027, 5, 12, 13, 20, tzinfo=UTC)
"""Twenty past two on a Wednesday afternoon, by the UK clock."""
STEP = timedelta(minutes=30)
NIGHT = Hours(
    weekdays=(1,),
    opens=time(1),
    closes=time(3),
    first_day=date(2027, 4, 26),
    last_day=date(2027, 6, 18),
)
LOTS = 1_000
SIGNATURE = (7, 11)
"""In place of a real one, which is another one each time, and with it the digest of the image."""


def at(month: int, day: int, hour: int, minute: int = 0) -> datetime:
    """Return a moment of the year that is shown, in UTC."""
    return datetime(2027, month, day, hour, minute, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Story:
    """One release: for which hub models by number of hubs, which version, and between which moments."""

    family: int
    name: str
    cpl_entry_id: str
    opens: datetime
    closes: datetime
    notes: str
    known_issues: str = ""
    ahead: int = 1
    """How many versions it is ahead of the newest that is installed."""


PAST = Story(
    4,
    "4G hub firmware 1.9",
    "CPL-2027-388",
    at(3, 8, 0),
    at(4, 26, 0),
    "Renews the certificates that end in summer.",
)
WITHDRAWN = Story(
    3,
    "Dual-band hub firmware 3.0",
    "CPL-2027-391",
    at(4, 19, 0),
    at(6, 7, 0),
    "Chooses a quieter channel at start-up.",
)
OPEN = Story(
    0,
    "Hub firmware 4.2",
    "CPL-2027-410",
    at(4, 25, 23),
    at(6, 25, 23),
    "Mends a memory leak that makes hubs restart after about 400 days, and shortens the time that a hub needs to "
    "rejoin its network after a power cut.",
    "The hub's clock is up to two minutes off until its first contact after activation.",
)
HALTED = Story(
    1,
    "Dual-band hub firmware 2.7",
    "CPL-2027-411",
    at(4, 25, 23),
    at(6, 25, 23),
    "Improves sub-GHz range in flats by choosing a quieter channel at start-up.",
)
COMING = Story(
    2,
    "Single-band hub firmware 3.1",
    "CPL-2027-415",
    at(6, 6, 23),
    at(7, 25, 23),
    "Shortens the time between a top-up and its arrival at the meter.",
)
SUBMITTED = Story(
    3,
    "Dual-band hub firmware 3.1",
    "CPL-2027-419",
    at(6, 20, 23),
    at(8, 8, 23),
    "Chooses a quieter channel at start-up, and mends what version 3.0 was withdrawn for.",
    ahead=2,
)
DRAFT = Story(
    4,
    "4G hub firmware 2.0",
    "CPL-2027-422",
    at(7, 4, 23),
    at(8, 22, 23),
    "Measures the signal once a day instead of once a week.",
    ahead=2,
)
POLICY: Mapping[str, Any] = {
    "stage_sizes": [60, 400],
    "soak": "2 hours",
    "tolerated_bad_percent": "6",
    "retry_interval": "20 minutes",
}
NEWCOMER = "newcomer@harbour.example.com"
WITHOUT_HUBS = "Foxglove Energy"


@dataclass
class Scene(Things):
    """Everybody and everything that the addresses of the pages name; it stands in for what the tests make."""

    hubs: int
    tell: Tell
    clock: VirtualClock = field(default_factory=lambda: VirtualClock(moment=at(2, 1, 9)))
    people: dict[str, dict[str, User | None]] = field(default_factory=dict)
    releases: dict[str, FirmwareRelease] = field(default_factory=dict)
    bookings: dict[str, Booking] = field(default_factory=dict)

    @property
    def world(self) -> "Scene":  # type: ignore[override]
        """Return itself: the addresses ask it for the release and the Supplier."""
        return self

    @property
    def release(self) -> FirmwareRelease:
        """Return the release that is open."""
        return self.releases["open"]

    def one(self, column: str) -> User:
        """Return the first in a column."""
        person = next(iter(self.people[column].values()))
        assert person is not None
        return person

    def row(self, model: type[models.Model]) -> models.Model:
        """Return the latest row of a table."""
        return model._default_manager.latest("pk")

    def person(self, email: str) -> User:  # type: ignore[override]
        """Return somebody by their address."""
        return User.objects.get(email=email)

    # -- making it

    def make(self) -> None:
        """Make everything, and let time pass until `MOMENT`."""
        ensure_groups()
        self.tell(f"making a fleet of {self.hubs:,} hubs")
        call_command("load_fleet", hubs=self.hubs, seed=SEED, time_scale=1.0, quiet=True)
        self.families = demo._families_by_size()
        self._people()
        self._capacity()
        self._winter()
        self._spring()
        self._may()
        self._records()

    def _people(self) -> None:
        demo._make_people()
        northern, southern, harbour, _ = (Supplier.objects.get(name=name) for name in demo.SUPPLIERS)
        self.northern, self.southern = northern, southern
        without = Supplier.objects.create(
            name=WITHOUT_HUBS, import_participant_id="FXGE", gas_participant_id="FXGG"
        )
        for email, first, last, supplier, role in (
            ("northern.lights.operations@example.com", "Tomasz", "Wilk", northern, SupplierRole.OPERATIONS),
            (NEWCOMER, "Priya", "Nair", harbour, SupplierRole.OPERATIONS),
            ("foxglove@example.com", "Owen", "Pryce", without, SupplierRole.ADMINISTRATOR),
        ):
            User.objects.create_user(
                email=email,
                password=demo.PASSWORD,
                first_name=first,
                last_name=last,
                supplier=supplier,
                role=role,
            )
        self.staff = User.objects.create_user(
            email="everything@example.com",
            password=demo.PASSWORD,
            first_name="Ruth",
            last_name="Adeyemi",
            is_staff=True,
            is_superuser=True,
        )
        of = self.person
        self.people = {
            "a stranger": {"a stranger": None},
            "administrator": {"administrator": of("northern.lights@example.com")},
            "operations": {"operations": of("northern.lights.operations@example.com")},
            "read-only": {"read-only": of("northern.lights.reader@example.com")},
            "newcomer": {"newcomer": of(NEWCOMER)},
            "without-hubs": {"without-hubs": of("foxglove@example.com")},
            "author": {"author": of("author@example.com")},
            "approver": {"approver": of("approver@example.com")},
            "operations-dcc": {"operations-dcc": of("operations@example.com")},
            "auditor": {"auditor": of("auditor@example.com")},
            "people": {"people": of("administrator@example.com")},
            "superuser": {"superuser": self.staff},
        }
        self.at_meadow = of("meadow.gas@example.com")

    def _capacity(self) -> None:
        CapacityPattern.objects.bulk_create(
            CapacityPattern(
                network=network,
                weekday=weekday,
                starts=time(),
                ends=None,
                slot_minutes=60,
                capacity=max(150, self.hubs // 15),
            )
            for network in Network.objects.order_by("id")
            for weekday in Weekday
        )

    def _upload(self, story: Story) -> FirmwareRelease:
        family = self.families[story.family % len(self.families)]
        installed = demo._installed(family)
        version = installed[-1] + story.ahead
        with mock.patch.object(images, "decode_dss_signature", return_value=SIGNATURE):
            content = images.build(
                blueprint=images.Blueprint(
                    manufacturer=family[0].manufacturer,
                    image_type=family[0].image_type,
                    version=version,
                    payload=180_000,
                    text=story.name[:32],
                ),
                seed=SEED,
                key=ec.generate_private_key(ec.SECP256R1()),
            )
        counts = FleetCount.objects.filter(model__in=family).values("network").distinct()
        return releases.upload(
            particulars=releases.Particulars(
                cpl_entry_id=story.cpl_entry_id,
                name=story.name,
                version=version,
                digest=images.inspect(io.BytesIO(content), size_limit=750_000).digest,
                hub_models=family,
                predecessors=[releases.Step(version=older) for older in installed[1:] or installed],
                notes=story.notes,
                known_issues=story.known_issues,
                contact="Release desk, release.desk@example.com",
                periods=[
                    releases.Period(network=network, start_at=story.opens, end_at=story.closes)
                    for network in Network.objects.filter(pk__in=counts).order_by("id")
                ],
                policy=POLICY,
            ),
            content=io.BytesIO(content),
            author=self.one("author"),
            now=self.clock(),
        )

    def _submit(self, story: Story) -> FirmwareRelease:
        return decisions.submit(release=self._upload(story), by=self.one("author"), now=self.clock())

    def _publish(self, story: Story) -> FirmwareRelease:
        release = self._submit(story)
        decisions.sign_off(
            release=release,
            act=SignedAct.PUBLISH,
            revision=release.revision,
            digest=release.digest,
            by=self.one("approver"),
            now=self.clock(),
        )
        published = decisions.publish(release=release, by=self.one("author"), now=self.clock())
        notices.owe_published(now=self.clock())
        slots.open_slots(now=self.clock())
        return published

    def _book(
        self, release: FirmwareRelease, by: User, timing: Timing, *, reference: str, **criteria: Sequence[int]
    ) -> Booking | None:
        assert by.supplier is not None
        selection = selections.choose(
            supplier=by.supplier, release=release, criteria=criteria, by=by, now=self.clock()
        )
        return self._book_chosen(selection, by, timing, reference=reference)

    def _book_chosen(
        self, selection: HubSelection, by: User, timing: Timing, *, reference: str
    ) -> Booking | None:
        with mock.patch.object(bookings, "new_reference", return_value=reference):
            try:
                return bookings.book(selection=selection, timing=timing, by=by, clock=self.clock)
            except bookings.UnableToBook:  # a small fleet has not everything
                return None

    def _winter(self) -> None:
        """Roll the past release out, and withdraw another."""
        self.tell("winter: a release that is over")
        past = self.releases["past"] = self._publish(PAST)
        people = {
            person.supplier_id: person
            for person in User.objects.filter(supplier__isnull=False).order_by("-pk")
            if person.supplier_id
        }
        self.clock.move_on(to=at(2, 8, 10))
        for number, (supplier, person) in enumerate(sorted(people.items())):
            if supplier != self.one("newcomer").supplier_id:
                booking = self._book(
                    past,
                    person,
                    Timing(Booking.Plan.EARLIEST),
                    reference=f"BK-4G2M-{bookings.ALPHABET[number] * 4}",
                )
                if booking is not None and supplier == self.northern.pk:
                    self.bookings["done"] = booking
        self.live(until=at(3, 9, 12))
        withdrawn = self.releases["withdrawn"] = self._publish(WITHDRAWN)
        self.clock.move_on(to=at(3, 12, 11))
        decisions.withdraw(
            release=withdrawn,
            by=self.one("author"),
            reason="A hub of this version may lose its neighbours' keys after a power cut.",
            now=self.clock(),
        )

    def _spring(self) -> None:
        """Publish what is open, have it booked, and let the other one be halted by its own evidence."""
        self.tell("spring: releases that are booked and carried out")
        self.clock.move_on(to=at(3, 15, 10))
        release = self.releases["open"] = self._publish(OPEN)
        halted = self.releases["halted"] = self._publish(HALTED)
        Defect.objects.create(
            version=halted.version.number,
            share=0.3,
            kind=Defect.Kind.VISIBLE,
            model=self.families[HALTED.family][0],
        )
        self.clock.move_on(to=at(3, 30, 9))
        self.group, _ = groups.make(
            supplier=self.northern,
            name="Pilot homes",
            hubs=io.BytesIO("\n".join(self._of_northern(40)).encode()),
            by=self.one("administrator"),
            now=self.clock(),
        )
        self._windows()
        central = Network.objects.get(code="central")
        spread = Timing(Booking.Plan.SPREAD, hours=NIGHT)
        self._keep(
            "spread",
            self._book(
                release, self.one("operations"), spread, reference="BK-7F3K-92QD", network=[central.pk]
            ),
        )
        self._keep(
            "halted",
            self._book(
                halted,
                self.one("administrator"),
                Timing(Booking.Plan.EARLIEST),
                reference="BK-9RT4-C2HW",
            ),
        )
        self.clock.move_on(to=at(3, 31, 15))
        fraser = self.person("southern.power@example.com")
        self._book(release, fraser, spread, reference="BK-3MDP-V8KX", network=[central.pk])
        self.clock.move_on(to=at(4, 14, 9))
        if past := self.releases.get("past"):
            self.live(until=at(4, 26, 8))
            self.releases["past"] = decisions.close(release=past, by=self.one("author"), now=self.clock())
        self.live(until=at(5, 4, 13))

    def _may(self) -> None:
        """Book what runs now, what is cancelled, and what is asked for."""
        self.tell("May: what is going on")
        release = self.release
        self.releases["coming"] = self._publish(COMING)
        self.clock.move_on(to=at(5, 6, 9))
        south = Network.objects.get(code="south")
        selection = selections.choose_from_file(
            supplier=self.northern,
            release=release,
            file=io.BytesIO("\n".join(self._of_northern(90, network=south)).encode()),
            name="south-coast.csv",
            by=self.one("operations"),
            now=self.clock(),
        )
        self._keep(
            "running",
            self._book_chosen(
                selection,
                self.one("operations"),
                Timing(Booking.Plan.RANGE, start_at=at(5, 12, 11), last_start_at=at(5, 12, 15)),
                reference="BK-5WNC-H3TR",
            ),
        )
        self.live(until=at(5, 10, 9))
        cancelled = self._keep(
            "cancelled",
            self._book(
                release,
                self.one("operations"),
                Timing(Booking.Plan.RANGE, start_at=at(6, 1, 1), last_start_at=at(6, 3, 3)),
                reference="BK-2HXJ-6GVM",
                network=[south.pk],
                payment_mode=[PaymentMode.PREPAYMENT],
            ),
        )
        if cancelled is not None:
            bookings.cancel(
                booking=cancelled,
                by=self.one("operations"),
                reason="The prepayment tariff changes that week after all.",
                now=self.clock(),
            )
        self.live(until=at(5, 11, 9))
        self.releases["submitted"] = self._submit(SUBMITTED)
        asked = self._book(
            release,
            self.person("southern.power@example.com"),
            Timing(Booking.Plan.RANGE, start_at=at(5, 24, 9), last_start_at=at(5, 28, 14)),
            reference="BK-8KQF-4DZN",
            network=[south.pk],
        )
        self.live(until=at(5, 12, 9))
        self.releases["draft"] = self._upload(DRAFT)
        self._things(asked)
        self.live(until=MOMENT)

    def _keep(self, name: str, booking: Booking | None) -> Booking | None:
        if booking is not None:
            self.bookings[name] = booking
        return booking

    def _of_northern(self, number: int, *, network: Network | None = None) -> list[str]:
        """Return CHF IDs of hubs that Northern Lights leads and the open release is for."""
        hubs = CommunicationsHub.objects.filter(
            lead_id=self.northern.pk, model__in=self.families[OPEN.family]
        ).order_by("chf_id")
        if network is not None:
            hubs = hubs.filter(network=network)
        return [format_eui64(hub.chf_id) for hub in hubs[:number]]

    def _windows(self) -> None:
        def protect(**facts: Any) -> ProtectedWindow:
            return windows.protect(
                window=ProtectedWindow(**facts),
                supplier=self.northern,
                hubs=(),
                by=self.one("administrator"),
                now=self.clock(),
            )

        protect(
            kind=ProtectedWindow.Kind.PREPAYMENT,
            reason="Nobody is to lose credit over a weekend.",
            scope=ProtectedWindow.Scope.PAYMENT_MODE,
            payment_mode=PaymentMode.PREPAYMENT,
            weekdays=0b1100000,
            starts=time(8),
            ends=time(20),
        )
        protect(
            kind=ProtectedWindow.Kind.METER_FIRMWARE,
            reason="Meter firmware for the pilot homes.",
            scope=ProtectedWindow.Scope.GROUP,
            group=self.group,
            is_hard=False,
            start_at=at(5, 18, 17),
            end_at=at(5, 19, 5),
        )
        self.window = protect(
            kind=ProtectedWindow.Kind.TARIFF,
            reason="Summer tariff: prices change at midnight.",
            scope=ProtectedWindow.Scope.ALL,
            start_at=at(5, 31, 17),
            end_at=at(6, 1, 11),
        )

    def _things(self, asked: Booking | None) -> None:
        """Make what an address can name and was not made on the way."""
        release, now = self.release, self.clock()
        self.booking = self.bookings.get("running") or self.bookings["spread"]
        self.foreign_booking = asked or self.booking
        self.consent = Consent.objects.filter(supplier=self.northern).latest("pk")
        self.selection = selections.choose(
            supplier=self.northern, release=release, criteria={}, by=self.one("administrator"), now=now
        )
        self.reading = selections.choose(
            supplier=self.northern, release=release, criteria={}, by=self.one("administrator"), now=now
        )
        HubSelection.objects.filter(pk=self.reading.pk).update(state=HubSelection.State.READING)
        self.upload = str(
            uploads.keep(
                supplier=self.northern,
                upload=Upload(
                    of=f"group:{self.group.pk}",
                    file_name="pilot-homes.csv",
                    at=now,
                    by=str(self.one("administrator")),
                    rows=43,
                    taken=40,
                    unchanged=1,
                    format=Format.CSV,
                    delimiter=",",
                    header=None,
                    refused=[
                        RefusedRow(["00-DB-12-34-56-78-90"], "Not a CHF ID"),
                        RefusedRow(["3C-4E-47-00-00-00-00-10"], "No hub of yours has this CHF ID"),
                    ],
                ),
            )
        )
        portal_operations.invite(
            email="noor.haddad@northernlights.example.com",
            supplier=self.northern,
            role=SupplierRole.OPERATIONS,
            by=self.one("administrator"),
            now=now,
        )
        self.invitation = Invitation.objects.latest("pk")
        self.propose(why="A tariff change has been put forward to that night.")
        self.saved = SavedFilter.objects.create(
            supplier=self.northern,
            person=self.one("administrator"),
            list="hubs",
            name="By CHF ID, downwards",
            query="sort=-hub",
            made_at=now,
        )
        self.export = exports.ask(
            supplier=self.northern,
            name="hubs",
            subject="",
            query="",
            title="Hubs",
            kind=Export.Format.XLSX,
            expected=None,
            by=self.one("administrator"),
            now=now,
        )
        exports.make_next(source_of=lambda export: lists.source_of(export, self.clock()), clock=self.clock)

    def propose(self, *, why: str) -> None:
        """Propose to cancel what is spread over nights, to a colleague who may agree."""
        booking = self.bookings["spread"]
        waiting = Lot.objects.filter(booking=booking, change_until__gt=self.clock())
        found = waiting.aggregate(
            first=models.Min("slot__start_at"),
            last=models.Max("slot__end_at"),
            hubs=models.Sum(models.F("provisional") + models.F("booked")),
            slots=models.Count("slot", distinct=True),
        )
        self.proposal = proposals.propose(
            wish=proposals.to_cancel(booking=booking),
            forecast=Forecast(
                found["hubs"], found["slots"], found["slots"] // 6 + 1, found["first"], found["last"]
            ),
            by=self.one("operations"),
            reason=why,
            now=self.clock(),
        )

    def _records(self) -> None:
        """Keep what nobody of this story does, so that no page of DCC's is empty."""
        now, release, staff = self.clock(), self.release, self.one("operations-dcc")
        north, south = (Network.objects.get(code=code) for code in ("north", "south"))
        Maintenance.objects.create(
            network=south, start_at=at(5, 20, 22), end_at=at(5, 21, 4), reason="New masts near Exeter"
        )
        Incident.objects.create(
            network=north, category=3, summary="Slow answers in the Highlands", opened_at=at(5, 12, 7)
        )
        Exemption.objects.create(
            release=release,
            supplier=self.southern,
            reason="Flooded substations: nobody can be sent to a hub that fails.",
            expires_at=at(6, 4, 12),
            made_by=staff,
            made_at=now,
        )
        decision = Decision.objects.create(
            kind=Decision.Kind.OVERRIDE,
            release=release,
            portion="",
            reason="No slot is left that is clear of both Suppliers' windows.",
            asked_by=staff,
            asked_at=now,
            hubs=3,
        )
        taken = HubException.objects.values("hub")
        lone = CommunicationsHub.objects.filter(
            lead_id__isnull=False, model__in=self.families[OPEN.family]
        ).exclude(chf_id__in=taken)
        for number, hub in enumerate(lone.order_by("-chf_id")[:6]):
            HubException.objects.create(
                release=release,
                hub=hub.chf_id,
                why=HubException.Why.NO_SLOT,
                supplier_id=hub.lead_id,
                network=hub.network,
                raised_at=now,
                decision=decision if number < 3 else None,
            )
        self._rehearse()
        notices.owe_reminders(now=now)
        notices.owe_deadlines(now=now)
        notices.send(clock=self.clock, limit=5_000)
        tallies.count_fleet(now=now)
        ended = Deployment.objects.filter(hub__lead_id=self.northern.pk, state=State.SUCCEEDED)
        self.hub = CommunicationsHub.objects.get(pk=ended.order_by("hub_id")[0].hub_id)
        for release in self.releases.values():
            release.refresh_from_db()

    def _rehearse(self) -> None:
        release, now = self.release, self.clock()
        defect = rehearsals.Defect(0.02, "silent")
        plan = rehearsals.of_release(release=release, hubs=None, defect=defect, seed=SEED)
        asked_rehearsals.ask(
            release=release,
            wish=asked_rehearsals.Wish(
                is_whole=False,
                hubs=plan.hubs,
                percent=2,  # type: ignore[arg-type]
                kind="silent",
                network=None,
                model=None,
                seed=SEED,
            ),
            plan=rehearsals.json.loads(plan.as_json()),
            by=self.one("author"),
            now=now,
        )
        taken = asked_rehearsals.take(is_whole=False, now=now)
        assert taken is not None
        found = fast_rehearsals.simulate(plan=plan, tell=lambda step, share=None: None)
        asked_rehearsals.finish(
            rehearsal=taken.pk,
            token=taken.token,
            result={**rehearsal_runs.of_fast(plan=plan, found=found), "seconds": 4.2},
            now=now,
        )

    # -- letting time pass

    def live(self, *, until: datetime) -> None:
        """Do what workers and the timetable do, whenever anything is due, until a moment."""
        carrier = gateway.connect()
        while True:
            self._work(carrier)
            now = self.clock()
            if now >= until:
                return
            due = [
                *Lot.objects.filter(due_at__gt=now).order_by("due_at").values_list("due_at", flat=True)[:1],
                *([later] if (later := carrier.next_at()) else []),
                now.replace(hour=9, minute=0) + timedelta(days=now.hour >= 9),
            ]
            self.clock.move_on(to=min(max(min(due), now + STEP), until))

    def _work(self, carrier: Any) -> None:
        now = self.clock()
        consents.settle(clock=self.clock)
        turns.keep(clock=self.clock)
        late_looks.look(gateway=carrier, clock=self.clock)
        for _ in range(20):
            carrier.act(now=self.clock())
            done = deployments.collect_all(gateway=carrier, clock=self.clock)
            done += deployments.carry_out(gateway=carrier, clock=self.clock, lots=LOTS)
            halts.stop_bad(now=self.clock())
            if not done + stages.advance(now=self.clock()):
                break
        deployments.wake_stopped(now=now)
        while tallies.fold(limit=10_000) == 10_000:
            pass
        bookings.finish(now=now)
        if now.hour == 9 and now.minute < 30:
            exceptions.raise_missed_twice(now=now)
            allocations.allocate(clock=self.clock)
            notices.owe_stops(now=now)
            notices.owe_missed(now=now)
