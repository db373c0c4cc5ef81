"""A plugin of pytest: write down how each test ended, and stop at the first that failed by an assertion."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

FILE = "PROVE_VERDICTS"
"""Names the file in the environment."""
PASSED, ASSERTION, BROKE = "passed", "assertion", "broke"


def is_assertion(error: BaseException) -> bool:
    """Say whether a test failed because what it asserts does not hold, and not because something broke."""
    if isinstance(error, BaseExceptionGroup):
        return any(map(is_assertion, error.exceptions))
    return isinstance(error, AssertionError | pytest.fail.Exception)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: "pytest.CallInfo[None]") -> Iterator[None]:
    """Write one line for each test that ran, and for each that could not be prepared."""
    yield
    if call.excinfo is None and call.when != "call":
        return
    verdict, why = PASSED, ""
    if call.excinfo is not None:
        fails = call.when == "call" and is_assertion(call.excinfo.value)
        verdict, why = ASSERTION if fails else BROKE, call.excinfo.exconly(tryshort=True)
    with Path(os.environ[FILE]).open("a") as file:
        file.write(json.dumps({"test": item.nodeid, "verdict": verdict, "why": why[:2_000]}) + "\n")
    if verdict == ASSERTION:
        item.session.shouldstop = "one assertion failed, which is enough"
