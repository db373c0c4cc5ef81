"""Workers' own clocks do not matter: every decision goes by the database's."""

import ast
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone

from hubs.gateway import Phase
from hubs.modelled_fleet.models import CommandLog
from portal.ground import clock
from scheduling import tasks
from scheduling.lifecycle import State
from scheduling.models import Command, Deployment
from tests.scheduling import world as worlds

APPS = ("portal", "firmware", "scheduling", "hubs")
HOUR = timedelta(hours=1)
MOMENTS = {
    ("datetime", "now"),
    ("datetime", "today"),
    ("datetime", "utcnow"),
    ("date", "today"),
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "localtime"),
    ("time", "gmtime"),
    ("time", "ctime"),
    ("time", "strftime"),
    ("timezone", "now"),
    ("timezone", "localtime"),
    ("timezone", "localdate"),
}
"""Calls that ask a machine for the moment. `time.monotonic` is none: it measures how long something took."""
ALLOWED = {
    (
        "portal/heartbeat.py",
        "time.time",
    ): "how long a task has run, on the machine that began it; shown, not decided by",
    ("portal/supervisor.py", "time.strftime"): "stands before each line that a program of the demo says",
    (
        "portal/templatetags/portal.py",
        "timezone.now",
    ): "says “today” beside a time that is shown; decides nothing",
}


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Return the path and the syntax of every file of the portal."""
    for app in APPS:
        for path in sorted((settings.BASE_DIR / app).rglob("*.py")):
            if "migrations" not in path.parts:
                yield str(path.relative_to(settings.BASE_DIR)), ast.parse(path.read_text())


def moments(tree: ast.Module) -> Iterator[str]:
    """Return what asks a machine for the moment in a file: by any name that it was imported under."""
    names = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    direct = {
        alias.asname or alias.name: f"{(node.module or '').rpartition('.')[2]}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if ((node.module or "").rpartition(".")[2], alias.name) in MOMENTS
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            name = names.get(name, name).rpartition(".")[2]
            if (name, node.attr) in MOMENTS:
                yield f"{name}.{node.attr}"
        elif isinstance(node, ast.Name) and node.id in direct:
            yield direct[node.id]
        elif isinstance(node, ast.keyword) and node.arg in ("auto_now", "auto_now_add"):
            yield node.arg


class TestTheSources:
    def test_ask_no_machine_for_the_moment(self) -> None:
        found = {(path, asked) for path, tree in sources() for asked in moments(tree)}
        assert found - set(ALLOWED) == set(), "pass `now` in; it comes from portal.ground.clock"
        assert set(ALLOWED) - found == set(), "nobody needs this exception any more"

    @pytest.mark.parametrize(
        "source",
        [
            "from datetime import datetime\ndatetime.now(UTC)",
            "import datetime\ndatetime.datetime.now()",
            "import datetime as dt\ndt.date.today()",
            "from datetime import datetime as D\nask = D.utcnow",
            "import time\ntime.time()",
            "from time import time\ntime()",
            "from time import time as t\nkey = t",
            "from django.utils import timezone\ntimezone.now()",
            "from django.utils.timezone import now\nmodels.DateTimeField(default=now)",
            "models.DateTimeField(auto_now=True)",
        ],
    )
    def test_would_be_caught(self, source: str) -> None:
        assert list(moments(ast.parse(source)))


class Skewed(type(datetime)):  # type: ignore[misc]
    """Makes every moment an instance of the datetime that is off, so that nothing else changes."""

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


@pytest.fixture
def off(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Set this process's clock wrong, in all the ways in which Python reads it."""

    def set_wrong(by: timedelta) -> None:
        class Wrong(datetime, metaclass=Skewed):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + by

            @classmethod
            def utcnow(cls) -> datetime:  # type: ignore[override]
                return datetime.now(UTC).replace(tzinfo=None) + by

        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + by.total_seconds())
        monkeypatch.setattr(timezone, "now", lambda: datetime.now(UTC) + by)
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] in APPS and getattr(module, "datetime", None) is datetime:
                monkeypatch.setattr(module, "datetime", Wrong)

    return set_wrong


@pytest.mark.django_db
class TestAWorkerAnHourOff:
    @pytest.fixture
    def world(self) -> worlds.World:
        """Three staged hubs, by the database's clock."""
        world = worlds.make(now=clock.now() - timedelta(hours=6))
        world.hubs(3)
        return world

    def work(self) -> None:
        for _ in range(10):
            tasks.carry_out()
            tasks.collect_reports()

    def test_has_the_databases_moment(self, off: Callable[[timedelta], None], db: None) -> None:
        true = datetime.now(UTC)
        off(HOUR)
        assert true <= clock.now() < true + HOUR / 2

    def test_that_is_fast_activates_nothing_ahead_of_the_slot(
        self, world: worlds.World, off: Callable[[timedelta], None]
    ) -> None:
        world.slot(start=timedelta(hours=6, minutes=30), room=3)
        world.book()
        off(HOUR)
        self.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.STAGED}
        assert not CommandLog.objects.filter(phase=Phase.ACTIVATE).exists()

    def test_that_is_slow_activates_in_the_slot_as_the_others_do(
        self, world: worlds.World, off: Callable[[timedelta], None]
    ) -> None:
        slot = world.slot(start=timedelta(hours=6) - timedelta(minutes=1), room=3)
        world.book()
        off(-HOUR)
        self.work()
        assert set(Deployment.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
        for command in Command.objects.all():
            assert command.sent_at
            assert slot.holds(command.sent_at)

    def test_that_is_fast_does_not_take_a_lot_from_whoever_has_it(
        self, world: worlds.World, off: Callable[[timedelta], None]
    ) -> None:
        world.slot(start=timedelta(hours=8), room=3)
        world.book()
        from_now = tasks.deployments.claim(now=clock.now())
        assert from_now
        off(HOUR)
        self.work()
        assert not Command.objects.exists()


def test_the_folder_of_the_sources_is_the_portals() -> None:
    """The enumeration above looks where the code is."""
    assert Path(clock.__file__).is_relative_to(settings.BASE_DIR / "portal")
    assert len(list(sources())) > 100
