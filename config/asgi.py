"""ASGI entrance, for servers that want one. `manage.py serve` uses WSGI: measured faster for this work."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_asgi_application()

from config import sentry, warm_up  # noqa: E402  (Django must be set up before the URLconf is imported)

sentry.start()
warm_up.refuse_unsafe_deployment()
