"""What became of an uploaded list: how many rows were taken, and each other row as it was written, with its reason."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from django.core.files.storage import default_storage

from hubs.models import Supplier
from scheduling.sheets import Format


class RefusedRow(NamedTuple):
    """The cells of a row as they were written, why it was not taken, and the way forward."""

    cells: Sequence[str]
    reason: str
    forward: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """
    The result of one list.

    `of` names what the rows were for, such as `windows` or `group:12`; `header` is None where the list had none.
    """

    of: str
    file_name: str
    at: datetime
    by: str
    rows: int
    taken: int
    unchanged: int
    format: Format
    delimiter: str
    header: Sequence[str] | None
    refused: Sequence[RefusedRow]

    @property
    def width(self) -> int:
        """How many cells the widest row has, the header among them."""
        return max(
            (len(cells) for cells in (self.header or (), *(row.cells for row in self.refused))), default=0
        )


def folder(*, supplier: Supplier) -> str:
    """Return where a Supplier's results lie; nobody else's address leads there."""
    return f"uploads/{supplier.pk}"


def find(*, supplier: Supplier, key: UUID) -> Upload | None:
    """Return one of the Supplier's results, or None if there is no such result (any more)."""
    try:
        with default_storage.open(f"{folder(supplier=supplier)}/{key}") as file:
            return _from_json(json.load(file))
    except FileNotFoundError:
        return None


def as_json(*, upload: Upload) -> str:
    """Write a result as `find` reads it."""
    return json.dumps(asdict(upload) | {"at": upload.at.isoformat()})


def _from_json(said: dict[str, Any]) -> Upload:
    kept = {one.name: said[one.name] for one in fields(Upload)}
    return Upload(
        **kept
        | {
            "at": datetime.fromisoformat(said["at"]),
            "format": Format(said["format"]),
            "refused": [RefusedRow(*row) for row in said["refused"]],
        }
    )
