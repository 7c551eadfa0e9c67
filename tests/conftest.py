"""Fixtures every test may use. The servers themselves are started by `tests/servers/plugin.py`."""

import pytest


@pytest.fixture(autouse=True)
def _empty_cache():
    """No test sees what another one left in the cache."""
    from django.core.cache import cache

    cache.clear()
