"""The images on disk: kept under the name of their hash, and asked again before anything relies on them."""

import socket
from collections.abc import Iterator
from typing import IO

from django.core.files import File
from django.core.files.storage import Storage

from firmware import images
from firmware.models import FirmwareRelease, image_path

_CHUNK = 64 * 1024


class ImageUnusable(Exception):
    """Nothing may rely on a stored image; the message says why and what to do."""


class ImageChanged(ImageUnusable):
    """The stored file is no longer the image that was approved, wherever one looks."""


class ImageUnavailable(ImageUnusable):
    """This host cannot see the images, which says nothing about them: another one may."""


def store(*, content: IO[bytes], digest: str) -> str:
    """
    Keep `content`, whose SHA-256 is `digest`, under the name of its hash; return that name.

    The same content is kept once. The file stays when the caller's transaction does not commit: nothing
    refers to it then, and the next upload of the same content finds it.

    :raises ImageChanged: if a damaged file bears the name already
    :raises ImageUnavailable: if this host cannot read what it has kept
    """
    storage = _storage()
    name = image_path(FirmwareRelease(digest=digest), "")
    if not storage.exists(name):
        content.seek(0)
        written = storage.save(name, File(content))
        if written != name:  # another upload of the same content came first
            storage.delete(written)
    verify_file(name=name, digest=digest)
    return name


def verify_stored_image(*, release: FirmwareRelease) -> None:
    """
    Hash the stored image of `release` again, before anything relies on it.

    :raises ImageChanged: if it is not the approved image: other bytes, truncated, or gone
    :raises ImageUnavailable: if this host cannot read images at all
    """
    verify_file(name=release.image.name or "", digest=release.digest)


def verify_file(*, name: str, digest: str) -> None:
    """
    Hash a stored file, a chunk at a time.

    A file that is missing among others is gone. Where there is not even their folder, this host lacks the place that
    all hosts share: an unmounted one is an empty folder too.

    :raises ImageChanged: if the file is missing, or its SHA-256 is not `digest`
    :raises ImageUnavailable: if images cannot be read here
    """
    storage = _storage()
    try:
        with storage.open(name) as stored:
            found = images.digest_of(_chunks(stored))
    except OSError as error:
        is_gone = isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        if is_gone and storage.exists(_folder()):
            raise ImageChanged(
                f"The stored image {digest} cannot be read ({error.__class__.__name__}). Restore the file "
                "from a copy with the same hash, or withdraw the release."
            ) from error
        raise ImageUnavailable(
            f"The host {socket.gethostname()} cannot read firmware images ({error.__class__.__name__}). Give it the "
            "MEDIA_ROOT that all hosts share, with the right to read it."
        ) from error
    if found != digest:
        raise ImageChanged(
            f"The stored image should hash to {digest}, but hashes to {found}: it was changed on disk. "
            "Find out how, then restore the file from a copy with the right hash, or withdraw the release."
        )


def _storage() -> Storage:
    storage: Storage = FirmwareRelease._meta.get_field("image").storage
    return storage


def _folder() -> str:
    """Return the folder that there is as soon as any image has been kept."""
    return image_path(FirmwareRelease(digest="0" * 64), "").partition("/")[0]


def _chunks(stored: IO[bytes]) -> Iterator[bytes]:
    while chunk := stored.read(_CHUNK):
        yield chunk
