from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import User

from customers.admin import NoDeleteMixin

admin.site.unregister(User)


@admin.register(User)
class StaffAdmin(NoDeleteMixin, UserAdmin):
    """What somebody decided is theirs for ever: without them it would be the machine's, and what they have
    resolved would be opened again.
    """
