"""E-mails about what waits for a second person: to those who may agree, and of their answer to whoever asked."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from scheduling.models import Notice, Proposal
from scheduling.operations.notices.owing import address_of, of_release, owe, shown

if TYPE_CHECKING:
    from portal.models import User


def owe_proposed(*, proposal: Proposal, colleagues: Iterable["User"], now: datetime) -> None:
    """Ask the colleagues who may agree; in the transaction that proposes."""
    owe(
        kind=Notice.Kind.PROPOSED,
        subject_key=f"proposal:{proposal.pk}",
        addresses=[colleague.email for colleague in colleagues],
        context={**_of(proposal), "until": shown(proposal.until)},
        now=now,
        supplier=proposal.supplier,
    )


def owe_proposal_answered(
    *, proposal: Proposal, is_agreed: bool, by: "User", answer: str, now: datetime
) -> None:
    """Tell whoever asked what a colleague answered; in the transaction that does it."""
    owe(
        kind=Notice.Kind.PROPOSAL_ANSWERED,
        subject_key=f"proposal:{proposal.pk}",
        addresses=[proposal.asked_by.email],
        context={**_of(proposal), "is_agreed": is_agreed, "by": str(by), "answer": answer},
        now=now,
        supplier=proposal.supplier,
    )


def _of(proposal: Proposal) -> dict[str, Any]:
    return {
        **(of_release(release=proposal.release) if proposal.release else {}),
        "supplier": proposal.supplier.name,
        "act": proposal.get_act_display().lower(),
        "hubs": proposal.hubs,
        "slot_count": proposal.slots,
        "first": shown(proposal.first_start) if proposal.first_start else "",
        "reference": proposal.booking.reference if proposal.booking else "",
        "who": str(proposal.asked_by),
        "proposal_url": address_of("scheduling:proposal", proposal.pk),
    }
