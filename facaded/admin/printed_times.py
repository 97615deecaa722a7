"""Times of the status document as text: the local time, and how long ago or ahead it is."""

from datetime import datetime

from attrs import frozen

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
"""Units of an age, the longest first, each used from twice its length."""


@frozen
class PrintedTimes:
    """Prints times in seconds since the epoch. `now` is the present time; without it, ages are left out."""

    now: float | None = None

    def show(self, seconds: float) -> str:
        """Return a time with its age, for example `2026-11-26 20:10 UTC (5 min ago)`."""
        distance = self._distance(seconds)
        return f"{self.date(seconds)} ({distance})" if distance else self.date(seconds)

    def show_aside(self, seconds: float) -> str:
        """Return a time with its age for a text in parentheses, for example `2026-11-26 20:10 UTC, 5 min ago`."""
        return ", ".join(filter(None, (self.date(seconds), self._distance(seconds))))

    def date(self, seconds: float) -> str:
        """Return a time as the local time, with its zone."""
        try:
            return datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")
        except (ValueError, OverflowError, OSError):
            return "(unknown time)"

    def age(self, seconds: float) -> str:
        """Return the time between now and then in one unit, for example `5 min`; empty if it is unknown."""
        if self.now is None or not abs(seconds - self.now) < 1e12:  # a NaN is not below it either
            return ""
        distance = abs(seconds - self.now)
        for length, unit in _UNITS:
            if distance >= 2 * length:
                return f"{distance / length:.0f} {unit}"
        return f"{distance:.0f} s"

    def _distance(self, seconds: float) -> str:
        """Return how long ago or ahead a time is; empty if it is unknown."""
        age = self.age(seconds)
        if self.now is None or not age:
            return ""
        return f"in {age}" if seconds > self.now else f"{age} ago"
