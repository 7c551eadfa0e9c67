"""Where Retell tells us about calls. Store, answer, work later."""

from __future__ import annotations

import hashlib
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from calls import call_events, deliveries, wake_up
from calls.authentication import RetellSignature
from calls.hook_view import HookView, parsed, taken
from calls.models import WebhookEvent
from calls.retell.payloads import read_identifier, read_text
from customers.models import Company

PROVIDER = WebhookEvent.Provider.RETELL


class RetellEventView(HookView):
    """`POST /hooks/<endpoint_id>/retell/events`

    Any 2xx is final for Retell, and its body is not read. Everything else makes it try three times more and
    then drop the event for good, so what is refused is loud in our log and counted.
    """

    authentication_classes = (RetellSignature,)

    def post(self, request: Request, endpoint_id: UUID) -> HttpResponse:
        body: bytes = request.body
        company: Company = request.auth  # type: ignore[assignment]
        event_type, event_id = _what_it_is(body)
        key, text = deliveries.delivery_key(PROVIDER, event_type, event_id), body.decode(errors="replace")
        is_new = deliveries.record(
            company=company,
            provider=PROVIDER,
            event_type=event_type,
            key=key,
            body=text,
            headers=request.headers,
        )
        if is_new:
            wake_up.deliveries.wake()
        else:
            deliveries.note_repeat(company=company, key=key, body=text)
        return taken()


def _what_it_is(body: bytes) -> tuple[str, str]:
    """The event, and what makes it this one. Those of a call's life come once for each call; any other may
    come several times, and only its content tells two of them apart.
    """
    payload = parsed(body)
    event, call = (payload.get("event"), payload.get("call")) if isinstance(payload, dict) else (None, None)
    event_type = (read_text(event) or "unknown")[:64]
    call_id = read_identifier(call.get("call_id")) if isinstance(call, dict) else None
    if event_type in call_events.APPLIED and call_id is not None:
        return event_type, call_id
    return event_type, hashlib.sha256(body).hexdigest()
