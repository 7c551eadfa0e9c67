"""What Cal.com accepts in bodies and queries, and the words in which it refuses the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import available_timezones

import phonenumbers

from booking.calcom.simulator.clock import as_utc
from booking.calcom.simulator.errors import METADATA_LIMITS, Refusal, refused, validator_errors, zod_error

LANGUAGES = (
    "ar, ca, de, es, eu, he, id, ja, lv, pl, ro, sr, th, vi, az, cs, el, es-419, fi, hr, it, km, nl, pt, ru, "
    "sv, tr, zh-CN, bg, da, en, et, fr, hu, iw, ko, no, pt-BR, sk, ta, uk, zh-TW, bn"
)
KNOWN_LANGUAGES = frozenset(LANGUAGES.split(", "))

TRIGGERS = (
    "BOOKING_CREATED, BOOKING_PAYMENT_INITIATED, BOOKING_PAID, BOOKING_RESCHEDULED, BOOKING_REQUESTED, "
    "BOOKING_CANCELLED, BOOKING_REJECTED, BOOKING_NO_SHOW_UPDATED, FORM_SUBMITTED, MEETING_ENDED, "
    "MEETING_STARTED, RECORDING_READY, RECORDING_TRANSCRIPTION_GENERATED, OOO_CREATED, "
    "AFTER_HOSTS_CAL_VIDEO_NO_SHOW, AFTER_GUESTS_CAL_VIDEO_NO_SHOW, FORM_SUBMITTED_NO_EVENT, "
    "DELEGATION_CREDENTIAL_ERROR, WRONG_ASSIGNMENT_REPORT"
)
KNOWN_TRIGGERS = frozenset(TRIGGERS.split(", "))

CREATE_KEYS = frozenset(
    [
        "start",
        "attendee",
        "bookingFieldsResponses",
        "eventTypeId",
        "eventTypeSlug",
        "username",
        "teamSlug",
        "organizationSlug",
        "guests",
        "meetingUrl",
        "location",
        "metadata",
        "lengthInMinutes",
        "routing",
        "emailVerificationCode",
        "recurrenceCount",
        "instant",
    ]
)
ATTENDEE_KEYS = frozenset(["name", "email", "timeZone", "phoneNumber", "language"])
CANCEL_KEYS = frozenset(["cancellationReason", "cancelSubsequentBookings", "seatUid"])
RESCHEDULE_KEYS = frozenset(
    ["start", "rescheduledBy", "reschedulingReason", "seatUid", "emailVerificationCode"]
)
MARK_ABSENT_KEYS = frozenset(["host", "attendees"])
DECLINE_KEYS = frozenset({"reason"})
RESERVATION_KEYS = frozenset(["eventTypeId", "slotStart", "slotDuration", "reservationDuration"])
SLOT_KEYS = frozenset(
    [
        "start",
        "end",
        "timeZone",
        "duration",
        "format",
        "bookingUidToReschedule",
        "eventTypeId",
        "eventTypeSlug",
        "username",
        "usernames",
        "teamSlug",
        "organizationSlug",
    ]
)

STATUSES = ("upcoming", "recurring", "past", "cancelled", "unconfirmed")

BAD_START = "start must be a valid ISO 8601 date string "
BAD_TIME_ZONE = "timeZone must be a valid IANA time-zone "
NO_CONTACT = "Attendee must have at least one contact method (email or phone number) "
NO_EVENT_TYPE = (
    "eventTypeId or eventTypeSlug + username property is wrong,Either eventTypeId or eventTypeSlug + "
    "username or eventTypeSlug + teamSlug must be provided "
)
EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")


def instant(value: Any) -> datetime | None:
    """The instant in UTC, or None when it is not ISO 8601."""
    if not isinstance(value, str):
        return None
    try:
        return as_utc(value)
    except ValueError:
        return None


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def is_time_zone(value: Any) -> bool:
    return isinstance(value, str) and value in _zones()


@lru_cache(maxsize=4096)
def is_phone_number(text: str) -> bool:
    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(text, None))
    except phonenumbers.NumberParseException:
        return False


def is_email(text: str) -> bool:
    return EMAIL.fullmatch(text) is not None


def _unknown_keys(body: Mapping[str, Any], known: frozenset[str]) -> list[str]:
    return [f"{key} property is wrong,property {key} should not exist " for key in body if key not in known]


def _refuse_if_any(complaints: list[str]) -> None:
    if complaints:
        raise refused(", ".join(complaints))


def check_create_body(body: dict[str, Any]) -> None:
    """The API layer's look at POST /v2/bookings. Raises Refusal with every complaint joined."""
    complaints = _unknown_keys(body, CREATE_KEYS)
    if instant(body.get("start")) is None:
        complaints.append(f"start property is wrong,{BAD_START}")
    attendee = body.get("attendee")
    if attendee is None:
        complaints.append("attendee property is wrong,attendee should not be null or undefined ")
    elif not isinstance(attendee, dict):
        complaints.append("attendee property is wrong,nested property attendee must be an object ")
    else:
        complaints.extend(_attendee_complaints(attendee))
    metadata = body.get("metadata")
    if metadata is not None and not _metadata_fits(metadata):
        complaints.append(METADATA_LIMITS)
    guests = body.get("guests")
    if guests is not None and not (isinstance(guests, list) and all(isinstance(g, str) for g in guests)):
        complaints.append("guests property is wrong,each value in guests must be an email ")
    fields = body.get("bookingFieldsResponses")
    if fields is not None and not isinstance(fields, dict):
        complaints.append(
            "bookingFieldsResponses property is wrong,bookingFieldsResponses must be an object "
        )
    if not _names_an_event_type(body):
        complaints.append(NO_EVENT_TYPE)
    elif body.get("eventTypeId") is not None and not _is_number(body["eventTypeId"]):
        complaints.append("eventTypeId property is wrong,eventTypeId must be an integer number ")
    if body.get("lengthInMinutes") is not None and not _is_number(body["lengthInMinutes"]):
        complaints.append("lengthInMinutes property is wrong,lengthInMinutes must be an integer number ")
    _refuse_if_any(complaints)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _names_an_event_type(body: dict[str, Any]) -> bool:
    if body.get("eventTypeId") is not None:
        return True
    return bool(body.get("eventTypeSlug")) and bool(body.get("username") or body.get("teamSlug"))


def _attendee_complaints(attendee: dict[str, Any]) -> list[str]:
    complaints = _unknown_keys(attendee, ATTENDEE_KEYS)
    if not isinstance(attendee.get("name"), str):
        complaints.append("name property is wrong,name must be a string ")
    if not is_time_zone(attendee.get("timeZone")):
        complaints.append(f"timeZone property is wrong,{BAD_TIME_ZONE}")
    complaints += [
        f"{key} property is wrong,{key} must be a string "
        for key in ("email", "phoneNumber")
        if attendee.get(key) is not None and not isinstance(attendee[key], str)
    ]
    if not attendee.get("email") and not attendee.get("phoneNumber"):
        complaints.append(f"attendee email or phone property is wrong,{NO_CONTACT}")
    language = attendee.get("language")
    if language is not None and language not in KNOWN_LANGUAGES:
        complaints.append(
            f"language property is wrong,language must be one of the following values: {LANGUAGES} "
        )
    return [f"attendee property is wrong, {complaint}" for complaint in complaints]


def _metadata_fits(metadata: Any) -> bool:
    if not isinstance(metadata, dict) or len(metadata) > 50:
        return False
    for key, value in metadata.items():
        if len(key) > 40 or not isinstance(value, str | int | float | bool):
            return False
        if isinstance(value, str) and len(value) > 500:
            return False
    return True


def check_metadata_is_text(metadata: dict[str, Any]) -> None:
    """The core's look at metadata: the API layer lets numbers and booleans pass, the core refuses them."""
    complaints = [
        f"metadata.{key} - Expected string, received {'boolean' if isinstance(value, bool) else 'number'}, "
        for key, value in metadata.items()
        if not isinstance(value, str)
    ]
    if complaints:
        raise zod_error("".join(complaints))


def check_cancel_body(body: dict[str, Any]) -> None:
    complaints = _unknown_keys(body, CANCEL_KEYS)
    if not isinstance(body.get("cancellationReason", ""), str):
        complaints.append("cancellationReason property is wrong,cancellationReason must be a string ")
    _refuse_if_any(complaints)


def check_reschedule_body(body: dict[str, Any]) -> None:
    complaints = _unknown_keys(body, RESCHEDULE_KEYS)
    if instant(body.get("start")) is None:
        complaints.append(f"start property is wrong,{BAD_START}")
    for key in ("reschedulingReason", "rescheduledBy", "seatUid"):
        if not isinstance(body.get(key, ""), str):
            complaints.append(f"{key} property is wrong,{key} must be a string ")
    _refuse_if_any(complaints)


def check_decline_body(body: dict[str, Any]) -> None:
    _refuse_if_any(_unknown_keys(body, DECLINE_KEYS))


def check_mark_absent_body(body: dict[str, Any]) -> None:
    complaints = _unknown_keys(body, MARK_ABSENT_KEYS)
    if not isinstance(body.get("host", False), bool):
        complaints.append("host property is wrong,host must be a boolean value ")
    attendees = body.get("attendees", [])
    if not isinstance(attendees, list) or any(
        not isinstance(each, dict) or not isinstance(each.get("email"), str) for each in attendees
    ):
        complaints.append("attendees property is wrong,attendees must be an array ")
    _refuse_if_any(complaints)


def check_reservation_body(body: dict[str, Any]) -> None:
    complaints = _unknown_keys(body, RESERVATION_KEYS)
    if not _is_number(body.get("eventTypeId")):
        complaints.append("eventTypeId property is wrong,eventTypeId must be an integer number ")
    if instant(body.get("slotStart")) is None:
        complaints.append("slotStart property is wrong,slotStart must be a valid ISO 8601 date string ")
    for key in ("slotDuration", "reservationDuration"):
        if body.get(key) is not None and not _is_number(body[key]):
            complaints.append(f"{key} property is wrong,{key} must be an integer number ")
    _refuse_if_any(complaints)


def check_slot_query(query: dict[str, str]) -> None:
    complaints = _unknown_keys(query, SLOT_KEYS)
    for key in ("start", "end"):
        if instant(query.get(key)) is None:
            complaints.append(f"{key} property is wrong,{key} must be a valid ISO 8601 date string ")
    if "timeZone" in query and not is_time_zone(query["timeZone"]):
        complaints.append(f"timeZone property is wrong,{BAD_TIME_ZONE}")
    if query.get("format", "time") not in ("time", "range"):
        complaints.append("format property is wrong,slotFormat must be either 'range' or 'time' ")
    if "duration" in query and not query["duration"].isdigit():
        complaints.append(
            "duration property is wrong,duration must be a number conforming to the specified constraints "
        )
    if "eventTypeId" in query:
        if not query["eventTypeId"].isdigit():
            complaints.append(
                "eventTypeId property is wrong,eventTypeId must be a number conforming to the specified "
                "constraints "
            )
    elif "eventTypeSlug" not in query and not complaints:
        complaints.append(
            "usernames property is wrong,each value in usernames must be a string, The array must contain at "
            "least 2 elements., usernames must be an array , organizationSlug property is "
            "wrong,organizationSlug must be a string "
        )
    _refuse_if_any(complaints)


# --- the list of bookings: here the validator's own objects are shown

ISO_FILTERS = (
    "afterStart",
    "beforeEnd",
    "afterUpdatedAt",
    "beforeUpdatedAt",
    "afterCreatedAt",
    "beforeCreatedAt",
)
SORTS = ("sortStart", "sortEnd", "sortCreated", "sortUpdatedAt")
TEXT_FILTERS = ("attendeeEmail", "attendeeName", "bookingUid")
ID_FILTERS = ("eventTypeId", "teamId")
IDS_FILTERS = ("eventTypeIds", "teamsIds")


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def list_query(query: dict[str, str]) -> dict[str, Any]:
    """The known filters of GET /v2/bookings, converted; unknown ones are dropped without a word.

    Raises Refusal with the validator's objects.
    """
    parsed: dict[str, Any] = {}
    constraints: dict[str, dict[str, str]] = {}
    for key, text in query.items():
        converted, problems = _list_parameter(key, text)
        if converted is _UNKNOWN:
            continue
        parsed[key] = converted
        if problems:
            constraints[key] = problems
    if constraints:
        raise validator_errors(
            [
                {
                    "target": parsed,
                    "value": parsed[key],
                    "property": key,
                    "children": [],
                    "constraints": problems,
                }
                for key, problems in constraints.items()
            ]
        )
    return parsed


_UNKNOWN: Any = object()


def _list_parameter(key: str, text: str) -> tuple[Any, dict[str, str]]:
    parser: Callable[[str, str], tuple[Any, dict[str, str]]] | None = None
    if key in ("take", "skip"):
        parser = _paging
    elif key == "status":
        parser = _status
    elif key in SORTS:
        parser = _sort
    elif key in ISO_FILTERS:
        parser = _iso
    elif key in ID_FILTERS:
        parser = _id
    elif key in IDS_FILTERS:
        parser = _ids
    elif key in TEXT_FILTERS:
        parser = _text
    return parser(key, text) if parser else (_UNKNOWN, {})


def _paging(key: str, text: str) -> tuple[Any, dict[str, str]]:
    number = _number(text)
    problems = {}
    if key == "take" and (number is None or number > 250):
        problems["max"] = "take must not be greater than 250"
    least = 1 if key == "take" else 0
    if number is None or number < least:
        problems["min"] = f"{key} must not be less than {least}"
    if number is None:
        problems["isNumber"] = f"{key} must be a number conforming to the specified constraints"
    return number, problems


def _status(_key: str, text: str) -> tuple[Any, dict[str, str]]:
    statuses = text.split(",")
    if all(status in STATUSES for status in statuses):
        return statuses, {}
    return statuses, {"isEnum": f"Invalid status. Allowed are {', '.join(STATUSES)}"}


def _sort(_key: str, text: str) -> tuple[Any, dict[str, str]]:
    # all four share this wording at Cal.com
    return text, {} if text in ("asc", "desc") else {"isEnum": 'SortCreated must be either "asc" or "desc".'}


def _iso(_key: str, text: str) -> tuple[Any, dict[str, str]]:
    return text, {} if instant(text) else {"isIso8601": "fromDate must be a valid ISO 8601 date."}


def _id(key: str, text: str) -> tuple[Any, dict[str, str]]:
    number = _number(text)
    return number, {} if number is not None else {"isInt": f"{key} must be an integer number"}


def _ids(key: str, text: str) -> tuple[Any, dict[str, str]]:
    numbers = [_number(part) for part in text.split(",")]
    if None in numbers:
        return numbers, {"isInt": f"each value in {key} must be an integer number"}
    return numbers, {}


def _text(_key: str, text: str) -> tuple[Any, dict[str, str]]:
    return text, {}


# --- webhooks


def check_webhook_body(body: dict[str, Any], *, partial: bool = False) -> None:
    """Raises Refusal: validator objects for the fields, one sentence for the URL."""
    errors = []
    for key, kind, word in (("active", bool, "boolean value"), ("subscriberUrl", str, "string")):
        if key not in body and partial:
            continue
        if not isinstance(body.get(key), kind):
            errors.append(_webhook_error(body, key, {f"is{kind.__name__}": f"{key} must be a {word}"}))
    if "triggers" in body or not partial:
        triggers = body.get("triggers")
        if not isinstance(triggers, list):
            errors.append(_webhook_error(body, "triggers", {"isArray": "triggers must be an array"}))
        elif any(trigger not in KNOWN_TRIGGERS for trigger in triggers):
            message = f"each value in triggers must be one of the following values: {TRIGGERS}"
            errors.append(_webhook_error(body, "triggers", {"isEnum": message}))
    if errors:
        raise validator_errors(errors)
    url = body.get("subscriberUrl")
    if url is not None and not re.match(r"https?://[^\s/]+", url):
        raise refused("Webhook URL is not allowed: Invalid URL format")


def _webhook_error(body: dict[str, Any], key: str, constraints: dict[str, str]) -> dict[str, Any]:
    return {
        "target": body,
        "value": body.get(key),
        "property": key,
        "children": [],
        "constraints": constraints,
    }


# --- the old 2024-04-15 controller, which answers when the version header is missing

OLD_CREATE_KEYS = frozenset(["eventTypeId", "start", "end", "timeZone", "language", "metadata", "responses"])


def old_create_refusal(body: dict[str, Any]) -> Refusal:
    """What a create without the version header is told; a body of today never satisfies it."""
    target = {key: value for key, value in body.items() if key in OLD_CREATE_KEYS}
    errors = []
    for key, good, constraint, message in (
        ("timeZone", is_time_zone(body.get("timeZone")), "isTimeZone", BAD_TIME_ZONE.strip()),
        ("language", isinstance(body.get("language"), str), "isString", "language must be a string"),
        ("metadata", isinstance(body.get("metadata"), dict), "isObject", "metadata must be an object"),
    ):
        if good:
            continue
        error = {"target": target, "property": key, "children": [], "constraints": {constraint: message}}
        if key in body:
            error["value"] = body[key]
        errors.append(error)
    return validator_errors(errors) if errors else refused("responses property is wrong")


def whole_day_end(text: str) -> datetime:
    """The end of a slot range: a bare date means the whole of that UTC day. `text` is valid ISO 8601."""
    moment = as_utc(text)
    return moment + timedelta(days=1) if is_bare_date(text) else moment


def is_bare_date(text: str) -> bool:
    return re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) is not None
