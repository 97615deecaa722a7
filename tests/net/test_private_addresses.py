"""A public registry may not refer to a private network; a private one may."""

import pytest
from attrs import define, field
from treq.testing import RequestTraversalAgent
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.web.resource import Resource
from zope.interface import implementer

from facaded.backends.manifests import Accept
from facaded.backends.served_content import ReadOptions, Served
from facaded.net.client import BoundedClient
from facaded.net.private_addresses import Boundary, CheckedEndpoint, PrivateAddressError
from facaded.oci.requests import Blob
from facaded.policy.decision import Serve
from tests.backends.fetching import backend, two_registries
from tests.backends.memory import BLOB
from tests.web.raw import Transport

PUBLIC, PRIVATE = "8.8.8.8", "10.0.0.1"


def make_boundary(own: str, **names: str) -> Boundary:
    """Return the boundary of hub.test, which has the address `own`; `names` are the addresses of other hosts."""
    boundary = Boundary("hub.test", lambda host: succeed([names[host.partition(".")[0]]]))
    boundary.check("hub.test", own)
    return boundary


@implementer(IStreamClientEndpoint)
@define
class Endpoint:
    """An endpoint that connects to one address, in memory."""

    address: str
    transports: list[Transport] = field(factory=list)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        protocol = Protocol()
        self.transports.append(Transport(peerAddress=IPv4Address("TCP", self.address, 443)))
        protocol.makeConnection(self.transports[-1])
        return succeed(protocol)


def test_a_connection_to_a_private_address_is_aborted() -> None:
    public, endpoint = make_boundary(PUBLIC), Endpoint(PRIVATE)
    failures: list[object] = []
    CheckedEndpoint(endpoint, "auth.test", public).connect(Factory()).addBoth(failures.append)
    assert [str(getattr(failure, "value", "")) for failure in failures] == [
        "auth.test has the private address 10.0.0.1"
    ]
    assert endpoint.transports[0].disconnected
    assert endpoint.transports[0].value() == b"", "nothing was sent"


@pytest.mark.parametrize(("own", "other"), [(PUBLIC, PUBLIC), (PRIVATE, PRIVATE), (PRIVATE, PUBLIC)])
def test_other_connections_are_allowed(own: str, other: str) -> None:
    connected: list[object] = []
    CheckedEndpoint(Endpoint(other), "auth.test", make_boundary(own)).connect(Factory()).addCallback(connected.append)
    assert len(connected) == 1


async def checks(own: str, host: str, **names: str) -> None:
    await make_boundary(own, **names).check_name(host)


@pytest.mark.parametrize(
    ("own", "host", "refused"),
    [
        (PUBLIC, "cdn.test", True),
        (PUBLIC, "10.0.0.1", True),
        (PUBLIC, "127.0.0.1", True),
        (PUBLIC, "8.8.4.4", False),
        (PUBLIC, "hub.test", False),
        (PRIVATE, "cdn.test", False),
        (PRIVATE, "127.0.0.1", False),
    ],
)
def test_a_public_backend_must_not_redirect_a_client_to_a_private_address(own: str, host: str, refused: bool) -> None:
    outcome: list[object] = []
    Deferred.fromCoroutine(checks(own, host, cdn=PRIVATE)).addBoth(outcome.append)
    assert [type(getattr(result, "value", None)) for result in outcome] == [
        PrivateAddressError if refused else type(None)
    ]


def test_a_check_of_a_cdn_has_the_limits_of_its_registry() -> None:
    client = BoundedClient("https://hub.test", RequestTraversalAgent(Resource()), make_boundary(PUBLIC, cdn=PRIVATE))
    outcome: list[object] = []
    Deferred.fromCoroutine(client.on_new_connections().check_target("https://cdn.test/a")).addErrback(outcome.append)
    assert [type(getattr(result, "value", None)) for result in outcome] == [PrivateAddressError]


def test_a_blob_at_a_private_address_is_fetched_from_the_next_backend() -> None:
    network = two_registries()
    for name, cdn in (("hub", PRIVATE), ("ghcr", PUBLIC)):
        network.boundaries[name] = Boundary(f"{name}.test", lambda _, cdn=cdn: succeed([cdn]))  # type: ignore[misc]
        network.boundaries[name].check(f"{name}.test", PUBLIC)
    fetcher = network.fetcher()
    serve = Serve(Blob("org/app", BLOB), ("hub", "ghcr"), "hub")
    served = network.run(Deferred.fromCoroutine(fetcher.serve(serve, ReadOptions(Accept.read(())))))
    assert backend(served) == "ghcr"
    assert isinstance(served, Served)
    assert served.failures == {"hub": "cdn.hub.test has the private address 10.0.0.1"}
