"""Cal.com's webhook and the probes, in the OpenAPI document of `/api/schema/`. The probes are plain Django
views, so nothing describes them but this.
"""

from __future__ import annotations

from typing import Any

from calls.schema import ENDPOINT, Json, added, json_response, webhook

SIGNED = "calcomSignature"


def add_probes(result: Json, generator: Any, request: Any, public: bool) -> Json:
    """Add them, and where Cal.com tells of bookings."""
    del generator, request, public
    return added(result, paths=PATHS, schemas=SCHEMAS, security=SECURITY)


def _text_response(description: str) -> Json:
    return {"description": description, "content": {"text/plain": {"schema": {"type": "string"}}}}


SIGNED_PARAMETERS: list[Json] = [
    ENDPOINT,
    {
        "name": "X-Cal-Signature-256",
        "in": "header",
        "required": True,
        "description": "HMAC-SHA256 with the company's webhook secret over the raw body, in hex.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    },
]
SCHEMAS: Json = {
    "CalcomEvent": {
        "type": "object",
        "description": "Cal.com's delivery; only what is read of every one is named here.",
        "properties": {
            "triggerEvent": {
                "type": "string",
                "examples": ["BOOKING_CREATED", "BOOKING_RESCHEDULED", "BOOKING_CANCELLED"],
                "description": "Of any other kind it is stored and nothing is done.",
            },
            "payload": {"type": "object"},
        },
        "additionalProperties": True,
    },
    "Readiness": {
        "type": "object",
        "required": ["ready", "checks"],
        "properties": {
            "ready": {"type": "boolean"},
            "checks": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "Name of the check → “ok”, or what is the matter.",
            },
        },
    },
}
SECURITY: Json = {
    SIGNED: {"type": "apiKey", "in": "header", "name": "X-Cal-Signature-256"},
    "metricsToken": {"type": "http", "scheme": "bearer", "description": "METRICS_TOKEN"},
}
PATHS: Json = {
    "/hooks/{endpoint_id}/calcom": {
        "post": webhook(
            "calcom_event",
            summary="What becomes of bookings",
            description="Stored once and worked later, in any order; a repeat is answered like the first. "
            "What is true is asked at Cal.com.",
            body="CalcomEvent",
            security=SIGNED,
            parameters=SIGNED_PARAMETERS,
            responses={
                "200": {"description": "Stored, now or before."},
                "400": json_response("The body is not JSON, or it broke off.", "Error"),
            },
        )
    },
    "/healthz": {
        "get": {
            "operationId": "healthz",
            "summary": "Alive: this process answers",
            "tags": ["operation"],
            "security": [],
            "responses": {"200": _text_response("ok")},
        },
    },
    "/readyz": {
        "get": {
            "operationId": "readyz",
            "summary": "Ready: database, cache, broker and Beat",
            "tags": ["operation"],
            "security": [],
            "responses": {
                "200": json_response("Ready.", "Readiness"),
                "503": json_response("Not ready; the checks say why.", "Readiness"),
            },
        },
    },
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "summary": "Figures for Prometheus",
            "tags": ["operation"],
            "security": [{"metricsToken": []}],
            "responses": {
                "200": _text_response("Prometheus text format."),
                "401": {"description": "The token is missing or wrong."},
                "404": {"description": "No METRICS_TOKEN is set, so there are no metrics."},
            },
        },
    },
}
