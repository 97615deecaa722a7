"""The token servers and CDNs of public registries, as their operators list them for firewalls. All are at port 443.

Registries that say that their CDN's hosts change without notice, such as registry.k8s.io, are not listed.
"""

from collections.abc import Mapping

from attrs import frozen


@frozen
class PublicRegistry:
    """The hosts that a pull from a registry needs besides its own."""

    token_servers: tuple[str, ...]
    cdns: tuple[str, ...]


_DOCKER_HUB = PublicRegistry(
    ("auth.docker.io",),
    (
        "production.cloudflare.docker.com",
        "production.cloudfront.docker.com",
        "docker-images-prod.6aa30f8b08e16409b46e0173d6de2f56.r2.cloudflarestorage.com",
    ),
)
"""docs.docker.com/desktop/setup/allow-list/ (2026)."""

PUBLIC_REGISTRIES: Mapping[str, PublicRegistry] = {
    "registry-1.docker.io": _DOCKER_HUB,
    "index.docker.io": _DOCKER_HUB,
    # docs.github.com: Working with the Container registry
    "ghcr.io": PublicRegistry(("ghcr.io",), ("pkg-containers.githubusercontent.com",)),
    # access.redhat.com/articles/7084334: three more since 2025-04-01
    "quay.io": PublicRegistry(("quay.io",), ("cdn.quay.io", *(f"cdn{number:02}.quay.io" for number in range(1, 7)))),
    # docs.gitlab.com/user/gitlab_com/
    "registry.gitlab.com": PublicRegistry(("gitlab.com",), ("cdn.registry.gitlab-static.net",)),
}
"""By the registry's own host."""

UNKNOWN = PublicRegistry((), ())
