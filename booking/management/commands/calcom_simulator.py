from __future__ import annotations

import json
import signal
import threading
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from booking.calcom.simulator.control_plane import control_account
from booking.calcom.simulator.server import Simulator
from customers.json_command import JsonCommand


class Command(JsonCommand):
    help = "Run a Cal.com of our own for trying things out: same API, no real calendar, no mail."
    # it must start where there is no database yet
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on; loopback only")
        parser.add_argument("--port", type=int, default=9100, help="0 takes a free one")
        parser.add_argument("--world", type=Path, help="JSON file: accounts, event types, bookings")
        parser.add_argument("--webhook-url", help="where booking webhooks go")
        parser.add_argument("--webhook-secret", help="what they are signed with")
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="say where it listens as one JSON object"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        if options["host"] not in ("127.0.0.1", "localhost"):
            raise CommandError(
                "The simulator listens on this machine only: it has a control plane without a key."
            )
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        with self._simulator(options) as simulator:
            if options["webhook_url"]:
                for account in list(simulator.state.accounts):
                    simulator.subscribe(
                        options["webhook_url"],
                        options["webhook_secret"],
                        account=account,
                        survives_reset=True,
                    )
            self._announce(simulator, world=options["world"], as_json=options["as_json"])
            stopped.wait()

    @staticmethod
    def _simulator(options: dict[str, Any]) -> Simulator:
        world = None
        try:
            if options["world"] is not None:
                world = json.loads(options["world"].read_text(encoding="utf-8"))
            return Simulator(host=options["host"], port=options["port"], world=world)
        except (OSError, OverflowError, ValueError, KeyError, TypeError) as problem:
            raise CommandError(f"The simulator cannot start: {problem}") from problem

    def _announce(self, simulator: Simulator, *, world: Path | None, as_json: bool) -> None:
        accounts = [control_account(account) for account in simulator.state.accounts.values()]
        self.has_answered = True
        if as_json:
            self.stdout.write(json.dumps({"base_url": simulator.base_url, "accounts": accounts}))
        else:
            self.stdout.write(f"Cal.com simulator: {simulator.base_url}")
            for account in accounts:
                # What is written here may be kept in a log, and whoever gave the keys knows them.
                keys = f"as in {world.name}" if world else ", ".join(account["api_keys"])
                self.stdout.write(f"  {account['name']}, key {keys}")
                for event_type in account["event_types"]:
                    self.stdout.write(
                        f"    {event_type['id']:>6}  {event_type['key']:<18} {event_type['minutes']:>3} min  "
                        f"{event_type['scheduling']}"
                    )
        self.stdout.flush()
