"""A real browser on a real server, beside the simulator: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections
from playwright.sync_api import ConsoleMessage, Page, expect, sync_playwright

# What the flows have set up is set up here too.
from tests.flows.conftest import calcom, phone, salon, verdict

__all__ = ["calcom", "phone", "salon", "verdict"]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 15_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture
def page(live_server: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    """A browser of its own, with nobody logged in. Errors in the page's console fail the test.

    A new one for each test: Playwright keeps an event loop in this thread, which Django takes for
    asynchronous code, and the other tests are not to be told otherwise.
    """
    if CHROMIUM is None:
        why = "no Chromium is installed (Debian: apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        context = browser.new_context(base_url=live_server.url, color_scheme="dark")
        context.set_default_timeout(PATIENCE_MS)
        window = context.new_page()

        def listen(said: ConsoleMessage) -> None:
            # Every browser asks for this one by itself, and there is none.
            if said.type == "error" and not said.location["url"].endswith("/favicon.ico"):
                complaints.append(f"{said.text} {said.location['url']}")

        window.on("console", listen)
        window.on("pageerror", lambda error: complaints.append(str(error)))
        yield window
        browser.close()
        # While that loop runs this thread has database connections of their own, which nobody else closes.
        connections.close_all()
    assert not complaints
