"""The floors: bare WSGI applications that do what cannot be left out, and nothing else.

`/book`: the whole path of a booking. HMAC over the raw body, the claim as one committed row, POST to Cal.com
over one kept-alive connection per thread, and one transaction of three statements with the outcome.
`/read`: HMAC over the raw body and one key read from Redis.
`/store`: HMAC over the raw body and one committed row that holds it, unique by its signature.

No framework, no validation, no record of the request, no masking, no log. Served by the same server as ours.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import orjson
import psycopg
import redis

KEY = os.environ["FLOOR_KEY"].encode()
CALCOM = urlsplit(os.environ["FLOOR_CALCOM_URL"])
CALCOM_KEY = os.environ["FLOOR_CALCOM_KEY"]
EVENT_TYPE = int(os.environ["FLOOR_EVENT_TYPE"])
DATABASE = os.environ["FLOOR_DATABASE"]
IS_SQLITE = not DATABASE.startswith("postgres")
ANSWER = (
    b'{"success":true,"code":"booked","say":"Your appointment is booked.","padding":"' + b"x" * 300 + b'"}'
)

TABLES = (
    "CREATE TABLE IF NOT EXISTS floor_appointments"
    " (id text PRIMARY KEY, call text, starts_at text, request text, state text, uid text UNIQUE)",
    "CREATE TABLE IF NOT EXISTS floor_calls (id text PRIMARY KEY, appointment text)",
    "CREATE TABLE IF NOT EXISTS floor_answers (id text PRIMARY KEY, answer text)",
    "CREATE TABLE IF NOT EXISTS floor_deliveries (id text PRIMARY KEY, body text)",
)
CLAIM = "INSERT INTO floor_appointments (id, call, starts_at, request, state) VALUES (?, ?, ?, ?, 'claimed')"
STORE = "INSERT INTO floor_deliveries (id, body) VALUES (?, ?)"
SETTLE = (
    "UPDATE floor_appointments SET state = 'booked', uid = ? WHERE id = ? AND state = 'claimed'",
    "INSERT INTO floor_calls (id, appointment) VALUES (?, ?)",
    "INSERT INTO floor_answers (id, answer) VALUES (?, ?)",
)

Start = Callable[[str, list[tuple[str, str]]], Any]


class _Thread(threading.local):
    """What each thread of the server keeps: its database, its Cal.com, its Redis."""

    database: Any = None
    calcom: http.client.HTTPConnection | None = None


_thread = _Thread()
_redis = redis.Redis.from_url(os.environ["FLOOR_REDIS"])


def connect() -> Any:
    if IS_SQLITE:
        connection = sqlite3.connect(DATABASE, timeout=20, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        return connection
    return psycopg.connect(DATABASE, autocommit=True, prepare_threshold=1)


def make_tables() -> None:
    database = connect()
    for statement in TABLES:
        database.execute(statement)
    database.close()


def _sql(statement: str) -> Any:
    return statement if IS_SQLITE else statement.replace("?", "%s")


def book(body: bytes) -> bytes:
    if _thread.database is None:
        _thread.database = connect()
    if _thread.calcom is None:
        _thread.calcom = http.client.HTTPConnection(CALCOM.hostname or "", CALCOM.port)
    database, calcom = _thread.database, _thread.calcom
    asked = orjson.loads(body)
    call, arguments = asked["call"], asked["args"]
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, call["call_id"] + arguments["start"]))
    request = orjson.dumps(
        {
            "eventTypeId": EVENT_TYPE,
            "start": arguments["start"],
            "attendee": {
                "name": arguments["customer_name"],
                "timeZone": "Europe/Berlin",
                "phoneNumber": call["from_number"],
            },
            "metadata": {"call_id": call["call_id"], "attempt_id": key},
        }
    )
    database.execute(_sql(CLAIM), (key, call["call_id"], arguments["start"], request.decode()))
    calcom.request(
        "POST",
        "/v2/bookings",
        body=request,
        headers={
            "Authorization": f"Bearer {CALCOM_KEY}",
            "cal-api-version": "2024-08-13",
            "Content-Type": "application/json",
        },
    )
    response = calcom.getresponse()
    made = orjson.loads(response.read())
    if response.status != 201:
        raise RuntimeError(f"the simulator answered {response.status}: {made}")
    database.execute("BEGIN IMMEDIATE" if IS_SQLITE else "BEGIN")
    database.execute(_sql(SETTLE[0]), (made["data"]["uid"], key))
    database.execute(_sql(SETTLE[1]), (call["call_id"], key))
    database.execute(_sql(SETTLE[2]), (key, ANSWER.decode()))
    database.execute("COMMIT")
    return ANSWER


def read(body: bytes) -> bytes:
    key = hashlib.sha256(body).digest()
    stored: Any = _redis.get(key)
    if stored is None:
        _redis.set(key, ANSWER)
    return stored or ANSWER


def store(body: bytes, *, key: str) -> bytes:
    if _thread.database is None:
        _thread.database = connect()
    _thread.database.execute(_sql(STORE), (key, body.decode()))
    return b""


def application(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    timestamp, _, digest = environ["HTTP_X_RETELL_SIGNATURE"].removeprefix("v=").partition(",d=")
    expected = hmac.new(KEY, body + timestamp.encode(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(expected, digest):
        start_response("401 Unauthorized", [("Content-Length", "0")])
        return [b""]
    path = environ["PATH_INFO"]
    if path.startswith("/store"):
        answer = store(body, key=digest)
    else:
        answer = book(body) if path.startswith("/book") else read(body)
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(answer)))])
    return [answer]
