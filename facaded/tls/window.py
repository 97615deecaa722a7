"""A time from a beginning to an end."""

from attrs import frozen


@frozen
class Window:
    """A certificate's life, or when its CA suggests to renew it; both ends in seconds since the epoch."""

    begins: float
    ends: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.ends - self.begins
