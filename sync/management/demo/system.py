"""Find the running system: the company that is played with, its web server, and its simulated Cal.com."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from django.db import DatabaseError
from django.utils import timezone

from booking.calcom.simulator.control import SimulatorControl, SimulatorRefused
from customers.models import Branch, Company

SECONDS_TO_ANSWER = 3.0


class NotRunning(Exception):
    """There is nothing to play with. The message says what is missing, and what to start."""


@dataclass(frozen=True)
class RunningSystem:
    company: Company
    branch: Branch
    called_number: str
    calcom: SimulatorControl
    account: str  # the company's name at the simulator
    url: str  # of the web server, without a slash at its end
    found_at: datetime = field(default_factory=timezone.now)


def find(*, slug: str, url: str | None = None) -> RunningSystem:
    """The system that this machine's settings lead to. Raises NotRunning.

    Without `url` the web server is looked for where the simulator sends its webhooks.
    """
    try:
        company = Company.objects.filter(slug=slug, is_active=True).first()
        branch = (
            Branch.objects.filter(company=company, is_active=True, phone_numbers__isnull=False)
            .order_by("pk")
            .first()
        )
        number = branch.phone_numbers.order_by("pk").first() if branch else None
    except DatabaseError as error:
        raise NotRunning(f"The database cannot be read ({type(error).__name__}).") from None
    if company is None or branch is None or number is None:
        raise NotRunning(f"There is no company {slug!r} with a phone number yet.")
    calcom = SimulatorControl(company.calcom_base_url, timeout=SECONDS_TO_ANSWER)
    account = account_of(company, calcom=calcom)
    where = (url or _origin(account)).rstrip("/")
    if not _is_alive(where):
        raise NotRunning(f"No web server answers at {where or '(unknown address)'}.")
    return RunningSystem(
        company=company,
        branch=branch,
        called_number=number.number,
        calcom=calcom,
        account=account["name"],
        url=where,
    )


def is_answering(calcom: SimulatorControl) -> bool:
    try:
        calcom.clock.now()
    except requests.RequestException:
        return False
    return True


def account_of(company: Company, *, calcom: SimulatorControl) -> dict[str, Any]:
    """The account whose key the company has. Raises NotRunning."""
    try:
        accounts = calcom.state["accounts"]
    except (requests.RequestException, SimulatorRefused, KeyError, TypeError):
        # A real Cal.com has no control plane either: the demo never does anything to one.
        raise NotRunning(f"No Cal.com simulator answers at {calcom.url}.") from None
    for account in accounts:
        if company.calcom_api_key in account["api_keys"]:
            return dict(account)
    raise NotRunning(f"The simulator at {calcom.url} does not know the key of {company.slug!r}.")


def _origin(account: dict[str, Any]) -> str:
    for webhook in account["webhooks"]:
        address = urlsplit(webhook["subscriberUrl"])
        return f"{address.scheme}://{address.netloc}"
    return ""


def _is_alive(url: str) -> bool:
    try:
        with requests.Session() as session:
            session.trust_env = False  # a proxy named in the environment is not meant for this machine
            return session.get(f"{url}/healthz", timeout=SECONDS_TO_ANSWER).status_code == 200
    except requests.RequestException:
        return False
