"""What our management commands have in common: `--json`, `--company` and the exit status.

0  clean
1  something is left for a person
2  the command could not do its work
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sized
from datetime import UTC, datetime
from typing import Any, ClassVar

from django.core.management.base import CommandError
from django.db import DatabaseError, ProgrammingError
from django.db.models import QuerySet
from django.utils.dateparse import parse_date, parse_datetime

from customers import niceness
from customers.company_secrets import without_secrets
from customers.json_command import COULD_NOT_WORK, JsonCommand
from customers.masking import mask_text
from customers.models import Company
from customers.years import FIRST_YEAR, LAST_YEAR

CLEAN, LEFT_FOR_A_PERSON, FAILED = 0, 1, COULD_NOT_WORK


class CannotWork(CommandError):
    """The command could not do its work; exit status 2, as of every CommandError here."""


class OpsCommand(JsonCommand):
    """Subclasses write `work`, which returns the report for `--json` and the exit status, and `show`, which
    prints the same report for people.
    """

    takes_company: ClassVar[bool] = True
    # A command that works for minutes, beside callers.
    works_long: ClassVar[bool] = False

    def run_from_argv(self, argv: list[str]) -> None:
        # Only where the command has a process of its own.
        if self.works_long:
            niceness.give_way()
        super().run_from_argv(argv)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="one JSON object on standard output"
        )
        if self.takes_company:
            parser.add_argument("--company", metavar="SLUG", help="only this company")

    def handle(self, *args: Any, **options: Any) -> None:
        report, status = self._work(**options)
        if options["as_json"]:
            self.stdout.write(json.dumps(report, default=str, ensure_ascii=False))
        else:
            self.show(report)
        if status != CLEAN:
            sys.exit(status)

    def _work(self, **options: Any) -> tuple[dict[str, Any], int]:
        try:
            return self.work(**options)
        except DatabaseError as error:
            why = mask_text(str(error).strip().partition("\n")[0])
            remedy = (
                " Run `migrate` first." if isinstance(error, ProgrammingError) or "no such" in why else ""
            )
            raise CannotWork(f"The database cannot be used: {why}.{remedy}") from error

    def work(self, **options: Any) -> tuple[dict[str, Any], int]:
        """Raises CannotWork."""
        raise NotImplementedError

    def show(self, report: dict[str, Any]) -> None:
        raise NotImplementedError


def companies(slug: str | None) -> QuerySet[Company]:
    """The active companies, or the one named. Raises CannotWork if there is none of that name."""
    active = without_secrets(Company.objects.filter(is_active=True).order_by("slug"))
    if slug is None:
        return active
    named = active.filter(slug=slug)
    if not named.exists():
        raise CannotWork(f"There is no active company {slug!r}.")
    return named


def counted(companies: Sized) -> str:
    """How many, as it is said."""
    return "1 company" if len(companies) == 1 else f"{len(companies)} companies"


def instant(text: str) -> datetime:
    """The type of an option that is a time, in UTC unless it says otherwise; a date is its first moment."""
    try:
        moment = parse_datetime(text)
        if moment is None and (day := parse_date(text)):
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is None or not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ArgumentTypeError(f"{text!r} is not a time such as 2026-12-01 or 2026-12-01T09:00+01:00")
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
