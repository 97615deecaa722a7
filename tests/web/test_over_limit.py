"""The answer to a client whose source is over a limit."""

import json

import pytest

from facaded.policy.decision import BackendRules, Rules
from facaded.policy.limits import Limits
from tests.web.test_facade import DIGEST, RULES, Client

PATHS = ("/v2/org/app/manifests/latest", f"/v2/org/app/blobs/{DIGEST}", "/v2/org/app/tags/list")


def refused(path: str, rules: Rules, authorization: str = "") -> tuple[int, list[str], bytes]:
    """Send as many requests as a rate of one a second allows at once, and one more.

    Return the status of its answer, the lines of its headers, and its body.
    """
    client = Client(rules)
    client.network.fakes["main"].valid.add("mine")
    client.network.shares.reconfigure(Limits(backend_requests_per_source=1))
    headers = {"User-Agent": "podman/5", "Accept": "*/*"} | ({"Authorization": authorization} if authorization else {})
    for number in range(10):
        client.exchange("GET", f"/v2/org/app/manifests/{number}", headers)
    head, _, body = client.exchange("GET", path, headers).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), lines, body


@pytest.mark.parametrize("path", PATHS)
def test_it_is_429_with_a_time_and_the_document_of_the_spec(path: str) -> None:
    status, headers, body = refused(path, RULES)
    assert status == 429
    assert "Retry-After: 1" in headers
    assert not any(line.startswith("X-Facaded-Backend") for line in headers)
    (error,) = json.loads(body)["errors"]
    assert error["code"] == "TOOMANYREQUESTS"
    assert error["message"].endswith("try again in 1 s, or send fewer at once")


@pytest.mark.parametrize("path", ["/v2/", *PATHS])
def test_so_is_a_forwarded_request(path: str) -> None:
    private = Rules(backends={"main": BackendRules("https://main.test", private=True)})
    status, headers, body = refused(path, private, "Bearer mine")
    assert status == 429
    assert "Retry-After: 1" in headers
    assert json.loads(body)["errors"][0]["code"] == "TOOMANYREQUESTS"
