"""The pulls of a synthetic client, which counts them in a process of its own, and reports them as JSON."""

import json
import math
from collections.abc import Sequence
from statistics import median

from attrs import asdict, define, field

GOOD, REFUSED = (200, 307), (429, 503)


@define
class Counts:
    """Pulls since the last line, and the milliseconds of their requests."""

    ok: int = 0
    failed: int = 0
    refused: int = 0
    latencies: list[float] = field(factory=list)

    @property
    def median(self) -> float:
        return median(self.latencies) if self.latencies else math.nan

    @property
    def slow(self) -> float:
        """The latency that 99 % of the requests are within."""
        ordered = sorted(self.latencies)
        return ordered[len(ordered) * 99 // 100] if ordered else math.nan

    def add(self, other: "Counts") -> None:
        self.ok += other.ok
        self.failed += other.failed
        self.refused += other.refused
        self.latencies += other.latencies

    def note(self, statuses: Sequence[int], steps: int) -> None:
        """Count a pull of which these are the statuses; a good one has as many as steps."""
        if any(status in REFUSED for status in statuses):
            self.refused += 1
        elif len(statuses) == steps and all(status in GOOD for status in statuses):
            self.ok += 1
        else:
            self.failed += 1

    def report(self) -> str:
        """Return these counts as JSON, and begin anew."""
        document = json.dumps(asdict(self))
        self.ok = self.failed = self.refused = 0
        self.latencies = []
        return document
