"""Receive an image without ever holding more of it than is allowed."""

from io import BytesIO
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from django.core.files.uploadhandler import FileUploadHandler


class CappedUpload(FileUploadHandler):
    """
    Keep at most `limit` bytes and one more of each uploaded file in memory; read past the rest.

    The file's `size` is what was sent, so that a form can say how much too much it was.
    """

    def __init__(self, *, limit: int) -> None:
        super().__init__()
        self._limit = limit
        self._kept = BytesIO()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin with a file."""
        super().new_file(*args, **kwargs)
        self._kept = BytesIO()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Keep what is still within the limit, and hand nothing on."""
        self._kept.write(raw_data[: max(0, self._limit + 1 - start)])

    def file_complete(self, file_size: int) -> UploadedFile[Any]:
        """Return what was kept, saying how much was sent."""
        received = SimpleUploadedFile(
            self.file_name or "", self._kept.getvalue(), self.content_type or "application/octet-stream"
        )
        received.size = file_size
        return received
