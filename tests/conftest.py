"""Fixtures every test may use. The servers themselves are started by `tests/servers/plugin.py`."""

import pytest

from tests.servers import emptied_tables

emptied_tables.install()


def pytest_collection_modifyitems(items):
    """What needs a Celery worker runs one after the other in one process: a worker takes seconds to start."""
    for item in items:
        if "celery_worker_process" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("celery"))


@pytest.fixture(autouse=True)
def _empty_cache():
    """No test sees what another one left in the cache."""
    from django.core.cache import cache

    cache.clear()


@pytest.fixture(autouse=True)
def _nobody_else_works(request, _worker_of_this_run):
    """The worker of an earlier test would be woken by the deliveries of one that works them itself."""
    if "celery_worker_process" not in request.fixturenames and _worker_of_this_run.is_running:
        _worker_of_this_run.kill()
        _worker_of_this_run.forget_tasks()
