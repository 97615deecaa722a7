"""The course of an outage: it is made to happen, and what came of it is held against what must hold."""

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import frozen

from tests.system.clients import Docker
from tests.system.conftest import OUTAGE_CLIENTS
from tests.system.outages.faults import Detection, Fault
from tests.system.outages.loops import REDIRECTED, Pull, PullLoop, StatusChange, StatusWatcher, loops
from tests.system.outages.stage import REPOSITORY, TIMINGS, OutageStage

ALLOWANCE = 1.5
"""Seconds added to every bound. A bound is a sum of the settings; what happens also takes the looks at the status
(0.1 s), the connections' making (0.1 s each, see ATTEMPT_DELAY), and the processor, which a dozen clients want too."""

LATE = 0.5
"""Seconds by which a change may be seen late: looks are 0.1 s apart, and wait for the processor too."""

BEFORE = 3.0
"""Seconds of pulls before the fault."""

GOING_ON = 2.5
"""Seconds of pulls after the facades have noticed a fault, and after the main registry is active again: some three
pulls of each client."""

UNNOTICED = 4.0
"""Seconds for which a fault stays on that need not be noticed: twice the probes' interval."""

HOSTS_READ_AGAIN = 5.5
"""Seconds until a client written in Go has read a changed hosts file: it goes by the old one for 5 s."""

BY_LUCK = 9.0
"""Seconds for the same, if it is noticed when two deep probes happen to meet it."""

FULL = os.environ.get("FACADED_OUTAGES") == "full"
FULL_TIMES = (15.0, 40.0, 60.0)
"""Seconds from the beginning to the fault, to its end and to the pulls' end, where there is time for it."""


@frozen
class OutageRecord:
    """What was seen of one outage through one facade. Times are monotonic seconds."""

    answer: str
    struck: float
    mended: float
    views: tuple[StatusChange, ...]
    pulls: tuple[Pull, ...]

    @property
    def noticed(self) -> StatusChange | None:
        """When the facade first left the main registry."""
        return next((view for view in self.views if view.left), None)

    @property
    def back(self) -> float | None:
        """When the main registry was active again for good."""
        last = self.views[-1]
        return None if last.left or len(self.views) == 1 else last.at

    @property
    def lost(self) -> tuple[Pull, ...]:
        return tuple(pull for pull in self.pulls if pull.lost)

    def pulls_of(self, client: str) -> list[Pull]:
        return [pull for pull in self.pulls if pull.client == client]

    def was_left_throughout(self, pull: Pull) -> bool:
        """Whether the main registry was left from a pull's beginning to its end, as far as looks can tell."""
        before = [view.left for view in self.views if view.at <= pull.begun]
        meanwhile = [view.left for view in self.views if pull.begun < view.at <= pull.ended + LATE]
        return all([before[-1], *meanwhile])


def take(fault: Fault, stage: OutageStage, docker: Docker) -> list[OutageRecord]:
    """Let clients pull through every facade of the stage, and the fault come and go."""
    sentries = {answer: StatusWatcher(facade) for answer, facade in stage.facades.items()}
    pulling: dict[str, list[PullLoop]] = {}
    with ExitStack() as cleanup:
        short = Path(cleanup.enter_context(TemporaryDirectory()))
        for sentry in sentries.values():
            sentry.start()
            cleanup.callback(sentry.stop)
        for answer, facade in stage.facades.items():
            pulling[answer] = loops(docker, short, answer, facade, REPOSITORY)
        everyone = [loop for made in pulling.values() for loop in made]
        for loop in everyone:
            loop.start()
            cleanup.callback(loop.stop)
        struck, mended = _come_and_go(fault, stage, list(sentries.values()))
        for loop in everyone:
            loop.stop()
        for loop in everyone:
            loop.join()
    return [
        OutageRecord(
            answer,
            struck,
            mended,
            tuple(sentries[answer].views),
            tuple(sorted((pull for loop in made for pull in loop.pulls), key=lambda pull: pull.begun)),
        )
        for answer, made in pulling.items()
    ]


def _come_and_go(fault: Fault, stage: OutageStage, sentries: list[StatusWatcher]) -> tuple[float, float]:
    """Gives when the fault came and when it went."""
    begun = time.monotonic()
    time.sleep(FULL_TIMES[0] if FULL else BEFORE)
    struck = time.monotonic()
    fault.strike(stage)
    if FULL:
        time.sleep(begun + FULL_TIMES[1] - time.monotonic())
    else:
        _wait(lambda: all(sentry.left for sentry in sentries), _patience(fault))
        time.sleep(GOING_ON)
    mended = time.monotonic()
    for front in (stage.main.front, stage.main.tokens, stage.main.cdn):
        front.mend()
    if fault.named:
        stage.name_main(True)
    if FULL:
        time.sleep(begun + FULL_TIMES[2] - time.monotonic())
    else:
        _wait(lambda: not any(sentry.left for sentry in sentries), TIMINGS.back_within + ALLOWANCE)
        time.sleep(GOING_ON)
    return struck, mended


def _patience(fault: Fault) -> float:
    """How long to wait until a fault is noticed."""
    if fault.bound is not None:
        return fault.bound + ALLOWANCE
    return BY_LUCK if fault.seen is Detection.BY_LUCK else UNNOTICED


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)


def wrongs(fault: Fault, course: OutageRecord) -> list[str]:
    """What did not hold, in sentences; times are counted from the fault."""
    found = [
        f"{pull.client} lost a pull from {pull.begun - course.struck:+.2f} s to {pull.ended - course.struck:+.2f} s "
        f"{_around(fault, course, pull)}: {pull.reason}"
        for pull in course.lost
        if not _may_be_lost(fault, course, pull)
    ]
    for client in OUTAGE_CLIENTS:
        pulls = course.pulls_of(client)
        sides = [pulls[0].ended < course.struck, pulls[-1].ended > course.mended] if pulls else []
        if sides != [True, True]:
            found.append(f"{client} did not pull before the fault, or not after it")
    return [*found, *_late(fault, course)]


def _may_be_lost(fault: Fault, course: OutageRecord, pull: Pull) -> bool:
    redirected = course.answer == "auto" and pull.client in REDIRECTED
    lasts = HOSTS_READ_AGAIN if redirected and fault.named else 0.0  # such a client finds the name by itself
    if pull.ended < course.struck or pull.begun > course.mended + lasts:
        return False
    if not redirected and not fault.of_cdn:
        return False  # the facade could have asked the second registry
    if redirected and (fault.redirects_stay or fault.seen is Detection.SERVING):
        return True
    if fault.seen is Detection.BY_LUCK:
        return not course.was_left_throughout(pull)
    return course.noticed is None or pull.begun <= course.noticed.at


def _around(fault: Fault, course: OutageRecord, pull: Pull) -> str:
    if pull.begun > course.mended:
        return "after the fault's end"
    if course.noticed is None:
        return "in a fault that was not noticed"
    return "although it was noticed" if pull.begun > course.noticed.at else "before it was noticed"


def _late(fault: Fault, course: OutageRecord) -> list[str]:
    noticed, found = course.noticed, []
    if noticed is not None and noticed.at < course.struck:
        found.append("the main registry was left before the fault")
    if fault.bound is not None:
        took = noticed.at - course.struck if noticed is not None else None
        if took is None or took > fault.bound + ALLOWANCE:
            said = "was not noticed" if took is None else f"was noticed after {took:.2f} s"
            found.append(f"the fault {said}, and had to be within {fault.bound:g} s")
    if course.back is None and noticed is not None and fault.seen is not Detection.BY_LUCK:
        found.append(f"the main registry was not active again {TIMINGS.back_within:g} s after the fault's end")
    return found


def row(fault: Fault, course: OutageRecord) -> tuple[str, ...]:
    """What is printed of it: one cell for each of OUTAGE_HEADINGS."""
    noticed, cells = course.noticed, []
    for client in OUTAGE_CLIENTS:
        pulls = course.pulls_of(client)
        cells.append(f"{sum(pull.lost for pull in pulls)}/{len(pulls)}")
    after = "-" if noticed is None else f"{noticed.at - course.struck:.1f} s"
    bound = "-" if fault.bound is None else f"{fault.bound:g} s"
    back = "-" if course.back is None else f"{course.back - course.mended:.1f} s"
    return fault.name, course.answer, after, bound, *cells, back, _remark(fault, noticed)


def _remark(fault: Fault, noticed: StatusChange | None) -> str:
    if noticed is None:
        return f"not left: {fault.otherwise}" if fault.otherwise else "NOT NOTICED"
    stays = "; redirects stay" if fault.redirects_stay else ""
    return f"{noticed.reason}{stays}"
