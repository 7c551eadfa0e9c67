from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from django.db import connection, connections

T = TypeVar("T")


def at_once(*acts: Callable[[], T]) -> list[T]:
    """Carry all of them out at the same moment; their answers in order."""
    answers: dict[int, T] = {}
    ready = threading.Barrier(len(acts))

    def run(number: int, act: Callable[[], T]) -> None:
        try:
            ready.wait(timeout=10)
            answers[number] = act()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(answers) == len(acts), "somebody got no answer"
    return [answers[number] for number in range(len(acts))]


@contextmanager
def just_before(statement: str, act: Callable[[], object], *, patience: float = 10) -> Iterator[None]:
    """Have somebody else act, once, when we are about to send the database a statement that holds this text:
    what they do is committed before ours is carried out, unless they have to wait for us longer than we do.
    """
    if connection.vendor == "sqlite":
        pytest.skip("whoever writes is alone")
    others: list[threading.Thread] = []

    def run() -> None:
        try:
            act()
        finally:
            connections.close_all()

    def watch(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if not others and statement in sql:
            others.append(threading.Thread(target=run))
            others[0].start()
            others[0].join(timeout=patience)
        return execute(sql, params, many, context)

    with connection.execute_wrapper(watch):
        yield
    assert others, "no such statement was sent"
    others[0].join(timeout=20)
    assert not others[0].is_alive()
