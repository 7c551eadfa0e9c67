"""A command of ours as ops call it, in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import StringIO
from typing import Any

from django.core.management import call_command


@dataclass
class Ran:
    status: int
    text: str

    @property
    def report(self) -> dict[str, Any]:
        """What it says with `--json`."""
        return dict(json.loads(self.text))


def run_command(*arguments: str) -> Ran:
    """Its exit status, and what it prints. Raises CommandError where it cannot begin."""
    out = StringIO()
    try:
        call_command(*arguments, stdout=out)
    except SystemExit as end:
        return Ran(int(str(end.code)), out.getvalue())
    return Ran(0, out.getvalue())
