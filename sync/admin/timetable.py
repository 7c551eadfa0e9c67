"""What Beat does when. It can be read here and not changed: the timetable stands in the code, where it is
reviewed. A row that is switched off here stays off, whatever the code says.
"""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from customers.admin_columns import local_time
from customers.record_admin import ReadOnlyAdmin

for model in (PeriodicTask, ClockedSchedule, CrontabSchedule, IntervalSchedule, SolarSchedule):
    admin.site.unregister(model)


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(ReadOnlyAdmin):
    list_display = (
        "name",
        "task",
        "scheduler",
        "enabled",
        local_time("last_run_at", _("last sent"), seconds=True),
        "total_run_count",
    )
    fields = list_display
    list_select_related = ("interval", "crontab", "solar", "clocked")
    ordering = ("name",)
