"""What the README says of the outside face is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from sync.embedded_server import Address, web_command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "config" / "settings.py").read_text(encoding="utf-8")


def test_every_setting_is_in_the_table():
    read = set(re.findall(r'\b(?:env\.\w+|redis_urls\.setting)\(\s*"([A-Z_]+)"', SETTINGS))
    told = set(re.findall(r"`([A-Z_]+)`", "".join(re.findall(r"^\|.*?\|", README, flags=re.MULTILINE))))
    assert len(read) > 20
    assert read - told == set()
    assert told - read == set()


def test_every_command_is_in_the_table_and_takes_json():
    ours = {name for name, app in get_commands().items() if app in ("customers", "calls", "booking", "sync")}
    told = set(
        re.findall(r"^\| `([a-z_]+)(?: FILE)?` \|", README.partition("## Commands")[2], flags=re.MULTILINE)
    )
    assert ours == told
    for name in ours:
        assert (
            "--json" in load_command_class(get_commands()[name], name).create_parser("", name).format_help()
        )


@pytest.mark.parametrize(
    "line", re.findall(r"^\./dev (\w+ --company .*?)(?: +#.*)?$", README, flags=re.MULTILINE)
)
def test_a_command_line_that_is_shown_is_understood(line):
    name, *options = line.split()
    parser = load_command_class(get_commands()[name], name).create_parser("", name)
    parser.parse_args(options)
    if name != "doctor":
        parser.parse_args([*options, "--dry-run"])


def test_the_web_server_in_production_is_the_one_that_serve_starts():
    """Without its respawning, one worker that is killed takes the whole server with it."""
    shown = re.search(r"^granian (.*?config\.wsgi:application)", README, flags=re.MULTILINE | re.DOTALL)
    ours = web_command(address=Address(host="0.0.0.0", port=8000), workers=2, threads=16)
    assert shown is not None
    assert shown[1].replace("\\\n", " ").split() == ours[ours.index("granian") + 1 :]
