"""The entrance of a web worker, in a process of its own: warming up cannot be undone in this one."""

import json
import subprocess
import sys
import time

import pytest

from tests.servers.postgres import free_port
from tests.servers.processes import ROOT

# Starts as a worker does, then asks as Retell would and tells what this made the process load.
FIRST_REQUEST = """
import gc, io, json, sys
from config.wsgi import application

frozen, before, told = gc.get_freeze_count(), set(sys.modules), []
environ = {
    "REQUEST_METHOD": "POST", "SERVER_NAME": "localhost", "SERVER_PORT": "80", "HTTP_HOST": "localhost",
    "PATH_INFO": "/hooks/11111111-1111-4111-8111-111111111111/retell/functions/book_appointment",
    "CONTENT_LENGTH": "2", "wsgi.input": io.BytesIO(b"{}"), "wsgi.errors": sys.stderr,
    "wsgi.url_scheme": "http",
}
answer = application(environ, lambda status, headers: told.append(status))
answer.close()
from django.db import connection
pool = getattr(connection, "pool", None)
connections = pool.get_stats()["pool_size"] if pool else None
print(json.dumps({"status": told[0], "frozen": frozen, "connections": connections,
                  "loaded": sorted(set(sys.modules) - before)}))
connection.close()
if pool:
    pool.close()
"""


def start(environment):
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", FIRST_REQUEST],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    return done, [line for line in lines if line["event"].startswith("warm_up.")], time.monotonic() - started


@pytest.mark.django_db(transaction=True)
def test_the_first_delivery_finds_everything_loaded(subprocess_environment):
    done, warnings, _seconds = start({**subprocess_environment, "LOG_FORMAT": "json"})
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["status"] == "404 Not Found"
    # Django writes its line about a 404 in a codec of its own.
    assert [name for name in told["loaded"] if name != "encodings.unicode_escape"] == []
    assert told["frozen"] > 10_000
    assert warnings == []
    assert told["connections"] in (None, 3)  # SQLite has no pool


def test_a_database_and_a_cache_that_are_away_keep_no_server_from_starting(tmp_path):
    away = f"127.0.0.1:{free_port()}"
    done, warnings, seconds = start(
        {
            "PATH": "/usr/bin:/bin",
            "VAR_DIR": str(tmp_path),
            "ENVIRONMENT": "development",
            "DATABASE_URL": f"postgresql://nobody:secret-word@{away}/nothing",
            "REDIS_URL": f"redis://{away}",
            "LOG_FORMAT": "json",
        }
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"].startswith("5")
    assert {line["step"] for line in warnings if line["event"] == "warm_up.failed"} >= {"_connections"}
    assert "secret-word" not in done.stderr
    assert seconds < 20
