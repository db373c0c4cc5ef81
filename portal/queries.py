"""Questions about people."""

from portal import tokens
from portal.models import Invitation


def invitation_of(*, token: str) -> Invitation | None:
    """Return the invitation that a link belongs to, used or not, with who invited and for whom."""
    return (
        Invitation.objects.filter(token_digest=tokens.digest(token))
        .select_related("supplier", "invited_by")
        .first()
    )
