"""A command with `--json`, also where there is no database and no model yet."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

# The exit status.
COULD_NOT_WORK = 2
# By Ctrl-C. Its trace would tell nobody anything.
INTERRUPTED = "Interrupted. What was done until then stays."


class JsonCommand(BaseCommand):
    """Whatever keeps it from its work, wrong options and unfit settings included, is exit status 2, and with
    `--json` an object with an `error` too. Subclasses parse `--json` into `as_json`.
    """

    # Only one object is ever written to standard output.
    has_answered = False
    _is_asked_for_json = False

    def run_from_argv(self, argv: list[str]) -> None:
        self._is_asked_for_json = "--json" in argv
        try:
            super().run_from_argv(argv)
        except CommandError as error:
            if "--traceback" in argv:
                raise
            # Of wrong options: what `execute` raises has become an exit by now.
            self._refuse(error)
            self.stderr.write(str(error))
            sys.exit(COULD_NOT_WORK)
        except KeyboardInterrupt:
            if "--traceback" in argv:
                raise
            if self._is_asked_for_json:
                self._refuse(INTERRUPTED)
            self.stderr.write(INTERRUPTED)
            sys.exit(COULD_NOT_WORK)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        if self._is_asked_for_json:
            parser.called_from_command_line = False  # it raises, where it would write its usage and exit
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except CommandError as error:
            error.returncode = COULD_NOT_WORK
            if options["as_json"]:
                self._refuse(error)
            raise
        except Exception as error:
            if options["as_json"]:
                # Not what it says: that may quote a row. The trace goes to standard error.
                self._refuse(type(error).__name__)
            raise

    def _refuse(self, why: object) -> None:
        if not self.has_answered:
            self.stdout.write(json.dumps({"error": str(why)}, ensure_ascii=False))
