from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection
from django.db.utils import ProgrammingError

from hubs.models import Network
from portal.ground import sql


@pytest.mark.django_db(transaction=True)
class TestSeveral:
    def test_lets_each_see_what_those_before_it_did(self) -> None:
        statements = [
            "INSERT INTO hubs_network (code, name, carrier) VALUES ('isles', %(name)s, '')",
            "SELECT name FROM hubs_network WHERE name = %(name)s",
        ]
        assert sql.several(statements, {"name": "Isles"}) == [[], [("Isles",)]]

    def test_does_all_of_them_or_none(self) -> None:
        Network.objects.create(code="isles", name="Isles")
        with pytest.raises(ProgrammingError):
            sql.several(["DELETE FROM hubs_network", "SELECT FROM nowhere"], {})
        assert Network.objects.filter(code="isles").exists()


@pytest.mark.django_db
class TestRows:
    def test_hand_on_what_is_named_where_much_more_is_given(self) -> None:
        given = {f"other_{number}": number for number in range(sql.MANY)} | {"one": 1, "two": 2}
        handed_on: list[dict[str, int]] = []

        def see(execute: Any, statement: str, parameters: dict[str, int], *rest: Any) -> Any:
            handed_on.append(parameters)
            return execute(statement, parameters, *rest)

        with connection.execute_wrapper(see):
            assert sql.rows("SELECT %(one)s + %(two)s + %(one)s", given) == [(4,)]
            assert sql.run("SELECT %(two)s", given) == 1
        assert handed_on == [{"one": 1, "two": 2}, {"two": 2}]


@pytest.mark.django_db
class TestOften:
    def test_answers_as_others_do_however_often_it_is_asked(self) -> None:
        statement = sql.Often("SELECT %(number)s::int + %(more)s::int, 5 %% %(number)s::int")
        for number in range(1, 20):
            given = {"number": number, "more": 1, "nothing": None}
            assert sql.rows(statement, given) == [(number + 1, 5 % number)]

    def test_acts_as_others_do(self) -> None:
        make = sql.Often("INSERT INTO hubs_network (code, name, carrier) VALUES (%(code)s, %(name)s, '')")
        for name in ("O'Neill", "100 %"):
            assert sql.run(make, {"code": name, "name": name}) == 1
        assert set(Network.objects.values_list("name", flat=True)) >= {"O'Neill", "100 %"}

    def test_goes_along_with_others(self) -> None:
        one = sql.Often("SELECT %(one)s::text || %(two)s")
        answers = sql.several([one, "SELECT %(two)s", one], {"one": "a", "two": "b"})
        assert answers == [[("ab",)], [("b",)], [("ab",)]]

    def test_is_prepared_once(self) -> None:
        text = "SELECT count(*) FROM hubs_network WHERE id > %(least)s"
        for statement in (sql.Often(text), sql.Often(text)):
            sql.rows(statement, {"least": 0})
        named = "SELECT statement FROM pg_prepared_statements WHERE name = %(name)s"
        prepared = f"PREPARE {statement.name} AS {text.replace('%(least)s', '$1')}"
        assert sql.rows(named, {"name": statement.name}) == [(prepared,)]

    def test_is_prepared_anew_in_another_connection(self) -> None:
        statement = sql.Often("SELECT 1")
        assert sql.rows(statement, {}) == [(1,)]
        with ThreadPoolExecutor(1) as elsewhere:
            assert elsewhere.submit(lambda: (sql.rows(statement, {}), connection.close())[0]).result() == [
                (1,)
            ]

    def test_says_what_is_wrong_as_others_do(self) -> None:
        with pytest.raises(ProgrammingError, match="nowhere"):
            sql.rows(sql.Often("SELECT FROM nowhere"), {})


@pytest.mark.django_db
class TestInstance:
    def test_is_what_a_queryset_gives(self) -> None:
        network = Network.objects.create(code="isles", name="Isles")
        [row] = sql.rows(
            f"SELECT {sql.columns(Network, 'network')} FROM hubs_network network WHERE id = %(id)s",
            {"id": network.pk},
        )
        made = sql.instance(Network, row)
        assert made == network
        assert made.name == "Isles"
        assert not made._state.adding
        assert made._state.db == connection.alias
