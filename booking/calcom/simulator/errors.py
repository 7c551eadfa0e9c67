"""What Cal.com says when it refuses, word for word, in its two unrelated envelopes.

Envelope A comes from the API layer: {"status": "error", "timestamp", "path", "error": {...}}.
Envelope B comes from the booking core: {"statusCode", "message"}.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from booking.calcom.simulator.clock import millisecond_text

NAMES = {
    400: ("BadRequestException", "Bad Request"),
    401: ("UnauthorizedException", "Unauthorized"),
    403: ("ForbiddenException", "Forbidden"),
    404: ("NotFoundException", "Not Found"),
    409: ("ConflictException", "Conflict"),
    422: ("UnprocessableEntityException", "Unprocessable Entity"),
    500: ("InternalServerErrorException", "Internal Server Error"),
    503: ("ServiceUnavailableException", "Service Unavailable"),
}

HOST_NOT_AVAILABLE = "User either already has booking at this time or is not available"
TEAM_NOT_AVAILABLE = "One of the hosts either already has booking at this time or is not available"
LOST_THE_RACE = "An error occurred while querying the database."
OUT_OF_BOUNDS = (
    "The event type can't be booked at the \"start\" time provided. This could be because it's too soon "
    "(violating the minimum booking notice) or too far in the future (outside the event's scheduling "
    "window). "
    "Try fetching available slots first using the GET /v2/slots endpoint and then make a booking with "
    '"start" time equal to one of the available slots.'
)
IN_THE_PAST = "Attempting to book a meeting in the past."
BOOKER_LIMIT = (
    "Attendee with this email can't book because the maximum number of active bookings has been reached."
)
NO_LENGTHS = (
    "Can't specify 'lengthInMinutes' because event type does not have multiple possible lengths. "
    "Please, remove the 'lengthInMinutes' field from the request."
)
NO_PHONE = (
    "Missing attendee phone number - it is required by the event type. "
    'Pass it as "attendee.phoneNumber" string in the request.'
)
METADATA_LIMITS = (
    "metadata property is wrong,Metadata must have at most 50 keys, each key up to 40 characters, "
    "and string values up to 500 characters. "
)
INVALID_KEY = "CustomThrottlerGuard - Invalid API Key"
TOO_MANY_REQUESTS = "CustomThrottlerGuard - Too many requests. Please try again later."
NO_AUTHENTICATION = (
    "ApiAuthStrategy - No authentication method provided. Either pass an API key as 'Bearer' header or OAuth "
    "client credentials as 'x-cal-secret-key' and 'x-cal-client-id' headers"
)
NO_PERMISSION = (
    "PermissionsGuard - no authentication provided. Provide either authorization bearer token containing "
    "managed user access token or oAuth client id in 'x-cal-client-id' header."
)

_UNSET: Any = object()


class Refusal(Exception):
    """An answer of Cal.com that is not a success.

    `code` None means envelope B. `details` left out means what the API layer puts there for that status;
    None means that the key is missing.
    """

    def __init__(
        self, *, status: int, message: str, code: str | None = "default", details: Any = _UNSET
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        default_code, name = NAMES.get(status, ("HttpException", "Error"))
        self.code = default_code if code == "default" else code
        self.details = (
            {"message": message, "error": name, "statusCode": status} if details is _UNSET else details
        )

    def body(self, *, path: str, now: datetime) -> dict[str, Any]:
        if self.code is None:
            return {"statusCode": self.status, "message": self.message}
        error: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details is not None:
            error["details"] = self.details
        return {"status": "error", "timestamp": millisecond_text(now), "path": path, "error": error}


def refused(message: str, status: int = 400) -> Refusal:
    """The API layer says no: envelope A."""
    return Refusal(status=status, message=message)


def core_error(message: str, status: int = 400) -> Refusal:
    """The booking core says no: envelope B."""
    return Refusal(status=status, message=message, code=None)


def zod_error(message: str) -> Refusal:
    """The booking core's schema check says no: envelope A without details."""
    return Refusal(status=400, message=message, code="BAD_REQUEST", details=None)


def trpc_error(message: str) -> Refusal:
    return Refusal(status=400, message=message, code="TRPCError", details=None)


def validator_errors(errors: list[dict[str, Any]]) -> Refusal:
    """The form with the class-validator objects, as list filters and webhook subscriptions give it."""
    return Refusal(status=400, message="Bad Request Exception", details={"errors": errors})
