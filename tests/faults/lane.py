"""A lane: servers, a mail server and a nursery of its own, in which one storm after another is run."""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, InterfaceError, connection

from portal import embedded
from tests.conftest import THAWED
from tests.faults import carrier, tides
from tests.faults.carrier import Mood
from tests.faults.nursery import Nursery, Order, lives, log_of, tell
from tests.smtp import MailServer, Trouble

PRISTINE = "pristine"
BANNER = (". scheduling.", "---", "- ***", "***", "*", ".>", "[tasks]", "__ ", "Configuration", ". ")
HARNESS = "storm"
"""Our own connections, which no fault breaks."""
ACTIVITY = """
SELECT pid, state, wait_event_type, wait_event, date_trunc('second', pg_catalog.clock_timestamp() - state_change),
       regexp_replace(left(query, 120), '\\s+', ' ', 'g')
FROM pg_stat_activity WHERE usename = 'portal' ORDER BY pid
"""
FULL_DISK = """
CREATE SCHEMA storm;
CREATE TABLE storm.full_disk (name text NOT NULL);
CREATE FUNCTION storm.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM storm.full_disk WHERE name = TG_TABLE_NAME) THEN
        RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
    END IF;
    RETURN NULL;
END $$;
GRANT USAGE ON SCHEMA storm TO portal;
GRANT SELECT ON storm.full_disk TO portal;
"""
MAY_BE_FULL = (
    "scheduling_notice",
    "scheduling_command",
    "scheduling_deployment",
    "modelled_fleet_commandlog",
)
READ_AND_WRITE = "ALTER ROLE portal RESET default_transaction_read_only"
REFUSES = """
CREATE TRIGGER storm_refuses BEFORE INSERT OR UPDATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION storm.refuse()
"""


class Lane:
    """What a storm plays with. Made once for each process; `begin` makes it new for the next run."""

    def __init__(self) -> None:
        self.services = embedded.current()
        self.folder = self.services.state / "run"
        settings.EMAIL_PORT = _free_port()
        self.nursery = Nursery()  # before anything is opened
        self.mail_server = MailServer(port=settings.EMAIL_PORT)
        self.mail_server.start()
        self.workers: list[psutil.Process] = []
        self.beats: list[psutil.Process] = []
        self.may_double_mail = False
        """Somebody may have died between an e-mail and its stamp."""
        self._started = 0

    # -- between runs ------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Start the servers, and make the database that every run begins with a copy of."""
        self._wake_servers()  # whoever was here before may have been killed in mid-storm
        self.services.ensure()
        self._migrate()
        # who brings the faults to an end must not wait for what they hold
        connection.settings_dict["OPTIONS"] |= {
            "application_name": HARNESS,
            "options": "-c lock_timeout=300ms -c statement_timeout=20s",
        }

    def _migrate(self) -> None:
        stamp = self.services.state / "migrated"
        wanted = _what_makes_the_database()
        if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
            return
        stamp.unlink(missing_ok=True)
        for name in ("portal", PRISTINE):
            self._as_superuser(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._as_superuser("CREATE DATABASE portal OWNER portal")
        call_command("migrate", verbosity=0)
        with connection.cursor() as cursor:
            cursor.execute(THAWED)  # a storm's release has a policy of its own
        connection.close()
        self._as_superuser(tides.PUBLIC_FIRST, FULL_DISK, database="portal")
        for table in MAY_BE_FULL:
            self._as_superuser(REFUSES.format(table=table), database="portal")
        self._as_superuser(f"ALTER DATABASE portal RENAME TO {PRISTINE}")
        stamp.write_text(wanted, encoding="utf-8")

    def begin(self) -> None:
        """Forget the last run: a database and a Redis as new, nobody at work."""
        self.end()
        self._wake_servers()
        self.services.ensure()
        self._as_superuser("DROP DATABASE IF EXISTS portal WITH (FORCE)")
        self._as_superuser(
            f"CREATE DATABASE portal OWNER portal TEMPLATE {PRISTINE} STRATEGY file_copy",
            READ_AND_WRITE,
        )
        self.ask_redis("FLUSHALL")
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        shutil.rmtree(settings.MEDIA_ROOT, ignore_errors=True)
        Path(settings.MEDIA_ROOT).mkdir(parents=True)
        carrier.forget()
        self.mail_server.have(Trouble.NONE)
        self.mail_server.mails = []
        self.may_double_mail = False

    def end(self) -> None:
        """Let nobody live on."""
        connection.close()
        self.nursery.bury()
        self.workers, self.beats, self._started = [], [], 0

    # -- who is at work ----------------------------------------------------------------------------------

    def start_worker(self, **particulars: Any) -> psutil.Process:
        """Start a worker; see `Order`."""
        self.workers.append(self._start("worker", particulars))
        return self.workers[-1]

    def start_beat(self, **particulars: Any) -> psutil.Process:
        """Start a timetable; see `Order`."""
        self.beats.append(self._start("beat", particulars))
        return self.beats[-1]

    def _start(self, kind: Any, particulars: dict[str, Any]) -> psutil.Process:
        self._started += 1
        log = log_of(folder=self.folder, kind=kind, number=self._started)
        return self.nursery.start(Order(kind, log, **particulars))

    def living(self, kind: str = "worker") -> list[psutil.Process]:
        """Return the workers, or the beats, that are alive."""
        return [process for process in (self.workers if kind == "worker" else self.beats) if lives(process)]

    def kill(self, process: psutil.Process) -> None:
        """Kill a process and all its children."""
        self.may_double_mail = True
        tell(process, signal.SIGKILL)

    # -- the servers -------------------------------------------------------------------------------------

    def as_superuser(self, *statements: str) -> None:
        """Carry statements out in the portal's database, past its limits."""
        self._as_superuser(*statements, database="portal")

    def asked_as_superuser(self, question: str) -> list[tuple[Any, ...]]:
        """Ask something of the portal's database, past its limits."""
        with self.connect(user="postgres") as superuser:
            return superuser.execute(question.encode()).fetchall()

    def _as_superuser(self, *statements: str, database: str = "template1") -> None:
        with self.connect(database=database, user="postgres") as superuser:
            for statement in statements:
                superuser.execute(statement.encode())

    def connect(self, *, database: str = "portal", user: str = "portal") -> psycopg.Connection[Any]:
        """Open one more connection."""
        return psycopg.connect(
            host=str(self.services.sockets),
            port=embedded.PORT,
            dbname=database,
            user=user,
            application_name=HARNESS,
            autocommit=True,
            connect_timeout=5,
        )

    def postgresql(self) -> psutil.Process:
        """Return the leader of PostgreSQL's processes."""
        return _process_of(self.services.state / "pg" / "postmaster.pid")

    def _wake_servers(self) -> None:
        """Let everything of the servers go on that stands still."""
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
            self.redis().resume()
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
            for backend in self.postgresql().children():
                backend.resume()

    def redis(self) -> psutil.Process:
        """Return Redis."""
        return _process_of(self.services.state / "redis" / "redis.pid")

    def ask_redis(self, *words: str) -> bytes:
        """Give Redis one command; return the beginning of its answer, or nothing if it does not answer."""
        asked = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as line:
            line.settimeout(0.5)
            line.connect(str(self.services.redis_socket))
            line.sendall(asked.encode())
            return line.recv(1_024)
        return b""

    def crash_postgresql(self) -> None:
        """Stop PostgreSQL at once: no goodbye to anybody, no checkpoint."""
        self.may_double_mail = True
        leader = self.postgresql()
        self._wake_servers()  # who stands still would not hear it
        leader.send_signal(signal.SIGQUIT)
        _wait_for_end(leader)

    def kill_redis(self) -> None:
        """Kill Redis, with all that it knows."""
        redis = self.redis()
        redis.kill()
        _wait_for_end(redis)

    def start_postgresql(self) -> None:
        """Let PostgreSQL come back, as it was."""
        self.services.ensure(wanted=("DATABASE_URL",))

    def start_redis(self) -> None:
        """Let Redis come back, empty."""
        self.services.ensure(wanted=("REDIS_URL",))

    def calm(self) -> None:
        """End whatever a fault could not end itself, because another was in its way."""
        self.mail_server.have(Trouble.NONE)
        carrier.set_mood(Mood())
        self._wake_servers()
        self.services.ensure()
        connection.close()
        for process in (*self.workers, *self.beats):
            tell(process, signal.SIGCONT)
        self.as_superuser(READ_AND_WRITE, "TRUNCATE storm.full_disk")

    def whereabouts(self) -> list[str]:
        """Say what everybody is at who should have been done."""
        return [
            f"workers {[worker.pid for worker in self.living()]}, beats {[beat.pid for beat in self.living('beat')]}",
            f"in the queue {self.ask_redis('LLEN', 'celery')!r}, handed out {self.ask_redis('HLEN', 'unacked')!r}",
            *(" ".join(map(str, row)) for row in self.asked_as_superuser(ACTIVITY)),
        ]

    def words(self) -> dict[str, list[str]]:
        """Return the lines that everybody at work has written, by name."""
        return {
            log.stem: [
                line
                for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
                if not line.lstrip().startswith(BANNER)
            ]
            for log in sorted(self.folder.glob("*.log"))
        }


def tried(act: Callable[[], None]) -> bool:
    """Do something that needs the database, and say whether it answered."""
    try:
        act()
    except (DatabaseError, InterfaceError, psycopg.Error):
        connection.close()
        return False
    return True


def _free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        port: int = line.getsockname()[1]
    return port


def _wait_for_end(process: psutil.Process) -> None:
    until = time.monotonic() + 10
    while lives(process) and time.monotonic() < until:
        time.sleep(0.01)


def _process_of(pid_file: Path) -> psutil.Process:
    return psutil.Process(int(pid_file.read_text(encoding="ascii").split()[0]))


def _sources() -> Iterator[Path]:
    yield from sorted(Path(settings.BASE_DIR).glob("*/**/migrations/*.py"))
    yield Path(__file__)
    yield Path(tides.__file__)


def _what_makes_the_database() -> str:
    digest = hashlib.sha256()
    for path in _sources():
        digest.update(os.fsencode(path) + path.read_bytes())
    return digest.hexdigest()
