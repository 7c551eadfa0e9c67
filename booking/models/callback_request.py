from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from calls.models import Call
from customers.models import Branch, Company, Customer


class CallbackRequest(models.Model):
    """What stands behind every "we will call you back". One open one per call, closed by a person."""

    class Status(models.TextChoices):
        OPEN = "open", _("open")
        DONE = "done", _("done")

    class Kind(models.TextChoices):
        NOT_BOOKED = "not_booked", _("promised because a booking did not work")
        NOT_CHANGED = "not_changed", _("promised because a change did not work")
        WANTED = "wanted", _("the caller asked for it")

    company = models.ForeignKey(Company, on_delete=models.PROTECT, related_name="callback_requests")
    branch = models.ForeignKey(
        Branch, on_delete=models.SET_NULL, null=True, blank=True, related_name="callback_requests"
    )
    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="callback_requests")
    customer = models.ForeignKey(
        Customer, on_delete=models.SET_NULL, null=True, blank=True, related_name="callback_requests"
    )
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.NOT_BOOKED)
    reason = models.CharField(max_length=500)
    preferred_time = models.CharField(max_length=200, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.OPEN)
    note = models.TextField(blank=True)
    closed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    closed_at = models.DateTimeField(null=True, blank=True)
    due_at = models.DateTimeField(
        null=True, blank=True, help_text=_("By when, counted in the company's opening time.")
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "callback_requests"
        ordering = ("created_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("call",), condition=models.Q(status="open"), name="one_open_callback_per_call"
            ),
        )
        indexes = (models.Index(fields=("company", "status", "created_at"), name="callback_inbox"),)

    def __str__(self) -> str:
        return self.reason
