"""
Print the part of requirements.lock that production needs, without what only tests and demos need.

The lock says after each package what asked for it. Kept is what pyproject.toml's own dependencies ask for,
and what those ask for in turn: the same versions and hashes as everywhere else, from one lock.

    python3 docker/production_lock.py requirements.lock > production.lock
"""

import re
import sys
from pathlib import Path

OURS = "(pyproject.toml)"  # with a colon and a group's name inside for what only that group asks for


def production(lock: str) -> str:
    """Return the entries of the lock that production needs, as they stand."""
    entries = {
        re.split(r"[=\[]", entry)[0]: entry
        for entry in re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)
        if entry.strip()
    }
    asked_for_by = {
        name: re.findall(r"^ +#(?: +via)? +(\S.*)$", entry, re.MULTILINE) for name, entry in entries.items()
    }
    kept = {name for name, askers in asked_for_by.items() if any(asker.endswith(OURS) for asker in askers)}
    while more := {name for name, askers in asked_for_by.items() if kept.intersection(askers)} - kept:
        kept |= more
    return "".join(entry for name, entry in entries.items() if name in kept)


if __name__ == "__main__":
    sys.stdout.write(production(Path(sys.argv[1]).read_text()))
