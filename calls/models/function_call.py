from __future__ import annotations

from django.db import models
from django.utils import timezone

from calls.models.call import Call
from customers.models import Company


class FunctionCall(models.Model):
    """One in-call function request and what was answered; a repeat of it is answered from here.

    The row of a request that is worked again (a refusal older than its replay time, a `checking`) is
    written over; `earlier_answers` keeps when and what was said before.
    """

    # No index of its own: others begin with it.
    company = models.ForeignKey(
        Company, on_delete=models.PROTECT, db_index=False, related_name="function_calls"
    )
    call = models.ForeignKey(
        Call, on_delete=models.CASCADE, null=True, blank=True, related_name="function_calls"
    )
    name = models.CharField(max_length=64)
    arguments = models.JSONField(default=dict, blank=True)
    tool_call_id = models.CharField(max_length=128, blank=True)
    request_key = models.CharField(max_length=36, unique=True)
    answer = models.JSONField(default=dict)
    code = models.CharField(max_length=32)
    duration_ms = models.PositiveIntegerField(default=0)
    repeats = models.PositiveIntegerField(default=0)
    earlier_answers = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    answered_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "function_calls"
        ordering = ("-id",)
        indexes = (models.Index(fields=("company", "created_at"), name="function_call_created"),)

    def __str__(self) -> str:
        return f"{self.name} → {self.code}"
