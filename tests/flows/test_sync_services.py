"""`manage.py sync_services` against a Cal.com over HTTP: what it writes here; there it only reads."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections
from django.urls import reverse

from booking.models import Service, SyncFailure
from customers.models import Company
from customers.ops_command import CannotWork
from sync.tasks import sync_services as sync_task
from tests.commands import Ran, run_command
from tests.flows.conftest import make_salon
from tests.flows.phone import at

# The event types of the salon's services.
EVERYTHING = ("open", "roundrobin_open", "confirm_open", "single", "email_required")


class Run(Ran):
    def step(self, service: str) -> dict[str, Any]:
        (step,) = [each for each in self.report["companies"]["salon"]["steps"] if each["service"] == service]
        return dict(step)

    def outcome(self, service: str) -> tuple[str, str]:
        step = self.step(service)
        return step["verb"], step["outcome"]

    def changed(self, service: str) -> dict[str, Any]:
        return {each["field"]: each["after"] for each in self.step(service)["differences"]}


@pytest.fixture
def sync(salon: Company) -> Any:
    def run(*arguments: str, as_json: bool = True) -> Run:
        ran = run_command("sync_services", *arguments, *(["--json"] if as_json else []))
        assert "cal_test_key" not in ran.text
        return Run(ran.status, ran.text)

    return run


@pytest.fixture
def only_ours(calcom: Any, salon: Company) -> None:
    """No event type at Cal.com but those of the salon's services."""
    wanted = {calcom.state.event_type(key).id for key in EVERYTHING}
    account = calcom.state.account()
    for event_type_id in set(account.event_types) - wanted:
        del account.event_types[event_type_id]


def vanish(calcom: Any, key: str) -> Any:
    event_type = calcom.state.event_type(key)
    return event_type.account.event_types.pop(event_type.id)


def come_back(event_type: Any) -> None:
    event_type.account.event_types[event_type.id] = event_type


def page_of(service: Service) -> str:
    return reverse("admin:booking_service_change", args=[service.pk])


def form_of(service: Service) -> dict[str, Any]:
    """What is sent when it is saved, switched off."""
    return {
        "name": service.name,
        "slug": service.slug,
        "duration_minutes": service.duration_minutes,
        "calcom_event_type_id": service.calcom_event_type_id,
    }


def rows() -> list[Any]:
    return list(Service.objects.order_by("pk").values())


def only_reads(calcom: Any) -> bool:
    return all(entry.method == "GET" for entry in calcom.log)


# --- What an event type is like


def test_what_decides_our_rules_is_read_from_the_event_type(calcom, sync, haircut, salon, only_ours):
    event_type = calcom.state.event_type("open")
    event_type.requires_confirmation = True
    event_type.email_required = True
    event_type.phone_required = True
    event_type.minimum_notice_minutes = 120
    event_type.buffer_before = 5
    event_type.buffer_after = 10
    run = sync()
    assert run.outcome("haircut") == ("update", "done")
    haircut.refresh_from_db()
    assert haircut.is_learned
    assert haircut.scheduling == "one_host"
    assert (haircut.requires_confirmation, haircut.email_required, haircut.phone_required) == (True,) * 3
    assert haircut.minimum_notice_minutes == 120
    assert (haircut.buffer_before_minutes, haircut.buffer_after_minutes) == (5, 10)
    colour = salon.services.get(slug="colour")
    assert (colour.scheduling, colour.repeat_cannot_double) == ("round_robin", False)
    assert only_reads(calcom)


def test_a_hidden_address_field_demands_no_address(calcom, sync, salon, only_ours):
    event_type = calcom.state.event_type("email_required")
    assert sync().status == 0
    assert salon.services.get(slug="massage").email_required
    event_type.email_hidden = True
    assert sync().changed("massage") == {"email_required": False}


def test_running_it_twice_changes_nothing(calcom, sync, only_ours):
    first = sync()
    assert (first.status, first.report["changed"]) == (0, len(EVERYTHING))
    before = rows()
    second = sync()
    assert (second.status, second.report["changed"], second.report["left"]) == (0, 0, 0)
    assert rows() == before


def test_a_dry_run_says_the_same_and_changes_nothing(calcom, sync, haircut):
    vanish(calcom, "single")
    calcom.state.event_type("open").minutes = 45
    before = rows()
    planned = sync("--dry-run")
    assert rows() == before
    assert not SyncFailure.objects.exists()
    assert planned.status == 1
    done = sync()
    assert planned.report["planned"] == done.report["changed"] > 0
    services = [step["service"] for step in planned.report["companies"]["salon"]["steps"]]
    assert [planned.step(name)["verb"] for name in services] == [done.step(name)["verb"] for name in services]


def test_the_diff_is_shown_as_a_table(calcom, sync, only_ours):
    sync()
    calcom.state.event_type("open").minimum_notice_minutes = 60
    text = sync("--dry-run", as_json=False).text
    (line,) = [line for line in text.splitlines() if "haircut" in line]
    assert "minimum_notice_minutes: 0 → 60" in line
    assert "planned" in line
    assert "colour" not in text
    assert "1 to do" in text


# --- Length


def test_the_length_of_an_event_type_with_one_length_is_taken_over(calcom, sync, haircut, phone, only_ours):
    calcom.state.event_type("open").minutes = 45
    assert sync().changed("haircut")["duration_minutes"] == 45
    haircut.refresh_from_db()
    assert haircut.duration_minutes == 45
    assert phone().book(at(10)).code == "booked"


def test_a_length_that_an_event_type_does_not_have_is_reported_and_left(calcom, sync, haircut, only_ours):
    event_type = calcom.state.event_type("open")
    event_type.minutes, event_type.lengths = 60, [60, 90]
    run = sync()
    assert run.status == 1
    assert "takes 30 minutes" in run.step("haircut")["problem"]
    haircut.refresh_from_db()
    assert (haircut.duration_minutes, haircut.is_learned, haircut.has_several_lengths) == (30, False, True)
    failure = SyncFailure.objects.get()
    assert (failure.failure_type, failure.status) == ("config_error", "manual_review")
    event_type.lengths = [30, 60, 90]
    assert sync().status == 0
    failure.refresh_from_db()
    assert failure.status == "resolved"


def test_seats_sold_since_are_noticed_before_a_second_caller_sits_on_the_first(
    calcom, sync, haircut, phone, only_ours, verdict
):
    assert phone().book(at(9)).code == "booked"
    calcom.state.event_type("open").seats = 3
    assert sync().status == 1
    posted = len(calcom.requests("create"))
    assert phone(from_number="+4915187654321").book(at(10)).code == "unavailable"
    assert len(calcom.requests("create")) == posted
    verdict()


# --- Event types without a service


def test_an_event_type_without_a_service_is_proposed_and_booked_only_once_switched_on(
    calcom, sync, phone, salon, only_ours
):
    calcom.state.add_event_type("beard", slug="beard-trim", title="Bart", minutes=15, available="always")
    run = sync()
    assert (run.status, run.outcome("beard-trim")) == (1, ("create", "done"))
    beard = salon.services.get(slug="beard-trim")
    assert (beard.name, beard.duration_minutes, beard.is_active, beard.is_learned) == (
        "Bart",
        15,
        False,
        True,
    )
    assert phone().book(at(10), service="Bart").code == "unknown_service"
    assert not calcom.requests("create")
    assert sync().status == 0  # once proposed, it is for a person to decide
    beard.is_active = True
    beard.save()
    assert phone().book(at(10), service="Bart").code == "booked"


def test_a_slug_that_is_taken_is_not_taken_twice(calcom, sync, salon, only_ours):
    event_type = calcom.state.add_event_type("second", slug="haircut", title="Schnitt")
    assert sync().outcome(f"haircut-{event_type.id}") == ("create", "done")
    assert salon.services.filter(slug__startswith="haircut").count() == 2


def test_two_runs_at_once_propose_an_event_type_once(calcom, sync, salon, only_ours):
    """Ops run it while Beat does: the slug that is taken by then is the other run's own proposal."""
    new = calcom.state.add_event_type("new", slug="new", hosts=["olga"], available="always")

    def other_run(_exchange: object) -> None:
        try:
            sync()
        finally:
            connections.close_all()

    calcom.faults.add("event_type", path_contains=f"/{new.id}", call={"before_answer": other_run})
    sync()
    assert list(salon.services.filter(calcom_event_type_id=new.id).values_list("slug", flat=True)) == ["new"]


def test_event_types_of_the_team_are_found_too(calcom, sync, salon, only_ours):
    calcom.state.add_event_type("team_cut", slug="team-cut", scheduling="round_robin", hosts=["x", "y"])
    sync()
    assert salon.services.get(slug="team-cut").scheduling == "round_robin"


@pytest.mark.parametrize("status", [403, 404])
def test_a_key_without_access_to_teams_is_no_error(calcom, sync, only_ours, status):
    calcom.faults.refuse("No access to teams", operation="teams", status=status, times=20)
    run = sync()
    assert (run.status, run.report["failed"]) == (0, 0)


def test_what_cannot_be_booked_by_phone_is_not_proposed(calcom, sync, salon, only_ours):
    calcom.state.add_event_type("course", slug="course", seats=8)
    run = sync()
    assert run.status == 0
    assert run.outcome("course") == ("look", "kept")
    assert not salon.services.filter(slug="course").exists()


# --- Vanished


def test_a_service_whose_event_type_is_gone_is_flagged_and_never_booked(
    calcom, sync, phone, haircut, only_ours, verdict
):
    event_type = vanish(calcom, "open")
    run = sync()
    assert (run.status, run.outcome("haircut")) == (1, ("flag", "done"))
    haircut.refresh_from_db()
    assert haircut.vanished_at is not None
    assert haircut.is_active  # only a person switches it off
    failure = SyncFailure.objects.get()
    assert failure.failure_type == "config_error"
    assert failure.subject == f"calcom:event-type:{haircut.calcom_event_type_id}"
    assert phone().book(at(10)).code == "unknown_service"
    assert not calcom.requests("create")
    again = sync()
    assert (again.status, again.report["changed"]) == (1, 0)
    assert SyncFailure.objects.count() == 1
    come_back(event_type)
    assert sync().status == 0
    haircut.refresh_from_db()
    failure.refresh_from_db()
    assert (haircut.vanished_at, failure.status) == (None, "resolved")
    assert phone().book(at(10)).code == "booked"
    verdict()


def test_a_service_whose_event_type_is_gone_can_be_switched_off(
    calcom, sync, haircut, only_ours, admin_client
):
    vanish(calcom, "open")
    sync()
    page, form = page_of(haircut), form_of(haircut)
    assert admin_client.post(page, form | {"is_active": "on"}).status_code == 200
    assert admin_client.post(page, form).status_code == 302
    assert sync().status == 0
    assert SyncFailure.objects.get().status == "resolved"


def test_a_service_can_be_changed_while_the_key_is_revoked(calcom, salon, haircut, admin_client):
    calcom.state.revoke_key(salon.calcom_api_key)
    Service.objects.filter(pk=haircut.pk).update(vanished_at=at(8))
    typed = form_of(haircut) | {"is_active": "on", "spoken_name": "cut"}
    assert admin_client.post(page_of(haircut), typed).status_code == 302
    haircut.refresh_from_db()
    assert haircut.spoken_name == "cut"
    assert haircut.vanished_at is not None
    # Of another event type nobody knows that it is gone.
    other = calcom.state.event_type("collective").id
    assert admin_client.post(page_of(haircut), typed | {"calcom_event_type_id": other}).status_code == 302
    haircut.refresh_from_db()
    assert haircut.vanished_at is None


def test_what_cal_com_says_of_an_event_type_is_shown_without_the_key_and_the_people_in_it(
    calcom, salon, haircut, admin_client
):
    said = f"{salon.calcom_api_key} of ann@salon.example does not own this event type"
    calcom.faults.refuse(said, operation="event_type", status=403)
    typed = form_of(haircut) | {"is_active": "on", "spoken_name": "cut"}
    page = admin_client.post(page_of(haircut), typed).content.decode()
    assert "does not own this event type" in page
    assert salon.calcom_api_key not in page
    assert "ann@salon.example" not in page


def test_not_being_listed_is_not_being_gone(calcom, sync, haircut, only_ours):
    calcom.faults.refuse("No access to teams", operation="teams", status=403, times=20)
    run = sync()  # the round robin is in no listing that this key can read
    assert run.status == 0
    assert not Service.objects.exclude(vanished_at=None).exists()


@pytest.mark.parametrize("status", [500, 502])
def test_a_calcom_that_is_down_proves_nothing(calcom, sync, status):
    before = rows()
    calcom.faults.server_error(commit=False, status=status, operation="event_type", times=200)
    run = sync()
    assert (run.status, run.report["failed"]) == (2, 1)
    assert rows() == before
    assert not SyncFailure.objects.exists()


def test_a_404_about_something_else_proves_nothing(calcom, sync, only_ours):
    calcom.faults.refuse("User not found", operation="event_type", status=404, times=200)
    sync()
    assert not Service.objects.exclude(vanished_at=None).exists()


@pytest.mark.parametrize(
    "said",
    [
        {"id": 113, "lengthInMinutes": 90},  # of another event type
        {"id": -5},
        {"id": True},
        {"id": 2**63},
        {"lengthInMinutes": -30},
        {"lengthInMinutes": 10**12},
        {"lengthInMinutes": "45"},
        {"lengthInMinutesOptions": "15,30"},
        {"lengthInMinutesOptions": [30, "45"]},
        {"minimumBookingNotice": 10**12},
        {"schedulingType": 5},
        {"confirmationPolicy": "always"},
        {"seats": [{"seatsPerTimeSlot": 3}]},
        {"recurrence": "weekly"},
        {"bookingFields": {"email": {"required": True}}},
    ],
    ids=str,
)
def test_an_event_type_that_cannot_be_read_is_left_and_the_others_are_done(
    calcom, sync, haircut, salon, only_ours, said
):
    """What decides which repetition is harmless is never the harmless one by default."""
    before = Service.objects.values().get(pk=haircut.pk)
    fault = read_as(calcom, "open", said)
    run = sync()
    assert (run.status, run.report["left"], run.outcome("haircut")) == (1, 1, ("look", "left"))
    assert "unreadable" in run.step("haircut")["problem"]
    assert Service.objects.values().get(pk=haircut.pk) == before
    assert all(each.is_learned for each in salon.services.exclude(pk=haircut.pk))
    calcom.faults.remove(fault)
    assert sync().status == 0


def test_an_event_type_without_a_service_that_cannot_be_read_hides_no_other(calcom, sync, salon, only_ours):
    calcom.state.add_event_type("first", slug="first")
    calcom.state.add_event_type("second", slug="second")
    fault = read_as(calcom, "first", {"id": "one"})
    run = sync()
    assert (run.status, run.report["failed"]) == (1, 0)
    assert salon.services.get(slug="second").is_learned
    assert not salon.services.filter(slug="first").exists()
    calcom.faults.remove(fault)
    sync()
    assert salon.services.get(slug="first").is_learned


def test_what_cannot_be_told_of_an_event_type_closes_no_ticket(calcom, sync, haircut, only_ours):
    calcom.state.event_type("open").seats = 3
    assert sync().status == 1
    fault = read_as(calcom, "open", {"seats": "3"})
    assert sync().status == 1
    calcom.faults.remove(fault)
    refusal = f"User does not own event type {haircut.calcom_event_type_id}"
    place = one(calcom, "open")
    calcom.faults.refuse(refusal, operation="event_type", status=403, path_contains=place, times=2)
    assert sync().status == 1
    assert SyncFailure.objects.get().is_open
    Service.objects.filter(pk=haircut.pk).update(is_active=False)
    assert sync().status == 1
    assert SyncFailure.objects.get().status == "resolved", "no service uses it any more"


def one(calcom: Any, key: str) -> str:
    """The address of this event type alone, in no listing."""
    return f"/event-types/{calcom.state.event_type(key).id}"


def read_as(calcom: Any, key: str, said: dict[str, Any]) -> int:
    return int(calcom.faults.add("event_type", path_contains=one(calcom, key), patch=said, times=None))


def test_a_switched_off_service_that_is_gone_is_nobodys_work(calcom, sync, salon, only_ours):
    salon.services.filter(slug="shave").update(is_active=False)
    vanish(calcom, "single")
    sync()
    assert salon.services.get(slug="shave").vanished_at is not None
    assert not SyncFailure.objects.exists()
    assert sync().status == 0


def test_the_ticket_closes_when_the_service_is_pointed_at_another_event_type(
    calcom, sync, haircut, only_ours
):
    vanish(calcom, "open")
    sync()
    other = calcom.state.add_event_type("new", slug="new", hosts=["olga"], available="always")
    haircut.refresh_from_db()
    haircut.calcom_event_type_id = other.id
    haircut.save()
    sync()
    haircut.refresh_from_db()
    assert haircut.vanished_at is None
    assert SyncFailure.objects.get().status == "resolved"


def test_tickets_about_something_else_stay_open(calcom, sync, salon, haircut, only_ours):
    failure = SyncFailure.objects.create(
        company=salon,
        failure_type="config_error",
        subject=f"calcom:event-type:{haircut.calcom_event_type_id}",
        error_message="Cal.com refuses our bookings.",
        error_details={"kind": "contract"},
        status="manual_review",
        detected_at=at(10),
        last_seen_at=at(10),
    )
    sync()
    failure.refresh_from_db()
    assert failure.status == "manual_review"


# --- Companies


def test_a_wrong_key_is_told_and_the_other_companies_are_done(calcom, sync, salon, only_ours):
    other = make_salon(calcom, slug="studio", number="+493099999999")
    salon.calcom_api_key = "cal_wrong"
    salon.save()
    run = sync()
    assert run.status == 2
    assert "401" in run.report["companies"]["salon"]["failed"]
    assert not run.report["companies"]["studio"]["failed"]
    assert not salon.services.exclude(vanished_at=None).exists()
    assert other.services.get(slug="haircut").is_learned


def test_only_the_named_company_is_worked(calcom, sync, salon):
    make_salon(calcom, slug="studio", number="+493099999999")
    assert list(sync("--company", "studio").report["companies"]) == ["studio"]
    with pytest.raises(CannotWork):
        sync("--company", "nobody")


def test_the_daily_task_does_the_same(calcom, salon, haircut, only_ours):
    sync_task(company_id=salon.pk)
    haircut.refresh_from_db()
    assert haircut.is_learned
