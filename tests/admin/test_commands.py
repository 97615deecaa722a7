"""The commands of the control socket, over a watch whose probes the tests answer."""

from collections.abc import Sequence
from typing import Any

import pytest
from attrs import define, evolve, field

from facaded.admin.commands import Commands, ReloadResult
from facaded.admin.control import CommandRefusedError, Parameters
from facaded.admin.protocol import HostList
from facaded.admin.status import InForce, Status, document
from facaded.net.json_documents import to_json
from facaded.oci.clients import Client, Family
from facaded.policy.decision import BackendRules, Rules
from facaded.policy.network_hosts import expected_hosts
from facaded.policy.recent_pulls import RecentPulls
from facaded.policy.repositories import parse
from facaded.tls.acme.order_status import OrderStatus, Renewal
from tests.watching import GOOD, Watching

BACKENDS = {name: BackendRules(f"https://{name}.test") for name in ("main", "second")}
RULES = Rules(repositories=(parse("org/*"),), backends=BACKENDS)


@define
class Daemon:
    """The collaborators of the commands: they return what a test sets and record their calls."""

    watching: Watching
    reloaded: ReloadResult = field(factory=ReloadResult)
    saved: bool = True
    orders: list[OrderStatus] = field(factory=list)
    refusals: tuple[str, ...] = ()
    asked: list[str] = field(factory=list)
    reported: Sequence[OrderStatus] = ()
    recent: RecentPulls = field(factory=RecentPulls)
    returns: dict[tuple[str, Family], tuple[str, ...]] = field(factory=dict)

    def report(self, orders: Sequence[OrderStatus]) -> Status:
        self.reported = orders
        return document(InForce(RULES, "facaded.toml"), self.watching.watch.snapshot(), {}, {}, {}, (), lambda at: at)

    def explain_returns(self, repository: str, client: Client) -> tuple[str, ...]:
        return self.returns.get((repository, client.family), ())

    def list_hosts(self) -> HostList:
        return HostList(expected_hosts(RULES, ()))

    def reload(self) -> ReloadResult:
        self.asked.append("reload")
        return self.reloaded

    def status(self) -> list[OrderStatus]:
        return self.orders

    def renew(self, names: Sequence[str] = (), force: bool = False) -> Renewal:
        self.asked.append(" ".join(["renew", *names, *(["--force"] if force else [])]))
        orders = [order.names for order in self.orders if not names or {*names} & {*order.names}]
        return Renewal(tuple(orders), self.refusals)


@pytest.fixture
def daemon() -> Daemon:
    watching = Watching.begin("main", "second")
    for name in BACKENDS:
        watching.backends.answer(name, GOOD)
    return Daemon(watching)


@pytest.fixture
def commands(daemon: Daemon) -> Commands:
    return Commands(RULES, daemon.watching.watch, daemon, daemon, daemon, daemon.recent, daemon)


def ask(commands: Commands, method: str, path: str, parameters: Parameters | None = None) -> dict[str, Any]:
    document = commands.table[method, path](parameters or Parameters())
    return to_json(document)


def test_every_answer_has_a_version(daemon: Daemon, commands: Commands) -> None:
    daemon.orders = [OrderStatus(("a.test",))]
    parameters = Parameters(backend="main", image="org/app", client="docker")
    for method, path in commands.table:
        assert ask(commands, method, path, parameters)["schema"] == 1, path


def test_the_status_is_the_reporter_s(daemon: Daemon, commands: Commands) -> None:
    assert ask(commands, "GET", "/status")["settings"] == "facaded.toml"
    assert len(daemon.reported) == 0
    daemon.orders = [OrderStatus(("a.test",))]
    ask(commands, "GET", "/status")
    assert daemon.reported == daemon.orders


def test_the_hosts_are_the_reporter_s(commands: Commands) -> None:
    document = ask(commands, "GET", "/hosts")
    assert document["daemon"] is True
    assert [host["host"] for host in document["hosts"]] == ["main.test", "second.test"]
    assert document["hosts"][0] == {
        "host": "main.test",
        "port": 443,
        "purpose": "registry",
        "backend": "main",
        "expected": True,
        "seen": False,
        "for_facaded": True,
        "for_clients": True,
    }


def test_recent_pulls_are_listed_with_the_latest_first(daemon: Daemon, commands: Commands) -> None:
    for tag in ("1", "2"):
        daemon.recent.add("org/app", tag)
    assert ask(commands, "GET", "/recent-pulls") == {"schema": 1, "images": ["org/app:2", "org/app:1"]}


def test_a_pull_is_explained_by_the_rules_in_force(commands: Commands) -> None:
    parameters = Parameters(image="org/app:v1", client="ctr")
    explanation = ask(commands, "GET", "/explain", parameters)
    assert (explanation["image"], explanation["client"], explanation["refused"]) == ("org/app:v1", "ctr", False)
    assert explanation["requests"][0].keys() == {"request", "answer", "why"}
    assert explanation["requests"][0]["answer"] == "307 to https://main.test/v2/org/app/manifests/v1"
    assert explanation["why"] == "main is active: it is the preferred backend and is up"
    commands.reconfigure(evolve(RULES, repositories=(parse("other/*"),)))
    explanation = ask(commands, "GET", "/explain", parameters)
    assert (explanation["refused"], explanation["why"]) == (True, None)


def test_an_explanation_names_the_clients_that_are_served_because_they_asked_again(
    daemon: Daemon, commands: Commands
) -> None:
    daemon.returns["org/app", Family.DOCKER] = ("192.0.2.7 (docker) asked again",)
    for client, sentences in (("docker", ["192.0.2.7 (docker) asked again"]), ("ctr", [])):
        explanation = ask(commands, "GET", "/explain", Parameters(image="org/app", client=client))
        assert explanation["asked_again"] == sentences


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (Parameters(image="Org/App", client="docker"), "is not a repository name"),
        (Parameters(image="org/app", client="docket"), "unknown client 'docket'"),
    ],
)
def test_an_unknown_image_or_client_is_not_explained(commands: Commands, parameters: Parameters, reason: str) -> None:
    with pytest.raises(CommandRefusedError, match=reason):
        ask(commands, "GET", "/explain", parameters)


def test_a_reload_answers_with_what_needs_a_restart(daemon: Daemon, commands: Commands) -> None:
    assert ask(commands, "POST", "/reload") == {"schema": 1, "warnings": []}
    daemon.reloaded = ReloadResult(warnings=("listen.http changed",))
    assert ask(commands, "POST", "/reload") == {"schema": 1, "warnings": ["listen.http changed"]}
    assert daemon.asked == ["reload"] * 2


def test_settings_that_cannot_be_used_refuse_a_reload(daemon: Daemon, commands: Commands) -> None:
    daemon.reloaded = ReloadResult(problems=("hosts: expected a list", "bogus: unknown key"))
    with pytest.raises(CommandRefusedError) as refused:
        ask(commands, "POST", "/reload")
    assert refused.value.problems == ("not reloaded: hosts: expected a list", "not reloaded: bogus: unknown key")


def test_a_renewal_names_the_certificates_and_those_that_cannot_be_renewed(daemon: Daemon, commands: Commands) -> None:
    daemon.orders = [
        OrderStatus(("a.test", "b.test")),
        OrderStatus(("c.test",)),
    ]
    daemon.refusals = ("c.test: asked too often",)
    assert ask(commands, "POST", "/renew") == {
        "schema": 1,
        "certificates": ["a.test, b.test", "c.test"],
        "warnings": ["c.test: asked too often"],
    }


def test_a_renewal_can_be_limited_to_names_and_forced(daemon: Daemon, commands: Commands) -> None:
    daemon.orders = [OrderStatus(("a.test", "b.test")), OrderStatus(("c.test",))]
    renewal = ask(commands, "POST", "/renew", Parameters.read("names=b.test&names=c.test&force=true"))
    assert renewal["certificates"] == ["a.test, b.test", "c.test"]
    assert ask(commands, "POST", "/renew", Parameters(names=("c.test",)))["certificates"] == ["c.test"]
    assert daemon.asked == ["renew b.test c.test --force", "renew c.test"]


def test_a_renewal_of_an_unknown_name_is_refused(daemon: Daemon, commands: Commands) -> None:
    daemon.orders = [OrderStatus(("a.test", "b.test"))]
    with pytest.raises(CommandRefusedError) as refused:
        ask(commands, "POST", "/renew", Parameters(names=("a.test", "x\n.test")))
    assert refused.value.problems == (
        "x?.test: no certificate with this name is managed: expected one of a.test, b.test",
    )
    assert daemon.asked == []


def test_a_renewal_of_nothing_is_refused(daemon: Daemon, commands: Commands) -> None:
    without_tls = Commands(RULES, daemon.watching.watch, daemon, daemon, daemon, daemon.recent)
    for without_certificates in (without_tls, commands):
        with pytest.raises(CommandRefusedError, match=r"configure \[tls\.acme\]"):
            ask(without_certificates, "POST", "/renew")
    assert daemon.asked == []


def test_a_renewal_is_refused_if_no_certificate_can_be_renewed(daemon: Daemon, commands: Commands) -> None:
    daemon.orders, daemon.refusals = [OrderStatus(("c.test",))], ("c.test: asked too often",)
    with pytest.raises(CommandRefusedError) as refused:
        ask(commands, "POST", "/renew")
    assert refused.value.problems == ("c.test: asked too often",)


def test_a_pin_and_a_drain_say_which_backend_is_active_now(commands: Commands) -> None:
    pinned = ask(commands, "POST", "/pin", Parameters(backend="second", seconds=7200.0))
    assert pinned == {"schema": 1, "why": "second is active: it is pinned for another 2 h", "warnings": []}
    assert ask(commands, "POST", "/drain", Parameters(backend="main"))["why"] == pinned["why"]
    assert ask(commands, "POST", "/unpin")["why"] == "second is active: main is drained"
    undrained = ask(commands, "POST", "/undrain", Parameters(backend="main"))
    assert undrained["why"].startswith(("main is active", "second is active: main takes over"))


@pytest.mark.parametrize(
    ("path", "backend", "reason"),
    [
        ("/pin", "other", "no route has a backend called 'other': choose from main, second"),
        ("/drain", "", "no route has a backend called '': choose from main, second"),
        ("/undrain", "other", "no route has a backend called 'other': choose from main, second"),
        ("/pin", "second", "second is drained: undrain it first, or pin another backend"),
    ],
)
def test_an_override_that_contradicts_another_is_refused(
    commands: Commands, path: str, backend: str, reason: str
) -> None:
    ask(commands, "POST", "/drain", Parameters(backend="second"))
    with pytest.raises(CommandRefusedError) as refused:
        ask(commands, "POST", path, Parameters(backend=backend))
    assert refused.value.problems == (reason,)


@pytest.mark.parametrize(
    ("path", "backend", "warning"),
    [("/unpin", "", "no backend was pinned"), ("/undrain", "main", "main was not drained")],
)
def test_nothing_to_undo_is_success_with_a_warning(
    daemon: Daemon, commands: Commands, path: str, backend: str, warning: str
) -> None:
    before = daemon.watching.watch.watch_state
    answer = ask(commands, "POST", path, Parameters(backend=backend))
    assert answer == {
        "schema": 1,
        "why": "main is active: it is the preferred backend and is up",
        "warnings": [warning],
    }
    assert daemon.watching.watch.watch_state == before


def test_what_was_pinned_or_drained_is_undone_without_a_warning(commands: Commands) -> None:
    for command, undoing in (("/pin", "/unpin"), ("/drain", "/undrain")):
        ask(commands, "POST", command, Parameters(backend="second"))
        assert ask(commands, "POST", undoing, Parameters(backend="second"))["warnings"] == []


def test_an_override_that_is_not_in_the_state_file_has_a_warning(daemon: Daemon, commands: Commands) -> None:
    daemon.saved = False
    not_saved = "the state cannot be written, so a restart undoes this: see the log"
    assert ask(commands, "POST", "/pin", Parameters(backend="main"))["warnings"] == [not_saved]
    assert ask(commands, "POST", "/undrain", Parameters(backend="second"))["warnings"] == [
        "second was not drained",
        not_saved,
    ]
