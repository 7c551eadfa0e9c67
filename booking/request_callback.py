"""The caller wants to be called back: note it, and ask once for a number where none is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from booking import callbacks
from booking.conversation import Conversation
from booking.models import CallbackRequest
from booking.outcomes import Code, Outcome
from booking.serializers import RequestCallbackSerializer
from calls import call_record
from customers.identify import customer_by_phone
from customers.models import Customer


def request_callback(conversation: Conversation, arguments: Mapping[str, Any]) -> Outcome:
    """Noted in any case, so that nothing is lost if the caller hangs up over a question."""
    asked, errors = _understood(arguments, conversation)
    before = callbacks.open_of(conversation.call)
    was_wanted = before is not None and before.kind == CallbackRequest.Kind.WANTED
    can_call = callbacks.promise(
        call=conversation.call,
        customer=_whom(conversation, before, phone=asked["phone"]),
        reason=asked["reason"] or (before.reason if before and was_wanted else callbacks.NO_REASON),
        preferred_time=asked["preferred_time"],
        kind=CallbackRequest.Kind.WANTED,
        now=conversation.now,
    )
    noted = callbacks.open_of(conversation.call)
    if noted is None:
        return Outcome(Code.UNAVAILABLE, reason="not_noted")
    if errors:
        return Outcome(Code.INVALID_REQUEST, reason="phone_unreadable", errors=errors)
    if not can_call and not was_wanted:
        return Outcome(Code.INVALID_REQUEST, reason="callback_phone_needed", errors={"phone": "required"})
    due = None if noted.preferred_time else noted.due_at
    return Outcome(Code.CALLBACK_NOTED, callback=can_call, wanted=due)


def _understood(
    arguments: Mapping[str, Any], conversation: Conversation
) -> tuple[Mapping[str, Any], dict[str, str]]:
    """What was said, and what is the matter with the phone number: nothing else can be wrong in form."""
    serializer = RequestCallbackSerializer(data=arguments, context=conversation.context)
    if serializer.is_valid():
        return serializer.validated_data, {}
    errors = {field: str(said[0]) for field, said in serializer.errors.items()}
    others = {name: value for name, value in arguments.items() if name not in errors}
    serializer = RequestCallbackSerializer(data=others, context=conversation.context)
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data, errors


def _whom(conversation: Conversation, before: CallbackRequest | None, *, phone: str) -> Customer | None:
    """The customer with the number that is to be called. The caller's own number stands on the call."""
    company, call = conversation.company, conversation.call
    if phone:
        return customer_by_phone(company=company, phone=phone, name="", email="")
    if before is not None and before.customer is not None:
        return None  # what was said before stands
    calling = call_record.callers_number(call, region=conversation.region)
    identity = {"phone": calling} if calling else {"anonymous_call_id": call.retell_call_id}
    return Customer.objects.filter(company=company, **identity).first()
