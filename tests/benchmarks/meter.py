"""What an act costs: seconds, processor time of this process and of PostgreSQL, and memory of this process."""

import contextlib
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.db import connection

LOCAL = ("", "localhost", "127.0.0.1", "::1")
TELLING_CPU = 0.2
"""Seconds of processor time below which its clock, in hundredths, tells too little."""


@dataclass(slots=True)
class Cost:
    """Seconds by the clock and of processors (None where PostgreSQL runs elsewhere), and the peak in MB."""

    wall_s: float = 0.0
    cpu_s: float | None = None
    peak_mb: float = 0.0

    def as_measured(self, *, hubs: int) -> dict[str, float | None]:
        """Return it as a result shows it, with hubs a second."""
        return {
            "wall_s": round(self.wall_s, 3),
            "cpu_s": None if self.cpu_s is None else round(self.cpu_s, 2),
            "cpu_us_per_hub": None if self.cpu_s is None else round(self.cpu_s / hubs * 1e6, 1),
            "peak_mb": round(self.peak_mb, 1),
            "hubs_per_s": round(hubs / self.wall_s),
        }


@contextlib.contextmanager
def measured() -> Iterator[Cost]:
    """Measure what happens within; the cost is complete when it is left."""
    server = _server()
    cost = Cost()
    _forget_peak()
    served = _cpu_of(server)
    used, begun = time.process_time(), time.perf_counter()
    yield cost
    cost.wall_s = time.perf_counter() - begun
    used = time.process_time() - used
    cost.peak_mb = _peak()
    if server:
        cost.cpu_s = used + _cpu_of(server) - served


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each number; of memory, the highest peak."""
    cpu = [cost.cpu_s for cost in costs if cost.cpu_s is not None]
    return Cost(
        wall_s=statistics.median(cost.wall_s for cost in costs),
        cpu_s=statistics.median(cpu) if cpu else None,
        peak_mb=max(cost.peak_mb for cost in costs),
    )


def ratio(*, costs: Sequence[Cost], limits: Sequence[Cost]) -> dict[str, float | None]:
    """
    Return the median over the runs of cost ÷ limit: by the clock, by processor time, and the one to quote.

    `ratio` is that of processor time, which neighbours on the machine move least, where there is enough of it.
    """
    pairs = list(zip(costs, limits, strict=True))
    wall = statistics.median(cost.wall_s / limit.wall_s for cost, limit in pairs)
    cpus = [
        cost.cpu_s / limit.cpu_s
        for cost, limit in pairs
        if cost.cpu_s is not None and limit.cpu_s is not None and limit.cpu_s >= TELLING_CPU
    ]
    cpu = statistics.median(cpus) if len(cpus) == len(pairs) else None
    return {
        "ratio": round(wall if cpu is None else cpu, 2),
        "ratio_wall": round(wall, 2),
        "ratio_cpu": None if cpu is None else round(cpu, 2),
    }


def _server() -> psutil.Process | None:
    """Return PostgreSQL's first process, None where it runs on another machine."""
    host = str(connection.settings_dict["HOST"])
    if not (host in LOCAL or host.startswith("/")):
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid: int = cursor.fetchone()[0]
    with contextlib.suppress(psutil.Error):
        backend = psutil.Process(pid)
        if "postgres" in backend.name():
            return backend.parent()
    return None  # in a container, say: its process ids are not ours


def _cpu_of(server: psutil.Process | None) -> float:
    """Return the processor seconds of all of PostgreSQL's processes, those that have ended included."""
    if server is None:
        return 0.0
    # the dead are in their parent's account: parallel workers live for one query
    total = sum(server.cpu_times()[:4])
    for process in server.children():
        with contextlib.suppress(psutil.Error):
            total += sum(process.cpu_times()[:2])
    return total


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """Return the most memory that this process has held since it was forgotten, in MB."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    # without /proc, the peak of the whole run; macOS counts it in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        1024**2 if sys.platform == "darwin" else 1024
    )
