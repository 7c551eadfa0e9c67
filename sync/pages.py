"""The pages of a listing, read and compared side by side.

A listing can be larger than what fits into memory as objects: its pages are kept as the JSON they came in, a
batch at a time, until it is known which of their bookings are looked at more closely.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

from booking.calcom.client import Page, json_in
from booking.calcom.errors import CalcomError
from sync.compare import Comparison, Difference

PAGES_PER_BATCH = 30


def compared(pages: Iterator[Page], comparison: Comparison) -> Iterator[tuple[list[Difference], list[bytes]]]:
    """What differs, batch by batch, and the pages to find it in. While a batch is compared, the next one is
    read; what was read before an error comes first here too.
    """
    waiting: tuple[Future[list[Difference]], list[bytes]] | None = None
    broken: CalcomError | None = None
    try:
        for kept in _in_batches(pages, read=comparison.add):
            before = waiting
            waiting = comparison.compare(), kept
            if before is not None:
                yield before[0].result(), before[1]
                before = None
    except CalcomError as error:
        broken = error
    if waiting is not None:
        yield waiting[0].result(), waiting[1]
    if broken is not None:
        raise broken


def bookings_in(kept: list[bytes], *, uids: set[str]) -> dict[str, dict[str, Any]]:
    """By their uids, as they were listed."""
    if not uids:
        return {}
    bookings = (booking for page in kept for booking in json_in(page)["data"])
    return {booking["uid"]: booking for booking in bookings if booking["uid"] in uids}


def _in_batches(
    pages: Iterator[Page], *, read: Callable[[list[dict[str, Any]]], None]
) -> Iterator[list[bytes]]:
    """Several pages at a time, each read at once and kept as the JSON it came in: as objects they would be in
    the way of everything else. What was read before an error counts: it comes first, then the error.
    """
    kept: list[bytes] = []
    broken: CalcomError | None = None
    try:
        for page in pages:
            read(page.bookings)
            kept.append(page.raw)
            if len(kept) == PAGES_PER_BATCH:
                yield kept
                kept = []
    except CalcomError as error:
        broken = error
    yield kept
    if broken is not None:
        raise broken
