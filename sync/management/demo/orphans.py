"""What no webhook told: the hourly run heals what it may, and a person decides about the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from booking import failures
from booking.models import OPEN_STATUSES, Appointment, SyncFailure
from calls.models import Call
from customers.ops_command import CLEAN, LEFT_FOR_A_PERSON
from sync import demo_tenant
from sync.management.demo.admin_visitor import Visitor
from sync.management.demo.stage import CannotPlay, Scenario, Stage
from sync.models import AuditEntry

RECONCILED_WITHIN_SECONDS = 90
INBOX = "/admin/booking/syncfailure/"
ACROSS = 4  # columns of the table that compares both sides
REASON = "The guest was asked on the phone and still wants to come."


@dataclass(frozen=True)
class _Orphans:
    unknown_here: str  # uid of a booking whose webhook was lost
    unknown_there: str  # uid of an appointment whose booking vanished
    appointment: Appointment  # of unknown_there
    unlinked: str  # id of a call that does not point at its appointment any more

    @property
    def uids(self) -> tuple[str, str]:
        return self.unknown_here, self.unknown_there


class Orphans(Scenario):
    name = "orphans"
    title = "Each side holds something the other does not know: the hourly run, and then a person"
    why = "Confirmed calls without an appointment were found by chance, weeks later, or never."

    def play(self, stage: Stage) -> None:
        record = stage.record
        orphans = _make(stage)
        stage.look_at_bookings(*orphans.uids)
        record.check("nobody here knows that booking", stage.appointment_of(orphans.unknown_here) is None)

        record.happens("The hourly run compares both sides, both ways.")
        status, report = _reconcile(stage)
        stage.look_at_bookings(*orphans.uids)
        stage.look_at_call(orphans.unlinked)
        record.check(
            "the booking without an appointment has one now, and the audit log says why",
            stage.appointment_of(orphans.unknown_here) is not None
            and _was_healed("heal.import", calcom_booking_uid=orphans.unknown_here),
        )
        record.check(
            "the call points at its appointment again",
            Call.objects.filter(retell_call_id=orphans.unlinked, appointment__isnull=False).exists()
            and _was_healed("heal.link", call__retell_call_id=orphans.unlinked),
        )
        failure = SyncFailure.objects.filter(
            company=stage.system.company,
            subject=failures.about_booking(orphans.unknown_there),
            status__in=OPEN_STATUSES,
        ).first()
        record.check(
            "what Cal.com has lost is left for a person, as an open failure",
            status == LEFT_FOR_A_PERSON
            and report["left"] > 0
            and failure is not None
            and failure.failure_type == SyncFailure.Type.ORPHANED_LOCAL,
        )
        if failure is None:
            return
        _person_decides(stage, orphans)
        uid = _uid_of(orphans.appointment)
        stage.look_at_bookings(orphans.unknown_there, uid)
        record.check(
            "the same appointment has a booking at Cal.com again",
            uid not in ("", orphans.unknown_there)
            and stage.active_uids(orphans.appointment.starts_at) == [uid],
        )
        failure.refresh_from_db()
        record.check("the failure is resolved", failure.status == SyncFailure.Status.RESOLVED)
        record.check(
            "who did it, and why, is in the audit log",
            AuditEntry.objects.filter(
                failure=failure, user__username=demo_tenant.ADMIN, reason=REASON
            ).exists(),
        )
        record.happens("The next hourly run.")
        status, report = _reconcile(stage)
        record.check(
            "it finds nothing more to do about any of them",
            report["healed"] == report["opened"] == 0 and status in (CLEAN, LEFT_FOR_A_PERSON),
        )


def _make(stage: Stage) -> _Orphans:
    record = stage.record
    unknown_here = stage.guest("Mara Vogel").books(stage.free_start(), silent=True)

    unknown_there = stage.guest("Nils Kremer").books(stage.free_start())
    stage.wait_until_worked(unknown_there)
    appointment = stage.appointment_of(unknown_there)
    if appointment is None:
        raise CannotPlay("A web booking has not become an appointment: does the worker run?")
    record.happens("This one arrives here. Then Cal.com loses it, and says nothing.")
    stage.system.calcom.erase(unknown_there)

    olga = stage.caller("Olga Seidel")
    heard = stage.asks_for(olga, stage.free_start())
    record.check("a caller is booked", heard.code == "booked")
    # Cal.com tells us of our own booking too, and that would find the link missing.
    stage.wait_until_worked(heard.uid or "")
    record.happens("Her call's row loses its link, as after a partly restored backup.")
    Call.objects.filter(retell_call_id=olga.call_id).update(appointment=None)
    return _Orphans(unknown_here, unknown_there, appointment, olga.call_id)


def _reconcile(stage: Stage) -> tuple[int, dict[str, Any]]:
    """What Beat does every hour, as its command. The exit status, and the report."""
    slug = stage.system.company.slug
    try:
        done = subprocess.run(
            [sys.executable, "manage.py", "reconcile", "--company", slug, "--json"],
            cwd=settings.BASE_DIR,
            env={**os.environ, "VAR_DIR": str(settings.VAR_DIR)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RECONCILED_WITHIN_SECONDS,
            check=False,
        )
        report: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError) as error:
        raise CannotPlay(f"`manage.py reconcile` did not work ({type(error).__name__}).") from None
    run = report["companies"][slug]
    healed = ", ".join(f"{number} {repair}" for repair, number in run.get("healed", {}).items())
    lines = [
        f"{run['outcome']}: {run.get('seen', 0)} bookings read",
        f"healed: {healed or 'nothing'}",
        f"failures: {report['opened']} opened, {report['closed']} closed, {report['left']} open now",
    ]
    stage.record.shows("manage.py reconcile", lines)
    return done.returncode, report


def _person_decides(stage: Stage, orphans: _Orphans) -> None:
    """Log in, find the failure, read both sides and what would happen, give a reason, do it."""
    record = stage.record
    password = demo_tenant.keys(settings.VAR_DIR).admin_password
    visitor = Visitor(stage.system.url)
    visitor.log_in(user=demo_tenant.ADMIN, password=password)
    found = visitor.open(INBOX).row(failures.about_booking(orphans.unknown_there))
    record.shows(f"{demo_tenant.ADMIN} finds it in the inbox", [str(found)])
    page = visitor.open(found.links[0])
    sides = [row for row in page.rows if len(row.cells) == ACROSS]
    record.shows("Both sides, here and at Cal.com", [str(row) for row in sides[1:]])
    preview = visitor.open(page.link(ends="/triage/recreate/"))
    record.shows("What would happen", preview.lists.get("effects", []))
    after = visitor.send(preview, reason=REASON)
    record.shows(f"{demo_tenant.ADMIN} gives a reason, and does it", after.lists.get("messagelist", []))
    visitor.log_out()


def _uid_of(appointment: Appointment) -> str:
    appointment.refresh_from_db(fields=["calcom_booking_uid"])
    return appointment.calcom_booking_uid or ""


def _was_healed(action: str, **about: str) -> bool:
    return AuditEntry.objects.filter(action=action, **about).exists()
