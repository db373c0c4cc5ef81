"""What is done to the fleet's records: count them, bring in an inventory, keep it true."""

from collections.abc import Mapping
from datetime import datetime

from django.db import connection, transaction

from hubs.models import SHOWN, FirmwareVersion
from portal.ground import sql

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


# Raw SQL: one statement for all hubs of a lot of reports. The version is in no index, so these are HOT updates.
RECORD = """
UPDATE hubs_communicationshub hub SET installed_version_id = version.id
FROM unnest(%(hubs)s::bigint[], %(numbers)s::bigint[]) AS reported (chf_id, number)
JOIN hubs_firmwareversion version USING (number)
WHERE hub.chf_id = reported.chf_id AND hub.installed_version_id <> version.id
"""


def record_versions(*, versions: Mapping[int, int]) -> int:
    """
    Set the installed version of hubs, by CHF ID, to the file versions that they reported.

    Hubs whose inventory says so already are left alone. Returns how many were corrected.
    """
    if not versions:
        return 0
    numbers = set(versions.values())
    known = FirmwareVersion.objects.filter(number__in=numbers).values_list("number", flat=True)
    # only what is missing: each attempt to insert uses up one of the few small ids, also one that conflicts
    if missing := sorted(numbers.difference(known)):
        FirmwareVersion.objects.bulk_create(
            [FirmwareVersion(number=number) for number in missing], ignore_conflicts=True
        )
    # in key order, as everything that locks hubs does
    hubs = sorted(versions)
    return sql.run(RECORD, {"hubs": hubs, "numbers": [versions[hub] for hub in hubs]})
