from __future__ import annotations

import time
from argparse import ArgumentParser
from typing import Any, TextIO, cast

import requests
from django.utils import timezone

from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError
from booking.calcom.simulator.control import SimulatorRefused
from booking.connection import client_for
from booking.models import Service
from customers.ops_command import CLEAN, LEFT_FOR_A_PERSON, CannotWork, OpsCommand
from sync import demo_tenant, oracle
from sync.management.demo import memory
from sync.management.demo.narrator import Narrator, Printer, Recorder
from sync.management.demo.scenarios import SCENARIOS
from sync.management.demo.stage import CannotPlay, Stage
from sync.management.demo.system import NotRunning, RunningSystem, find

START_FIRST = "Start the system first, in another terminal: ./dev up"


class Command(OpsCommand):
    help = (
        "Play calls against the running system (./dev up) and show what the callers heard and what Cal.com "
        "and our tables hold. Exit status 1 if something was not as it should be, 2 if the system is not "
        "running."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--url", help="the web server, when Cal.com's webhooks go elsewhere")
        parser.add_argument("--service", metavar="SLUG", help="what is booked (the company's first service)")
        parser.add_argument(
            "--only",
            action="append",
            choices=[scenario.name for scenario in SCENARIOS],
            help="only this scenario; may be given several times",
        )

    def work(self, **options: Any) -> tuple[dict[str, Any], int]:
        started = time.monotonic()
        try:
            system = find(slug=options["company"] or demo_tenant.SLUG, url=options["url"])
        except NotRunning as error:
            raise CannotWork(f"{error} {START_FIRST}") from None
        narrator = Narrator() if options["as_json"] else Printer(cast(TextIO, self.stdout))
        record = Recorder(narrator)
        stage = Stage(system=system, service=_service(system, options["service"]), record=record)
        try:
            reminded = memory.remind(system.company, calcom=system.calcom, account=system.account)
            _play(stage, only=options["only"])
            breaches = _breaches(system)
        except (CannotPlay, CalcomError, requests.RequestException, SimulatorRefused) as error:
            raise CannotWork(f"The demo broke off: {error}") from None
        except KeyboardInterrupt:
            raise CannotWork("Stopped before its end. The planned faults are taken back.") from None
        seconds = time.monotonic() - started
        record.verdict(breaches, seconds)
        report = {
            "url": system.url,
            "company": system.company.slug,
            "bookings_put_back": reminded,
            "scenarios": record.scenarios,
            "failed_checks": record.failed_checks,
            "breaches": breaches,
            "seconds": round(seconds, 1),
        }
        return report, LEFT_FOR_A_PERSON if breaches or record.failed_checks else CLEAN

    def show(self, report: dict[str, Any]) -> None:
        # Everything else was said while it happened.
        for check in report["failed_checks"]:
            self.stderr.write(f"Not as it should be: {check}")


def _service(system: RunningSystem, slug: str | None) -> Service:
    services = Service.objects.filter(company=system.company, is_active=True).order_by("pk")
    service = services.filter(slug=slug).first() if slug else services.first()
    if service is None:
        raise CannotWork(f"{system.company.slug} has no service {slug or 'at all'}.")
    return service


def _play(stage: Stage, *, only: list[str] | None) -> None:
    chosen = [scenario for scenario in SCENARIOS if not only or scenario.name in only]
    try:
        for number, scenario in enumerate(chosen, start=1):
            stage.record.scenario(number, scenario.title, scenario.why, name=scenario.name)
            scenario().play(stage)
    finally:
        # Also after an error or Ctrl-C: whoever uses the system next finds Cal.com well.
        stage.system.calcom.faults.clear()
        stage.system.calcom.webhooks.drop_next(0)
        stage.system.calcom.webhooks.release()


def _breaches(system: RunningSystem) -> list[str]:
    bookings = list(client_for(system.company).list_bookings(deadline=Deadline.after(20)))
    found = oracle.breaches(company=system.company, bookings=bookings, now=timezone.now())
    return [str(breach) for breach in found]
