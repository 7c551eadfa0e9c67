from django.urls import URLPattern, URLResolver, re_path

from calls.urls import ENDPOINT
from sync.metrics import metrics
from sync.views import CalcomEventView

urlpatterns: list[URLPattern | URLResolver] = [
    re_path(ENDPOINT + r"/calcom/?$", CalcomEventView.as_view(), name="calcom-events"),
    re_path(r"^metrics/?$", metrics, name="metrics"),
]
