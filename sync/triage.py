"""What a person does about a sync failure; when that is legal stands in `triage_rules`.

Every verb reads the row again and refuses with `MovedOn` when it, or the booking at Cal.com, is not any more
what the person was shown: `expected` is the version of the row on their page, `seen` the fingerprint of both
sides.

Who did what, and why, is an audit entry in the transaction of the effect. A verb that talks to Cal.com writes
a first one before it asks, because no transaction is open meanwhile and a crash must leave a trace, and a
second one with what came of it. Our side is made equal by `converge`, as everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

from booking import (
    event_types,
    failures,
    follow,
    imports,
    known_uids,
    mirror,
    recreate,
    settle,
    unknown_attempts,
)
from booking.calcom.client import CalcomClient
from booking.calcom.deadline import Deadline
from booking.calcom.errors import CalcomError, CalcomRefused, OutcomeUnknown, Refusal
from booking.calcom.objects import Booking
from booking.connection import client_for
from booking.models import OPEN_STATES, OPEN_STATUSES, Appointment, BookingAttempt, Service, SyncFailure
from booking.recreate import RecreateOutcome
from customers.admin_columns import zone_of
from customers.encrypted_field import CannotDecrypt
from customers.masking import mask_text
from sync import both_sides, converge, triage_rules
from sync.both_sides import Seen
from sync.closing import DOUBT_A_BOOKING
from sync.converge import Converged, Kinship, Match
from sync.models import AuditEntry
from sync.triage_rules import (
    LOOK_SECONDS,
    Case,
    MovedOn,
    NotLegal,
    Verb,
    name_of,
    read_failure,
    version_of,
)

ACT_SECONDS = 15.0
LONGEST_SNOOZE = timedelta(days=31)
PREFIX = "triage."

Status = SyncFailure.Status
Type = SyncFailure.Type

logger = structlog.get_logger(__name__)


@dataclass
class Done:
    """What came of it. `changed` counts our rows by what they are; `is_success` is False where the person
    has to look again.
    """

    said: str
    changed: dict[str, int] = field(default_factory=dict)
    is_success: bool = True


# --- What is only our own


def assign(*, failure: SyncFailure, expected: str, user: AbstractBaseUser, reason: str = "") -> Done:
    """To the person themselves. Raises MovedOn, NotLegal, like every verb below."""
    with _change(Verb.ASSIGN, failure, expected=expected, user=user, reason=reason) as row:
        triage_rules.preview(
            Verb.ASSIGN, triage_rules.open_case(row, user=user, now=timezone.now(), ask=False)
        )
        SyncFailure.objects.filter(pk=row.pk).update(assigned_to_id=user.pk)
    return Done("Assigned to you.", {"sync failure": 1})


def snooze(
    *, failure: SyncFailure, expected: str, user: AbstractBaseUser, reason: str, until: datetime
) -> Done:
    """Hide it from the inbox until that instant, at most a month away."""
    now = timezone.now()
    if not now < until <= now + LONGEST_SNOOZE:
        raise NotLegal("It can be snoozed for a month at most.")
    details = {"until": until.isoformat()}
    with _change(Verb.SNOOZE, failure, expected=expected, user=user, reason=reason, details=details) as row:
        SyncFailure.objects.filter(pk=row.pk).update(snoozed_until=until)
    there = until.astimezone(zone_of(row))
    return Done(f"Snoozed until {there:%Y-%m-%d %H:%M %Z}.", {"sync failure": 1})


def review(*, failure: SyncFailure, expected: str, user: AbstractBaseUser, reason: str) -> Done:
    with _change(Verb.REVIEW, failure, expected=expected, user=user, reason=reason) as row:
        SyncFailure.objects.filter(pk=row.pk).update(status=Status.MANUAL_REVIEW)
    return Done("Marked as waiting for a person.", {"sync failure": 1})


def resolve(*, failure: SyncFailure, expected: str, user: AbstractBaseUser, reason: str) -> Done:
    with _change(Verb.RESOLVE, failure, expected=expected, user=user, reason=reason) as row:
        SyncFailure.objects.filter(pk=row.pk).update(
            status=Status.RESOLVED,
            resolved_at=timezone.now(),
            resolved_by_id=user.pk,
            resolution_notes=mask_text(reason),
        )
    return Done("Resolved.", {"sync failure": 1})


# --- What asks Cal.com


def try_again(*, failure: SyncFailure, expected: str, user: AbstractBaseUser, reason: str) -> Done:
    """What the machines would do, now."""
    work = _Work.begin(Verb.TRY_AGAIN, failure, expected=expected, user=user, reason=reason)
    return work.carry_out(work.try_again)


def adopt(*, failure: SyncFailure, expected: str, user: AbstractBaseUser, reason: str, seen: str) -> Done:
    """Make our side what the booking is, also where the machines would not dare to."""
    work = _Work.begin(Verb.ADOPT, failure, expected=expected, user=user, reason=reason, seen=seen)
    return work.carry_out(work.adopt)


def link(
    *,
    failure: SyncFailure,
    expected: str,
    user: AbstractBaseUser,
    reason: str,
    seen: str,
    appointment_id: int,
) -> Done:
    """To one of the `candidates`."""
    work = _Work.begin(
        Verb.LINK,
        failure,
        expected=expected,
        user=user,
        reason=reason,
        seen=seen,
        details={"appointment": appointment_id},
    )
    return work.carry_out(lambda: work.link(appointment_id))


def recreate_at_calcom(
    *, failure: SyncFailure, expected: str, user: AbstractBaseUser, reason: str, seen: str
) -> Done:
    """The guest hears of it."""
    work = _Work.begin(Verb.RECREATE, failure, expected=expected, user=user, reason=reason, seen=seen)
    return work.carry_out(work.recreate)


def cancel_at_calcom(
    *, failure: SyncFailure, expected: str, user: AbstractBaseUser, reason: str, seen: str, message: str
) -> Done:
    """`message` is what Cal.com tells guest and host as the reason; `reason` stays here."""
    work = _Work.begin(Verb.CANCEL, failure, expected=expected, user=user, reason=reason, seen=seen)
    return work.carry_out(lambda: work.cancel(message))


def end_here(*, failure: SyncFailure, expected: str, user: AbstractBaseUser, reason: str, seen: str) -> Done:
    """Cancel our appointment, whose booking Cal.com does not know any more."""
    work = _Work.begin(Verb.END, failure, expected=expected, user=user, reason=reason, seen=seen)
    return work.carry_out(work.end)


@dataclass
class _Work:
    """One verb, between the decision, which is written down, and what came of it."""

    verb: Verb
    case: Case
    reason: str
    changed: dict[str, int] = field(default_factory=dict)
    is_recorded: bool = False

    @classmethod
    def begin(
        cls,
        verb: Verb,
        failure: SyncFailure,
        *,
        expected: str,
        user: AbstractBaseUser,
        reason: str,
        seen: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> _Work:
        """Look, see that it is legal and as it was shown, and write down that it will be done."""
        row = read_failure(failure.pk)
        _require_version(row, expected)
        case = triage_rules.open_case(row, user=user, now=timezone.now(), seconds=ACT_SECONDS)
        if seen is not None and case.fingerprint != seen:
            if case.remote.seen is Seen.NOT_ASKED:
                raise NotLegal(f"Cal.com could not be asked: {case.remote.why}")
            raise MovedOn("The booking, or our appointment, is not any more what you were shown.")
        triage_rules.preview(verb, case)
        told = {"calcom": str(case.remote.seen), **(details or {})}
        if case.booking is not None:
            told |= {"status": case.booking.status, "start": case.booking.start.isoformat()}
        with _change(verb, row, expected=expected, user=user, reason=reason, details=told):
            # It also changes the version: of two people who press at once one is told so.
            SyncFailure.objects.filter(pk=row.pk).update(attempt_count=F("attempt_count") + 1)
        return cls(verb, case, reason)

    def carry_out(self, act: Callable[[], Done]) -> Done:
        """Do it, and write down what came of it if that was not part of the effect."""
        try:
            done = act()
        except unknown_attempts.InFlight:
            done = Done("The request that makes this booking is still under way.", is_success=False)
        except (recreate.CannotRecreate, NotLegal) as no:
            done = Done(f"Nothing was done: {no}", is_success=False)
        except CalcomError as error:
            done = Done(f"Cal.com could not be asked: {mask_text(error.message)}", is_success=False)
        except CannotDecrypt:
            done = Done("This company's key for Cal.com cannot be opened.", is_success=False)
        done.changed = self.changed
        if not self.is_recorded:
            self.record("done" if done.is_success else "not_done", said=done.said)
        logger.info("triage.acted", verb=self.verb, failure=self.case.failure.pk, success=done.is_success)
        return done

    def record(self, outcome: str, *, said: str = "", appointment: Appointment | None = None) -> None:
        failure = self.case.failure
        booking = self.case.booking
        AuditEntry.objects.create(
            company=failure.company,
            user_id=self.case.user.pk,
            action=f"{PREFIX}{self.verb}.{outcome}",
            appointment=appointment or self.case.appointment,
            call=failure.call,
            failure=failure,
            calcom_booking_uid=(booking.uid if booking else both_sides.uid_of(failure)),
            reason=mask_text(self.reason),
            details={"said": mask_text(said)} if said else {},
        )
        self.is_recorded = True

    def count(self, what: str, rows: int = 1) -> None:
        if rows:
            self.changed[what] = self.changed.get(what, 0) + rows

    def close(self, note: str) -> None:
        """The gap is gone. Not the person's own resolution: should it come back, it is opened again."""
        failures.resolve(SyncFailure.objects.filter(pk=self.case.failure.pk), note=note)

    def close_and_record(self, note: str, *, appointment: Appointment | None = None) -> None:
        with transaction.atomic():
            self.close(note)
            self.record("done", said=note, appointment=appointment)

    def closed(self, why: str) -> Done:
        """Close it for this reason, and say so."""
        self.close_and_record(why)
        self.count_failure()
        return Done(f"{why} The failure is closed.")

    def count_failure(self) -> bool:
        """Whether the failure is closed by now, by whomever."""
        now_open = SyncFailure.objects.filter(pk=self.case.failure.pk, status__in=OPEN_STATUSES).exists()
        if not now_open:
            self.count("sync failure")
        return not now_open

    def client(self) -> CalcomClient:
        return client_for(self.case.failure.company)

    def make_equal(self, match: Match, *, also: Callable[[Converged], None]) -> Converged:
        """Our side to the booking, which a person has seen just now, or Cal.com has just answered with: no
        worker is in the middle of something newer.
        """
        return converge.converge(
            match,
            client=self.client(),
            deadline=Deadline.after(ACT_SECONDS),
            now=timezone.now(),
            is_newest=True,
            also=also,
        )

    # --- try again

    def try_again(self) -> Done:
        failure, case = self.case.failure, self.case
        if case.attempt_is_open:
            return self._settle_attempt()
        if failure.subject in (failures.ACCESS, failures.RECONCILE_ACCESS):
            self._client_with_the_key_of(failure).probe(deadline=Deadline.after(ACT_SECONDS))
            return self.closed("Cal.com takes the key.")
        if failure.subject.startswith(failures.EVENT_TYPE):
            return self._read_event_type()
        if case.remote.seen is Seen.NOT_ASKED:
            return Done(f"Cal.com could not be asked: {case.remote.why}", is_success=False)
        if case.remote.seen is Seen.NOT_THERE:
            return self.closed("Cal.com was asked: there is no such booking.")
        if case.remote.seen is Seen.NOTHING_TO_ASK:
            return self._link_certain()
        return self._converge()

    def _client_with_the_key_of(self, failure: SyncFailure) -> CalcomClient:
        client = self.client()
        if failure.subject == failures.ACCESS:
            return client
        own_key = failure.company.calcom_reconcile_api_key  # without one the hourly run uses the other
        return CalcomClient(base_url=client.base_url, api_key=own_key or client.api_key)

    def _settle_attempt(self) -> Done:
        attempt = self.case.attempt
        assert attempt is not None  # noqa: S101 - attempt_is_open
        before = attempt.appointment.status  # settling it also changes the object
        state = unknown_attempts.settle_attempt(attempt, deadline=Deadline.after(ACT_SECONDS))
        if state in OPEN_STATES:
            return Done("It is not known yet: the attempt is looked for again soon.", is_success=False)
        self.count("attempt")
        appointment = Appointment.objects.get(pk=attempt.appointment_id)
        self.count("appointment", appointment.status != before)
        closed = self.count_failure()
        return Done(f"The attempt is {BookingAttempt.State(state).label}." + _closed(closed))

    def _read_event_type(self) -> Done:
        event_type_id = failures.event_type_of(self.case.failure.subject)
        services = Service.objects.filter(company=self.case.failure.company_id, is_active=True)
        found = [each for each in services if str(each.calcom_event_type_id) == event_type_id]
        client = self.client()
        for service in found:
            event_types.learn(service, client=client, deadline=Deadline.after(ACT_SECONDS))
            self.count("service")
        return self.closed(
            "The event type can be booked." if found else "No service books this event type any more."
        )

    def _link_certain(self) -> Done:
        with transaction.atomic():
            appointment = triage_rules.certain_appointment(self.case.failure)
            if appointment is None:
                raise NotLegal("The call has no single appointment any more.")
            mirror.link_call(appointment, now=timezone.now())
            self.close("Call and appointment point at each other.")
            self.record("done", appointment=appointment)
        self.count("call")
        self.count_failure()
        return Done("The call points at its appointment. The failure is closed.")

    def _converge(self) -> Done:
        match = self.case.remote.match
        assert match is not None  # noqa: S101 - the booking is shown
        converged = self.make_equal(match, also=lambda _done: self.record("done"))
        is_new = match.appointment is None
        self.count("appointment", converged.appointment is not None and (is_new or bool(converged.changed)))
        if self._is_gap_gone(match.booking, converged.appointment):
            self.close("Both sides are equal again.")
        closed = self.count_failure()
        return Done("Our side was made equal to the booking." + _closed(closed), is_success=closed)

    def _is_gap_gone(self, booking: Booking, appointment: Appointment | None) -> bool:
        failure_type = self.case.failure.failure_type
        if not booking.is_active and failure_type in DOUBT_A_BOOKING:
            return True
        if appointment is None:
            return not booking.is_active and failure_type in (Type.STATUS_MISMATCH, Type.TIME_MISMATCH)
        if failure_type == Type.DUPLICATE_BOOKING:
            return False
        appointment.refresh_from_db()
        return not follow.differences(appointment, booking, now=timezone.now())

    # --- adopt

    def adopt(self) -> Done:
        match = self.case.remote.match
        assert match is not None  # noqa: S101 - preview has said so
        attempt, booking = match.attempt, match.booking
        before = match.appointment
        if match.kinship is Kinship.OF_ATTEMPT and attempt is not None and attempt.state in mirror.ADOPTABLE:
            appointment = self._settle_shown(attempt, booking)
        elif match.kinship is Kinship.MIRRORED:
            appointment = self.make_equal(match, also=lambda _done: self.record("done")).appointment
        else:
            appointment = self._import()
        if appointment is None:
            return Done("The booking could not be adopted.", is_success=False)
        self.count("appointment")
        self.count("call", before is None and appointment.call_id is not None)
        if self.case.failure.failure_type != Type.DUPLICATE_BOOKING:
            self.close("Adopted by a person: the booking has its appointment.")
        closed = self.count_failure()
        return Done(f"The booking is appointment {name_of(appointment)}." + _closed(closed))

    def _settle_shown(self, attempt: BookingAttempt, booking: Booking) -> Appointment | None:
        client, deadline = self.client(), Deadline.after(ACT_SECONDS)
        if attempt.state in OPEN_STATES:
            unknown_attempts.settle_shown(
                attempt, booking=booking, client=client, deadline=deadline, now=timezone.now()
            )
        else:
            settle.settle(attempt, booking=booking, client=client, deadline=deadline, answering=False)
        return Appointment.objects.filter(
            company=self.case.failure.company_id, calcom_booking_uid=booking.uid
        ).first()

    def _import(self) -> Appointment:
        match, service = self.case.remote.match, triage_rules.service_of(self.case)
        assert match is not None  # noqa: S101
        assert service is not None  # noqa: S101
        call = match.call or (match.attempt.call if match.attempt else None)
        try:
            return imports.import_booking(
                company=self.case.failure.company,
                service=service,
                booking=match.booking,
                former_uids=match.former_uids,
                now=timezone.now(),
                call=call,
                also=lambda _done: self.record("done"),
            )
        except IntegrityError:
            self._require_lone()
            raise NotLegal("The same person has the same thing booked under another uid.") from None

    def _require_lone(self) -> None:
        """Raises NotLegal if a delivery has brought the booking its appointment since it was looked at."""
        match = self.case.remote.match
        if match is None or match.kinship is Kinship.MIRRORED:
            return
        if known_uids.is_known(match.booking.uid, company_id=match.company.pk):
            raise NotLegal("The booking has got its appointment in this moment.")

    # --- link

    def link(self, appointment_id: int) -> Done:
        chosen = next((row for row in triage_rules.candidates(self.case) if row.pk == appointment_id), None)
        if chosen is None:
            raise NotLegal("The chosen appointment cannot be it any more.")
        try:
            row = self._link(chosen)
        except IntegrityError:
            self._require_lone()
            raise
        self.count("appointment")
        self.count("call", row.call_id is not None)
        closed = self.count_failure()
        return Done(f"Linked to appointment {name_of(row)}." + _closed(closed))

    def _link(self, chosen: Appointment) -> Appointment:
        """Raises IntegrityError if the booking is another appointment's."""
        now = timezone.now()
        match = self.case.remote.match
        with transaction.atomic():
            row = (
                Appointment.objects.select_for_update(of=("self",), no_key=True)
                .select_related("company", "service", "customer", "call")
                .get(pk=chosen.pk)
            )
            before = (chosen.status, chosen.calcom_booking_uid, chosen.call_id)
            if (row.status, row.calcom_booking_uid, row.call_id) != before:
                raise NotLegal("The chosen appointment has changed in this moment.")
            if triage_rules.is_about_a_lone_booking(self.case) and match is not None:
                follow.follow(row, booking=match.booking, former_uids=match.former_uids, now=now)
            else:
                if row.call_id is None:
                    Appointment.objects.filter(pk=row.pk).update(call=self.case.failure.call, updated_at=now)
                    row.call = self.case.failure.call
                mirror.link_call(row, now=now)
            self.close("Linked by a person.")
            self.record("done", appointment=row)
        return row

    # --- recreate, cancel

    def recreate(self) -> Done:
        appointment = self.case.failure.appointment
        assert appointment is not None  # noqa: S101 - preview has said so
        made = recreate.recreate(
            appointment, client=self.client(), deadline=Deadline.after(ACT_SECONDS), now=timezone.now()
        )
        self.count("appointment")
        if made.outcome is RecreateOutcome.BOOKED:
            self.count("call", made.appointment.call_id is not None)
            self.close_and_record("Made again at Cal.com by a person.", appointment=made.appointment)
            self.count_failure()
            return Done(f"Booked again as {made.appointment.calcom_booking_uid}. The failure is closed.")
        words = {
            RecreateOutcome.REFUSED: "Cal.com refuses it; nothing stands. The customer has to be called",
            RecreateOutcome.NOT_SENT: "Nothing was sent to Cal.com, and nothing stands there",
            RecreateOutcome.UNDONE: "Cal.com made something else of it, which was cancelled again",
            RecreateOutcome.UNKNOWN: "It is not known whether it was made: it is being looked for",
        }[made.outcome]
        self.record("unknown" if made.outcome is RecreateOutcome.UNKNOWN else "not_done", said=words)
        return Done(f"{words} ({mask_text(made.message)}).", is_success=False)

    def cancel(self, message: str) -> Done:
        booking = self.case.booking
        assert booking is not None  # noqa: S101 - preview has said so
        client, deadline = self.client(), Deadline.after(ACT_SECONDS)
        cancelled = _cancel(booking, message=message, client=client, deadline=deadline)
        if cancelled is None:
            said = (
                "Cal.com gave no clear answer, and still shows the booking, or cannot be asked. It may have "
                "been cancelled: open this failure again in a minute."
            )
            self.record("unknown", said=said)
            return Done(said, is_success=False)
        said = "The booking is cancelled at Cal.com."
        try:
            self._follow_cancelled(cancelled, client=client)
        except (unknown_attempts.InFlight, CalcomError):
            # The guest has an e-mail about it: whatever keeps our side from following it yet, it is done.
            said += " Our side could not be made equal to that yet, and follows by itself."
        closed = self.count_failure()
        return Done(said + _closed(closed))

    def _follow_cancelled(self, booking: Booking, *, client: CalcomClient) -> None:
        match = self.case.remote.match
        assert match is not None  # noqa: S101

        def close_and_record() -> None:
            self.close("Cancelled at Cal.com by a person.")
            self.record("done")

        if match.kinship in (Kinship.MIRRORED, Kinship.OF_ATTEMPT):
            fresh = converge.find_out(
                company=self.case.failure.company,
                booking=booking,
                client=client,
                deadline=Deadline.after(ACT_SECONDS),
            )
            self.make_equal(fresh, also=lambda _done: close_and_record())
            self.count("appointment", fresh.appointment is not None)
            return
        # It never had a row of ours, and needs none now.
        with transaction.atomic():
            failures.close_failures(
                company_id=self.case.failure.company_id,
                subjects=[failures.about_booking(booking.uid)],
                note="Cancelled at Cal.com by a person.",
            )
            close_and_record()

    # --- end

    def end(self) -> Done:
        shown = self.case.appointment
        assert shown is not None  # noqa: S101 - preview has said so
        now = timezone.now()
        with transaction.atomic():
            row = Appointment.objects.select_for_update(no_key=True).get(pk=shown.pk)
            as_shown = (row.status, row.calcom_booking_uid) == (shown.status, shown.calcom_booking_uid)
            if not as_shown or row.attempts.filter(state__in=OPEN_STATES).exists():
                raise NotLegal("The appointment has changed in this moment.")
            Appointment.objects.filter(pk=row.pk).update(status=Appointment.Status.CANCELLED, updated_at=now)
            self.close("Cal.com does not know the booking; the appointment was cancelled here by a person.")
            self.record("done", appointment=row)
        self.count("appointment")
        self.count_failure()
        return Done("The appointment is cancelled here. The failure is closed.")


def _cancel(booking: Booking, *, message: str, client: CalcomClient, deadline: Deadline) -> Booking | None:
    """The cancelled booking; None: whether it is, is not known. Raises CalcomError when it is not, NotLegal
    when it was moved before that.
    """
    try:
        return client.cancel_booking(booking.uid, reason=message, deadline=deadline)
    except CalcomRefused as error:
        if error.reason is not Refusal.ALREADY_CANCELLED:
            raise
    except OutcomeUnknown:
        pass
    try:
        after = client.get_booking(booking.uid, deadline=Deadline.after(LOOK_SECONDS))
    except CalcomError:
        return None
    if after.rescheduled_to_uid != booking.rescheduled_to_uid:
        raise NotLegal("It has been moved in this moment, and what it was moved to stands.")
    return None if after.is_active else after


# --- Shared


@contextmanager
def _change(
    verb: Verb,
    failure: SyncFailure,
    *,
    expected: str,
    user: AbstractBaseUser,
    reason: str,
    details: dict[str, Any] | None = None,
) -> Iterator[SyncFailure]:
    """A change of the row, decided by compare-and-swap, with its audit entry: one transaction."""
    with transaction.atomic():
        row = read_failure(failure.pk, lock=True)
        _require_version(row, expected)
        triage_rules.require_status(verb, row)
        AuditEntry.objects.create(
            company=row.company,
            user_id=user.pk,
            action=f"{PREFIX}{verb}",
            appointment=row.appointment,
            call=row.call,
            failure=row,
            calcom_booking_uid=both_sides.uid_of(row),
            reason=mask_text(reason),
            details=details or {},
        )
        yield row


def _require_version(row: SyncFailure, expected: str) -> None:
    if version_of(row) != expected:
        raise MovedOn(f"The failure has changed since you looked; it is {row.get_status_display()} now.")


def _closed(closed: bool) -> str:
    return " The failure is closed." if closed else " The failure stays open."
