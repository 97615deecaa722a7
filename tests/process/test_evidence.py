"""Redirects rely on fresh proofs: what checks cost clients in time, and registries in requests."""

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.process.stampedes import stampede
from tests.process.streams import count_kinds, scene, stream

TRUST = 2.0
"""The default of health.trust in seconds."""

LONGEST_WAIT = 1.0
"""The longest in seconds that a request waits for a check."""

ALLOWANCE = 0.3
"""Seconds that an answer may take besides waiting: the tests compete for the processor."""

NO_WAIT = 0.12
"""Seconds of an answer that did not wait; less than the shortest delay of a registry here."""

CHECK_KINDS = ("GET /v2/", "GET token", "HEAD manifest", "GET blob", "GET layer")
"""What a check may ask of a registry, its token server and its CDN."""


@pytest.mark.parametrize("delay", [0.2, 1.5])
def test_a_slow_registry_is_not_down_and_delays_no_stream_of_pulls(tmp_path: Path, delay: float) -> None:
    # A probe asks three times, one after the other.
    with scene(tmp_path, 'interval = "4s"') as stage:
        stage.set_delay(delay)
        calm_after = time.monotonic() + TRUST + 2 * delay  # the checks before were fast
        answers = stream(stage, rate=1 / 0.3, seconds=TRUST + 2 * delay + 3)
        delayed = [answer.started for answer in answers if answer.seconds > NO_WAIT]
        assert len([started for started in delayed if started > calm_after]) <= 1, "one may be the machine's"
        redirected = [answer for answer in answers if answer.started > calm_after]
        assert {(answer.status, answer.backend) for answer in redirected} == {(307, "main")}
        time.sleep(max(TRUST, 4 * delay) + 0.5)
        (ping,) = (answer for answer in stampede(stage, 2, first=1000) if answer.path == "/v2/")
        assert ping.seconds <= min(delay, LONGEST_WAIT) + ALLOWANCE
        assert ping.status == 307 or delay > LONGEST_WAIT, "undecided, so the facade answers itself"
        assert "is down" not in stage.facade.log
        assert [backend["state"] for backend in stage.facade.status()["backends"]] == ["up", "up"]


def test_an_idle_facade_only_probes_and_pulls_add_at_most_one_check_a_second(tmp_path: Path) -> None:
    with scene(tmp_path, 'interval = "1s"') as stage:
        seconds = 3.0
        for rate in (0.0, 1.0, 100.0):
            time.sleep(1)  # the probes of the start, or a check, are over
            began = time.monotonic()
            if rate:
                answers = stream(stage, rate, seconds, first=int(rate) * 10)
                assert {(answer.status, answer.backend) for answer in answers} == {(307, "main")}
            else:
                time.sleep(seconds)
            counts = count_kinds(stage.main.requests(facade=True, since=began))
            _assert_few_requests(counts, time.monotonic() - began, checks=bool(rate))
            assert count_kinds(stage.second.requests(facade=True, since=began))["GET manifest"] == 0


def _assert_few_requests(counts: Counter[str], seconds: float, *, checks: bool) -> None:
    """Assert that these requests are those of a probe a second, and with `checks` of one check a second beside it."""
    assert counts["GET manifest"] == 0, "it counts against the quota of Docker Hub"
    assert counts.keys() <= {*CHECK_KINDS}
    probes = seconds / 0.9 + 1
    for kind in CHECK_KINDS[:3]:
        assert 1 <= counts[kind] <= probes + (seconds + 1 if checks else 0), f"{kind}: {counts}"
    for kind in CHECK_KINDS[3:]:
        assert counts[kind] <= (seconds + 1 if checks else 0), f"{kind}: {counts}"


def test_a_stampede_after_an_idle_time_makes_one_check_and_all_are_answered(tmp_path: Path) -> None:
    with scene(tmp_path, 'interval = "5s"') as stage:  # the next probe is later than the stampede
        stage.set_delay(0.3)
        time.sleep(TRUST + 1)
        began = time.monotonic()
        answers = stampede(stage, 300)
        assert {answer.status for answer in answers} == {307}
        assert max(answer.seconds for answer in answers) < 1.5
        counts = count_kinds(stage.main.requests(facade=True, since=began))
        assert counts == dict.fromkeys(CHECK_KINDS, 1)
