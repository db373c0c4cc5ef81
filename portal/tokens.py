"""The secret part of a link."""

import hashlib
import secrets


def fresh() -> str:
    """Return a new secret of 256 random bits, as it stands in a link."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """Return what the database keeps of a secret: enough to know it again, too little to forge it."""
    return hashlib.sha256(token.encode()).hexdigest()
