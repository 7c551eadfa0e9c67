"""The invariants, checked from outside: Cal.com's bookings against the local tables.

The tests ask it after every scenario and the demo at its end. It only reads, knows nothing of how a booking
is made, and says in one line each what must not be: so it finds what the code that makes bookings believes to
be right.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from booking import failures, idempotency, mirror
from booking.calcom.objects import Booking
from booking.models import (
    LIVE_STATUSES,
    OPEN_STATES,
    OPEN_STATUSES,
    Appointment,
    BookingAttempt,
    FormerUid,
    Service,
    SyncFailure,
)
from calls.models import FunctionCall
from customers.models import Company
from sync.audit import Finding, audit

NOES = ("slot_taken", "too_soon", "unavailable", "not_found", "not_allowed")
YESES = ("booked", "already_booked", "requested", "rescheduled", "cancelled")


@dataclass(frozen=True)
class Breach:
    invariant: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


def breaches(*, company: Company, bookings: Iterable[Booking], now: datetime | None = None) -> list[Breach]:
    """What is broken between this company's rows and all its bookings at Cal.com, in every status."""
    return list(_World(company, list(bookings), now or timezone.now()).breaches())


class _World:
    def __init__(self, company: Company, bookings: list[Booking], now: datetime) -> None:
        self.company = company
        self.now = now
        self.bookings = {booking.uid: booking for booking in bookings}
        self.attempts = {
            str(attempt.uuid): attempt for attempt in BookingAttempt.objects.filter(company=company)
        }
        self.appointments = list(
            Appointment.objects.filter(company=company).select_related("call", "customer", "service")
        )
        self.by_uid = {a.calcom_booking_uid: a for a in self.appointments if a.calcom_booking_uid}
        self.former: dict[int, set[str]] = defaultdict(set)
        for former in FormerUid.objects.filter(appointment__company=company):
            self.former[former.appointment_id].add(former.uid)
        self.failures = list(SyncFailure.objects.filter(company=company, status__in=OPEN_STATUSES))
        self.named = {failure.subject for failure in self.failures} | {
            failures.about_booking(failure.calcom_booking_id)
            for failure in self.failures
            if failure.calcom_booking_id
        }
        services = Service.objects.filter(company=company)
        self.event_types = dict(services.values_list("slug", "calcom_event_type_id"))
        self.named_appointments = {failure.appointment_id for failure in self.failures}

    def breaches(self) -> Iterator[Breach]:
        yield from self._one_booking_per_intention()
        yield from self._every_booking_of_ours_is_stored()
        yield from self._every_live_appointment_is_at_calcom()
        yield from self._no_false_yes()
        yield from self._no_false_no()
        yield from self._no_failure_without_gap()
        yield from self._keys_are_right()
        for finding in audit(company=self.company, now=self.now):
            if not self._is_reported(finding):
                yield Breach("audit", f"{finding.check}: {finding.table} {finding.ids}")

    def _one_booking_per_intention(self) -> Iterator[Breach]:
        active = defaultdict(list)
        for booking in self.bookings.values():
            attempt = self.attempts.get(booking.metadata.get("attempt_id", ""))
            if attempt is not None and booking.is_active:
                # What was moved since is the appointment of another time, and has its key.
                stored = self.by_uid.get(booking.uid)
                key = (stored and stored.idempotency_key) or attempt.idempotency_key
                active[key].append(booking.uid)
        for key, uids in active.items():
            if len(uids) > 1 and not any(self._is_named(failures.about_booking(uid)) for uid in uids):
                yield Breach("one or nothing", f"{len(uids)} active bookings for key {key}: {uids}")

    def _every_booking_of_ours_is_stored(self) -> Iterator[Breach]:
        for booking in self.bookings.values():
            attempt_id = booking.metadata.get("attempt_id")
            if not booking.is_active or attempt_id is None or self._is_named_booking(booking):
                continue
            attempt = self.attempts.get(attempt_id)
            if attempt is None:
                if booking.metadata.get("company") == self.company.slug and booking.uid not in self.by_uid:
                    yield Breach("detected in time", f"booking {booking.uid} names an unknown attempt")
                continue
            appointment = self.by_uid.get(booking.uid)
            if appointment is None or not appointment.is_live:
                if attempt.state not in OPEN_STATES:
                    yield Breach("one or nothing", f"booking {booking.uid} has no live appointment")
            elif (appointment.starts_at, appointment.ends_at) != (booking.start, booking.end):
                yield Breach("time", f"appointment {appointment.pk} is at another time than {booking.uid}")

    def _every_live_appointment_is_at_calcom(self) -> Iterator[Breach]:
        for appointment in self.appointments:
            if not appointment.is_live or appointment.status == Appointment.Status.PENDING:
                continue
            if appointment.pk in self.named_appointments:
                continue
            booking = self.bookings.get(appointment.calcom_booking_uid or "")
            if booking is None or not booking.is_active:
                yield Breach("one or nothing", f"live appointment {appointment.pk} has no active booking")
            elif mirror.STATUS.get(booking.status) != appointment.status and not (
                booking.status == "accepted" and appointment.status == Appointment.Status.CONFIRMED
            ):
                yield Breach("status", f"appointment {appointment.pk} is {appointment.status}")

    def _no_false_yes(self) -> Iterator[Breach]:
        ids = {appointment.pk: appointment for appointment in self.appointments}
        for said in self._answers(YESES):
            promised = said.answer.get("appointment")
            if promised is None and said.code == "already_booked":
                continue  # said to somebody who was not identified, so nothing was shown
            promised = promised or {}
            uid = promised.get("calcom_booking_uid")
            # A row that was lost and rebuilt has another number.
            appointment = ids.get(promised.get("id", 0)) or self.by_uid.get(uid or "")
            if (
                appointment is not None
                and uid not in self.bookings
                and uid in self.former.get(appointment.pk, ())
            ):
                continue  # its booking vanished since, and a person had it made again
            if appointment is None or uid not in self.bookings:
                yield Breach("no false yes", f"function call {said.pk} said {said.code} of nothing")
            elif said.code == "cancelled" and self._stands(uid):
                yield Breach("no false yes", f"function call {said.pk} said cancelled, and {uid} stands")
            elif parse_datetime(promised["start"]) != self.bookings[uid].start:
                yield Breach("time", f"function call {said.pk} said another time than booking {uid}")

    def _stands(self, uid: str) -> bool:
        """Cancelled, and confirmed again by the host since, is another matter."""
        appointment = self.by_uid.get(uid)
        return self.bookings[uid].is_active and (appointment is None or not appointment.is_live)

    def _no_false_no(self) -> Iterator[Breach]:
        mine = {
            (booking.metadata.get("call_id"), booking.start): booking
            for booking in self.bookings.values()
            if booking.is_active and booking.metadata.get("attempt_id") in self.attempts
        }
        said_yes = {
            (said.answer.get("appointment") or {}).get("calcom_booking_uid") for said in self._answers(YESES)
        }
        for said in self._answers(NOES):
            wanted = parse_datetime(str(said.arguments.get("start", "")))
            if wanted is None or wanted.tzinfo is None or said.call is None:
                continue
            booking = mine.get((said.call.retell_call_id, wanted))
            if booking is not None and booking.uid in said_yes:
                continue  # found out later, and said
            named = self.event_types.get(str(said.arguments.get("service", "")))
            if booking is not None and named not in (None, booking.event_type_id):
                continue  # another service of theirs is at that time
            if booking is not None and not self._is_named_booking(booking):
                yield Breach("no false no", f"function call {said.pk} said {said.code} of {booking.uid}")

    def _no_failure_without_gap(self) -> Iterator[Breach]:
        for failure in self.failures:
            if failure.failure_type != SyncFailure.Type.ORPHANED_CALCOM:
                continue
            appointment = self.by_uid.get(failure.calcom_booking_id)
            booking = self.bookings.get(failure.calcom_booking_id)
            stored = appointment is not None and appointment.is_live and booking and booking.is_active
            if stored or (booking is not None and not booking.is_active):
                yield Breach("failure hygiene", f"failure {failure.pk} is open and its gap is gone")

    def _keys_are_right(self) -> Iterator[Breach]:
        for appointment in self.appointments:
            if appointment.status not in LIVE_STATUSES or not appointment.idempotency_key:
                continue
            if appointment.customer_id is None or appointment.service_id is None:
                continue
            key = idempotency.booking_key(
                customer_id=appointment.customer_id,
                service_id=appointment.service_id,
                starts_at=appointment.starts_at,
                source=appointment.source,
            )
            if key != appointment.idempotency_key:
                yield Breach("key", f"appointment {appointment.pk} has the key of something else")

    def _answers(self, codes: tuple[str, ...]) -> Iterable[FunctionCall]:
        return FunctionCall.objects.filter(company=self.company, code__in=codes).select_related("call")

    def _is_reported(self, finding: Finding) -> bool:
        """A gap that could not be closed has a ticket."""
        if finding.check == "attempt_unknown_for_too_long":
            return self._all_named(finding.ids)
        if finding.check == "live_appointment_without_uid":
            return self.named_appointments.issuperset(finding.ids)
        return False

    def _is_named(self, subject: str) -> bool:
        return subject in self.named

    def _is_named_booking(self, booking: Booking) -> bool:
        attempt = self.attempts.get(booking.metadata.get("attempt_id", ""))
        return self._is_named(failures.about_booking(booking.uid)) or (
            attempt is not None and self._is_named(failures.about_key(attempt.idempotency_key))
        )

    def _all_named(self, attempt_ids: Iterable[int]) -> bool:
        wanted = set(attempt_ids)
        return all(
            self._is_named(failures.about_key(attempt.idempotency_key))
            or self._is_named(failures.about_booking(attempt.target_uid))
            for attempt in self.attempts.values()
            if attempt.pk in wanted
        )
