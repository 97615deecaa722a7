"""What is remembered of names: over reloads and restarts, and for all names of a CA."""

from pathlib import Path

import pytest
from attrs import evolve

from facaded.tls.acme.schedule import DAY, HOUR, MINUTE, WEEK
from tests.tls.acme.memory import CLOSED, NAME, AcmeHarness, CreateHarness, problem
from tests.tls.acme.test_restarts import kill

OTHER = "other.example.com"


def leave_and_return(harness: AcmeHarness, by: str) -> None:
    """Remove the name from the settings, for a while."""
    for domains in (((OTHER,),), ((NAME,),)):
        harness.settings = evolve(harness.settings, domains=domains)
        if by == "reload":
            harness.reconfigure(harness.settings)
        else:
            harness.acme.stopService()
            harness.restart()
            harness.acme.startService()
        harness.network.pass_time(5)


@pytest.mark.parametrize("by", ["reload", "restart"])
def test_a_name_that_leaves_and_returns_has_its_history(create: CreateHarness, by: str) -> None:
    harness = create()
    harness.ca.refusal = CLOSED
    harness.start(20 * MINUTE)
    before, orders = harness.status, harness.ca.requests.count("order")
    harness.ca.refusal = None
    leave_and_return(harness, by)
    assert harness.status == before
    assert harness.ca.requests.count("order") == orders + 1, "for the other name"
    assert harness.ca.issued != []


@pytest.mark.parametrize("by", ["reload", "restart"])
def test_a_name_that_leaves_and_returns_has_its_certificate(create: CreateHarness, by: str) -> None:
    harness = create().start()
    old = harness.certificate
    leave_and_return(harness, by)
    assert harness.certificate == old
    assert len(harness.ca.issued) == 2, "one for the other name"


def files(harness: AcmeHarness, name: str) -> list[str]:
    return sorted(path.name for path in (harness.directory / "certificates" / name).glob("*"))


def test_the_key_of_a_name_that_has_left_is_removed_after_a_week(create: CreateHarness, log: list[str]) -> None:
    harness = create(domains=((NAME,), (OTHER,))).start()
    harness.reconfigure(evolve(harness.settings, domains=((OTHER,),)))
    harness.network.sleep(WEEK - DAY)
    assert files(harness, NAME) == ["certificate.pem"]
    harness.network.sleep(3 * DAY)
    assert files(harness, NAME) == []
    assert files(harness, OTHER) == ["certificate.pem"]
    assert [line for line in log if line == f"{NAME}: not in the settings any more: key and certificate removed"]


def test_the_key_of_a_name_that_has_left_is_removed_when_it_has_expired(create: CreateHarness) -> None:
    harness = create(domains=((NAME,), (OTHER,)))
    harness.ca.validity = 2 * DAY
    harness.start()
    harness.reconfigure(evolve(harness.settings, domains=((OTHER,),)))
    harness.network.sleep(4 * DAY)
    assert files(harness, NAME) == []


def test_a_rate_limit_is_met_once_for_eight_names(create: CreateHarness) -> None:
    harness = create(domains=tuple((f"{number}.example.com",) for number in range(8)))
    harness.ca.faults["order"] = problem(429, "rateLimited", retry_after=2 * 3600)
    harness.start(1.9 * HOUR)
    assert harness.ca.requests.count("order") == 1
    harness.ca.faults.clear()
    harness.network.pass_time(15 * MINUTE)
    assert len(harness.ca.issued) == 8


def test_a_ca_that_does_not_answer_is_asked_once_for_eight_names(create: CreateHarness) -> None:
    harness = create(domains=tuple((f"{number}.example.com",) for number in range(8)))
    harness.ca.hangs = True
    harness.start(35)
    assert harness.network.request_count == 1
    assert [status.attempts for status in harness.acme.status()] == [1] * 8


def test_a_failure_is_counted_although_the_process_is_killed_during_the_next_order(create: CreateHarness) -> None:
    harness = create()
    harness.ca.refusal = CLOSED
    harness.start(1)
    (path,) = harness.directory.rglob("ledger.json")
    assert path.read_text().count("18000000") >= 2
    orders = harness.ca.requests.count("order")
    kill(harness)
    harness.start(9 * MINUTE)
    assert harness.ca.requests.count("order") == orders


def test_a_request_during_an_attempt_is_met_after_it(create: CreateHarness) -> None:
    harness = create()
    harness.ca.hangs = True
    harness.start(10)
    harness.ca.hangs = False
    assert harness.acme.renew().refusals == ()
    harness.network.pass_time(30)
    assert harness.certificate is not None


@pytest.fixture
def private(create: CreateHarness, tmp_path: Path) -> AcmeHarness:
    """A client of a CA that no system trusts."""
    harness = create()
    other = create(domains=((OTHER,),)).start()
    (tmp_path / "root.pem").write_bytes(next(iter(other.acme.current().values())).chain_pem)
    other.acme.stopService()
    harness.change_ca(ca_file=tmp_path / "root.pem")
    return harness.start()


def test_a_private_ca_has_no_weekly_limit(private: AcmeHarness) -> None:
    for _ in range(10):
        assert private.acme.renew().refusals == ()
        private.network.pass_time(MINUTE)
    assert len(private.ca.issued) == 11


def test_an_operator_can_renew_one_name_and_override_our_limits(create: CreateHarness) -> None:
    harness = create(domains=((NAME,), (OTHER, "third.example.com"))).start()
    for _ in range(3):
        assert harness.acme.renew([OTHER]).certificates == ((OTHER, "third.example.com"),)
        harness.network.pass_time(MINUTE)
    assert len(harness.ca.issued) == 5
    assert len(harness.acme.renew([OTHER]).refusals) == 1
    assert harness.acme.renew([OTHER], force=True).refusals == ()
    harness.network.pass_time(MINUTE)
    assert len(harness.ca.issued) == 6


def test_an_operator_cannot_override_a_rate_limit_of_the_ca(create: CreateHarness) -> None:
    harness = create().start()
    harness.ca.faults["order"] = problem(429, "rateLimited", retry_after=7200)
    harness.acme.renew(force=True)
    harness.network.pass_time(MINUTE)
    assert harness.acme.renew(force=True).refusals == (
        f"{NAME}: the CA allows no attempt before 2027-01-15 10:00 UTC (429)",
    )


def test_an_operator_can_replace_an_order_that_does_not_finish(create: CreateHarness) -> None:
    harness = create()
    harness.ca.slow_issuance = 10 * DAY
    harness.start(10 * MINUTE)
    harness.ca.slow_issuance = 0
    harness.acme.renew(force=True)
    harness.network.pass_time(12 * MINUTE)
    assert harness.certificate is not None
    assert harness.ca.requests.count("order") == 2
