"""What the logs look like, and what must never stand in them.

Every line, ours and the libraries', runs through `mask_personal` before it is rendered; `customers.masking`
says what goes and what stays.
"""

import logging
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from customers.masking import mask_value


def mask_personal(_logger: WrappedLogger, _method: str, event_dict: EventDict) -> EventDict:
    """structlog processor: the event with everything personal or secret masked, however deep it stands."""
    return {
        # The two underscored entries are structlog's own record and are taken out by its formatter.
        key: value if key in ("_record", "_from_structlog") else mask_value(value, field=key)
        for key, value in event_dict.items()
    }


class WithoutTrace(logging.Filter):
    """For errors that come by the thousand and are dealt with: a cache that is gone is one to each request
    and more, and where it was noticed says nothing. Which error it was stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and (error := record.exc_info[1]) is not None:
            record.error = f"{type(error).__name__}: {error}"
            record.exc_info = None
        return True


def _dumps(value: Any, **_options: Any) -> str:
    return orjson.dumps(value, default=repr).decode("utf-8")


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def configure_structlog() -> None:
    """Point structlog's loggers at the standard library's handlers. Safe to call twice."""
    structlog.configure(
        processors=[
            # First: a line nobody wants to see costs nothing more.
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def logging_settings(*, log_format: str, level: str) -> dict[str, Any]:
    """Django's LOGGING. `log_format` is `json` (one object a line) or `console`, `level` a standard name."""
    renderer: Processor = (
        structlog.processors.JSONRenderer(serializer=_dumps)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback, sort_keys=False
        )
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    # Tracebacks become text first, so that what stands in them is masked too.
                    structlog.processors.format_exc_info,
                    mask_personal,
                    renderer,
                ],
                "foreign_pre_chain": [*_shared_processors(), structlog.stdlib.ExtraAdder()],
            }
        },
        "filters": {"without_trace": {"()": WithoutTrace}},
        # Standard error: standard output belongs to `--json`.
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Django adds handlers of its own to these two; ours at the root is enough.
            "django": {"handlers": [], "level": level, "propagate": True},
            # The request middleware writes the one telling line per request. Tracebacks still pass.
            "django.request": {"handlers": [], "level": "ERROR", "propagate": True},
            "django.server": {"handlers": [], "level": "WARNING", "propagate": True},
            "django.db.backends": {"level": "WARNING"},
            "django_structlog.celery": {"level": "WARNING"},
            "urllib3": {"level": "WARNING"},
            "requests": {"level": "WARNING"},
            "redis": {"level": "WARNING"},
            "cache": {"filters": ["without_trace"]},
            "kombu": {"level": "WARNING"},
            "amqp": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "celery.redirected": {"level": "WARNING"},
            "granian.access": {"level": "WARNING"},
            "psycopg.pool": {"level": "WARNING"},
            "faker": {"level": "WARNING"},
        },
    }


def known_level(name: str) -> bool:
    return name in logging.getLevelNamesMapping()
