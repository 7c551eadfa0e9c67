"""Deliveries take the short way; everything a delivery needs of the middlewares, it still gets."""

import uuid

import pytest
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import Client, override_settings
from django.urls import include, path


def tell(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"has": [name for name in ("session", "user") if hasattr(request, name)]})


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the view is broken")


def render(request: HttpRequest) -> TemplateResponse:
    return TemplateResponse(request, engines["django"].from_string("rendered {{ word }}"), {"word": "late"})


_pages = [path("tell", tell), path("fail", fail), path("render", render)]
urlpatterns = [
    path("hooks/", include(_pages)),
    path("pages/", include(_pages)),
    path("admin/", admin.site.urls),
]


@pytest.fixture
def client():
    """Checks CSRF tokens, as a browser's request would be."""
    with override_settings(ROOT_URLCONF=__name__):
        yield Client(enforce_csrf_checks=True, raise_request_exception=False)


def test_a_delivery_meets_no_session_no_user_and_no_csrf_check(client):
    answer = client.post("/hooks/tell", data=b"{}", content_type="application/json")
    assert (answer.status_code, answer.json()) == (200, {"has": []})
    assert not answer.cookies


def test_a_page_still_has_all_of_it(client):
    answer = client.get("/pages/tell")
    assert answer.json() == {"has": ["session", "user"]}
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert client.post("/pages/tell").status_code == 403


@pytest.mark.parametrize("address", ["/hooks/tell", "/pages/tell"])
def test_the_length_and_the_general_security_headers_are_on_every_answer(client, address):
    answer = client.get(address)
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("address", ["/hooks/tell", "/pages/tell"])
def test_a_host_that_is_not_ours_is_refused(client, address):
    assert client.get(address, headers={"host": "elsewhere.example"}).status_code == 400


def test_an_error_in_a_hook_is_a_500_and_is_told_like_any_other(client, caplog):
    answer = client.post("/hooks/fail")
    assert answer.status_code == 500
    assert b"the view is broken" not in answer.content
    assert "RuntimeError: the view is broken" in caplog.text


def test_a_hook_may_render_late(client):
    assert client.get("/hooks/render").content == b"rendered late"


def test_an_address_below_hooks_that_leads_nowhere_is_404(client):
    assert client.post("/hooks/nowhere").status_code == 404


@pytest.mark.django_db
def test_the_admin_still_asks_who_is_there(client):
    answer = client.get("/admin/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/login/?next=/admin/")


@pytest.mark.django_db
def test_the_real_endpoint_answers_through_the_lane():
    answer = Client(enforce_csrf_checks=True).post(
        f"/hooks/{uuid.uuid4()}/retell/functions/book_appointment",
        data=b"{}",
        content_type="application/json",
    )
    assert answer.status_code == 404
    assert "X-Frame-Options" not in answer.headers
    assert answer.json() == {"detail": "There is no such endpoint."}
