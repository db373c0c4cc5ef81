"""Count the fleet."""

from datetime import datetime

from django.db import connection, transaction

from hubs.models import SHOWN

_COUNTING = 0x68756273  # "hubs": the advisory lock of whoever counts

# Raw, since one pass over millions of rows stays in the database.
_COUNT = """
    INSERT INTO hubs_fleetcount (lead_id, network_id, model_id, installed_version_id, hardware_version,
                                 status, payment_mode, hubs, counted_at)
    SELECT lead_id, network_id, model_id, installed_version_id, hardware_version, status, payment_mode,
           count(*), %s
    FROM hubs_communicationshub WHERE status = ANY(%s)
    GROUP BY lead_id, network_id, model_id, installed_version_id, hardware_version, status, payment_mode
"""


def count_fleet(*, now: datetime) -> bool:
    """
    Count the shown hubs anew into `FleetCount`; return False if somebody else is at it.

    Readers see the old numbers until the new ones are whole.
    """
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_COUNTING])
        if not cursor.fetchone()[0]:
            return False
        cursor.execute("DELETE FROM hubs_fleetcount")
        cursor.execute(_COUNT, [now, [status.value for status in SHOWN]])
    return True
