from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ToolTexts:
    """What the model reads about a tool, and what the caller hears while it runs ("" where it is fast)."""

    description: str
    while_waiting: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """An agent's words in one language. `greeting` has a place for $business, and says that no human being is
    speaking: callers in the European Union must be told.
    """

    language: str
    greeting: str
    tools: Mapping[str, ToolTexts]
    end_call: str
    analysis: Mapping[str, str]
