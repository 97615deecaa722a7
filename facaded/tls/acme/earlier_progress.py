"""What version 0.1.0 stored of the attempts for one certificate, and how it is entered in the ledgers."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve, field, frozen

from facaded.net.text import printable
from facaded.tls.acme.ledger import MAX_EVENTS, CaLedger, NameHistory, Pause

LONGEST_WAIT = 6.6 * 3600.0
"""Seconds: the longest wait of that version."""

ERROR_LENGTH = 2000
"""Characters that are read of the last error: one message for each CA."""


@frozen
class EarlierProgress:
    """The stored state of the attempts for one certificate, at all CAs; the keys of the mappings are their URLs."""

    slow: int = 0
    early: int = 0
    authorized: int = 0
    not_before: float = 0.0
    error: str | None = None
    error_at: float | None = None
    obtained: float | None = None
    ca: str | None = None
    closed: Mapping[str, float] = field(factory=dict)
    failed: Mapping[str, tuple[float, ...]] = field(factory=dict)
    extras: Mapping[str, tuple[float, ...]] = field(factory=dict)

    @property
    def cas(self) -> tuple[str, ...]:
        """The CAs that it names."""
        named = (*self.closed, *self.failed, *self.extras, *((self.ca,) if self.ca else ()))
        return tuple(dict.fromkeys(named))


def enter(progress: EarlierProgress, ledger: CaLedger, names: Sequence[str], now: float) -> CaLedger:
    """Return the ledger of one CA with the history of a certificate, which it does not have yet.

    What closed the CA then was a Retry-After, of a 429 or not: it is entered as that of an error, which stops no
    renewal for long.
    """
    history = evolve(
        ledger.history(names),
        refused=progress.slow,
        unavailable=progress.early,
        turn=progress.authorized,
        retry=Pause(now, min(progress.not_before, now + LONGEST_WAIT)),
        error=progress.error,
        error_at=progress.error_at,
        obtained=progress.obtained if progress.ca == ledger.ca else None,
        wanted=now,
    )
    if until := progress.closed.get(ledger.ca):
        ledger = evolve(ledger, busy=Pause(now, max(until, ledger.busy.until)))
    failed, extras = progress.failed.get(ledger.ca, ()), progress.extras.get(ledger.ca, ())
    merged = {name: _merge(ledger.names.get(name, NameHistory()), failed, extras) for name in names}
    return evolve(ledger.with_history(names, history), names={**ledger.names, **merged})


def read(document: Mapping[str, Any]) -> EarlierProgress:
    """Return the progress in a JSON document. Raises ValueError, KeyError, TypeError or AttributeError."""
    return EarlierProgress(
        slow=_count(document["slow"]),
        early=_count(document["early"]),
        authorized=_count(document["authorized"]),
        not_before=_time(document["not_before"]),
        error=_text(document["error"]),
        error_at=_time_or_none(document["error_at"]),
        obtained=_time_or_none(document["obtained"]),
        ca=_text(document["ca"]),
        closed={str(ca): _time(at) for ca, at in document["closed"].items()},
        failed=_times(document["failed"]),
        extras=_times(document["extras"]),
    )


def _merge(history: NameHistory, failed: Sequence[float], extras: Sequence[float]) -> NameHistory:
    return NameHistory(_sorted(history.failed, failed), _sorted(history.extras, extras))


def _sorted(events: Sequence[float], others: Sequence[float]) -> tuple[float, ...]:
    return tuple(sorted({*events, *others}))[-MAX_EVENTS:]


def _times(document: Mapping[Any, Any]) -> Mapping[str, tuple[float, ...]]:
    return {str(ca): tuple(_time(at) for at in times) for ca, times in document.items()}


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError("not a count")
    return value


def _time(value: Any) -> float:
    if isinstance(value, bool) or not 0 <= value < 1e11:
        raise ValueError("not a time")
    return float(value)


def _time_or_none(value: Any) -> float | None:
    return None if value is None else _time(value)


def _text(value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise TypeError("not a string")
    return None if value is None else printable(value, ERROR_LENGTH)
