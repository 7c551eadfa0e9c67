"""Send ourselves a delivery as Cal.com would, by our public address, and see that it arrives here.

Everything on the way has its say: DNS, the proxy, the allowed hosts, the signature. The PING stays as a row
among the deliveries, where a worker will ignore it; it is the only trace a doctor leaves.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator

import orjson
from django.conf import settings
from django.utils import timezone

from booking.calcom import signature
from booking.calcom.deadline import Deadline
from booking.calcom.transport import CutOff, NotSent, exchange
from calls.deliveries import delivery_key
from calls.models import WebhookEvent
from customers.models import Company
from sync.doctor.finding import Finding, failed, ok

CHECK = "webhook round trip"
TRIGGER = "PING"
ASK_SECONDS = 10.0

# What an answer other than 200 says about the way, and what to do.
_ANSWERS = {
    400: (
        "The request was called malformed.",
        "See that ALLOWED_HOSTS holds the host of PUBLIC_URL, and that the proxy passes the Host on.",
    ),
    401: (
        "The signature was refused.",
        "See that the proxy leaves the body and X-Cal-Signature-256 as they are, and that PUBLIC_URL leads "
        "to this installation and to no other.",
    ),
    404: (
        "Nobody is there under this company's endpoint.",
        "See that PUBLIC_URL leads to this installation, and that the proxy passes on all of /hooks/.",
    ),
    413: ("The body was called too large.", "Let the proxy take bodies of 1 MiB."),
}


def look(company: Company) -> Iterator[Finding]:
    if not settings.PUBLIC_URL:
        return  # said once, of the installation
    if not company.calcom_webhook_secret:
        yield failed(
            CHECK,
            "The company has no webhook secret to sign with.",
            f"Run: manage.py webhooks --company {company.slug}",
        )
        return
    yield _round_trip(company)


def _round_trip(company: Company) -> Finding:
    body = orjson.dumps(
        {
            "triggerEvent": TRIGGER,
            "createdAt": timezone.now().isoformat(),
            # A nonce: a repeat of the same bytes would not be stored again.
            "payload": {"type": "Test", "title": "manage.py doctor", "nonce": secrets.token_hex(8)},
        }
    )
    try:
        answer = exchange(
            method="POST",
            url=f"{company.hooks_url}/calcom",
            headers={
                "Content-Type": "application/json",
                "User-Agent": "slotkeeper-doctor",
                "X-Cal-Signature-256": signature.sign(body, company.calcom_webhook_secret),
            },
            body=body,
            deadline=Deadline.after(ASK_SECONDS),
        )
    except NotSent as error:
        return failed(
            CHECK,
            f"Our public address cannot be reached from this machine ({error}).",
            "See PUBLIC_URL, its DNS name and certificate, and that the server runs. Where only this machine "
            "cannot reach it (no way back in through the firewall), use the test button at Cal.com.",
        )
    except CutOff as error:
        return failed(
            CHECK,
            f"Our public address took a delivery and did not answer ({error}).",
            "See that the proxy passes requests on, and that the server behind it runs.",
        )
    if answer.status_code != 200:
        return _refused(answer.status_code)
    key = delivery_key(WebhookEvent.Provider.CALCOM, TRIGGER, hashlib.sha256(body).hexdigest())
    row = WebhookEvent.objects.filter(company=company, webhook_id=key).values_list("pk", flat=True).first()
    if row is None:
        return failed(
            CHECK,
            "A signed delivery to our public address was answered 200 and is not in this database.",
            "PUBLIC_URL leads to something else: another installation, another database, or a proxy that "
            "answers by itself.",
        )
    return ok(CHECK, f"A signed PING came in by our public address; it stays as delivery {row}.")


def _refused(status: int) -> Finding:
    if 300 <= status < 400:
        said, remedy = "It is redirected.", "Set PUBLIC_URL to where it leads: senders do not follow."
    elif status >= 500:
        said, remedy = "Something on the way is broken.", "See the logs of the proxy and of the web server."
    else:
        said, remedy = _ANSWERS.get(
            status, ("It was not taken.", "See what stands between PUBLIC_URL and this program.")
        )
    return failed(CHECK, f"Our public address answers a signed delivery with {status}. {said}", remedy)
