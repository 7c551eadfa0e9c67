"""Typed readers over the environment.

A value that cannot be what it should be stops start-up with a sentence naming the variable: a typing error
in a deployment must be found when the process starts, not by the first caller. An empty value counts as
not set, because that is what an empty line in a compose file means.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from email.utils import parseaddr
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class WrongSetting(ImproperlyConfigured):
    """An environment variable holds something that cannot be used. The value is named only when harmless."""


def text(
    name: str, *, default: str = "", choices: Sequence[str] = (), environ: Mapping[str, str] = os.environ
) -> str:
    """The value without surrounding blanks, `default` when not set. Raises WrongSetting outside `choices`."""
    value = environ.get(name, "").strip() or default
    if choices and value not in choices:
        raise WrongSetting(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}.")
    return value


def integer(
    name: str,
    *,
    default: int,
    minimum: int | None = None,
    maximum: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """A whole number, at least `minimum` and at most `maximum`. Raises WrongSetting."""
    value = environ.get(name, "").strip()
    if not value:
        return default
    try:
        number_read = int(value)
    except ValueError:
        raise WrongSetting(f"{name} must be a whole number, not {value!r}.") from None
    if minimum is not None and number_read < minimum:
        raise WrongSetting(f"{name} must be at least {minimum}, not {number_read}.")
    if maximum is not None and number_read > maximum:
        raise WrongSetting(f"{name} must be at most {maximum}, not {number_read}.")
    return number_read


def number(
    name: str,
    *,
    default: float,
    minimum: float | None = None,
    maximum: float | None = None,
    environ: Mapping[str, str] = os.environ,
) -> float:
    """A finite number such as `8` or `0.5`, at least `minimum` and at most `maximum`. Raises WrongSetting."""
    value = environ.get(name, "").strip()
    if not value:
        return default
    try:
        number_read = float(value)
    except ValueError:
        raise WrongSetting(f"{name} must be a number, not {value!r}.") from None
    if not math.isfinite(number_read):
        raise WrongSetting(f"{name} must be a finite number, not {value!r}.")
    if minimum is not None and number_read < minimum:
        raise WrongSetting(f"{name} must be at least {minimum:g}, not {number_read:g}.")
    if maximum is not None and number_read > maximum:
        raise WrongSetting(f"{name} must be at most {maximum:g}, not {number_read:g}.")
    return number_read


def flag(name: str, *, default: bool, environ: Mapping[str, str] = os.environ) -> bool:
    """true/false, yes/no, on/off, 1/0 in any case. Anything else raises WrongSetting: 'flase' is no."""
    value = environ.get(name, "").strip().lower()
    if not value:
        return default
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise WrongSetting(f"{name} must be true or false, not {value!r}.")


def words(name: str, *, default: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> list[str]:
    """A list separated by commas; blanks and empty members are dropped."""
    value = environ.get(name, "").strip()
    if not value:
        return list(default)
    return [word.strip() for word in value.split(",") if word.strip()]


def url(
    name: str,
    *,
    default: str = "",
    schemes: Sequence[str] = ("http", "https"),
    environ: Mapping[str, str] = os.environ,
) -> str:
    """An absolute URL of one of `schemes`, without a trailing slash; '' when not set and no default.

    Read like a secret, from a file too: database, Redis and mail URLs carry passwords. Raises WrongSetting,
    whose message never repeats the value.
    """
    value = secret(name, environ=environ)
    if not value:
        return default
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise WrongSetting(f"{name} is not a URL (host or port cannot be read).") from None
    if parts.scheme not in schemes:
        raise WrongSetting(
            f"{name} must be a URL that starts with {' or '.join(s + '://' for s in schemes)}."
        )
    on_the_web = parts.scheme in ("http", "https", "smtp", "smtps")
    if not (parts.hostname if on_the_web else parts.netloc or parts.path.strip("/")):
        raise WrongSetting(f"{name} is a URL without a host.")
    if parts.fragment and parts.netloc:
        # What stands behind it would be left out without a word: the rest of a password, host and all.
        raise WrongSetting(f"{name} holds a #: in a password that is written %23, as / is %2F and ? is %3F.")
    # Whoever asks what it starts with asks in small letters.
    value = parts.scheme + value[len(parts.scheme) :]
    return value.rstrip("/") if parts.scheme in ("http", "https") else value


def address(name: str, *, default: str, environ: Mapping[str, str] = os.environ) -> str:
    """An e-mail address, as `ops@example.org` or `Ops <ops@example.org>`. Raises WrongSetting."""
    return _mailbox(name, text(name, default=default, environ=environ))


def addresses(name: str, *, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Such addresses, separated by commas. Raises WrongSetting."""
    return [_mailbox(name, word) for word in words(name, environ=environ)]


def _mailbox(name: str, value: str) -> str:
    # Not Django's rule, which knows no host without a dot.
    if not re.fullmatch(r"[^\s@]+@[^\s@]+", parseaddr(value)[1]):
        raise WrongSetting(f"{name} must be an e-mail address, not {value!r}.")
    return value


def networks(name: str, *, environ: Mapping[str, str] = os.environ) -> list[IPv4Network | IPv6Network]:
    """Addresses and CIDR ranges separated by commas. Raises WrongSetting."""
    found: list[IPv4Network | IPv6Network] = []
    for word in words(name, environ=environ):
        try:
            found.append(ip_network(word))
        except ValueError as error:
            raise WrongSetting(f"{name} must list addresses or CIDR ranges: {error}.") from None
    return found


def secret(name: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """A secret from `NAME`, or from the file that `NAME_FILE` names (container and systemd secrets); '' when
    neither is set.

    Raises WrongSetting when both are set or the file cannot be read. No message repeats the secret.
    """
    value = environ.get(name, "").strip()
    file_name = environ.get(f"{name}_FILE", "").strip()
    if value and file_name:
        raise WrongSetting(f"{name} and {name}_FILE are both set; keep one.")
    if not file_name:
        return value
    try:
        value = Path(file_name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise WrongSetting(f"{name}_FILE: {file_name} cannot be read ({reason}).") from None
    if not value:
        raise WrongSetting(f"{name}_FILE: {file_name} is empty.")
    return value
