import pytest
from django.contrib.auth.models import User
from django.test import Client

from config.content_security import HEADER

OWN_ONLY = "default-src 'self'"


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/admin/login/", "/admin/", "/admin/customers/company/add/", "/admin/x"])
def test_a_page_runs_nothing_but_what_we_serve(address):
    client = Client()
    client.force_login(User.objects.create_superuser("ops"))
    policy = client.get(address).headers[HEADER]
    assert OWN_ONLY in policy.split("; ")
    assert "unsafe" not in policy


@pytest.mark.django_db
def test_a_developers_error_page_keeps_its_style(settings):
    settings.DEBUG = True
    client = Client()
    assert HEADER not in client.get("/nonsense").headers
    assert HEADER in client.get("/admin/login/").headers
