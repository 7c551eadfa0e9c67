"""Where each address leads. Every address answers with and without a trailing slash, by its own pattern."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularJSONAPIView

from sync import health

urlpatterns = [
    # First: somebody waits on the phone, or for an answer to a delivery.
    path("", include("calls.urls")),
    path("", include("booking.urls")),
    path("", include("sync.urls")),
    path("", RedirectView.as_view(pattern_name="admin:index")),
    re_path(r"^healthz/?$", health.alive, name="healthz"),
    re_path(r"^readyz/?$", health.ready, name="readyz"),
    re_path(r"^api/schema/?$", SpectacularJSONAPIView.as_view(), name="schema"),
    re_path(r"^admin$", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
]
