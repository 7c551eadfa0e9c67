from django.urls import re_path

from booking.views import FunctionView

urlpatterns = [
    re_path(
        r"^hooks/(?P<endpoint_id>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})/retell/functions/(?P<name>[^/]{1,80})/?$",
        FunctionView.as_view(),
        name="retell-function",
    ),
]
