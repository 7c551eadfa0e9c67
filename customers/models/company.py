from __future__ import annotations

import re
import uuid
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, validate_email
from django.db import models
from django.utils.translation import gettext_lazy as _

from customers.encrypted_field import EncryptedTextField
from customers.opening_hours import InvalidHours, read_hours
from customers.time_zones import zone_names

# A longer one is a slip of the hand, and no arithmetic with instants takes any length.
at_most_a_year = MaxValueValidator(366 * 24 * 60)


def validate_timezone(name: str) -> None:
    if name not in zone_names():
        raise ValidationError(_("%(name)s is not an IANA time zone."), params={"name": name})


def validate_http_address(address: str) -> None:
    """Django's own check refuses host names without a dot, which are usual between containers.

    What is asked for is put behind it, and the key sent with it: a question mark would swallow the one, and a
    user in the address take the place of the other.
    """
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        is_address = parts.scheme in ("http", "https") and all(host.split(".")) and parts.port != 0
    except ValueError:  # brackets without an IPv6 address in them, a port that cannot be
        is_address = False
    is_address = is_address and "@" not in parts.netloc and re.search(r"[\s?#]", address) is None
    if not is_address:
        raise ValidationError(_("%(address)s is not an http(s) address."), params={"address": address})


class Company(models.Model):
    """A tenant. Every other row belongs to one, and nothing is read or written across them."""

    class Language(models.TextChoices):
        GERMAN = "de", _("German")
        ENGLISH = "en", _("English")

    class Healing(models.TextChoices):
        OFF = "off", _("off: open a sync failure")
        DRY_RUN = "dry_run", _("dry run: say what would be done")
        ON = "on", _("on")

    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=64, unique=True)
    timezone = models.CharField(max_length=64, default="Europe/Berlin", validators=[validate_timezone])
    language = models.CharField(max_length=2, choices=Language.choices, default=Language.GERMAN)
    endpoint_id = models.UUIDField(
        default=uuid.uuid4, unique=True, help_text=_("Part of the webhook addresses: /hooks/<endpoint id>/…")
    )
    attendee_email_domain = models.CharField(
        max_length=253,
        blank=True,
        help_text=_(
            "Where an event type demands an e-mail address, each customer gets one of their own here."
        ),
    )
    calcom_base_url = models.CharField(
        max_length=200, default="https://api.cal.com/v2", validators=[validate_http_address]
    )
    calcom_api_key = EncryptedTextField(blank=True)
    calcom_reconcile_api_key = EncryptedTextField(
        blank=True,
        help_text=_("A second key for the hourly reconciliation: Cal.com's rate limit counts by key."),
    )
    calcom_webhook_secret = EncryptedTextField(blank=True)
    calcom_webhook_secret_previous = EncryptedTextField(
        blank=True, help_text=_("Still accepted while the secret is being rotated.")
    )
    retell_api_key = EncryptedTextField(blank=True)
    retell_api_key_previous = EncryptedTextField(
        blank=True, help_text=_("Still accepted while the key is being rotated.")
    )
    heal_adopt = models.CharField(
        max_length=8,
        choices=Healing.choices,
        default=Healing.ON,
        help_text=_("Bookings that carry an attempt of ours and have no appointment."),
    )
    heal_import = models.CharField(
        max_length=8, choices=Healing.choices, default=Healing.ON, help_text=_("Bookings made elsewhere.")
    )
    heal_follow = models.CharField(
        max_length=8,
        choices=Healing.choices,
        default=Healing.ON,
        help_text=_("Another status or time at Cal.com."),
    )
    heal_link = models.CharField(
        max_length=8,
        choices=Healing.choices,
        default=Healing.ON,
        help_text=_("Calls and appointments that do not point at each other."),
    )
    heal_daily_limit = models.PositiveIntegerField(
        default=1000, help_text=_("After so many repairs in a day the rest is left to a person.")
    )
    may_reschedule = models.BooleanField(default=True, help_text=_("Whether callers may move appointments."))
    may_cancel = models.BooleanField(default=True, help_text=_("Whether callers may cancel appointments."))
    change_notice_minutes = models.PositiveIntegerField(
        default=0,
        validators=[at_most_a_year],
        help_text=_("How long before the start moving and cancelling by phone ends."),
    )
    callback_within_minutes = models.PositiveIntegerField(
        default=240,
        validators=[at_most_a_year],
        help_text=_("Opening time within which a promised call back is due."),
    )
    opening_hours = models.JSONField(
        default=dict,
        blank=True,
        help_text=_('By weekday: {"mon": [["09:00", "12:30"], ["13:30", "18:00"]]}. Empty: always.'),
    )
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "companies"
        verbose_name_plural = "companies"
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Raises ValidationError, by field."""
        wrong: dict[str, Any] = {}
        if self.attendee_email_domain:
            try:
                validate_email(f"c1@{self.attendee_email_domain}")  # as `customers.identify` makes them up
            except ValidationError:
                wrong["attendee_email_domain"] = _("This is not a domain such as callers.example.org.")
        try:
            read_hours(self.opening_hours)
        except InvalidHours as error:
            wrong["opening_hours"] = str(error)
        if wrong:
            raise ValidationError(wrong)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def zone_at(self, branch: Branch | None) -> ZoneInfo:
        """The zone at one of its branches, which need not have one of its own."""
        return branch.zone if branch and branch.timezone else self.zone

    @property
    def region(self) -> str:
        """Whose spelling of phone numbers is meant where no number of ours tells: an ISO 3166 country."""
        return "DE" if self.language == self.Language.GERMAN else "US"

    @property
    def hooks_path(self) -> str:
        """What the path of every address begins with at which Retell and Cal.com reach it."""
        return f"/hooks/{self.endpoint_id}"

    @property
    def hooks_url(self) -> str:
        """The beginning of those addresses; without a host where PUBLIC_URL does not say it."""
        return f"{settings.PUBLIC_URL.rstrip('/')}{self.hooks_path}"

    @property
    def retell_keys(self) -> list[str]:
        return [key for key in (self.retell_api_key, self.retell_api_key_previous) if key]

    @property
    def calcom_webhook_secrets(self) -> list[str]:
        return [key for key in (self.calcom_webhook_secret, self.calcom_webhook_secret_previous) if key]


class Branch(models.Model):
    company = models.ForeignKey(Company, on_delete=models.PROTECT, related_name="branches")
    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=64)
    timezone = models.CharField(
        max_length=64, blank=True, validators=[validate_timezone], help_text=_("Blank: the company's.")
    )
    is_active = models.BooleanField(default=True)

    class Meta:
        db_table = "branches"
        verbose_name_plural = "branches"
        ordering = ("company", "name")
        constraints = (models.UniqueConstraint(fields=("company", "slug"), name="branch_slug_per_company"),)

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone) if self.timezone else self.company.zone


class PhoneNumber(models.Model):
    """A number that is called. It names the branch; the number of whoever calls never does."""

    branch = models.ForeignKey(Branch, on_delete=models.CASCADE, related_name="phone_numbers")
    number = models.CharField(max_length=16, unique=True, help_text=_("E.164, such as +493012345678."))

    class Meta:
        db_table = "phone_numbers"
        ordering = ("number",)

    def __str__(self) -> str:
        return self.number


class RetellAgent(models.Model):
    """A Retell agent that answers for a branch: names the branch where a call has no numbers (web calls)."""

    company = models.ForeignKey(Company, on_delete=models.CASCADE, related_name="retell_agents")
    branch = models.ForeignKey(Branch, on_delete=models.CASCADE, related_name="retell_agents")
    agent_id = models.CharField(max_length=128)

    class Meta:
        db_table = "retell_agents"
        ordering = ("agent_id",)
        constraints = (
            models.UniqueConstraint(fields=("company", "agent_id"), name="retell_agent_once_per_company"),
        )

    def __str__(self) -> str:
        return self.agent_id
