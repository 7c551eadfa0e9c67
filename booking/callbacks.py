from __future__ import annotations

import structlog
from django.db import DatabaseError, IntegrityError, transaction

from booking.models import CallbackRequest
from calls.models import Call
from customers.models import Customer

logger = structlog.get_logger(__name__)


def promise(*, call: Call, customer: Customer | None, reason: str, preferred_time: str = "") -> bool:
    """Put a callback on record, one open one per call. Only if this returns True may it be promised aloud."""
    try:
        with transaction.atomic():
            CallbackRequest.objects.create(
                company_id=call.company_id,
                branch_id=call.branch_id,
                call=call,
                customer=customer,
                reason=reason[:500],
                preferred_time=preferred_time[:200],
            )
    except IntegrityError:
        return CallbackRequest.objects.filter(call=call, status=CallbackRequest.Status.OPEN).exists()
    except DatabaseError:
        logger.exception("callback.not_recorded", call=call.retell_call_id)
        return False
    logger.info("callback.recorded", call=call.retell_call_id, reason=reason)
    return True
