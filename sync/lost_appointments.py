"""What becomes of a call whose appointment is lost: decided from what Cal.com shows, written by nobody here.

The booking decides. Its times, status and uid are taken, never those of the call's own notes, and it must be
this call's: it carries the call's id, or the call names it and nothing speaks for somebody else. What is not
active at Cal.com is never brought back.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from booking import follow, idempotency, imports
from booking.calcom.errors import CalcomError
from booking.calcom.objects import Attendee
from booking.models import LIVE_STATUSES, Appointment, BookingAttempt, Service
from calls import call_record
from calls.models import Call
from customers import phone_numbers
from customers.branches import only_branch
from customers.identify import anonymous_customer, customer_by_phone
from customers.masking import mask_text
from customers.models import Branch, Company
from customers.names import same_person
from customers.placeholders import clean_text
from sync.backfill_rows import NewAppointment
from sync.long_lists import any_of, read_by_index
from sync.lost_calls import KnownCustomer, LostCall
from sync.remote_bookings import Found, RemoteBookings
from sync.standing_appointments import Standing, StandingAppointments

# As we write them.
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


class Reason(StrEnum):
    """Why a call was left as it is, beside what its details lack (`booking_details.Problem`)."""

    NOT_AT_CALCOM = "not_at_calcom"
    CANCELLED_AT_CALCOM = "cancelled_at_calcom"
    # No uid is known, and no booking of that day is this call's.
    NOT_IDENTIFIABLE = "booking_not_identifiable"
    SEVERAL = "several_bookings_of_this_call"
    OF_ANOTHER_CALL = "booking_belongs_to_another_call"
    OF_ANOTHER_CUSTOMER = "booking_belongs_to_another_customer"
    OF_ANOTHER_COMPANY = "booking_belongs_to_another_company"
    NO_SERVICE = "missing_service"  # its event type is none of the company's services
    NO_CUSTOMER = "missing_customer"
    NO_BRANCH = "missing_branch"
    DUPLICATE = "duplicate_booking"  # the same customer has the same service at the same time already
    UNREADABLE_BOOKING = "unreadable_booking"
    LEFT_TO_RECONCILE = "left_to_reconcile"  # an attempt of ours made it, and is not settled


@dataclass(frozen=True, slots=True)
class Skip:
    call: LostCall
    reason: str


@dataclass(frozen=True, slots=True)
class CouldNotAsk:
    call: LostCall
    reason: str


@dataclass(frozen=True, slots=True)
class Link:
    call: LostCall
    appointment_id: int


@dataclass(frozen=True, slots=True)
class LinkToNew:
    """To the appointment that another call of the same chunk is given."""

    call: LostCall
    first_call_id: int


@dataclass(slots=True)
class Create:
    call: LostCall
    row: NewAppointment


Decision = Skip | CouldNotAsk | Link | LinkToNew | Create


@dataclass(slots=True)
class _Case:
    call: LostCall
    found: Found
    is_owner: bool


class LostAppointments:
    """Decides for one company. It remembers its services, its branches and what it has decided to create."""

    def __init__(self, *, company: Company, now: datetime, dry_run: bool) -> None:
        self.company = company
        self.now = now
        self.dry_run = dry_run
        self._services: dict[int | None, Service | None] = {}
        self._branches = set(Branch.objects.filter(company=company).values_list("pk", flat=True))
        self._only_branch = only_branch(company)
        # uid → call, customer and key of what was decided to be created in this run.
        self._made: dict[str, tuple[int, int, str]] = {}
        self._keys: set[str] = set()

    def decide(self, calls: Sequence[LostCall], remote: RemoteBookings) -> list[Decision]:
        """In the order in which they are to be carried out. Asks `remote` about those it has not seen."""
        decisions: list[Decision] = []
        cases: list[_Case] = []
        for call in calls:
            found = self._look_up(call, remote)
            if isinstance(found, Found):
                is_owner = found.booking.metadata.get("call_id") == call.retell_call_id
                cases.append(_Case(call, found, is_owner))
            else:
                decisions.append(found)
        # Whom the booking names comes first, then the first call.
        cases.sort(key=lambda case: (not case.is_owner, case.call.at, case.call.pk))
        with read_by_index():
            facts = _Facts(cases, company=self.company)
        decisions += [self._decide(case, facts) for case in cases]
        return decisions

    def forget(self, call_ids: Iterable[int]) -> None:
        """What was to be created for these calls was not."""
        gone = set(call_ids)
        if not gone:
            return
        for uid, (call_id, _, key) in list(self._made.items()):
            if call_id in gone:
                del self._made[uid]
                self._keys.discard(key)

    # --- Which booking is meant

    def _look_up(self, call: LostCall, remote: RemoteBookings) -> Found | Skip | CouldNotAsk:
        if call.details is None:
            return Skip(call, str(call.problem))
        try:
            if call.details.uid:
                return remote.get(call.details.uid) or Skip(call, Reason.NOT_AT_CALCOM)
            return self._by_day(call, remote)
        except CalcomError as error:
            return CouldNotAsk(call, mask_text(error.message)[:200])

    def _by_day(self, call: LostCall, remote: RemoteBookings) -> Found | Skip | CouldNotAsk:
        """Without a uid: what was booked around that time and carries this call's id, or the number it
        names. Raises CalcomError.
        """
        details = call.details
        if details is None or details.starts_at is None:
            return Skip(call, Reason.NOT_IDENTIFIABLE)
        if not remote.was_read_through(details.starts_at):
            return CouldNotAsk(call, "The bookings of that day could not be listed.")
        shown = remote.of_call(call.retell_call_id, number=details.number)
        ends = {found.booking.uid: found for each in shown if (found := remote.get(each.uid)) is not None}
        active = [found for found in ends.values() if found.booking.is_active]
        if len(active) > 1:
            then = [
                f for f in active if abs(f.booking.start - details.starts_at) <= idempotency.NEAR_DUPLICATE
            ]
            active = then if len(then) == 1 else active
        if len(active) == 1:
            return active[0]
        if active:
            return Skip(call, Reason.SEVERAL)
        return Skip(call, Reason.CANCELLED_AT_CALCOM if ends else Reason.NOT_IDENTIFIABLE)

    # --- Whose it is, and what follows

    def _decide(self, case: _Case, facts: _Facts) -> Decision:
        call, booking = case.call, case.found.booking
        if booking.metadata.get("company", self.company.slug) != self.company.slug:
            return Skip(call, Reason.OF_ANOTHER_COMPANY)
        standing = facts.standing_for(case.found)
        if standing is not None:
            if standing.company_id != self.company.pk:
                return Skip(call, Reason.OF_ANOTHER_COMPANY)
            if not (case.is_owner or standing.belongs_to(call)):
                return Skip(call, _whose(standing.owner_id))
            if not booking.is_active and standing.status in LIVE_STATUSES:
                return Skip(call, Reason.LEFT_TO_RECONCILE)
            standing.owner_id = standing.owner_id or call.pk
            return Link(call, standing.pk)
        if not booking.is_active:
            return Skip(call, Reason.CANCELLED_AT_CALCOM)
        if booking.metadata.get("attempt_id") in facts.attempts:
            return Skip(call, Reason.LEFT_TO_RECONCILE)
        made = self._made.get(booking.uid)
        if made is not None:
            first_call_id, customer_id, _ = made
            if call.customer is None or call.customer.pk != customer_id:
                return Skip(call, Reason.OF_ANOTHER_CALL)
            return LinkToNew(call, first_call_id)
        if booking.metadata.get("call_id") and not case.is_owner:
            return Skip(call, Reason.OF_ANOTHER_CALL)
        return self._create(case, facts)

    def _create(self, case: _Case, facts: _Facts) -> Decision:
        call, booking = case.call, case.found.booking
        attendee = booking.attendees[0] if booking.attendees else Attendee(name="", email="", phone="")
        service = self._service(booking.event_type_id)
        if service is None:
            return Skip(call, Reason.NO_SERVICE)
        if booking.end <= booking.start:
            return Skip(call, Reason.UNREADABLE_BOOKING)
        if not case.is_owner and _is_somebody_elses(attendee, call):
            return Skip(call, Reason.OF_ANOTHER_CUSTOMER)
        branch_id = self._branch(call, service)
        if branch_id is None:
            return Skip(call, Reason.NO_BRANCH)
        customer = call.customer or self._customer(call, attendee)
        if customer is None:
            return Skip(call, Reason.NO_CUSTOMER)
        service_id, customer_id = service.pk, customer.pk
        key = idempotency.booking_key(
            customer_id=customer_id,
            service_id=service_id,
            starts_at=booking.start,
            source=Appointment.Source.BACKFILL,
        )
        status = follow.status_of(booking, current=Appointment.Status.SCHEDULED, now=self.now)
        if status in LIVE_STATUSES:
            if key in self._keys or facts.has_live(customer, service_id, booking.start):
                return Skip(call, Reason.DUPLICATE)
            self._keys.add(key)
        self._made[booking.uid] = (call.pk, customer_id, key)
        details = call.details
        return Create(
            call,
            NewAppointment(
                call_id=call.pk,
                branch_id=branch_id,
                customer_id=customer_id,
                service_id=service_id,
                starts_at=booking.start,
                ends_at=booking.end,
                status=status,
                uid=booking.uid,
                number=booking.id,
                idempotency_key=key,
                attendee_name=clean_text(attendee.name or (details.name if details else ""), limit=200),
                attendee_email=clean_text(attendee.email, limit=254),
                calcom_updated_at=booking.updated_at or booking.created_at,
                metadata=dict(booking.metadata),
                former_uids=case.found.former_uids,
            ),
        )

    def _service(self, event_type_id: int | None) -> Service | None:
        if event_type_id not in self._services:
            self._services[event_type_id] = imports.service_for(self.company, event_type_id)
        return self._services[event_type_id]

    def _branch(self, call: LostCall, service: Service) -> int | None:
        for branch_id in (service.branch_id, call.branch_id):
            if branch_id in self._branches:
                return branch_id
        if self._only_branch is not None:
            return self._only_branch.pk
        branch = call_record.branch_of(Call.objects.get(pk=call.pk), self.company)
        return branch.pk if branch else None

    def _customer(self, call: LostCall, attendee: Attendee) -> KnownCustomer | None:
        """Whoever called, made if new; of one call only, if the number was withheld. None if nothing is known
        of them.
        """
        row = Call.objects.get(pk=call.pk)
        details = call.details
        name = (details.name if details else "") or clean_text(attendee.name, limit=200)
        email = (details.email if details else "") or clean_text(attendee.email, limit=254).lower()
        region = phone_numbers.region_of(call_record.our_number(row) or "") or self.company.region
        said = details.phone if details else ""
        phone = (
            phone_numbers.normalise(said, region=region)
            or call_record.callers_number(row, region=region)
            or phone_numbers.normalise(attendee.phone, region=None)
        )
        if not phone and not name:
            return None
        if self.dry_run:
            return KnownCustomer(0, name, phone or "")
        if phone:
            customer = customer_by_phone(company=self.company, phone=phone, name=name, email=email)
        else:
            customer = anonymous_customer(
                company=self.company, call_id=row.retell_call_id, name=name, email=email
            )
        return KnownCustomer(customer.pk, customer.name, customer.phone or "")


class _Facts:
    """What our own tables know of the bookings in question, read once for all of them."""

    def __init__(self, cases: Sequence[_Case], *, company: Company) -> None:
        uids = {uid for case in cases for uid in (case.found.booking.uid, *case.found.former_uids)}
        self._standing = StandingAppointments()
        self._standing.load_named(uids=uids, numbers=(), company=company)
        named = {case.found.booking.metadata.get("attempt_id", "") for case in cases}
        uuids = [id_ for id_ in named if _UUID(id_)]
        known = BookingAttempt.objects.filter(any_of(BookingAttempt, "uuid", uuids), company=company)
        self.attempts = {str(uuid) for uuid in known.values_list("uuid", flat=True)}
        self._live: dict[tuple[int, int], set[datetime]] = defaultdict(set)
        self._customers = {case.call.customer.pk for case in cases if case.call.customer}
        if cases:
            starts = [case.found.booking.start for case in cases]
            live = Appointment.objects.filter(
                any_of(Appointment, "customer", self._customers),
                company=company,
                status__in=LIVE_STATUSES,
                starts_at__gte=min(starts),
                starts_at__lte=max(starts),
                service__isnull=False,
            )
            for customer_id, service_id, start in live.values_list("customer", "service", "starts_at"):
                self._live[customer_id, service_id].add(start)

    def standing_for(self, found: Found) -> Standing | None:
        for uid in (found.booking.uid, *found.former_uids):
            standing = self._standing.named(uid)
            if standing is not None:
                return standing
        return None

    def has_live(self, customer: KnownCustomer, service_id: int, start: datetime) -> bool:
        if customer.pk in self._customers:
            return start in self._live.get((customer.pk, service_id), ())
        live = Appointment.objects.filter(customer=customer.pk, service=service_id, starts_at=start)
        return live.filter(status__in=LIVE_STATUSES).exists()


def _whose(owner_id: int | None) -> Reason:
    return Reason.OF_ANOTHER_CUSTOMER if owner_id is None else Reason.OF_ANOTHER_CALL


def _is_somebody_elses(attendee: Attendee, call: LostCall) -> bool:
    """Whether who booked is not who called: the number decides, else the name. Who shares a number or a name
    is let pass, and so is a booking that has neither.
    """
    customer, details = call.customer, call.details
    if customer is not None and attendee.phone == customer.phone:
        return False
    theirs = phone_numbers.normalise(attendee.phone, region=None)
    ours = {customer.phone if customer else "", details.phone if details else ""} - {""}
    if theirs:
        region = phone_numbers.region_of(theirs)
        if theirs in {phone_numbers.normalise(number, region=region) for number in ours}:
            return False
    names = [name for name in (customer.name if customer else "", details.name if details else "") if name]
    if any(same_person(attendee.name, name) for name in names):
        return False
    return bool(names) or bool(theirs and ours)
