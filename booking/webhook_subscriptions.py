"""Make Cal.com's webhook subscriptions those that we want: one for each event type that can be booked.

A subscription of the key's owner is no substitute: it stays silent for bookings of a team, and beside one of
the event type it delivers everything twice. Ours are told from those of others by their path, which holds the
company's endpoint id; nothing else is ever changed or removed.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

import structlog
from django.db import transaction

from booking.calcom.errors import (
    CalcomError,
    CalcomMisconfigured,
    CalcomRefused,
    OutcomeUnknown,
    UnreadableAnswer,
)
from booking.calcom.messages import ROUTE_UNKNOWN
from booking.calcom.subscriptions import OWNER, TRIGGERS, Place, Subscription, Subscriptions
from booking.connection import client_for
from booking.event_type_steps import GONE, StepOutcome, in_words
from booking.models import Service
from booking.pace import Pace
from customers.models import Company

NOT_FOUND = 404
# "Not yours": Cal.com says so of a team's event type (400 in older versions).
NOT_A_PERSONS = (400, 403)

logger = structlog.get_logger(__name__)


class Verb(StrEnum):
    KEEP = "keep"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    LOOK = "look"


@dataclass(frozen=True)
class Wanted:
    url: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Action:
    """What is to be done about one subscription; `why` names what is wrong with it."""

    verb: Verb
    subscription: Subscription | None = None
    why: tuple[str, ...] = ()

    @property
    def subscription_id(self) -> str:
        return self.subscription.id if self.subscription else ""

    @property
    def identity(self) -> tuple[Verb, str]:
        return self.verb, self.subscription_id


@dataclass(frozen=True)
class Step:
    """What became of one action. `event_type_id` is None for the subscriptions of the key's owner. With
    `unreadable` Cal.com has said nothing against it: nobody could read what it says.
    """

    event_type_id: int | None
    services: tuple[str, ...]
    verb: Verb
    outcome: StepOutcome
    subscription_id: str = ""
    why: tuple[str, ...] = ()
    problem: str = ""
    unreadable: bool = False


@dataclass
class Alignment:
    """What was done for one company. `failed` says why it could not be worked to the end."""

    url: str
    secret_made: bool = False
    steps: list[Step] = field(default_factory=list)
    failed: str = ""

    def count(self, outcome: StepOutcome) -> int:
        return sum(step.outcome is outcome for step in self.steps)

    @property
    def for_a_person(self) -> int:
        return self.count(StepOutcome.LEFT)


def plan(present: Sequence[Subscription], *, path: str, wanted: Wanted | None) -> list[Action]:
    """What makes the subscriptions of one place the wanted one (None: none of ours). `path` tells ours."""
    ours = [each for each in present if _is_ours(each, path=path)]
    if wanted is None:
        return [Action(Verb.DELETE, each, ("not wanted here",)) for each in ours]
    if not ours:
        return [Action(Verb.CREATE)]
    kept = min(ours, key=lambda each: (each.url != wanted.url, len(differences(each, wanted))))
    why = differences(kept, wanted)
    return [
        Action(Verb.UPDATE, kept, why) if why else Action(Verb.KEEP, kept),
        *(Action(Verb.DELETE, each, ("duplicate",)) for each in ours if each is not kept),
    ]


def differences(subscription: Subscription, wanted: Wanted) -> tuple[str, ...]:
    """In what a subscription is not as wanted."""
    wrong = {
        "address": subscription.url != wanted.url,
        "secret": subscription.secret != wanted.secret,
        "triggers": subscription.triggers != frozenset(TRIGGERS),
        "inactive": not subscription.is_active,
        "payload template": subscription.has_template,
    }
    return tuple(name for name, is_wrong in wrong.items() if is_wrong)


def align(
    company: Company,
    *,
    public_url: str,
    remove: bool = False,
    dry_run: bool = False,
    pace: Pace | None = None,
) -> Alignment:
    """Create, repair and remove the company's subscriptions, or with `remove` remove all of ours. Never
    raises CalcomError: what went wrong stands in the answer.

    A company without a webhook secret is given one, unless this is a dry run, which changes nothing anywhere.
    """
    path = f"{company.hooks_path}/calcom"
    alignment = Alignment(url=public_url.rstrip("/") + path)
    try:
        api = Subscriptions(client=client_for(company), pace=(pace or Pace()).wait)
        of_owner = api.listed(OWNER)  # first: it proves that the key is good for this
        wanted = None if remove else _wanted(company, alignment, dry_run=dry_run)
        work = _Work(company=company, api=api, path=path, wanted=wanted, dry_run=dry_run, alignment=alignment)
        for event_type_id, services in _event_types(company).items():
            work.on_event_type(event_type_id, services=services)
        work.on_owner(of_owner)
    except CalcomError as error:
        alignment.failed = in_words(error, company)
    return alignment


@dataclass
class _Work:
    company: Company
    api: Subscriptions
    path: str
    wanted: Wanted | None  # at the event type of an active service; None when removing
    dry_run: bool
    alignment: Alignment
    uncovered: bool = False  # an event type is left without a subscription that is right

    def on_event_type(self, event_type_id: int, *, services: tuple[str, ...]) -> None:
        wanted = self.wanted if services else None
        try:
            place, present = self._look(event_type_id)
        except CalcomMisconfigured as error:
            if error.status == 401:
                raise
            is_gone = error.status == NOT_FOUND and not ROUTE_UNKNOWN.match(error.message)
            nobodys = not services and error.status in (NOT_FOUND, *NOT_A_PERSONS)
            if nobodys or (is_gone and wanted is None):
                return  # nothing of ours is delivered from there
            self.uncovered |= wanted is not None and not is_gone
            problem = GONE if is_gone else in_words(error, self.company)
            self.alignment.steps.append(
                Step(event_type_id, services, Verb.LOOK, StepOutcome.LEFT, problem=problem)
            )
            return
        except UnreadableAnswer as error:
            self.uncovered |= wanted is not None
            problem = in_words(error, self.company)
            self.alignment.steps.append(
                Step(event_type_id, services, Verb.LOOK, StepOutcome.LEFT, problem=problem, unreadable=True)
            )
            return
        self._carry_out(place, present, services=services, wanted=wanted)

    def on_owner(self, present: list[Subscription]) -> None:
        """The key owner's own subscriptions: each of ours there delivers what the event type's does."""
        if not self.uncovered:
            self._carry_out(OWNER, present, services=(), wanted=None)
            return
        for action in plan(present, path=self.path, wanted=None):
            problem = "Kept until every event type has a subscription of its own."
            self._note(OWNER, (), action, StepOutcome.LEFT, problem=problem)

    def _look(self, event_type_id: int) -> tuple[Place, list[Subscription]]:
        place = Place(event_type_id=event_type_id)
        try:
            return place, self.api.listed(place)
        except CalcomMisconfigured as error:
            if error.status not in NOT_A_PERSONS:
                raise
            team_id = self.api.team_of(event_type_id)
            if team_id is None:
                raise
        place = Place(event_type_id=event_type_id, team_id=team_id)
        return place, self.api.listed(place)

    def _carry_out(
        self,
        place: Place,
        present: list[Subscription],
        *,
        services: tuple[str, ...],
        wanted: Wanted | None,
    ) -> None:
        actions = deque(plan(present, path=self.path, wanted=wanted))
        tried = set()
        while actions:
            action = actions.popleft()
            if action.identity in tried:
                continue
            tried.add(action.identity)
            if action.verb is Verb.KEEP:
                self._note(place, services, action, StepOutcome.KEPT)
            elif self.dry_run:
                self._note(place, services, action, StepOutcome.PLANNED)
            else:
                problem, seen_since = self._try(action, place, wanted)
                actions.extend(seen_since)
                self.uncovered |= bool(problem) and action.verb is not Verb.DELETE
                outcome = StepOutcome.LEFT if problem else StepOutcome.DONE
                self._note(place, services, action, outcome, problem=problem)

    def _try(self, action: Action, place: Place, wanted: Wanted | None) -> tuple[str, list[Action]]:
        """Do it once. What is wrong now, if anything, and what else turned out to be necessary."""
        try:
            self._apply(action, place, wanted)
        except OutcomeUnknown as error:
            return self._look_again(error, action, place, wanted)
        except (CalcomMisconfigured, CalcomRefused) as error:
            if error.status == 401:
                raise
            if action.verb is Verb.DELETE and error.status == NOT_FOUND:
                # Somebody else may have removed it; or what was not found is something on the way there.
                return self._look_again(error, action, place, wanted)
            return in_words(error, self.company), []
        return "", []

    def _look_again(
        self, error: CalcomError, action: Action, place: Place, wanted: Wanted | None
    ) -> tuple[str, list[Action]]:
        said = in_words(error, self.company)
        try:
            still = plan(self.api.listed(place), path=self.path, wanted=wanted)
        except UnreadableAnswer:
            return f"{said} Whether it was done cannot be read: run this again.", []
        if action.identity in {each.identity for each in still}:
            return f"{said} It was not done so far: run this again.", []
        # More than this may have happened: a 409 tells of one that somebody else made just now.
        return "", [each for each in still if each.verb is not Verb.KEEP]

    def _apply(self, action: Action, place: Place, wanted: Wanted | None) -> None:
        if action.verb is Verb.DELETE:
            self.api.delete(place, action.subscription_id)
        elif wanted is None:
            raise ValueError(f"nothing is wanted at {place.path}")
        elif action.verb is Verb.UPDATE:
            self.api.update(place, action.subscription_id, url=wanted.url, secret=wanted.secret)
        else:
            self.api.create(place, url=wanted.url, secret=wanted.secret)

    def _note(
        self,
        place: Place,
        services: tuple[str, ...],
        action: Action,
        outcome: StepOutcome,
        *,
        problem: str = "",
    ) -> None:
        step = Step(
            event_type_id=place.event_type_id,
            services=services,
            verb=action.verb,
            outcome=outcome,
            subscription_id=action.subscription_id,
            why=("delivers everything twice",) if place == OWNER and self.wanted else action.why,
            problem=problem,
        )
        self.alignment.steps.append(step)
        if outcome is StepOutcome.DONE:
            logger.info(
                "webhooks.subscription_changed",
                company=self.company.slug,
                event_type=place.event_type_id,
                change=action.verb.value,
                why=step.why,
            )


def _is_ours(subscription: Subscription, *, path: str) -> bool:
    """On whatever host: the endpoint id in the path is the company's alone."""
    try:
        found = urlsplit(subscription.url).path
    except ValueError:
        return False
    return found.rstrip("/").lower().endswith(path)


def _event_types(company: Company) -> dict[int, tuple[str, ...]]:
    """The active services of each event type, none where all are switched off or have moved away."""
    services: dict[int, list[str]] = {}
    for service in Service.objects.filter(company=company).order_by("slug"):
        if service.learned_event_type_id is not None:
            services.setdefault(service.learned_event_type_id, [])
        using = services.setdefault(service.calcom_event_type_id, [])
        if service.is_active:
            using.append(service.slug)
    return {event_type_id: tuple(services[event_type_id]) for event_type_id in sorted(services)}


def _wanted(company: Company, alignment: Alignment, *, dry_run: bool) -> Wanted:
    secret = company.calcom_webhook_secret
    if not secret:
        alignment.secret_made = True
        secret = secrets.token_hex(32)
        if not dry_run:
            secret = _store_secret(company, secret)
    return Wanted(url=alignment.url, secret=secret)


def _store_secret(company: Company, secret: str) -> str:
    """The company's secret: this one, or the one that somebody else stored in the meantime."""
    with transaction.atomic():
        row = Company.objects.select_for_update().get(pk=company.pk)
        if not row.calcom_webhook_secret:
            row.calcom_webhook_secret = secret
            row.save(update_fields=["calcom_webhook_secret", "updated_at"])
    company.calcom_webhook_secret = row.calcom_webhook_secret
    return row.calcom_webhook_secret
