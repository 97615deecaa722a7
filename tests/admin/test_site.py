"""The admin listener's answers."""

import pytest
import pytest_twisted
from treq.testing import RequestTraversalAgent

from facaded.admin.exposition import CONTENT_TYPE
from facaded.admin.site import Admin
from facaded.net.client import BoundedClient, Response
from tests.admin.measuring import Measured
from tests.watching import BAD, Watching, fail, up


def make_admin(watching: Watching, reason: str | None = None, hosts: tuple[str, ...] = ()) -> Admin:
    return Admin(hosts, lambda: reason, watching.watch, Measured(watching).metrics)


async def ask(admin: Admin, path: str, host: str = "localhost") -> Response:
    client = BoundedClient("http://localhost", RequestTraversalAgent(admin))
    return await client.ask("GET", f"http://localhost{path}", headers={"Host": host}, limit=100_000)


@pytest.mark.parametrize(("reason", "expected"), [(None, 200), ("stopping", 503)])
@pytest_twisted.ensureDeferred
async def test_it_is_ready_unless_there_is_a_reason_why_not(reason: str | None, expected: int) -> None:
    assert (await ask(make_admin(up("main", "second"), reason), "/readyz")).status == expected


@pytest_twisted.ensureDeferred
async def test_an_outage_is_told_to_people_but_not_to_orchestrators() -> None:
    watching = up("main", "second")
    admin = make_admin(watching)
    fail(watching, "main")
    assert ((await ask(admin, "/statusz")).status, (await ask(admin, "/statusz")).body) == (200, b"ok\n")
    fail(watching, "second")
    response = await ask(admin, "/statusz")
    assert response.status == 503
    assert response.body == b"ALL BACKENDS DOWN (main: connection refused; second: connection refused)\n"
    assert response.body.decode().strip() in watching.news[-1], "the log says the same"
    assert [(await ask(admin, path)).status for path in ("/livez", "/readyz")] == [200, 200]


@pytest_twisted.ensureDeferred
async def test_while_nothing_is_known_of_the_backends_no_client_is_affected() -> None:
    watching = Watching.begin("main", "second")
    watching.backends.answer("main", BAD)
    assert (await ask(make_admin(watching), "/statusz")).status == 200


@pytest_twisted.ensureDeferred
async def test_metrics_are_text_for_prometheus() -> None:
    response = await ask(make_admin(up("main", "second")), "/metrics")
    assert (response.status, response.value("Content-Type")) == (200, CONTENT_TYPE)
    assert b'facaded_backend_state{backend="main",state="up"} 1.0\n' in response.body


@pytest_twisted.ensureDeferred
async def test_it_accepts_the_host_names_of_the_settings_in_force() -> None:
    admin = make_admin(up("main", "second"), hosts=("admin.test",))
    hosts = ("admin.test", "other.test", "127.0.0.1")
    assert [(await ask(admin, "/livez", host)).status for host in hosts] == [200, 421, 200]
    admin.reconfigure(("other.test",))
    assert [(await ask(admin, "/livez", host)).status for host in hosts] == [421, 200, 200]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/statusz", "/metrics"])
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", 200),
        ("10.1.2.3:9180", 200),
        ("[2001:db8::7]:9180", 200),
        ("[::1]", 200),
        ("rebinding.test", 421),
        ("10.1.2.3.rebinding.test", 421),
        ("0x7f.1", 421),
        ("", 421),
    ],
)
@pytest_twisted.ensureDeferred
async def test_addresses_are_accepted_as_host_but_names_of_strangers_are_not(
    path: str, host: str, expected: int
) -> None:
    assert (await ask(make_admin(up("main", "second")), path, host)).status == expected
