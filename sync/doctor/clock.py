"""Our clock against theirs: Retell's signatures carry the time, and are refused when it is minutes off."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime

from django.utils import timezone

from booking.calcom.deadline import Deadline
from booking.calcom.transport import CutOff, NotSent, exchange
from calls.retell.signature import WINDOW_MS
from sync.doctor.finding import Finding, failed, ok, unchecked, warning

CHECK = "clock"
NOTABLE_SECONDS = 60.0
REFUSED_SECONDS = WINDOW_MS / 1000
ASK_SECONDS = 8.0

REMEDY = "Have this machine's clock set by NTP (systemd-timesyncd, chrony)."


def look(addresses: Mapping[str, str]) -> Iterator[Finding]:
    """`addresses`: whose clock → an address of theirs. Nothing secret is sent: a refusal has a date too."""
    offsets = {name: _offset(address) for name, address in addresses.items()}
    yield judge({name: offset for name, offset in offsets.items() if offset is not None})


def judge(offsets: Mapping[str, float]) -> Finding:
    """`offsets`: by how many seconds our clock is ahead of whose."""
    if not offsets:
        said = "Neither Cal.com nor Retell told its time."
        return unchecked(CHECK, said, "See whether this machine reaches them, and compare its clock by hand.")
    whose, offset = max(offsets.items(), key=lambda each: abs(each[1]))
    said = f"Our clock is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} that of {whose}."
    if abs(offset) > REFUSED_SECONDS:
        return failed(CHECK, f"{said} Signatures of Retell are refused.", REMEDY)
    if abs(offset) > NOTABLE_SECONDS:
        return warning(
            CHECK, f"{said} From {REFUSED_SECONDS:.0f} s on, signatures of Retell are refused.", REMEDY
        )
    return ok(CHECK, f"Our clock agrees with that of {' and '.join(sorted(offsets))}.")


def offset_of(date: str | None, *, sent: dt.datetime, answered: dt.datetime) -> float | None:
    """By how many seconds our clock is ahead, by a Date header; None if that says nothing."""
    if not date:
        return None
    try:
        theirs = parsedate_to_datetime(date)
    except ValueError:
        return None
    if theirs.tzinfo is None:
        return None
    # The header names a whole second that had begun; the answer was written somewhere on the way.
    middle = sent + (answered - sent) / 2
    return (middle - theirs).total_seconds() - 0.5


def _offset(address: str) -> float | None:
    sent = timezone.now()
    try:
        answer = exchange(method="GET", url=address, headers={}, deadline=Deadline.after(ASK_SECONDS))
    except (NotSent, CutOff):
        return None
    if answer.headers.get("Age", "0").strip() not in ("", "0"):
        return None  # out of somebody's cache, with the date of then
    return offset_of(answer.headers.get("Date"), sent=sent, answered=timezone.now())
