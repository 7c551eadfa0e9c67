"""The load generator: a process of its own, `python -m tests.benchmarks.load`.

Reads one plan as JSON from standard input, writes one result as JSON to standard output. Everything it sends
is built and signed before the clock starts; what is timed is a blocking send and receive on a kept-alive
socket, one per thread. Its own processor time per request stands in the result.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
import threading
import time
from dataclasses import asdict, dataclass, field

from tests.benchmarks.callers import Callers, create_at_calcom
from tests.benchmarks.events import Events

TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`what`: book, replay, availability, simulator, event. Bookings take the slots from `first` on, events
    are about the calls from `first` on."""

    what: str
    host: str
    port: int
    concurrency: int
    count: int
    first: int = 0
    hook: str = ""
    key: str = ""
    run: str = "bench"
    event_type_id: int = 0
    expected: str = '"code":"booked"'


@dataclass
class Result:
    """Latencies in milliseconds, in no order; `seconds` from the first request to the last answer."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    generator_ms: float = 0.0  # its own processor time per request
    unexpected: int = 0
    example: str = ""


def build(plan: Plan) -> list[bytes]:
    if plan.what == "simulator":
        return [
            create_at_calcom(event_type_id=plan.event_type_id, number=plan.first + n, api_key=plan.key)
            for n in range(plan.count)
        ]
    if plan.what == "event":
        events = Events(hook=plan.hook, key=plan.key, run=plan.run)
        return [events.ended(plan.first + n) for n in range(plan.count)]
    callers = Callers(hook=plan.hook, key=plan.key, run=plan.run)
    if plan.what == "book":
        return [callers.book(plan.first + n) for n in range(plan.count)]
    # The same few requests again and again, as a repeat is; several, so that threads do not share one row.
    make = callers.book if plan.what == "replay" else callers.check_availability
    few = [make(plan.first + n) for n in range(plan.concurrency)]
    return [few[n % len(few)] for n in range(plan.count)]


def run(plan: Plan) -> Result:
    requests = build(plan)
    shares = [requests[n :: plan.concurrency] for n in range(plan.concurrency)]
    expected = plan.expected.encode()
    result = Result()
    latencies: list[list[float]] = [[] for _ in shares]
    answers: list[list[bytes]] = [[] for _ in shares]
    connected = threading.Barrier(plan.concurrency + 1)

    def talk(number: int) -> None:
        try:
            converse(number)
        except (OSError, ValueError) as error:
            result.example = result.example or repr(error)

    def converse(number: int) -> None:
        with socket.create_connection((plan.host, plan.port), timeout=TIMEOUT_SECONDS) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.wait()
            for request in shares[number]:
                started = time.perf_counter()
                sock.sendall(request)
                answer = receive(sock)
                latencies[number].append((time.perf_counter() - started) * 1000)
                answers[number].append(answer)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(plan.concurrency)]
    gc.collect()
    gc.disable()
    for thread in threads:
        thread.start()
    connected.wait()
    processor = time.process_time()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    result.seconds = time.perf_counter() - began
    result.generator_ms = (time.process_time() - processor) * 1000 / max(1, plan.count)
    result.latencies = [each for share in latencies for each in share]
    for answer in (each for share in answers for each in share):
        if expected not in answer:
            result.unexpected += 1
            result.example = result.example or answer.decode(errors="replace")[:2000]
    missing = plan.count - len(result.latencies)
    if missing:
        result.unexpected += missing
        result.example = f"{missing} requests got no answer. {result.example}"
    return result


def receive(sock: socket.socket) -> bytes:
    """One whole answer: headers and as much body as they announce."""
    answer = sock.recv(65536)
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += _more(sock)
    head = answer[:end].lower()
    at = head.find(b"content-length:") + 15
    if at < 15:
        raise ValueError(f"an answer without its length: {head!r}")
    line_end = head.find(b"\r", at)
    length = int(head[at : line_end if line_end >= 0 else end])
    while len(answer) < end + 4 + length:
        answer += _more(sock)
    return answer


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        raise ConnectionError("the server closed the connection")
    return data


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(run(Plan(**json.load(sys.stdin))))))
