"""What would happen if a person chose a verb, or why it is not legal. Nothing in here changes anything."""

from __future__ import annotations

from collections.abc import Callable

from sync.triage import adopting, cancelling, ending, inbox, linking, recreating, taking_back, trying_again
from sync.triage.case import Case
from sync.triage.verbs import NotLegal, Verb, require_status

_PREVIEWS: dict[Verb, Callable[[Case], list[str]]] = {
    Verb.TRY_AGAIN: trying_again.preview,
    Verb.ADOPT: adopting.preview,
    Verb.LINK: linking.preview,
    Verb.RECREATE: recreating.preview,
    Verb.CANCEL: cancelling.preview,
    Verb.END: ending.preview,
    Verb.TAKE_BACK: taking_back.preview,
    Verb.RESOLVE: inbox.preview_resolve,
    Verb.REVIEW: inbox.preview_review,
    Verb.SNOOZE: inbox.preview_snooze,
    Verb.ASSIGN: inbox.preview_assign,
}


def preview(verb: Verb, case: Case) -> list[str]:
    """What will happen, a sentence each. Raises NotLegal."""
    require_status(verb, case.failure)
    return _PREVIEWS[verb](case)


def legal_verbs(case: Case) -> dict[Verb, str]:
    """Every verb, with why it is not legal now; blank where it is."""
    reasons = {}
    for verb in Verb:
        try:
            preview(verb, case)
        except NotLegal as no:
            reasons[verb] = str(no)
        else:
            reasons[verb] = ""
    return reasons
