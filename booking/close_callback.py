"""A person has called back: close the request, saying who and what came of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.contrib.auth.models import AbstractBaseUser

from booking.models import CallbackRequest


def close_callbacks(*, ids: Iterable[int], note: str, by: AbstractBaseUser, now: dt.datetime) -> list[int]:
    """Close the requests that are still open; returns the ids of those closed now.

    One that somebody else closed meanwhile keeps that person's name and note.
    """
    closed = []
    for pk in sorted(set(ids)):
        # Compare-and-swap: of two people pressing at once, one closes it.
        won = CallbackRequest.objects.filter(pk=pk, status=CallbackRequest.Status.OPEN).update(
            status=CallbackRequest.Status.DONE, note=note, closed_by_id=by.pk, closed_at=now
        )
        if won:
            closed.append(pk)
    return closed
