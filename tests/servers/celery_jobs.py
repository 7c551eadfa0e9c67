"""Jobs for the tests of Beat and of the worker, which loads this module: one leaves a mark to count."""

from celery import shared_task
from django.core.cache import cache


@shared_task(name="tests.count")
def count(*, key: str) -> None:
    cache.add(key, 0, timeout=300)
    cache.incr(key)


@shared_task(name="tests.fail")
def fail(*, why: str) -> None:
    raise RuntimeError(why)
