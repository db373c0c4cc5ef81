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
        for number in range(20):
            assert sql.often("SELECT %(number)s::int + 1", {"number": number}) == [(number + 1,)]

    def test_is_prepared(self) -> None:
        statement = "SELECT count(*) FROM hubs_network WHERE id > %(least)s"
        for _ in range(20):
            sql.often(statement, {"least": 0})
        prepared = sql.rows("SELECT statement FROM pg_prepared_statements", {})
        assert [text for (text,) in prepared if "hubs_network" in text] == [
            statement.replace("%(least)s", "$1")
        ]

    def test_says_what_is_wrong_as_others_do(self) -> None:
        with pytest.raises(ProgrammingError):
            sql.often("SELECT FROM nowhere", {})


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
