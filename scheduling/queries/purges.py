"""How much of the record of decisions may go: what still explains something, and all after it, stays."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from portal.ground import sql
from scheduling.queries import seals

CARRIED: Final = (seals.VERB,)
"""Decisions that are recorded anew before they go: outcomes are kept for ever, and seals say nothing about people."""

# Who contributed to a release decides who may sign it off, and a booking's page tells its story, both from the record.
FIRST_TO_STAY = """
SELECT link.number, entry.subject, entry.recorded_at >= %(before)s
FROM ground_auditlink link JOIN ground_auditentry entry ON entry.id = link.entry_id
LEFT JOIN firmware_firmwarerelease release ON entry.subject = 'release:' || release.id
LEFT JOIN scheduling_booking booking ON entry.subject = 'booking:' || booking.reference
WHERE entry.recorded_at >= %(before)s
   OR (release.id IS NOT NULL AND coalesce(release.ended_at >= %(before)s, true))
   OR (booking.id IS NOT NULL AND coalesce(coalesce(booking.done_at, booking.abandoned_at) >= %(before)s, true))
ORDER BY link.number LIMIT 1
"""
LINKS = "SELECT min(number), max(number) FROM ground_auditlink"


@dataclass(frozen=True, slots=True)
class Purgeable:
    """How far the record may go, and what keeps it from going further."""

    first: int
    number: int
    """The last link that may go; before `first` where none may."""
    kept_by: str
    """What the first decision that stays is upon, where it stays for that and not for its age."""

    @property
    def decisions(self) -> int:
        """How many decisions may go."""
        return self.number - self.first + 1


def purgeable(*, before: datetime) -> Purgeable:
    """Return how much of the record is older than a moment, and explains nothing that goes on, or ended since."""
    [(first, last)] = sql.rows(LINKS, {})
    if first is None:
        return Purgeable(1, 0, "")
    for number, subject, is_young in sql.rows(FIRST_TO_STAY, {"before": before}):
        return Purgeable(first, number - 1, "" if is_young else subject)
    return Purgeable(first, last, "")
