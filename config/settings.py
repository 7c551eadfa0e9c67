"""Settings of Slotkeeper. What differs between machines comes from the environment, read by `config.env`.

With no environment at all this is the embedded set-up: a SQLite file, keys made once, and the Valkey of a
running `manage.py serve`, all of it in VAR_DIR. DATABASE_URL and REDIS_URL make it the distributed one.
Values that can be read but are dangerous are system checks (`sync/deployment_checks.py`).
"""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url

from config import env, generated_secrets, redis_urls
from config.logging import configure_structlog, known_level, logging_settings

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.text("VAR_DIR", default=str(BASE_DIR / "var"))).absolute()

DEBUG = env.flag("DEBUG", default=False)
DATABASE_URL = env.url("DATABASE_URL", schemes=("postgres", "postgresql", "pgsql", "sqlite"), default="")
# Given outright, or told by the database: somebody who runs a database server is past trying things out.
_HAS_DATABASE_SERVER = DATABASE_URL.startswith(("postgres", "pgsql"))
ENVIRONMENT = env.text(
    "ENVIRONMENT",
    default="development" if DEBUG else "production" if _HAS_DATABASE_SERVER else "embedded",
    choices=("embedded", "development", "test", "production"),
)
IS_PRODUCTION = ENVIRONMENT == "production"

# Secrets ---------------------------------------------------------------------------------------------------
SECRET_KEY = env.secret("SECRET_KEY")
# Several keys, the newest first, separated by commas: the first encrypts, all decrypt.
FIELD_ENCRYPTION_KEY = env.secret("FIELD_ENCRYPTION_KEY")
if not IS_PRODUCTION:
    SECRET_KEY = SECRET_KEY or generated_secrets.read_or_make(
        VAR_DIR / "secret_key", make=generated_secrets.make_secret_key
    )
    FIELD_ENCRYPTION_KEY = FIELD_ENCRYPTION_KEY or generated_secrets.read_or_make(
        VAR_DIR / "field_encryption_key", make=generated_secrets.make_field_encryption_key
    )
# Former ones, separated by commas: sessions, and the slots that callers were offered, hold beyond a change.
SECRET_KEY_FALLBACKS = [key.strip() for key in env.secret("SECRET_KEY_FALLBACKS").split(",") if key.strip()]
METRICS_TOKEN = env.secret("METRICS_TOKEN")

# Where we are reached --------------------------------------------------------------------------------------
PUBLIC_URL = env.url("PUBLIC_URL", default="")
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", default=("localhost", "127.0.0.1", "[::1]"))
TRUSTED_PROXIES = env.networks("TRUSTED_PROXIES")
# Cookies of a production that does not say where it is reached are for https only.
_IS_HTTPS = PUBLIC_URL.startswith("https://") if PUBLIC_URL else IS_PRODUCTION
CSRF_TRUSTED_ORIGINS = (
    [f"{urlsplit(PUBLIC_URL).scheme}://{urlsplit(PUBLIC_URL).netloc}"] if PUBLIC_URL else []
)
# TLS is the proxy's business: plain HTTP is answered, never redirected. These headers reach Django only from
# a trusted proxy; config.trusted_proxies takes them off everybody else's requests.
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    USE_X_FORWARDED_HOST = True
SECURE_SSL_REDIRECT = False
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if _IS_HTTPS and not DEBUG else 0
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _IS_HTTPS and not DEBUG
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 12 * 3600  # a working day of ops

# The application -------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "rest_framework",
    "drf_spectacular",
    "django_structlog",
    "customers",
    "calls",
    "booking",
    "sync",
]
MIDDLEWARE = [
    "config.trusted_proxies.TrustedProxiesMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.request_line.RequestLineMiddleware",
    "django.middleware.common.CommonMiddleware",
    # What follows is for people with browsers: /hooks/ does without it.
    "config.hooks_lane.HooksLaneMiddleware",
    "config.content_security.ContentSecurityPolicyMiddleware",
    "config.large_forms.LargeFormsMiddleware",
    "config.null_characters.NullCharactersMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
# Every address answers with and without its trailing slash by itself: a POST cannot follow a redirect.
APPEND_SLASH = False
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# Sessions lie in the database and are read through the cache, so an emptied Redis logs nobody out.
SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"

# Time and language -----------------------------------------------------------------------------------------
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = True
LANGUAGE_CODE = "en"
LANGUAGES = [("de", "Deutsch"), ("en", "English")]
LOCALE_PATHS = [BASE_DIR / "booking" / "locale"]

# Static files ----------------------------------------------------------------------------------------------
STATIC_URL = "static/"
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if ENVIRONMENT in ("embedded", "production")
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
# A file nobody collected yet is served under its plain name instead of breaking the page.
WHITENOISE_MANIFEST_STRICT = False
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = DEBUG or ENVIRONMENT == "test"

# Database --------------------------------------------------------------------------------------------------
DATABASES: dict[str, dict[str, Any]] = {
    "default": dict(dj_database_url.parse(DATABASE_URL or f"sqlite:///{VAR_DIR / 'slotkeeper.sqlite3'}"))
}
_database = DATABASES["default"]
_database.setdefault("OPTIONS", {})
# Nobody on the phone waits longer than this for a row that somebody else holds.
DATABASE_WAIT_SECONDS = 3.0
_database["ATOMIC_REQUESTS"] = False  # no transaction is open during a request to Cal.com
if _database["ENGINE"] == "django.db.backends.sqlite3":
    _database["ENGINE"] = "customers.sqlite"  # whose callers wait evenly for the lock
    Path(_database["NAME"]).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # IMMEDIATE: a transaction takes its write lock when it begins and waits for it. In the default mode a
    # reader that turns writer fails at once with "database is locked". FULL: an appointment that was told to
    # a caller survives a power cut.
    _database["OPTIONS"] |= {
        "transaction_mode": "IMMEDIATE",
        "timeout": DATABASE_WAIT_SECONDS,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON",
    }
    _database["CONN_MAX_AGE"] = None
    # Tests use threads, and an in-memory database belongs to one connection.
    _database["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
else:
    # Django's pool keeps connections across requests; CONN_MAX_AGE 0 gives one back after each request.
    _database["CONN_MAX_AGE"] = 0
    # What was found dead is dropped by customers.database, at no cost to the others.
    _database["CONN_HEALTH_CHECKS"] = False
    # The server believes what comes last.
    _server_options = f"-c lock_timeout={DATABASE_WAIT_SECONDS:g}s {_database['OPTIONS'].pop('options', '')}"
    _database["OPTIONS"] = {
        # More than the 16 threads of one web worker; a waiting caller is answered in time or told so.
        "pool": {
            "min_size": 1,
            "max_size": env.integer("DATABASE_POOL_SIZE", default=20, minimum=2),
            "timeout": 1.25,
            "max_idle": 300.0,
            # The pool doubles its pause after each attempt in vain, and callers wait for the one that it has
            # announced: given up so soon, the next caller begins anew.
            "reconnect_timeout": 2.0,
        },
        "server_side_binding": True,
        # Set 0 behind a pooler in transaction mode that cannot carry prepared statements.
        "prepare_threshold": env.integer("DATABASE_PREPARE_THRESHOLD", default=2, minimum=0) or None,
        "connect_timeout": 5,
        # A database machine that vanished without a word is given up after seconds, not after TCP's quarter
        # of an hour.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "tcp_user_timeout": 5000,
        "options": _server_options.strip(),
        # What is given in the URL wins.
        **_database["OPTIONS"],
    }

# Cache and broker ------------------------------------------------------------------------------------------
REDIS_URL = redis_urls.setting("REDIS_URL")
# Where `serve` puts its own Valkey, and commands run beside it look for it.
EMBEDDED_VALKEY_SOCKET = redis_urls.embedded_socket(VAR_DIR)
_redis = REDIS_URL or redis_urls.running_embedded_server(VAR_DIR)
CACHE_URL = redis_urls.setting("CACHE_URL")
if CACHE_URL:
    CACHE_URL = redis_urls.cache_alone(CACHE_URL)
elif _redis:
    CACHE_URL = redis_urls.split(_redis).cache
# Without a server the tasks of this process go nowhere; what is stored is swept up once there is one.
CELERY_BROKER_URL = redis_urls.split(_redis).broker if _redis else "memory://"
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": CACHE_URL,
        "KEY_PREFIX": "slotkeeper",
        "TIMEOUT": 300,
        "OPTIONS": {
            # A caller is waiting: a Redis that is gone or stuck is a miss, soon.
            "SOCKET_CONNECT_TIMEOUT": 0.5,
            "SOCKET_TIMEOUT": 0.5,
            "IGNORE_EXCEPTIONS": True,
            "CONNECTION_POOL_KWARGS": {"max_connections": 64},
        },
    }
    if CACHE_URL
    else {
        "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
        "LOCATION": "slotkeeper",
        "OPTIONS": {"MAX_ENTRIES": 10_000},
    }
}
DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = True
DJANGO_REDIS_LOGGER = "cache"

# Celery (the timetable is in config/celery.py) -------------------------------------------------------------
# The stored row is the outbox and a task only a wake-up, so a broker that is down may cost half a second.
CELERY_BROKER_CONNECTION_TIMEOUT = 2.0
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_TASK_PUBLISH_RETRY_POLICY = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.1,
    "interval_max": 0.1,
}
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {
        # A killed worker's tasks come back after this long; so do those that run longer (sync/long_run.py).
        "visibility_timeout": env.integer(
            "TASK_VISIBILITY_TIMEOUT_SECONDS", default=120, minimum=5, maximum=86400
        ),
        # Looked for every 5 seconds, each time; the transport's own pace is every 100.
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_connect_timeout": 0.5,
        "socket_timeout": 5.0,
    }
    if _redis
    else {}
)
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_TIME_LIMIT = 600
CELERY_TASK_SOFT_TIME_LIMIT = 570
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_RESULT_EXPIRES = None  # nothing is stored, so nothing needs its nightly clean-up
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_BEAT_SCHEDULER = "sync.beat:LeasedScheduler"
DJANGO_CELERY_BEAT_TZ_AWARE = True
# How long nobody ticks when the Beat that did has died.
BEAT_LEASE_SECONDS = env.integer("BEAT_LEASE_SECONDS", default=30, minimum=2, maximum=3600)
# Of 19. Workers and long commands get a tenth of what a web process gets while both want all of it, and
# everything otherwise.
BACKGROUND_NICENESS = env.integer("BACKGROUND_NICENESS", default=10, minimum=0)

# REST ------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    # Every view names its own: an endpoint is open only where that is written.
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.AllowAny"],
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Slotkeeper",
    "DESCRIPTION": "What a Retell AI voice agent and Cal.com call.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PUBLIC": True,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "OAS_VERSION": "3.1.1",
    "PREPROCESSING_HOOKS": ["calls.schema.without_hooks"],
    "POSTPROCESSING_HOOKS": [
        "booking.schema.add_functions",
        "calls.schema.add_events",
        "sync.schema.add_probes",
    ],
}

# The booking transaction -----------------------------------------------------------------------------------
# Retell waits ten minutes for a function, if it is told to.
ANSWER_BUDGET_SECONDS = env.number("ANSWER_BUDGET_SECONDS", default=8.0, minimum=0.5, maximum=600)
DUPLICATE_PREVENTION_ENABLED = env.flag("DUPLICATE_PREVENTION_ENABLED", default=True)
LATE_COMMIT_GRACE_SECONDS = env.integer("LATE_COMMIT_GRACE_SECONDS", default=120, minimum=0, maximum=86400)
ATTEMPT_LEASE_SECONDS = env.integer("ATTEMPT_LEASE_SECONDS", default=30, minimum=1, maximum=3600)

# Retell ----------------------------------------------------------------------------------------------------
RETELL_BASE_URL = env.url("RETELL_BASE_URL", default="https://api.retellai.com")

# Deliveries ------------------------------------------------------------------------------------------------
# How long the bodies of webhooks are kept. That they came is kept for ever.
WEBHOOK_BODY_DAYS = env.integer("WEBHOOK_BODY_DAYS", default=30, minimum=1, maximum=36500)

# Telling people --------------------------------------------------------------------------------------------
ALERT_EMAIL = env.addresses("ALERT_EMAIL")
ALERT_WEBHOOK_URL = env.url("ALERT_WEBHOOK_URL", default="")
_mail = urlsplit(env.url("EMAIL_URL", schemes=("smtp", "smtps"), default=""))
EMAIL_BACKEND = (
    "django.core.mail.backends.smtp.EmailBackend"
    if _mail.scheme
    else "django.core.mail.backends.console.EmailBackend"
)
EMAIL_HOST = _mail.hostname or "localhost"
EMAIL_PORT = _mail.port or (465 if _mail.scheme == "smtps" else 25)
EMAIL_HOST_USER = unquote(_mail.username or "")
EMAIL_HOST_PASSWORD = unquote(_mail.password or "")
EMAIL_USE_SSL = _mail.scheme == "smtps"
# No password goes over the network in the clear: smtp:// begins TLS before it logs in.
EMAIL_USE_TLS = bool(EMAIL_HOST_USER) and not EMAIL_USE_SSL
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.address("FROM_EMAIL", default="slotkeeper@localhost")

# Logs ------------------------------------------------------------------------------------------------------
LOG_LEVEL = env.text("LOG_LEVEL", default="INFO").upper()
if not known_level(LOG_LEVEL):
    raise env.WrongSetting(f"LOG_LEVEL must be a level such as INFO or WARNING, not {LOG_LEVEL!r}.")
LOG_FORMAT = env.text(
    "LOG_FORMAT",
    default="console" if sys.stderr and sys.stderr.isatty() else "json",
    choices=("json", "console"),
)
LOGGING = logging_settings(log_format=LOG_FORMAT, level=LOG_LEVEL)
configure_structlog()
DJANGO_STRUCTLOG_CELERY_ENABLED = True  # the request's id goes along into its tasks

SENTRY_DSN = env.secret("SENTRY_DSN")
