"""`manage.py doctor`: each test breaks one thing and sees what the doctor says of it."""

from __future__ import annotations

import datetime as dt
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from booking.calcom.simulator.server import Simulator
from booking.calcom.subscriptions import TRIGGERS
from booking.models import Service, SyncFailure
from calls.models import RefusedDelivery, WebhookEvent
from config.celery import app
from customers.models import Branch, Company, RetellAgent
from customers.ops_command import CannotWork
from sync import work_deliveries
from sync.doctor.examine import examine_company, examine_installation
from sync.doctor.finding import Finding, Verdict
from sync.models import BEAT_LEASE, Lease, ReconciliationRun
from tests.commands import Ran, run_command
from tests.factories import BranchFactory, CustomerFactory, WebhookEventFactory
from tests.flows.conftest import make_salon
from tests.servers.loopback import LoopbackServer
from tests.servers.retell_agents_api import RetellWorkspace

KEY = "key_salon_0123456789"
NUMBER = "+493012345678"
SECRETS = (KEY, "cal_test_key", "whsec_salon")
OK, WARNING, FAILED, UNCHECKED = Verdict.OK, Verdict.WARNING, Verdict.FAILED, Verdict.UNCHECKED


@pytest.fixture
def retell(settings: Any) -> Iterator[RetellWorkspace]:
    with RetellWorkspace(key=KEY) as workspace:
        settings.RETELL_BASE_URL = workspace.origin
        yield workspace


@pytest.fixture
def healthy(
    salon: Company, calcom: Simulator, retell: RetellWorkspace, live_server: Any, settings: Any
) -> str:
    """A company at which nothing is wrong; the value is its slug."""
    settings.PUBLIC_URL = live_server.url
    calcom.state.account().owner.time_zone = "Europe/Berlin"
    retell.add_number(NUMBER)
    RetellAgent.objects.all().delete()
    assert run_command("webhooks").status == 0
    # Done, with the remark that our address is a local one.
    assert run_command("retell_agent", "--company", "salon", "--push").status == 1
    reconciled(salon)
    now = timezone.now()
    Lease.objects.create(
        name=BEAT_LEASE, holder="h", acquired_at=now, renewed_at=now, expires_at=now + dt.timedelta(minutes=1)
    )
    return salon.slug


def reconciled(company: Company, *, hours: float = 0.5, **values: Any) -> ReconciliationRun:
    ended = timezone.now() - dt.timedelta(hours=hours)
    options = {"scope": "full", "outcome": "complete", "started_at": ended, "finished_at": ended, **values}
    return ReconciliationRun.objects.create(company=company, **options)


@pytest.fixture
def examine(healthy: str) -> Callable[..., list[Finding]]:
    """What is found about the company, or only what one check says of one subject."""

    def run(check: str | None = None, subject: str | None = None) -> list[Finding]:
        found = examine_company(healthy, now=timezone.now())
        for finding in found:
            assert bool(finding.remedy) == (finding.verdict is not OK), finding
            assert not any(secret in f"{finding.said} {finding.remedy}" for secret in SECRETS)
        return [each for each in found if check in (None, each.check) and subject in (None, "", each.subject)]

    return run


@pytest.fixture
def only(examine: Callable[..., list[Finding]]) -> Callable[..., Finding]:
    def find(check: str, subject: str | None = None) -> Finding:
        (finding,) = examine(check, subject)
        return finding

    return find


def doctor(*arguments: str) -> Ran:
    ran = run_command("doctor", *arguments)
    assert not any(secret in ran.text for secret in SECRETS)
    return ran


def not_ok(findings: list[Finding]) -> list[tuple[str, str, Verdict]]:
    return [(each.check, each.subject, each.verdict) for each in findings if each.verdict is not OK]


@contextmanager
def answering(status: int, *, seconds_off: float = 0) -> Iterator[str]:
    """Something on the way that answers everything by itself; the value is its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response_only(status)
            moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds_off)
            self.send_header("Date", format_datetime(moment, usegmt=True))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *arguments: Any) -> None:
            return

    with LoopbackServer(Handler) as server:
        yield server.origin


# --- The command


def test_where_nothing_is_wrong_nothing_is_found(healthy, celery_worker_process):
    ran = doctor("--json")
    report = ran.report
    wrong = [each for each in report["installation"] if each["verdict"] != "ok"]
    assert [each["check"] for each in wrong] == ["public address"]  # a local one, in a test
    assert {each["verdict"] for each in report["companies"]["salon"]} == {"ok"}
    assert {each["check"] for each in report["companies"]["salon"]} == {
        "Cal.com key", "time zone", "event type", "event type kind", "duration", "e-mail policy",
        "shared address", "facts on record", "webhook subscriptions", "webhook round trip", "Retell key",
        "Retell phone number", "Retell agent's webhook", "Retell agent's tools", "clock", "reconciliation",
        "refused deliveries", "dead deliveries", "waiting deliveries", "sync failures",
    }  # fmt: skip
    assert {each["check"] for each in report["installation"]} == {
        "settings", "public address", "database", "migrations", "cache", "broker", "workers", "Beat",
    }  # fmt: skip
    assert (ran.status, report["failed"], report["could_not_check"], report["warning"]) == (0, 0, 0, 1)


def test_what_failed_is_shown_with_its_remedy_and_makes_the_status_1(healthy):
    Service.objects.filter(slug="shave").update(duration_minutes=45)
    ran = doctor("--company", "salon")
    assert ran.status == 1
    assert "  FAILED  duration (shave): The service takes 45 minutes" in ran.text
    assert "          → Make the two equal" in ran.text
    assert "  ok      Cal.com key: Cal.com accepts the key." in ran.text
    assert ran.text.splitlines()[-1].startswith("1 company: ")


def test_what_could_not_be_checked_makes_the_status_2(healthy, calcom):
    calcom.faults.outage("5xx")
    ran = doctor("--json")
    assert ran.status == 2
    assert ran.report["could_not_check"] == 1


def test_as_a_process_it_prints_one_json_object_and_ends(healthy, run_manage, live_server, retell):
    away = {"PUBLIC_URL": live_server.url, "RETELL_BASE_URL": retell.origin}
    done = run_manage("doctor", "--json", env=away)
    report = json.loads(done.stdout)
    failed = [each["check"] for each in report["installation"] if each["verdict"] == "failed"]
    assert (done.returncode, failed) == (1, ["workers"])
    assert {each["verdict"] for each in report["companies"]["salon"]} == {"ok"}
    assert not any(secret in done.stdout + done.stderr for secret in SECRETS)


def test_an_unknown_company_is_no_work(healthy):
    with pytest.raises(CannotWork, match="nobody") as refused:
        call_command("doctor", "--company", "nobody")
    assert refused.value.returncode == 2


def test_nothing_is_changed_but_for_the_ping(examine, calcom, retell):
    def rows() -> dict[str, int]:
        tables = connection.introspection.table_names()
        with connection.cursor() as cursor:
            counts = {}
            for table in tables:
                cursor.execute(f"SELECT count(*) FROM {connection.ops.quote_name(table)}")
                counts[table] = cursor.fetchone()[0]
        return counts

    before, changes = rows(), len(retell.changes)
    calcom.clear_log()
    examine()
    assert {each.method for each in calcom.log} == {"GET"}
    assert len(retell.changes) == changes
    after = rows()
    assert after.pop("webhook_events") == before.pop("webhook_events") + 1
    assert after == before


def test_one_company_whose_secrets_cannot_be_opened_hides_no_other(healthy, calcom):
    make_salon(calcom, slug="aaa", number="+493099999999")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE companies SET calcom_api_key = 'enc1:lost' WHERE slug = 'aaa'")
    (finding,) = examine_company("aaa", now=timezone.now())
    assert (finding.check, finding.verdict) == ("stored secrets", FAILED)
    assert "FIELD_ENCRYPTION_KEY" in finding.remedy
    ran = doctor("--json")
    assert ran.status == 1
    assert [each["verdict"] for each in ran.report["companies"]["aaa"]] == ["failed"]
    assert {each["verdict"] for each in ran.report["companies"]["salon"]} == {"ok"}


def test_a_key_that_opens_no_secret_at_all_does_not_end_the_examination(healthy, settings):
    settings.FIELD_ENCRYPTION_KEY = "not a key"
    ran = doctor("--json")
    assert ran.status == 2
    (company,) = ran.report["companies"]["salon"]
    assert (company["check"], company["verdict"]) == ("company", "could not check")
    wrong = [each for each in ran.report["installation"] if "config.E003" in each["said"]]
    assert [each["verdict"] for each in wrong] == ["failed"]


# --- Cal.com


def test_a_key_that_cal_com_refuses_is_found_and_nothing_else_is_asked_with_it(examine):
    Company.objects.update(calcom_api_key="cal_wrong")
    found = examine()
    assert not_ok(found) == [("Cal.com key", "", FAILED)]
    assert "API keys" in found[0].remedy
    assert "event type" not in {each.check for each in found}


def test_a_company_without_a_cal_com_key_books_nothing(examine):
    Company.objects.update(calcom_api_key="")
    assert not_ok(examine()) == [("Cal.com key", "", FAILED)]


def test_a_second_key_that_is_refused_is_told_from_the_first(examine):
    Company.objects.update(calcom_reconcile_api_key="cal_wrong")
    assert not_ok(examine()) == [("Cal.com reconciliation key", "", FAILED)]


@pytest.mark.parametrize(
    ("column", "check"),
    [("calcom_api_key", "Cal.com key"), ("calcom_reconcile_api_key", "Cal.com reconciliation key")],
)
def test_a_key_that_no_request_can_carry_is_found(examine, column, check):
    Company.objects.update(**{column: "cal_live_\u2022\u2022\u2022\u2022"})
    (finding,) = [each for each in examine() if each.verdict is not OK]
    assert (finding.check, finding.verdict) == (check, FAILED)
    assert "API key" in finding.remedy


def test_an_address_without_an_api_is_found(examine, calcom):
    Company.objects.update(calcom_base_url=f"{calcom.url}/v9")
    (finding,) = [each for each in examine() if each.verdict is not OK]
    assert (finding.check, finding.verdict) == ("Cal.com key", FAILED)
    assert "base URL" in finding.remedy


def test_a_cal_com_that_is_silent_could_not_be_checked_and_holds_nothing_up(examine, calcom):
    calcom.faults.outage("timeout")
    began = time.monotonic()
    found = examine()
    assert time.monotonic() - began < 30
    assert not_ok(found) == [("Cal.com key", "", UNCHECKED)]


def test_another_time_zone_at_cal_com_is_a_warning(examine, calcom):
    calcom.state.account().owner.time_zone = "America/New_York"
    (finding,) = [each for each in examine() if each.verdict is not OK]
    assert (finding.check, finding.verdict) == ("time zone", WARNING)
    assert "Europe/Berlin here, America/New_York at Cal.com" in finding.said


def test_a_time_zone_of_another_name_or_of_a_branch_is_fine(only, calcom, salon):
    calcom.state.account().owner.time_zone = "Europe/Vienna"
    assert only("time zone").verdict is OK
    calcom.state.account().owner.time_zone = "America/New_York"
    Branch.objects.update(timezone="America/New_York")
    assert only("time zone").verdict is OK


def test_an_event_type_that_is_gone_is_found(only, calcom, haircut):
    del calcom.state.account().event_types[haircut.calcom_event_type_id]
    finding = only("event type", "haircut")
    assert finding.verdict is FAILED
    assert str(haircut.calcom_event_type_id) in finding.said
    assert only("event type", "colour").verdict is OK


def test_an_event_type_of_another_account_is_found(only, calcom, haircut):
    account = calcom.state.add_account("studio", api_key="cal_studio_key", owner="otto")
    other = calcom.state.add_event_type("theirs", account=account)
    haircut.calcom_event_type_id = other.id
    haircut.save()
    finding = only("event type", "haircut")
    assert finding.verdict is FAILED
    assert "switch it off" in finding.remedy


def test_an_event_type_that_cannot_be_read_could_not_be_checked(only, calcom, haircut):
    calcom.faults.add(
        "event_type", status=500, body={}, times=3, path_contains=str(haircut.calcom_event_type_id)
    )
    assert only("event type", "haircut").verdict is UNCHECKED
    assert only("event type", "haircut").verdict is OK


def test_a_company_without_an_active_service_is_found(only):
    Service.objects.update(is_active=False)
    assert only("event type").verdict is FAILED


@pytest.mark.parametrize("key", ["seats", "paid"])
def test_an_event_type_that_does_not_suit_the_phone_is_found(only, calcom, haircut, key):
    haircut.calcom_event_type_id = calcom.state.event_type(key).id
    haircut.save()
    assert only("event type kind", "haircut").verdict is FAILED
    assert only("event type kind", "colour").verdict is OK


def test_a_recurring_event_type_is_found(only, calcom, haircut):
    calcom.faults.add(
        "event_type",
        path_contains=str(haircut.calcom_event_type_id),
        patch={"recurrence": {"interval": 1, "occurrences": 4, "frequency": "weekly"}},
        times=None,
    )
    finding = only("event type kind", "haircut")
    assert finding.verdict is FAILED
    assert "recurrence" in finding.said


def test_another_duration_than_the_event_type_has_is_found(only, haircut):
    Service.objects.filter(pk=haircut.pk).update(duration_minutes=45)
    finding = only("duration", "haircut")
    assert finding.verdict is FAILED
    assert "45 minutes" in finding.said


def test_an_address_that_is_demanded_and_cannot_be_made_up_is_found(only):
    Company.objects.update(attendee_email_domain="")
    assert only("e-mail policy", "massage").verdict is FAILED
    assert only("e-mail policy", "haircut").verdict is WARNING


def test_a_round_robin_whose_callers_share_an_address_is_a_trap(only, salon):
    CustomerFactory.create_batch(2, company=salon, email="front-desk@example.org")
    assert only("shared address", "colour").verdict is OK
    Company.objects.update(attendee_email_domain="")
    assert only("shared address", "colour").verdict is WARNING  # their numbers tell them apart
    CustomerFactory(company=salon, email="front-desk@example.org", phone=None)
    finding = only("shared address", "colour")
    assert finding.verdict is FAILED
    assert "front-desk" not in finding.said
    assert "attendee e-mail domain" in finding.remedy
    assert only("shared address", "haircut").verdict is OK


def test_facts_that_are_not_those_of_cal_com_any_more_are_found(only, haircut):
    Service.objects.filter(pk=haircut.pk).update(
        learned_event_type_id=haircut.calcom_event_type_id, scheduling="round_robin", accepts_notes=True
    )
    finding = only("facts on record", "haircut")
    assert finding.verdict is WARNING
    assert finding.remedy == "Run: manage.py sync_services --company salon"


def test_a_service_that_is_flagged_although_its_event_type_is_there_is_found(only, haircut):
    Service.objects.filter(pk=haircut.pk).update(vanished_at=timezone.now())
    assert only("facts on record", "haircut").verdict is FAILED


# --- Webhooks


def webhook_of_the_haircut(calcom: Simulator) -> Any:
    event_type_id = calcom.state.event_type("open").id
    webhooks = calcom.state.account().webhooks.values()
    (webhook,) = [each for each in webhooks if each.event_type_id == event_type_id]
    return webhook


def test_an_event_type_that_tells_nobody_is_found(only, calcom):
    del calcom.state.account().webhooks[webhook_of_the_haircut(calcom).id]
    finding = only("webhook subscriptions")
    assert (finding.verdict, finding.subject) == (FAILED, "haircut")
    assert finding.remedy == "Run: manage.py webhooks --company salon"


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"secret": "whsec_forgotten"}, "secret"),
        ({"triggers": ["BOOKING_CREATED"]}, "triggers"),
        ({"active": False}, "inactive"),
    ],
)
def test_a_subscription_that_is_wrong_is_found(only, calcom, wrong, name):
    for field, value in wrong.items():
        setattr(webhook_of_the_haircut(calcom), field, value)
    finding = only("webhook subscriptions")
    assert finding.verdict is FAILED
    assert f"({name})" in finding.said


def test_subscriptions_that_cannot_be_read_could_not_be_checked(only, calcom, haircut):
    place = f"/event-types/{haircut.calcom_event_type_id}/webhooks"
    calcom.faults.add("webhooks", path_contains=place, patch={"id": None}, times=None)
    finding = only("webhook subscriptions")
    assert (finding.verdict, finding.subject) == (UNCHECKED, "haircut")


def test_a_subscription_of_another_address_is_found(only, calcom):
    webhook = webhook_of_the_haircut(calcom)
    webhook.url = webhook.url.replace("localhost", "old.example.org")
    finding = only("webhook subscriptions")
    assert finding.verdict is FAILED
    assert "address" in finding.said


def test_a_subscription_too_many_is_a_warning(only, calcom, salon):
    webhook = webhook_of_the_haircut(calcom)
    calcom.state.add_webhook("salon", url=webhook.url, triggers=list(TRIGGERS), secret=webhook.secret)
    finding = only("webhook subscriptions")
    assert finding.verdict is WARNING
    assert "twice" in finding.said


def test_a_company_without_a_webhook_secret_is_found_and_given_none(examine):
    Company.objects.update(calcom_webhook_secret="")
    found = examine()
    assert ("webhook subscriptions", "", FAILED) in not_ok(found)
    assert ("webhook round trip", "", FAILED) in not_ok(found)
    assert Company.objects.get().calcom_webhook_secret == ""


def test_the_ping_comes_in_by_the_public_address_and_a_worker_ignores_it(only, salon):
    finding = only("webhook round trip")
    assert finding.verdict is OK
    ping = WebhookEvent.objects.get(company=salon)
    assert (ping.event_type, ping.provider) == ("PING", "calcom")
    assert f"delivery {ping.pk}" in finding.said
    work_deliveries.work_due(now=timezone.now())
    ping.refresh_from_db()
    assert ping.status == WebhookEvent.Status.IGNORED


def test_every_ping_is_a_delivery_of_its_own(only):
    only("webhook round trip")
    assert only("webhook round trip").verdict is OK
    assert WebhookEvent.objects.count() == 2


def test_a_public_address_at_which_nobody_listens_is_found(only, settings):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings.PUBLIC_URL = f"http://127.0.0.1:{free.getsockname()[1]}"
        finding = only("webhook round trip")
    assert finding.verdict is FAILED
    assert "cannot be reached" in finding.said


def test_a_public_address_that_loses_its_path_is_found(only, settings, live_server):
    settings.PUBLIC_URL = f"{live_server.url}/elsewhere"
    finding = only("webhook round trip")
    assert finding.verdict is FAILED
    assert "with 404" in finding.said


def test_a_host_that_is_not_allowed_is_found(only, settings):
    settings.ALLOWED_HOSTS = ["other.example.org"]
    finding = only("webhook round trip")
    assert finding.verdict is FAILED
    assert "ALLOWED_HOSTS" in finding.remedy


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (200, "another installation"),
        (301, "do not follow"),
        (401, "X-Cal-Signature-256"),
        (413, "1 MiB"),
        (418, "what stands between"),
        (502, "logs of the proxy"),
    ],
)
def test_something_on_the_way_that_answers_by_itself_is_found(only, settings, status, remedy):
    with answering(status) as address:
        settings.PUBLIC_URL = address
        finding = only("webhook round trip")
    assert finding.verdict is FAILED
    assert remedy in finding.remedy


def test_a_server_that_knows_another_secret_is_found(only, settings, live_server):
    other = Company.objects.create(slug="other", name="Other", calcom_webhook_secret="whsec_other")
    # A proxy that leads to another company's endpoint: ours stands behind the question mark.
    settings.PUBLIC_URL = f"{live_server.url}/hooks/{other.endpoint_id}/calcom?"
    finding = only("webhook round trip")
    assert finding.verdict is FAILED
    assert "with 401" in finding.said


def test_without_a_public_address_the_installation_says_so_once(examine, settings):
    settings.PUBLIC_URL = ""
    checks = {each.check for each in examine()}
    assert not checks & {"webhook subscriptions", "webhook round trip", "Retell agent's tools"}
    (finding,) = [each for each in examine_installation() if each.check == "public address"]
    assert finding.verdict is FAILED


# --- Clocks


@pytest.mark.parametrize(("off", "verdict"), [(5, OK), (120, WARNING), (-120, WARNING), (-3600, FAILED)])
def test_a_clock_that_is_off_is_found(only, settings, off, verdict):
    with answering(401, seconds_off=off) as address:
        settings.RETELL_BASE_URL = address
        finding = only("clock")
    assert finding.verdict is verdict
    assert verdict is OK or ("behind" if off > 0 else "ahead of") in finding.said


@pytest.mark.parametrize(("off", "verdict"), [(0, OK), (120, WARNING), (-3600, FAILED)])
def test_cal_com_tells_the_time_as_well(only, settings, calcom, off, verdict):
    settings.RETELL_BASE_URL = "http://127.0.0.1:1"
    calcom.clock.advance(off)
    finding = only("clock")
    assert finding.verdict is verdict
    assert "that of Cal.com" in finding.said


def test_without_anybody_to_ask_the_clock_could_not_be_checked(only, settings, calcom):
    calcom.faults.outage("reset")
    settings.RETELL_BASE_URL = "http://127.0.0.1:1"
    assert only("clock").verdict is UNCHECKED


# --- Retell


def agent_of(retell: RetellWorkspace) -> tuple[dict[str, Any], dict[str, Any]]:
    (agent_id,) = retell.agents
    return retell.published(agent_id)


def test_a_key_that_retell_refuses_is_found(examine, retell):
    retell.key = "key_another"
    assert not_ok(examine()) == [("Retell key", "", FAILED)]


def test_a_company_without_a_retell_key_is_found(examine):
    Company.objects.update(retell_api_key="")
    assert not_ok(examine()) == [("Retell key", "", FAILED)]


def test_a_retell_that_is_away_could_not_be_checked(examine, retell):
    retell.fail("list-agents")
    assert not_ok(examine()) == [("Retell key", "", UNCHECKED)]


def test_a_tool_that_calls_another_address_is_found(only, retell):
    _, llm = agent_of(retell)
    llm["general_tools"][2]["url"] = "https://old.example.org/hooks/1/retell/functions/book_appointment"
    finding = only("Retell agent's tools")
    assert finding.verdict is FAILED
    assert "old.example.org" in finding.said
    assert finding.remedy == "Run: manage.py retell_agent --company salon --push"


def test_an_agent_that_tells_somebody_else_of_its_calls_is_found(only, retell):
    agent, _ = agent_of(retell)
    agent["webhook_url"] = "https://old.example.org/events?key=abc"
    finding = only("Retell agent's webhook")
    assert finding.verdict is FAILED
    assert "(old.example.org)" in finding.said


def test_an_agent_without_a_webhook_or_with_too_few_events_is_found(only, retell):
    agent, _ = agent_of(retell)
    agent["webhook_events"] = ["call_started", "call_ended"]
    assert "call_analyzed" in only("Retell agent's webhook").said
    agent["webhook_url"] = None
    assert only("Retell agent's webhook").verdict is WARNING


def test_a_draft_that_no_caller_hears_is_not_looked_at(only, retell):
    (agent_id,) = retell.agents
    retell.create_draft(agent_id, {"base_version": 0})["webhook_url"] = "https://try.example.org"
    assert only("Retell agent's webhook").verdict is OK


def test_the_version_that_a_number_is_pinned_to_is_looked_at(examine, retell):
    (agent_id,) = retell.agents
    draft = retell.create_draft(agent_id, {"base_version": 0})
    draft["webhook_url"] = "https://try.example.org"
    retell.numbers[NUMBER]["inbound_agents"][0]["agent_version"] = draft["version"]
    assert not_ok(examine()) == [("Retell agent's webhook", agent_id, FAILED)]


def test_an_agent_that_retell_does_not_have_is_found(only, salon):
    RetellAgent.objects.create(company=salon, branch=salon.branches.get(), agent_id="agent_lost")
    finding = only("Retell agent", "agent_lost")
    assert finding.verdict is FAILED
    assert "does not have" in finding.said


def test_an_agent_that_is_not_published_is_a_warning(only, retell):
    agent, _ = agent_of(retell)
    agent["is_published"] = False
    assert only("Retell agent").verdict is WARNING


def test_an_agent_with_an_engine_of_another_kind_could_not_be_checked(only, retell):
    agent, _ = agent_of(retell)
    agent["response_engine"] = {"type": "conversation-flow", "conversation_flow_id": "cf_1"}
    assert only("Retell agent's tools").verdict is UNCHECKED


def test_a_number_that_asks_somebody_else_who_calls_is_found(only, retell, salon):
    retell.numbers[NUMBER]["inbound_webhook_url"] = "https://old.example.org/inbound"
    finding = only("Retell phone number")
    assert (finding.verdict, finding.subject) == (FAILED, NUMBER)
    assert f"/hooks/{salon.endpoint_id}/retell/inbound" in finding.remedy


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"inbound_webhook_url": None}, FAILED),
        ({"inbound_agents": []}, FAILED),
        ({"inbound_agents": None}, FAILED),
    ],
)
def test_a_number_that_reaches_no_agent_or_asks_nobody_is_found(only, retell, change, verdict):
    retell.numbers[NUMBER].update(change)
    assert only("Retell phone number").verdict is verdict


def test_a_number_that_retell_does_not_have_is_found(only, retell):
    del retell.numbers[NUMBER]
    assert only("Retell phone number").verdict is FAILED


def test_a_number_that_a_stranger_answers_is_found_and_the_stranger_looked_at(examine, retell):
    stranger = retell.add_agent(agent_name="By hand")
    retell.numbers[NUMBER]["inbound_agents"][0]["agent_id"] = stranger
    assert not_ok(examine()) == [
        ("Retell phone number", NUMBER, WARNING),
        ("Retell agent's webhook", stranger, WARNING),
        ("Retell agent's tools", stranger, FAILED),
    ]


def test_a_branch_without_an_agent_is_a_warning(only, salon):
    BranchFactory(company=salon, slug="nord")
    finding = only("Retell agent", "nord")
    assert finding.verdict is WARNING
    assert finding.remedy.endswith("--push --branch nord")


# --- Our own records


def test_a_reconciliation_that_does_not_come_any_more_is_found(only, salon):
    ReconciliationRun.objects.all().delete()
    assert only("reconciliation").verdict is WARNING  # a company of a minute ago
    reconciled(salon, hours=5)
    assert only("reconciliation").verdict is FAILED
    reconciled(salon, hours=0.1, is_dry_run=True)
    finding = only("reconciliation")
    assert finding.verdict is FAILED
    assert "manage.py reconcile --company salon" in finding.remedy


def test_a_reconciliation_that_never_came_is_found(only):
    ReconciliationRun.objects.all().delete()
    Company.objects.update(created_at=timezone.now() - dt.timedelta(days=1))
    assert only("reconciliation").verdict is FAILED


def test_a_reconciliation_that_was_not_complete_is_found(only, salon):
    reconciled(salon, hours=0.1, outcome="partial")
    assert only("reconciliation").verdict is WARNING
    ReconciliationRun.objects.filter(outcome="complete").delete()
    assert only("reconciliation").verdict is FAILED


@pytest.mark.parametrize(
    ("reason", "hours", "verdict"),
    [
        ("mismatch", 0.1, FAILED),
        ("stale", 0.1, FAILED),
        ("mismatch", 5, WARNING),
        ("missing", 0.1, WARNING),
        ("mismatch", 30, OK),
    ],
)
def test_deliveries_that_were_turned_away_lately_are_found(only, salon, reason, hours, verdict):
    last = timezone.now() - dt.timedelta(hours=hours)
    RefusedDelivery.objects.create(
        company=salon, provider="retell", reason=reason, hour=last, count=7, last_at=last
    )
    finding = only("refused deliveries")
    assert finding.verdict is verdict
    assert verdict is OK or "7 of Retell" in finding.said


def test_deliveries_turned_away_because_their_key_could_not_be_opened_are_not_blamed_on_retell(only, salon):
    now = timezone.now()
    RefusedDelivery.objects.create(
        company=salon, provider="retell", reason="unreadable_key", hour=now, count=7, last_at=now
    )
    finding = only("refused deliveries")
    assert finding.verdict is FAILED
    assert "FIELD_ENCRYPTION_KEY" in finding.remedy
    assert "dashboard" not in finding.remedy


def test_deliveries_that_were_given_up_are_found(only, salon):
    WebhookEventFactory(company=salon, status="dead", received_at=timezone.now())
    finding = only("dead deliveries")
    assert finding.verdict is FAILED
    assert "replay" in finding.remedy


def test_deliveries_that_nobody_works_are_found(only, salon):
    WebhookEventFactory(company=salon, due_at=timezone.now() - dt.timedelta(minutes=10))
    assert only("waiting deliveries").verdict is FAILED


def test_open_sync_failures_are_counted_and_those_asleep_are_not(only, salon):
    def open_one(subject: str, **values: Any) -> None:
        SyncFailure.objects.create(company=salon, failure_type="call_desync", subject=subject, **values)

    open_one("a", snoozed_until=timezone.now() + dt.timedelta(days=1), status="manual_review")
    assert only("sync failures").verdict is OK
    open_one("b")
    assert only("sync failures").verdict is WARNING
    open_one("c", status="manual_review")
    finding = only("sync failures")
    assert finding.verdict is FAILED
    assert "2 are open, 1 of them" in finding.said


# --- The installation


def installed(check: str) -> Finding:
    (finding,) = [each for each in examine_installation() if each.check == check]
    assert bool(finding.remedy) == (finding.verdict is not OK)
    return finding


def test_settings_that_are_not_safe_are_found(transactional_db, settings):
    settings.DEBUG = True
    settings.ALLOWED_HOSTS = ["*"]
    finding = installed("settings")
    assert finding.verdict is FAILED
    assert "config.E004" in finding.said
    assert "DEBUG=false" in finding.remedy


def test_layers_against_doubles_that_are_off_are_a_warning(transactional_db, settings):
    settings.DUPLICATE_PREVENTION_ENABLED = False
    finding = installed("settings")
    assert finding.verdict is WARNING
    assert "DUPLICATE_PREVENTION_ENABLED" in finding.said


def test_a_broker_that_is_away_is_found_and_its_password_kept(transactional_db, settings):
    settings.CELERY_BROKER_URL = "redis://:hunter2@127.0.0.1:1/0"
    finding = installed("broker")
    assert finding.verdict is FAILED
    assert "REDIS_URL" in finding.remedy
    assert "hunter2" not in str(finding)


def test_a_cache_that_forgets_is_found(transactional_db, settings):
    settings.CACHES = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/1",
            "OPTIONS": {"IGNORE_EXCEPTIONS": True},
        }
    }
    assert installed("cache").verdict is FAILED


def test_a_queue_that_no_worker_takes_from_is_found(transactional_db, celery_worker_process):
    app.control.cancel_consumer("long", reply=True)
    try:
        found = installed("workers")
    finally:
        app.control.add_consumer("long", reply=True)
    assert (found.verdict, found.said) == (FAILED, "1 answer; none takes from: long.")


def test_workers_and_a_beat_that_do_not_run_are_found(transactional_db):
    found = {each.check: each for each in examine_installation()}
    assert found["workers"].verdict is FAILED
    assert "celery" in found["workers"].remedy
    assert found["Beat"].verdict is FAILED
    assert "has never run" in found["Beat"].said


def test_a_beat_that_fell_silent_is_found(healthy):
    Lease.objects.update(renewed_at=timezone.now() - dt.timedelta(minutes=5))
    assert installed("Beat").verdict is FAILED


def test_a_migration_that_is_not_applied_is_found(transactional_db):
    applied = MigrationRecorder(connection).migration_qs.filter(app="sync").order_by("-name")
    last = applied.first()
    assert last is not None
    last.delete()
    try:
        finding = installed("migrations")
    finally:
        last.save(force_insert=True)
    assert finding.verdict is FAILED
    assert finding.remedy == "Run: manage.py migrate"
