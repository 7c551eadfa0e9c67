from booking.models.appointment import LIVE_STATUSES, PROVEN_STATUSES, Appointment, FormerUid
from booking.models.attempt import CHANGE_KINDS, OPEN_STATES, BookingAttempt
from booking.models.callback_request import CallbackRequest
from booking.models.service import Service
from booking.models.sync_failure import OPEN_STATUSES, SyncFailure

__all__ = [
    "CHANGE_KINDS",
    "LIVE_STATUSES",
    "OPEN_STATES",
    "OPEN_STATUSES",
    "PROVEN_STATUSES",
    "Appointment",
    "BookingAttempt",
    "CallbackRequest",
    "FormerUid",
    "Service",
    "SyncFailure",
]
