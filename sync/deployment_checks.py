"""What a production deployment must not start with, as Django system checks.

The web server, Celery, `manage.py serve` and every other command run them and refuse. Production means
ENVIRONMENT=production, or a DATABASE_URL of a server without DEBUG. No message repeats a secret.
"""

import base64
import re
from typing import Any
from urllib.parse import urlsplit

import psycopg
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.http.request import validate_host
from psycopg.conninfo import make_conninfo

_SHORTEST_SECRET_KEY = 32
# config.generated_secrets writes this in front; a key copied from there is known to whoever saw that folder.
_UNSAFE_KEY_PREFIXES = ("generated-for-development-", "django-insecure-")
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_LOCAL_HOSTS = _LOCAL_NAMES | {"[::1]", ".localhost", "testserver"}

# What the driver takes for itself, and Django's pool.
_FOR_PSYCOPG = frozenset(
    {"pool", "server_side_binding", "context", "cursor_factory", "row_factory", "prepare_threshold"}
)
# An address such as [::1] has colons of its own.
_NO_HOST_NAME = re.compile(r"[\s/*]|^[^\[].*:|\]:")


class Tags:
    DEPLOYMENT = "deployment"


def refusal() -> str:
    """Why Slotkeeper must not start: every unsafe setting with its remedy. Blank if it may."""
    errors = [error for error in checks.run_checks(tags=[Tags.DEPLOYMENT]) if error.level >= checks.ERROR]
    lines = "\n".join(f"  {error}" for error in errors)
    return f"Slotkeeper refuses to start with these settings:\n{lines}" if errors else ""


def _secret_key() -> str:
    try:
        return str(settings.SECRET_KEY)
    except ImproperlyConfigured:  # what Django says of an empty one
        return ""


def _is_fernet_key(key: str) -> bool:
    try:
        return len(base64.urlsafe_b64decode(key.strip().encode("ascii"))) == 32
    except ValueError:  # also what base64 raises
        return False


@checks.register(Tags.DEPLOYMENT)
def check_secret_key(**_kwargs: Any) -> list[checks.CheckMessage]:
    if settings.ENVIRONMENT != "production":
        return []
    key = _secret_key()
    if len(key) >= _SHORTEST_SECRET_KEY and not key.startswith(_UNSAFE_KEY_PREFIXES):
        return []
    fault = (
        "is missing"
        if not key
        else "was generated for development"
        if key.startswith(_UNSAFE_KEY_PREFIXES)
        else f"has fewer than {_SHORTEST_SECRET_KEY} characters"
    )
    return [
        checks.Error(
            f"SECRET_KEY {fault}.",
            hint="Set SECRET_KEY or SECRET_KEY_FILE, the same on every machine. Make one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe(48))'",
            id="config.E001",
        )
    ]


@checks.register(Tags.DEPLOYMENT)
def check_field_encryption_key(**_kwargs: Any) -> list[checks.CheckMessage]:
    keys = [key for key in settings.FIELD_ENCRYPTION_KEY.split(",") if key.strip()]
    hint = (
        "Set FIELD_ENCRYPTION_KEY or FIELD_ENCRYPTION_KEY_FILE, the same on every machine; keep old keys "
        "behind the new one, separated by commas. Make one with: python -c 'from cryptography.fernet "
        "import Fernet; "
        "print(Fernet.generate_key().decode())'"
    )
    if not keys:
        return [checks.Error("FIELD_ENCRYPTION_KEY is missing.", hint=hint, id="config.E002")]
    if not all(_is_fernet_key(key) for key in keys):
        return [
            checks.Error(
                "FIELD_ENCRYPTION_KEY holds something that is not a Fernet key "
                "(32 bytes in URL-safe base64).",
                hint=hint,
                id="config.E003",
            )
        ]
    return []


@checks.register(Tags.DEPLOYMENT)
def check_debug(**_kwargs: Any) -> list[checks.CheckMessage]:
    public = sorted(set(settings.ALLOWED_HOSTS) - _LOCAL_HOSTS)
    if not settings.DEBUG or not (public or settings.ENVIRONMENT == "production"):
        return []
    return [
        checks.Error(
            f"DEBUG is on, and the server answers to {', '.join(public) or 'production'}: its error pages "
            "show settings and data to anybody.",
            hint="Set DEBUG=false, or leave only localhost in ALLOWED_HOSTS.",
            id="config.E004",
        )
    ]


@checks.register(Tags.DEPLOYMENT)
def check_allowed_hosts(**_kwargs: Any) -> list[checks.CheckMessage]:
    if settings.ENVIRONMENT != "production":
        return []
    hint = "Set ALLOWED_HOSTS to the names Retell and Cal.com call you by, separated by commas."
    if not settings.ALLOWED_HOSTS:
        return [checks.Error("ALLOWED_HOSTS is empty.", hint=hint, id="config.E005")]
    if "*" in settings.ALLOWED_HOSTS:
        return [checks.Error("ALLOWED_HOSTS lets any host name in.", hint=hint, id="config.E005")]
    if never := [name for name in settings.ALLOWED_HOSTS if _NO_HOST_NAME.search(name)]:
        said = f"ALLOWED_HOSTS holds what no host is called: {', '.join(map(repr, never))}."
        hint = "Name hosts only: no scheme, no port, commas in between; .example.org for all below it."
        return [checks.Error(said, hint=hint, id="config.E005")]
    public = urlsplit(settings.PUBLIC_URL).hostname
    if public and public not in _LOCAL_NAMES and not validate_host(public, settings.ALLOWED_HOSTS):
        # No more than a warning: the proxy may call us by another name.
        said = "ALLOWED_HOSTS does not hold the host of PUBLIC_URL: what comes by that name is answered 400."
        return [checks.Warning(said, hint=hint, id="config.W008")]
    return []


@checks.register(Tags.DEPLOYMENT)
def check_redis(**_kwargs: Any) -> list[checks.CheckMessage]:
    if settings.ENVIRONMENT != "production" or settings.REDIS_URL:
        return []
    if "postgresql" not in settings.DATABASES["default"]["ENGINE"]:
        return []  # `serve` brings a Valkey of its own beside the embedded database
    return [
        checks.Error(
            "REDIS_URL is missing: web servers and workers on PostgreSQL need one queue and one cache "
            "in common.",
            hint="Set REDIS_URL, for example redis://redis.internal:6379/0.",
            id="config.E006",
        )
    ]


@checks.register(Tags.DEPLOYMENT)
def check_public_url(**_kwargs: Any) -> list[checks.CheckMessage]:
    public = urlsplit(settings.PUBLIC_URL)
    # What does not leave this machine needs no TLS.
    if settings.ENVIRONMENT != "production" or public.scheme == "https" or public.hostname in _LOCAL_NAMES:
        return []
    hint = (
        "Set PUBLIC_URL to the https address of your proxy: phone numbers and session cookies travel there."
    )
    if not settings.PUBLIC_URL:
        # Nothing is unsafe without it, and what cannot work without it says so.
        return [checks.Warning("PUBLIC_URL is missing.", hint=hint, id="config.W007")]
    return [checks.Error("PUBLIC_URL is not an https address.", hint=hint, id="config.E007")]


@checks.register(Tags.DEPLOYMENT)
def check_database_url(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Whether a connection could be begun with it at all. None is."""
    if connection.vendor != "postgresql":
        return []
    try:
        given = connection.get_connection_params()
        make_conninfo("", **{name: value for name, value in given.items() if name not in _FOR_PSYCOPG})
    except (ImproperlyConfigured, psycopg.ProgrammingError) as error:
        said = "it names no database" if isinstance(error, ImproperlyConfigured) else str(error).strip()
        return [
            checks.Error(
                f"DATABASE_URL cannot be used: {said}.",
                hint="postgres://user:password@host:5432/name, and behind a ? only what PostgreSQL's own "
                "programs take, such as sslmode=verify-full.",
                id="config.E008",
            )
        ]
    return []
