"""Whether it is production is told by the database, if nobody says it outright."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.servers.processes import ROOT


@pytest.mark.parametrize(
    ("given", "environment"),
    [
        ({}, "embedded"),
        ({"DATABASE_URL": "sqlite:///{folder}/elsewhere.sqlite3"}, "embedded"),
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:9/gone"}, "production"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/gone"}, "production"),
        ({"DATABASE_URL": "postgres://nobody@127.0.0.1:9/gone", "DEBUG": "true"}, "development"),
        ({"DATABASE_URL": "sqlite:///{folder}/x.sqlite3", "ENVIRONMENT": "production"}, "production"),
    ],
)
def test_what_it_is_without_being_told(tmp_path, given, environment):
    told = {name: value.replace("{folder}", str(tmp_path)) for name, value in given.items()}
    done = subprocess.run(
        [sys.executable, "-c", "from config import settings; print(settings.ENVIRONMENT)"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path), **told},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == f"{environment}\n", done.stderr
