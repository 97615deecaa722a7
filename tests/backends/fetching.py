"""Two registries in memory with the same image, and requests to them through a fetcher."""

from twisted.internet.defer import Deferred

from facaded.backends.fetcher import BUDGET, Fetcher
from facaded.backends.manifests import Accept, Manifest
from facaded.backends.served_content import NotServed, PingAccepted, ReadOptions, Served, Unauthorized
from facaded.oci.requests import ManifestRead, Ping, Read
from facaded.policy.decision import Serve
from tests.backends.memory import INDEX, MANIFEST, Fake, Network

WIDE = Accept.read((INDEX, MANIFEST))

NARROW = Accept.read((MANIFEST,))

LATEST = ManifestRead("org/app", "latest")


def two_registries(fault: str = "", *others: str) -> Network:
    """Return a network with `hub`, which has a fault, and `ghcr`; both have the same org/app:latest."""
    network = Network(Fake("hub", fault=fault), Fake("ghcr"), *(Fake(name) for name in others))
    for fake in network.fakes.values():
        fake.put("org/app", "latest")
    return network


def ask(
    network: Network,
    fetcher: Fetcher,
    read: Read = LATEST,
    accept: Accept = WIDE,
    body: bool = True,
    seconds: float = 0,
    serve: Serve | None = None,
) -> Served | NotServed:
    serve = serve or serve_from(network, read)
    return network.run(Deferred.fromCoroutine(fetcher.serve(serve, ReadOptions(accept, body))), seconds)


def serve_from(network: Network, read: Read = LATEST) -> Serve:
    """Return the answer that serves `read` from all registries of the network, in their order."""
    return Serve(read, tuple(network.fakes), next(iter(network.fakes)))


def manifest(served: Served | NotServed) -> Manifest:
    assert isinstance(served, Served)
    assert isinstance(served.content, Manifest)
    return served.content


def backend(served: Served | NotServed) -> str:
    assert isinstance(served, Served)
    return served.backend


def forward(
    network: Network, fetcher: Fetcher, request: Ping | Read, authorization: str | None
) -> Served | NotServed | Unauthorized | PingAccepted:
    return network.run(
        Deferred.fromCoroutine(fetcher.forward(request, "hub", authorization, ReadOptions(WIDE))), BUDGET
    )
