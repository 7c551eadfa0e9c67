"""WSGI entrance. Warmed up at boot: a worker's first request would otherwise pay 300 ms more."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

handler = get_wsgi_application()

from config import chunked_bodies, large_bodies, sentry, warm_up  # noqa: E402  (Django must be set up before the URLconf)

application = large_bodies.with_large_bodies_read(chunked_bodies.with_chunked_bodies(handler))

sentry.start()
warm_up.refuse_unsafe_deployment()
warm_up.warm_up()
