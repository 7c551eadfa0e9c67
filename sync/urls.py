from django.urls import URLPattern, URLResolver, re_path

from sync.metrics import metrics

urlpatterns: list[URLPattern | URLResolver] = [re_path(r"^metrics/?$", metrics, name="metrics")]
