"""The headline of the status: whether clients are fine, since when not, and what needs a look.

It says what the log, /statusz and notifications say, in the same words.
"""

from collections.abc import Iterator

from attrs import frozen

from facaded.admin.processes import UP
from facaded.admin.status import CertificateStatus, Headline, Status, Wall
from facaded.admin.utc_times import clock_time
from facaded.policy.health import Purpose, State
from facaded.policy.outages import Outage, explain_outages, find_outages
from facaded.policy.reasons import DEGRADED, condition, describe
from facaded.policy.snapshot import Snapshot
from facaded.tls.certificates import SELF_SIGNED

GREEN, AMBER, RED = "green", "amber", "red"

FINE = "Clients are fine"

STARTING = "Starting: the backends are being probed"


@frozen
class Remark:
    """Something that needs a look, since a time in seconds since the epoch, or None if that is unknown."""

    text: str
    since: float | None = None


def find_headline(status: Status, snapshot: Snapshot, wall: Wall) -> Headline:
    """Return the headline of a status that belongs to a snapshot; `wall` converts monotonic times."""
    now = wall(snapshot.at)
    remarks = (*_backend_remarks(snapshot, wall), *_other_remarks(status))
    sentences = tuple(_sentence(remark, now) for remark in remarks)
    outages = find_outages(snapshot)
    if outages:
        since = min(wall(_begin(outage, snapshot)) for outage in outages)
        return _bad(RED, "Pulls affected", Remark(explain_outages(outages), since), sentences, now)
    for broken in _broken_certificates(status.certificates):
        return _bad(RED, "Clients cannot connect", broken, sentences, now)
    if not snapshot.settled:
        return Headline(AMBER, STARTING)
    for degraded in _active_and_degraded(snapshot, wall):
        return _bad(AMBER, "Some pulls may fail", degraded, sentences, now)
    if not remarks:
        return Headline(GREEN, FINE)
    first = min((remark.since for remark in remarks if remark.since is not None), default=None)
    count = "one thing needs" if len(remarks) == 1 else f"{len(remarks)} things need"
    return Headline(AMBER, f"{FINE}, but {count} a look", first, sentences)


def _bad(level: str, what: str, cause: Remark, sentences: tuple[str, ...], now: float) -> Headline:
    since = "" if cause.since is None else f" since {clock_time(cause.since, now)}"
    return Headline(level, f"{what}{since}: {cause.text}", cause.since, sentences)


def _sentence(remark: Remark, now: float) -> str:
    return remark.text if remark.since is None else f"{remark.text}, since {clock_time(remark.since, now)}"


def _begin(outage: Outage, snapshot: Snapshot) -> float:
    """Return when an outage began: when the last backend of its route failed. The others had failed before."""
    healths = snapshot.watch_state.healths
    return max(healths[name].since for name, _ in outage.causes)


def _backend_remarks(snapshot: Snapshot, wall: Wall) -> Iterator[Remark]:
    for name, health in snapshot.watch_state.healths.items():
        if health.state in (State.DOWN, State.LIMITED):
            yield Remark(describe(name, health), wall(health.since))
        elif condition(health) == DEGRADED and health.degraded is not None:
            yield Remark(describe(name, health), wall(health.degraded.since))
    for name, drift in snapshot.drifts.items():
        yield Remark(f"{name} drifts: {drift}")


def _active_and_degraded(snapshot: Snapshot, wall: Wall) -> Iterator[Remark]:
    for (_, purpose), active in snapshot.watch_state.active.items():
        health = snapshot.watch_state.healths.get(active.backend)
        if purpose is Purpose.REDIRECT and health is not None and health.degraded is not None:
            yield Remark(describe(active.backend, health), wall(health.degraded.since))


def _other_remarks(status: Status) -> Iterator[Remark]:
    in_use = [backend for backend in status.backends if backend.state is not None]
    if in_use and all(backend.drained for backend in in_use):
        yield Remark("all backends are drained")
    for backend in status.backends:
        if backend.account is not None:
            yield Remark(f"{backend.name}: {backend.account.problem}", backend.account.since)
    for name, since in status.stale_names.items():
        yield Remark(f"{name} does not resolve: its last known addresses are used", since)
    for certificate in status.certificates:
        yield from _certificate_remarks(certificate)
    for worker in status.workers:
        if worker.state != UP:
            yield Remark(f"worker {worker.number} is {worker.state}")


def _certificate_remarks(certificate: CertificateStatus) -> Iterator[Remark]:
    names = _names(certificate)
    if certificate.error:
        yield Remark(f"{names}: certificate not replaced: {certificate.error}", certificate.error_at)
    if certificate.expired or certificate.until is None or certificate.source == SELF_SIGNED:
        return
    if certificate.expires_soon:
        yield Remark(f"{names}: the certificate expires soon and should have been renewed by now")


def _broken_certificates(certificates: tuple[CertificateStatus, ...]) -> Iterator[Remark]:
    """Yield the certificates that clients refuse, because no valid one has their names."""
    valid = [one for one in certificates if _is_valid(one)]
    names = {name for certificate in valid for name in certificate.names}
    for certificate in certificates:
        covered = [name in names or f"*.{name.partition('.')[2]}" in names for name in certificate.names]
        if _is_valid(certificate) or (valid and all(covered)):
            continue
        if certificate.expired and certificate.until is not None:
            yield Remark(f"the certificate of {_names(certificate)} has expired: renew it", certificate.until)
        else:
            yield Remark(f"there is no certificate of {_names(certificate)} yet: see the log")


def _is_valid(certificate: CertificateStatus) -> bool:
    return certificate.until is not None and not certificate.expired and certificate.source != SELF_SIGNED


def _names(certificate: CertificateStatus) -> str:
    return ", ".join(certificate.names) or "any name"
