"""Whoever needs no secret of a company does not read them, so that none can leak. They are read where they
are asked for.
"""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import get_fields_from_path
from django.db.models import QuerySet

from customers.encrypted_field import EncryptedTextField
from customers.models import Company

SECRET_COLUMNS = tuple(
    field.name
    for field in Company._meta.concrete_fields  # noqa: SLF001  (public in all but its name)
    if isinstance(field, EncryptedTextField)
)


def without_secrets(queryset: QuerySet[Any], *, paths: tuple[str, ...] = ()) -> QuerySet[Any]:
    """Join the related rows at `paths`, but leave a company's secrets where they are."""
    model = queryset.model
    secrets = list(SECRET_COLUMNS) if model is Company else []
    for path in paths:
        if get_fields_from_path(model, path)[-1].related_model is Company:
            secrets += [f"{path}__{name}" for name in SECRET_COLUMNS]
    return (queryset.select_related(*paths) if paths else queryset).defer(*secrets)
