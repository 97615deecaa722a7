"""A public registry leads nobody into a private network; a private one may."""

import pytest
from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from facaded.backends.fetcher import ReadOptions, Served
from facaded.backends.manifests import Accept
from facaded.net.addresses import is_public
from facaded.net.private_addresses import Boundary, CheckedEndpoint, PrivateAddressError
from facaded.oci.requests import Blob
from tests.backends.fetching import backend, network
from tests.backends.memory import BLOB
from tests.web.raw import Transport

PUBLIC, PRIVATE = "8.8.8.8", "10.0.0.1"


@pytest.mark.parametrize(
    ("address", "public"),
    [
        (PUBLIC, True),
        ("2001:4860:4860::8888", True),
        (PRIVATE, False),
        ("192.168.1.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("", False),
        ("name.test", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) == public


def reach(own: str, **names: str) -> Boundary:
    made = Boundary("hub.test", lambda host: succeed([names[host.partition(".")[0]]]))
    made.check("hub.test", own)
    return made


@implementer(IStreamClientEndpoint)
@define
class Endpoint:
    """Connects to one address."""

    address: str
    transports: list[Transport] = field(factory=list)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        protocol = Protocol()
        self.transports.append(Transport(peerAddress=IPv4Address("TCP", self.address, 443)))
        protocol.makeConnection(self.transports[-1])
        return succeed(protocol)


def test_a_connection_is_checked_by_the_address_it_was_made_to() -> None:
    public, endpoint = reach(PUBLIC), Endpoint(PRIVATE)
    failures: list[object] = []
    CheckedEndpoint(endpoint, "auth.test", public).connect(Factory()).addBoth(failures.append)
    assert [str(getattr(failure, "value", "")) for failure in failures] == [
        "auth.test has the private address 10.0.0.1"
    ]
    assert endpoint.transports[0].disconnected
    assert endpoint.transports[0].value() == b"", "nothing was sent"


@pytest.mark.parametrize(("own", "other"), [(PUBLIC, PUBLIC), (PRIVATE, PRIVATE), (PRIVATE, PUBLIC)])
def test_what_a_private_backend_names_and_what_is_public_is_connected_to(own: str, other: str) -> None:
    connected: list[object] = []
    CheckedEndpoint(Endpoint(other), "auth.test", reach(own)).connect(Factory()).addCallback(connected.append)
    assert len(connected) == 1


async def checks(own: str, host: str, **names: str) -> None:
    await reach(own, **names).check_name(host)


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
def test_a_client_is_not_sent_to_an_inward_address_by_a_public_backend(own: str, host: str, refused: bool) -> None:
    outcome: list[object] = []
    Deferred.fromCoroutine(checks(own, host, cdn=PRIVATE)).addBoth(outcome.append)
    assert [type(getattr(each, "value", None)) for each in outcome] == [PrivateAddressError if refused else type(None)]


def test_a_blob_at_an_inward_address_comes_from_the_next_backend() -> None:
    made = network()
    for name, cdn in (("hub", PRIVATE), ("ghcr", PUBLIC)):
        made.boundaries[name] = Boundary(f"{name}.test", lambda _, cdn=cdn: succeed([cdn]))  # type: ignore[misc]
        made.boundaries[name].check(f"{name}.test", PUBLIC)
    serving = made.serving()
    served = made.finish(
        Deferred.fromCoroutine(serving.serve(Blob("org/app", BLOB), ("hub", "ghcr"), ReadOptions(Accept.read(()))))
    )
    assert backend(served) == "ghcr"
    assert isinstance(served, Served)
    assert served.failures == {"hub": "cdn.hub.test has the private address 10.0.0.1"}
