"""A text column that is ciphertext at rest.

The value is encrypted with the first key of `settings.FIELD_ENCRYPTION_KEY` (a comma-separated list of Fernet
keys) and can be read with any of them, so a key is rotated by putting the new one in front and running
`manage.py reencrypt`. It fails closed: a stored value that no key opens, or that was never encrypted, raises
instead of being handed out as if it were the secret. The column holds a prefix, so that ciphertext is
recognisable in a dump.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import models
from django.db.models.query_utils import DeferredAttribute

PREFIX = "enc1:"


class CannotDecrypt(Exception):
    """No configured key opens a stored secret. Never carries the value."""


def encrypt(clear: str) -> str:
    return PREFIX + _cipher(settings.FIELD_ENCRYPTION_KEY).encrypt(clear.encode()).decode()


def decrypt(stored: str) -> str:
    """The clear text; raises CannotDecrypt."""
    return _decrypt(stored, settings.FIELD_ENCRYPTION_KEY)


def is_current(stored: str) -> bool:
    """Whether the first key alone opens it."""
    first = next(key for key in settings.FIELD_ENCRYPTION_KEY.split(",") if key.strip())
    try:
        _decrypt(stored, first)
    except CannotDecrypt:
        return False
    return True


# A company's secrets are opened on every request; the cache is keyed by the keys too, so a rotation is seen.
@lru_cache(maxsize=1024)
def _decrypt(stored: str, keys: str) -> str:
    if not stored.startswith(PREFIX):
        raise CannotDecrypt("The stored value is not encrypted.")
    try:
        return _cipher(keys).decrypt(stored.removeprefix(PREFIX)).decode()
    except InvalidToken:
        raise CannotDecrypt("No key in FIELD_ENCRYPTION_KEY opens the stored value.") from None


@lru_cache(maxsize=8)
def _cipher(keys: str) -> MultiFernet:
    try:
        return MultiFernet([Fernet(key.strip()) for key in keys.split(",") if key.strip()])
    except ValueError as error:
        raise ImproperlyConfigured(f"FIELD_ENCRYPTION_KEY: {error}") from None


@dataclass(frozen=True)
class _Sealed:
    """A value as it is stored."""

    stored: str = field(repr=False)


class _Secret(DeferredAttribute):
    """The attribute of a row: what was read from the database is opened, what was put there is given back."""

    def __get__(self, instance: models.Model | None, cls: Any = None) -> Any:
        value = super().__get__(instance, cls)
        return decrypt(value.stored) if isinstance(value, _Sealed) else value

    def __set__(self, instance: models.Model, value: Any) -> None:
        vars(instance)[self.field.attname] = value


class EncryptedTextField(models.TextField):
    """Like TextField; blank stays blank. It cannot be searched: there is nothing to compare ciphertext
    with.

    A stored value is opened where a row is asked for it, and raises CannotDecrypt there: a row that is read
    for something else can be read whatever became of the keys. `values` gives it sealed, to be put back as
    it is.
    """

    descriptor_class = _Secret

    def get_prep_value(self, value: Any) -> Any:
        if isinstance(value, _Sealed):
            return value.stored
        value = super().get_prep_value(value)
        return encrypt(value) if value else value

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        return _Sealed(value) if value else value

    def get_lookup(self, lookup_name: str) -> Any:
        # `exact` would compare two encryptions of one text, which differ, and quietly find nothing.
        return super().get_lookup(lookup_name) if lookup_name == "isnull" else None
