#!/usr/bin/env python
"""Run a management command: `python manage.py help` lists them, `./dev` is the shorter way."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.management import execute_from_command_line
    except ImportError as error:
        raise SystemExit(
            f"Django is not installed here ({error}). Run ./dev instead: it sets up .venv."
        ) from None
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
