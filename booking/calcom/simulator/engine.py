"""The booking core: what create, move, cancel, confirm, decline and mark-absent do, and in which order.

The order is Cal.com's and is what the tests of the product are about: a create looks whether the slot is
free, thinks, then writes; parallel requests meet only at the unique key of the slot. Webhooks are sent and
awaited before the answer; BOOKING_CANCELLED even before the new status is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from booking.calcom.simulator import webhook_payloads
from booking.calcom.simulator.clock import millisecond_text
from booking.calcom.simulator.errors import (
    BOOKER_LIMIT,
    HOST_NOT_AVAILABLE,
    IN_THE_PAST,
    LOST_THE_RACE,
    NO_LENGTHS,
    NO_PHONE,
    OUT_OF_BOUNDS,
    TEAM_NOT_AVAILABLE,
    core_error,
    refused,
    trpc_error,
    zod_error,
)
from booking.calcom.simulator.slots import (
    bookable_from,
    bookable_until,
    free_hosts,
    seated_booking,
)
from booking.calcom.simulator.state import (
    ACCEPTED,
    CANCELLED,
    PENDING,
    REJECTED,
    ROUND_ROBIN,
    Attendee,
    Booking,
    EventType,
    Host,
    State,
)
from booking.calcom.simulator.validation import check_metadata_is_text, is_email, is_phone_number
from booking.calcom.simulator.webhooks import WebhookSender

SYNTHETIC_DOMAIN = "sms.cal.com"


@dataclass
class Moments:
    """Where a fault may step in. `on_commit` runs under the lock, so nobody sees the record before it did."""

    before_commit: Callable[[], None] = lambda: None
    on_commit: Callable[[Booking], None] = lambda _booking: None
    after_commit: Callable[[Booking], None] = lambda _booking: None
    announces: bool = True


UNDISTURBED = Moments()


@dataclass
class Person:
    """The attendee a create asks for."""

    name: str
    time_zone: str
    email: str | None = None
    phone: str | None = None
    language: str = "en"


@dataclass
class Wish:
    """What a create asks for."""

    event_type: EventType
    start: datetime
    person: Person
    metadata: dict[str, Any] = field(default_factory=dict)
    length: int | None = None
    guests: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)


@dataclass
class Made:
    """What a create or a move answers with; `seat_uid` where a seat was sold."""

    booking: Booking
    seat_uid: str | None = None


@dataclass
class _Plan:
    """The decision of a create or a move, taken before the writing."""

    event_type: EventType
    host: Host
    start: datetime
    end: datetime
    status: str
    attendee: Attendee
    metadata: dict[str, Any]
    responses: dict[str, Any]
    guests: list[str]
    original: Booking | None = None
    reason: str | None = None


class Engine:
    def __init__(self, state: State, webhooks: WebhookSender) -> None:
        self.state = state
        self.webhooks = webhooks

    # --- create

    def create(self, wish: Wish, moments: Moments = UNDISTURBED) -> Made:
        """Book. Raises Refusal; may hand back an older booking, as Cal.com does."""
        state, event_type = self.state, wish.event_type
        self._check_wish(wish)
        with state.lock:
            minutes = wish.length or event_type.minutes
            end = wish.start + timedelta(minutes=minutes)
            self._check_bounds(event_type, wish.start)
            attendee = self._attendee(wish)
            self._check_booker_limit(event_type, attendee)
            seated = seated_booking(state, event_type, wish.start)
            if seated is None:
                older = self._older_booking(event_type, wish.start, attendee)
                if older is not None:
                    return Made(older)
                host = self._free_host(event_type, wish.start, end)
                plan = _Plan(
                    event_type=event_type,
                    host=host,
                    start=wish.start,
                    end=end,
                    status=PENDING if event_type.needs_confirmation else ACCEPTED,
                    attendee=attendee,
                    metadata=dict(wish.metadata),
                    responses=attendee.responses,
                    guests=list(wish.guests),
                )
        if seated is not None:
            return self._take_seat(seated, attendee, moments)
        self._think(moments)
        with state.lock:
            booking = self._write(plan)
            moments.on_commit(booking)
        moments.after_commit(booking)
        if moments.announces:
            self._announce_new(booking)
        return Made(booking, seat_uid=attendee.seat_uid)

    def _think(self, moments: Moments) -> None:
        moments.before_commit()
        if self.state.thinking_seconds:
            time.sleep(self.state.thinking_seconds)

    def _check_wish(self, wish: Wish) -> None:
        event_type, person = wish.event_type, wish.person
        if wish.length is not None and not event_type.lengths:
            raise refused(NO_LENGTHS)
        if wish.length is not None and wish.length not in event_type.lengths:
            choices = ", ".join(str(length) for length in event_type.lengths)
            raise refused(
                f"Provided 'lengthInMinutes' is not one of the possible lengths for the event type. The "
                f"possible lengths are: {choices}"
            )
        if event_type.phone_required and not person.phone:
            raise refused(NO_PHONE)
        check_metadata_is_text(wish.metadata)
        complaints = ""
        email = None if event_type.email_hidden and person.phone else person.email
        if not email and event_type.email_required:
            complaints += "{email}error_required_field, "
        elif email and not is_email(email):
            complaints += "{email}email_validation_error, "
        if person.phone and not is_phone_number(person.phone):
            complaints += "{attendeePhoneNumber}invalid_number, "
        if complaints:
            raise zod_error(f"responses - {complaints}")

    def _check_bounds(self, event_type: EventType, start: datetime) -> None:
        if start < self.state.clock.now():
            raise refused(IN_THE_PAST)
        latest = bookable_until(self.state, event_type)
        if start < bookable_from(self.state, event_type) or (latest is not None and start > latest):
            raise refused(OUT_OF_BOUNDS)

    def _check_booker_limit(self, event_type: EventType, attendee: Attendee) -> None:
        if event_type.booker_limit is None:
            return
        now = self.state.clock.now()
        mine = [
            booking
            for booking in event_type.account.bookings.values()
            if booking.event_type is event_type
            and booking.status == ACCEPTED
            and booking.start > now
            and any(other.email == attendee.email for other in booking.attendees)
        ]
        if len(mine) >= event_type.booker_limit:
            raise refused(BOOKER_LIMIT)

    def _attendee(self, wish: Wish) -> Attendee:
        person, event_type = wish.person, wish.event_type
        email = person.email or ""
        if person.phone and (not email or event_type.email_hidden):
            email = f"{person.phone.lstrip('+')}@{SYNTHETIC_DOMAIN}"
        responses: dict[str, Any] = {"email": email}
        if person.phone:
            responses["attendeePhoneNumber"] = person.phone
        responses.update({"name": person.name, **wish.answers, "displayEmail": email})
        return Attendee(
            id=self.state.next_id(),
            name=person.name,
            email=email,
            time_zone=person.time_zone,
            language=person.language,
            phone=person.phone,
            seat_uid=self.state.new_uuid() if event_type.seats is not None else None,
            metadata=dict(wish.metadata) if event_type.seats is not None else {},
            responses=responses,
        )

    def _older_booking(self, event_type: EventType, start: datetime, attendee: Attendee) -> Booking | None:
        """The booking Cal.com hands back instead of making a new one.

        For round robin, and for what needs confirmation: same event type, same start, an attendee of the same
        e-mail address (case counts) and, if a phone was given, the same phone.
        """
        if event_type.scheduling != ROUND_ROBIN and not event_type.needs_confirmation:
            return None
        wanted = PENDING if event_type.needs_confirmation else ACCEPTED
        for booking in self.state.same_start(event_type, start):
            if booking.status == wanted and any(
                other.email == attendee.email and (attendee.phone is None or other.phone == attendee.phone)
                for other in booking.attendees
            ):
                return booking
        return None

    def _free_host(
        self,
        event_type: EventType,
        start: datetime,
        end: datetime,
        *,
        ignoring: Booking | None = None,
    ) -> Host:
        hosts = free_hosts(self.state, event_type, start, end, ignoring=ignoring)
        if hosts:
            return hosts[0]
        # a move of a team booking is told the sentence of a single host
        of_team = event_type.is_team and ignoring is None
        raise refused(TEAM_NOT_AVAILABLE if of_team else HOST_NOT_AVAILABLE)

    def _take_seat(self, booking: Booking, attendee: Attendee, moments: Moments) -> Made:
        self._think(moments)
        with self.state.lock:
            if any(other.email == attendee.email for other in booking.attendees):
                raise core_error("already_signed_up_for_this_booking_error", 409)
            if len(booking.attendees) >= (booking.event_type.seats or 0):
                raise refused("No more seats left at this seated booking.", 409)
            booking.attendees.append(attendee)
            self.state.touch(booking)
            moments.on_commit(booking)
        moments.after_commit(booking)
        if moments.announces:
            self.webhooks.announce(
                "BOOKING_CREATED", booking, lambda: webhook_payloads.created(booking, attendee)
            )
        return Made(booking, seat_uid=attendee.seat_uid)

    def _write(self, plan: _Plan) -> Booking:
        state, event_type, original = self.state, plan.event_type, plan.original
        if plan.status == ACCEPTED:
            holder = state.slot_holder(plan.host, plan.start, plan.end)
            if holder is not None and holder is not original:
                raise core_error(LOST_THE_RACE)
        now, uid = state.clock.now(), state.new_uid()
        booking = Booking(
            id=state.next_booking_id(),
            uid=uid,
            account=event_type.account,
            event_type=event_type,
            host=plan.host,
            status=plan.status,
            start=plan.start,
            end=plan.end,
            title=f"{event_type.title} between {plan.host.name} and {plan.attendee.name}",
            attendees=[plan.attendee],
            metadata=plan.metadata,
            responses=plan.responses,
            created_at=now,
            updated_at=now,
            ics_uid=original.ics_uid if original else f"{uid}@Cal.com",
            ics_sequence=original.ics_sequence + 1 if original else 0,
            location=event_type.location,
            guests=plan.guests,
            rescheduling_reason=plan.reason,
            rescheduled_from_uid=original.uid if original else None,
        )
        if original is not None:
            state.change_status(original, CANCELLED)
            original.rescheduled_to_uid = uid
            state.touch(original)
        state.store(booking)
        return booking

    def _announce_new(self, booking: Booking) -> None:
        attendee = booking.attendee
        if booking.event_type.price > 0:
            self.webhooks.announce(
                "BOOKING_PAYMENT_INITIATED",
                booking,
                lambda: webhook_payloads.payment_initiated(booking, attendee),
            )
        elif booking.status == PENDING:
            self.webhooks.announce("BOOKING_REQUESTED", booking, lambda: webhook_payloads.requested(booking))
        else:
            self.webhooks.announce(
                "BOOKING_CREATED", booking, lambda: webhook_payloads.created(booking, attendee)
            )

    # --- move

    def reschedule(
        self,
        booking: Booking,
        start: datetime,
        *,
        by_owner: bool,
        reason: str | None = None,
        rescheduled_by: str | None = None,
        moments: Moments = UNDISTURBED,
    ) -> Made:
        """Move: always a new booking with a new uid. `by_owner`: with the account's key. Raises Refusal."""
        state, event_type = self.state, booking.event_type
        with state.lock:
            self._check_movable(booking)
            if start < state.clock.now():
                raise refused(IN_THE_PAST)
            end = start + (booking.end - booking.start)
            attendee = booking.attendee
            waits = event_type.needs_confirmation and not by_owner
            if event_type.scheduling == ROUND_ROBIN or waits:
                older = self._older_booking(event_type, start, attendee)
                if older is not None and older is not booking:
                    return Made(older)
            host = self._free_host(event_type, start, end, ignoring=booking)
            responses = {key: value for key, value in booking.responses.items() if key != "rescheduledReason"}
            if reason:
                display = responses.pop("displayEmail", attendee.email)
                responses.update({"rescheduledReason": reason, "displayEmail": display})
            plan = _Plan(
                event_type=event_type,
                host=host,
                start=start,
                end=end,
                status=PENDING if waits else ACCEPTED,
                attendee=attendee,
                metadata=dict(booking.metadata),
                responses=responses,
                guests=list(booking.guests),
                original=booking,
                reason=reason,
            )
        self._think(moments)
        with state.lock:
            moved = self._write(plan)
            moved.attendees = [replace(each) for each in booking.attendees]
            booking.rescheduled_by = rescheduled_by
            moments.on_commit(moved)
        moments.after_commit(moved)
        if moments.announces:
            if waits:
                self.webhooks.announce("BOOKING_REQUESTED", moved, lambda: webhook_payloads.requested(moved))
            else:
                self.webhooks.announce(
                    "BOOKING_RESCHEDULED", moved, lambda: webhook_payloads.rescheduled(moved, booking)
                )
        return Made(moved, seat_uid=attendee.seat_uid)

    @staticmethod
    def _check_movable(booking: Booking) -> None:
        uid, newer = booking.uid, booking.rescheduled_to_uid
        if booking.status == CANCELLED and newer:
            raise refused(
                f"Can't reschedule booking with uid={uid} because it has been cancelled and rescheduled "
                f"already to booking with uid={newer}. You probably want to reschedule {newer} instead by "
                f"passing it within the request URL."
            )
        if booking.status == CANCELLED:
            raise refused(
                f"Can't reschedule booking with uid={uid} because it has been cancelled. Please provide "
                f"uid of a booking that is not cancelled."
            )
        if booking.status == REJECTED:
            raise core_error("Could not find original booking", 404)

    # --- cancel

    def cancel(
        self,
        booking: Booking,
        *,
        reason: str | None,
        by_owner: bool,
        seat_uid: str | None = None,
        moments: Moments = UNDISTURBED,
    ) -> Booking:
        """Cancel. Concurrent cancels of one booking all succeed, as measured. Raises Refusal."""
        state = self.state
        with state.lock:
            if booking.status == CANCELLED:
                raise refused(
                    f"Can't cancel booking with uid={booking.uid} because it has been cancelled already. "
                    f"Please provide uid of a booking that is not cancelled."
                )
            if by_owner and not reason:
                raise core_error("Cancellation reason is required")
            if booking.end < state.clock.now():
                raise core_error("Cannot cancel a booking that has already ended")
        if seat_uid is not None:
            return self._give_seat_back(booking, seat_uid, reason, moments)
        moments.before_commit()
        if moments.announces:
            # sent before the status is written: whoever reads inside its handler still finds it accepted
            self.webhooks.announce(
                "BOOKING_CANCELLED",
                booking,
                lambda: webhook_payloads.cancelled(booking, reason=reason, attendees=list(booking.attendees)),
            )
        with state.lock:
            state.change_status(booking, CANCELLED)
            booking.cancellation_reason = reason
            booking.ics_sequence += 1
            state.touch(booking)
            moments.on_commit(booking)
        moments.after_commit(booking)
        return booking

    def _give_seat_back(
        self, booking: Booking, seat_uid: str, reason: str | None, moments: Moments
    ) -> Booking:
        state = self.state
        moments.before_commit()
        with state.lock:
            leaving = [attendee for attendee in booking.attendees if attendee.seat_uid == seat_uid]
            if not leaving:
                raise refused("Invalid Query: The requested record was not found.", 404)
            if len(booking.attendees) > 1:
                booking.attendees.remove(leaving[0])
            else:
                state.change_status(booking, CANCELLED)
                booking.cancellation_reason = reason
            state.touch(booking)
            moments.on_commit(booking)
        moments.after_commit(booking)
        if state.seat_cancel_answers_404:
            raise refused("Invalid Query: The requested record was not found.", 404)
        if moments.announces:
            self.webhooks.announce(
                "BOOKING_CANCELLED",
                booking,
                lambda: {
                    **webhook_payloads.cancelled(booking, reason=reason, attendees=leaving),
                    "attendeeSeatId": seat_uid,
                },
            )
        return booking

    # --- the host's decision

    def confirm(self, booking: Booking, *, moments: Moments = UNDISTURBED) -> Booking:
        """Accept. Final states are not final at Cal.com: a declined, cancelled or moved one can be
        confirmed.
        """
        moments.before_commit()
        with self.state.lock:
            if booking.status == ACCEPTED:
                raise trpc_error("Booking already confirmed")
            self.state.change_status(booking, ACCEPTED)
            booking.metadata["videoCallUrl"] = ""
            self.state.touch(booking)
            moments.on_commit(booking)
        moments.after_commit(booking)
        if moments.announces:
            self.webhooks.announce("BOOKING_CREATED", booking, lambda: webhook_payloads.confirmed(booking))
            if booking.event_type.price > 0:
                self.webhooks.announce("BOOKING_PAID", booking, lambda: webhook_payloads.paid(booking))
        return booking

    def decline(self, booking: Booking, *, reason: str | None, moments: Moments = UNDISTURBED) -> Booking:
        moments.before_commit()
        with self.state.lock:
            if booking.status == ACCEPTED:
                raise trpc_error("Booking already confirmed")
            self.state.change_status(booking, REJECTED)
            booking.rejection_reason = reason
            self.state.touch(booking)
            moments.on_commit(booking)
        moments.after_commit(booking)
        if moments.announces:
            self.webhooks.announce(
                "BOOKING_REJECTED", booking, lambda: webhook_payloads.rejected(booking, reason)
            )
        return booking

    # --- afterwards

    def mark_absent(
        self,
        booking: Booking,
        *,
        host: bool | None,
        attendees: list[dict[str, Any]],
        moments: Moments = UNDISTURBED,
    ) -> Booking:
        """No-show. An absent attendee leaves `updatedAt` alone but fires a webhook; an absent host the
        reverse.
        """
        now = self.state.clock.now()
        if booking.start > now:
            raise refused(
                "Bookings can only be marked as absent after their scheduled start time. Current time in "
                f"UTC+0: {millisecond_text(now)}, Booking start time in UTC+0: "
                f"{millisecond_text(booking.start)}"
            )
        moments.before_commit()
        marked = []
        with self.state.lock:
            if host is not None:
                booking.absent_host = host
                self.state.touch(booking)
            for wish in attendees:
                for attendee in booking.attendees:
                    if attendee.email == wish["email"]:
                        attendee.absent = bool(wish.get("absent", True))
                        marked.append(attendee)
            moments.on_commit(booking)
        moments.after_commit(booking)
        if marked and moments.announces:
            self.webhooks.announce(
                "BOOKING_NO_SHOW_UPDATED", booking, lambda: webhook_payloads.no_show(booking, marked)
            )
        return booking

    # --- records that were there before

    def seed(
        self,
        *,
        event_type: EventType,
        start: datetime,
        end: datetime | None = None,
        uid: str | None = None,
        status: str = ACCEPTED,
        name: str = "Cara Seed",
        email: str | None = None,
        phone: str | None = None,
        time_zone: str = "Europe/Berlin",
        language: str = "en",
        metadata: dict[str, Any] | None = None,
        created_at: datetime | None = None,
        updated_at: datetime | None = None,
        host: Host | None = None,
        **fields: Any,
    ) -> Booking:
        """Put a booking there without any check and without a webhook. `fields` are attributes of Booking."""
        state = self.state
        person = Person(name=name, time_zone=time_zone, email=email, phone=phone, language=language)
        if email is None and phone is None:
            person.email = "seeded@booker.test"
        with state.lock:
            wish = Wish(event_type=event_type, start=start, person=person, metadata=metadata or {})
            attendee = self._attendee(wish)
            created = created_at or state.clock.now()
            uid = uid or state.new_uid()
            booking = Booking(
                id=state.next_booking_id(),
                uid=uid,
                account=event_type.account,
                event_type=event_type,
                host=host or event_type.hosts[0],
                status=status,
                start=start,
                end=end or start + timedelta(minutes=event_type.minutes),
                title=f"{event_type.title} between {(host or event_type.hosts[0]).name} and {name}",
                attendees=[attendee],
                metadata=dict(metadata or {}),
                responses=attendee.responses,
                created_at=created,
                updated_at=updated_at or created,
                ics_uid=f"{uid}@Cal.com",
                location=event_type.location,
            )
            for key, value in fields.items():
                if not hasattr(booking, key):
                    raise TypeError(f"a booking has no field {key}")
                setattr(booking, key, value)
            state.store(booking)
            return booking
