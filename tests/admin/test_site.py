"""The admin listener's answers."""

import pytest
import pytest_twisted
from treq.testing import RequestTraversalAgent

from facaded.admin.site import Admin
from facaded.net.client import BoundedClient


async def status(admin: Admin, path: str, host: str = "localhost") -> int:
    client = BoundedClient("http://localhost", RequestTraversalAgent(admin))
    return (await client.ask("GET", f"http://localhost{path}", headers={"Host": host}, limit=1000)).status


@pytest.mark.parametrize(("reason", "expected"), [(None, 200), ("stopping", 503)])
@pytest_twisted.ensureDeferred
async def test_it_is_ready_unless_there_is_a_reason_why_not(reason: str | None, expected: int) -> None:
    assert await status(Admin((), lambda: reason), "/readyz") == expected


@pytest_twisted.ensureDeferred
async def test_it_accepts_the_host_names_of_the_settings_in_force() -> None:
    admin = Admin(("admin.test",), lambda: None)
    hosts = ("admin.test", "other.test", "127.0.0.1")
    assert [await status(admin, "/livez", host) for host in hosts] == [200, 421, 200]
    admin.reconfigure(("other.test",))
    assert [await status(admin, "/livez", host) for host in hosts] == [421, 200, 200]
