"""The overview: the facts of status, log and metrics in one document, without what clients are known by."""

import json

from attrs import evolve
from twisted.internet.defer import succeed

from facaded.admin.overview import Overview
from facaded.admin.past_glances import PastGlance
from facaded.history.past import PastChange
from facaded.history.queries import PastCondition, PullSum, PullTotals
from facaded.history.recorder import OFF
from facaded.net.json_documents import from_json, to_json
from facaded.oci.clients import find_client
from facaded.oci.requests import ManifestRead
from facaded.policy.asked_again import Asking
from facaded.policy.health import Step
from facaded.policy.limits import Limit
from tests.admin.measuring import WALL
from tests.admin.surveying import Surveying
from tests.admin.test_request_rates import answered
from tests.watching import BAD, GOOD, fail, up


def test_without_a_history_everything_else_is_there() -> None:
    surveying = Surveying(up("main", "second"))
    fail(surveying.watching, "main")
    overview = surveying.look()
    assert (overview.history, overview.pulls) == (OFF, None)
    assert [backend.day for backend in overview.backends] == [(), ()]
    assert [change.kind for change in overview.changes] == ["failover", "down", "started"]
    assert overview.headline.level == "amber"
    assert overview.status.why == surveying.watching.watch.snapshot().explain()
    assert from_json(json.dumps(to_json(overview)).encode(), Overview) == overview


def test_steps_have_the_last_duration_and_the_last_success() -> None:
    watching = up("main", "second")
    watching.advance(10)
    watching.backends.proofs["main"].note_pass(watching.clock.seconds(), Step.PING)
    durations = {Step.PING: 0.25, Step.TOKEN: 0.5}
    watching.backends.answer("main", evolve(BAD, step=Step.TOKEN, durations=durations))
    main, second = Surveying(watching).look().backends
    passed_at = WALL + 10.0
    assert [(step.step, step.latency, step.failed) for step in main.steps] == [
        ("GET /v2/", 0.25, False),
        ("token server", 0.5, True),
    ]
    assert abs((main.steps[0].last_success or 0.0) - passed_at) < 0.1
    assert main.steps[1].last_success is None
    assert second.steps == ()


def test_the_next_probe_and_the_failure_rate_are_those_of_the_watch() -> None:
    watching = up("main", "second")
    main = Surveying(watching).look().backends[0]
    assert main.next_probe is not None
    assert 9.0 <= main.next_probe - WALL <= 10.0
    watching.advance(10)
    assert Surveying(watching).look().backends[0].next_probe is None, "a probe is in progress"
    watching.backends.answer("main", BAD)
    main = Surveying(watching).look().backends[0]
    health = watching.watch.watch_state.healths["main"]
    counts = health.samples.counts(watching.clock.seconds(), 600.0).values()
    assert (main.sent, main.failed, main.window) == (
        sum(count.sent for count in counts),
        sum(count.failed for count in counts),
        600.0,
    )
    assert watching.watch.probers.next_at("other") is None


def test_it_is_collected_at_most_once_a_second_whoever_asks() -> None:
    surveying = Surveying(up("main", "second"))
    first = surveying.look()
    assert surveying.look() is first
    surveying.watching.clock.advance(0.9)
    assert surveying.look() is first
    surveying.watching.clock.advance(0.2)
    assert surveying.look() is not first


def test_nothing_that_clients_are_known_by_is_in_it() -> None:
    surveying = Surveying(up("main", "second"))
    watch = surveying.watching.watch
    watch.reached_limits.note(Limit.REQUESTS_PER_SOURCE, "192.0.2.66")
    asking = Asking.of("192.0.2.77", "docker/28", find_client("docker"), "GET", ManifestRead("org/app", "v1"))
    for _ in range(4):
        surveying.asked_again.judge(asking, True, surveying.watching.clock.seconds())
        surveying.asked_again.note(asking, "main", True, surveying.watching.clock.seconds())
        surveying.watching.clock.advance(3)
    overview = surveying.look()
    assert (overview.status.limits[0].name, overview.status.limits[0].count) == ("requests_per_source", 1)
    assert overview.status.asked_again.count == 1
    assert "192.0.2" not in json.dumps(to_json(overview))


def test_requests_a_second_are_sampled_while_it_runs() -> None:
    surveying = Surveying(up("main", "second"))
    surveying.survey.startService()
    answered(surveying.counts, 20)
    surveying.watching.clock.advance(10)
    requests = surveying.look().requests
    assert (requests.window, requests.per_second, requests.rates[0].per_second) == (10.0, 2.0, 2.0)
    surveying.survey.stopService()


class WithHistory:
    """A history with an outage."""

    def read(self, query: object) -> object:
        conditions = {
            "": (PastCondition(WALL - 90_000, "started"),),
            "main": (
                PastCondition(WALL - 90_000, "up"),
                PastCondition(WALL - 5000, "down"),
                PastCondition(WALL - 4000, "up"),
            ),
        }
        sums = (PullSum("org/app", 3, 1),)
        changes = (PastChange(WALL - 4000, "up", "notice", "main", "main is up"),)
        return succeed(PastGlance("", changes, conditions, PullTotals(PullSum("", 3, 1), sums, (), ())))


def test_the_history_adds_the_last_day_earlier_changes_and_pulls() -> None:
    surveying = Surveying(up("main", "second"), history=WithHistory())
    surveying.watching.advance(100)
    for name in ("main", "second"):
        if name in surveying.watching.backends.waiting:
            surveying.watching.backends.answer(name, GOOD)
    overview = surveying.look()
    main = overview.backends[0]
    assert [span.condition for span in main.day] == ["up", "down", "up"]
    assert main.day[1].until - main.day[1].since == 1000.0
    assert round(main.day[-1].until - main.day[0].since) == 86_400
    assert [change.kind for change in overview.changes] == ["started", "up"]
    assert overview.pulls is not None
    assert overview.pulls.images == (PullSum("org/app", 3, 1),)
