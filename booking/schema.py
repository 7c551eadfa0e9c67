"""What the phone agent may send and what it is answered, in the OpenAPI document of `/api/schema/`.

One view answers many functions, each with arguments of its own, and takes two forms of body, so the functions
are described in full below, out of the same tables the view works from: FUNCTIONS, the serializers, Code.
"""

from __future__ import annotations

from typing import Any

from booking import function_names
from booking.functions import FUNCTIONS
from booking.models import PROVEN_STATUSES, Appointment
from booking.outcomes import SUCCESSES, Code
from booking.serializers import (
    ArgumentsSerializer,
    BookAppointmentSerializer,
    CancelAppointmentSerializer,
    CheckAvailabilitySerializer,
    ListAppointmentsSerializer,
    ListServicesSerializer,
    NumberField,
    RequestCallbackSerializer,
    RescheduleAppointmentSerializer,
)
from calls.retell.dynamic_variables import NOBODY
from calls.schema import (
    SIGNED,
    SIGNED_PARAMETERS,
    Json,
    added,
    json_response,
    reference,
    refusals,
    webhook,
)

ARGUMENTS: dict[str, type[ArgumentsSerializer]] = {
    "list_services": ListServicesSerializer,
    "check_availability": CheckAvailabilitySerializer,
    **dict.fromkeys(function_names.BOOKING, BookAppointmentSerializer),
    "list_appointments": ListAppointmentsSerializer,
    "reschedule_appointment": RescheduleAppointmentSerializer,
    "cancel_appointment": CancelAppointmentSerializer,
    "request_callback": RequestCallbackSerializer,
}
SUMMARIES = {
    "list_services": "What can be booked",
    "check_availability": "Free times of a service",
    function_names.BOOK: "Book an appointment",
    function_names.FORMER_BOOK: "Book an appointment, under the name agents of the former system use",
    "list_appointments": "The caller's coming appointments",
    "reschedule_appointment": "Move an appointment of the caller's",
    "cancel_appointment": "Cancel an appointment of the caller's",
    "request_callback": "Note that somebody has to call back",
}

DESCRIPTION = """\
Once the signature holds, a function answers 200 with a sentence to say, whatever happened: `code` tells what.
Anything else would make Retell send the request again while the caller waits.

The body is one of two. *Normal:* Retell's envelope with `name`, `call` and `args`. *Arguments only*
("payload: args only"): the arguments are the whole body, and the tool sends the header
`X-Retell-Call-Id: {{call_id}}`.

No argument is required and none can be wrong in form: what is missing or not understood is asked for in
words, with the code `invalid_request`. The name may carry a version suffix
(`book_appointment_v2`). An unknown name is answered
`invalid_request` too. A booking requested again in the same words has the same answer, with `replayed`
true.
"""


def add_functions(result: Json, generator: Any, request: Any, public: bool) -> Json:
    """Add the functions, and what is told before a call is answered."""
    del generator, request, public
    functions = {
        f"/hooks/{{endpoint_id}}/retell/functions/{name}": {"post": _function(name)} for name in FUNCTIONS
    }
    return added(result, paths={**functions, **PATHS}, schemas=_schemas(), security={})


def _function(name: str) -> Json:
    arguments = reference(_arguments_name(name))
    envelope = {
        "allOf": [
            reference("RetellEnvelope"),
            {"type": "object", "properties": {"args": arguments}},
        ]
    }
    return {
        "operationId": name,
        "summary": SUMMARIES[name],
        "description": DESCRIPTION,
        "tags": ["functions"],
        "security": [{SIGNED: []}],
        "parameters": [
            *SIGNED_PARAMETERS,
            {
                "name": "X-Retell-Call-Id",
                "in": "header",
                "required": False,
                "description": "The call, where the body is the arguments only.",
                "schema": {"type": "string"},
            },
        ],
        "requestBody": {
            "required": True,
            "description": "1 MiB at most.",
            "content": {"application/json": {"schema": {"anyOf": [envelope, arguments]}}},
        },
        "responses": {
            "200": json_response("What to say, and what it means.", "FunctionAnswer"),
            "400": json_response("The body is not JSON, or it broke off.", "Error"),
            **refusals(),
        },
    }


def _arguments_name(name: str) -> str:
    return ARGUMENTS[name].__name__.removesuffix("Serializer") + "Arguments"


def _schemas() -> Json:
    schemas = dict(SCHEMAS)
    for name in FUNCTIONS:
        schemas[_arguments_name(name)] = {
            "type": "object",
            "properties": {
                field: {"type": _types(content), **_described(getattr(content, "help_text", None))}
                for field, content in ARGUMENTS[name]().get_fields().items()
            },
            # Language models add arguments of their own, such as execution_message.
            "additionalProperties": True,
        }
    return schemas


def _types(field: Any) -> list[str]:
    # An id goes as it came, and in an answer it is a number.
    return ["integer", "string", "null"] if isinstance(field, NumberField) else ["string", "null"]


def _described(text: Any) -> Json:
    return {"description": str(text)} if text else {}


INSTANT = {"type": "string", "format": "date-time", "description": "With the branch's offset."}
SPOKEN = {"type": "string", "description": "As people say it, in the company's language."}
APPOINTMENT: Json = {
    "id": {"type": "integer"},
    "status": {"type": "string", "enum": list(Appointment.Status.values)},
    "service": {"type": ["string", "null"], "description": "Its slug."},
    "start": INSTANT,
    "end": INSTANT,
    "calcom_booking_uid": {"type": ["string", "null"]},
}

SCHEMAS: Json = {
    "FunctionAnswer": {
        "type": "object",
        "required": ["success", "code", "say", "replayed", "appointment", "alternatives"],
        "properties": {
            "success": {"type": "boolean"},
            "code": {"type": "string", "enum": [str(code) for code in Code]},
            "say": {
                "type": "string",
                "minLength": 1,
                "description": "In the company's language.",
            },
            "replayed": {"type": "boolean", "description": "The same answer as to the same request before."},
            "appointment": {"oneOf": [reference("Appointment"), {"type": "null"}]},
            "alternatives": {
                "type": "array",
                "items": reference("Slot"),
                "description": "With slot_taken, too_soon and ambiguous: times to choose from instead.",
            },
            "slots": {
                "type": "array",
                "items": reference("Slot"),
                "description": "Of check_availability.",
            },
            "more": {
                "type": "integer",
                "minimum": 0,
                "description": "Of check_availability: how many more are free after the last of the slots.",
            },
            "appointments": {
                "type": "array",
                "items": reference("ListedAppointment"),
                "description": "Of list_appointments, the next ones; and where it has to be asked which is "
                "meant.",
            },
            "services": {
                "type": "array",
                "items": reference("Service"),
                "description": "Of list_services, and where it has to be asked which service is meant.",
            },
            "errors": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "With invalid_request: argument → what is the matter with it.",
            },
        },
        "if": {"properties": {"code": {"enum": sorted(map(str, SUCCESSES))}}},
        "then": {"properties": {"success": {"const": True}}},
        "else": {"properties": {"success": {"const": False}}},
    },
    "Appointment": {
        "type": "object",
        "required": list(APPOINTMENT),
        "properties": APPOINTMENT,
    },
    "ListedAppointment": {
        "type": "object",
        "required": [*APPOINTMENT, "spoken"],
        "properties": {**APPOINTMENT, "spoken": SPOKEN},
    },
    "Slot": {
        "type": "object",
        "required": ["slot_id", "start", "spoken"],
        "properties": {
            "slot_id": {"type": "string", "description": "Signed, and expires. For booking and moving."},
            "start": INSTANT,
            "spoken": SPOKEN,
            "person": {"type": "string", "description": "Whose slot it is, where the service has a person."},
        },
    },
    "Service": {
        "type": "object",
        "description": "Services of one name are one thing to a caller, with different persons.",
        "required": ["slug", "name", "spoken", "duration_minutes", "price", "person"],
        "properties": {
            "slug": {"type": "string"},
            "name": {"type": "string"},
            "spoken": {"type": "string", "description": "As people say it."},
            "duration_minutes": {"type": "integer", "minimum": 1},
            "price": {"type": "string", "description": "As people say it; blank where none is on record."},
            "person": {"type": "string", "description": "Who does it; blank where nobody in particular."},
        },
    },
    "RetellEnvelope": {
        "type": "object",
        "description": "Told from the arguments alone by having at least two of its three keys.",
        "required": ["call", "args"],
        "properties": {
            "name": {"type": "string"},
            "call": reference("RetellCall"),
            "args": {"type": "object"},
        },
    },
    "RetellInbound": {
        "type": "object",
        "required": ["call_inbound"],
        "properties": {
            "event": {"type": "string", "examples": ["call_inbound"]},
            "call_inbound": {
                "type": "object",
                "properties": {
                    "agent_id": {"type": "string"},
                    "from_number": {"type": "string", "description": "As signalled; may be withheld."},
                    "to_number": {"type": "string", "description": "The called number names the branch."},
                },
                "additionalProperties": True,
            },
        },
        "additionalProperties": True,
    },
    "RetellInboundAnswer": {
        "type": "object",
        "required": ["call_inbound"],
        "properties": {
            "call_inbound": {
                "type": "object",
                "required": ["dynamic_variables"],
                "properties": {"dynamic_variables": reference("DynamicVariables")},
            },
        },
    },
    "DynamicVariables": {
        "type": "object",
        "description": "All of them texts, as Retell demands. About the caller each is there, blank where it "
        "is not known. Those about the company are missing where it could not be read in time.",
        "required": list(NOBODY),
        "properties": {
            "caller_known": {"type": "string", "enum": ["true", "false"]},
            "caller_name": {"type": "string"},
            "next_appointment": {
                "type": "string",
                "description": "Service, day and time as people say them.",
            },
            "next_appointment_id": {"type": "string"},
            "next_appointment_start": {"type": "string", "description": "ISO 8601 with the branch's offset."},
            "next_appointment_service": {"type": "string", "description": "Its name."},
            "next_appointment_branch": {"type": "string", "description": "Its name."},
            "next_appointment_status": {
                "type": "string",
                "enum": ["", *map(str, PROVEN_STATUSES)],
                "description": "`requested` still has to be confirmed.",
            },
            "company_name": {"type": "string"},
            "branch_name": {"type": "string"},
            "call_language": {"type": "string", "examples": ["de", "en"]},
            "timezone": {"type": "string", "description": "The branch's, an IANA name."},
            "today": {"type": "string", "description": "Weekday and date in full, as people say them."},
            "local_time": {"type": "string", "description": "The branch's time of day, as people say it."},
        },
    },
}
PATHS: Json = {
    "/hooks/{endpoint_id}/retell/inbound": {
        "post": webhook(
            "retell_inbound",
            summary="Who is calling, before the agent answers",
            description="Answered within two seconds. If the database is too slow for that, or away, the "
            "answer tells of an unknown caller and nothing else, and the signature has not been looked at.",
            body="RetellInbound",
            security=SIGNED,
            parameters=SIGNED_PARAMETERS,
            responses={
                "200": json_response("The agent's dynamic variables for this call.", "RetellInboundAnswer"),
                "400": json_response("The body is not JSON, or it broke off.", "Error"),
            },
        )
    },
}
