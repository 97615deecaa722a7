"""Two registries in memory with the same image, and what a fetcher in front of them is asked."""

from twisted.internet.defer import Deferred

from facaded.backends.fetcher import BUDGET, Fetcher, NotServed, PingAccepted, ReadOptions, Served, Unauthorized
from facaded.backends.manifests import Accept, Manifest
from facaded.oci.requests import ManifestRead, Ping, Read
from tests.backends.memory import INDEX, MANIFEST, Fake, Network

WIDE = Accept.read((INDEX, MANIFEST))

NARROW = Accept.read((MANIFEST,))

LATEST = ManifestRead("org/app", "latest")


def network(fault: str = "", *others: str) -> Network:
    """`hub` with a fault, and `ghcr`; both have org/app:latest, with the same content."""
    made = Network(Fake("hub", fault=fault), Fake("ghcr"), *(Fake(name) for name in others))
    for fake in made.fakes.values():
        fake.put("org/app", "latest")
    return made


def ask(
    made: Network, serving: Fetcher, read: Read = LATEST, accept: Accept = WIDE, body: bool = True, seconds: float = 0
) -> Served | NotServed:
    return made.finish(
        Deferred.fromCoroutine(serving.serve(read, tuple(made.fakes), ReadOptions(accept, body))), seconds
    )


def manifest(served: Served | NotServed) -> Manifest:
    assert isinstance(served, Served)
    assert isinstance(served.content, Manifest)
    return served.content


def backend(served: Served | NotServed) -> str:
    assert isinstance(served, Served)
    return served.backend


def forward(
    made: Network, serving: Fetcher, request: Ping | Read, authorization: str | None
) -> Served | NotServed | Unauthorized | PingAccepted:
    return made.finish(
        Deferred.fromCoroutine(serving.forward(request, "hub", authorization, ReadOptions(WIDE))), BUDGET
    )
