"""The figures and the chart on the admin's first page, and the inbox of failures."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from booking.models import SyncFailure
from sync import admin_index
from tests import factories as make

pytestmark = pytest.mark.django_db


@pytest.fixture
def ops():
    return User.objects.create_superuser("ops", "ops@example.org")


def figures(user, now=make.MOMENT):
    return {str(figure.title): figure for figure in admin_index.overview(user=user, now=now).figures}


def test_open_failures_are_counted_by_type(ops):
    make.SyncFailureFactory.create_batch(2, failure_type="orphaned_calcom")
    make.SyncFailureFactory(failure_type="config_error", status="manual_review")
    make.SyncFailureFactory(failure_type="config_error", status="resolved")
    figure = figures(ops)["Open failures"]
    assert figure.count == 3
    assert {(str(name), count) for name, count, _url in figure.parts} == {
        ("configuration", 1),
        ("booking at Cal.com without appointment", 2),
    }


def test_only_attempts_of_unknown_outcome_are_counted_as_work(ops):
    for state in ("unknown", "unknown", "claimed", "succeeded", "refused"):
        make.BookingAttemptFactory(state=state)
    figure = figures(ops)["Attempts of unknown outcome"]
    assert figure.count == 2
    assert [count for _name, count, _url in figure.parts] == [1]


def test_open_callbacks_are_counted(ops):
    make.CallbackRequestFactory()
    make.CallbackRequestFactory(status="done")
    assert figures(ops)["Open callbacks"].count == 1


def test_overdue_callbacks_are_counted_among_the_open_ones(ops):
    for minutes in (-5, -1, 1):
        make.CallbackRequestFactory(due_at=make.MOMENT + dt.timedelta(minutes=minutes))
    make.CallbackRequestFactory(due_at=make.MOMENT - dt.timedelta(days=1), status="done")
    figure = figures(ops)["Open callbacks"]
    assert figure.count == 3
    assert [(str(name), count) for name, count, _url in figure.parts] == [("overdue", 2)]


def test_today_is_the_day_of_each_company(ops):
    berlin = make.BranchFactory(company=make.CompanyFactory(timezone="Europe/Berlin"))
    angeles = make.BranchFactory(company=make.CompanyFactory(timezone="America/Los_Angeles"))
    # 23:30 UTC on the first is the second in Berlin and still the first in Los Angeles.
    late = dt.datetime(2026, 12, 1, 23, 30, tzinfo=dt.UTC)
    for branch in (berlin, angeles):
        make.AppointmentFactory(call=make.CallFactory(branch=branch), starts_at=late)
    make.AppointmentFactory(call=make.CallFactory(branch=angeles), starts_at=late, status="cancelled")
    assert figures(ops, now=dt.datetime(2026, 12, 1, 20, 0, tzinfo=dt.UTC))["Appointments today"].count == 1
    assert figures(ops, now=dt.datetime(2026, 12, 2, 9, 0, tzinfo=dt.UTC))["Appointments today"].count == 1


def test_the_chart_has_a_bar_for_each_of_fourteen_days_to_scale(ops):
    company = make.CompanyFactory(timezone="Europe/Berlin")
    appointment = make.AppointmentFactory(call=make.CallFactory(branch=make.BranchFactory(company=company)))
    now = make.MOMENT
    # 23:30 UTC is the next day in Berlin.
    yesterday_late = dt.datetime(2026, 11, 30, 23, 30, tzinfo=dt.UTC)
    for state, at in (
        ("succeeded", yesterday_late),
        ("succeeded", now),
        ("refused", now),
        ("unknown", now),
        ("succeeded", now - dt.timedelta(days=3)),
        ("succeeded", now - dt.timedelta(days=20)),
    ):
        make.BookingAttemptFactory(appointment=appointment, state=state, created_at=at)
    make.BookingAttemptFactory(appointment=appointment, state="succeeded", kind="cancel", created_at=now)
    chart = admin_index.overview(user=ops, now=now).chart
    assert chart is not None
    assert [bar.day for bar in chart.bars] == [
        dt.date(2026, 11, 18) + dt.timedelta(days=n) for n in range(14)
    ]
    today = chart.bars[-1]
    assert (today.booked, today.refused, today.other) == (2, 1, 1)
    assert [(piece.tone, piece.y, piece.height) for piece in today.pieces] == [
        ("booked", 60, 60),
        ("refused", 30, 30),
        ("other", 0, 30),
    ]
    assert chart.bars[-4].booked == 1
    assert (chart.total, chart.zone) == (3, "Europe/Berlin")


def test_the_first_page_shows_the_figures_and_takes_a_handful_of_queries_at_any_size(ops):
    client = Client()
    client.force_login(ops)
    make.SyncFailureFactory()
    client.get(reverse("admin:index"))

    def queries():
        with CaptureQueriesContext(connection) as captured:
            page = client.get(reverse("admin:index")).content.decode()
        assert "Open failures" in page
        assert "<svg" in page
        return len(captured)

    few = queries()
    for _ in range(10):
        make.SyncFailureFactory()
        make.BookingAttemptFactory(created_at=timezone.now())
        make.CallbackRequestFactory()
    assert queries() == few
    assert few <= 10


def test_a_reader_sees_the_figures_of_what_they_may_see():
    clerk = User.objects.create_user("clerk", is_staff=True)
    assert admin_index.overview(user=clerk, now=make.MOMENT) == admin_index.Overview(figures=(), chart=None)
    clerk.user_permissions.add(Permission.objects.get(codename="view_callbackrequest"))
    clerk = User.objects.get(pk=clerk.pk)  # permissions are remembered on the object
    assert list(figures(clerk)) == ["Open callbacks"]


def test_every_figure_leads_to_a_list_that_answers(ops):
    make.SyncFailureFactory()
    make.BookingAttemptFactory(state="unknown")
    client = Client()
    client.force_login(ops)
    for figure in figures(ops).values():
        for address in (figure.url, *(url for _name, _count, url in figure.parts)):
            assert client.get(address).status_code == 200


def test_the_figure_of_failures_counts_what_the_inbox_shows_and_beside_it_what_is_snoozed(ops):
    now = timezone.now()
    make.SyncFailureFactory()
    make.SyncFailureFactory(snoozed_until=now - dt.timedelta(hours=1))
    make.SyncFailureFactory(failure_type="rate_limit", snoozed_until=now + dt.timedelta(hours=1))
    figure = figures(ops, now=now)["Open failures"]
    client: Any = Client()
    client.force_login(ops)
    assert figure.count == client.get(figure.url).context["cl"].result_count == 2
    assert [name for name, _count, _url in figure.parts][1:] == ["snoozed"]
    for _name, count, address in figure.parts:
        assert client.get(address).context["cl"].result_count == count


def test_the_figure_of_today_leads_to_the_appointments_of_today_by_their_start(ops):
    now = timezone.now()
    later, first = (
        make.AppointmentFactory(starts_at=now + dt.timedelta(microseconds=number)) for number in (1, 0)
    )
    make.AppointmentFactory(starts_at=now, status="cancelled")
    make.AppointmentFactory(starts_at=now + dt.timedelta(days=3))
    figure = figures(ops, now=now)["Appointments today"]
    client: Any = Client()
    client.force_login(ops)
    shown = client.get(figure.url).context["cl"].result_list
    assert [row.pk for row in shown] == [first.pk, later.pk]
    assert figure.count == 2


def test_the_inbox_shows_open_failures_oldest_and_kind_on_request(ops):
    client = Client()
    client.force_login(ops)
    now = timezone.now()
    fresh = make.SyncFailureFactory(detected_at=now)
    old = make.SyncFailureFactory(
        detected_at=now - dt.timedelta(days=3), failure_type="config_error", status="manual_review"
    )
    resolved = make.SyncFailureFactory(status="resolved", detected_at=now)

    def rows(**query):
        page = client.get(reverse("admin:booking_syncfailure_changelist"), query)
        return {row.pk for row in page.context["cl"].result_list}

    assert rows() == {fresh.pk, old.pk}
    assert rows(inbox="manual_review") == {old.pk}
    assert rows(inbox="resolved") == {resolved.pk}
    assert rows(inbox="all") == set(SyncFailure.objects.values_list("pk", flat=True))
    assert rows(older_than="24") == {old.pk}
    assert rows(failure_type__exact="config_error") == {old.pk}


def test_the_site_is_called_slotkeeper():
    page = Client().get(reverse("admin:login")).content.decode()
    assert "Slotkeeper" in page
    assert "Django administration" not in page
    assert "Django site admin" not in page
