"""As whom the database is asked: by transactions, on real connections of a role that may see nothing by itself."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, ProgrammingError, connection, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import resolve

from hubs.models import CommunicationsHub, Supplier
from portal import walls
from portal.access import AsWhoAsks, AtTheDoor
from portal.ground import asking, sql
from portal.ground.asking import Asker, Role
from portal.models import User
from tests import factories
from tests.scheduling.world import World, make

HUBS = "SELECT count(*) FROM hubs_communicationshub"
WHO = "SELECT current_user::text, current_setting('portal.supplier', true), pg_backend_pid()"


@contextmanager
def logged_in(role: str) -> Iterator[None]:
    """Have this thread's connection be one of a role of PostgreSQL."""
    connection.close()
    usual = connection.settings_dict["USER"]
    connection.settings_dict["USER"] = role
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["USER"] = usual


@pytest.fixture
def two(transactional_db: None) -> tuple[Supplier, Supplier]:
    """Two Suppliers with two hubs of one and one of the other, beside one that they share."""
    northern, southern = factories.SupplierFactory.create_batch(2)
    for of_import, of_gas in (
        (northern, None),
        (northern, None),
        (southern, None),
        (northern, southern),
    ):
        factories.CommunicationsHubFactory.create(import_supplier=of_import, gas_supplier=of_gas)
    return northern, southern


@pytest.fixture
def web(two: tuple[Supplier, Supplier]) -> Iterator[tuple[Supplier, Supplier]]:
    """A connection of the web server."""
    with logged_in("portal_web"):
        yield two


def of(supplier: Supplier) -> Asker:
    return Asker(Role.SUPPLIER, supplier.pk)


DENIED = -1


def count() -> int:
    """Count the hubs that can be seen; DENIED where there is no right to look."""
    try:
        [(hubs,)] = sql.rows(HUBS, {})
    except ProgrammingError:
        return DENIED
    return int(hubs)


def is_nobody() -> bool:
    """Say whether the connection has nothing left of whom it was asked as, and no right."""
    [(user, supplier, _)] = sql.rows(WHO, {})
    return count() == DENIED and (user, supplier or "") == ("portal_web", "")


def ask_and_break(who: Asker, breaks: str) -> None:
    """Ask as somebody until something breaks, in one of the ways in which it can."""
    with asking.acting(who):
        assert count() == 3
        if breaks == "python":
            with transaction.atomic(durable=True):
                count()
                raise RuntimeError
        if breaks == "statement":
            sql.rows("SELECT 1 / 0", {})
        if breaks == "transaction":
            with transaction.atomic():
                count()
                with transaction.atomic():
                    sql.rows("SELECT 1 / 0", {})
        transaction.set_autocommit(False)
        count()
        raise RuntimeError  # in the middle of a transaction that nobody ends


def ask_and_take_back(statement: str) -> None:
    """Ask as DCC in a part of a transaction, which is then taken back."""
    with transaction.atomic(), asking.acting(Asker(Role.STAFF)):
        assert count() == 4
        sql.rows(statement, {})
        raise RuntimeError


def become_and_take_back(who: Asker) -> None:
    """Go on as somebody from the middle of a part of a transaction, which is then taken back."""
    with transaction.atomic():
        asking.become(who)
        raise ZeroDivisionError


class TestActing:
    def test_sees_what_the_supplier_may_see_and_no_more(self, web: tuple[Supplier, Supplier]) -> None:
        northern, southern = web

        seen = {}
        for supplier in web:
            with asking.acting(of(supplier)):
                seen[supplier] = count()
            with asking.acting(of(supplier)), suppress(ProgrammingError):
                assert CommunicationsHub.objects.count() == seen[supplier]

        assert seen == {northern: 3, southern: 2}

    def test_sees_nothing_where_no_supplier_is_named(self, web: tuple[Supplier, Supplier]) -> None:
        with asking.acting(Asker(Role.SUPPLIER)):
            assert count() == 0
            assert not User.objects.exists()

    def test_sees_people_alone_at_the_door(self, web: tuple[Supplier, Supplier]) -> None:
        with asking.acting(asking.ENTRANCE):
            assert User.objects.count() == 0
            for table in (
                "hubs_communicationshub",
                "scheduling_booking",
                "scheduling_lot",
                "hubs_fleetcount",
            ):
                with pytest.raises(ProgrammingError, match="permission denied"):
                    sql.rows(f"SELECT count(*) FROM {table}", {})

    def test_sees_everything_as_dcc(self, web: tuple[Supplier, Supplier]) -> None:
        with asking.acting(Asker(Role.STAFF)):
            assert count() == 4

    def test_leaves_nothing_on_the_connection(self, web: tuple[Supplier, Supplier]) -> None:
        northern, southern = web
        with asking.acting(of(northern)):
            [(_, _, before)] = sql.rows(WHO, {})
            assert count() == 3

        assert is_nobody()
        with asking.acting(of(southern)):
            [(user, supplier, after)] = sql.rows(WHO, {})
            assert count() == 2
        assert (user, supplier) == ("portal_supplier", str(southern.pk))
        assert before == after, "the connection was not kept, so nothing was shown"

    @pytest.mark.parametrize("breaks", ["python", "statement", "transaction", "cut off"])
    def test_leaves_nothing_when_it_breaks(self, breaks: str, web: tuple[Supplier, Supplier]) -> None:
        northern, southern = web
        with pytest.raises((RuntimeError, DatabaseError)):
            ask_and_break(of(northern), breaks)
        if breaks == "cut off":
            connection.rollback()
            transaction.set_autocommit(True)

        assert is_nobody()
        with asking.acting(of(southern)):
            assert count() == 2

    def test_is_told_once_for_each_transaction(self, web: tuple[Supplier, Supplier]) -> None:
        told = []

        def listen(execute: Any, statement: Any, parameters: Any, many: bool, context: Any) -> Any:
            told.append(str(statement).count("SET LOCAL ROLE"))
            return execute(statement, parameters, many, context)

        with asking.acting(of(web[0])), connection.execute_wrapper(listen):
            count()
            with transaction.atomic(durable=True):
                count()
                count()
                with transaction.atomic():
                    count()
            count()

        assert told == [1, 1, 0, 0, 0, 0, 1]

    def test_goes_back_to_whom_it_was_before_when_a_part_is_taken_back(
        self, web: tuple[Supplier, Supplier]
    ) -> None:
        with asking.acting(of(web[0])), transaction.atomic():
            assert count() == 3
            with pytest.raises(RuntimeError):
                ask_and_take_back("SELECT 1")
            assert count() == 3
            with pytest.raises(DatabaseError):
                ask_and_take_back("SELECT 1 / 0")
            assert count() == 3

    def test_says_again_who_asks_when_that_was_taken_back(self, web: tuple[Supplier, Supplier]) -> None:
        with asking.acting(of(web[0])), transaction.atomic():
            assert count() == 3
            with pytest.raises(ZeroDivisionError):
                become_and_take_back(Asker(Role.STAFF))

            assert count() == 4

    def test_is_nobody_again_after_a_block_within_a_transaction(self, web: tuple[Supplier, Supplier]) -> None:
        with transaction.atomic():
            with asking.acting(of(web[0])):
                assert count() == 3
            assert count() == DENIED

    @pytest.mark.parametrize("in_transaction", [False, True])
    def test_holds_for_every_kind_of_statement(
        self, in_transaction: bool, web: tuple[Supplier, Supplier]
    ) -> None:
        with asking.acting(of(web[0])):
            if in_transaction:
                transaction.set_autocommit(False)
            every = CommunicationsHub.objects.order_by("pk")
            assert len(list(every.iterator(chunk_size=1))) == 3
            assert sql.rows(sql.Often(HUBS), {}) == [(3,)]
            assert sql.several([HUBS, "SELECT 1", HUBS], {}) == [[(3,)], [(1,)], [(3,)]]
            with connection.cursor() as cursor:
                cursor.executemany("SELECT set_config('portal.of_a_test', %s, false)", [["a"], ["b"]])
                with cursor.copy("COPY (SELECT 1) TO STDOUT") as rows:
                    assert b"".join(bytes(row) for row in rows) == b"1\n"
            if in_transaction:
                connection.rollback()
                transaction.set_autocommit(True)
            with sql.snapshot():
                assert count() == 3

        assert is_nobody()

    def test_is_of_one_thread(self, web: tuple[Supplier, Supplier]) -> None:
        said: list[object] = []

        def ask() -> None:
            said.extend([asking.asker(), count()])
            connection.close()

        with asking.acting(of(web[0])):
            other = threading.Thread(target=ask)
            other.start()
            other.join()
            assert count() == 3

        assert said == [None, DENIED]


class TestTrusted:
    def test_is_so_within_the_block_alone(self, web: tuple[Supplier, Supplier]) -> None:
        with asking.acting(of(web[0])):
            with asking.trusted("a test"):
                assert count() == 4
            assert count() == 3

    def test_gives_nobody_else_anything(self, web: tuple[Supplier, Supplier]) -> None:
        with asking.trusted("a test"):
            assert count() == DENIED
        with asking.acting(asking.ENTRANCE), asking.trusted("a test"):
            assert count() == DENIED


class TestRequests:
    """The two middlewares, with answers that are still being fetched when the view has ended."""

    def answer(self, view: Any, user: User) -> Any:
        request = HttpRequest()
        request.user = user  # type: ignore[assignment]
        request.resolver_match = resolve("/")

        def respond(request: HttpRequest) -> Any:
            inner.process_view(request, view, (), {})
            return view(request)

        inner = AsWhoAsks(respond)
        return AtTheDoor(inner)(request)

    def test_are_asked_as_who_asks_and_forgotten(self, web: tuple[Supplier, Supplier]) -> None:
        said = []

        def view(request: HttpRequest) -> HttpResponse:
            said.append(count())
            return HttpResponse()

        for supplier in web:
            self.answer(view, User(supplier=supplier))
        self.answer(view, User(is_staff=True))

        assert said == [3, 2, 4]
        assert is_nobody()

    def test_stream_as_who_asked(self, web: tuple[Supplier, Supplier]) -> None:
        def view(request: HttpRequest) -> StreamingHttpResponse:
            return StreamingHttpResponse(str(count()) for _ in range(2))

        first, second = (self.answer(view, User(supplier=supplier)) for supplier in web)
        parts = zip(first, second, strict=True)

        assert next(parts) == (b"3", b"2")
        assert is_nobody()
        assert next(parts) == (b"3", b"2")

    def test_leave_a_public_page_at_the_door(self, web: tuple[Supplier, Supplier]) -> None:
        def view(request: HttpRequest) -> HttpResponse:
            return HttpResponse(str(asking.asker()))

        view.login_required = False  # type: ignore[attr-defined]

        assert self.answer(view, User(supplier=web[0])).content.decode() == str(asking.ENTRANCE)


class TestLogin:
    """What is told to a web server that could see more than whoever asks it."""

    @pytest.mark.parametrize(
        ("role", "says"),
        [
            ("portal_web", ""),
            ("portal", "The role portal owns the portal's tables"),
            (
                "portal_work",
                "The role portal_work may not become portal_entrance, portal_staff",
            ),
        ],
    )
    def test_is_judged(self, role: str, says: str, transactional_db: None) -> None:
        with logged_in(role):
            said = walls.fault()

        assert said.startswith(says)
        assert bool(said) == bool(says)


@pytest.fixture
def world(transactional_db: None) -> World:
    from portal.ground import clock

    return make(now=clock.now())


class TestWorkers:
    def test_carry_out_what_was_booked_as_their_own_role(self, world: World) -> None:
        world.hubs(3)
        world.slot(start=timedelta(hours=5), room=3)
        Group.objects.exists()
        booking = world.book()
        with logged_in("portal_work"):
            world.clock.move(hours=5)
            world.work()

        assert booking.lots.get().succeeded == 3
