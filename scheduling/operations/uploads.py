"""Keep what became of an uploaded list, for its sender to look at and to take the refused rows away."""

import uuid
from uuid import UUID

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from hubs.models import Supplier
from scheduling.queries import uploads
from scheduling.queries.uploads import Upload

KEPT = 20
"""Results that are kept for each Supplier; older ones make way."""


def keep(*, supplier: Supplier, upload: Upload) -> UUID:
    """Keep a result and return the key by which `queries.uploads.find` finds it."""
    folder = uploads.folder(supplier=supplier)
    key = uuid.uuid4()
    default_storage.save(f"{folder}/{key}", ContentFile(uploads.as_json(upload=upload).encode()))
    names = [f"{folder}/{name}" for name in default_storage.listdir(folder)[1]]
    for name in sorted(names, key=default_storage.get_modified_time)[:-KEPT]:
        default_storage.delete(name)
    return key
