"""
Nobody where they do not belong: what the database shows a Supplier when the code forgets to ask for its own alone.

Two ways: every table is read bare, as a Supplier's role; and every page is asked for while a harness takes out of the
code each filter by Supplier. Without the policies both find what they should not, or they would prove nothing.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.constants import LOOKUP_SEP
from django.test import Client
from django.urls import reverse

from hubs.identifiers import format_eui64
from hubs.models import Supplier
from portal import walls
from portal.ground import asking, audit, sql
from portal.ground.asking import Asker, Role
from portal.ground.roles import SupplierRole
from portal.models import Invitation, User
from portal.operations import invite
from scheduling import urls
from scheduling.models import CapacityPattern
from tests import factories
from tests.scheduling.addresses import Things, address_of
from tests.scheduling.world import World

OURS = (
    "hubs",
    "firmware",
    "scheduling",
    "portal",
    "ground",
    "account",
    "mfa",
    "auth",
    "sessions",
    "admin",
    "contenttypes",
)
FLEET = "modelled_fleet_"
STANDINGS = """
SELECT relname, relrowsecurity AND relforcerowsecurity,
       has_table_privilege('portal_supplier', oid, 'SELECT'),
       has_table_privilege('portal_entrance', oid, 'SELECT')
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
"""


def tables() -> set[str]:
    return {
        model._meta.db_table for model in apps.get_models(include_auto_created=True) if model._meta.managed
    }


class TestEveryTable:
    def test_has_an_owner_in_words(self) -> None:
        told = [*walls.A_SUPPLIERS, *walls.KNOWN_TO_ALL, *walls.OF_SIGNING_IN, *walls.DCCS]

        assert not [name for name, times in Counter(told).items() if times > 1]
        assert {name for name in tables() if not name.startswith(FLEET)} == set(told), (
            "Say in portal/walls.py whose a new table is, and keep it so with a policy or a grant in its migration."
        )

    def test_is_kept_as_it_is_said(self, db: None) -> None:
        found = {name: rest for name, *rest in sql.rows(STANDINGS, {}) if name in tables()}

        is_walled = {name for name, (walled, _, _) in found.items() if walled}
        assert is_walled == {*walls.A_SUPPLIERS, "hubs_supplier"}
        is_read = {name for name, (_, read, _) in found.items() if read}
        assert is_read == {*walls.A_SUPPLIERS, *walls.KNOWN_TO_ALL}
        at_the_door = {name for name, (_, _, read) in found.items() if read}
        assert at_the_door <= {*walls.OF_SIGNING_IN, "portal_user", "portal_invitation", "hubs_supplier",
                               "ground_auditentry", "scheduling_notice"}  # fmt: skip

    def test_that_leads_to_a_supplier_is_a_supplier_s(self) -> None:
        leads = set()
        for model in apps.get_models(include_auto_created=True):
            for field in model._meta.concrete_fields:
                if field.related_model is Supplier:
                    leads.add(model._meta.db_table)

        assert leads <= set(walls.A_SUPPLIERS)


class TestTheCapacityPattern:
    def test_is_not_a_supplier_s_to_read(self, db: None) -> None:
        """One table that is DCC's alone, for all of them: the right is missing, not merely a row."""
        with asking.acting(Asker(Role.SUPPLIER, 1)), pytest.raises(Exception, match="permission denied"):
            CapacityPattern.objects.exists()


INVITED = "noor@northern.example.com"


class Cast(Things):
    """The northern Supplier's things, and somebody of the southern one's."""

    def __init__(self, world: World) -> None:
        self.world = world
        User.objects.filter(pk=world.person.pk).update(first_name="Nella", last_name="Northwood")
        world.person.refresh_from_db()
        self.southern = User.objects.create_user(
            email="person@southern.example.com", supplier=world.southern, role=SupplierRole.ADMINISTRATOR
        )
        self.furnish(asking=self.southern, window="Spring tariff", group="Flats", file="hubs.csv")
        invite(
            email=INVITED,
            supplier=world.northern,
            role=SupplierRole.READ_ONLY,
            by=world.staff,
            now=world.clock(),
        )
        self.invitation = Invitation.objects.get()
        audit.record(
            actor=world.person,
            verb="release.noted",
            subject=f"release:{world.release.pk}",
            reason="For the spring",
            now=world.clock(),
        )


@pytest.fixture
def cast(todays_world: World) -> Cast:
    return Cast(todays_world)


@contextmanager
def without_policies() -> Iterator[None]:
    """Take the walls down, as if there were none."""
    walled = [*walls.A_SUPPLIERS]
    with connection.cursor() as cursor:
        cursor.execute(
            "SET CONSTRAINTS ALL IMMEDIATE"
        )  # no table is altered while its keys wait to be checked
        for table in walled:
            cursor.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        yield
        for table in walled:
            cursor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


def seen(who: Asker | None) -> dict[str, int]:
    """Count the rows of each of the Suppliers' tables as somebody sees them."""
    statement = " UNION ALL ".join(f"SELECT '{name}', count(t.*) FROM {name} t" for name in walls.A_SUPPLIERS)
    if who is None:
        return dict(sql.rows(statement, {}))
    with asking.acting(who):
        return dict(sql.rows(statement, {}))


class TestBareTables:
    def test_show_a_supplier_that_has_nothing_nothing(self, cast: Cast) -> None:
        harbour = factories.SupplierFactory.create()
        all_rows = seen(None)

        assert not any(seen(Asker(Role.SUPPLIER, harbour.pk)).values())
        assert not any(seen(Asker(Role.SUPPLIER)).values())
        assert sum(1 for rows in all_rows.values() if rows) >= 16, all_rows

    def test_show_it_everything_without_the_policies(self, cast: Cast) -> None:
        harbour = factories.SupplierFactory.create()
        all_rows = seen(None)

        with without_policies():
            assert seen(Asker(Role.SUPPLIER, harbour.pk)) == all_rows

    def test_show_each_side_of_a_shared_hub_what_concerns_both(self, cast: Cast) -> None:
        northern = seen(Asker(Role.SUPPLIER, cast.world.northern.pk))
        southern = seen(Asker(Role.SUPPLIER, cast.world.southern.pk))
        everything = seen(None)

        # the northern Supplier shares one of its four, which the southern one leads beside another of its own
        assert (northern["hubs_communicationshub"], southern["hubs_communicationshub"]) == (4, 2)
        assert everything["hubs_communicationshub"] == 5
        # a booking is its Supplier's own; the question, and what a shared hub is booked for, is both's
        for table, whose in {
            "scheduling_booking": (1, 1),
            "scheduling_lot": (1, 2),
            "scheduling_consent": (1, 1),
            "scheduling_deployment": (2, 2),
            "scheduling_protectedwindow": (1, 0),
            "scheduling_hubgroup": (1, 0),
            "scheduling_proposal": (1, 0),
            "portal_user": (2, 1),
        }.items():
            assert (northern[table], southern[table]) == whose, table
        asked = Asker(Role.SUPPLIER, cast.world.northern.pk, is_asked=True)
        assert seen(asked)["scheduling_booking"] == seen(asked)["scheduling_lot"] == 2
        unasked = Asker(Role.SUPPLIER, cast.world.southern.pk, is_asked=True)
        assert seen(unasked)["scheduling_booking"] == 1

    def test_take_nothing_that_is_another_s(self, cast: Cast) -> None:
        southern, northern = cast.world.southern.pk, cast.world.northern.pk
        for statement in (
            f"INSERT INTO scheduling_hubgroup (supplier_id, name, hubs, made_by_id, created_at, changed_at, is_pilot) "
            f"VALUES ({northern}, 'x', 0, {cast.southern.pk}, now(), now(), false)",
            f"INSERT INTO scheduling_groupedhub (group_id, hub) VALUES ({cast.group.pk}, 1)",
            f"INSERT INTO scheduling_protectedhub (window_id, hub) VALUES ({cast.window.pk}, 1)",
            f"INSERT INTO ground_auditentry (actor_id, verb, subject, reason, facts, recorded_at) "
            f"VALUES ({cast.world.person.pk}, 'x', 'x', '', '{{}}', now())",
            f"UPDATE hubs_supplier SET id = id WHERE id = {southern}",
        ):
            with asking.acting(Asker(Role.SUPPLIER, southern)), refused():
                sql.run(statement, {})
        with asking.acting(Asker(Role.SUPPLIER, southern)):
            assert sql.run(f"UPDATE scheduling_hubgroup SET name = 'x' WHERE id = {cast.group.pk}", {}) == 0
            assert sql.run(f"DELETE FROM scheduling_protectedwindow WHERE id = {cast.window.pk}", {}) == 0


@contextmanager
def refused() -> Iterator[None]:
    from django.db import ProgrammingError, transaction

    with pytest.raises(ProgrammingError, match="violates row-level security"), transaction.atomic():
        yield


BY_SUPPLIER = {"supplier", "supplier_id", "lead", "lead_id", "other_id", "import_supplier", "gas_supplier"}
IN_SQL = re.compile(
    r"(\w+\.)?(lead_id|other_id|supplier_id|import_supplier_id|gas_supplier_id) = %\(supplier\)s"
    r"|%\(supplier\)s IN \([^)]*\)"
)
NOT_IN_SQL = re.compile(r"(\w+\.)?(lead_id|other_id) IS DISTINCT FROM %\(supplier\)s")


def is_by_supplier(lookup: str) -> bool:
    return bool(BY_SUPPLIER.intersection(lookup.split(LOOKUP_SEP)))


def open_wide(condition: Q) -> Q:
    """Take out of a condition what keeps other Suppliers out."""
    kept = Q(_connector=condition.connector, _negated=condition.negated)
    for child in condition.children:
        if isinstance(child, Q):
            if opened := open_wide(child):
                kept.children.append(opened)
                continue
        elif not (isinstance(child, tuple) and is_by_supplier(child[0])):
            kept.children.append(child)
            continue
        if condition.connector == Q.OR:  # this or that, and this is anything
            return Q()
    return kept


@contextmanager
def without_filters() -> Iterator[Counter[str]]:
    """Take every filter by Supplier out of the code, querysets and SQL alike; count those that were."""
    taken: Counter[str] = Counter()
    usual, run = QuerySet._filter_or_exclude, sql.rows

    def filtered(self: Any, negate: bool, args: Any, kwargs: dict[str, Any]) -> Any:
        if not negate:
            taken["queryset"] += sum(map(is_by_supplier, kwargs))
            kwargs = {lookup: value for lookup, value in kwargs.items() if not is_by_supplier(lookup)}
            args = [open_wide(one) if isinstance(one, Q) else one for one in args]
        return usual(self, negate, args, kwargs)

    def rows(statement: str, parameters: Any) -> Any:
        opened, number = IN_SQL.subn("true", statement)
        opened, more = NOT_IN_SQL.subn("false", opened)
        taken["sql"] += number + more
        return run(opened, parameters)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QuerySet, "_filter_or_exclude", filtered)
        patch.setattr(sql, "rows", rows)
        yield taken


def marks_of(cast: Cast) -> dict[str, str]:
    """Return what only the northern Supplier may read, in the words of its pages."""
    return {
        "a hub": format_eui64(cast.hub.chf_id),
        "a booking": cast.booking.reference,
        "a window": "Spring tariff",
        "a group": "Flats",
        "a person": cast.world.person.email,
        "a name": cast.world.person.get_full_name(),
        "somebody invited": INVITED,
        "a reason on record": "For the spring",
    }


def found_on(name: str, cast: Cast, client: Client) -> set[str]:
    """Return which of these marks a page of somebody else shows, where there is one."""
    where = address_of(name, cast) if name in PAGES else reverse(name, args=OF_PEOPLE[name](cast))
    client.raise_request_exception = False
    response = client.get(where)
    content = b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]
    # what was typed into the address is no news
    said = content.decode(errors="replace").replace(where, "")
    return {what for what, mark in marks_of(cast).items() if mark in said}


@pytest.fixture
def southern(cast: Cast, client: Client) -> Client:
    client.force_login(cast.southern)
    return client


@pytest.fixture
def harbour(cast: Cast, client: Client) -> Client:
    client.force_login(User.objects.create_user(
        email="person@harbour.example.com",
        supplier=factories.SupplierFactory.create(name="Harbour"),
        role=SupplierRole.ADMINISTRATOR,
    ))  # fmt: skip
    return client


PAGES = sorted(str(route.name) for route in urls.urlpatterns)


OF_PEOPLE: dict[str, Callable[[Cast], list[object]]] = {
    **dict.fromkeys(
        (
            "people",
            "invite-colleague",
            "second-factor-rule",
            "record",
            "export-record",
            "account",
            "exports",
            "saved-filters",
        ),
        lambda cast: [],
    ),
    "person": lambda cast: [cast.world.person.pk],
    "colleagues-invitation": lambda cast: [cast.invitation.pk],
    "saved-filter": lambda cast: [cast.saved.pk],
    **dict.fromkeys(("one-export", "export-file"), lambda cast: [cast.export.pk]),
}
"""Of those in portal/urls.py, which a Supplier's administrators see, and one's account: what their addresses name."""
EVERY_PAGE = [*PAGES, *sorted(OF_PEOPLE)]


class TestEveryPageWithoutAFilter:
    @pytest.mark.parametrize("name", EVERY_PAGE)
    def test_shows_nothing_of_another_supplier(self, name: str, cast: Cast, southern: Client) -> None:
        with without_filters():
            assert found_on(name, cast, southern) == set()

    @pytest.mark.parametrize("name", EVERY_PAGE)
    def test_shows_a_stranger_nothing(self, name: str, cast: Cast, harbour: Client) -> None:
        with without_filters():
            assert found_on(name, cast, harbour) == set()

    def test_would_show_it_all_without_the_policies(self, cast: Cast, southern: Client) -> None:
        shown = {}
        with without_filters() as taken, without_policies():
            for name in EVERY_PAGE:
                shown[name] = found_on(name, cast, southern)

        assert set().union(*shown.values()) == set(marks_of(cast)), shown
        assert sum(1 for name in PAGES if shown[name]) >= 15, shown
        # the form of an invitation and the rule show nobody; an account shows its own sessions alone
        assert {name for name in OF_PEOPLE if shown[name]} == {
            "people", "person", "colleagues-invitation", "record", "export-record", "one-export"
        }  # fmt: skip
        assert taken["queryset"] > 50
        assert taken["sql"] > 5


TRUSTED = re.compile(r"asking\.trusted\(")
PLACES: dict[str, int] = {
    "portal/operations.py": 5,
    "portal/queries.py": 1,
    "portal/second_factors.py": 1,
    "scheduling/operations/bookings.py": 4,
    "scheduling/operations/changes.py": 2,
    "scheduling/operations/consents.py": 2,
    "scheduling/operations/proposals.py": 5,
    "scheduling/queries/control_room.py": 2,
    "scheduling/queries/guards.py": 2,
    "scheduling/queries/histories.py": 1,
    "scheduling/queries/outcomes.py": 1,
    "scheduling/queries/slots.py": 1,
    "scheduling/queries/standings.py": 1,
    "scheduling/queries/turns.py": 1,
    "scheduling/views/consents.py": 1,
}
"""Where the code sees more than its Supplier may. Each says why; docs/operator.md lists them."""


class TestWhatIsTrusted:
    def test_is_listed(self) -> None:
        found = Counter(
            str(path.relative_to(settings.BASE_DIR))
            for app in ("portal", "scheduling", "firmware", "hubs")
            for path in Path(settings.BASE_DIR, app).rglob("*.py")
            for _ in TRUSTED.findall(path.read_text())
        )

        assert found == PLACES

    def test_is_listed_for_operators_with_its_reason(self) -> None:
        told = Path(settings.BASE_DIR, "docs", "operator.md").read_text()

        for place in PLACES:
            source = Path(settings.BASE_DIR, place).read_text()
            for why in re.findall(r'asking\.trusted\(\s*"([^"]+)"', source):
                assert why in told, f"{place}: {why}"
