"""Cal.com's sentences and what they mean. Matched by substring; the beginnings are stable, the endings are
not.

Measured on API v2 (2024-08-13). Where Cal.com changes a sentence, this table is the place.
"""

from __future__ import annotations

import re

from booking.calcom.errors import Refusal

REFUSALS: tuple[tuple[str, Refusal], ...] = (
    ("already has booking at this time or is not available", Refusal.SLOT_TAKEN),
    ("No more seats left at this seated booking", Refusal.SLOT_TAKEN),
    ("time provided. This could be because it's too soon", Refusal.OUT_OF_BOUNDS),
    ('can\'t be booked at the "start" time provided', Refusal.OUT_OF_BOUNDS),
    ("Attempting to book a meeting in the past", Refusal.IN_THE_PAST),
    ("maximum number of active bookings has been reached", Refusal.BOOKER_LIMIT),
    ("Cannot use this email to create the booking", Refusal.BOOKER_BLOCKED),
    ("Rescheduling is not allowed within the minimum notice period", Refusal.TOO_LATE_TO_MOVE),
    ("not allowed within the minimum notice period", Refusal.NOTICE_PERIOD),
    ("because it has been cancelled and rescheduled already", Refusal.ALREADY_MOVED),
    ("because it has been cancelled", Refusal.ALREADY_CANCELLED),
    ("Cannot cancel a booking that has already ended", Refusal.ALREADY_ENDED),
    ("{email}error_required_field", Refusal.EMAIL_REQUIRED),
    ("{email}email_validation_error", Refusal.EMAIL_INVALID),
    ("{attendeePhoneNumber}invalid_number", Refusal.PHONE_INVALID),
    ("at least one contact method", Refusal.CONTACT_REQUIRED),
    ("already_signed_up_for_this_booking_error", Refusal.ALREADY_SEATED),
)

# Production wraps every Prisma error in this sentence: the unique slot key (a lost race, perhaps against an
# earlier request of our own) as well as a database that went away in the middle of the commit.
LOST_RACE = ("An error occurred while querying the database", "booking_conflict_error")

BOOKING_NOT_FOUND = re.compile(r"Booking with uid=\S* (was )?not found")
EVENT_TYPE_NOT_FOUND = re.compile(r"Event ?type with id[= ]\d+ not found", re.IGNORECASE)
ROUTE_UNKNOWN = re.compile(r"^Cannot (GET|POST|PATCH|DELETE) ")


def refusal_in(message: str) -> Refusal | None:
    return next((refusal for sentence, refusal in REFUSALS if sentence in message), None)


def is_lost_race(message: str) -> bool:
    return any(sentence in message for sentence in LOST_RACE)
