"""
Who said it: every request and every answer carries a signature, made with a secret that both sides hold.

It is HMAC-SHA-256, in hexadecimal digits, over lines of text:

* of a request: `request`, method, path with query, moment (milliseconds since 1970), nonce (32 hexadecimal
  digits), SHA-256 of the body;
* of an answer: `answer`, the request's signature, status, SHA-256 of the body. So it answers that request, and is
  of no use as the answer to any other.

The first words differ, so that nobody can send a request back as an answer. While a secret is being changed, both
sides know two: each signs with its first, and believes either.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

MOMENT, NONCE, SIGNATURE = "Portal-Moment", "Portal-Nonce", "Portal-Signature"
ANSWER_SIGNATURE = "Carrier-Signature"
WINDOW = timedelta(seconds=60)
"""How far the two sides' clocks may differ, travelling included."""

_MILLISECONDS = re.compile(r"[0-9]{1,15}")
_NONCE = re.compile(r"[0-9a-f]{32}")


class Forged(Exception):
    """This was not signed by who holds the secret, or not for this; the message says which, and no secret."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A request that was believed, with the secret that proved it."""

    moment: int
    """When it was signed, in milliseconds since 1970."""
    nonce: str
    signature: str
    secret: str

    def __repr__(self) -> str:
        return f"<Signed {self.nonce}>"


def sign_request(
    *, secret: str, method: str, path: str, body: bytes, moment: datetime, nonce: str
) -> dict[str, str]:
    """Return the headers that prove who sends a request; `path` is as it is sent, with its query."""
    milliseconds = str(_milliseconds(moment))
    return {
        MOMENT: milliseconds,
        NONCE: nonce,
        SIGNATURE: _sign(secret, "request", method, path, milliseconds, nonce, _hash(body)),
    }


def check_request(
    *, secrets: Sequence[str], method: str, path: str, body: bytes, headers: Mapping[str, str], now: datetime
) -> Signed:
    """
    Return what is known of a request's sender; whether its nonce was seen before is for the caller to know.

    :raises Forged: unless one of the secrets signed exactly this, about now
    """
    moment, nonce, signature = (headers.get(name, "") for name in (MOMENT, NONCE, SIGNATURE))
    if not _MILLISECONDS.fullmatch(moment) or not _NONCE.fullmatch(nonce):
        raise Forged("not signed")
    for secret in secrets:
        if _same(signature, _sign(secret, "request", method, path, moment, nonce, _hash(body))):
            break
    else:
        raise Forged("wrong signature")
    if abs(int(moment) - _milliseconds(now)) > WINDOW / timedelta(milliseconds=1):
        raise Forged("signed too long ago, or ahead of time")
    return Signed(int(moment), nonce, signature, secret)


def sign_answer(*, secret: str, request: str, status: int, body: bytes) -> dict[str, str]:
    """Return the header that proves who answers the request with this signature."""
    return {ANSWER_SIGNATURE: _sign(secret, "answer", request, str(status), _hash(body))}


def check_answer(
    *, secrets: Sequence[str], request: str, status: int, body: bytes, headers: Mapping[str, str]
) -> None:
    """
    Believe the answer to the request with this signature.

    :raises Forged: unless one of the secrets signed exactly this answer to exactly this request
    """
    signature = headers.get(ANSWER_SIGNATURE, "")
    if not any(
        _same(signature, _sign(secret, "answer", request, str(status), _hash(body))) for secret in secrets
    ):
        raise Forged("wrong signature" if signature else "not signed")


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _hash(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _sign(secret: str, *lines: str) -> str:
    return hmac.new(secret.encode(), "\n".join(lines).encode(), hashlib.sha256).hexdigest()


def _same(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())
