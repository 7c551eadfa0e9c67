"""The table of a benchmark run: collected here, printed at the end; `--json FILE` writes it for machines."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from rich.console import Console
from rich.table import Table

from tests.benchmarks.series import Line

_LINES: list[Line] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--json", metavar="FILE", default=None, help="write what was measured as JSON; - prints it"
    )


@pytest.fixture(scope="session")
def table() -> list[Line]:
    """Lines put here are printed at the end of the run."""
    return _LINES


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short: a Unix socket's path holds about a hundred bytes."""
    with TemporaryDirectory(prefix="slotkeeper-bench-") as name:
        yield Path(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not _LINES:
        return
    _print_table()
    if config.getoption("--json"):
        content = json.dumps(
            {
                "python": platform.python_version(),
                "cores": os.cpu_count(),
                "load": os.getloadavg()[0],
                "fsync": bool(config.getoption("--durable")),
                "lines": [line.as_json() for line in _LINES],
            }
        )
        if config.getoption("--json") == "-":
            terminalreporter.write_line(content)
        else:
            Path(config.getoption("--json")).write_text(content + "\n", encoding="utf-8")


def _print_table() -> None:
    shown = Table(title=f"Benchmark on {os.cpu_count()} cores; load average {os.getloadavg()[0]:.1f}")
    for heading in ("", "value", "floor", "ratio", "target", "verdict", "noise"):
        shown.add_column(heading, justify="left" if heading in ("", "target", "verdict") else "right")
    stage = ""
    for line in _LINES:
        if line.stage != stage:
            stage = line.stage
            shown.add_section()
            shown.add_row(f"[bold]{stage}[/]")
        shown.add_row(
            line.name,
            f"{_number(line.value)} {line.unit}".rstrip(),
            "" if line.floor is None else _number(line.floor),
            "" if line.ratio is None else f"{line.ratio:.2f} x",
            line.target,
            f"[red]{line.verdict}[/]" if line.verdict == "MISSED" else line.verdict,
            "" if line.noise is None else f"{line.noise:.1f}",
        )
    console = Console(width=118)
    console.print()
    console.print(shown)
    console.print(
        "Overhead is what we take longer than the simulator asked directly. The floor is a bare WSGI app\n"
        "behind the same server (tests/benchmarks/floor.py). Of several short interleaved runs the best\n"
        "counts; noise is the slowest run's median over the fastest's: above 1.5 the machine was busy."
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
