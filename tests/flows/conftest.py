from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from booking import completer
from booking.calcom.objects import read_booking
from booking.calcom.simulator.payloads import booking_json
from booking.calcom.simulator.server import Simulator
from booking.calcom.subscriptions import TRIGGERS
from booking.completer import Report
from booking.models import Service
from customers.models import Branch, Company, PhoneNumber, RetellAgent
from sync import oracle, work_deliveries
from tests.commands import run_command
from tests.flows.database_refusals import Refusals, refusals
from tests.flows.phone import Phone, at


@pytest.fixture
def calcom() -> Iterator[Simulator]:
    """A Cal.com of its own for this test, over real HTTP."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture
def salon(transactional_db: None, calcom: Simulator) -> Company:
    """A company at that Cal.com. `haircut` is the event type of one host who is always free."""
    return make_salon(calcom)


@transaction.atomic
def make_salon(calcom: Simulator, *, slug: str = "salon", number: str = "+493012345678") -> Company:
    """What `provision` makes of a file, without its checks: almost every test begins with it."""
    company = Company.objects.create(
        slug=slug,
        name="Salon Mitte",
        language="en",
        attendee_email_domain="callers.salon.example",
        calcom_base_url=calcom.base_url,
        calcom_api_key="cal_test_key",
        calcom_webhook_secret="whsec_salon",
        retell_api_key=f"key_{slug}_0123456789",
    )
    branch = Branch.objects.create(company=company, slug="mitte", name="Mitte")
    PhoneNumber.objects.create(branch=branch, number=number)
    RetellAgent.objects.create(company=company, branch=branch, agent_id="agent_1")
    Service.objects.bulk_create(
        Service(
            company=company,
            slug=slug_,
            name=name,
            aliases=aliases,
            duration_minutes=minutes,
            calcom_event_type_id=calcom.state.event_type(key).id,
        )
        for slug_, name, aliases, minutes, key in SERVICES
    )
    return company


SERVICES: tuple[tuple[str, str, list[str], int, str], ...] = (
    ("haircut", "Haarschnitt", ["Herrenhaarschnitt", "cut"], 30, "open"),
    ("colour", "Färben", [], 30, "roundrobin_open"),
    ("advice", "Beratung", [], 30, "confirm_open"),
    ("shave", "Rasur", [], 30, "single"),
    ("massage", "Massage", [], 30, "email_required"),
)


@pytest.fixture
def phone(salon: Company) -> Callable[..., Phone]:
    def dial(**options: Any) -> Phone:
        return Phone(**{"company": salon, **options})

    return dial


@pytest.fixture
def haircut(salon: Company) -> Service:
    return Service.objects.get(company=salon, slug="haircut")


@pytest.fixture
def refusing(transactional_db: None) -> Iterator[Refusals]:
    """A database that refuses what the test tells it to refuse."""
    with refusals() as made:
        yield made


@pytest.fixture
def verdict(calcom: Simulator) -> Callable[[], None]:
    """Ask the oracle: fails the test with what is broken between the tables and the simulator."""

    def hold() -> None:
        broken = []
        for company in Company.objects.all():
            bookings = [
                read_booking(booking_json(booking))
                for booking in calcom.bookings
                if company.calcom_api_key in booking.account.api_keys
            ]
            broken += [str(breach) for breach in oracle.breaches(company=company, bookings=bookings)]
        assert not broken, "\n".join(broken)

    return hold


@pytest.fixture
def settle_later() -> Callable[..., Report]:
    """The completer's run some time later; by default after the grace time."""

    def run(*, seconds: float | None = None) -> Report:
        grace = settings.ANSWER_BUDGET_SECONDS + settings.LATE_COMMIT_GRACE_SECONDS + 60
        later = dt.timedelta(seconds=grace if seconds is None else seconds)
        return completer.settle_unknown(now=timezone.now() + later)

    return run


@pytest.fixture
def announced(calcom: Simulator, salon: Company, live_server: Any) -> str:
    """Cal.com's webhooks come to us, over real HTTP; the value is their address."""
    url = f"{live_server.url}/hooks/{salon.endpoint_id}/calcom"
    calcom.subscribe(url, salon.calcom_webhook_secret, triggers=list(TRIGGERS))
    return url


@pytest.fixture
def work() -> Callable[..., work_deliveries.Report]:
    """What a worker does with the stored deliveries; some seconds later, if it says so."""

    def run(*, seconds: float = 0) -> work_deliveries.Report:
        return work_deliveries.work_due(now=timezone.now() + dt.timedelta(seconds=seconds))

    return run


@pytest.fixture
def booked(phone: Callable[..., Phone]) -> Phone:
    """A caller with one appointment, at ten."""
    caller = phone()
    assert caller.book(at(10)).code == "booked"
    return caller


@pytest.fixture
def run() -> Callable[..., tuple[int, dict[str, Any]]]:
    """`reconcile` as ops call it: its exit status and what it reports."""

    def reconcile_now(*options: str) -> tuple[int, dict[str, Any]]:
        ran = run_command("reconcile", "--json", *options)
        return ran.status, ran.report

    return reconcile_now


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Do something in a transaction of its own, and commit it while the test goes on."""
    if connection.vendor == "sqlite":
        pytest.skip("whoever writes is alone")
    threads: list[threading.Thread] = []

    def start(act: Callable[[], object]) -> None:
        is_done = threading.Event()

        def run() -> None:
            with transaction.atomic():
                act()
                is_done.set()
                time.sleep(0.5)
            connection.close()

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        assert is_done.wait(10)

    yield start
    for thread in threads:
        thread.join()
