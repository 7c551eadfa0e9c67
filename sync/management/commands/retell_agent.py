from __future__ import annotations

import difflib
import json
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from calls.retell.agent import documents
from calls.retell.agent.documents import DEFAULT_VOICE, TEXTS, Setup
from calls.retell.agent.push import Report, SeveralAgents, push
from calls.retell.agent_api import AgentApi
from calls.retell.client import NotFound, RetellError, Unauthorized, Unavailable
from customers import phone_numbers
from customers.models import Branch, Company, RetellAgent
from customers.ops_command import CLEAN, LEFT_FOR_A_PERSON, CannotWork, OpsCommand, companies
from sync.public_address import is_public_https

# English is spelt and understood by where it is spoken.
_ENGLISH = {"GB": "en-GB", "IE": "en-GB", "AU": "en-AU", "NZ": "en-NZ", "IN": "en-IN"}
_LONGEST_VALUE = 100


class Command(OpsCommand):
    help = (
        "A ready-made Retell agent for a branch: print it as a file to import, or create and update it "
        "through Retell's API (--push). Exit status 1 if a phone number could not be connected, or if "
        "Retell cannot call PUBLIC_URL."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--branch", metavar="SLUG", help="needed where a company has several")
        parser.add_argument("--language", choices=sorted(TEXTS), help="default: the company's")
        parser.add_argument(
            "--voice",
            default=DEFAULT_VOICE,
            metavar="ID",
            help="of a new agent (default: %(default)s); later it is chosen at Retell",
        )
        parser.add_argument("--push", action="store_true", help="create or update the agent at Retell")
        parser.add_argument(
            "--dry-run", action="store_true", help="with --push: say what would be changed, change nothing"
        )

    def work(self, **options: Any) -> tuple[dict[str, Any], int]:
        company = _company(options["company"])
        branch = _branch(company, options["branch"])
        numbers = list(branch.phone_numbers.order_by("number").values_list("number", flat=True))
        setup = _setup(
            company, branch, numbers, language=options["language"] or company.language, voice=options["voice"]
        )
        report: dict[str, Any] = {
            "company": company.slug,
            "branch": branch.slug,
            "language": setup.language,
            "inbound_webhook_url": setup.inbound_url,
            "pushed": options["push"] and not options["dry_run"],
            "warnings": _warnings(),
        }
        if not options["push"]:
            report["import_file"] = documents.import_file(setup)
            report["phone_numbers"] = [{"number": number} for number in numbers]
            return report, CLEAN
        result = _push(company, branch, setup, numbers, dry_run=options["dry_run"])
        report |= {
            "action": result.action,
            "agent_id": result.agent_id,
            "llm_id": result.llm_id,
            "version": result.version,
            "changes": {
                "agent": [asdict(change) for change in result.agent_changes],
                "llm": [asdict(change) for change in result.llm_changes],
            },
            "phone_numbers": [asdict(number) for number in result.numbers],
        }
        is_clean = not report["warnings"] and not any(number.needs_person for number in result.numbers)
        return report, CLEAN if is_clean else LEFT_FOR_A_PERSON

    def show(self, report: dict[str, Any]) -> None:
        if "import_file" in report:
            self.stdout.write(json.dumps(report["import_file"], ensure_ascii=False, indent=2))
            # Beside the file, so that standard output can be sent into one.
            for number in report["phone_numbers"]:
                self.stderr.write(
                    f"{number['number']}: set its inbound webhook to {report['inbound_webhook_url']}"
                )
        else:
            self._show_push(report)
        for warning in report["warnings"]:
            self.stderr.write(warning)

    def _show_push(self, report: dict[str, Any]) -> None:
        done = report["pushed"]
        which = report["agent_id"] or "a new agent"
        self.stdout.write(f"{which}: {report['action'] if done else _would_be(report['action'])}")
        for part in ("agent", "llm"):
            for change in report["changes"][part]:
                self._show_change(change)
        for number in report["phone_numbers"]:
            outcome = number["outcome"] if done else _would_be(number["outcome"])
            reason = f": {number['reason']}" if number["reason"] else ""
            self.stdout.write(f"{number['number']}: {outcome.replace('_', ' ')}{reason}")
            for change in number["changes"]:
                self._show_change(change)

    def _show_change(self, change: dict[str, Any]) -> None:
        before, after = change["before"], change["after"]
        if isinstance(before, str) and isinstance(after, str) and "\n" in before + after:
            self.stdout.write(f"  {change['path']}:")
            lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
            for line in list(lines)[2:]:
                self.stdout.write(f"    {line}")
        elif before is None:
            self.stdout.write(f"  {change['path']}: {_short(after)}")
        else:
            self.stdout.write(f"  {change['path']}: {_short(before)} → {_short(after)}")


def _company(slug: str | None) -> Company:
    if slug is None:
        raise CannotWork("Name a company: --company SLUG.")
    return companies(slug).get()


def _branch(company: Company, slug: str | None) -> Branch:
    active = Branch.objects.filter(company=company, is_active=True).order_by("slug")
    found = list(active.filter(slug=slug) if slug else active)
    if len(found) == 1:
        return found[0]
    names = ", ".join(branch.slug for branch in active) or "none"
    if slug:
        raise CannotWork(f"{company.slug} has no active branch {slug!r}. There are: {names}.")
    raise CannotWork(f"Name one branch of {company.slug}: --branch SLUG. There are: {names}.")


def _setup(company: Company, branch: Branch, numbers: list[str], *, language: str, voice: str) -> Setup:
    if not settings.PUBLIC_URL:
        raise CannotWork("Set PUBLIC_URL: the agent must know where to reach us.")
    is_only_branch = not Branch.objects.filter(company=company).exclude(pk=branch.pk).exists()
    region = next((phone_numbers.region_of(number) for number in numbers), None)
    return Setup(
        business=company.name if is_only_branch else f"{company.name}, {branch.name}",
        language=language,
        locale="de-DE" if language == "de" else _ENGLISH.get(region or "", "en-US"),
        timezone=branch.zone.key,
        hooks_url=company.hooks_url,
        answer_budget_seconds=settings.ANSWER_BUDGET_SECONDS,
        # Not the company's slug: another installation with the same may use this Retell account too.
        marker=f"{str(company.endpoint_id)[:8]}/{branch.slug}",
        voice=voice,
    )


def _push(company: Company, branch: Branch, setup: Setup, numbers: Iterable[str], *, dry_run: bool) -> Report:
    if not company.retell_api_key:
        raise CannotWork(f"{company.slug} has no Retell API key.")

    def remember(agent_id: str) -> None:
        RetellAgent.objects.update_or_create(company=company, agent_id=agent_id, defaults={"branch": branch})

    known = list(
        RetellAgent.objects.filter(company=company, branch=branch).values_list("agent_id", flat=True)
    )
    try:
        with AgentApi(base_url=settings.RETELL_BASE_URL, api_key=company.retell_api_key) as api:
            return push(
                api, setup, known_agent_ids=known, numbers=numbers, on_agent=remember, dry_run=dry_run
            )
    except Unauthorized:
        raise CannotWork(f"Retell does not accept the API key of {company.slug}.") from None
    except Unavailable as error:
        raise CannotWork(
            f"Retell did not answer as it should ({error}). Run this again: what was done is found."
        ) from None
    except SeveralAgents as error:
        raise CannotWork(f"{error} Delete all but one at Retell.") from None
    except NotFound:
        raise CannotWork("The agent or its response engine was deleted meanwhile. Run this again.") from None
    except RetellError as error:
        raise CannotWork(str(error)) from None


def _warnings() -> list[str]:
    if is_public_https(settings.PUBLIC_URL):
        return []
    parts = urlsplit(settings.PUBLIC_URL)
    return [f"Retell calls public https addresses only; PUBLIC_URL is {parts.scheme}://{parts.hostname}."]


def _would_be(outcome: str) -> str:
    return f"would be {outcome}" if outcome in ("created", "updated", "published", "connected") else outcome


def _short(value: Any) -> str:
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
