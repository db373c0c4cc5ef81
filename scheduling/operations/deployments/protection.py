"""What must not be touched, and when: one condition in SQL, for the Gate and for the sender."""

from datetime import datetime
from typing import Any

from scheduling.models import Lot
from scheduling.queries import windows

PROTECTED = """(%(own_{when})s OR (%(some_{when})s AND EXISTS (
    SELECT FROM hubs_communicationshub hub WHERE hub.chf_id = deployment.hub_id
      AND (hub.payment_mode = ANY (%(modes_{when})s::smallint[])
           OR EXISTS (SELECT FROM scheduling_protectedhub listed WHERE listed.hub = hub.chf_id
                        AND listed.window_id = ANY (%(lists_{when})s::bigint[]))
           OR EXISTS (SELECT FROM scheduling_groupedhub member WHERE member.hub = hub.chf_id
                        AND member.group_id = ANY (%(groups_{when})s::bigint[]))
           OR EXISTS (SELECT FROM hubs_changeofsupplier change WHERE change.hub = hub.chf_id
                        AND change.effective_on = ANY (%(changes_{when})s::date[]))))))"""
"""
A hub is in a hard protected window of one of its Suppliers, or around its change of supplier: `now`, or at any
moment of the `slot`.
"""
NOT_NOW = f"(%(closed_now)s OR {PROTECTED.format(when='now')})"
"""A hub must not be activated at this moment."""


def protection(*, lot: Lot, now: datetime) -> dict[str, Any]:
    """Ask what of the lot's slot must not be touched, now and in all of it, as parameters of the Gate."""
    suppliers = [lot.supplier_id, *([lot.consent.supplier_id] if lot.consent else [])]
    if lot.is_override:  # DCC decided that what Suppliers protect does not hold for these hubs
        suppliers = []
    answer = windows.stops(suppliers=suppliers, network=lot.network_id, slot=lot.slot, now=now)
    terms: dict[str, Any] = {"clear_until": answer.until}
    for when, stops in (("now", answer.now), ("slot", answer.slot)):
        terms |= {
            f"closed_{when}": stops.by_dcc,
            f"own_{when}": stops.everything,
            f"some_{when}": stops.some,
            f"modes_{when}": list(stops.modes),
            f"lists_{when}": list(stops.lists),
            f"groups_{when}": list(stops.groups),
            f"changes_{when}": list(stops.changes),
        }
    return terms
