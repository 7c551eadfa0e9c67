"""The OpenAPI document of `/api/schema/`: what the hooks have in common, and what Retell tells of calls.

drf-spectacular describes a view by its serializers. What is sent to the hooks is signed as raw bytes and read
leniently, by no serializer: so each app describes its own addresses by what is read there, and adds them in a
hook of its own that SPECTACULAR_SETTINGS names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

SIGNED = "retellSignature"


def without_hooks(endpoints: Sequence[tuple[str, str, str, Any]], **_options: Any) -> list[Any]:
    """Take out what drf-spectacular would say of the hooks."""
    return [endpoint for endpoint in endpoints if not endpoint[0].startswith("/hooks/")]


def add_events(result: Json, generator: Any, request: Any, public: bool) -> Json:
    """Add where Retell tells of calls."""
    del generator, request, public
    return added(result, paths=PATHS, schemas=SCHEMAS, security=SECURITY)


def added(result: Json, *, paths: Json, schemas: Json, security: Json) -> Json:
    """The document with these in it."""
    result.setdefault("paths", {}).update(paths)
    components = result.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas)
    components.setdefault("securitySchemes", {}).update(security)
    return result


def webhook(
    operation_id: str,
    *,
    summary: str,
    description: str,
    body: str,
    responses: Json,
    security: str,
    parameters: Sequence[Json],
) -> Json:
    return {
        "operationId": operation_id,
        "summary": summary,
        "description": description,
        "tags": ["webhooks"],
        "security": [{security: []}],
        "parameters": list(parameters),
        "requestBody": {
            "required": True,
            "description": "1 MiB at most.",
            "content": {"application/json": {"schema": reference(body)}},
        },
        "responses": {**responses, **refusals()},
    }


def refusals() -> Json:
    return {
        "401": {
            **json_response("The signature is missing, wrong, or too old.", "Error"),
            "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
        },
        "404": json_response("No company has this endpoint.", "Error"),
        "413": json_response("The body is larger than 1 MiB.", "Error"),
        "503": json_response("The database is away; nothing was taken.", "Error"),
    }


def reference(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def json_response(description: str, schema: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": reference(schema)}}}


ENDPOINT: Json = {
    "name": "endpoint_id",
    "in": "path",
    "required": True,
    "description": "The company's endpoint, as `provision` prints it.",
    "schema": {"type": "string", "format": "uuid"},
}
SIGNED_PARAMETERS: list[Json] = [
    ENDPOINT,
    {
        "name": "X-Retell-Signature",
        "in": "header",
        "required": True,
        "description": "`v=<unix milliseconds>,d=<hex>`: HMAC-SHA256 with the company's Retell key "
        "over the raw body followed by the milliseconds. At most five minutes old.",
        "schema": {"type": "string", "pattern": "^v=[0-9]+,d=[0-9a-f]{64}$"},
    },
]
SCHEMAS: Json = {
    "RetellCall": {
        "type": "object",
        "description": "Retell's call object; only what is read of it is named here.",
        "required": ["call_id"],
        "properties": {
            "call_id": {"type": "string"},
            "call_type": {"type": "string", "examples": ["phone_call", "web_call"]},
            "agent_id": {"type": "string"},
            "direction": {"type": "string", "examples": ["inbound", "outbound"]},
            "from_number": {"type": "string", "description": "As signalled; may be withheld."},
            "to_number": {"type": "string", "description": "The called number names the branch."},
            "start_timestamp": {"type": "integer", "description": "Unix milliseconds."},
            "transcript_with_tool_calls": {"type": "array", "items": {"type": "object"}},
        },
        "additionalProperties": True,
    },
    "RetellEvent": {
        "type": "object",
        "required": ["event"],
        "properties": {
            "event": {
                "type": "string",
                "examples": ["call_started", "call_ended", "call_analyzed"],
                "description": "Of any other kind it is stored and nothing is done.",
            },
            "call": reference("RetellCall"),
        },
        "additionalProperties": True,
    },
    "Error": {
        "type": "object",
        "required": ["detail"],
        "properties": {"detail": {"type": "string"}},
    },
}
SECURITY: Json = {
    SIGNED: {
        "type": "apiKey",
        "in": "header",
        "name": "X-Retell-Signature",
        "description": "https://docs.retellai.com/features/secure-webhook",
    },
}
PATHS: Json = {
    "/hooks/{endpoint_id}/retell/events": {
        "post": webhook(
            "retell_event",
            summary="What becomes of calls",
            description="Stored once and worked later, in any order; a repeat is answered like the first.",
            body="RetellEvent",
            security=SIGNED,
            parameters=SIGNED_PARAMETERS,
            responses={
                "200": {"description": "Stored, now or before."},
                "400": json_response("The body is not JSON, or it broke off.", "Error"),
            },
        )
    },
}
