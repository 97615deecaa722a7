"""Starts, stops, other settings and other daemons on the same directory."""

import shutil

import pytest
from attrs import evolve

from facaded.tls.acme.schedule import DAY, FAILURES_AN_HOUR, HOUR, MINUTE, Stage
from facaded.tls.acme.store import AcmeStore, StoreError
from tests.tls.acme.memory import CLOSED, NAME, Begin, Serving


def test_a_valid_certificate_is_used_at_once_after_a_restart_without_asking_anybody(begin: Begin) -> None:
    serving = begin().start()
    old, asked = serving.certificate, len(serving.ca.asked)
    serving.acme.stopService()
    serving.restart()
    assert serving.certificate == old
    serving.start()
    assert serving.ca.asked[asked:] == ["directory"], "for renewal information"


def test_waits_outlive_a_restart(begin: Begin) -> None:
    serving = begin()
    serving.ca.refuse = CLOSED
    serving.start()
    before = serving.status
    serving.acme.stopService()
    serving.restart()
    assert serving.status == before
    serving.start(4 * MINUTE)
    assert len(serving.ca.refused) == 1


def test_an_order_that_a_stop_interrupts_is_begun_anew_at_the_next_start(begin: Begin) -> None:
    serving = begin()
    serving.ca.hangs = True
    serving.start(1)
    stopped = serving.acme.stopService()
    assert stopped is not None
    serving.network.settle()
    assert stopped.called
    assert serving.network.clock.getDelayedCalls() == []
    serving.ca.hangs = False
    serving.restart()
    assert serving.status["error"] is None
    assert serving.start(30).certificate is None, "whoever restarts again and again must not hammer a CA"
    serving.network.pass_time(60)
    assert serving.certificate is not None


def test_restarts_in_the_middle_of_authorizations_stay_within_the_limits(begin: Begin) -> None:
    serving = begin()
    serving.ca.ponders = True
    for _ in range(50):
        serving.start(61)
        serving.acme.stopService()
        serving.network.settle()
        assert serving.shown.alpn == {}
        serving.restart()
    assert serving.ca.asked.count("order") == 5


def stuck(serving: Serving, stage: Stage) -> None:
    """The CA lets an order come to this stage, and not to an end."""
    serving.ca.ponders = stage is Stage.AUTHORIZING
    if stage is Stage.MADE:
        serving.ca.lies["look"] = lambda it: it.update(status="processing") if "certificate" in it else None


def kill(serving: Serving) -> None:
    """A new service on what the old one has left on the disk so far: nothing that it does as it stops is seen."""
    left = serving.directory.with_name(serving.directory.name + "x")
    shutil.copytree(serving.directory, left)
    serving.directory = left
    serving.acme.stopService()
    serving.network.settle()
    serving.restart()


@pytest.mark.parametrize("end", ["stop", "kill", "reload"])
@pytest.mark.parametrize(("stage", "limit"), [(Stage.AUTHORIZING, 5), (Stage.MADE, 3)])
def test_orders_that_are_interrupted_stay_within_the_limits(begin: Begin, end: str, stage: Stage, limit: int) -> None:
    serving = begin()
    stuck(serving, stage)
    serving.start(2)
    for count in range(12):
        match end:
            case "stop":
                serving.acme.stopService()
                serving.network.settle()
                serving.restart()
                serving.acme.startService()
            case "kill":
                kill(serving)
                serving.acme.startService()
            case "reload":
                serving.reconfigure(evolve(serving.settings, email=f"{count}@example.com"))
        serving.network.pass_time(63)
    assert serving.ca.asked.count("challenge" if stage is Stage.AUTHORIZING else "finalize") == limit
    assert serving.status["next_renewal"] > serving.network.now() + 40 * MINUTE


def test_what_was_taken_down_before_an_order_is_taken_back_when_it_ends_well(begin: Begin) -> None:
    serving = begin().start()
    progress = AcmeStore(serving.directory, print).progress([NAME])
    assert (progress.failed, progress.extras) == ({}, {})


def test_what_the_first_ca_has_refused_counts_though_the_second_gives_a_certificate(begin: Begin) -> None:
    serving = begin("first", "second")
    serving.network.authorities["first"].refuse = CLOSED
    serving.start()
    assert serving.certificate is not None
    assert list(AcmeStore(serving.directory, print).progress([NAME]).failed) == ["https://first.test/directory"]


def test_an_order_of_which_a_killed_daemon_has_left_nothing_is_not_begun_at_once(begin: Begin) -> None:
    serving = begin()
    serving.ca.hangs = True
    serving.start(1)
    serving.restart()  # without a stop
    assert serving.status["next_renewal"] == pytest.approx(serving.network.now() + 59, abs=2)


def test_other_settings_are_adopted_and_what_is_still_wanted_is_kept(begin: Begin) -> None:
    serving = begin().start()
    old = serving.certificate
    more = ((NAME,), ("b.example.com",))
    serving.reconfigure(evolve(serving.settings, domains=more))
    assert serving.certificate == old
    serving.network.pass_time(30)
    assert serving.acme.current()[NAME,] == old
    assert serving.acme.current()["b.example.com",].names == ("b.example.com",)


def test_an_operator_who_renews_too_often_is_told_until_when(begin: Begin) -> None:
    serving = begin().start()
    for _ in range(3):
        assert serving.acme.renew() == ()
        serving.network.pass_time(MINUTE)
    assert len(serving.ca.made) == 4
    assert serving.acme.renew() == (f"{NAME}: the CA's limits allow no attempt before 2027-01-22 08:00 UTC",)
    serving.network.pass_time(MINUTE)
    assert len(serving.ca.made) == 4


def test_two_daemons_on_one_directory_share_certificates_and_waits(begin: Begin, log: list[str]) -> None:
    serving = begin().start()
    one = serving.acme
    serving.restart()
    serving.start()
    one.renew()
    serving.network.pass_time(2 * MINUTE)
    assert len(serving.ca.made) == 2
    assert serving.certificate == one.current()[NAME,]
    assert [line for line in log if line == f"{NAME}: another daemon has renewed the certificate"]
    serving.network.sleep(70 * DAY)
    assert len(serving.ca.made) == 3
    assert serving.certificate == one.current()[NAME,]
    one.stopService()


def test_two_daemons_whose_operators_renew_again_and_again_stay_within_the_limits_of_one(begin: Begin) -> None:
    serving = begin()
    serving.ca.refuse = CLOSED
    serving.start()
    one = serving.acme
    serving.restart()
    serving.start()
    for _ in range(20):
        for acme in (one, serving.acme):
            acme.renew()
            serving.network.pass_time(MINUTE / 2)
    assert len(serving.ca.refused) == FAILURES_AN_HOUR
    one.stopService()


def test_an_order_waits_while_another_daemon_is_at_it(begin: Begin, log: list[str]) -> None:
    serving = begin()
    with AcmeStore(serving.directory, log.append).locked() as alone:
        assert alone
        serving.start()
        assert serving.error == "another daemon with the same state.directory is ordering certificates"
        assert serving.ca.asked == []
    serving.network.pass_time(30)
    assert serving.certificate is not None
    assert serving.status["error"] is None


def test_a_certificate_of_a_ca_that_is_not_wanted_any_more_is_replaced_at_once(begin: Begin) -> None:
    serving = begin("staging", "production")
    staging, production = serving.settings.cas
    serving.reconfigure(evolve(serving.settings, cas=(staging,)))
    serving.start()
    assert serving.status["issuer"] == "staging CA"
    serving.reconfigure(evolve(serving.settings, cas=(production,)))
    assert serving.certificate is not None
    serving.network.pass_time(30)
    assert serving.status["issuer"] == "production CA"


def test_going_back_and_forth_between_cas_stays_within_the_limits(begin: Begin) -> None:
    serving = begin("first", "second").start()
    for count in range(12):
        serving.reconfigure(evolve(serving.settings, cas=(serving.settings.cas[count % 2 - 1],)))
        serving.network.pass_time(70)
    assert [len(ca.made) for ca in serving.network.authorities.values()] == [4, 3], "the first without a limit"


def test_failures_count_for_a_name_in_whatever_entry_it_is(begin: Begin) -> None:
    serving = begin()
    serving.ca.refuse = CLOSED
    serving.start()
    for count in range(12):
        serving.reconfigure(evolve(serving.settings, domains=((NAME, f"{count}.example.com"),)))
        serving.network.pass_time(70)
    assert serving.ca.asked.count("order") == FAILURES_AN_HOUR


def test_other_settings_change_nothing_while_they_are_prepared(begin: Begin) -> None:
    serving = begin().start()
    before, requests = serving.status, serving.network.requests
    prepared = serving.acme.prepare(evolve(serving.settings, domains=(("b.example.com",), (NAME,))))
    serving.network.pass_time(10)
    assert (serving.status, len(serving.acme.status())) == (before, 1)
    assert serving.network.requests == requests
    serving.acme.reconfigure(prepared)
    assert [each.names for each in serving.acme.status()] == [("b.example.com",), (NAME,)]
    serving.network.pass_time(30)
    assert len(serving.acme.current()) == 2


def test_settings_that_cannot_be_prepared_change_nothing(begin: Begin) -> None:
    serving = begin().start()
    before = serving.status
    place = serving.directory / "certificates" / "b.example.com" / "certificate.pem"
    place.mkdir(parents=True)  # even root cannot read that
    with pytest.raises(StoreError, match="cannot be kept"):
        serving.acme.prepare(evolve(serving.settings, domains=((NAME,), ("b.example.com",))))
    assert (serving.status, len(serving.acme.status())) == (before, 1)
    serving.network.pass_time(HOUR)
    assert len(serving.ca.made) == 1
    place.rmdir()
