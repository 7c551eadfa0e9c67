from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from customers.models.company import Company


class Customer(models.Model):
    """Somebody who calls or books, known to a company by phone number.

    A caller who withholds the number is a customer of that one call only: `phone` stays NULL, and
    `anonymous_call_id` makes every retry inside the call find the same row. (A literal "anonymous" in the
    phone column once made all such callers one person, and broke the insert of the second.)
    """

    # No index of its own: others begin with it.
    company = models.ForeignKey(Company, on_delete=models.PROTECT, db_index=False, related_name="customers")
    name = models.CharField(max_length=200, blank=True)
    phone = models.CharField(max_length=16, null=True, blank=True, help_text=_("E.164"))  # noqa: DJ001 - see above
    email = models.EmailField(blank=True)
    anonymous_call_id = models.CharField(max_length=128, null=True, blank=True, editable=False)  # noqa: DJ001
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "customers"
        ordering = ("-id",)
        constraints = (
            models.UniqueConstraint(fields=("company", "phone"), name="customer_phone_per_company"),
            models.UniqueConstraint(
                fields=("company", "anonymous_call_id"), name="one_anonymous_customer_per_call"
            ),
            models.CheckConstraint(condition=~models.Q(phone=""), name="customer_phone_null_not_blank"),
        )
        indexes = (models.Index(fields=("company", "email"), name="customer_email"),)

    def __str__(self) -> str:
        return self.name or self.phone or _("Customer %(id)s") % {"id": self.pk}
