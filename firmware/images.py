"""
Image files: the Zigbee OTA header, the tagged elements after it, and what people claim about them.

A file is a header, then elements (tag u16, length u32, content) that fill it to its last byte: first
the image itself, last an ECDSA P-256 signature over everything before its element, as 64 bytes r ‖ s.
All numbers are little-endian, but for r and s, which are big-endian.
"""

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Protocol, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

MAGIC = 0x0BEEF11E
HEADER_VERSION = 0x0100
IMAGE_ELEMENT = 0x0000
SIGNATURE_ELEMENT = 0x0001
SIGNATURE_SIZE = 64

HAS_CREDENTIAL_VERSION, HAS_DESTINATION, HAS_HARDWARE_VERSIONS = 0x0001, 0x0002, 0x0004

_FIXED = struct.Struct("<IHHHHHIH32sI")
_ELEMENT = struct.Struct("<HI")
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_CHUNK = 64 * 1024


class Readable(Protocol):
    """Whatever bytes can be read from, a few at a time."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""


class ImageFault(ValueError):
    """
    A file that cannot be accepted, with the field at fault.

    `wanted` and `found` are as people read them.
    """

    def __init__(self, field: str, message: str, wanted: str = "", found: str = "") -> None:
        super().__init__(message)
        self.field, self.message, self.wanted, self.found = field, message, wanted, found

    def __str__(self) -> str:
        if not (self.wanted or self.found):
            return self.message
        return f"{self.message} Wanted {self.wanted}, found {self.found}."


class NotAnImage(ImageFault):
    """The file is no image at all: it does not begin as one, or it ends inside the header."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the first bytes of an image say about it; sizes in bytes."""

    header_length: int
    field_control: int
    manufacturer: int
    image_type: int
    version: int
    stack_version: int
    text: str
    total_size: int
    credential_version: int | None = None
    destination: bytes | None = None
    minimum_hardware: int | None = None
    maximum_hardware: int | None = None


@dataclass(frozen=True, slots=True)
class Element:
    """A tagged part of an image: where its content starts in the file, and how long it is."""

    tag: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Image:
    """An image that holds together: its header, its SHA-256 in hex, its size in bytes, its elements."""

    header: ImageHeader
    digest: str
    size: int
    elements: tuple[Element, ...]


@dataclass(frozen=True, slots=True)
class CoveredModel:
    """A hub model that a release is said to cover."""

    name: str
    manufacturer: int
    image_type: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What a release manager types about an image, to be compared with the file."""

    digest: str
    version: int
    minimum_hardware: int
    maximum_hardware: int
    models: Sequence[CoveredModel]


@dataclass(frozen=True, slots=True)
class Check:
    """One field of the upload check: what was typed, what the file says, and whether they agree."""

    field: str
    label: str
    typed: str
    found: str
    agrees: bool

    @property
    def message(self) -> str:
        """Say in a sentence how the two differ."""
        return f"{self.label}: {self.typed} was typed, but the file has {self.found}."


class _Reader:
    """Reads a stream once, hashing and counting, and never more than `limit` bytes and one chunk."""

    def __init__(self, stream: Readable, limit: int) -> None:
        self._stream, self._limit = stream, limit
        self.hash, self.size = hashlib.sha256(), 0

    def take(self, count: int) -> bytes:
        """Return up to `count` bytes, fewer only at the end of the stream."""
        parts = []
        while count and (part := self._stream.read(min(count, _CHUNK))):
            self.hash.update(part)
            self.size += len(part)
            if self.size > self._limit:
                raise ImageFault(
                    "size",
                    "The file is too large.",
                    f"at most {self._limit:,} bytes",
                    f"more than {self._limit:,} bytes",
                )
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def skip(self, count: int) -> int:
        """Read past up to `count` bytes; return how many there were."""
        skipped = 0
        while skipped < count and (part := self.take(min(count - skipped, _CHUNK))):
            skipped += len(part)
        return skipped


def read_header(stream: Readable) -> ImageHeader:
    """
    Read the header from the start of `stream`, which is left right behind it.

    :raises NotAnImage: if the file does not begin as an image, or ends inside the header
    :raises ImageFault: if a field of the header cannot be
    """
    return _read_header(_Reader(stream, 0x10000))


def _read_header(reader: _Reader) -> ImageHeader:
    fixed = reader.take(_FIXED.size)
    if fixed[:4] != MAGIC.to_bytes(4, "little"):
        raise NotAnImage(
            "file",
            "The file is not a firmware image.",
            f"a file that begins {MAGIC.to_bytes(4, 'little').hex(' ').upper()}",
            fixed[:4].hex(" ").upper() or "an empty file",
        )
    if len(fixed) < _FIXED.size:
        raise _ends_in_header(_FIXED.size, len(fixed))
    (
        _,
        header_version,
        header_length,
        field_control,
        manufacturer,
        image_type,
        version,
        stack_version,
        text,
        total_size,
    ) = _FIXED.unpack(fixed)
    if header_version != HEADER_VERSION:
        raise ImageFault(
            "header version",
            "The header is of an unknown version.",
            f"{HEADER_VERSION:04X}",
            f"{header_version:04X}",
        )
    if field_control & ~(HAS_CREDENTIAL_VERSION | HAS_DESTINATION | HAS_HARDWARE_VERSIONS):
        raise ImageFault(
            "field control", "The header announces unknown fields.", "0000 to 0007", f"{field_control:04X}"
        )
    needed = _header_length(field_control)
    if header_length != needed:
        raise ImageFault(
            "header length", "The header's length does not fit its fields.", str(needed), str(header_length)
        )
    optional = reader.take(needed - _FIXED.size)
    if len(optional) < needed - _FIXED.size:
        raise _ends_in_header(needed, _FIXED.size + len(optional))
    credential_version = destination = minimum_hardware = maximum_hardware = None
    if field_control & HAS_CREDENTIAL_VERSION:
        credential_version, optional = optional[0], optional[1:]
    if field_control & HAS_DESTINATION:
        destination, optional = optional[:8], optional[8:]
    if field_control & HAS_HARDWARE_VERSIONS:
        minimum_hardware, maximum_hardware = struct.unpack("<HH", optional)
        if minimum_hardware > maximum_hardware:
            raise ImageFault(
                "hardware range",
                "The header's hardware range is upside down.",
                "the lowest first",
                f"{minimum_hardware:04X} to {maximum_hardware:04X}",
            )
    return ImageHeader(
        header_length=header_length,
        field_control=field_control,
        manufacturer=manufacturer,
        image_type=image_type,
        version=version,
        stack_version=stack_version,
        text=text.rstrip(b"\0").decode("latin-1"),
        total_size=total_size,
        credential_version=credential_version,
        destination=destination,
        minimum_hardware=minimum_hardware,
        maximum_hardware=maximum_hardware,
    )


def _ends_in_header(needed: int, found: int) -> NotAnImage:
    return NotAnImage(
        "file", "The file ends inside its header.", f"{needed} bytes of header", f"{found} bytes"
    )


def _header_length(field_control: int) -> int:
    return (
        _FIXED.size
        + (1 if field_control & HAS_CREDENTIAL_VERSION else 0)
        + (8 if field_control & HAS_DESTINATION else 0)
        + (4 if field_control & HAS_HARDWARE_VERSIONS else 0)
    )


def inspect(stream: Readable, size_limit: int) -> Image:
    """
    Read a whole image from `stream`, checking that it holds together; return what it is.

    Reads at most one chunk past `size_limit` bytes, and holds no more than a chunk in memory.

    :raises NotAnImage: if the file does not begin as an image, or ends inside the header
    :raises ImageFault: naming the field that is at fault
    """
    reader = _Reader(stream, size_limit)
    header = _read_header(reader)
    if header.total_size > size_limit:
        raise ImageFault(
            "size",
            "The header announces too large a file.",
            f"at most {size_limit:,} bytes",
            f"{header.total_size:,} bytes",
        )
    elements = []
    while reader.size < header.total_size:
        if len(head := reader.take(_ELEMENT.size)) < _ELEMENT.size:
            raise _truncated(header, reader)
        tag, length = _ELEMENT.unpack(head)
        element = Element(tag=tag, offset=reader.size, length=length)
        if element.offset + length > header.total_size:
            raise ImageFault(
                "elements",
                f"Element {tag:04X} is longer than the file.",
                f"at most {header.total_size - element.offset:,} bytes",
                f"{length:,} bytes",
            )
        if tag == SIGNATURE_ELEMENT:
            _check_signature_shape(reader, header, length)
        elif reader.skip(length) < length:
            raise _truncated(header, reader)
        elements.append(element)
    surplus = reader.skip(size_limit)
    if surplus:
        raise ImageFault(
            "size",
            "The file goes on behind the end that its header states.",
            f"{header.total_size:,} bytes",
            f"{reader.size:,} bytes",
        )
    _check_order(elements)
    return Image(header=header, digest=reader.hash.hexdigest(), size=reader.size, elements=tuple(elements))


def _truncated(header: ImageHeader, reader: _Reader) -> ImageFault:
    return ImageFault(
        "size",
        "The file ends before the end that its header states.",
        f"{header.total_size:,} bytes",
        f"{reader.size:,} bytes",
    )


def _check_signature_shape(reader: _Reader, header: ImageHeader, length: int) -> None:
    if length != SIGNATURE_SIZE:
        raise ImageFault(
            "signature", "The signature has the wrong length.", f"{SIGNATURE_SIZE} bytes", f"{length:,} bytes"
        )
    if len(content := reader.take(length)) < length:
        raise _truncated(header, reader)
    r, s = int.from_bytes(content[:32], "big"), int.from_bytes(content[32:], "big")
    if not (0 < r < _P256_ORDER and 0 < s < _P256_ORDER):
        raise ImageFault(
            "signature",
            "The signature cannot be one of P-256.",
            "two numbers between 0 and the order of P-256",
            content.hex().upper(),
        )


def _check_order(elements: Sequence[Element]) -> None:
    tags = [element.tag for element in elements]
    found = ", ".join(f"{tag:04X}" for tag in tags[:8]) or "none"
    if tags.count(IMAGE_ELEMENT) != 1 or tags[0] != IMAGE_ELEMENT or elements[0].length == 0:
        raise ImageFault(
            "elements", "The file does not begin with one image.", f"{IMAGE_ELEMENT:04X} first, once", found
        )
    if tags.count(SIGNATURE_ELEMENT) != 1 or tags[-1] != SIGNATURE_ELEMENT:
        raise ImageFault(
            "signature",
            "The file does not end with one signature.",
            f"{SIGNATURE_ELEMENT:04X} last, once",
            found,
        )


def digest_of(chunks: Iterable[bytes]) -> str:
    """Return the SHA-256 of the chunks, in hex."""
    hasher = hashlib.sha256()
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.hexdigest()


def compare(*, image: Image, claim: Claim, size_limit: int) -> list[Check]:
    """Compare an image with what was typed about it, field by field, agreeing fields included."""
    header = image.header
    typed_range = (claim.minimum_hardware, claim.maximum_hardware)
    if header.minimum_hardware is None or header.maximum_hardware is None:
        # an image that states no range leaves it to the CPL entry
        found_range, range_agrees = "any (the file states no range)", True
    else:
        found_range = f"{header.minimum_hardware:04X} to {header.maximum_hardware:04X}"
        range_agrees = typed_range == (header.minimum_hardware, header.maximum_hardware)
    checks = [
        Check(
            field="digest",
            label="CPL hash (SHA-256)",
            typed=claim.digest,
            found=image.digest,
            agrees=claim.digest == image.digest,
        ),
        Check(
            field="version",
            label="Version",
            typed=f"{claim.version:08X}",
            found=f"{header.version:08X}",
            agrees=claim.version == header.version,
        ),
    ]
    for model in claim.models:
        checks += [
            Check(
                field="hub_models",
                label=f"Manufacturer of {model.name}",
                typed=f"{model.manufacturer:04X}",
                found=f"{header.manufacturer:04X}",
                agrees=model.manufacturer == header.manufacturer,
            ),
            Check(
                field="hub_models",
                label=f"Image type of {model.name}",
                typed=f"{model.image_type:04X}",
                found=f"{header.image_type:04X}",
                agrees=model.image_type == header.image_type,
            ),
        ]
    return [
        *checks,
        Check(
            field="hardware",
            label="Hardware range",
            typed=f"{typed_range[0]:04X} to {typed_range[1]:04X}",
            found=found_range,
            agrees=range_agrees,
        ),
        Check(
            field="file",
            label="Size",
            typed=f"at most {size_limit:,} bytes",
            found=f"{image.size:,} bytes",
            agrees=image.size <= size_limit,
        ),
    ]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What an image to be built says about itself. `payload` is the size of the image element, in bytes."""

    manufacturer: int
    image_type: int
    version: int
    payload: int
    minimum_hardware: int | None = None
    maximum_hardware: int | None = None
    text: str = ""
    stack_version: int = 2

    @property
    def field_control(self) -> int:
        """Return the flags of the optional fields that the header holds."""
        return 0 if self.minimum_hardware is None else HAS_HARDWARE_VERSIONS

    @property
    def size(self) -> int:
        """Return the size of the whole file, in bytes."""
        return _header_length(self.field_control) + 2 * _ELEMENT.size + self.payload + SIGNATURE_SIZE

    def resized(self, size: int) -> Self:
        """
        Return the blueprint of a file of `size` bytes altogether.

        :raises ValueError: if so few bytes cannot hold an image
        """
        if size <= (least := self.size - self.payload):
            raise ValueError(f"An image file has more than {least} bytes.")
        return replace(self, payload=size - least)


def build(*, blueprint: Blueprint, seed: int, key: ec.EllipticCurvePrivateKey) -> bytes:
    """
    Return a valid image, signed with the P-256 `key`.

    The payload depends on `seed` alone; the signature is another one each time, as ECDSA's are.
    """
    header = _FIXED.pack(
        MAGIC,
        HEADER_VERSION,
        _header_length(blueprint.field_control),
        blueprint.field_control,
        blueprint.manufacturer,
        blueprint.image_type,
        blueprint.version,
        blueprint.stack_version,
        blueprint.text.encode("latin-1"),
        blueprint.size,
    )
    if blueprint.minimum_hardware is not None:
        header += struct.pack("<HH", blueprint.minimum_hardware, blueprint.maximum_hardware)
    payload = Random(seed).randbytes(blueprint.payload)  # noqa: S311 - filling, not a secret
    signed = header + _ELEMENT.pack(IMAGE_ELEMENT, len(payload)) + payload
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return (
        signed
        + _ELEMENT.pack(SIGNATURE_ELEMENT, SIGNATURE_SIZE)
        + r.to_bytes(32, "big")
        + s.to_bytes(32, "big")
    )
