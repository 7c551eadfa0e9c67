#!/usr/bin/env python
"""Run a management command: `python manage.py help` lists them, `./dev` is the shorter way."""

import json
import os
import sys
import traceback
from typing import NoReturn

# Python's own 1 would say that something is left for a person.
COULD_NOT_DO_ITS_WORK = 2


def refuse(why: str) -> NoReturn:
    sys.stderr.write(f"{why}\n")
    if "--json" in sys.argv:
        sys.stdout.write(json.dumps({"error": why}) + "\n")
    sys.exit(COULD_NOT_DO_ITS_WORK)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
    except ImportError as error:
        refuse(f"Django is not installed here ({error}). Run ./dev instead: it sets up .venv.")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        # A sentence that names the setting.
        refuse(str(error))
    except Exception:  # noqa: BLE001 - told in full, with the right exit status
        traceback.print_exc()
        sys.exit(COULD_NOT_DO_ITS_WORK)


if __name__ == "__main__":
    main()
