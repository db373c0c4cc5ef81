"""Tell a supervisor whether this process lives, and whether it can serve."""

import logging

from django.contrib.auth.decorators import login_not_required
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


@login_not_required
@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """Answer, which is all that is asked."""
    return HttpResponse("alive\n", content_type="text/plain")


@login_not_required
@never_cache
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Ask PostgreSQL and Redis; answer 503 when either is silent, naming which but never why."""
    services = {"postgresql": _asks_postgresql(), "redis": _asks_redis()}
    return JsonResponse(services, status=200 if all(services.values()) else 503)


def _asks_postgresql() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except DatabaseError:
        logger.exception("PostgreSQL does not answer")
        return False
    return True


def _asks_redis() -> bool:
    try:
        cache.get("health")
    except (RedisError, OSError):
        logger.exception("Redis does not answer")
        return False
    return True
