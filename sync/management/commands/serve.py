import json
import os
import signal
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, OutputWrapper

from booking.calcom.simulator.control import SimulatorControl
from customers.json_command import JsonCommand
from customers.models import Company
from sync import demo_tenant, deployment_checks, embedded_server
from sync.management.demo import memory, system
from sync.process_tree import ChildDied, ProcessTree

# Cal.com simulators are reached by nobody but this machine.
SIMULATOR_HOST = "127.0.0.1"


class Stopped(Exception):
    """Ctrl-C or SIGTERM."""


class Command(JsonCommand):
    help = "Run everything on this machine: Valkey, web server, Celery workers and Beat. Ctrl-C stops it."
    requires_system_checks: list[str] = []  # `deployment` below; the rest belongs to `check`

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1")
        parser.add_argument("--port", type=int, default=8000, help="0 picks a free one")
        parser.add_argument("--workers", type=int, default=2, help="web worker processes (2)")
        parser.add_argument("--threads", type=int, default=16, help="threads in each web worker (16)")
        parser.add_argument("--demo", action="store_true", help="with a demo salon and a simulated Cal.com")
        parser.add_argument("--simulator-port", type=int, default=9100, help="0 picks a free one")
        parser.add_argument(
            "--json",
            action="store_true",
            dest="as_json",
            help="one JSON object on standard output when ready",
        )

    def handle(self, **options: Any) -> None:
        started = time.monotonic()
        # What is told on the way is no error, so not `self.stderr`, which is bold red on a terminal.
        self.news = OutputWrapper(sys.stderr) if options["as_json"] else self.stdout
        self.say: Callable[[str], Any] = self.news.write
        if why := deployment_checks.refusal():
            raise CommandError(why, returncode=2)
        os.umask(0o077)  # the database and the logs hold personal data
        try:
            with stop_signals() as stop, embedded_server.only_one(settings.VAR_DIR):
                self.serve(started=started, stop=stop, options=options)
        except Stopped:
            self.say("Stopped.")
        except (embedded_server.CannotServe, ChildDied, TimeoutError, OSError) as error:
            raise CommandError(str(error), returncode=2) from None

    def serve(self, *, started: float, stop: threading.Event, options: dict[str, Any]) -> None:
        address = embedded_server.free_address(host=options["host"], port=options["port"])
        simulator_address = (
            embedded_server.free_address(
                host=SIMULATOR_HOST, port=options["simulator_port"], option="--simulator-port"
            )
            if options["demo"]
            else None
        )
        env = {**os.environ, "VAR_DIR": str(settings.VAR_DIR)}
        if not (settings.PUBLIC_URL or settings.IS_PRODUCTION):
            env["PUBLIC_URL"] = address.url
        with ProcessTree(log_dir=settings.VAR_DIR / "log") as tree:
            if not settings.REDIS_URL:
                env["REDIS_URL"] = embedded_server.start_valkey(
                    tree,
                    socket_path=settings.EMBEDDED_VALKEY_SOCKET,
                    data_dir=settings.VAR_DIR / "valkey",
                )
            embedded_server.migrate()
            embedded_server.collect_static()
            told: dict[str, Any] = {
                "url": address.url,
                "admin_url": f"{address.url}/admin/",
                "simulator_url": None,
            }
            if simulator_address:
                told |= self.start_demo(
                    tree, address=address, simulator=simulator_address, env=env, stop=stop
                )
            embedded_server.close_connections()
            web = embedded_server.start_web(
                tree, address=address, workers=options["workers"], threads=options["threads"], env=env
            )
            embedded_server.start_workers(tree, env=env)
            beat = embedded_server.start_beat(tree, env=env)
            tree.wait_until(
                unless_stopped(stop, lambda: embedded_server.answers_healthz(address)), child=web, seconds=60
            )
            tree.wait_until(unless_stopped(stop, embedded_server.beat_is_alive), child=beat, seconds=60)
            embedded_server.close_connections()
            told["pids"] = {"serve": os.getpid(), **{child.name: child.pid for child in tree.children}}
            told["log_dir"] = str(tree.log_dir)
            told["seconds"] = round(time.monotonic() - started, 1)
            self.announce(told, as_json=options["as_json"])
            while not stop.wait(timeout=0.25):
                tree.check()
            raise Stopped

    def start_demo(
        self,
        tree: ProcessTree,
        *,
        address: embedded_server.Address,
        simulator: embedded_server.Address,
        env: dict[str, str],
        stop: threading.Event,
    ) -> dict[str, Any]:
        """The simulated Cal.com, the demo salon that books there, and an admin. What to tell about them."""
        demo_keys = demo_tenant.keys(settings.VAR_DIR)
        webhook_url = f"{address.url}/hooks/{demo_keys.endpoint_id}/calcom"
        world_file = demo_tenant.write_world_file(
            var_dir=settings.VAR_DIR, demo_keys=demo_keys, webhook_url=webhook_url
        )
        child = tree.start(
            "simulator",
            [
                sys.executable, "manage.py", "calcom_simulator",
                "--port", str(simulator.port), "--world", str(world_file),
            ],
            env=env,
            cwd=settings.BASE_DIR,
        )  # fmt: skip
        company_file = demo_tenant.write_company_file(
            var_dir=settings.VAR_DIR,
            demo_keys=demo_keys,
            calcom_base_url=f"{simulator.url}/v2",
        )
        call_command("provision", str(company_file), stdout=self.news)
        company = Company.objects.get(slug=demo_tenant.SLUG)
        if memory.holds_bookings(company):
            # Before the worker runs: the hourly reconcile would report what the simulator has forgotten.
            calcom = SimulatorControl(simulator.url)
            tree.wait_until(
                unless_stopped(stop, lambda: system.is_answering(calcom)), child=child, seconds=60
            )
            put_back = memory.remind(company, calcom=calcom, account=demo_tenant.SLUG)
            self.say(f"Put back {put_back} bookings that the simulated Cal.com had forgotten.")
        is_current = demo_tenant.ensure_admin(password=demo_keys.admin_password)
        return {
            "simulator_url": simulator.url,
            "webhook_url": webhook_url,
            "admin_user": demo_tenant.ADMIN,
            "admin_password": demo_keys.admin_password if is_current else None,
            "company": demo_tenant.SLUG,
        }

    def announce(self, told: dict[str, Any], *, as_json: bool) -> None:
        self.has_answered = True
        if as_json:
            self.stdout.write(json.dumps(told))
            self.stdout.flush()
            return
        lines = [f"Slotkeeper is ready after {told['seconds']} s.", f"  Web        {told['url']}/"]
        login = ""
        if told.get("admin_user"):
            password = told["admin_password"] or "(the password you have set)"
            login = f"   {told['admin_user']} / {password}"
        lines.append(f"  Admin      {told['admin_url']}{login}")
        if told["simulator_url"]:
            lines.append(f"  Cal.com    {told['simulator_url']}  (simulated)")
        lines.append(f"  Logs       {told['log_dir']}")
        lines.append("Ctrl-C stops it.")
        self.stdout.write("\n".join(lines))
        self.stdout.flush()


def unless_stopped(stop: threading.Event, is_ready: Callable[[], bool]) -> Callable[[], bool]:
    """`is_ready`, raising Stopped once `stop` is set: a slow start can be given up."""

    def ask() -> bool:
        if stop.is_set():
            raise Stopped
        return is_ready()

    return ask


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
    """SIGINT and SIGTERM set the event, and nothing else: raised in the middle of a step they could leave a
    child that nobody knows, and an impatient second Ctrl-C would cut the stopping short.
    """
    stop = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
