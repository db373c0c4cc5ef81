"""The life of a deployment in the database: every pair of states, whichever statement tries it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from psycopg.errors import CheckViolation

from scheduling.lifecycle import FINAL, MOVES, State
from scheduling.models import LOT_SPAN, Deployment, Lot
from scheduling.operations import stages
from tests.scheduling.world import World

PAIRS = [(source, target) for source, target in product(State, State) if source != target]
ILLEGAL = [(source, target) for source, target in PAIRS if target not in MOVES[source]]
ROW = """
    (id, hub_id, model_id, state, ending, phase, attempt, tries, awaiting, next_at, moved_at, ended_at, stage)
"""
STATEMENTS = {
    "update": """
        UPDATE scheduling_deployment SET state = %(target)s, next_at = %(next_at)s, ended_at = %(ended_at)s,
            stage = %(stage)s, awaiting = false
        WHERE id = ANY (%(ids)s)""",
    "update from": """
        UPDATE scheduling_deployment deployment SET state = wanted.state, next_at = %(next_at)s,
            ended_at = %(ended_at)s, stage = %(stage)s, awaiting = false
        FROM (SELECT id, %(target)s AS state FROM unnest(%(ids)s::bigint[]) AS chosen (id)) wanted
        WHERE deployment.id = wanted.id""",
    "update within": """
        WITH moved AS (
            UPDATE scheduling_deployment SET state = %(target)s, next_at = %(next_at)s, ended_at = %(ended_at)s,
                stage = %(stage)s, awaiting = false
            WHERE id = ANY (%(ids)s) RETURNING id)
        SELECT count(*) FROM moved""",
    "upsert": f"""
        INSERT INTO scheduling_deployment AS known {ROW}
        SELECT id, hub_id, model_id, 'booked', '', 1, 0, 0, false, now(), now(), NULL, 0
        FROM scheduling_deployment WHERE id = ANY (%(ids)s)
        ON CONFLICT (id) DO UPDATE SET state = %(target)s, next_at = %(next_at)s, ended_at = %(ended_at)s,
            stage = %(stage)s, awaiting = false""",
    "merge": """
        MERGE INTO scheduling_deployment deployment
        USING unnest(%(ids)s::bigint[]) AS chosen (id) ON deployment.id = chosen.id
        WHEN MATCHED THEN UPDATE SET state = %(target)s, next_at = %(next_at)s, ended_at = %(ended_at)s,
            stage = %(stage)s, awaiting = false""",
}


@pytest.fixture
def booked(world: World) -> World:
    """Two hubs, booked in one lot."""
    world.hubs(2)
    world.slot(start=timedelta(hours=5), room=2)
    world.book()
    return world


def keys() -> list[int]:
    """Return the ids of the deployments, in order."""
    return list(Deployment.objects.order_by("id").values_list("id", flat=True))


def force(key: int, state: State) -> None:
    """Put a booked deployment into a state past every trigger, and its lot's counts with it."""
    final = state in FINAL
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE scheduling_deployment DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE scheduling_deployment SET state = %(state)s,"
            " ended_at = CASE WHEN %(final)s THEN now() END, next_at = CASE WHEN NOT %(final)s THEN now() END"
            " WHERE id = %(id)s",
            {"state": state, "final": final, "id": key},
        )
        cursor.execute("ALTER TABLE scheduling_deployment ENABLE TRIGGER USER")
    if state != State.BOOKED:
        Lot.objects.filter(pk=key // LOT_SPAN).update(**{"booked": F("booked") - 1, state: F(state) + 1})


def terms(world: World, ids: list[int], target: State) -> dict[str, Any]:
    """Return what the statements want, so that no other rule stands in the way of the move."""
    final = target in FINAL
    return {
        "ids": ids,
        "target": str(target),
        "next_at": None if final else world.clock(),
        "ended_at": world.clock() if final else None,
        "stage": 1 if target == State.ACTIVATING else 0,
    }


@contextmanager
def undone() -> Iterator[None]:
    """Take back whatever is done within."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.mark.parametrize("statement", STATEMENTS)
class TestEveryPair:
    def test_moves_where_the_lifecycle_has_it_and_nowhere_else(self, booked: World, statement: str) -> None:
        one = keys()[0]
        stages.open_first(release=booked.release.pk, now=booked.clock())
        for source, target in PAIRS:
            with undone(), connection.cursor() as cursor:
                force(one, source)
                if target in MOVES[source]:
                    cursor.execute(STATEMENTS[statement], terms(booked, [one], target))
                    assert Deployment.objects.get(pk=one).state == target
                    lot = Lot.objects.get()
                    assert (getattr(lot, source), getattr(lot, target)) in ((0, 1), (1, 1), (0, 2))
                    continue
                with (
                    pytest.raises(IntegrityError, match=f"cannot move from {source} to {target}"),
                    transaction.atomic(),
                ):
                    cursor.execute(STATEMENTS[statement], terms(booked, [one], target))
                assert Deployment.objects.get(pk=one).state == source

    def test_is_refused_with_every_other_row_of_its_statement(self, booked: World, statement: str) -> None:
        one, two = keys()
        tried = 0
        for source, target in ILLEGAL:
            good = next((state for state in State if target in MOVES[state]), None)
            if good is None:
                continue
            tried += 1
            with undone(), connection.cursor() as cursor:
                force(one, good)
                force(two, source)
                with pytest.raises(IntegrityError, match=f"cannot move from {source}"), transaction.atomic():
                    cursor.execute(STATEMENTS[statement], terms(booked, [one, two], target))
                assert Deployment.objects.get(pk=one).state == good
        assert tried == len(ILLEGAL)


@contextmanager
def past_policies(cursor: Any) -> Iterator[None]:
    """Let the owner of the table copy into it, which its policies refuse altogether."""
    cursor.execute("ALTER TABLE scheduling_deployment NO FORCE ROW LEVEL SECURITY")
    yield
    cursor.execute("ALTER TABLE scheduling_deployment FORCE ROW LEVEL SECURITY")


class TestABeginning:
    @pytest.mark.parametrize("state", list(State))
    def test_by_copy_is_provisional_or_booked(self, booked: World, state: State) -> None:
        [hub, other] = booked.hubs(2)
        lot = Lot.objects.get().pk * LOT_SPAN
        final = state in FINAL

        def copy(rows: list[tuple[int, int, State]]) -> None:
            with (
                transaction.atomic(),
                connection.cursor() as cursor,
                past_policies(cursor),
                cursor.copy(f"COPY scheduling_deployment {ROW} FROM STDIN") as target,
            ):
                for place, chf_id, begins in rows:
                    ended = begins in FINAL
                    target.write_row(
                        (
                            lot + place, chf_id, hub.model_id, str(begins), "", 1, 0, 0, False,
                            None if ended else booked.clock(), booked.clock(),
                            booked.clock() if ended else None, 0,
                        )
                    )  # fmt: skip

        if state in (State.PROVISIONAL, State.BOOKED):
            copy([(1_500, hub.chf_id, state)])
            assert Deployment.objects.get(hub=hub).state == state
            return
        for rows in (
            [(1_500, hub.chf_id, state)],
            [(1_500, hub.chf_id, state), (1_501, other.chf_id, State.BOOKED)],
        ):
            with pytest.raises(CheckViolation, match=f"cannot begin as {state}"):
                copy(rows)
        assert Deployment.objects.filter(hub__in=[hub, other]).count() == 0
        assert final or state in MOVES


class TestTheTableOfMoves:
    @pytest.mark.parametrize(
        "statement",
        [
            "INSERT INTO scheduling_move VALUES ('missed', 'booked')",
            "UPDATE scheduling_move SET target = 'succeeded' WHERE source = 'staged'",
            "DELETE FROM scheduling_move",
            "TRUNCATE scheduling_move",
        ],
    )
    def test_is_not_edited(self, db: None, statement: str) -> None:
        with (
            connection.cursor() as cursor,
            pytest.raises(IntegrityError, match="by a migration alone"),
            transaction.atomic(),
        ):
            cursor.execute(statement)
