"""What holds for every request: UK time. (Login is required by Django's own middleware.)"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from portal.ground.uk_time import LONDON

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def london_time(get_response: GetResponse) -> GetResponse:
    """Show and read local times as Europe/London on every page; the database keeps UTC."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        with timezone.override(LONDON):
            return get_response(request)

    return middleware
