from __future__ import annotations

from datetime import UTC, datetime, timedelta


class SimulatorClock:
    """The simulator's own clock: real time plus an offset, so that it keeps running after it was set."""

    def __init__(self) -> None:
        self._offset = timedelta()

    def now(self) -> datetime:
        """The present instant, in UTC."""
        return datetime.now(UTC) + self._offset

    def advance(self, seconds: float) -> None:
        self._offset += timedelta(seconds=seconds)

    def set(self, moment: datetime) -> None:
        """Let it be `moment` now. A naive moment is read as UTC."""
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        self._offset = moment - datetime.now(UTC)

    def reset(self) -> None:
        self._offset = timedelta()


def as_utc(value: datetime | str) -> datetime:
    """An instant in UTC from a datetime or ISO 8601 text; without an offset it is read as UTC.

    Raises ValueError when the text is not ISO 8601.
    """
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value.astimezone(UTC)


def millisecond_text(moment: datetime) -> str:
    """`2026-12-01T09:00:00.000Z`, the spelling of the API."""
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def second_text(moment: datetime) -> str:
    """`2026-12-01T09:00:00Z`, the spelling of BOOKING_CREATED and BOOKING_RESCHEDULED."""
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def offset_text(moment: datetime) -> str:
    """`2026-12-01T09:00:00+00:00`, the spelling of BOOKING_CANCELLED."""
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "+00:00"
