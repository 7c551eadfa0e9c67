"""What is written about each request: one line, with what the view has to say, and nothing personal."""

import logging
import time

import pytest
import structlog
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings
from django.urls import path

logger = structlog.get_logger(__name__)


def tell(request: HttpRequest) -> HttpResponse:
    structlog.contextvars.bind_contextvars(code="booked")
    logger.info("on.the.way")
    return HttpResponse()


def fail(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("the view is broken")


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username())


urlpatterns = [path("hooks/tell", tell), path("hooks/fail", fail), path("who", who)]


@pytest.fixture
def client():
    with override_settings(ROOT_URLCONF=__name__):
        yield Client(raise_request_exception=False)


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO)

    def written(event: str) -> list[dict[str, object]]:
        return [r.msg for r in caplog.records if isinstance(r.msg, dict) and r.msg.get("event") == event]

    return written


def test_one_line_tells_what_was_asked_what_became_of_it_and_how_long_it_took(client, lines):
    client.get("/hooks/tell?name=Anna+Muster")
    (line,) = lines("request_finished")
    assert (line["request"], line["status"], line["code"]) == ("GET /hooks/tell", 200, "booked")
    assert line["duration_ms"] >= 0
    assert line["level"] == "info"


def test_a_request_that_is_refused_is_a_warning(client, lines):
    client.get("/hooks/nobody-knows")
    (line,) = lines("request_finished")
    assert (line["status"], line["level"]) == (404, "warning")


def test_every_line_of_a_request_carries_its_id_and_no_line_another_ones(client, lines):
    for _ in range(2):
        client.get("/hooks/tell")
    one, other = lines("request_finished")
    assert [line["request_id"] for line in lines("on.the.way")] == [one["request_id"], other["request_id"]]
    assert one["request_id"] != other["request_id"]


@pytest.mark.parametrize(("given", "kept"), [("proxy-0815", True), ("two\nlines", False), ("x" * 65, False)])
def test_the_proxys_id_is_kept_if_it_looks_like_one(client, lines, given, kept):
    client.get("/hooks/tell", headers={"X-Request-Id": given})
    (line,) = lines("request_finished")
    assert (line["request_id"] == given) is kept


@pytest.mark.parametrize("asked", ["1" * 60_000, "://" + "a:" * 30_000 + "/@"], ids=["digits", "colons"])
def test_whatever_strangers_ask_for_is_written_down_at_once(client, asked):
    started = time.process_time()
    assert client.get(f"/{asked}").status_code == 404
    # It took ten seconds, in which no other thread of the server ran.
    assert time.process_time() - started < 1


def test_a_view_that_breaks_is_an_error_with_its_line(client, lines, caplog):
    assert client.get("/hooks/fail").status_code == 500
    (line,) = lines("request_finished")
    assert (line["status"], line["level"]) == (500, "error")
    assert "RuntimeError: the view is broken" in caplog.text
    client.get("/hooks/tell")  # nothing of it is left behind
    assert "code" not in line


@pytest.mark.django_db
def test_whoever_is_logged_in_is_named_by_their_number(client, lines):
    user = User.objects.create_user("olga")
    client.force_login(user)
    client.get("/who")
    client.get("/hooks/tell")
    person, machine = lines("request_finished")
    assert person["user_id"] == user.pk
    assert "user_id" not in machine
