from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from django.db import connections

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
