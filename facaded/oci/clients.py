"""Who is asking: client families by User-Agent, and what each is proven to do at a redirect.

Source: the clients' sources and runs against token-demanding registries; a family is *proven* when it authenticates
at the host that a redirect leads to.
"""

import re
from enum import Enum

from attrs import frozen


class Family(Enum):
    """Clients that share one HTTP library and so one behaviour."""

    DOCKER = "docker"
    CONTAINERD = "containerd"
    BUILDKIT = "buildkit"
    REGCLIENT = "regclient"
    CONTAINERS = "containers"
    GO_CONTAINERREGISTRY = "go-containerregistry"
    ORAS = "oras"
    OTHER = "other"


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
"""What clients call themselves, by the names that people call them: of a version in use."""

PROVEN = frozenset({Family.DOCKER, Family.CONTAINERD, Family.BUILDKIT, Family.REGCLIENT})

_CONTAINERD_VERSION = re.compile(r"containerd/v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d.])")

Version = tuple[int, int, int]


@frozen
class Client:
    """A client's family, and for containerd its version if it could be read."""

    family: Family
    version: Version | None = None

    @property
    def redirect_safe(self) -> bool:
        """Whether a redirect to a token-demanding registry is safe for this client."""
        if self.family is Family.CONTAINERD:
            return self.version is not None and _authorizes_each_hop(self.version)
        return self.family in PROVEN

    @property
    def begins_with_ping(self) -> bool:
        """Whether a pull by this client begins with `GET /v2/`."""
        return self.family not in (Family.CONTAINERD, Family.BUILDKIT)

    @property
    def requests_of_manifest(self) -> int:
        """How often one pull makes the same request for a manifest when all is well: without a ping before, the first
        time is without a token.
        """
        return 1 if self.pings else 2

    @property
    def pings(self) -> bool:
        """Whether this client learns its token from `GET /v2/` alone, so that ping and pull must land on one
        backend.
        """
        return self.family is Family.DOCKER


def identify(user_agent: str) -> Client:
    """The client behind a User-Agent. An empty or unknown one is OTHER. Never raises."""
    for prefix, family in PREFIXES:
        if user_agent.startswith(prefix):
            return Client(family, _containerd_version(user_agent) if family is Family.CONTAINERD else None)
    return Client(Family.OTHER)


def called(name: str) -> Client:
    """The client that people call `name`, or that sends it as its User-Agent, as in `containerd/1.4.3`.

    Raises ValueError with the names that are known.
    """
    if "/" in name:
        return identify(name)
    if name.lower() not in USER_AGENTS:
        raise ValueError(f"no client called {name!r}: {', '.join(USER_AGENTS)}, or a User-Agent as in containerd/1.4.3")
    return identify(USER_AGENTS[name.lower()])


def _containerd_version(user_agent: str) -> Version | None:
    found = _CONTAINERD_VERSION.match(user_agent)
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def _authorizes_each_hop(version: Version) -> bool:
    """containerd authorizes each hop by its host since 1.4.9, 1.5.5 and 1.6.0."""
    first_of_branch = {(1, 4): (1, 4, 9), (1, 5): (1, 5, 5)}
    return version >= first_of_branch.get(version[:2], (1, 6, 0))
