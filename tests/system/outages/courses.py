"""Runs of outages: inject a fault, record what facades and clients do, and compare the record with expectations."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from tests.system.clients import Docker
from tests.system.conftest import OUTAGE_CLIENTS
from tests.system.outages.faults import Detection, Fault, Promise
from tests.system.outages.loops import REDIRECTED, Pull, PullLoop, StatusChange, StatusWatcher, create_loops
from tests.system.outages.stage import HOSTS_CACHE_TIME, REPOSITORY, HealthTimings, OutageStage

ALLOWANCE = 1.5
"""Seconds added to every limit. A limit is a sum of settings. In addition, polling the status takes up to 0.1 s, each
connection up to 0.1 s (see ATTEMPT_DELAY), and a dozen clients compete for the processor."""

POLLING_DELAY = 0.5
"""Longest delay in seconds until a change is recorded: polls are 0.1 s apart, and compete for the processor too."""

TIME_BEFORE_FAULT = 3.0
"""Seconds of pulls before the fault."""

TIME_AFTER_CHANGE = 2.5
"""Seconds of pulls after the facades detect a fault, and after failback: about three pulls of each client."""

TIME_OF_LATE_PULLS = 2.5
"""Seconds of pulls that begin late, while the fault still lasts: about two of each client."""

ASKED_AGAIN_TIME = 60.0
"""Seconds for which a client that asked again is served, so that it does not fail again."""

CHANCE_DETECTION_TIME = 9.0
"""Longest duration in seconds of a fault that facades detect only if two deep probes happen to hit it."""

FULL = os.environ.get("FACADED_OUTAGES") == "full"
FULL_TIMES = (15.0, 25.0, 20.0)
"""With FACADED_OUTAGES=full: seconds of pulls before the fault, during it, and after it. The last two are longer if the
facades have not yet detected the fault, or its end, and still may."""


@frozen
class OutageRecord:
    """What happened in one outage to one facade and its clients; times are in monotonic seconds."""

    answer: str
    timings: HealthTimings
    fault_began: float
    fault_ended: float
    changes: tuple[StatusChange, ...]
    pulls: tuple[Pull, ...]

    @property
    def detection(self) -> StatusChange | None:
        """The change by which the facade first went off the main registry."""
        return next((change for change in self.changes if change.is_off_main), None)

    @property
    def failback(self) -> float | None:
        """The time from which the main registry remained active again."""
        last_change = self.changes[-1]
        return None if last_change.is_off_main or len(self.changes) == 1 else last_change.seen_at

    @property
    def failed_pulls(self) -> tuple[Pull, ...]:
        return tuple(pull for pull in self.pulls if pull.failed)

    def pulls_of(self, client: str) -> list[Pull]:
        return [pull for pull in self.pulls if pull.client == client]

    def failed_before(self, pull: Pull) -> int:
        """Return how many other pulls of the client failed that began during the fault, but not long before."""
        earliest = max(self.fault_began, pull.started - ASKED_AGAIN_TIME)
        return sum(
            earliest <= other.started < pull.started for other in self.failed_pulls if other.client == pull.client
        )

    def was_off_main_throughout(self, pull: Pull) -> bool:
        """Return whether the facade was off the main registry during the whole pull, as far as polling shows."""
        before = [change.is_off_main for change in self.changes if change.seen_at <= pull.started]
        during = [
            change.is_off_main for change in self.changes if pull.started < change.seen_at <= pull.ended + POLLING_DELAY
        ]
        return all([before[-1], *during])


def run_outage(fault: Fault, stage: OutageStage, docker: Docker) -> list[OutageRecord]:
    """Run an outage while clients pull through every facade of the stage; return a record for each facade."""
    watchers = {answer: StatusWatcher(facade) for answer, facade in stage.facades.items()}
    pull_loops: dict[str, list[PullLoop]] = {}
    with ExitStack() as cleanup:
        short_path = Path(cleanup.enter_context(TemporaryDirectory()))
        for watcher in watchers.values():
            watcher.start()
            cleanup.callback(watcher.stop)
        for answer, facade in stage.facades.items():
            pull_loops[answer] = create_loops(docker, short_path, answer, facade, REPOSITORY)
        all_loops = [loop for client_loops in pull_loops.values() for loop in client_loops]
        for loop in all_loops:
            loop.start()
            cleanup.callback(loop.stop)
        fault_began, fault_ended = _inject_and_recover(fault, stage, list(watchers.values()))
        for loop in all_loops:
            loop.stop()
        for loop in all_loops:
            loop.join()
    return [
        OutageRecord(
            answer,
            stage.timings,
            fault_began,
            fault_ended,
            tuple(watchers[answer].changes),
            tuple(sorted((pull for loop in client_loops for pull in loop.pulls), key=lambda pull: pull.started)),
        )
        for answer, client_loops in pull_loops.items()
    ]


def _inject_and_recover(fault: Fault, stage: OutageStage, watchers: list[StatusWatcher]) -> tuple[float, float]:
    """Inject a fault and end it; return when it began and when it ended, in monotonic seconds."""
    before, during, after = FULL_TIMES if FULL else (TIME_BEFORE_FAULT, _shortest_duration(fault), 0.0)
    time.sleep(before)
    fault_began = time.monotonic()
    fault.inject(stage)
    _wait(lambda: all(watcher.is_off_main for watcher in watchers), _detection_timeout(fault, stage.timings))
    time.sleep(max(TIME_AFTER_CHANGE, fault_began + during - time.monotonic()))
    fault_ended = time.monotonic()
    for proxy in stage.main.proxies:
        proxy.recover()
    if fault.needs_name:
        stage.make_main_name_resolve(True)
    _wait(lambda: not any(watcher.is_off_main for watcher in watchers), stage.timings.failback_within + ALLOWANCE)
    time.sleep(max(TIME_AFTER_CHANGE, fault_ended + after - time.monotonic()))
    return fault_began, fault_ended


def _shortest_duration(fault: Fault) -> float:
    """Return how long a fault lasts at least, in seconds: some pulls begin late."""
    return fault.late_after + TIME_OF_LATE_PULLS + (HOSTS_CACHE_TIME if fault.needs_name else 0.0)


def _detection_timeout(fault: Fault, timings: HealthTimings) -> float:
    """Return how long to wait for the facades to detect a fault, in seconds."""
    limit = fault.detection_limit(timings)
    if limit is not None:
        return limit + ALLOWANCE
    return CHANCE_DETECTION_TIME if fault.detected_by is Detection.BY_CHANCE else 0.0


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)


def find_violations(fault: Fault, record: OutageRecord) -> list[str]:
    """Return a sentence for each expectation that was not met; its times are relative to the start of the fault."""
    violations = [
        f"a pull by {pull.client} failed from {pull.started - record.fault_began:+.2f} s "
        f"to {pull.ended - record.fault_began:+.2f} s {_describe_phase(record, pull)}: {pull.reason}"
        for pull in record.failed_pulls
        if not _may_fail(fault, record, pull)
    ]
    for client in OUTAGE_CLIENTS:
        pulls = record.pulls_of(client)
        pulled_on_both_sides = (
            [pulls[0].ended < record.fault_began, pulls[-1].ended > record.fault_ended] if pulls else []
        )
        if pulled_on_both_sides != [True, True]:
            violations.append(f"{client} completed no pull before the fault, or none after it")
    return [*violations, *_late_changes(fault, record)]


def _may_fail(fault: Fault, record: OutageRecord, pull: Pull) -> bool:
    is_redirected = record.answer == "auto" and pull.client in REDIRECTED
    grace_time = HOSTS_CACHE_TIME if is_redirected and fault.needs_name else 0.0  # the client resolves the name itself
    if pull.ended < record.fault_began or pull.started > record.fault_ended + grace_time:
        return False
    if not is_redirected and not fault.is_after_redirect:
        return False  # the facade could have used the second registry
    match fault.promise:
        case Promise.PROVEN:
            return not _is_late(fault, record, pull)
        case Promise.ONCE:
            return record.failed_before(pull) == 0
        case Promise.BROWN_OUT:
            return not record.was_off_main_throughout(pull)


def _is_late(fault: Fault, record: OutageRecord, pull: Pull) -> bool:
    """Return whether a pull began so long after the fault that the facade's proofs had expired."""
    return record.fault_began + fault.late_after < pull.started <= record.fault_ended


def _describe_phase(record: OutageRecord, pull: Pull) -> str:
    if pull.started > record.fault_ended:
        return "after the end of the fault"
    if record.detection is None:
        return "during an undetected fault"
    return "after detection" if pull.started > record.detection.seen_at else "before detection"


def _late_changes(fault: Fault, record: OutageRecord) -> list[str]:
    detection, violations = record.detection, []
    if detection is not None and detection.seen_at < record.fault_began:
        violations.append("the facade was off the main registry before the fault")
    limit = fault.detection_limit(record.timings)
    if limit is not None:
        detection_time = detection.seen_at - record.fault_began if detection is not None else None
        if detection_time is None or detection_time > limit + ALLOWANCE:
            problem = "was not detected" if detection_time is None else f"was detected after {detection_time:.2f} s"
            violations.append(f"the fault {problem}; the limit is {limit:g} s")
    if record.failback is None and detection is not None and fault.detected_by is not Detection.BY_CHANCE:
        violations.append(f"no failback within {record.timings.failback_within:g} s of the end of the fault")
    return violations


def table_row(fault: Fault, record: OutageRecord) -> tuple[str, ...]:
    """Return the row of the printed table: a cell for each of OUTAGE_HEADINGS."""
    detection, cells = record.detection, []
    for client in OUTAGE_CLIENTS:
        pulls = record.pulls_of(client)
        cells.append(f"{sum(pull.failed for pull in pulls)}/{len(pulls)}")
    detection_cell = "-" if detection is None else f"{detection.seen_at - record.fault_began:.1f} s"
    limit = fault.detection_limit(record.timings)
    late_pulls = str(sum(_is_late(fault, record, pull) for pull in record.failed_pulls))
    limit_cell = "-" if limit is None else f"{limit:g} s"
    failback = "-" if record.failback is None else f"{record.failback - record.fault_ended:.1f} s"
    clients = (*cells, late_pulls)
    settings_and_limits = (record.timings.name, detection_cell, limit_cell)
    return fault.name, record.answer, *settings_and_limits, *clients, failback, _remark(fault, detection)


def _remark(fault: Fault, detection: StatusChange | None) -> str:
    if detection is None:
        return f"undetected: {fault.undetected_because}" if fault.undetected_because else "NOT DETECTED"
    redirect_remark = "; still redirects" if fault.keeps_redirecting else ""
    return f"{detection.reason}{redirect_remark}"
