"""
The lock between the Gate and whatever stops a release.

The Gate, which admits commands, holds it shared until it commits; a stop takes it alone before it
changes anything. So once a stop has committed no command is admitted: the Gate either committed
before, or sees the stop. A row lock in its place starves the halt under load; see docs/architecture.md.
"""

from django.db import connection

HALT_LOCK = 0x48414C54
"""The class of the advisory locks; the second number is the release's id."""


ADMIT_SHARED = f"SELECT pg_advisory_xact_lock_shared({HALT_LOCK}, %(release)s::int)"
"""
Takes a release's lock shared, until the end of the transaction, before commands are admitted.

Ask for the release's state only afterwards, with a statement of its own: an earlier snapshot would not show a halt
that this one waited for.
"""


def take_exclusive(*, release_id: int) -> None:
    """Take the release's lock alone, until the end of the transaction, before stopping it."""
    if not connection.in_atomic_block:
        raise RuntimeError("The halt lock lasts as long as a transaction, and there is none.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s::int, %s::int)", [HALT_LOCK, release_id])
