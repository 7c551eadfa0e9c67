"""What the list of function calls is filtered by: which functions and answers there are is known here."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from booking.functions import FUNCTIONS
from booking.outcomes import Code
from calls.admin import FunctionCallAdmin
from customers.admin_filters import value_filter

FunctionCallAdmin.list_filter[1:1] = [
    value_filter("name", _("name"), FUNCTIONS),
    value_filter("code", _("answer code"), Code),
]
