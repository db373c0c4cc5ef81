"""
Where attempts are counted: to sign in, to give a second factor, to reset a password; and codes that were used.

allauth counts in Django's cache. This one is a table, so that emptying Redis gives nobody their attempts back, and a
code that was used stays used. It keeps digests of keys, which hold addresses, and JSON.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.db import connection

from portal.ground import sql

LONGEST: Final = timedelta(days=1)
"""For so long is kept what is to be kept for ever: nothing that is counted here is."""

# Whoever comes first has it, also where many come at once.
ADD: Final = """
INSERT INTO portal_attempt (key, value, expires_at)
VALUES (%(key)s, %(value)s, clock_timestamp() + %(lasts)s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
WHERE portal_attempt.expires_at <= clock_timestamp()
"""
SET: Final = """
INSERT INTO portal_attempt (key, value, expires_at)
VALUES (%(key)s, %(value)s, clock_timestamp() + %(lasts)s)
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
"""
GET: Final = "SELECT value FROM portal_attempt WHERE key = %(key)s AND expires_at > clock_timestamp()"
TOUCH: Final = """
UPDATE portal_attempt SET expires_at = clock_timestamp() + %(lasts)s
WHERE key = %(key)s AND expires_at > clock_timestamp()
"""
DELETE: Final = "DELETE FROM portal_attempt WHERE key = %(key)s"
CLEAR: Final = "DELETE FROM portal_attempt"


class AttemptCache(BaseCache):
    """A Django cache that is a table."""

    def __init__(self, _location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def add(
        self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Keep a value under a key that has none; tell whether it was kept. Of many at once, one is."""
        return sql.run(ADD, self._terms(key, version, timeout, value)) == 1

    def get(self, key: str, default: Any = None, version: int | None = None) -> Any:
        """Return what is kept under a key."""
        with connection.cursor() as cursor:
            cursor.execute(GET, self._terms(key, version))
            found = cursor.fetchone()
        return default if found is None else json.loads(found[0])

    def set(
        self, key: str, value: Any, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Keep a value under a key."""
        sql.run(SET, self._terms(key, version, timeout, value))

    def touch(self, key: str, timeout: float | None = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Keep what is under a key for longer; tell whether there was anything."""
        return sql.run(TOUCH, self._terms(key, version, timeout)) == 1

    def delete(self, key: str, version: int | None = None) -> bool:
        """Forget what is under a key; tell whether there was anything."""
        return sql.run(DELETE, self._terms(key, version)) == 1

    def clear(self) -> None:
        """Forget everything."""
        sql.run(CLEAR, {})

    def _terms(
        self, key: str, version: int | None, timeout: float | None = None, value: Any = None
    ) -> Mapping[str, Any]:
        seconds = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return {
            "key": sha256(self.make_key(key, version).encode()).hexdigest(),
            "value": json.dumps(value),
            "lasts": LONGEST if seconds is None else timedelta(seconds=max(0.0, float(seconds))),
        }
