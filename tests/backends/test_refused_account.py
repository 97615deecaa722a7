"""facaded's own account is refused: it is tried rarely, the log says so once, and public images are served."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from zope.interface import implementer

from facaded.backends.fetcher import Fetcher
from facaded.backends.own_account import REFUSED_TIME, Credentials, OwnAccount
from facaded.backends.refused_accounts import FORGET_TIME, RefusedAccounts
from facaded.backends.served_content import NotServed, ReadOptions
from facaded.oci.requests import ManifestRead
from facaded.policy.decision import Serve
from tests.backends.fetching import WIDE, ask
from tests.backends.memory import Fake, Network

BASIC = "Basic bWU6czNjcmV0"
REMEDY = "check username and password_file"
NEWS = f"hub: facaded's account was refused by its token server (401): {REMEDY}; requests are anonymous"
WORKS = "hub: facaded's account works again"


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    return Credentials("me", path)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The lines of the log about accounts."""
    seen: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        if "account" in (line := formatEvent(event)):
            seen.append(line)

    globalLogPublisher.addObserver(observe)
    yield seen
    globalLogPublisher.removeObserver(observe)


def registry(fault: str, images: int = 30) -> Network:
    network = Network(hub := Fake("hub", fault=fault))
    for number in range(images):
        hub.put(f"org/app{number}", "latest")
    return network


def pull(network: Network, fetcher: Fetcher, repository: str) -> str:
    """Pull the repository's latest as clients do, with HEAD and GET; return what failed, or an empty string."""
    read = ManifestRead(repository, "latest")
    ask(network, fetcher, read, body=False)
    served = ask(network, fetcher, read)
    return served.failures.get("hub", "not found") if isinstance(served, NotServed) else ""


def logins(network: Network) -> int:
    return sum(1 for _, value in network.fakes["hub"].authorizations if value == BASIC)


def test_a_refused_account_logs_in_once_in_five_minutes(credentials: Credentials, lines: list[str]) -> None:
    network = registry("account refused")
    fetcher, hub = network.fetcher(credentials=credentials), network.fakes["hub"]
    for number in range(30):
        assert pull(network, fetcher, f"org/app{number}") == ""
        network.clock.advance(5)
    assert logins(network) == 1
    assert hub.count("GET", "/token") == 31, "an anonymous token for each repository"
    assert lines == [NEWS]


def test_an_account_is_tried_by_one_of_many_concurrent_requests(credentials: Credentials) -> None:
    network = registry("account refused")
    fetcher = network.fetcher(credentials=credentials)
    names = [f"org/app{number}" for number in range(30)]
    for with_body in (False, True):
        reads = [
            Deferred.fromCoroutine(
                fetcher.serve(Serve(ManifestRead(name, "latest"), ("hub",), "hub"), ReadOptions(WIDE, with_body))
            )
            for name in names
        ]
        for read in reads:
            assert not isinstance(network.run(read), NotServed)
    assert logins(network) == 1


def test_a_refused_account_is_tried_again_and_its_return_is_logged(credentials: Credentials, lines: list[str]) -> None:
    network = registry("account refused")
    fetcher, hub = network.fetcher(credentials=credentials), network.fakes["hub"]
    for number in range(4):
        assert pull(network, fetcher, f"org/app{number}") == ""
        network.clock.advance(301)
    assert logins(network) == 4
    assert lines == [NEWS]
    assert network.refused_accounts.of("hub")
    hub.fault = ""
    assert pull(network, fetcher, "org/app4") == ""
    assert lines == [NEWS, WORKS]
    assert network.refused_accounts.of("hub") is None
    pull(network, fetcher, "org/app5")
    assert logins(network) == 6, "each repository has its token"


def test_an_account_without_access_to_one_repository_is_used_for_the_others(
    credentials: Credentials, lines: list[str]
) -> None:
    network = registry("account 403 repository:org/app0:pull", images=2)
    fetcher = network.fetcher(credentials=credentials)
    for _ in range(3):
        assert pull(network, fetcher, "org/app0") == ""
        assert pull(network, fetcher, "org/app1") == ""
        network.clock.advance(20)
    assert logins(network) == 2
    assert lines == [NEWS.replace("server (401)", "server for org/app0 (403)")]


def test_private_images_fail_at_once_while_the_account_is_refused(credentials: Credentials, lines: list[str]) -> None:
    network = registry("account refused")
    fetcher = network.fetcher(credentials=credentials, publish_private=True)
    for number in range(30):
        assert pull(network, fetcher, f"org/app{number}") == "the token server rejected facaded's account"
    assert logins(network) == 1
    assert network.fakes["hub"].count("GET", "/token") == 1
    assert lines == [NEWS.replace("requests are anonymous", "its images cannot be fetched")]


def test_a_registry_without_a_token_server_refuses_the_account(credentials: Credentials, lines: list[str]) -> None:
    network = registry("basic")
    fetcher = network.fetcher(credentials=credentials, publish_private=True)
    for number in range(30):
        assert pull(network, fetcher, f"org/app{number}") == "the registry rejected facaded's account"
    assert logins(network) == 1
    assert len(lines) == 1
    assert f"was refused by the registry (401): {REMEDY}" in lines[0]


def test_a_401_to_requests_without_the_account_does_not_refuse_it(credentials: Credentials, lines: list[str]) -> None:
    network = registry("basic")
    network.replies["hub.test/v2/"] = (200, b"{}")
    network.fakes["hub"].valid.add(BASIC)
    fetcher = network.fetcher(credentials=credentials, publish_private=True)
    reads = [
        Deferred.fromCoroutine(
            fetcher.serve(Serve(ManifestRead(f"org/app{number}", "latest"), ("hub",), "hub"), ReadOptions(WIDE))
        )
        for number in range(5)
    ]
    assert not any(isinstance(network.run(read), NotServed) for read in reads)
    assert lines == []


def test_an_account_that_is_not_sent_to_a_realm_is_not_refused(credentials: Credentials, lines: list[str]) -> None:
    network = registry("")
    network.fakes["hub"].realm = "https://auth.else.example/token"
    network.replies["auth.else.example"] = (401, b"")
    fetcher = network.fetcher(credentials=credentials, publish_private=True)
    pull(network, fetcher, "org/app0")
    assert lines == []


def test_a_refusal_is_forgotten_after_an_hour_without_another_one(lines: list[str]) -> None:
    clock = Clock()
    accounts = RefusedAccounts(clock)
    accounts.note("hub", "", "refused")
    clock.advance(FORGET_TIME - 1)
    accounts.note("hub", "org/app", "refused too")
    clock.advance(FORGET_TIME - 1)
    refusal = accounts.of("hub")
    assert refusal is not None
    assert (refusal.problem, refusal.since) == ("refused", 0)
    clock.advance(1)
    assert accounts.of("hub") is None


def test_a_backend_that_left_the_settings_has_no_refused_account() -> None:
    accounts = RefusedAccounts(Clock())
    accounts.note("hub", "", "refused")
    accounts.note("ghcr", "org/app", "refused")
    accounts.note("ghcr", "org/other", None)
    accounts.retain(["ghcr"])
    assert accounts.of("hub") is None
    assert accounts.of("ghcr") is not None, "it works for another repository only"


def test_an_account_that_works_is_refused_for_one_repository_and_not_for_all(tmp_path: Path) -> None:
    """A token server may answer 401 for a repository that does not exist; anyone can ask for one."""
    clock = Clock()
    notes: list[tuple[str, str | None]] = []
    credentials = Credentials("user", tmp_path / "password")
    account = OwnAccount("https://hub.test", clock.seconds, credentials, True, lambda *note: notes.append(note))
    account.mark_accepted("org/app")
    account.mark_refused("org/missing", 401)
    assert account.is_refused_for("org/missing")
    assert not account.is_refused_for("org/app")
    clock.advance(REFUSED_TIME)
    account.mark_refused("org/missing", 401)
    assert account.is_refused_for("org/app"), "it has not worked for minutes"
