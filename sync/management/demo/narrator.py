"""Says what happens while it happens: plainly, or with colours where somebody watches.

The scenarios hand over facts; only this module knows how they look. What is printed and what `--json` reports
are the same facts.
"""

from __future__ import annotations

from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape

from sync.management.demo.caller import Heard
from sync.management.demo.observed import Observed


class Narrator:
    """Says nothing: with `--json` the report says it all."""

    def scenario(self, number: int, title: str, why: str) -> None: ...
    def happens(self, what: str) -> None: ...
    def heard(self, who: str, asked: str, heard: Heard) -> None: ...
    def holds(self, observed: Observed) -> None: ...
    def shows(self, what: str, lines: list[str]) -> None: ...
    def check(self, what: str, holds: bool) -> None: ...
    def verdict(self, breaches: list[str], seconds: float) -> None: ...


class Printer(Narrator):
    """Lines on `out`; styles only when it is a terminal."""

    def __init__(self, out: TextIO) -> None:
        terminal = out.isatty()
        self._console = Console(
            file=out,
            highlight=False,
            soft_wrap=True,
            force_terminal=terminal,
            no_color=not terminal,
            emoji=False,
        )

    def scenario(self, number: int, title: str, why: str) -> None:
        self._line("")
        self._line(f"{number}. {title}", "bold")
        self._line(f"   {why}", "dim")

    def happens(self, what: str) -> None:
        self._line(f"   · {what}")

    def heard(self, who: str, asked: str, heard: Heard) -> None:
        self._line(f"   {who}: {asked}", "cyan")
        if heard.status == 0:
            self._line(f"      hears nothing: the line is dead after {heard.seconds:.1f} s", "yellow")
            return
        replayed = ", replayed" if heard.replayed else ""
        self._line(f"      hears: “{heard.say}”", "green" if heard.body.get("success") else "yellow")
        self._line(
            f"      [{heard.code or f'HTTP {heard.status}'}{replayed}, {_duration(heard.seconds)}]", "dim"
        )

    def holds(self, observed: Observed) -> None:
        self._rows("Cal.com holds", [str(booking) for booking in observed.bookings])
        self._rows("Our tables hold", [str(row) for row in observed.rows])

    def shows(self, what: str, lines: list[str]) -> None:
        self._rows(what, lines)

    def check(self, what: str, holds: bool) -> None:
        self._line(f"   {'✓' if holds else '✗'} {what}", "green" if holds else "bold red")

    def verdict(self, breaches: list[str], seconds: float) -> None:
        self._line("")
        if not breaches:
            self._line(
                f"The oracle compared Cal.com with our tables: no invariant is broken. ({seconds:.0f} s)",
                "bold green",
            )
            return
        self._line("The oracle compared Cal.com with our tables and found:", "bold red")
        for breach in breaches:
            self._line(f"   ✗ {breach}", "red")

    def _rows(self, title: str, rows: list[str]) -> None:
        self._line(f"   {title}:", "bold")
        for row in rows or ["nothing"]:
            self._line(f"      {row}")

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(escape(text), style=style or None)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


class Recorder:
    """Passes everything on to a narrator and keeps what `--json` reports."""

    def __init__(self, narrator: Narrator) -> None:
        self._narrator = narrator
        self.scenarios: list[dict[str, Any]] = []

    def scenario(self, number: int, title: str, why: str, *, name: str) -> None:
        self.scenarios.append({"name": name, "title": title, "why": why, "steps": [], "checks": []})
        self._narrator.scenario(number, title, why)

    def happens(self, what: str) -> None:
        self._step({"happened": what})
        self._narrator.happens(what)

    def heard(self, who: str, asked: str, heard: Heard) -> None:
        self._step({"caller": who, "asked": asked, "heard": heard.as_json()})
        self._narrator.heard(who, asked, heard)

    def holds(self, observed: Observed) -> None:
        self._step(observed.as_json())
        self._narrator.holds(observed)

    def shows(self, what: str, lines: list[str]) -> None:
        """A page or a table as a person sees it."""
        self._step({"page": what, "lines": lines})
        self._narrator.shows(what, lines)

    def check(self, what: str, holds: bool) -> None:
        self.scenarios[-1]["checks"].append({"what": what, "holds": holds})
        self._narrator.check(what, holds)

    def verdict(self, breaches: list[str], seconds: float) -> None:
        self._narrator.verdict(breaches, seconds)

    @property
    def failed_checks(self) -> list[str]:
        return [
            f"{scenario['name']}: {check['what']}"
            for scenario in self.scenarios
            for check in scenario["checks"]
            if not check["holds"]
        ]

    def _step(self, step: dict[str, Any]) -> None:
        self.scenarios[-1]["steps"].append(step)
