"""Who deploys what to which hubs, when, and how it went."""

from scheduling.models.bookings import Booking, HubSelection, SelectionFile, SelectionRow, UnplacedHub
from scheduling.models.cohorts import BadHub, Cohort
from scheduling.models.consents import Consent, Objection
from scheduling.models.controls import Control, ControlLook
from scheduling.models.counters import FirstHub, InFlight, LotModel, OutcomeTally, Stage, Tally, TallyChange
from scheduling.models.deployments import (
    LOT_SIZE,
    LOT_SPAN,
    Command,
    Deployment,
    Handover,
    Lot,
    OddReport,
    Quarantine,
    Reclaim,
    ReportCount,
    ReportKind,
    StrayReport,
    SuccessTally,
)
from scheduling.models.evidence import Evidence, WarningSign
from scheduling.models.exceptions import Allocation, Decision, ExemptHub, Exemption, HubException
from scheduling.models.exports import Export
from scheduling.models.first_steps import FirstSteps
from scheduling.models.groups import GroupedHub, HubGroup
from scheduling.models.late_looks import LateLook, LateTally
from scheduling.models.notices import Notice
from scheduling.models.proposals import Proposal, SecondPersonRule
from scheduling.models.reconciliations import EXCESSES, Finding, Mismatch, Reconciliation
from scheduling.models.rehearsals import Rehearsal
from scheduling.models.saved import SavedFilter
from scheduling.models.slots import CapacityPattern, Slot, Weekday
from scheduling.models.windows import Incident, Maintenance, ProtectedHub, ProtectedWindow

__all__ = [
    "EXCESSES",
    "LOT_SIZE",
    "LOT_SPAN",
    "Allocation",
    "BadHub",
    "Booking",
    "CapacityPattern",
    "Cohort",
    "Command",
    "Consent",
    "Control",
    "ControlLook",
    "Decision",
    "Deployment",
    "Evidence",
    "ExemptHub",
    "Exemption",
    "Export",
    "Finding",
    "FirstHub",
    "FirstSteps",
    "GroupedHub",
    "Handover",
    "HubException",
    "HubGroup",
    "HubSelection",
    "InFlight",
    "Incident",
    "LateLook",
    "LateTally",
    "Lot",
    "LotModel",
    "Maintenance",
    "Mismatch",
    "Notice",
    "Objection",
    "OddReport",
    "OutcomeTally",
    "Proposal",
    "ProtectedHub",
    "ProtectedWindow",
    "Quarantine",
    "Reclaim",
    "Reconciliation",
    "Rehearsal",
    "ReportCount",
    "ReportKind",
    "SavedFilter",
    "SecondPersonRule",
    "SelectionFile",
    "SelectionRow",
    "Slot",
    "Stage",
    "StrayReport",
    "SuccessTally",
    "Tally",
    "TallyChange",
    "UnplacedHub",
    "WarningSign",
    "Weekday",
]
