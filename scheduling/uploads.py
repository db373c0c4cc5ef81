"""Receive a list of hubs without ever keeping more of it than is allowed."""

from typing import Any

from django.conf import settings
from django.core.files.uploadhandler import TemporaryFileUploadHandler


class CappedSpool(TemporaryFileUploadHandler):
    """
    Keep at most `limit` bytes of each uploaded file, on disk, and nothing where the request says that it is larger.

    What is beyond is read past, since a browser shows no answer before it has sent all. The file's `size` is what
    was sent, so that a form can say how much too much it was.
    """

    def __init__(self, *, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def handle_raw_input(self, *request: Any, **_: Any) -> None:
        """Look at how much is announced."""
        _body, _meta, announced, *_more = request
        if announced > self._limit + settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            self._limit = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Keep what is still within the limit, and hand nothing on."""
        if start < self._limit:
            super().receive_data_chunk(raw_data[: self._limit - start], start)
