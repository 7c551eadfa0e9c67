from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from booking.models.service import Service
from calls.models import Call
from customers.models import Branch, Company, Customer


class Appointment(models.Model):
    """What was promised to somebody. It exists, `pending`, before Cal.com is asked, so a crash leaves a
    trace.
    """

    class Status(models.TextChoices):
        PENDING = "pending", _("pending: intended, not proven at Cal.com")
        REQUESTED = "requested", _("requested: waits for the host's confirmation")
        SCHEDULED = "scheduled", _("scheduled")
        CONFIRMED = "confirmed", _("confirmed")
        COMPLETED = "completed", _("completed")
        NO_SHOW = "no_show", _("no-show")
        CANCELLED = "cancelled", _("cancelled")
        FAILED = "failed", _("failed: never came about")

    class Source(models.TextChoices):
        RETELL = "retell", _("phone agent")
        CALCOM = "calcom", "Cal.com"
        BACKFILL = "backfill_script", _("backfill")
        ADMIN = "admin", _("admin")

    class SyncOrigin(models.TextChoices):
        RETELL = "retell", _("phone agent")
        CALCOM = "calcom", "Cal.com"
        SYSTEM = "system", _("repair")

    class SyncStatus(models.TextChoices):
        PENDING = "pending", _("not proven yet")
        SYNCED = "synced", _("equal to Cal.com")
        FAILED = "failed", _("failed")
        NOT_SYNCED = "not_synced", _("nothing at Cal.com")

    # No index of its own: others begin with it.
    company = models.ForeignKey(
        Company, on_delete=models.PROTECT, db_index=False, related_name="appointments"
    )
    branch = models.ForeignKey(
        Branch, on_delete=models.PROTECT, null=True, blank=True, related_name="appointments"
    )
    customer = models.ForeignKey(
        Customer, on_delete=models.PROTECT, null=True, db_index=False, related_name="appointments"
    )
    service = models.ForeignKey(Service, on_delete=models.PROTECT, null=True, related_name="appointments")
    call = models.ForeignKey(
        Call, on_delete=models.SET_NULL, null=True, blank=True, related_name="appointments"
    )
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    source = models.CharField(max_length=32, choices=Source.choices)
    sync_origin = models.CharField(max_length=16, choices=SyncOrigin.choices)
    calcom_sync_status = models.CharField(
        max_length=16, choices=SyncStatus.choices, default=SyncStatus.PENDING
    )
    calcom_booking_uid = models.CharField(max_length=128, null=True, blank=True, unique=True)
    calcom_booking_id = models.BigIntegerField(null=True, blank=True)
    idempotency_key = models.CharField(max_length=36, null=True, blank=True)  # noqa: DJ001 - none for web bookings
    webhook_id = models.CharField(max_length=100, blank=True, help_text=_("The delivery that made this row."))
    attendee_name = models.CharField(max_length=200, blank=True)
    attendee_email = models.EmailField(blank=True)
    notes = models.TextField(blank=True)
    sync_attempt_count = models.PositiveIntegerField(default=0)
    last_sync_attempted_at = models.DateTimeField(null=True, blank=True)
    calcom_updated_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text=_("Cal.com's updatedAt of what is mirrored here; older news is ignored."),
    )
    # What its booking carries at Cal.com. One of ours names the call, the attempt and the key there.
    metadata = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "appointments"
        ordering = ("-starts_at",)
        constraints = (
            # Among live rows only, so that cancelling and booking the same slot again works.
            models.UniqueConstraint(
                fields=("idempotency_key",),
                condition=models.Q(status__in=("pending", "requested", "scheduled", "confirmed")),
                name="live_idempotency_key",
            ),
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("starts_at")), name="appointment_ends_after_start"
            ),
        )
        indexes = (
            models.Index(fields=("company", "starts_at"), name="appointment_start"),
            models.Index(fields=("customer", "service", "starts_at"), name="appointment_near_duplicate"),
            models.Index(fields=("company", "calcom_booking_id"), name="appointment_booking_id"),
            models.Index(
                fields=("created_at",), condition=models.Q(status="pending"), name="appointment_pending"
            ),
        )

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d %H:%M} UTC ({self.get_status_display()})"

    @property
    def is_live(self) -> bool:
        return self.status in LIVE_STATUSES


LIVE_STATUSES = (
    Appointment.Status.PENDING,
    Appointment.Status.REQUESTED,
    Appointment.Status.SCHEDULED,
    Appointment.Status.CONFIRMED,
)

# Live, and proven to stand at Cal.com.
PROVEN_STATUSES = tuple(status for status in LIVE_STATUSES if status != Appointment.Status.PENDING)


class FormerUid(models.Model):
    """A uid an appointment had before it was moved: at Cal.com a move is a new booking with a new uid."""

    appointment = models.ForeignKey(Appointment, on_delete=models.CASCADE, related_name="former_uids")
    uid = models.CharField(max_length=128, unique=True)
    replaced_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "appointment_former_uids"
        ordering = ("id",)

    def __str__(self) -> str:
        return self.uid
