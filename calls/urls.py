from django.urls import URLPattern, URLResolver, re_path

from calls.views import RetellEventView

# With and without a trailing slash; apps above add their own addresses below the same endpoint.
ENDPOINT = r"^hooks/(?P<endpoint_id>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"

urlpatterns: list[URLPattern | URLResolver] = [
    re_path(ENDPOINT + r"/retell/events/?$", RetellEventView.as_view(), name="retell-events"),
]
