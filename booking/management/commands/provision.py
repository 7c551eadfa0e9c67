from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from booking.provisioning import InvalidFile, provision
from customers.ops_command import CLEAN, CannotWork, OpsCommand


class Command(OpsCommand):
    help = "Make companies, branches and services from a JSON file. Running it twice changes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("file", help="the file; - reads standard input")

    def work(self, **options: Any) -> tuple[dict[str, Any], int]:
        try:
            content = json.loads(_read(options["file"]), object_pairs_hook=_without_repeats)
        except OSError as error:
            raise CannotWork(f"{options['file']} cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise CannotWork(f"{options['file']} is not JSON: {error}") from None
        try:
            companies, changes = provision(content, only=options["company"])
        except InvalidFile as error:
            raise CannotWork(str(error)) from None
        if not companies and options["company"]:
            raise CannotWork(f"The file has no company {options['company']!r}.")
        return {
            "created": changes.created,
            "updated": changes.updated,
            "unchanged": changes.unchanged,
            "ignored": changes.ignored,
            "not_in_file": changes.not_in_file,
            "switched_off": changes.switched_off,
            "companies": [{"slug": company.slug, "endpoint": company.hooks_url} for company in companies],
        }, CLEAN

    def show(self, report: dict[str, Any]) -> None:
        for what in ("ignored", "created", "updated"):
            for name in report[what]:
                self.stdout.write(f"{what}: {name}")
        for name in report["not_in_file"]:
            self.stdout.write(f"active, and not in the file: {name}")
        for name in report["switched_off"]:
            self.stdout.write(f"in the file, and switched off: {name} (switch it on in the admin)")
        self.stdout.write(f"unchanged: {report['unchanged']}")
        for company in report["companies"]:
            self.stdout.write(f"{company['slug']}: {company['endpoint']}")


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON lets the last one count, and whoever has pasted a second "services" believes that both do."""
    entry = dict(pairs)
    if len(entry) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        whose = f" of {entry['slug']!r}" if isinstance(entry.get("slug"), str) else ""
        raise CannotWork(
            f"{twice!r} stands twice in one object{whose}: leave one of them, with what both say."
        )
    return entry


def _read(name: str) -> str:
    if name == "-":
        return Path("/dev/stdin").read_text(encoding="utf-8")
    return Path(name).read_text(encoding="utf-8")
