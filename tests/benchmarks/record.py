"""How long checking the record of decisions takes, whole, and with an edit, a deletion and an end that was cut off."""

import time
from typing import Any

from django.db import connection, transaction

from portal.ground import chain, clock, sql
from portal.ground.models import AuditLink
from tests.benchmarks import database
from tests.benchmarks.world import Tell

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
    chained, _ = _timed(_chain)
    kept = chain.head()
    database.tidy("ground_auditentry", "ground_auditlink", "ground_auditpending")
    tell("checking the record")
    whole_s, found = _timed(lambda: list(chain.verify(kept=kept)))
    if found:
        raise database.UnableToMeasure(f"The record does not hold: {found[0]}")
    tell("changing one decision, deleting another, and cutting off the end")
    edited, deleted = (
        AuditLink.objects.values_list("entry_id", flat=True).get(number=number)
        for number in (hubs // 3 + 1, hubs // 2 + 1)
    )
    _forge(
        f"UPDATE ground_auditentry SET reason = 'Another' WHERE id = {edited}",
        f"DELETE FROM ground_auditentry WHERE id = {deleted}",
        f"DELETE FROM ground_auditentry entry USING ground_auditlink link "
        f"WHERE link.entry_id = entry.id AND link.number > {hubs - CUT}",
        f"DELETE FROM ground_auditlink WHERE number > {hubs - CUT}",
    )
    tell("checking it again")
    forged_s, said = _timed(lambda: list(chain.verify(kept=kept)))
    return {
        "figure": "record",
        "decisions": hubs,
        "measured": {
            "chaining_s": chained,
            "verify_s": whole_s,
            "verify_forged_s": forged_s,
        },
        "finds": said,
    }


def _chain() -> None:
    while chain.extend(now=clock.now()):
        pass


def _forge(*statements: str) -> None:
    """Do what nobody but the owner of the tables can, and what no trigger sees."""
    with transaction.atomic(), connection.cursor() as cursor:
        for table in ("ground_auditentry", "ground_auditlink"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        for statement in statements:
            cursor.execute(statement)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for table in ("ground_auditentry", "ground_auditlink"):
            cursor.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


def _timed(act: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    result = act()
    return round(time.perf_counter() - began, 1), result
