"""What a worker notes for the first process: it is bounded, taken once, and logged by nobody."""

from twisted.internet.task import Clock

from facaded.policy.network_hosts import HostPort, HostPurpose
from facaded.workers.forwarded_notes import MOST_WAITING, ForwardedAccounts, ForwardedHosts
from tests.log_lines import log_lines


def test_a_host_waits_once_until_it_is_taken_and_again_for_a_new_first_process() -> None:
    hosts = ForwardedHosts()
    for number in (1, 2, 1):
        hosts.note("https://main.test", HostPurpose.CDN, f"https://{number}.test/blob")
    first, second = (("https://main.test", HostPort(HostPurpose.CDN, name, 443)) for name in ("1.test", "2.test"))
    assert hosts.take(1) == [first]
    assert hosts.take(5) == [second]
    assert hosts.take(5) == []
    hosts.note("https://main.test", HostPurpose.CDN, "https://1.test/blob")
    assert hosts.take(5) == []
    hosts.repeat()
    assert {*hosts.take(5)} == {first, second}


def test_the_latest_of_an_account_waits() -> None:
    accounts = ForwardedAccounts(Clock())
    with log_lines() as lines:
        accounts.note("main", "", "its account was refused")
        accounts.note("second", "org/app", "its account was refused")
        accounts.note("second", "org/app", None)
    assert lines == []
    assert accounts.take(5) == [(("main", ""), "its account was refused"), (("second", "org/app"), None)]
    accounts.repeat()
    assert accounts.take(5) == [(("main", ""), "its account was refused")]
    assert accounts.take(5) == []


def test_a_note_that_is_repeated_is_the_latest() -> None:
    accounts = ForwardedAccounts(Clock())
    for backend in ("main", "second", "main"):
        accounts.note(backend, "", "its account was refused")
    assert [backend for (backend, _), _ in accounts.take(5)] == ["second", "main"]


def test_of_too_many_notes_the_oldest_is_forgotten() -> None:
    accounts = ForwardedAccounts(Clock())
    for number in range(MOST_WAITING + 1):
        accounts.note("main", f"org/{number}", "its account was refused")
    waiting = accounts.take(MOST_WAITING + 5)
    assert len(waiting) == MOST_WAITING
    assert waiting[0][0] == ("main", "org/1")
