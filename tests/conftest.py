"""Fixtures every test may use. The servers themselves are started by `tests/servers/plugin.py`."""

import pytest
from _pytest.nodeid import NodeId
from hypothesis import HealthCheck, settings

from tests.servers import emptied_tables

emptied_tables.install()
# How long an example takes says how busy the machine is, and which example pays for an import.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Tests of one group run one after the other in one process. What needs a Celery worker is a group too: a
    worker takes seconds to start.

    xdist reads the group off the end of the node id. It puts it there itself, where pytest 9.2 does not look.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    for item in items:
        mark = item.get_closest_marker("xdist_group")
        group = "celery" if "celery_worker_process" in item.fixturenames else mark and mark.args[0]
        if group and not item.nodeid.endswith(f"@{group}"):
            item._id = NodeId.parse(f"{item.nodeid}@{group}")


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
