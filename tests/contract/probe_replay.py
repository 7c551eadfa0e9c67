"""Replays recorded requests against a server and writes its answers down as the recording did.

The recording replaced whatever differs between two runs by placeholders: instants by the wall clock of a day
T (`<T+0d10:00|.000Z>`), ids and uids by the order they appeared in (`<uid1>`). `Replay` turns placeholders of
requests into real values, and real values of answers into placeholders.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import requests

from tests.contract.webhook_sink import Received, WebhookSink

BERLIN = ZoneInfo("Europe/Berlin")
BOOKINGS_VERSION = "2024-08-13"
PAST = "2020-01-01T00:00:00.000Z"
FAR = "2099-01-01T00:00:00.000Z"

INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d):\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME_PLACEHOLDER = re.compile(r"<T([+-]\d+)d(\d\d):(\d\d)\|([^>]*)>")
DATE_PLACEHOLDER = re.compile(r"<D([+-]\d+)>")

HOST_KEYS = frozenset({"id", "userId", "name", "email", "displayEmail", "username"})
HOST_LISTS = frozenset({"hosts", "users", "user"})
NOW_KEYS = frozenset({"createdAt", "updatedAt", "timestamp", "reservationUntil"})
FIXED = {"title": "<title>", "bookingUrl": "<bookingUrl>", "utcOffset": "<offset>"}
OWNER_KEYS = frozenset({"userId", "ownerId", "defaultScheduleId", "teamId"})
ID_KEYS = frozenset({"id", "bookingId", "rescheduleId", "eventTypeId"})
UID_KEYS = frozenset({"uid", "reservationUid", "rescheduledFromUid", "rescheduledToUid", "rescheduleUid"})

JSON_TYPES = {str: "string", bool: "boolean", int: "number", float: "number", list: "array", dict: "object"}


class Replay:
    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        sink: WebhookSink,
        event_types: dict[str, int],
        day: date,
        value_keys: frozenset[str],
    ) -> None:
        self.base_url = base_url
        self.api_key = api_key
        self.sink = sink
        self.event_types = event_types
        self.day = day
        self.value_keys = value_keys
        self.session = requests.Session()
        self.uids: dict[str, str] = {}
        self.ids: dict[Any, str] = {}
        self.last_uuid = ""

    # --- from the recording to the wire

    def real(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.real(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.real(each) for each in value]
        if not isinstance(value, str):
            return value
        for name, number in self.event_types.items():
            if value == f"<{name}>":
                return number
            value = value.replace(f"<{name}>", str(number))
        for uid, placeholder in self.uids.items():
            value = value.replace(placeholder, uid)
        value = value.replace("<uuid>", self.last_uuid).replace("<sink>", self.sink.url)
        value = value.replace("<past>", PAST).replace("<far>", FAR)
        value = DATE_PLACEHOLDER.sub(lambda m: str(self.day + timedelta(days=int(m[1]))), value)
        return TIME_PLACEHOLDER.sub(self._instant, value)

    def _instant(self, match: re.Match[str]) -> str:
        day = self.day + timedelta(days=int(match[1]))
        local = datetime(day.year, day.month, day.day, int(match[2]), int(match[3]), tzinfo=BERLIN)
        return local.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S") + match[4]

    # --- from the wire to the recording's words

    def shown(self, value: Any, key: str = "", parent: str = "") -> Any:
        if value is None:
            return None
        if parent in HOST_LISTS and key in HOST_KEYS:
            return "<host>"
        if key in FIXED and isinstance(value, str | int):
            return FIXED[key]
        if key in NOW_KEYS and isinstance(value, str):
            return "<now>"
        if key in OWNER_KEYS:
            return "<id>"
        if key in ID_KEYS and (isinstance(value, int) or (isinstance(value, str) and UUID.fullmatch(value))):
            return self._id(value)
        if key in UID_KEYS:
            self.uids.setdefault(value, f"<uid{len(self.uids) + 1}>")
        if isinstance(value, dict):
            inner = key if key in HOST_LISTS or key == "" else ""
            shown = {}
            for name, each in value.items():
                shown[self._text(name)] = self.shown(each, name, inner)
            return shown
        if isinstance(value, list):
            # the objects of a list stand where the list stands
            return [self.shown(each, "", "") if key not in HOST_LISTS else self._host(each) for each in value]
        return self._text(value) if isinstance(value, str) else value

    def _host(self, host: dict[str, Any]) -> dict[str, Any]:
        return {name: self.shown(value, name, "hosts") for name, value in host.items()}

    def _id(self, value: int | str) -> str | int:
        for name, number in self.event_types.items():
            if value in (number, str(number)):
                return f"<{name}>"
        return self.ids.setdefault(value, f"<id{len(self.ids) + 1}>")

    def _text(self, text: str) -> str:
        for uid, placeholder in self.uids.items():
            if uid in text:
                text = text.replace(uid, placeholder)
                text = re.sub(r"(?<=>@)Cal\.(com|diy)$", "<domain>", text)
        for name, number in self.event_types.items():
            text = re.sub(rf"(eventTypeId=|event-types/){number}\b", rf"\1<{name}>", text)
        if self.last_uuid:
            text = text.replace(self.last_uuid, "<uuid>")
        text = text.replace(self.sink.url, "<sink>")
        return DATE.sub(self._shown_date, INSTANT.sub(self._shown_instant, text))

    def _shown_instant(self, match: re.Match[str]) -> str:
        moment = datetime.fromisoformat(match[0])
        if abs(moment - datetime.now(UTC)) < timedelta(hours=1):
            return "<now>"
        local = moment.astimezone(BERLIN)
        zone = match[3]
        if zone not in ("Z", "+00:00"):
            zone = "+local" if moment.utcoffset() == local.utcoffset() else "+other"
        days = (local.date() - self.day).days
        return f"<T{days:+d}d{local:%H:%M}|{match[2] or ''}{zone}>"

    def _shown_date(self, match: re.Match[str]) -> str:
        days = (date.fromisoformat(match[0]) - self.day).days
        # versions of the API are dates too
        return f"<D{days:+d}>" if abs(days) < 30 else match[0]

    # --- one step

    def step(self, step: dict[str, Any]) -> dict[str, Any]:
        """Send the request of a recorded step. Returns status, answer and webhooks in the recording's
        words.
        """
        before = len(self.sink.received)
        if "parallel" in step:
            return self._parallel(step)
        response = self._send(step, step.get("body"))
        answered = time.monotonic()
        content = response.json()
        answer = self.shown(content)
        data = content.get("data")
        if isinstance(data, dict) and isinstance(data.get("id"), str):
            self.last_uuid = data["id"]
        return {
            "status": response.status_code,
            "answer": answer,
            "webhooks": [self._delivery(each, answered) for each in self.sink.received[before:]],
        }

    def _send(self, step: dict[str, Any], body: Any) -> requests.Response:
        headers = {}
        if step.get("key") != "none":
            key = "cal_no_such_key" if step.get("key") == "wrong" else self.api_key
            headers["Authorization"] = f"Bearer {key}"
        # the recording leaves the version out where several requests made one step
        version = step.get("version", BOOKINGS_VERSION)
        if version:
            headers["cal-api-version"] = version
        url = self.base_url + self.real(step["path"])
        if "query" in step:
            url += "?" + urlencode(self.real(step["query"]))
        return self.session.request(step["method"], url, headers=headers, json=self.real(body), timeout=20)

    def _parallel(self, step: dict[str, Any]) -> dict[str, Any]:
        bodies = [{**step["body"], "metadata": {"call_id": str(n)}} for n in range(step["parallel"])]
        with ThreadPoolExecutor(len(bodies)) as pool:
            responses = list(pool.map(lambda body: self._send(step, body), bodies))
        refusals = {self._message(each.json()) for each in responses if each.status_code != 201}
        uids = {each.json()["data"]["uid"] for each in responses if each.status_code == 201}
        answer = {
            "statuses": sorted(each.status_code for each in responses),
            "messages": sorted(refusals),
            "distinct uids": len(uids),
        }
        return {"status": responses[0].status_code, "answer": answer, "webhooks": []}

    @staticmethod
    def _message(content: dict[str, Any]) -> str:
        message: str = content["error"]["message"] if "error" in content else content["message"]
        return message

    def _delivery(self, received: Received, answered: float) -> dict[str, Any]:
        content = json.loads(received.body)
        payload = content["payload"]
        expected = hmac.new(b"s3cret", received.body, hashlib.sha256).hexdigest()
        signed = hmac.compare_digest(received.headers["x-cal-signature-256"], expected)
        return {
            "trigger": content["triggerEvent"],
            "before_answer": received.at < answered,
            "envelope": sorted(content),
            "headers": sorted(received.headers),
            "cal_headers": sorted(name for name in received.headers if name.startswith("x-cal-")),
            "content_type": received.headers["content-type"],
            "signature": "ok" if signed else "wrong",
            "payload_keys": {key: json_type(value) for key, value in sorted(payload.items())},
            "values": {
                key: self.shown(value, key) for key, value in payload.items() if key in self.value_keys
            },
        }


def json_type(value: Any) -> str:
    return "null" if value is None else JSON_TYPES[type(value)]


def differences(answered: Any, recorded: Any, path: str = "$") -> list[str]:
    """Where two JSON values differ, one line each: of a long answer nobody finds it by eye."""
    if isinstance(answered, dict) and isinstance(recorded, dict):
        found = [f"{path}.{key}: not recorded" for key in answered.keys() - recorded.keys()]
        found += [f"{path}.{key}: missing" for key in recorded.keys() - answered.keys()]
        for key in answered.keys() & recorded.keys():
            found += differences(answered[key], recorded[key], f"{path}.{key}")
        return found
    if isinstance(answered, list) and isinstance(recorded, list) and len(answered) == len(recorded):
        pairs = enumerate(zip(answered, recorded, strict=True))
        return [line for n, (left, right) in pairs for line in differences(left, right, f"{path}[{n}]")]
    return [] if answered == recorded else [f"{path}: {answered!r}, recorded {recorded!r}"]
