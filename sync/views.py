"""Where Cal.com tells us about bookings. Store, answer, work later."""

from __future__ import annotations

import hashlib
import re
from uuid import UUID

import orjson
from django.http import HttpResponse
from rest_framework.request import Request

from booking.calcom.deliveries import read_trigger, redact
from calls import deliveries, wake_up
from calls.hook_view import HookView, parsed, taken
from calls.models import WebhookEvent
from customers.json_values import storable
from customers.models import Company
from sync.authentication import CalcomSignature

PROVIDER = WebhookEvent.Provider.CALCOM

# The name of its field: as it is, or with a letter of it escaped.
_MAY_HOLD_A_SECRET = re.compile(rb"oneTimePassword|\\u00[4-7]")


class CalcomEventView(HookView):
    """`POST /hooks/<endpoint_id>/calcom`

    Cal.com waits for this answer before it answers whoever changed the booking, perhaps ourselves: so nothing
    is asked and no lock is waited for. It does not look at the status and never sends a delivery again; what
    is refused or lost here, the hourly reconciliation finds.
    """

    authentication_classes = (CalcomSignature,)

    def post(self, request: Request, endpoint_id: UUID) -> HttpResponse:
        body: bytes = request.body
        company: Company = request.auth  # type: ignore[assignment]
        payload = parsed(body)
        trigger = read_trigger(payload)
        is_new = deliveries.record(
            company=company,
            provider=PROVIDER,
            event_type=trigger,
            # There is no delivery id. Of one event several copies with different bytes may come: effects are
            # idempotent besides.
            key=deliveries.delivery_key(PROVIDER, trigger, hashlib.sha256(body).hexdigest()),
            body=_storable(body, payload),
            headers=request.headers,
        )
        if is_new:
            wake_up.deliveries.wake()
        return taken()


def _storable(body: bytes, payload: object) -> str:
    if _MAY_HOLD_A_SECRET.search(body) is None:
        return body.decode(errors="replace")
    # It is written anew, and not everything that can be read can be written.
    return orjson.dumps(redact(storable(payload))).decode()
