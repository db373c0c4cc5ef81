"""
Let one process at a time be at something that several could do, but had better not.

A turn is a lease: that of a process which died, hangs or was frozen is over after a while, and another one takes it.
Nothing may rely on there never being two: whoever comes back late does not know that its turn is over.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from portal.ground import sql
from portal.ground.clock import Clock

TAKE = """
INSERT INTO ground_turn AS turn (name, until, token) VALUES (%(name)s, %(now)s + %(lease)s, 1)
ON CONFLICT (name) DO UPDATE SET until = excluded.until, token = turn.token + 1 WHERE turn.until <= %(now)s
RETURNING token
"""
GIVE_BACK = (
    "UPDATE ground_turn SET until = %(now)s WHERE name = %(name)s AND token = %(token)s AND until > %(now)s"
)


@contextmanager
def turn(*, name: str, lease: timedelta, clock: Clock) -> Iterator[bool]:
    """Take the turn for as long as the block lasts, at most for a lease; False where it is somebody else's."""
    taken = sql.rows(TAKE, {"name": name, "lease": lease, "now": clock()})
    try:
        yield bool(taken)
    finally:
        if taken:
            sql.run(GIVE_BACK, {"name": name, "token": taken[0][0], "now": clock()})
