"""Seal what must not lie in the database in the clear, and open it again."""

import base64
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


class UnableToOpen(Exception):
    """It was sealed with none of the keys, or somebody has changed it since."""


def seal(*, text: str, keys: Sequence[str]) -> str:
    """Seal a text with the first of some keys, each of 64 hexadecimal digits."""
    return _ring(keys).encrypt(text.encode()).decode()


def unseal(*, sealed: str, keys: Sequence[str]) -> str:
    """
    Return the text that was sealed with any of the keys.

    :raises UnableToOpen: if it was not, or is not what was sealed
    """
    try:
        return _ring(keys).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise UnableToOpen("This was sealed with another key, or changed since.") from error


def _ring(keys: Sequence[str]) -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(bytes.fromhex(key))) for key in keys])
