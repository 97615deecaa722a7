"""The admin listener's answers."""

import json

import pytest
import pytest_twisted
from treq.testing import RequestTraversalAgent
from twisted.logger import LogEvent

from facaded.admin.exposition import CONTENT_TYPE
from facaded.admin.site import Admin
from facaded.admin.status_page import SCRIPT, STYLE
from facaded.admin.status_pages import FILES, StatusPages
from facaded.net.client import BoundedClient, Response
from tests.admin.measuring import Measured
from tests.admin.surveying import Surveying
from tests.watching import BAD, Watching, fail, up


def make_admin(watching: Watching, reason: str | None = None, hosts: tuple[str, ...] = ()) -> Admin:
    pages = StatusPages(Surveying(watching).survey)
    return Admin(hosts, lambda: reason, watching.watch, Measured(watching).metrics, pages)


async def ask(
    admin: Admin, path: str, host: str = "localhost", method: str = "GET", known: str = '"another"'
) -> Response:
    client = BoundedClient("http://localhost", RequestTraversalAgent(admin))
    headers = {"Host": host, "If-None-Match": known}
    return await client.ask(method, f"http://localhost{path}", headers=headers, limit=100_000)


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


@pytest_twisted.ensureDeferred
async def test_the_status_is_a_page_and_a_document_with_the_same_facts() -> None:
    watching = up("main", "second")
    admin = make_admin(watching)
    fail(watching, "main")
    page = await ask(admin, "/")
    assert (page.status, page.value("Content-Type")) == (200, "text/html; charset=utf-8")
    assert page.value("Cache-Control") == "no-store"
    response = await ask(admin, "/status.json")
    assert (response.status, response.value("Content-Type")) == (200, "application/json")
    document = json.loads(response.body)
    assert document["schema"] == 1
    for sentence in (document["headline"]["text"], document["headline"]["remarks"][0]):
        assert sentence in page.body.decode()
    assert watching.news[-1].partition(";")[0] in document["headline"]["remarks"][0]


@pytest_twisted.ensureDeferred
async def test_a_head_of_the_page_has_its_length() -> None:
    response = await ask(make_admin(up("main", "second")), "/", method="HEAD")
    assert response.status == 200
    assert int(response.value("Content-Length") or 0) > 1000
    assert response.body == b""


@pytest_twisted.ensureDeferred
async def test_the_page_is_written_once_a_second() -> None:
    watching = up("main", "second")
    admin = make_admin(watching)
    first = (await ask(admin, "/")).body
    fail(watching, "main")
    assert (await ask(admin, "/")).body != first, "more than a second has passed"
    second = (await ask(admin, "/")).body
    fail(watching, "second")
    watching.clock.rightNow -= 11.0
    assert (await ask(admin, "/")).body == second


@pytest_twisted.ensureDeferred
async def test_the_files_of_the_page_are_sent_once_until_they_change() -> None:
    admin = make_admin(up("main", "second"))
    for path in FILES:
        response = await ask(admin, path)
        assert response.status == 200
        known = await ask(admin, path, known=response.value("ETag") or "")
        assert (known.status, known.body) == (304, b"")
    assert (await ask(admin, STYLE)).value("Content-Type") == "text/css; charset=utf-8"
    assert (await ask(admin, SCRIPT)).value("Content-Type") == "text/javascript; charset=utf-8"


@pytest_twisted.ensureDeferred
async def test_what_changes_something_is_refused_and_other_paths_are_named() -> None:
    admin = make_admin(up("main", "second"))
    assert (await ask(admin, "/", method="POST")).status == 405
    missing = await ask(admin, "/other")
    assert missing.status == 404
    assert missing.body == b"not found: use /, /status.json, /livez, /readyz, /statusz or /metrics\n"


@pytest_twisted.ensureDeferred
async def test_an_error_while_the_status_is_collected_is_logged(no_errors_are_logged: list[LogEvent]) -> None:
    watching = up("main", "second")
    surveying = Surveying(watching, history=None)
    admin = Admin((), lambda: None, watching.watch, Measured(watching).metrics, StatusPages(surveying.survey))
    response = await ask(admin, "/")
    assert (response.status, response.body) == (500, b"internal error in facaded: see its log\n")
    assert len(no_errors_are_logged) == 1
    no_errors_are_logged.clear()


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/statusz", "/metrics", "/", "/status.json", "/status.css"])
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
