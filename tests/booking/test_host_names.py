"""A resolver that is slow, or away."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from booking.calcom.host_names import Address, HostNames

HERE: Address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
THERE: Address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.2", 443))


class Resolver:
    """Answers as it is told to; while it `hangs`, only when it is let go."""

    def __init__(self) -> None:
        self.answer: list[Address] | Exception = [HERE]
        self.asked = 0
        self.goes_on = threading.Event()
        self.goes_on.set()

    def __call__(self, host: str, port: int) -> list[Address]:
        self.asked += 1
        self.goes_on.wait(30)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def resolver():
    resolver = Resolver()
    yield resolver
    resolver.goes_on.set()


@pytest.fixture
def names(resolver):
    return HostNames(resolver)


def test_what_it_finds_now_counts(resolver, names):
    assert names.addresses("cal.example", 443, seconds=2) == [HERE]
    resolver.answer = [THERE]
    assert names.addresses("cal.example", 443, seconds=2) == [THERE]


def test_nobody_waits_longer_than_they_can(resolver, names):
    resolver.goes_on.clear()
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        names.addresses("cal.example", 443, seconds=0.2)
    assert time.monotonic() - began < 1


def test_all_who_wait_for_one_host_wait_for_one_answer(resolver, names):
    resolver.goes_on.clear()
    found: list[list[Address]] = []
    waiting = [
        threading.Thread(target=lambda: found.append(names.addresses("cal.example", 443, seconds=20)))
        for _ in range(5)
    ]
    for thread in waiting:
        thread.start()
    with pytest.raises(TimeoutError):
        names.addresses("other.example", 443, seconds=0.2)
    resolver.goes_on.set()
    for thread in waiting:
        thread.join(20)
    assert (found, resolver.asked) == ([[HERE]] * 5, 2)


@pytest.mark.parametrize("trouble", ["hangs", "is away"])
def test_while_it_is_out_of_order_what_it_found_last_is_good_enough(resolver, names, trouble):
    names.addresses("cal.example", 443, seconds=2)
    if trouble == "hangs":
        resolver.goes_on.clear()
    resolver.answer = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    assert names.addresses("cal.example", 443, seconds=2) == [HERE]
    with pytest.raises((TimeoutError, socket.gaierror)):
        names.addresses("other.example", 443, seconds=0.2)


def test_a_look_up_that_breaks_is_made_anew_by_whoever_comes_next(resolver, names):
    resolver.answer = MemoryError()
    with pytest.raises(OSError, match="MemoryError"):
        names.addresses("cal.example", 443, seconds=20)
    resolver.answer = [HERE]
    assert names.addresses("cal.example", 443, seconds=2) == [HERE]


def test_a_host_that_is_said_not_to_exist_is_not_asked_for_where_it_was(resolver, names):
    names.addresses("cal.example", 443, seconds=2)
    resolver.answer = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    with pytest.raises(socket.gaierror):
        names.addresses("cal.example", 443, seconds=2)
    with pytest.raises(socket.gaierror):
        names.addresses("cal.example", 443, seconds=2)


def test_a_name_that_no_host_can_have_is_an_error_like_any_other():
    with pytest.raises(socket.gaierror):
        HostNames().addresses("x" * 70 + ".example", 443, seconds=2)
