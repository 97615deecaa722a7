"""Client families, identified by User-Agent, and how each family handles redirects.

Source: the clients' source code, and test runs against registries that require a token. A family is redirect-safe if
its clients authenticate at the host that a redirect leads to.
"""

import re
from enum import Enum
from functools import cached_property, lru_cache

from attrs import frozen


class Family(Enum):
    """A group of clients that share one HTTP library and therefore behave alike, or one client with a name of its own.

    The values are in the log and are the labels of the metrics: a fixed list, whatever clients send.
    """

    DOCKER = "docker"
    CONTAINERD = "containerd"
    BUILDKIT = "buildkit"
    REGCLIENT = "regclient"
    CONTAINERS = "containers"
    GO_CONTAINERREGISTRY = "go-containerregistry"
    ORAS = "oras"
    COSIGN = "cosign"
    NOTATION = "notation"
    FLUX = "flux"
    TRIVY = "trivy"
    KO = "ko"
    KANIKO = "kaniko"
    HELM = "helm"
    ARGO_CD = "argocd"
    RENOVATE = "renovate"
    OLLAMA = "ollama"
    DEVCONTAINERS = "devcontainers"
    HOMEBREW = "homebrew"
    RULES_OCI = "rules_oci"
    JIB = "jib"
    DOTNET = "dotnet"
    OCI_CLIENT = "oci-client"
    WATCHTOWER = "watchtower"
    DIUN = "diun"
    OTHER = "other"

    __hash__ = object.__hash__  # every request is counted by it, and the hash of Enum is in Python


PREFIXES = (
    ("docker/", Family.DOCKER),
    ("containerd/", Family.CONTAINERD),
    ("buildkit/", Family.BUILDKIT),
    ("regclient/", Family.REGCLIENT),
)
"""How the User-Agent of each redirect-safe family begins. If one matches, no product that follows counts."""

CONTAINERD_IN_DOCKER = "containerd-client/"
"""What Docker's User-Agent has in it if containerd stores its images: then it pulls as containerd does."""

PRODUCTS = {
    # Each with the character that follows it, as its source writes it.
    "containers/": Family.CONTAINERS,
    "Buildah/": Family.CONTAINERS,
    "skopeo/": Family.CONTAINERS,
    "cri-o/": Family.CONTAINERS,
    "go-containerregistry/": Family.GO_CONTAINERREGISTRY,
    "go-containerregistry": Family.GO_CONTAINERREGISTRY,  # Debian's build of crane
    "crane/": Family.GO_CONTAINERREGISTRY,
    "oras/": Family.ORAS,
    "oras-go": Family.ORAS,
    "oras-go/": Family.ORAS,
    "oras-go ": Family.ORAS,
    "cosign/": Family.COSIGN,  # sigstore/cosign cmd/cosign/cli/options/useragent.go
    "notation/": Family.NOTATION,  # notaryproject/notation internal/httputil/client.go
    "flux/": Family.FLUX,  # fluxcd/pkg oci/constants.go; image-reflector-controller sends only the library's
    "trivy/": Family.TRIVY,  # aquasecurity/trivy pkg/x/http/transport.go; older ones send only the library's
    "ko/": Family.KO,  # ko-build/ko pkg/commands/resolver.go
    "kaniko/": Family.KANIKO,  # kaniko pkg/executor/push.go: only pushes and their checks, pulls send the library's
    "Helm/": Family.HELM,  # helm/helm internal/version/version.go
    "argocd-repo-server/": Family.ARGO_CD,  # argo-cd #25473: tags of charts; its pulls send Helm's or the library's
    "RenovateBot/": Family.RENOVATE,  # renovatebot/renovate lib/util/http; its setting userAgent replaces it
    "ollama/": Family.OLLAMA,  # ollama/ollama server/images.go
    "devcontainer": Family.DEVCONTAINERS,  # devcontainers/cli src/spec-configuration/containerCollectionsOCI.ts
    "Homebrew/": Family.HOMEBREW,  # Homebrew/brew Library/Homebrew/brew.sh, on macOS
    "Linuxbrew/": Family.HOMEBREW,  # the same, on Linux
    "Bazel/": Family.RULES_OCI,  # rules_oci uses Bazel's downloader; its old fallback sends only curl's
    "jib ": Family.JIB,  # GoogleContainerTools/jib jib-core .../registry/RegistryClient.java
    ".NET Container ": Family.DOTNET,  # dotnet/sdk src/Containers .../Registry/DefaultRegistryAPI.cs
    "oci-client/": Family.OCI_CLIENT,  # oras-project/rust-oci-client src/client.rs; programs may replace it
    "Watchtower/": Family.WATCHTOWER,  # containrrr/watchtower internal/meta/meta.go; its pulls are Docker's
    "Watchtower ": Family.WATCHTOWER,  # the same, pkg/registry/auth/auth.go: GET /v2/
    "diun/": Family.DIUN,  # crazy-max/diun internal/app/diun.go
}
"""Programs and libraries that a User-Agent names anywhere, and their families. The first one in it counts: a program
names itself before its libraries (RFC 9110 section 10.1.5).

This decides only what a client is called. None of these families is redirect-safe: a client may put any name there, and
a program may use a library in a way of its own.
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
    "oras": "oras/1.2.0",
    "cosign": "cosign/v3.0.2 (linux; amd64) go-containerregistry/v0.20.6",
    "notation": "notation/1.3.2",
    "flux": "flux/v2 go-containerregistry/v0.20.6",
    "trivy": "trivy/0.65.0",
    "ko": "ko/v0.18.0 go-containerregistry/v0.20.6",
    "kaniko": "kaniko/v1.24.0",
    "helm": "Helm/3.18.0",
    "argocd": "argocd-repo-server/v3.3.0 (linux/amd64)",
    "renovate": "RenovateBot/41.0.0 (https://github.com/renovatebot/renovate)",
    "ollama": "ollama/0.11.0 (amd64 linux) Go/go1.24.1",
    "devcontainers": "devcontainer",
    "homebrew": "Homebrew/4.6.0 (Macintosh; arm64 Mac OS X 15.5) curl/8.7.1",
    "rules_oci": "Bazel/release 8.3.1",
    "jib": "jib 3.4.6 jib-maven-plugin Google-HTTP-Java-Client/1.42.2 (gzip)",
    "dotnet": ".NET Container Library v10.0.100",
    "oci-client": "oci-client/0.15.0",
    "watchtower": "Watchtower/v1.7.1",
    "diun": "diun/4.30.0 go/1.24.5 Linux",
    "other": "",
}
"""The User-Agent of a recent version of each client, by the client's usual name."""

REDIRECT_SAFE = frozenset({Family.DOCKER, Family.CONTAINERD, Family.BUILDKIT, Family.REGCLIENT})

CLIENTS = 200
"""Clients that are remembered: each version of containerd is one, and anybody can make up versions."""

NAMED_WITHIN = 128
"""Characters of a User-Agent that are searched for products: all known clients name themselves at the beginning."""

_CONTAINERD_VERSION = re.compile(r"containerd(?:-client)?/v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d.])")

_PRODUCT = re.compile(r"\.NET Container |[\w.+-]+[/ ]?", re.ASCII)
"""A word with the character that follows it; browsers name .NET too. The search is linear: no word is read twice."""

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
    products = (match[0] for match in _PRODUCT.finditer(user_agent, 0, NAMED_WITHIN))
    return _remembered(next((PRODUCTS[product] for product in products if product in PRODUCTS), Family.OTHER))


def find_client(name: str) -> Client:
    """Return the client with this name (`docker`) or this User-Agent (`containerd/1.4.3`).

    Raises ValueError that lists the known names.
    """
    if name.lower() in USER_AGENTS:
        return identify(USER_AGENTS[name.lower()])
    client = identify(name)
    if "/" not in name and client.family is Family.OTHER:
        raise ValueError(
            f"unknown client {name!r}: use {', '.join(USER_AGENTS)}, or a User-Agent as in containerd/1.4.3"
        )
    return client


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
