"""What the backfill writes, a whole chunk with each statement.

PostgreSQL is given one document or a few arrays for thousands of rows: no object and no parameter for each.
SQLite gets the same rows by way of the models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
from django.db import connection

from booking.models import Appointment, FormerUid
from customers.models import Company
from sync.long_lists import array
from sync.models import AuditEntry

LINKED = "backfill.linked"
CREATED = "backfill.created"


@dataclass(slots=True)
class NewAppointment:
    call_id: int
    branch_id: int
    customer_id: int
    service_id: int
    starts_at: datetime
    ends_at: datetime
    status: str
    uid: str
    number: int | None
    idempotency_key: str
    attendee_name: str
    attendee_email: str
    calcom_updated_at: datetime | None
    metadata: dict[str, str]
    former_uids: tuple[str, ...] = ()


def insert_appointments(rows: Sequence[NewAppointment], *, company: Company, now: datetime) -> dict[int, int]:
    """call → its new appointment. What somebody else has stored in the meantime (the same booking, or
    another for the same intention) is left out. Raises DatabaseError.
    """
    if not rows:
        return {}
    if connection.vendor == "postgresql":
        made = _insert_json(rows, company=company, now=now)
    else:
        made = _insert_models(rows, company=company, now=now)
    former = [
        FormerUid(appointment_id=made[row.call_id], uid=uid, replaced_at=now)
        for row in rows
        for uid in row.former_uids
        if row.call_id in made
    ]
    FormerUid.objects.bulk_create(former, ignore_conflicts=True)
    return made


def claim(pairs: Mapping[int, int], *, now: datetime) -> None:
    """Let appointments that know of no call (call → appointment) name theirs."""
    if not pairs:
        return
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            appointments = array(pairs.values())
            cursor.execute(_CLAIM, [now, array(pairs.keys()), appointments, appointments])
        return
    for call_id, appointment_id in pairs.items():
        Appointment.objects.filter(pk=appointment_id, call=None).update(call_id=call_id, updated_at=now)


def record(
    action: str, pairs: Mapping[int, int], *, by: Mapping[int, str], company: Company, now: datetime
) -> None:
    """An audit entry for each call that was given an appointment; `by`: what the call was recognised by."""
    if not pairs:
        return
    if connection.vendor == "postgresql":
        calls, appointments = array(pairs.keys()), array(pairs.values())
        reasons = array(by[call_id] for call_id in pairs)
        with connection.cursor() as cursor:
            cursor.execute(_RECORD, [company.pk, action, now, calls, appointments, reasons, appointments])
        return
    rows = Appointment.objects.filter(pk__in=pairs.values())
    uids = dict(rows.values_list("pk", "calcom_booking_uid"))
    AuditEntry.objects.bulk_create(
        [
            AuditEntry(
                company=company,
                action=action,
                appointment_id=appointment_id,
                call_id=call_id,
                calcom_booking_uid=uids[appointment_id] or "",
                details={"by": by[call_id]},
                created_at=now,
            )
            for call_id, appointment_id in pairs.items()
        ]
    )


def _insert_json(rows: Sequence[NewAppointment], *, company: Company, now: datetime) -> dict[int, int]:
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            [
                company.pk,
                Appointment.Source.BACKFILL,
                Appointment.SyncOrigin.SYSTEM,
                Appointment.SyncStatus.SYNCED,
                *(now, now, now),
                orjson.dumps(rows).decode(),
            ],
        )
        return dict(cursor.fetchall())


def _insert_models(rows: Sequence[NewAppointment], *, company: Company, now: datetime) -> dict[int, int]:
    moved = set(FormerUid.objects.filter(uid__in=[row.uid for row in rows]).values_list("uid", flat=True))
    rows = [row for row in rows if row.uid not in moved]
    Appointment.objects.bulk_create(
        [
            Appointment(
                company=company,
                branch_id=row.branch_id,
                customer_id=row.customer_id,
                service_id=row.service_id,
                call_id=row.call_id,
                starts_at=row.starts_at,
                ends_at=row.ends_at,
                status=row.status,
                source=Appointment.Source.BACKFILL,
                sync_origin=Appointment.SyncOrigin.SYSTEM,
                calcom_sync_status=Appointment.SyncStatus.SYNCED,
                calcom_booking_uid=row.uid,
                calcom_booking_id=row.number,
                idempotency_key=row.idempotency_key,
                attendee_name=row.attendee_name,
                attendee_email=row.attendee_email,
                calcom_updated_at=row.calcom_updated_at,
                metadata=row.metadata,
                last_sync_attempted_at=now,
                created_at=now,
            )
            for row in rows
        ],
        ignore_conflicts=True,
    )
    wanted = {row.uid: row.call_id for row in rows}
    stored = Appointment.objects.filter(
        company=company, calcom_booking_uid__in=wanted, source=Appointment.Source.BACKFILL, created_at=now
    ).values_list("calcom_booking_uid", "call_id", "pk")
    return {wanted[uid]: pk for uid, call_id, pk in stored if uid and wanted[uid] == call_id}


_INSERT = """
INSERT INTO appointments (
    company_id, source, sync_origin, calcom_sync_status, last_sync_attempted_at, created_at, updated_at,
    call_id, branch_id, customer_id, service_id, starts_at, ends_at, status, calcom_booking_uid,
    calcom_booking_id, idempotency_key, attendee_name, attendee_email, calcom_updated_at, metadata,
    webhook_id, notes, sync_attempt_count
)
SELECT %s, %s, %s, %s, %s, %s, %s, call_id, branch_id, customer_id, service_id, starts_at, ends_at, status,
    uid, number, idempotency_key, attendee_name, attendee_email, calcom_updated_at, metadata, '', '', 0
FROM json_to_recordset(%s::json) AS booked (
    call_id bigint, branch_id bigint, customer_id bigint, service_id bigint, starts_at timestamptz,
    ends_at timestamptz, status text, uid text, number bigint, idempotency_key text, attendee_name text,
    attendee_email text, calcom_updated_at timestamptz, metadata jsonb
)
-- What was moved since Cal.com was asked has its appointment under the uid it has now.
WHERE NOT EXISTS (SELECT 1 FROM appointment_former_uids AS former WHERE former.uid = booked.uid)
ON CONFLICT DO NOTHING
RETURNING call_id, id
"""

_CLAIM = """
UPDATE appointments
SET call_id = pair.call_id, updated_at = %s
FROM unnest(%s::bigint[], %s::bigint[]) AS pair (call_id, appointment_id)
WHERE appointments.id = pair.appointment_id AND appointments.id = ANY(%s) AND appointments.call_id IS NULL
"""

_RECORD = """
INSERT INTO audit_entries (
    company_id, action, created_at, appointment_id, call_id, calcom_booking_uid, reason, details
)
SELECT %s, %s, %s, appointments.id, pair.call_id, COALESCE(appointments.calcom_booking_uid, ''), '',
       jsonb_build_object('by', pair.by)
FROM unnest(%s::bigint[], %s::bigint[], %s::text[]) AS pair (call_id, appointment_id, by)
JOIN appointments ON appointments.id = pair.appointment_id
WHERE appointments.id = ANY(%s)
"""
