"""The list of enforcements fits the code, the database and the tests; `manage.py prove` does the rest."""

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache

import psycopg
import pytest
from django.conf import settings
from django.db import connection, transaction

from tests.mutations import predicates, proving, verdicts
from tests.mutations.changes import Edit, Misfit, Statement, in_database
from tests.mutations.enforcements import (
    CLAIMS,
    ENFORCEMENTS,
    GATE,
    PROTECTION,
    REPORTS,
    SENDER,
    TAKEN,
    Enforcement,
)
from tests.mutations.predicates import Predicate
from tests.mutations.proving import Ending, judge

PROMISES = {*range(1, 25), 28, 29}
DOCUMENT = settings.BASE_DIR / "docs" / "architecture.md"
KEY = re.compile(
    r"([a-z]+\.)?(id|deployment_id|lot_id|hub) (= [a-z]+\.[a-z_]+|= %\([a-z]+\)s|= ANY\(%\([a-z]+\)s.*|=|IN)"
)
"""What joins a row to its own in another table. Without it a statement is another statement."""
ONLY_WHEN = {"HAND_BACK", "LOOK", "LOOK_LATER", "WAKE", "WAKE_WAITING"}
"""Statements that say when somebody looks, and at what, and not what may be done then."""
HELD_TWICE = {
    "id = %(lot)s FOR NO KEY in HOLD_ON": "locks more lots, and hides nothing",
    "%(activates)s in ADMIT": "spares a look where nothing is to be activated",
    "NOT awaiting in ADMIT": "what is awaited and due was made silent, or waits anew, two statements before",
    "NOT deployment.awaiting in NOT_ELIGIBLE": "what is awaited and due was made silent, or waits anew, before",
    "%(some_{when})s in PROTECTED": "spares a look into lists that are empty then",
    "command.phase = kept.phase in UNSTAMP": "no other command of the deployment was stamped at that moment",
    "command.attempt = kept.attempt in UNSTAMP": "no other command of the deployment was stamped at that moment",
    "command.verdict IS NULL in UNSTAMP": "what has a receipt has left, and is not among those that are unstamped",
    "state = ANY(%(final)s in RECORD": "only wakes lots that wait for room",
    "verdict IS DISTINCT in RECEIPTS": "spares a write of what stands there",
}
"""Conditions that others imply; they stand there for whoever changes those others."""


def edits() -> list[Enforcement]:
    """Return those that are text of a file."""
    return [one for one in ENFORCEMENTS if isinstance(one.change, Edit)]


class TestTheList:
    def test_has_a_name_for_each(self) -> None:
        assert [name for name, times in Counter(one.name for one in ENFORCEMENTS).items() if times > 1] == []

    def test_names_every_promise(self) -> None:
        assert PROMISES - {one.promise for one in ENFORCEMENTS} == set()

    def test_names_tests_that_exist(self) -> None:
        named = {test for one in ENFORCEMENTS for test in one.tests}
        assert {test for test in named if not exists(test)} == set()
        assert all(one.tests for one in ENFORCEMENTS)

    @pytest.mark.parametrize("one", edits(), ids=[one.name for one in edits()])
    def test_fits_the_code(self, one: Enforcement) -> None:
        assert isinstance(one.change, Edit)
        compile(one.change.text(folder=settings.BASE_DIR), one.change.file, "exec")

    def test_fits_the_database(self, db: None) -> None:
        for one in ENFORCEMENTS:
            if isinstance(one.change, Edit):
                continue
            with transaction.atomic():
                in_database(change=one.change, connection=connection.connection)  # type: ignore[arg-type]
                transaction.set_rollback(True)

    def test_would_not_fit_what_is_not_there(self, db: None) -> None:
        with pytest.raises(Misfit, match="0 times"):
            Edit(GATE, "no such predicate", "").text(folder=settings.BASE_DIR)
        with pytest.raises(Misfit, match="puts back"):
            Edit(GATE, "RECALL", "RECALL").text(folder=settings.BASE_DIR)
        gone = Statement("no_such_rule", "ALTER TABLE scheduling_slot DROP CONSTRAINT no_such_rule")
        with pytest.raises(psycopg.Error, match="does not exist"):
            in_database(change=gone, connection=connection.connection)  # type: ignore[arg-type]


@cache
def names(file: str) -> set[str]:
    """Return the classes, functions and methods of a file of tests, as pytest writes them after its name."""
    path = settings.BASE_DIR / file
    found: set[str] = set()
    for node in ast.parse(path.read_text() if path.exists() else "").body:
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
            found |= {
                f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)
            }
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
    return found


def exists(test: str) -> bool:
    """Say whether there is a test, a class of tests, or a file of them, of that name."""
    file, _, name = test.partition("::")
    return name in names(file) if name else bool(names(file))


class TestTheDocument:
    """The table of promises that people read says where each is enforced and which tests prove it."""

    ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)

    def rows(self) -> dict[int, tuple[set[str], set[str]]]:
        """Return what stands in code marks in the last two columns of each promise."""
        return {
            int(number): (set(re.findall(r"`([^`]+)`", where)), set(re.findall(r"`(tests/[^`]+)`", tests)))
            for number, _, where, tests in self.ROW.findall(DOCUMENT.read_text())
        }

    def test_has_the_promises_of_the_list(self) -> None:
        assert set(self.rows()) == {one.promise for one in ENFORCEMENTS}

    def test_says_where_each_is_enforced(self) -> None:
        said = {number: where for number, (where, _) in self.rows().items()}
        for one in ENFORCEMENTS:
            assert {place for place in said[one.promise] if f"/{one.change.place}".endswith(f"/{place}")}, (
                one.name
            )
        places = {
            number: {one.change.place for one in ENFORCEMENTS if one.promise == number} for number in said
        }
        for number, marks in said.items():
            for mark in marks - {"now"}:
                assert {place for place in places[number] if f"/{place}".endswith(f"/{mark}")}, (number, mark)

    def test_says_which_tests_prove_it(self) -> None:
        for number, (_, tests) in self.rows().items():
            used = {
                test.partition("::")[0] for one in ENFORCEMENTS for test in one.tests if one.promise == number
            }
            assert used <= tests, number
            assert all(exists(test) for test in tests), number


class TestTheGate:
    """Every condition of the Gate and of its neighbours is taken out by somebody."""

    FILES = (CLAIMS, GATE, PROTECTION, SENDER, TAKEN, REPORTS)
    TERMS = ("may_stage", "may_activate", "may_verify")

    def conditions(self, source: str, file: str) -> Iterator[Predicate]:
        yield from predicates.in_sql(source=source, file=file)
        yield from predicates.in_terms(source=source, file=file, keys=self.TERMS)

    def test_loses_every_condition_once(self) -> None:
        lost: set[Predicate] = set()
        there: set[Predicate] = set()
        for file in self.FILES:
            whole = Counter(self.conditions((settings.BASE_DIR / file).read_text(), file))
            there |= set(whole)
            for one in edits():
                if isinstance(one.change, Edit) and one.change.file == file:
                    left = Counter(self.conditions(one.change.text(folder=settings.BASE_DIR), file))
                    lost |= set(whole - left)
        kept = {
            one
            for one in there - lost
            if not KEY.fullmatch(one.words)
            and one.words not in ("{OURS}", "true")
            and one.statement not in ONLY_WHEN
        }
        assert {f"{one.words} in {one.statement}" for one in kept} - set(HELD_TWICE) == set()
        assert set(HELD_TWICE) - {f"{one.words} in {one.statement}" for one in kept} == set()
        assert len(there) > 100


class TestJudge:
    def run(self, status: int | None, *said: str) -> proving._Run:
        lines = [
            {"test": f"test_{number}", "verdict": verdict, "why": "x"} for number, verdict in enumerate(said)
        ]
        return proving._Run(status, lines, "words")

    @pytest.mark.parametrize(
        ("status", "said", "ending"),
        [
            (1, [verdicts.PASSED, verdicts.ASSERTION], Ending.PROVED),
            (1, [verdicts.BROKE, verdicts.ASSERTION], Ending.PROVED),
            (None, [verdicts.ASSERTION], Ending.PROVED),
            (0, [verdicts.PASSED], Ending.SURVIVED),
            (1, [verdicts.PASSED, verdicts.BROKE], Ending.BROKE),
            (None, [verdicts.PASSED], Ending.HUNG),
            (2, [], Ending.BROKE),
            (4, [], Ending.BROKE),
            (0, [], Ending.BROKE),
        ],
    )
    def test_takes_nothing_but_an_assertion_for_a_proof(
        self, status: int | None, said: list[str], ending: Ending
    ) -> None:
        assert judge(self.run(status, *said))[0] is ending

    def test_tells_an_assertion_from_what_broke(self) -> None:
        assert verdicts.is_assertion(AssertionError())
        assert verdicts.is_assertion(pytest.fail.Exception("DID NOT RAISE"))
        assert verdicts.is_assertion(ExceptionGroup("two", [ValueError(), AssertionError()]))
        assert not verdicts.is_assertion(ImportError())
        assert not verdicts.is_assertion(ExceptionGroup("one", [ValueError()]))


class TestTheCommand:
    def prove(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run the command as a person does, on the servers of the tests."""
        return subprocess.run(
            [sys.executable, "manage.py", "prove", *words],
            cwd=settings.BASE_DIR,
            env=os.environ | {"DATABASE_URL": settings.DATABASE_URL, "REDIS_URL": settings.REDIS_URL},
            capture_output=True,
            text=True,
            check=False,
        )

    def test_takes_one_enforcement_out_and_sees_its_test_fail(self) -> None:
        ended = self.prove("--only", "a version that runs already is left", "--only", "a lot's counts add up")
        assert ended.returncode == 0, ended.stderr + ended.stdout
        assert ended.stdout.count(" proved ") == 2
        assert "2 of 2 enforcements of 2 promises are proved" in ended.stdout

    def test_says_what_there_is(self) -> None:
        ended = self.prove("--list")
        assert len(ended.stdout.splitlines()) == len(ENFORCEMENTS)
        assert "See them with --list" in self.prove("--only", "no such thing").stderr
