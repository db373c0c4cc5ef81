"""How long checking the record of decisions takes, whole, and with an edit, a deletion and an end that was cut off."""

from typing import Any

from portal.ground import chain, clock, sql
from portal.ground.models import AuditLink
from tests.benchmarks import database
from tests.benchmarks.meter import measured
from tests.benchmarks.world import Tell
from tests.portal.test_chain import forge

CUT = 100
"""Decisions and links that are cut off at the end."""
# as audit.record_many writes them, many times as fast
DECIDE = """
INSERT INTO ground_auditentry (verb, subject, reason, role, facts, recorded_at)
SELECT 'booking.made', 'booking:' || number, 'Because', 'operations',
       jsonb_build_object('hubs', number, 'slots', 3, 'release', 1, 'plan', 'earliest'), %(now)s
FROM generate_series(1, %(hubs)s) AS number
"""


def run(*, hubs: int, fleet: int | None, repeat: int, tell: Tell) -> dict[str, Any]:
    """Measure with so many decisions, one for each hub."""
    tell(f"recording {hubs:,} decisions")
    sql.run(DECIDE, {"hubs": hubs, "now": clock.now()})
    tell("chaining them")
    with measured() as chaining:
        while chain.extend(now=clock.now()):
            pass
    kept = chain.head()
    database.tidy("ground_auditentry", "ground_auditlink", "ground_auditpending")
    tell("checking the record")
    with measured() as whole:
        found = list(chain.verify(kept=kept))
    if found:
        raise database.UnableToMeasure(f"The record does not hold: {found[0]}")
    tell("changing one decision, deleting another, and cutting off the end")
    edited, deleted = (
        AuditLink.objects.values_list("entry_id", flat=True).get(number=number)
        for number in (hubs // 3 + 1, hubs // 2 + 1)
    )
    forge(
        f"UPDATE ground_auditentry SET reason = 'Another' WHERE id = {edited}",
        f"DELETE FROM ground_auditentry WHERE id = {deleted}",
        f"DELETE FROM ground_auditentry entry USING ground_auditlink link "
        f"WHERE link.entry_id = entry.id AND link.number > {hubs - CUT}",
        f"DELETE FROM ground_auditlink WHERE number > {hubs - CUT}",
    )
    tell("checking it again")
    with measured() as forged:
        said = list(chain.verify(kept=kept))
    return {
        "figure": "record",
        "decisions": hubs,
        "measured": {
            "chaining_s": round(chaining.wall_s, 1),
            "verify_s": round(whole.wall_s, 1),
            "verify_forged_s": round(forged.wall_s, 1),
        },
        "finds": said,
    }
