"""The admin of what keeps both sides equal. Each module registers its records when it is imported."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from sync.admin import deliveries, failures, runs, staff, timetable
from sync.admin.login import LoginForm

__all__ = ["deliveries", "failures", "runs", "staff", "timetable"]

admin.site.login_form = LoginForm

admin.site.site_header = admin.site.site_title = "Slotkeeper"
admin.site.index_title = _("Overview")
admin.site.site_url = None  # there is no site beside the admin
