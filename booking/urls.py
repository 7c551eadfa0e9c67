from django.urls import re_path

from booking.views import FunctionView, InboundCallView
from calls.urls import ENDPOINT

urlpatterns = [
    re_path(
        ENDPOINT + r"/retell/functions/(?P<name>[^/]+)/?$",
        FunctionView.as_view(),
        name="retell-function",
    ),
    re_path(ENDPOINT + r"/retell/inbound/?$", InboundCallView.as_view(), name="retell-inbound"),
]
