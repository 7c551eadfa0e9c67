from calls.models.call import Call
from calls.models.function_call import FunctionCall
from calls.models.refused_delivery import RefusedDelivery
from calls.models.webhook_event import WebhookEvent

__all__ = ["Call", "FunctionCall", "RefusedDelivery", "WebhookEvent"]
