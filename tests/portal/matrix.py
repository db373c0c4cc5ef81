"""
The world of the matrix: everybody who may ask, one of everything that can be asked for, and how an answer is written.

One set-up serves every row. What a request changes is taken back at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.contrib.admin import site
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.db.models import Model
from django.http import HttpResponse
from django.test import Client
from django.urls import URLPattern, URLResolver

from hubs.modelled_fleet import models as fleet
from hubs.models import ChangeOfSupplier, FirmwareVersion, Supplier
from portal.ground.access import SAFE_VERBS
from portal.ground.models import AuditEntry
from portal.ground.roles import DccRole, SupplierRole
from portal.models import Invitation, User
from portal.operations import invite
from scheduling.lifecycle import State
from scheduling.models import (
    CapacityPattern,
    Decision,
    Deployment,
    Exemption,
    Finding,
    HubException,
    Incident,
    Maintenance,
    Notice,
    OddReport,
    Quarantine,
    Reclaim,
    Reconciliation,
    Rehearsal,
    ReportCount,
    ReportKind,
    Slot,
    StrayReport,
)
from tests import factories
from tests.scheduling.addresses import Things
from tests.scheduling.world import World
from tests.signing_in import known_recently

GUARDED = "word-of-northern"
"""What the northern Supplier's things are called, and no answer to anybody else may contain."""


@dataclass
class Cast(Things):
    """Everybody who may ask, by the columns of the tables, and one of everything of the northern Supplier's."""

    world: World
    people: dict[str, dict[str, User | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._people()
        self._of_suppliers()

    def _people(self) -> None:
        world = self.world

        def of(supplier: Supplier, role: SupplierRole, **facts: Any) -> User:
            name = f"{role}{len(facts)}@{supplier.name.lower()}.example.com"
            return User.objects.create_user(email=name, supplier=supplier, role=role, **facts)

        def of_dcc(role: DccRole) -> User:
            person = User.objects.create_user(email=f"{role.name.lower()}@matrix.example.com", is_staff=True)
            person.groups.add(Group.objects.get(name=role))
            return person

        dcc = {
            "author": DccRole.AUTHOR,
            "approver": DccRole.APPROVER,
            "operations-dcc": DccRole.OPERATIONS,
            "auditor": DccRole.AUDITOR,
            "people": DccRole.ADMINISTRATOR,
        }
        self.people = {
            "nobody": {
                "a stranger": None,
                "ended": of(world.northern, SupplierRole.ADMINISTRATOR, is_active=False),
                "ended staff": User.objects.create_user(
                    email="ended@dcc.example.com", is_staff=True, is_superuser=True, is_active=False
                ),
            },
            **{str(role): {f"northern {role}": of(world.northern, role)} for role in SupplierRole},
            "foreign": {f"southern {role}": of(world.southern, role) for role in SupplierRole},
            "elsewhere": {
                "western administrator": of(
                    factories.SupplierFactory.create(name="Western"), SupplierRole.ADMINISTRATOR
                )
            },
            **{column: {role.value: of_dcc(role)} for column, role in dcc.items()},
            "superuser": {"superuser": world.staff},
        }
        for person in self._all_of(*self.people).values():
            if person is not None:
                person.password = "one that nobody knows"  # who has none is never asked for it again
                person.save(update_fields=["password"])
        self.people["supplier"] = self._all_of(*map(str, SupplierRole), "foreign", "elsewhere")
        self.people["staff"] = self._all_of(*dcc, "superuser")

    def _all_of(self, *columns: str) -> dict[str, User | None]:
        return {name: person for column in columns for name, person in self.people[column].items()}

    def _of_suppliers(self) -> None:
        world = self.world
        self.furnish(asking=self.one("foreign"), window=GUARDED, group=GUARDED, file=f"{GUARDED}.csv")
        invite(
            email=f"{GUARDED}@northern.example.com",
            supplier=world.northern,
            role=SupplierRole.OPERATIONS,
            by=world.staff,
            now=world.clock(),
        )
        self.invitation = Invitation.objects.get()

    @cached_property
    def rows(self) -> Mapping[type[Model], Model]:
        """One row of every table in the admin."""
        world, now = self.world, self.world.clock()
        release, network, staff = world.release, world.network, world.staff
        deployment = Deployment.objects.get(hub=self.hub)
        lot = self.booking.lots.get()
        Deployment.objects.filter(pk=deployment.pk).update(state=State.STAGING)
        decision = Decision.objects.create(
            kind=Decision.Kind.OVERRIDE,
            release=release,
            portion="",
            reason="Spring",
            asked_by=staff,
            asked_at=now,
            hubs=1,
        )
        reconciliation = Reconciliation.objects.create(started_at=now, log_from=0, log_to=0)
        made: list[Model] = [
            User.objects.get(email="approver@dcc.example.com"),
            Invitation.objects.get(),
            AuditEntry.objects.latest("pk"),
            release,
            network,
            world.northern,
            world.model,
            FirmwareVersion.objects.latest("pk"),
            Slot.objects.latest("pk"),
            self.booking,
            lot,
            ChangeOfSupplier.objects.create(
                hub=self.hub.pk,
                role=1,
                gaining=world.southern,
                effective_on=now.date() + timedelta(days=9),
                imported_at=now,
            ),
            CapacityPattern.objects.create(
                network=network, weekday=1, starts="01:00", slot_minutes=60, capacity=5
            ),
            Maintenance.objects.create(
                network=network,
                start_at=now + timedelta(days=50),
                end_at=now + timedelta(days=51),
                reason="Mast",
            ),
            Incident.objects.create(network=network, category=3, summary="Slow", opened_at=now),
            Notice.objects.latest("pk"),
            OddReport.objects.create(reason="x", text="{}", first_at=now, last_at=now, times=1),
            StrayReport.objects.create(
                hub=self.hub.pk, deployment_id=1, phase=1, attempt=1, outcome=1, received_at=now
            ),
            ReportCount.objects.create(day=now.date(), kind=next(iter(ReportKind)), reports=1),
            Reclaim.objects.create(
                lot_id=lot.pk, token=1, lease_until=now, reclaimed_at=now + timedelta(seconds=1)
            ),
            Quarantine.objects.create(
                deployment_id=deployment.pk, strikes=3, error="x", last_at=now, since=now
            ),
            HubException.objects.create(
                release=release,
                hub=world.hubs(1)[0].pk,
                why=HubException.Why.NO_SLOT,
                supplier=world.northern,
                network=network,
                raised_at=now,
                decision=decision,
            ),
            Exemption.objects.create(
                release=release,
                supplier=world.southern,
                reason="Flood",
                expires_at=now + timedelta(days=5),
                made_by=staff,
                made_at=now,
            ),
            reconciliation,
            Finding.objects.create(
                reconciliation=reconciliation,
                kind="unadmitted",
                is_excess=True,
                subject="lot 1",
                words="1 of 2",
                found_at=now,
            ),
            Rehearsal.objects.create(
                release=release,
                revision=1,
                is_whole=False,
                hubs=100,
                percent=1,
                kind=Rehearsal.Kind.SILENT,
                seed=1,
                plan={},
                asked_by=staff,
                asked_at=now,
            ),
            decision,
            fleet.CommandLog.objects.create(
                deployment=1,
                phase=1,
                attempt=1,
                hub=1,
                lot=1,
                token=1,
                version=1,
                received_at=now,
                valid_until=now,
                acts_at=now,
                verdict=1,
            ),
            fleet.FleetReport.objects.create(
                deployment=1, phase=1, attempt=1, hub=1, outcome=1, observed_at=now, due_at=now
            ),
            fleet.FleetHub.objects.latest("pk"),
            fleet.NetworkProfile.objects.latest("pk"),
            fleet.Outage.objects.create(network=network, since=now),
            fleet.Defect.objects.create(version=1, kind=next(iter(fleet.Defect.Kind))),
            fleet.FleetImage.objects.create(version=1, digest="0" * 64),
        ]
        return {type(row): row for row in made}

    def row(self, model: type[Model]) -> Model:
        """Return the one row of a table."""
        return self.rows[model]

    def one(self, column: str) -> User:
        """Return the first who asks in a column that has nobody without an account."""
        person = next(iter(self.people[column].values()))
        assert person is not None
        return person


class Asker:
    """Ask as anybody, each signed in once, and take back whatever a request changed."""

    def __init__(self, cast: Cast) -> None:
        self.clients: dict[str, Client] = {}
        for column in cast.people.values():
            for name, person in column.items():
                if name not in self.clients:
                    self.clients[name] = self._sign_in(person, place=len(self.clients) + 1)

    @staticmethod
    def _sign_in(person: User | None, *, place: int) -> Client:
        # each from an address of their own, which is asked for no more than it may be
        client = Client(raise_request_exception=False, REMOTE_ADDR=f"192.0.2.{place}")
        if person is not None:
            client.force_login(person)
        return client

    def show_who_they_are(self, cast: Cast) -> None:
        """Let everybody have given their password a moment ago."""
        for column in cast.people.values():
            for name, person in column.items():
                if person is not None and person.is_active:
                    known_recently(client=self.clients[name], person=person)

    @contextmanager
    def asked(
        self, who: str, verb: str, address: str, data: Any = None, **how: Any
    ) -> Iterator[HttpResponse]:
        """Ask, and undo what came of it once the answer has been read."""
        with transaction.atomic():
            # for operations that want to be outermost: to them this is one more test's transaction
            connection.atomic_blocks[-1]._from_testcase = True
            yield getattr(self.clients[who], verb.lower())(address, data, **how)
            transaction.set_rollback(True)

    def answer(self, who: str, verb: str, address: str, data: Any = None) -> str:
        """Return the answer in a word: its status, or where it leads where that says more."""
        if verb in SAFE_VERBS:
            return word(getattr(self.clients[who], verb.lower())(address, data))
        with self.asked(who, verb, address, data) as response:
            return word(response)

    def acts(self, who: str, address: str, data: Mapping[str, Any]) -> str:
        """Return whether somebody could take an action of a list, "yes" or "no", or the answer at the door."""
        with self.asked(who, "POST", address, data, follow=True) as response:
            if response.redirect_chain and response.redirect_chain[0][0].startswith("/accounts/login/"):  # type: ignore[attr-defined]
                return "login"
            if response.status_code != 200:
                return word(response)
            shown = set(response.context.keys()) if response.context else set()  # type: ignore[attr-defined]
            asks_first = shown & {"deletable_objects", "checkbox_name"}
            was_taken = response.redirect_chain or asks_first  # type: ignore[attr-defined]
            return "yes" if was_taken and "No action selected" not in response.content.decode() else "no"


def word(response: HttpResponse) -> str:
    """Write an answer as the tables do."""
    place = response.headers.get("Location", "")
    if response.streaming:
        response.getvalue()  # type: ignore[attr-defined]  # what is not read to its end stays open
    if place.startswith(("/accounts/login/", "/admin/login/")):
        return "login"
    if place.startswith("/accounts/reauthenticate/"):
        return "password"
    if place == "/admin/":
        return "admin"
    return str(response.status_code)


def routes(resolver: URLResolver, namespaces: Sequence[str] = ()) -> Iterator[str]:
    """Yield every route's full name; one without a name by its pattern."""
    for entry in resolver.url_patterns:
        if isinstance(entry, URLResolver):
            yield from routes(entry, (*namespaces, entry.namespace) if entry.namespace else namespaces)
        elif isinstance(entry, URLPattern):
            yield ":".join((*namespaces, entry.name or str(entry.pattern)))


def every_action() -> Iterator[tuple[type[Model], str]]:
    """Yield every action of every list in the admin."""
    for model, table in site._registry.items():
        yield from ((model, name) for _, name, _ in table._get_base_actions())


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: what is asked for how, and the answer to each column."""

    route: str
    verbs: tuple[str, ...]
    answers: Mapping[str, str]


def read(table: str) -> list[Line]:
    """
    Read a table: the columns in its first line, then blocks of routes, each with its verbs and answers.

    A line that ends with a colon names routes; those below it give the answers to one or more verbs. A dash is not
    asked: a list names nothing that could be somebody else's.
    """
    first, *others = [
        line for line in table.splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    columns = first.split()
    lines, named, is_open = [], [], False
    for line in others:
        words = line.split()
        if not line.startswith(" "):
            named = [*(named if is_open else []), *words]
            is_open = not words[-1].endswith(":")
            named = [word.rstrip(":") for word in named]
            continue
        verbs, answers = words[: -len(columns)], words[-len(columns) :]
        lines += [Line(route, tuple(verbs), dict(zip(columns, answers, strict=True))) for route in named]
    return lines
