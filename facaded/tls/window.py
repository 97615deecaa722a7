"""A period between two times, and how a time is written in a message."""

from datetime import UTC, datetime

from attrs import frozen


@frozen
class Window:
    """A period: the validity of a certificate, or when its CA suggests renewing it. Both in seconds since the epoch."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """The length of the period in seconds."""
        return self.end - self.start


def format_time(timestamp: float) -> str:
    """Return a time, in seconds since the epoch, as `2027-01-15 08:00 UTC`."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M UTC")
