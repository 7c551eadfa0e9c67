# Loaded with the settings, so that `shared_task(...).delay()` in a web worker finds our broker.
from config.celery import app as celery_app

__all__ = ["celery_app"]
