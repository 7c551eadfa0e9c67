from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from customers.models import Branch, Company, Customer


class Call(models.Model):
    """A phone call, known from the first thing that reaches us about it: a function or an event.

    `retell_call_id` is unique within its company. Two companies may run two Retell workspaces, so equal ids
    in two of them are two calls.
    """

    class Direction(models.TextChoices):
        INBOUND = "inbound", _("inbound")
        OUTBOUND = "outbound", _("outbound")
        WEB = "web", _("web call")

    class Status(models.TextChoices):
        ONGOING = "ongoing", _("ongoing")
        ENDED = "ended", _("ended")
        NOT_CONNECTED = "not_connected", _("not connected")
        ERROR = "error", _("error")

    # No index of its own: others begin with it.
    company = models.ForeignKey(Company, on_delete=models.PROTECT, db_index=False, related_name="calls")
    retell_call_id = models.CharField(max_length=128)
    branch = models.ForeignKey(Branch, on_delete=models.SET_NULL, null=True, blank=True, related_name="calls")
    customer = models.ForeignKey(
        Customer, on_delete=models.SET_NULL, null=True, blank=True, related_name="calls"
    )
    agent_id = models.CharField(max_length=128, blank=True)
    from_number = models.CharField(max_length=64, blank=True)
    to_number = models.CharField(max_length=64, blank=True)
    direction = models.CharField(max_length=16, choices=Direction.choices, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ONGOING)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    disconnection_reason = models.CharField(max_length=64, blank=True)
    transcript = models.TextField(blank=True)
    summary = models.TextField(blank=True)
    analysis = models.JSONField(default=dict, blank=True)
    booking_details = models.JSONField(
        null=True,
        blank=True,
        help_text=_("What was booked in this call, written with the booking, to rebuild a lost appointment."),
    )
    booking_confirmed = models.BooleanField(default=False)
    appointment_made = models.BooleanField(default=False)
    # The one foreign key that runs against the import direction: users' reports join on it. It is written in
    # one place only, `booking.mirror.link_call`.
    appointment = models.ForeignKey(
        "booking.Appointment",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="backlinked_calls",
    )
    asked_retell_at = models.DateTimeField(
        null=True, blank=True, help_text=_("When Retell was last asked what became of an ongoing call.")
    )
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "calls"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("company", "retell_call_id"), name="call_once_per_company"),
        )
        indexes = (
            models.Index(fields=("company", "created_at"), name="call_created"),
            models.Index(fields=("created_at",), condition=models.Q(status="ongoing"), name="call_ongoing"),
            # With the id, in whose order they are read: PostgreSQL does not know how few there are, and
            # would rather go through all calls in that order.
            models.Index(
                fields=("company", "id"),
                condition=models.Q(booking_confirmed=True, appointment__isnull=True),
                name="call_confirmed_lost",
            ),
        )

    def __str__(self) -> str:
        return self.retell_call_id
