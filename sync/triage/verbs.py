"""What a person can do about a sync failure, while what it is legal, and who may."""

from __future__ import annotations

from enum import StrEnum

from booking.models import OPEN_STATUSES, SyncFailure
from sync import roles


class Verb(StrEnum):
    TRY_AGAIN = "try_again"
    ADOPT = "adopt"
    LINK = "link"
    RECREATE = "recreate"
    CANCEL = "cancel"
    END = "end"
    TAKE_BACK = "take_back"
    RESOLVE = "resolve"
    REVIEW = "review"
    SNOOZE = "snooze"
    ASSIGN = "assign"


ASK_CALCOM = frozenset(
    {Verb.TRY_AGAIN, Verb.ADOPT, Verb.LINK, Verb.RECREATE, Verb.CANCEL, Verb.END, Verb.TAKE_BACK}
)
IN_BULK = (Verb.ASSIGN, Verb.SNOOZE, Verb.REVIEW, Verb.RESOLVE, Verb.TRY_AGAIN, Verb.TAKE_BACK)
LEGAL_WHILE: dict[Verb, frozenset[str]] = {
    **dict.fromkeys(Verb, frozenset(map(str, OPEN_STATUSES))),
    Verb.REVIEW: frozenset({str(SyncFailure.Status.PENDING)}),
}
PERMISSION: dict[Verb, str] = {
    Verb.TRY_AGAIN: roles.REPAIR,
    Verb.ADOPT: roles.REPAIR,
    Verb.LINK: roles.REPAIR,
    Verb.RECREATE: roles.ACT_AT_CALCOM,
    Verb.CANCEL: roles.ACT_AT_CALCOM,
    Verb.END: roles.REPAIR,
    Verb.TAKE_BACK: roles.REPAIR,
    Verb.RESOLVE: roles.WORK,
    Verb.REVIEW: roles.WORK,
    Verb.SNOOZE: roles.WORK,
    Verb.ASSIGN: roles.WORK,
}


class NotLegal(Exception):
    """Not in this state; the text says why. Nothing was done."""


class MovedOn(Exception):
    """It is not any more what the person was shown. Nothing was done."""


def require_status(verb: Verb, failure: SyncFailure) -> None:
    if failure.status not in LEGAL_WHILE[verb]:
        raise NotLegal(f"The failure is {failure.get_status_display()}.")
