"""
Whether something that looks like a secret is committed.

Run by `manage.py test`. What looks like one and is none is listed in `.secrets.baseline`, by its digest; after looking
at each, `python3 -m tests.supply.secrets --accept` writes the list anew.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from detect_secrets import SecretsCollection
from detect_secrets.settings import transient_settings
from pathspec import GitIgnoreSpec

BASE_DIR = Path(__file__).resolve().parent.parent.parent
ACCEPTED = ".secrets.baseline"


def committed(root: Path) -> list[str]:
    """Name the files of a checkout that git would take; a checkout without git and its history will do."""
    ignored = GitIgnoreSpec.from_lines([*(root / ".gitignore").read_text().splitlines(), ".git", ACCEPTED])
    names = []
    for folder, folders, files in os.walk(root):
        here = Path(folder).relative_to(root)
        folders[:] = sorted(name for name in folders if not ignored.match_file(f"{here / name}/"))
        names += [str(here / name) for name in sorted(files)]
    return [name for name in names if not ignored.match_file(name)]


def scan(*, root: Path, names: Iterable[str]) -> SecretsCollection:
    """Return all that looks like a secret in these files, without asking anybody whether it works."""
    found = SecretsCollection()
    with contextlib.chdir(root):  # its findings bear the names that it was given
        for name in names:
            found.scan_file(name)
    return found


def differences(*, found: SecretsCollection, accepted: SecretsCollection) -> list[str]:
    """Say what looks like a secret and is not accepted, and what is accepted and no longer there."""
    new = [f"{name}:{one.line_number}: {one.type}" for name, one in found - accepted]
    gone = [f"{name}: {one.type}, accepted and no longer there" for name, one in accepted - found]
    return sorted(new) + sorted(gone)


def main(*words: str) -> int:
    """Compare, or accept; return the status to end with."""
    known: dict[str, Any] = json.loads((BASE_DIR / ACCEPTED).read_text())
    with transient_settings({key: known[key] for key in ("plugins_used", "filters_used")}):
        found = scan(root=BASE_DIR, names=committed(BASE_DIR))
        if "--accept" in words:
            known["results"] = json.loads(json.dumps(found.json()))
            (BASE_DIR / ACCEPTED).write_text(json.dumps(known, indent=2) + "\n")
            return 0
        accepted = SecretsCollection.load_from_baseline(known)
        if said := differences(found=found, accepted=accepted):
            print("\n".join(said))
            print(
                "Take a secret out and make it worthless where it was in use; accept what is none with "
                "python3 -m tests.supply.secrets --accept."
            )
            return 1
    print(f"{len(list(found))} places that look like one, all of them accepted.")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
