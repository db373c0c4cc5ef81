"""
Carry deployments out: claim a lot, pass the Gate, send, and record what comes back.

The unit of work is the lot. A worker claims one that is due, with a lease and a fencing token; whatever it
writes afterwards names that token. The Gate is one transaction that asks every rule again and writes command
rows; it makes no call to the outside. The sender stamps a command as sent, commits, and only then calls the
carrier. Reports come in lots of their own and move deployments once, whatever their order.

Raw SQL throughout, because every statement moves up to a thousand rows, and states are compared and set in
the statement itself.
"""

from scheduling.operations.deployments.claims import Claim, LeaseLost, claim
from scheduling.operations.deployments.gate import admit
from scheduling.operations.deployments.reports import COLLECT, collect, collect_all, record_reports
from scheduling.operations.deployments.sender import SEND, send
from scheduling.operations.deployments.work import advance, carry_out, keep_at_it, wake_stopped

__all__ = [
    "COLLECT",
    "SEND",
    "Claim",
    "LeaseLost",
    "admit",
    "advance",
    "carry_out",
    "claim",
    "collect",
    "collect_all",
    "keep_at_it",
    "record_reports",
    "send",
    "wake_stopped",
]
