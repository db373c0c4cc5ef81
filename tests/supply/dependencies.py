"""
Whether a locked dependency has a known weakness, as far as the advisories of PyPI can be asked.

Run by `manage.py test`. Without a way to the advisories nothing can be said, and that is what is said: it ends
well unless `ADVISORIES=required`, which a pipeline sets that releases.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BASE_DIR = Path(__file__).resolve().parent.parent.parent
LOCK = BASE_DIR / "requirements.lock"
ONLY_WHAT_IS_LOCKED = ("--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off")
REQUIRED = "required"


@dataclass(frozen=True)
class Audit:
    """What became of an audit: known weaknesses in words, and how many dependencies could be asked about."""

    weaknesses: tuple[str, ...]
    audited: int
    left_out: int

    @property
    def is_whole(self) -> bool:
        """Whether every dependency was asked about."""
        return bool(self.audited) and not self.left_out


def read(found: dict[str, Any]) -> Audit:
    """Read what pip-audit printed as JSON."""
    dependencies = found["dependencies"]
    audited = [one for one in dependencies if "vulns" in one]
    return Audit(
        weaknesses=tuple(
            f"{one['name']} {one['version']}: {weakness['id']}"
            + (
                f", mended in {', '.join(fixed)}"
                if (fixed := weakness["fix_versions"])
                else ", not mended yet"
            )
            for one in audited
            for weakness in one["vulns"]
        ),
        audited=len(audited),
        left_out=len(dependencies) - len(audited),
    )


def verdict(audit: Audit | None, *, is_required: bool) -> tuple[str, int]:
    """Return what to say about an audit, None where nobody answered, and the status to end with."""
    if audit is not None and audit.weaknesses:
        return "\n".join((*audit.weaknesses, "Raise what has a mended version, and lock again.")), 1
    if audit is not None and audit.is_whole:
        return f"{audit.audited} dependencies, no known weakness.", 0
    missing = f"on {audit.left_out} of the dependencies" if audit is not None else "at all"
    said = f"NOT AUDITED: the advisories of PyPI gave no answer {missing}."
    return f"{said} Before a release, run this where they can be reached.", int(is_required)


def ask(lock: Path) -> Audit | None:
    """Ask the advisories about each locked dependency; None where they do not answer."""
    done = subprocess.run(
        [sys.executable, "-m", "pip_audit", "--requirement", lock, *ONLY_WHAT_IS_LOCKED],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return read(json.loads(done.stdout))
    except json.JSONDecodeError:
        print(done.stderr[-500:], file=sys.stderr)
        return None


if __name__ == "__main__":
    said, status = verdict(ask(LOCK), is_required=os.environ.get("ADVISORIES") == REQUIRED)
    print(said)
    sys.exit(status)
