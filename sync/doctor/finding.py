"""One thing that was looked at, what came of it, and what to do about it (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

REDACTED = "…"


class Verdict(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works, and deserves a look
    FAILED = "failed"  # a person must fix it
    UNCHECKED = "could not check"


@dataclass(frozen=True)
class Finding:
    """`subject` is what it is about where there are several (a service, an agent, a number). Whatever is not
    ok has a remedy.
    """

    check: str
    verdict: Verdict
    said: str
    remedy: str = ""
    subject: str = ""

    @property
    def is_ok(self) -> bool:
        return self.verdict is Verdict.OK

    def without(self, secrets: Iterable[str]) -> Finding:
        """The same with every secret blotted out: other systems repeat in their errors what they were
        sent.
        """
        said, remedy = self.said, self.remedy
        for secret in filter(None, secrets):
            said, remedy = said.replace(secret, REDACTED), remedy.replace(secret, REDACTED)
        return replace(self, said=said, remedy=remedy)


def ok(check: str, said: str, *, subject: str = "") -> Finding:
    return Finding(check, Verdict.OK, said, subject=subject)


def warning(check: str, said: str, remedy: str, *, subject: str = "") -> Finding:
    return Finding(check, Verdict.WARNING, said, remedy, subject)


def failed(check: str, said: str, remedy: str, *, subject: str = "") -> Finding:
    return Finding(check, Verdict.FAILED, said, remedy, subject)


def unchecked(check: str, said: str, remedy: str, *, subject: str = "") -> Finding:
    return Finding(check, Verdict.UNCHECKED, said, remedy, subject)


def count(findings: Iterable[Finding]) -> dict[Verdict, int]:
    """How many of each verdict, those that did not occur included."""
    counts = dict.fromkeys(Verdict, 0)
    for finding in findings:
        counts[finding.verdict] += 1
    return counts
