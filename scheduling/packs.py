"""
The evidence pack of a release as a file: what is in it, and whether it is still what was signed (pure).

A pack is a ZIP archive. `manifest.json` names every other file with its size and SHA-256, and `manifest.sig` is the
Ed25519 signature, 64 bytes, of exactly the bytes of the manifest: `openssl` and `sha256sum` are enough to check it.
The decisions are one JSON object in each line; each link of their chain is the SHA-256 of the link before it, 32 bytes,
nought for the first, and of the line. The manifest names the last link.
"""

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FORMAT: Final = "communications-hub-firmware-evidence/1"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
DECISIONS: Final = "decisions.jsonl"
BEGINNING: Final = "0" * 64
"""The link before the first decision."""
SIGNATURE_BYTES: Final = 64
MOST_MANIFEST: Final = 1 << 20
"""Bytes of a manifest; one names a handful of files."""
MOST_FILES: Final = 64
MOST_BYTES: Final = 1 << 31
"""Bytes of a pack, and of all its files together once unpacked: no more is read, whatever it says of itself."""
MOST_LINE: Final = 1 << 20
"""Bytes of one decision."""
BLOCK: Final = 1 << 16
EARLIEST: Final = (1980, 1, 1, 0, 0, 0)
"""The moment of every file in it: a pack says when it was made in its manifest, not in its wrapping."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"[0-9a-fA-F]{64}")
_UNREADABLE = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,  # packed in a way that we never use
    OSError,
    RuntimeError,  # encrypted
    ValueError,
)


class NoKey(Exception):
    """This is no key; the message says what one looks like."""


def private_key(*, text: str) -> Ed25519PrivateKey:
    """
    Return the key that signs, from 64 hexadecimal digits.

    :raises NoKey: if the text is anything else
    """
    if not _KEY.fullmatch(text):
        raise NoKey("A signing key is 64 hexadecimal digits.")
    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(text))


def public_key(*, text: str) -> Ed25519PublicKey:
    """
    Return the key that a signature is checked against, from its PEM or from 64 hexadecimal digits.

    :raises NoKey: if the text is neither, or a key of another kind
    """
    if _KEY.fullmatch(text.strip()):
        return Ed25519PublicKey.from_public_bytes(bytes.fromhex(text.strip()))
    try:
        key = serialization.load_pem_public_key(text.encode())
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise NoKey(
            "That is no public key of an evidence pack: give its PEM, from “-----BEGIN PUBLIC KEY-----” on, or its "
            "64 hexadecimal digits."
        )
    return key


def as_pem(*, key: Ed25519PublicKey) -> str:
    """Write a public key as it is published."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def as_digits(*, key: Ed25519PublicKey) -> str:
    """Write a public key as 64 hexadecimal digits, as people compare it."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


def as_line(*, entry: Mapping[str, Any]) -> bytes:
    """Write a decision, or a rehearsal's result, in the one form that digests are made of, without a line's end."""
    return json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def link(*, before: str, line: bytes) -> str:
    """Return the link of a decision, from the link before it."""
    return hashlib.sha256(bytes.fromhex(before) + line).hexdigest()


@dataclass(frozen=True, slots=True)
class Written:
    """A file in a pack: how many bytes it has, and their SHA-256."""

    bytes: int
    sha256: str


class Pack:
    """A pack that is being made, within a `with`: files are added, and then it is sealed."""

    def __init__(self, *, file: IO[bytes]) -> None:
        self._archive = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        self._files: dict[str, Written] = {}

    def __enter__(self) -> "Pack":
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    @contextmanager
    def add(self, *, name: str) -> "Iterator[Part]":
        """Open a file of the pack to be written, from its beginning to its end."""
        with self._archive.open(_entry(name), "w") as opened:
            part = Part(opened)
            yield part
        self._files[name] = Written(part.bytes, part.digest.hexdigest())

    def seal(self, *, facts: Mapping[str, Any], key: Ed25519PrivateKey) -> str:
        """Add the manifest, with further facts, and its signature; return the manifest's SHA-256."""
        files = {
            name: {"bytes": one.bytes, "sha256": one.sha256} for name, one in sorted(self._files.items())
        }
        manifest = json.dumps(
            {"format": FORMAT, **facts, "files": files}, ensure_ascii=False, indent=2
        ).encode()
        self._archive.writestr(_entry(MANIFEST), manifest)
        self._archive.writestr(_entry(SIGNATURE), key.sign(manifest))
        return hashlib.sha256(manifest).hexdigest()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EARLIEST)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


class Part:
    """A file of a pack, which is hashed while it is written."""

    def __init__(self, opened: IO[bytes]) -> None:
        self._opened = opened
        self.digest = hashlib.sha256()
        self.bytes = 0

    def write(self, block: bytes) -> None:
        """Write a block, and take it into the hash."""
        self._opened.write(block)
        self.digest.update(block)
        self.bytes += len(block)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: whether it is as it was signed, and the sentence on it."""

    holds: bool
    words: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of a pack; `manifest` is what was signed, and None where no signature holds."""

    findings: tuple[Finding, ...]
    manifest: Mapping[str, Any] | None

    @property
    def holds(self) -> bool:
        """Whether the pack is what was signed, to the last byte that it holds."""
        return self.manifest is not None and all(finding.holds for finding in self.findings)


def verify(*, file: IO[bytes], key: Ed25519PublicKey) -> Verdict:
    """
    Check a pack against the public key of who signed it; nothing is unpacked to disk, and no name in it is a path.

    What a pack says of itself is believed only as far as its signature holds; and only then are its files read.
    """
    try:
        size = file.seek(0, io.SEEK_END)
        if size > MOST_BYTES:
            return _no(f"The file has {size:,} bytes; a pack has {MOST_BYTES:,} at most.")
        file.seek(0)
        with zipfile.ZipFile(file) as archive:
            return _verify(archive, key)
    except _UNREADABLE:
        return _no("The file is no evidence pack, or a damaged one: it is no ZIP archive that can be read.")


def _no(words: str) -> Verdict:
    return Verdict((Finding(False, words),), None)


def _verify(archive: zipfile.ZipFile, key: Ed25519PublicKey) -> Verdict:
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if len(names) > MOST_FILES:
        return _no(f"The archive holds {len(names):,} files; a pack has {MOST_FILES} at most.")
    if len(set(names)) < len(names):
        return _no("The archive holds two files of one name: which of them is meant, nobody can say.")
    if archive.comment or min((entry.header_offset for entry in entries), default=0) > 0:
        return _no("Something was put before or behind the archive, which no pack has.")
    signature = _start(archive, SIGNATURE, SIGNATURE_BYTES)
    manifest = _start(archive, MANIFEST, MOST_MANIFEST)
    if signature is None or manifest is None:
        return _no(
            f"The archive has no {MANIFEST} with its {SIGNATURE}, or they are too large: it is no pack."
        )
    try:
        key.verify(signature, manifest)
    except InvalidSignature:
        return _no(
            f"The signature does not hold: {MANIFEST} was changed, or signed with another key than "
            f"{as_digits(key=key)}. Nothing else in the pack can be believed."
        )
    signed = Finding(True, f"The signature holds: {MANIFEST} is as it was signed with {as_digits(key=key)}.")
    try:
        claims = json.loads(manifest)
        files = _files(claims)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        unknown = Finding(False, f"{MANIFEST} cannot be read: this program knows {FORMAT} alone.")
        return Verdict((signed, unknown), None)
    findings = [signed, *_names(set(names) - {MANIFEST, SIGNATURE}, set(files))]
    for name in sorted(set(files) & set(names)):
        findings.append(_file(archive, name, files[name]))
    if DECISIONS in files and DECISIONS in names:
        findings.append(_chain(archive, claims))
    return Verdict(tuple(findings), claims)


def _start(archive: zipfile.ZipFile, name: str, most: int) -> bytes | None:
    """Return all of a small file; None where it is missing or larger."""
    try:
        with archive.open(name) as part:
            content = part.read(most + 1)
    except KeyError:
        return None
    return content if len(content) <= most else None


def _files(claims: Any) -> dict[str, Written]:
    if claims["format"] != FORMAT:
        raise ValueError(claims["format"])
    files = {
        str(name): Written(int(one["bytes"]), str(one["sha256"])) for name, one in claims["files"].items()
    }
    if sum(one.bytes for one in files.values()) > MOST_BYTES or not all(
        one.bytes >= 0 and _DIGEST.fullmatch(one.sha256) for one in files.values()
    ):
        raise ValueError("sizes and hashes")
    return files


def _names(there: set[str], named: set[str]) -> Iterator[Finding]:
    for name in sorted(there - named):
        yield Finding(False, f"{name!r} was added: {MANIFEST} does not name it.")
    for name in sorted(named - there):
        yield Finding(False, f"{name!r} is missing: {MANIFEST} names it.")
    if there == named:
        yield Finding(True, f"All {len(named)} files that {MANIFEST} names are there, and no other.")


def _file(archive: zipfile.ZipFile, name: str, claimed: Written) -> Finding:
    """Read a file, one byte more than it should have at most, and compare it."""
    digest, size = hashlib.sha256(), 0
    try:
        with archive.open(name) as part:
            while size <= claimed.bytes and (block := part.read(min(BLOCK, claimed.bytes + 1 - size))):
                size += len(block)
                digest.update(block)
    except _UNREADABLE:
        return Finding(False, f"{name!r} is damaged: it cannot be unpacked.")
    if size > claimed.bytes:
        return Finding(False, f"{name!r} differs: it has more than {claimed.bytes:,} bytes.")
    if (size, digest.hexdigest()) != (claimed.bytes, claimed.sha256):
        return Finding(
            False, f"{name!r} differs: its {size:,} bytes have another SHA-256 than {MANIFEST} says."
        )
    return Finding(True, f"{name!r} is unchanged: {size:,} bytes with SHA-256 {claimed.sha256}.")


def lines(*, file: IO[bytes]) -> Iterator[bytes]:
    """
    Yield the decisions of a pack, without their line ends.

    :raises ValueError: if one is longer than any decision, or the last one is cut
    """
    with zipfile.ZipFile(file) as archive, archive.open(DECISIONS) as part:
        yield from _lines(part)


def _lines(part: IO[bytes]) -> Iterator[bytes]:
    while line := part.readline(MOST_LINE):
        if not line.endswith(b"\n"):
            raise ValueError("a decision is cut, or too long")
        yield line[:-1]


def chained(*, lines: Iterable[bytes]) -> tuple[int, str]:
    """Return how many decisions there are, and their last link."""
    number, last = 0, BEGINNING
    for line in lines:
        number, last = number + 1, link(before=last, line=line)
    return number, last


def _chain(archive: zipfile.ZipFile, claims: Mapping[str, Any]) -> Finding:
    try:
        with archive.open(DECISIONS) as part:
            number, last = chained(lines=_lines(part))
    except _UNREADABLE:
        return Finding(False, f"The chain of {DECISIONS!r} cannot be followed.")
    claimed = claims.get("decisions")
    if claimed != {"entries": number, "head": last}:
        return Finding(False, f"The chain of {DECISIONS!r} ends elsewhere than {MANIFEST} says.")
    return Finding(True, f"The chain of {number:,} decisions ends in {last}, as {MANIFEST} says.")
