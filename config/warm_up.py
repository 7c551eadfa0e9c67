"""What a web worker does before its first request: refuse unsafe settings, then pay the first-time costs.

A caller would otherwise wait for the imports of the URLconf, the first database connection and the first one
to Redis. Nothing here may keep the server from starting: a database that is away now may be back when the
first call comes.
"""

import structlog
from django.conf import settings
from django.core import checks
from django.core.cache import cache
from django.core.management.base import SystemCheckError
from django.db import DatabaseError, connection
from django.urls import get_resolver

from sync.deployment_checks import Tags

logger = structlog.get_logger(__name__)


def refuse_unsafe_deployment() -> None:
    """Raises SystemCheckError, naming every unsafe setting with its remedy. Nothing secret stands in it."""
    errors = [
        message for message in checks.run_checks(tags=[Tags.DEPLOYMENT]) if message.level >= checks.ERROR
    ]
    if errors:
        lines = "\n".join(f"  {error}" for error in errors)
        raise SystemCheckError(f"Slotkeeper refuses to start with these settings:\n{lines}")


def warm_up() -> None:
    resolver = get_resolver(settings.ROOT_URLCONF)
    _ = resolver.url_patterns
    resolver._populate()  # noqa: SLF001  (what the first reverse() would do)
    cache.get("warm-up")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.warning("warm_up.database_unreachable", error=repr(error))
    finally:
        # Back to the pool: this thread serves no request.
        connection.close()
