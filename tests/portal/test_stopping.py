"""Tests of the answer to whether a process was asked to stop."""

import subprocess
import sys

from django.conf import settings

# In a process of its own: nobody takes back that it was asked.
FAMILY = """
import os, sys, time
from portal.ground import stopping

def child(answer):
    number = os.fork()
    if number == 0:
        until = time.monotonic() + 10
        while not answer() and time.monotonic() < until:
            time.sleep(0.01)
        os._exit(0 if answer() else 1)
    return number

first = child(stopping.asked)
stopping.{ask}()
later = child(stopping.asked)
print(stopping.asked(), stopping.keep_going(), stopping.always(), *(os.waitpid(one, 0)[1] for one in (first, later)))
stopping.begin()
print(stopping.asked())
"""


def said(ask: str) -> list[str]:
    """Fork a child before and one after asking; return what the parent and the children know."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            FAMILY.replace("{ask}", ask).replace("+ 10", "+ 1" if "alone" in ask else "+ 10"),
        ],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


class TestAsk:
    def test_reaches_children_forked_before_and_after_and_is_not_forgotten(self) -> None:
        assert said("ask") == ["True", "False", "True", "0", "0", "True"]


class TestAskAlone:
    def test_reaches_nobody_who_was_forked_before_and_ends_with_what_one_was_at(self) -> None:
        know = said("ask_alone")
        assert know[:3] == ["True", "False", "True"]
        assert know[3] != "0"
        assert know[5] == "False"
