"""Client families, identified by User-Agent, and how each family handles redirects.

Source: the clients' source code, and test runs against registries that require a token. A family is redirect-safe if
its clients authenticate at the host that a redirect leads to.
"""

import re
from enum import Enum
from functools import cached_property, lru_cache

from attrs import frozen


class Family(Enum):
    """A group of clients that share one HTTP library and therefore behave alike."""

    DOCKER = "docker"
    CONTAINERD = "containerd"
    BUILDKIT = "buildkit"
    REGCLIENT = "regclient"
    CONTAINERS = "containers"
    GO_CONTAINERREGISTRY = "go-containerregistry"
    ORAS = "oras"
    OTHER = "other"

    __hash__ = object.__hash__  # every request is counted by it, and the hash of Enum is in Python


PREFIXES = (
    ("docker/", Family.DOCKER),
    ("containerd/", Family.CONTAINERD),
    ("buildkit/", Family.BUILDKIT),
    ("regclient/", Family.REGCLIENT),
    ("containers/", Family.CONTAINERS),
    ("Buildah/", Family.CONTAINERS),
    ("skopeo/", Family.CONTAINERS),
    ("cri-o/", Family.CONTAINERS),
    ("go-containerregistry/", Family.GO_CONTAINERREGISTRY),
    ("crane/", Family.GO_CONTAINERREGISTRY),
    ("oras-go", Family.ORAS),
    ("oras/", Family.ORAS),
    ("Helm/", Family.ORAS),
)
"""How the User-Agent of each family begins."""

CONTAINERD_IN_DOCKER = "containerd-client/"
"""What Docker's User-Agent has in it if containerd stores its images: then it pulls as containerd does."""

LIBRARIES = (
    ("go-containerregistry/", Family.GO_CONTAINERREGISTRY),
    ("oras-go", Family.ORAS),
    ("/oras/", Family.ORAS),
)
"""Parts of a User-Agent that begins with the name of a program and then names a library.

None of these is redirect-safe: a program may use a library in a way of its own.
"""

USER_AGENTS = {
    "docker": "docker/28.0.0",
    "containerd": "containerd/2.0.0",
    "ctr": "containerd/2.0.0",
    "nerdctl": "containerd/2.0.0",
    "buildkit": "buildkit/v0.20",
    "regclient": "regclient/regctl",
    "podman": "containers/5.30.0",
    "buildah": "Buildah/1.40.0",
    "skopeo": "skopeo/1.18.0",
    "cri-o": "cri-o/1.33.0",
    "crane": "crane/0.20.0",
    "trivy": "go-containerregistry/v0.20.0",
    "oras": "oras/1.2.0",
    "helm": "Helm/3.18.0",
    "other": "",
}
"""The User-Agent of a recent version of each client, by the client's usual name."""

REDIRECT_SAFE = frozenset({Family.DOCKER, Family.CONTAINERD, Family.BUILDKIT, Family.REGCLIENT})

CLIENTS = 200
"""Clients that are remembered: each version of containerd is one, and anybody can make up versions."""

_CONTAINERD_VERSION = re.compile(r"containerd(?:-client)?/v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d.])")

Version = tuple[int, int, int]


@frozen(slots=False, cache_hash=True)  # with slots, cached properties would make all attributes slow
class Client:
    """A client's family, and for containerd its version if the User-Agent has one. Docker may be containerd."""

    family: Family
    version: Version | None = None

    @cached_property
    def redirect_safe(self) -> bool:
        """Whether this client can pull through a redirect to a registry that requires a token."""
        if self.family is Family.CONTAINERD:
            return self.version is not None and _authorizes_each_hop(self.version)
        return self.family in REDIRECT_SAFE

    @cached_property
    def label(self) -> str:
        """The name of the family; with a question mark if this client is not redirect-safe."""
        return self.family.value if self.redirect_safe else f"{self.family.value}?"

    @property
    def begins_with_ping(self) -> bool:
        """Whether this client begins a pull with `GET /v2/`."""
        return self.family not in (Family.CONTAINERD, Family.BUILDKIT)

    @cached_property
    def requests_per_manifest(self) -> int:
        """How many times one successful pull sends the same manifest request.

        A client that does not ping first sends it twice: without a token, then with one.
        """
        return 1 if self.takes_token_from_ping else 2

    @cached_property
    def takes_token_from_ping(self) -> bool:
        """Whether `GET /v2/` is this client's only source of a token.

        Ping and pull must then land on the same backend.
        """
        return self.family is Family.DOCKER


def identify(user_agent: str) -> Client:
    """Return the client that sends this User-Agent; OTHER if it is empty or unknown. Never raises."""
    for prefix, family in PREFIXES:
        if user_agent.startswith(prefix):
            return _embedded_containerd(user_agent) or _client(family, user_agent)
    return _remembered(next((family for token, family in LIBRARIES if token in user_agent), Family.OTHER))


def find_client(name: str) -> Client:
    """Return the client with this name (`docker`) or this User-Agent (`containerd/1.4.3`).

    Raises ValueError that lists the known names.
    """
    if "/" in name:
        return identify(name)
    if name.lower() not in USER_AGENTS:
        raise ValueError(
            f"unknown client {name!r}: use {', '.join(USER_AGENTS)}, or a User-Agent as in containerd/1.4.3"
        )
    return identify(USER_AGENTS[name.lower()])


def _embedded_containerd(user_agent: str) -> Client | None:
    """Return containerd if Docker's User-Agent says that it stores the images."""
    _, token, rest = user_agent.partition(CONTAINERD_IN_DOCKER)
    return _client(Family.CONTAINERD, token + rest) if token and user_agent.startswith("docker/") else None


def _client(family: Family, user_agent: str) -> Client:
    return _remembered(family, _containerd_version(user_agent) if family is Family.CONTAINERD else None)


@lru_cache(CLIENTS)
def _remembered(family: Family, version: Version | None = None) -> Client:
    """Return the same object for the same client: two that are equal would be compared field by field."""
    return Client(family, version)


def _containerd_version(user_agent: str) -> Version | None:
    match = _CONTAINERD_VERSION.match(user_agent)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def _authorizes_each_hop(version: Version) -> bool:
    """Whether this containerd chooses credentials by each hop's host, as it does since 1.4.9, 1.5.5 and 1.6.0."""
    first_of_branch = {(1, 4): (1, 4, 9), (1, 5): (1, 5, 5)}
    return version >= first_of_branch.get(version[:2], (1, 6, 0))
