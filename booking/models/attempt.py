from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from booking.models.appointment import Appointment
from calls.models import Call
from customers.models import Company


class BookingAttempt(models.Model):
    """One intended change at Cal.com. It is committed before the request is sent.

    A state names what is already true:

    claimed      the intention is stored; until the lease ends somebody may be talking to Cal.com
    unknown      Cal.com may or may not have done it; the completer looks before anybody acts
    succeeded    done at Cal.com and mirrored here
    refused      Cal.com said no, or what it handed back is not ours
    not_sent     nothing reached Cal.com
    absent       looked up after the grace time: it is not there
    compensated  it was done, and was undone there: it was not what was asked for, or could not be stored here
    """

    class Kind(models.TextChoices):
        CREATE = "create", _("create")
        RESCHEDULE = "reschedule", _("reschedule")
        CANCEL = "cancel", _("cancel")

    class State(models.TextChoices):
        CLAIMED = "claimed", _("claimed")
        UNKNOWN = "unknown", _("unknown")
        SUCCEEDED = "succeeded", _("succeeded")
        REFUSED = "refused", _("refused")
        NOT_SENT = "not_sent", _("not sent")
        ABSENT = "absent", _("absent")
        COMPENSATED = "compensated", _("compensated")

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    # No index of its own: others begin with it.
    company = models.ForeignKey(
        Company, on_delete=models.PROTECT, db_index=False, related_name="booking_attempts"
    )
    appointment = models.ForeignKey(Appointment, on_delete=models.CASCADE, related_name="attempts")
    call = models.ForeignKey(
        Call, on_delete=models.SET_NULL, null=True, blank=True, related_name="booking_attempts"
    )
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.CREATE)
    state = models.CharField(max_length=16, choices=State.choices, default=State.CLAIMED)
    idempotency_key = models.CharField(max_length=36)
    target_uid = models.CharField(
        max_length=128, blank=True, help_text=_("The booking to move or to cancel; empty for a new one.")
    )
    # Our own writes to one slot (or one booking) are made one after the other: whoever holds the value
    # writes.
    write_lock = models.CharField(max_length=200, null=True, blank=True, unique=True)
    lease_expires_at = models.DateTimeField()
    request = models.JSONField(default=dict, blank=True)
    answer = models.JSONField(default=dict, blank=True)
    http_status = models.PositiveSmallIntegerField(null=True, blank=True)
    error_class = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    refused_by = models.CharField(
        max_length=32, blank=True, help_text=_("Which layer of the duplicate defence refused the answer.")
    )
    told = models.CharField(max_length=32, blank=True, help_text=_("The code the caller was answered with."))
    posts = models.PositiveSmallIntegerField(default=0, help_text=_("How often the request was sent."))
    looks = models.PositiveIntegerField(default=0, help_text=_("How often it was looked for at Cal.com."))
    sent_at = models.DateTimeField(null=True, blank=True)
    look_again_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "booking_attempts"
        ordering = ("-id",)
        indexes = (
            models.Index(
                fields=("lease_expires_at",),
                condition=models.Q(state__in=("claimed", "unknown")),
                name="attempt_open",
            ),
            models.Index(
                fields=("look_again_at",),
                condition=models.Q(state="refused", look_again_at__isnull=False),
                name="attempt_later_look",
            ),
            models.Index(fields=("idempotency_key",), name="attempt_key"),
            models.Index(fields=("company", "created_at"), name="attempt_created"),
            models.Index(fields=("target_uid",), condition=~models.Q(target_uid=""), name="attempt_target"),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.uuid} ({self.get_state_display()})"


OPEN_STATES = (BookingAttempt.State.CLAIMED, BookingAttempt.State.UNKNOWN)

# What is done to a booking that stands already.
CHANGE_KINDS = (BookingAttempt.Kind.CANCEL, BookingAttempt.Kind.RESCHEDULE)
