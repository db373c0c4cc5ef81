"""
Which hubs may be booked for a release, and why the others may not.

Raw SQL, because one statement has to judge up to a million hubs: the same expression serves the preview, the
booking itself and the list of refused hubs, so they cannot disagree.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from firmware import queries as releases
from firmware.models import FirmwareRelease
from hubs.models import BOOKABLE, SHOWN, FirmwareVersion, Supplier
from portal.ground import sql
from scheduling.eligibility import Refusal
from scheduling.models import HubException, HubSelection
from scheduling.queries import exemptions

FACETS = {
    "network": "network_id",
    "model": "model_id",
    "installed_version": "installed_version_id",
    "payment_mode": "payment_mode",
}
"""What hubs can be filtered by, and the column that holds it."""
DECISION = "decision"
"""The key among a selection's criteria under which DCC's decision stands whose hubs it is for."""
POSTCODE_AREA = "upper(substring(hub.postcode FROM '^[A-Za-z]+'))"
"""The letters of a postcode before its first digit, such as LS of LS1 4AP; no value where there is no postcode."""
GROUPED = """hub.chf_id IN (
    SELECT member.hub FROM scheduling_groupedhub member JOIN scheduling_hubgroup kept ON kept.id = member.group_id
    WHERE kept.id = ANY (%(group)s) AND kept.supplier_id = %(supplier)s)"""
"""The hub is in one of these saved groups of the Supplier's."""

REFUSAL = f"""CASE
    -- also of a hub that was the Supplier's when it was chosen: nobody follows it to another
    WHEN hub.lead_id IS DISTINCT FROM %(supplier)s AND hub.other_id IS DISTINCT FROM %(supplier)s
        THEN {Refusal.NOT_FOUND}
    WHEN hub.lead_id IS DISTINCT FROM %(supplier)s
         -- the Lead has been silent to the middle of the period: then either of the two may book
         AND NOT (hub.other_id IS NOT DISTINCT FROM %(supplier)s AND hub.network_id = ANY (%(halfway)s))
        THEN {Refusal.NOT_LEAD}
    WHEN hub.status <> ALL (%(bookable)s) THEN {Refusal.STATUS}
    WHEN hub.model_id <> ALL (%(models)s) THEN {Refusal.OTHER_MODEL}
    WHEN hub.hardware_version NOT BETWEEN %(minimum_hardware)s AND %(maximum_hardware)s
        THEN {Refusal.OTHER_HARDWARE}
    WHEN hub.installed_version_id = %(version)s THEN {Refusal.INSTALLED}
    WHEN hub.installed_version_id <> ALL (%(versions)s) THEN {Refusal.VERSION_GAP}
    WHEN hub.network_id <> ALL (%(networks)s) THEN {Refusal.NO_PERIOD}
    WHEN deployment.id IS NOT NULL THEN {Refusal.OPEN_DEPLOYMENT}
    WHEN hub.network_id = ANY (%(networks_halted)s) OR hub.model_id = ANY (%(models_halted)s)
         OR hub.installed_version_id = ANY (%(versions_halted)s) THEN {Refusal.HALTED}
END"""
PARTNER = "CASE WHEN hub.lead_id = %(supplier)s THEN hub.other_id ELSE hub.lead_id END"
"""The hub's other Supplier, seen from the one that books."""
OPEN_DEPLOYMENT = """LEFT JOIN scheduling_deployment deployment
    ON deployment.hub_id = hub.chf_id AND deployment.ended_at IS NULL"""


def rules(
    *,
    release: FirmwareRelease,
    supplier: Supplier,
    now: datetime,
    versions: Sequence[FirmwareVersion] | None = None,
) -> dict[str, Any]:
    """
    Return what the SQL of this room asks of a hub, as its parameters.

    With all known `versions`, and a release fetched with its facts (`standings.with_facts`), nothing is fetched.
    """
    if versions is None:
        versions = list(releases.eligible_versions(release=release))
    elif release.has_no_predecessor:
        versions = [version for version in versions if version.number < release.version.number]
    else:
        older = {predecessor.version_id for predecessor in release.predecessors.all()}
        versions = [version for version in versions if version.pk in older]
    periods = list(release.periods.all())
    # of the whole release, whoever books asks; what is fetched along with a release is in memory
    halts = [halt for halt in release.halts.all() if halt.lifted_at is None]
    return {
        "supplier": supplier.pk,
        "halfway": [period.network_id for period in periods if period.middle <= now],
        "bookable": [int(status) for status in BOOKABLE],
        "shown": [int(status) for status in SHOWN],
        "models": [model.pk for model in release.hub_models.all()],
        "minimum_hardware": release.minimum_hardware,
        "maximum_hardware": release.maximum_hardware,
        "version": release.version_id,
        "versions": [version.pk for version in versions],
        "networks": [period.network_id for period in periods if period.end_at > now],
        "networks_halted": [halt.network_id for halt in halts if halt.network_id],
        "models_halted": [halt.model_id for halt in halts if halt.model_id],
        "versions_halted": [halt.installed_version_id for halt in halts if halt.installed_version_id],
    }


def chosen_hubs(
    *, selection: HubSelection, now: datetime, is_of_failed: bool = False
) -> tuple[str, dict[str, Any]]:
    """
    Return a SELECT of (hub, network_id, model_id, payment_mode, partner, refusal) over a selection, and its
    parameters.

    For all remaining hubs and for filters these are the hubs that the Supplier leads, of the release's models, and
    from the middle of the period the others that it shares; for a file, the hubs of its readable rows that the
    Supplier may see; for a decision of DCC, its hubs in the exceptions queue. Where nobody chose, but DCC allocates,
    these are hubs that the Supplier leads, less those that are exempt or wait for DCC after two misses, and less those
    that the release has failed on, which speak against it; with `is_of_failed` nothing but these.
    """
    parameters = rules(release=selection.release, supplier=selection.supplier, now=now)
    if selection.method == HubSelection.Method.FILE:
        source = "scheduling_selectionrow chosen JOIN hubs_communicationshub hub ON hub.chf_id = chosen.hub"
        where = "chosen.selection_id = %(selection)s AND chosen.refusal IS NULL"
        parameters["selection"] = selection.pk
    elif decision := selection.criteria.get(DECISION):
        source = "scheduling_hubexception chosen JOIN hubs_communicationshub hub ON hub.chf_id = chosen.hub"
        where = "chosen.decision_id = %(decision)s AND chosen.ended_at IS NULL AND chosen.supplier_id = %(supplier)s"
        parameters["decision"] = decision
    else:
        source = "hubs_communicationshub hub"
        whose = "hub.lead_id = %(supplier)s"
        if parameters["halfway"]:
            whose = f"({whose} OR (hub.other_id = %(supplier)s AND hub.network_id = ANY (%(halfway)s)))"
        where = f"{whose} AND hub.model_id = ANY (%(models)s) AND hub.status = ANY (%(shown)s)"
        for facet, column in FACETS.items():
            if wanted := selection.criteria.get(facet):
                where += f" AND hub.{column} = ANY (%({facet})s)"
                parameters[facet] = [int(value) for value in wanted]
        if areas := selection.criteria.get("postcode_area"):
            where += f" AND {POSTCODE_AREA} = ANY (%(postcode_area)s)"
            parameters["postcode_area"] = list(areas)
        if kept := selection.criteria.get("group"):
            where += f" AND {GROUPED}"
            parameters["group"] = [int(value) for value in kept]
        if selection.chosen_by_id is None:
            terms, more = _to_be_allocated(selection, now, is_of_failed)
            where += terms
            parameters |= more
    return (
        f"SELECT hub.chf_id AS hub, hub.network_id, hub.model_id, hub.payment_mode, {PARTNER} AS partner,"  # noqa: S608 - our own columns
        f" {REFUSAL} AS refusal FROM {source} {OPEN_DEPLOYMENT} WHERE {where}",
        parameters,
    )


# To activate once more what failed would hold a handful of bad hubs against the release as if they were any.
FAILED = """EXISTS (
    SELECT FROM scheduling_badhub bad WHERE bad.release_id = %(release)s AND bad.hub_id = hub.chf_id)"""


def _to_be_allocated(
    selection: HubSelection, now: datetime, is_of_failed: bool
) -> tuple[str, dict[str, Any]]:
    """Return the terms that keep exempt hubs, and those that DCC has to decide about, out of an allocation."""
    exempt = exemptions.exempt(release=selection.release, supplier=selection.supplier, now=now)
    if exempt.everything:
        return " AND false", {}
    terms = """ AND hub.lead_id = %(supplier)s AND NOT EXISTS (
        SELECT FROM scheduling_hubexception waiting WHERE waiting.release_id = %(release)s
          AND waiting.hub = hub.chf_id AND waiting.ended_at IS NULL AND waiting.why = %(missed_twice)s)"""
    parameters: dict[str, Any] = {
        "release": selection.release_id,
        "missed_twice": HubException.Why.MISSED_TWICE,
    }
    terms += f" AND {'' if is_of_failed else 'NOT '}{FAILED}"
    if exempt.networks:
        terms += " AND hub.network_id <> ALL (%(exempt_networks)s)"
        parameters["exempt_networks"] = list(exempt.networks)
    if exempt.lists:
        terms += """ AND NOT EXISTS (
            SELECT FROM scheduling_exempthub listed
            WHERE listed.exemption_id = ANY (%(exempt_lists)s) AND listed.hub = hub.chf_id)"""
        parameters["exempt_lists"] = list(exempt.lists)
    return terms, parameters


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Hubs that may go, by network id; hubs that may not, by `Refusal`."""

    eligible: Mapping[int, int] = field(default_factory=dict)
    refused: Mapping[Refusal, int] = field(default_factory=dict)


def judge(*, selection: HubSelection, now: datetime) -> Verdicts:
    """Count the hubs of a selection by what may become of them, in one pass over them."""
    hubs, parameters = chosen_hubs(selection=selection, now=now)
    eligible: Counter[int] = Counter()
    refused: Counter[Refusal] = Counter()
    counts = sql.rows(
        f"SELECT network_id, refusal, count(*) FROM ({hubs}) judged GROUP BY 1, 2",  # noqa: S608
        parameters,
    )
    for network, refusal, count in counts:
        if refusal is None:
            eligible[network] += count
        else:
            refused[Refusal(refusal)] += count
    return Verdicts(eligible, refused)
