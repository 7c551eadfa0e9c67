"""Make our services say what Cal.com's event types are like, and find the event types we have no service for.

What is read decides which repetitions of a booking are harmless, so it must not be as old as the service. An
event type is gone only if Cal.com says so when it is asked for by its id: not being listed proves nothing,
because a key sees its owner's event types and those of its teams, and not every one it may book. Nothing is
ever deleted. A service that is proposed here is switched off until a person switches it on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.utils.text import slugify

from booking import availability, event_types, failures
from booking.calcom.errors import CalcomError, CalcomMisconfigured, UnreadableAnswer
from booking.calcom.event_type_list import EventTypes
from booking.calcom.messages import EVENT_TYPE_NOT_FOUND
from booking.calcom.objects import EventType
from booking.connection import client_for
from booking.event_type_steps import GONE, StepOutcome, in_words
from booking.models import OPEN_STATUSES, Service, SyncFailure
from booking.pace import Pace
from customers.models import Company

# On a ticket of ours: it is closed here too, when its cause is gone.
VANISHED, UNFIT = "vanished", "unfit"

logger = structlog.get_logger(__name__)


class Verb(StrEnum):
    KEEP = "keep"
    CREATE = "create"
    UPDATE = "update"
    FLAG = "flag"  # it cannot be booked any more
    LOOK = "look"


@dataclass(frozen=True)
class Difference:
    field: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Step:
    """What became of one service, or of an event type without one (`service` is then the proposed slug)."""

    event_type_id: int
    service: str
    verb: Verb
    outcome: StepOutcome
    differences: tuple[Difference, ...] = ()
    problem: str = ""


@dataclass
class Synced:
    """What was done for one company. `failed` says why it could not be worked to the end."""

    steps: list[Step] = field(default_factory=list)
    failed: str = ""

    def count(self, outcome: StepOutcome) -> int:
        return sum(step.outcome is outcome for step in self.steps)

    @property
    def for_a_person(self) -> int:
        """What somebody has to look at: problems, and services that wait to be switched on."""
        return sum(
            step.outcome is StepOutcome.LEFT
            or bool(step.problem and step.outcome is not StepOutcome.KEPT)
            or step.verb is Verb.CREATE
            for step in self.steps
        )


def sync_services(company: Company, *, now: datetime, dry_run: bool = False) -> Synced:
    """Compare and write; with `dry_run` only compare. Never raises CalcomError: what went wrong stands in the
    answer.
    """
    synced = Synced()
    try:
        api = EventTypes(client=client_for(company), pace=Pace().wait)
        work = _Work(company=company, api=api, now=now, dry_run=dry_run, synced=synced)
        work.on_services()
        work.on_event_types_without_service()
        if not dry_run:
            work.close_tickets()
            if synced.count(StepOutcome.DONE):
                availability.forget(company.pk)
    except CalcomError as error:
        synced.failed = in_words(error, company)
    return synced


@dataclass
class _Work:
    company: Company
    api: EventTypes
    now: datetime
    dry_run: bool
    synced: Synced
    known: set[int] = field(default_factory=set)
    teams: set[int] = field(default_factory=set)
    # Event types that an active service cannot use, or of which nobody could tell.
    troubled: set[int] = field(default_factory=set)

    @property
    def _when_changed(self) -> StepOutcome:
        return StepOutcome.PLANNED if self.dry_run else StepOutcome.DONE

    def on_services(self) -> None:
        of_event_type: dict[int, list[Service]] = {}
        for service in Service.objects.filter(company=self.company).order_by("slug"):
            of_event_type.setdefault(service.calcom_event_type_id, []).append(service)
        self.known.update(of_event_type)
        for event_type_id, services in sorted(of_event_type.items()):
            try:
                event_type = self.api.one(event_type_id)
            except CalcomMisconfigured as error:
                self._on_refusal(error, services)
                continue
            except UnreadableAnswer as error:
                self._could_not_tell(error, services)
                continue
            if event_type.team_id is not None:
                self.teams.add(event_type.team_id)
            for service in services:
                self._compare(service, event_type)

    def on_event_types_without_service(self) -> None:
        listed = self.api.personal()
        for team_id in sorted(self.teams.union(self.api.teams())):
            listed += self.api.of_team(team_id)
        for event_type_id in sorted(set(listed) - self.known):
            try:
                event_type = self.api.one(event_type_id)
            except CalcomMisconfigured as error:
                if error.status == 401:
                    raise
                continue  # gone since it was listed, or not ours to book
            except UnreadableAnswer as error:
                said = in_words(error, self.company)
                self.synced.steps.append(Step(event_type_id, "", Verb.LOOK, StepOutcome.LEFT, problem=said))
                continue
            self._propose(event_type)

    def close_tickets(self) -> None:
        """Tickets opened here whose cause is gone: the event type is back, fits, or is not used any more."""
        rows = SyncFailure.objects.filter(
            company=self.company,
            failure_type=SyncFailure.Type.CONFIG_ERROR,
            status__in=OPEN_STATUSES,
            subject__startswith=failures.EVENT_TYPE,
        )
        still = {_subject(event_type_id) for event_type_id in self.troubled}
        gone = [
            subject
            for subject, details in rows.values_list("subject", "error_details")
            if subject not in still and details.get("kind") in (VANISHED, UNFIT)
        ]
        if gone:
            self._close(gone)

    def _on_refusal(self, error: CalcomMisconfigured, services: list[Service]) -> None:
        if error.status == 401:
            raise error
        if not (error.status == 404 and EVENT_TYPE_NOT_FOUND.search(error.message)):
            self._could_not_tell(error, services)
            return
        for service in services:
            self._flag(service)

    def _could_not_tell(self, error: CalcomError, services: list[Service]) -> None:
        for service in services:
            if service.is_active:
                self.troubled.add(service.calcom_event_type_id)
            self._note(service, Verb.LOOK, StepOutcome.LEFT, problem=in_words(error, self.company))

    def _flag(self, service: Service) -> None:
        if service.is_active:
            self._trouble(service, kind=VANISHED, message=GONE)
        if service.vanished_at is not None:
            outcome = StepOutcome.LEFT if service.is_active else StepOutcome.KEPT
            self._note(service, Verb.KEEP, outcome, problem=GONE)
            return
        if not self.dry_run:
            self._update(service, {"vanished_at": self.now})
            logger.warning("service.vanished", company=self.company.slug, service=service.slug)
        changed = (Difference("vanished_at", None, self.now),)
        self._note(service, Verb.FLAG, self._when_changed, changed, problem=GONE)

    def _compare(self, service: Service, event_type: EventType) -> None:
        wanted: dict[str, Any] = {**event_types.facts_of(event_type), "vanished_at": None}
        minutes = service.duration_minutes
        if event_type.length_minutes and not event_type.lengths_minutes:
            minutes = wanted["duration_minutes"] = event_type.length_minutes
        problem = event_types.why_unfit(event_type, minutes=minutes)
        # Where it does not fit nothing counts as learned, so that no booking is sent without asking again.
        wanted["learned_event_type_id"] = None if problem else event_type.id
        differences = tuple(
            Difference(name, before, after)
            for name, after in wanted.items()
            if (before := getattr(service, name)) != after
        )
        if problem and service.is_active:
            self._trouble(service, kind=UNFIT, message=problem)
        if not differences:
            left = problem and service.is_active
            outcome = StepOutcome.LEFT if left else StepOutcome.KEPT
            self._note(service, Verb.KEEP, outcome, problem=problem)
            return
        if not self.dry_run:
            self._update(service, {each.field: each.after for each in differences})
            if service.vanished_at is not None:
                self._close([_subject(service.calcom_event_type_id)])
        self._note(service, Verb.UPDATE, self._when_changed, differences, problem=problem)

    def _propose(self, event_type: EventType) -> None:
        slug = self._slug(event_type)
        problem = event_types.why_unfit(event_type, minutes=event_type.length_minutes)
        if event_type.length_minutes < 1:
            problem = "It has no length."
        elif event_type.scheduling == "managed":
            problem = "A managed event type is a model for others and cannot be booked."
        if problem:
            self.synced.steps.append(
                Step(event_type.id, slug, Verb.LOOK, StepOutcome.KEPT, problem=f"Not proposed. {problem}")
            )
            return
        proposed = {
            "name": (event_type.title or slug)[:200],
            "duration_minutes": event_type.length_minutes,
            "is_active": False,
        }
        if not self.dry_run and not self._create(slug, event_type, proposed):
            return
        differences = tuple(Difference(name, None, value) for name, value in proposed.items())
        self.synced.steps.append(
            Step(event_type.id, slug, Verb.CREATE, self._when_changed, differences=differences)
        )

    def _create(self, slug: str, event_type: EventType, proposed: dict[str, Any]) -> bool:
        facts = event_types.facts_of(event_type)
        try:
            with transaction.atomic():
                # Of two runs at once the second waits, and sees what the first has proposed.
                Company.objects.select_for_update(no_key=True).only("pk").get(pk=self.company.pk)
                theirs = Service.objects.filter(company=self.company, calcom_event_type_id=event_type.id)
                if theirs.exists():
                    return False
                Service.objects.create(
                    company=self.company,
                    slug=slug,
                    calcom_event_type_id=event_type.id,
                    learned_event_type_id=event_type.id,
                    **proposed,
                    **facts,
                )
        except IntegrityError:
            return False  # somebody has given another service this slug in this moment
        logger.info("service.proposed", company=self.company.slug, service=slug, event_type=event_type.id)
        return True

    def _slug(self, event_type: EventType) -> str:
        slug = slugify(event_type.slug or event_type.title)[:64] or f"event-type-{event_type.id}"
        if not Service.objects.filter(company=self.company, slug=slug).exists():
            return slug
        return f"{slug[:40]}-{event_type.id}"

    def _update(self, service: Service, values: dict[str, Any]) -> None:
        # Only if it still is the event type that was read: ops may change it at this moment.
        Service.objects.filter(pk=service.pk, calcom_event_type_id=service.calcom_event_type_id).update(
            **values, updated_at=self.now
        )

    def _trouble(self, service: Service, *, kind: str, message: str) -> None:
        self.troubled.add(service.calcom_event_type_id)
        if not self.dry_run:
            problem = failures.Problem(
                company=self.company,
                failure_type=SyncFailure.Type.CONFIG_ERROR,
                subject=_subject(service.calcom_event_type_id),
                message=message,
                details={"kind": kind, "service": service.slug, "event_type": service.calcom_event_type_id},
            )
            failures.open_failure(problem, needs_person=True)

    def _close(self, subjects: list[str]) -> None:
        note = "Cal.com was asked: the event type is there and fits, or no service uses it any more."
        failures.close_failures(company_id=self.company.pk, subjects=subjects, note=note)

    def _note(
        self,
        service: Service,
        verb: Verb,
        outcome: StepOutcome,
        differences: tuple[Difference, ...] = (),
        *,
        problem: str = "",
    ) -> None:
        self.synced.steps.append(
            Step(service.calcom_event_type_id, service.slug, verb, outcome, differences, problem)
        )


def _subject(event_type_id: int) -> str:
    return f"{failures.EVENT_TYPE}{event_type_id}"
