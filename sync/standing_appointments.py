"""The appointments that calls without one may belong to, looked up for many calls at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from booking.idempotency import NEAR_DUPLICATE
from booking.models import LIVE_STATUSES, Appointment, FormerUid
from calls.models import Call
from customers.models import Company
from sync.links import NOT_BOOKED
from sync.long_lists import any_of
from sync.lost_calls import LostCall

Status = Appointment.Status


@dataclass(slots=True)
class Standing:
    """An appointment, and the call it belongs to as far as is known: the one it names, else one that points
    at it. Another call of the same customer may point at it too.
    """

    pk: int
    company_id: int
    customer_id: int | None
    service_id: int | None
    uid: str
    status: str
    starts_at: datetime
    owner_id: int | None

    def belongs_to(self, call: LostCall) -> bool:
        """Whether a call that names this appointment may be linked to it."""
        customer_id = call.customer.pk if call.customer else None
        if self.owner_id == call.pk:
            return True
        if self.owner_id is None:
            return self.customer_id is None or customer_id is None or self.customer_id == customer_id
        return customer_id is not None and customer_id == self.customer_id


def best_by_call(*, company: Company, first: int, last: int) -> dict[int, int]:
    """call → the appointment that names it, for the lost calls from id `first` to `last`: a live one before
    one that is over, then the latest.
    """
    rows = (
        Appointment.objects.filter(
            company=company,
            call__company=company,
            call__booking_confirmed=True,
            call__appointment=None,
            call_id__gte=first,
            call_id__lte=last,
        )
        .exclude(status__in=NOT_BOOKED)
        .order_by("pk")
        .values_list("call_id", "pk", "status")
    )
    best: dict[int, tuple[bool, int]] = {}
    for call_id, pk, status in rows:
        if call_id is not None:
            rank = (status in LIVE_STATUSES, pk)
            best[call_id] = max(best.get(call_id, rank), rank)
    return {call_id: pk for call_id, (_, pk) in best.items()}


class StandingAppointments:
    """All that the calls of one chunk may belong to."""

    def __init__(self) -> None:
        self._by_uid: dict[str, Standing] = {}
        self._by_number: dict[int, Standing] = {}
        self._by_customer: dict[int, list[Standing]] = defaultdict(list)

    def load_named(self, *, uids: Collection[str], numbers: Collection[int], company: Company) -> None:
        """Those with these uids, of whatever company (a uid is unique among all), and the company's own with
        these booking numbers.
        """
        for number, standing in _standing(
            Appointment.objects.filter(any_of(Appointment, "calcom_booking_uid", uids))
        ):
            self._by_uid[standing.uid] = standing
            if number is not None and standing.company_id == company.pk:
                self._by_number[number] = standing
        former = dict(
            FormerUid.objects.filter(any_of(FormerUid, "uid", uids)).values_list("uid", "appointment_id")
        )
        if former:
            rows = Appointment.objects.filter(any_of(Appointment, "id", set(former.values())))
            by_pk = {standing.pk: standing for _, standing in _standing(rows)}
            for uid, pk in former.items():
                if pk in by_pk:  # deleted in this moment, or in SQLite's own shell
                    self._by_uid.setdefault(uid, by_pk[pk])
        if numbers:
            rows = Appointment.objects.filter(
                any_of(Appointment, "calcom_booking_id", numbers), company=company
            )
            for number, standing in _standing(rows):
                if number is not None:
                    self._by_number[number] = self._by_uid.get(standing.uid, standing)

    def load_of_customers(self, calls: Iterable[LostCall], *, company: Company) -> None:
        """What these calls' customers have around the times in question."""
        wanted = [
            (call.customer.pk, call.details.starts_at)
            for call in calls
            if call.customer and call.details and call.details.starts_at
        ]
        if not wanted:
            return
        starts = [start for _, start in wanted]
        rows = Appointment.objects.filter(
            any_of(Appointment, "customer", {customer_id for customer_id, _ in wanted}),
            company=company,
            starts_at__gte=min(starts) - NEAR_DUPLICATE,
            starts_at__lte=max(starts) + NEAR_DUPLICATE,
        ).exclude(status__in=(*NOT_BOOKED, Status.CANCELLED))
        for _, standing in _standing(rows):
            if standing.customer_id is not None:
                self._by_customer[standing.customer_id].append(standing)

    def named(self, uid: str, number: int | None = None) -> Standing | None:
        found = self._by_uid.get(uid) if uid else None
        return found or (self._by_number.get(number) if number is not None else None)

    def at_that_time(self, call: LostCall) -> Standing | None:
        """The one appointment of the call's customer at its time which no other call lays claim to; None if
        there is none, or more than one.
        """
        details = call.details
        if call.customer is None or details is None or details.starts_at is None:
            return None
        candidates = [
            standing
            for standing in self._by_customer[call.customer.pk]
            if abs(standing.starts_at - details.starts_at) <= NEAR_DUPLICATE
            and standing.owner_id in (None, call.pk)
            # Where both name a booking, and not the same, they are two.
            and not (details.uid and standing.uid and details.uid != standing.uid)
            and (
                None in (details.service_id, standing.service_id) or details.service_id == standing.service_id
            )
        ]
        return candidates[0] if len(candidates) == 1 else None


def _standing(rows: QuerySet[Appointment]) -> list[tuple[int | None, Standing]]:
    found = [
        (
            row.calcom_booking_id,
            Standing(
                pk=row.pk,
                company_id=row.company_id,
                customer_id=row.customer_id,
                service_id=row.service_id,
                uid=row.calcom_booking_uid or "",
                status=row.status,
                starts_at=row.starts_at,
                owner_id=row.call_id,
            ),
        )
        for row in rows.defer("notes", "metadata")
    ]
    unowned = {standing.pk: standing for _, standing in found if standing.owner_id is None}
    if unowned:
        pointing = Call.objects.filter(any_of(Call, "appointment", unowned)).order_by("-pk")
        for appointment_id, call_id in pointing.values_list("appointment_id", "pk"):
            if appointment_id is not None:
                unowned[appointment_id].owner_id = call_id
    return found
