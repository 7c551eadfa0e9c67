"""One stored delivery of Cal.com's: fetch the booking it is about, then make our side equal to it.

Cal.com sends a cancellation before it has written it, and a creation before it has answered our own request.
So what the booking does not show yet is looked at again a few seconds later, and what our own request is
still waiting for is left to it for that long. Cal.com being away is a failure of the delivery, tried again
later; it never means anything about the booking.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from booking import availability, twins, unknown_attempts
from booking.calcom.deadline import Deadline
from booking.calcom.deliveries import ENDINGS, Hint, read_hint
from booking.connection import client_for
from booking.models import Appointment
from calls import deliveries
from calls.models import WebhookEvent
from customers.json_values import read_json
from sync import converge
from sync.converge import Converged, Kinship

SECONDS_EACH = 5.0
AGAIN_AFTER = timedelta(seconds=4)
# How long Cal.com may take to write what it has announced.
WRITTEN_WITHIN = timedelta(seconds=25)

Status = deliveries.Status


def work(event: WebhookEvent, *, now: datetime) -> None:
    """Raises CalcomError, and whatever the database raises: then the delivery has failed, for now."""
    hint = read_hint(read_json(event.body.encode()))
    if not hint.is_about_a_booking:
        deliveries.finish(event, status=Status.IGNORED, note="Nothing is done with this event.")
        return
    client, deadline = client_for(event.company), Deadline.after(SECONDS_EACH)
    uid = _uid_of(hint, event.company_id)
    if not uid:
        deliveries.finish(event, status=Status.IGNORED, note="It names no booking that could be asked for.")
        return
    booking = client.find_booking(uid, deadline=deadline)
    still_being_written = now < event.received_at + WRITTEN_WITHIN
    if booking is None:
        if still_being_written:
            _look_again(event, "Cal.com does not know the booking yet.", now=now)
        else:
            deliveries.finish(event, status=Status.IGNORED, note="Cal.com knows no such booking.")
        return
    if hint.trigger in ENDINGS and booking.is_active and still_being_written:
        availability.forget(event.company_id)
        _look_again(event, "Cal.com still shows the booking as active.", now=now)
        return
    match = converge.find_out(company=event.company, booking=booking, client=client, deadline=deadline)
    unassigned = match.kinship is Kinship.UNASSIGNED

    def finish(_done: Converged) -> None:
        deliveries.finish(
            event,
            status=Status.IGNORED if unassigned else Status.PROCESSED,
            note="Unassigned: the booking belongs to no service of this company." if unassigned else "",
        )

    try:
        done = converge.converge(
            match,
            client=client,
            deadline=deadline,
            now=now,
            webhook_id=event.webhook_id,
            knows_of_absence=hint.trigger == "BOOKING_NO_SHOW_UPDATED",
            also=finish,
        )
    except unknown_attempts.InFlight:
        _look_again(event, "Our own request is still being answered.", now=now)
        return
    if done.changed:
        twins.settle_twins(company_id=event.company_id)
    if done.appointment is not None:
        twins.report_beside(done.appointment, now=now)


def _look_again(event: WebhookEvent, why: str, *, now: datetime) -> None:
    deliveries.look_again(event, now=now, after=AGAIN_AFTER, note=why)


def _uid_of(hint: Hint, company_id: int) -> str:
    if hint.uid:
        return hint.uid
    if hint.number:
        rows = Appointment.objects.filter(company=company_id, calcom_booking_id=hint.number)
        known = rows.exclude(calcom_booking_uid=None).values_list("calcom_booking_uid", flat=True).first()
        if known:
            return known
    return hint.rescheduled_from_uid
