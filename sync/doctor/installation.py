"""What all companies share: settings, database, cache, queue, Beat."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from celery import current_app
from django.conf import settings
from django.core import checks
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from sync import health
from sync.doctor.finding import Finding, failed, ok, warning
from sync.doctor.run import Check
from sync.public_address import is_public_https

WORKER_SECONDS = 2.0

_START = "Start it, or have `manage.py serve` start all of it."
_REDIS = f"See REDIS_URL, and that it has memory left and is no replica. {_START}"


def installation() -> list[Check]:
    return [
        Check("settings", settings_in_order),
        Check("public address", lambda: iter([judge_public_url(settings.PUBLIC_URL)])),
        Check("database", _database),
        Check("cache", lambda: iter([_health("cache", health.check_cache, _REDIS)])),
        Check("broker", _queue),
        Check("Beat", lambda: iter([_beat()])),
    ]


def settings_in_order() -> Iterator[Finding]:
    found = [message for message in checks.run_checks() if not message.is_silenced()]
    for message in found:
        finding = failed if message.level >= checks.ERROR else warning
        if message.level >= checks.WARNING:
            said = f"{message.msg} ({message.id})"
            yield finding("settings", said, message.hint or "See Django's documentation of this check.")
    if not settings.DUPLICATE_PREVENTION_ENABLED:
        said = "DUPLICATE_PREVENTION_ENABLED is false: three of the four layers against doubles only log."
        yield warning("settings", said, "Set it to true, unless you are looking for a mistake in them.")
    elif not any(message.level >= checks.WARNING for message in found):
        yield ok("settings", f"Fit for {settings.ENVIRONMENT}.")


def judge_public_url(address: str) -> Finding:
    check = "public address"
    remedy = "Set PUBLIC_URL to the https address under which Retell and Cal.com reach this server."
    if not address:
        return failed(check, "PUBLIC_URL is not set: nobody can be told where to reach us.", remedy)
    if not is_public_https(address):
        said = "PUBLIC_URL is no public https address: the real Retell and Cal.com do not call it."
        return warning(check, said, remedy)
    return ok(check, "PUBLIC_URL is a public https address.")


def _database() -> Iterator[Finding]:
    finding = _health(
        "database", health.check_database, "See DATABASE_URL, and that it runs and takes writes."
    )
    yield finding
    if not finding.is_ok:
        return
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        said = f"{len(missing)} migrations are not applied, the first of them {missing[0][0]}."
        yield failed("migrations", said, "Run: manage.py migrate")
    else:
        yield ok("migrations", "All are applied.")


def _queue() -> Iterator[Finding]:
    finding = _health("broker", health.check_broker, _REDIS)
    yield finding
    if not finding.is_ok:
        return
    answers = current_app.control.inspect(timeout=WORKER_SECONDS).active_queues() or {}
    taken_from = {queue["name"] for queues in answers.values() for queue in queues}
    remedy = f"Run: celery --app config worker. {_START}"
    if not answers:
        said = f"No worker answers within {WORKER_SECONDS:g} s: deliveries and open attempts wait."
        yield failed("workers", said, remedy)
    elif left := sorted(set(current_app.amqp.queues) - taken_from):
        yield failed("workers", f"{len(answers)} answer; none takes from: {', '.join(left)}.", remedy)
    else:
        yield ok("workers", f"{len(answers)} answer.")


def _beat() -> Finding:
    remedy = f"Run one: celery --app config beat. {_START}"
    return _health("Beat", health.check_beat, remedy)


def _health(name: str, check: Callable[[], None], remedy: str) -> Finding:
    try:
        check()
    except health.NotReady as verdict:
        return failed(name, f"Not well: {verdict}.", remedy)
    except Exception as error:  # noqa: BLE001  (whatever is wrong is the finding; the text may hold an address)
        return failed(name, f"Unreachable ({type(error).__name__}).", remedy)
    return ok(name, "Well.")
