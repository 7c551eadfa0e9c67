"""What fails is reported, wherever it runs: by a stand-in for the SDK that says so and ends the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.servers.processes import ROOT

SDK = """
def init(*, dsn, before_send, send_default_pii, **options):
    searched = {"query_string": "q=Anna+Weber", "headers": {"Referer": "https://us.example.org/?q=Anna+Weber"}}
    event = before_send({"message": "The call of +49 30 1234567 failed.", "request": searched}, {})
    told = "Weber" in repr(event)
    raise SystemExit(f"to {dsn}: {event['message']} {send_default_pii} {told}")
"""


@pytest.mark.parametrize(
    "started",
    [
        ["-c", "import config.wsgi"],
        ["-c", "import config.asgi"],
        ["-m", "celery", "--app", "config", "worker"],
        ["-m", "celery", "--app", "config", "beat", "--pidfile="],
    ],
    ids=["wsgi", "asgi", "worker", "beat"],
)
def test_errors_are_reported_without_what_is_personal(tmp_path, started):
    (tmp_path / "sentry_sdk.py").write_text(SDK)
    done = subprocess.run(
        [sys.executable, *started],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tmp_path),
            "VAR_DIR": str(tmp_path),
            "SENTRY_DSN": "https://key@errors.example.org/1",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = done.stderr.splitlines()[-1]
    assert told == "to https://key@errors.example.org/1: The call of ***67 failed. False False"
