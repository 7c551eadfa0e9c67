"""A person has called back: close the request, saying who and what came of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from booking.models import CallbackRequest


def close_callbacks(*, ids: Iterable[int], note: str, by: AbstractBaseUser, now: dt.datetime) -> list[int]:
    """Close the requests that are still open; returns the ids of those closed now.

    One that somebody else closed meanwhile keeps that person's name and note.
    """
    with transaction.atomic():
        still_open = CallbackRequest.objects.filter(pk__in=ids, status=CallbackRequest.Status.OPEN)
        # Of two people pressing at once, one waits here and then finds it closed.
        closed = list(still_open.select_for_update().order_by("pk").values_list("pk", flat=True))
        CallbackRequest.objects.filter(pk__in=closed).update(
            status=CallbackRequest.Status.DONE, note=note, closed_by_id=by.pk, closed_at=now
        )
    return closed
