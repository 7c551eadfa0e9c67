"""What was measured: several short runs of one thing, and the lines of the table they end in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil

from tests.benchmarks.load import Result


def percentile(latencies: list[float], share: float) -> float:
    """The nearest-rank percentile: an observed value, never one in between."""
    ordered = sorted(latencies)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


@dataclass
class Series:
    """The runs of one thing. A machine that others use too makes single runs slower, never faster, so the
    best of several short ones says most about the program; `noise` says how far apart they were.
    """

    runs: list[Result] = field(default_factory=list)

    def best(self, share: float) -> float:
        """Milliseconds."""
        return min(percentile(run.latencies, share) for run in self.runs)

    @property
    def p50(self) -> float:
        return self.best(0.50)

    @property
    def p99(self) -> float:
        return self.best(0.99)

    @property
    def per_second(self) -> float:
        return max(len(run.latencies) / run.seconds for run in self.runs)

    @property
    def noise(self) -> float:
        """The slowest run's median over the fastest's; 1.0 on a machine of its own."""
        medians = [percentile(run.latencies, 0.50) for run in self.runs]
        return max(medians) / min(medians)

    @property
    def generator_ms(self) -> float:
        return min(run.generator_ms for run in self.runs)

    @property
    def requests(self) -> int:
        return sum(len(run.latencies) for run in self.runs)


def interleave(rounds: int, **things: Callable[[], Result]) -> dict[str, Series]:
    """Run each thing once, `rounds` times over: what disturbs the machine for a while disturbs them alike."""
    measured = {name: Series() for name in things}
    for _ in range(rounds):
        for name, run in things.items():
            measured[name].runs.append(run())
    return measured


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table. `ratio` and `verdict` follow from what is known."""

    stage: str
    name: str
    value: float
    unit: str = "ms"
    floor: float | None = None
    at_most: float | None = None  # of the value
    at_most_times: float | None = None  # of the floor
    at_least_times: float | None = None  # of the floor
    noise: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor if self.floor else None

    @property
    def target(self) -> str:
        if self.at_most_times is not None:
            return f"<= {self.at_most_times:g} x floor"
        if self.at_least_times is not None:
            return f">= {self.at_least_times:g} x floor"
        return "" if self.at_most is None else f"<= {self.at_most:g} {self.unit}".rstrip()

    @property
    def verdict(self) -> str:
        if self.at_most_times is not None and self.ratio is not None:
            return "reached" if self.ratio <= self.at_most_times else "MISSED"
        if self.at_least_times is not None and self.ratio is not None:
            return "reached" if self.ratio >= self.at_least_times else "MISSED"
        if self.at_most is not None:
            return "reached" if self.value <= self.at_most else "MISSED"
        return ""

    def as_json(self) -> dict[str, object]:
        return {
            "stage": self.stage,
            "name": self.name,
            "value": round(self.value, 3),
            "unit": self.unit,
            "floor": None if self.floor is None else round(self.floor, 3),
            "ratio": None if self.ratio is None else round(self.ratio, 2),
            "target": self.target,
            "verdict": self.verdict,
            "noise": None if self.noise is None else round(self.noise, 2),
        }
