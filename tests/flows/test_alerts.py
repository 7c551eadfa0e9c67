"""The alert that a new ticket sends."""

from __future__ import annotations

import json
import traceback
from http.server import BaseHTTPRequestHandler

import pytest

from booking import alerts
from booking.models import SyncFailure
from config import env
from tests.flows.phone import at
from tests.servers.loopback import LoopbackServer
from tests.waiting import wait_until


@pytest.fixture
def received():
    """What the ops' chat was sent, and where it is."""
    texts: list[str] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self):
            texts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with LoopbackServer(Chat) as chat:
        yield texts, f"{chat.origin}/"


@pytest.fixture
def worker_settings(received, request):
    barred = {"ALERT_EMAIL": "ops@example.org", "EMAIL_URL": "smtp://127.0.0.1:9"}
    return {"ALERT_WEBHOOK_URL": received[1], **(barred if hasattr(request, "param") else {})}


def test_a_new_ticket_alerts_ops_once_and_names_nobody(
    calcom, phone, settings, received, celery_worker_process
):
    texts, settings.ALERT_WEBHOOK_URL = received
    calcom.faults.refuse("Something nobody has seen before.", times=None)
    for hour in (10, 11):  # two calls, one grouped ticket
        assert phone().book(at(hour)).code == "unavailable"
    celery_worker_process.wait_until_idle()
    wait_until(lambda: texts)
    failure = SyncFailure.objects.get()
    assert failure.occurrences == 2
    assert len(texts) == 1
    assert f"no. {failure.pk}" in texts[0]
    assert f"/admin/booking/syncfailure/{failure.pk}/change/" in texts[0]
    assert "Weber" not in texts[0]


@pytest.mark.parametrize("worker_settings", ["barred"], indirect=True)
def test_an_e_mail_that_cannot_be_sent_keeps_no_alert_from_the_chat(
    calcom, phone, settings, received, celery_worker_process
):
    texts, settings.ALERT_WEBHOOK_URL = received
    settings.ALERT_EMAIL = ["ops@example.org"]
    calcom.faults.refuse("Something nobody has seen before.", times=None)
    assert phone().book(at(10)).code == "unavailable"
    wait_until(lambda: texts)
    celery_worker_process.kill()  # it would go on trying the mail server for half a minute
    assert len(texts) == 1


@pytest.mark.parametrize("status", [302, 404, None], ids=["moved", "gone", "not reached"])
def test_what_the_chat_does_not_take_is_not_sent_and_its_address_is_told_nobody(
    calcom, phone, settings, status
):
    """The token in its path is all it takes to write into the chat, and errors stand in the log."""

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Location", "/sign-in")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args):
            pass

    calcom.faults.refuse("Something nobody has seen before.", times=None)
    assert phone().book(at(10)).code == "unavailable"
    with LoopbackServer(Chat) as chat:
        settings.ALERT_WEBHOOK_URL = f"{chat.origin if status else 'http://127.0.0.1:9'}/services/T0/secret"
        with pytest.raises(OSError, match="chat") as raised:
            alerts.send(SyncFailure.objects.get().pk, way="webhook")
    assert "secret" not in "".join(traceback.format_exception(raised.value))


def test_each_of_several_addresses_is_told(calcom, phone, settings, mailoutbox):
    read = env.addresses("ALERT_EMAIL", environ={"ALERT_EMAIL": "ops@example.org, boss@example.org"})
    settings.ALERT_EMAIL = read
    calcom.faults.refuse("Something nobody has seen before.", times=None)
    assert phone().book(at(10)).code == "unavailable"
    alerts.send(SyncFailure.objects.get().pk, way="email")
    [mail] = mailoutbox
    assert mail.recipients() == ["ops@example.org", "boss@example.org"]
