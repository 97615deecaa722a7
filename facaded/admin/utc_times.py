"""Times for pages: UTC, which is the same for everybody who looks at the same outage."""

from datetime import UTC, datetime

DAY = 86400.0

CLOCK_TIME = 20 * 3600.0
"""Seconds within which a time is written without its date: it cannot be mistaken for that of another day."""

UNITS = ((2 * DAY, DAY, "d"), (2 * 3600.0, 3600.0, "h"), (120.0, 60.0, "min"))
"""From how many seconds on a unit is used, its length, and its name."""

UNKNOWN = "unknown"


def iso(seconds: float) -> str:
    """Return a time as RFC 3339 has it, for programs; empty if it is out of range."""
    time = _utc(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else ""


def clock_time(seconds: float, now: float) -> str:
    """Return a time for a person: `02:13 UTC`, or with the date if it is not of the same day."""
    time = _utc(seconds)
    if time is None:
        return UNKNOWN
    return time.strftime("%H:%M UTC" if abs(seconds - now) < CLOCK_TIME else "%Y-%m-%d %H:%M UTC")


def seconds_time(seconds: float) -> str:
    """Return a time of the day to the second: `02:13:09 UTC`."""
    time = _utc(seconds)
    return time.strftime("%H:%M:%S UTC") if time else UNKNOWN


def utc_date(seconds: float) -> str:
    """Return the day of a time: `2026-11-26`."""
    time = _utc(seconds)
    return time.strftime("%Y-%m-%d") if time else UNKNOWN


def age(seconds: float) -> str:
    """Return a duration in one unit: `5 min`, `3 d`."""
    if not 0 <= seconds < 1e12:  # a NaN neither
        return UNKNOWN
    for least, length, unit in UNITS:
        if seconds >= least:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _utc(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
