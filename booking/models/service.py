from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from customers.models import Branch, Company
from customers.models.company import at_most_a_year


def validate_aliases(aliases: Any) -> None:
    if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
        raise ValidationError(_("The aliases are a list of texts."))


class Service(models.Model):
    """What can be booked: one event type at Cal.com.

    `learned_event_type_id` and the fields below it are not set by hand: they are read from Cal.com the first
    time the service is used and when its event type id was changed (`booking.event_types`), and every day
    (`sync_services`). They decide which repetitions are harmless at Cal.com and which make a second booking.
    """

    class Scheduling(models.TextChoices):
        ONE_HOST = "one_host", _("one host")
        ROUND_ROBIN = "round_robin", _("round robin")
        COLLECTIVE = "collective", _("collective")
        MANAGED = "managed", _("managed")

    company = models.ForeignKey(Company, on_delete=models.PROTECT, related_name="services")
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=64)
    aliases = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_aliases],
        help_text=_('Other names callers use: ["cut", "trim"].'),
    )
    duration_minutes = models.PositiveIntegerField(validators=[MinValueValidator(1), at_most_a_year])
    calcom_event_type_id = models.PositiveBigIntegerField()
    person = models.CharField(
        max_length=100,
        blank=True,
        help_text=_("Who does it. Services of one name and several persons are one thing to a caller."),
    )
    branch = models.ForeignKey(
        Branch,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="services",
        help_text=_("Where it is done. Empty: in every branch."),
    )
    spoken_name = models.CharField(max_length=200, blank=True, help_text=_("As it is said; empty: the name."))
    price_text = models.CharField(max_length=100, blank=True, help_text=_('As it is said: "from 35 euros".'))
    may_reschedule = models.BooleanField(null=True, blank=True, help_text=_("Unknown: as the company."))
    may_cancel = models.BooleanField(null=True, blank=True, help_text=_("Unknown: as the company."))
    change_notice_minutes = models.PositiveIntegerField(
        null=True, blank=True, validators=[at_most_a_year], help_text=_("Empty: as the company.")
    )
    is_active = models.BooleanField(default=True)
    vanished_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text=_("Since when the event type is missing at Cal.com: it cannot be booked."),
    )

    learned_event_type_id = models.PositiveBigIntegerField(null=True, blank=True, editable=False)
    scheduling = models.CharField(max_length=16, choices=Scheduling.choices, blank=True, editable=False)
    requires_confirmation = models.BooleanField(default=False, editable=False)
    has_seats = models.BooleanField(default=False, editable=False)
    email_required = models.BooleanField(default=False, editable=False)
    has_several_lengths = models.BooleanField(default=False, editable=False)
    accepts_notes = models.BooleanField(default=False, editable=False)
    phone_required = models.BooleanField(default=False, editable=False)
    minimum_notice_minutes = models.PositiveIntegerField(default=0, editable=False)
    buffer_before_minutes = models.PositiveIntegerField(default=0, editable=False)
    buffer_after_minutes = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "services"
        ordering = ("company", "name")
        constraints = (models.UniqueConstraint(fields=("company", "slug"), name="service_slug_per_company"),)
        indexes = (models.Index(fields=("company", "calcom_event_type_id"), name="service_event_type"),)

    def __str__(self) -> str:
        return self.name

    @property
    def duration(self) -> timedelta:
        return timedelta(minutes=self.duration_minutes)

    @property
    def is_learned(self) -> bool:
        return self.learned_event_type_id == self.calcom_event_type_id

    @property
    def repeat_cannot_double(self) -> bool:
        """Whether Cal.com itself stops a second booking of one start, so that repeating a POST is
        harmless.
        """
        return (
            self.is_learned
            and self.scheduling in (self.Scheduling.ONE_HOST, self.Scheduling.COLLECTIVE)
            and not self.requires_confirmation
            and not self.has_seats
        )
