"""Everything there is to look at, of the installation and of one company."""

from __future__ import annotations

import datetime as dt

from django.conf import settings

from customers.encrypted_field import CannotDecrypt
from customers.models import Company
from sync.doctor import calcom, clock, records, retell, round_trip
from sync.doctor.finding import Finding, failed
from sync.doctor.installation import installation
from sync.doctor.run import Check, run

# A company with many services is asked for at the pace its key allows.
CALCOM_SECONDS, RETELL_SECONDS = 120.0, 60.0


def examine_installation() -> list[Finding]:
    return run(installation())


def examine_company(slug: str, *, now: dt.datetime) -> list[Finding]:
    """Raises nothing that is this company's own trouble; what the database raises, if that is away."""
    company = Company.objects.get(slug=slug)
    try:
        secrets = _secrets_of(company)
    except CannotDecrypt as error:
        remedy = "Put the key they were stored with back into FIELD_ENCRYPTION_KEY, or enter them anew."
        return [failed("stored secrets", f"They cannot be opened: {error}", remedy)]
    return run(checks_of(company, now=now), secrets=secrets)


def checks_of(company: Company, *, now: dt.datetime) -> list[Check]:
    clocks = {
        "Cal.com": f"{company.calcom_base_url.rstrip('/')}/me",
        "Retell": f"{settings.RETELL_BASE_URL.rstrip('/')}/",
    }
    return [
        Check("Cal.com", lambda: calcom.look(company), seconds=CALCOM_SECONDS),
        Check(round_trip.CHECK, lambda: round_trip.look(company)),
        Check("Retell", lambda: retell.look(company), seconds=RETELL_SECONDS),
        Check(clock.CHECK, lambda: clock.look(clocks)),
        Check("records", lambda: records.look(company, now=now)),
    ]


def _secrets_of(company: Company) -> list[str]:
    return [
        company.calcom_api_key,
        company.calcom_reconcile_api_key,
        *company.calcom_webhook_secrets,
        *company.retell_keys,
    ]
