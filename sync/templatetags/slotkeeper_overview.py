from __future__ import annotations

from typing import Any

from django import template
from django.utils import timezone

from sync import admin_index

register = template.Library()


@register.simple_tag(takes_context=True)
def overview(context: dict[str, Any]) -> admin_index.Overview:
    """The figures of the admin's first page, as far as the reader may see them."""
    return admin_index.overview(user=context["user"], now=timezone.now())
