"""Client families by User-Agent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.oci.clients import (
    NAMED_WITHIN,
    PREFIXES,
    PRODUCTS,
    REDIRECT_SAFE,
    USER_AGENTS,
    Client,
    Family,
    find_client,
    identify,
)

TABLE = [
    ("docker/20.10.24+dfsg1 go/go1.19.8 git-commit/5d6db84 kernel/6.1 os/linux arch/amd64", Family.DOCKER, True, True),
    ("docker/28.5.1 go/go1.24 UpstreamClient(Docker-Client/28.5.1 \\(linux\\))", Family.DOCKER, True, True),
    (
        "docker/28.5.1 go/go1.24 containerd-client/2.1.4+unknown storage-driver/overlayfs",
        Family.CONTAINERD,
        True,
        False,
    ),
    ("docker/23.0.1 containerd-client/v1.5.4 storage-driver/overlayfs", Family.CONTAINERD, False, False),
    ("docker/28.5.1 containerd-client/dev storage-driver/overlayfs", Family.CONTAINERD, False, False),
    ("nerdctl/2.0 containerd-client/2.1.4", Family.OTHER, False, False),
    ("containerd/1.6.20~ds1", Family.CONTAINERD, True, False),
    ("containerd/v1.7.24", Family.CONTAINERD, True, False),
    ("containerd/2.1.9", Family.CONTAINERD, True, False),
    ("containerd/v1.7.22-k3s1", Family.CONTAINERD, True, False),
    ("containerd/1.4.8", Family.CONTAINERD, False, False),
    ("containerd/1.4.9", Family.CONTAINERD, True, False),
    ("containerd/1.4.13~ds1", Family.CONTAINERD, True, False),
    ("containerd/1.5.4", Family.CONTAINERD, False, False),
    ("containerd/1.5.5", Family.CONTAINERD, True, False),
    ("containerd/1.6", Family.CONTAINERD, True, False),
    ("containerd/1.3.9", Family.CONTAINERD, False, False),
    ("containerd/unknown", Family.CONTAINERD, False, False),
    ("containerd/", Family.CONTAINERD, False, False),
    ("containerd/1.7.24.5", Family.CONTAINERD, False, False),
    ("containerd/99999.0.0", Family.CONTAINERD, False, False),
    ("buildkit/v0.13", Family.BUILDKIT, True, False),
    ("regclient/regctl (v0.8)", Family.REGCLIENT, True, False),
    ("containers/5.24.1 (github.com/containers/image)", Family.CONTAINERS, False, False),
    ("Buildah/1.28.2", Family.CONTAINERS, False, False),
    ("skopeo/1.9.3", Family.CONTAINERS, False, False),
    ("cri-o/1.30", Family.CONTAINERS, False, False),
    ("go-containerregistry/v0.20.0", Family.GO_CONTAINERREGISTRY, False, False),
    ("go-containerregistry", Family.GO_CONTAINERREGISTRY, False, False),
    ("crane/v0.20 go-containerregistry/v0.20", Family.GO_CONTAINERREGISTRY, False, False),
    ("oras-go", Family.ORAS, False, False),
    ("oras/1.3.0", Family.ORAS, False, False),
    ("notation/1.3.2", Family.NOTATION, False, False),
    ("Helm/3.15.0", Family.HELM, False, False),
    ("cosign/v3.0.2 (linux; amd64) go-containerregistry/v0.20.6", Family.COSIGN, False, False),
    ("flux/v2 go-containerregistry/v0.21.6", Family.FLUX, False, False),
    ("flux/v2/helm/v4/oras/v2", Family.FLUX, False, False),
    ("trivy/0.65.0", Family.TRIVY, False, False),
    ("ko/v0.18.0 go-containerregistry/v0.20.6", Family.KO, False, False),
    ("kaniko/v1.24.0", Family.KANIKO, False, False),
    ("kaniko/v1.9.0,skaffold-v2", Family.KANIKO, False, False),
    ("argocd-repo-server/v3.3.0 (linux/amd64)", Family.ARGO_CD, False, False),
    ("RenovateBot/41.0.0 (https://github.com/renovatebot/renovate)", Family.RENOVATE, False, False),
    ("ollama/0.11.0 (amd64 linux) Go/go1.24.1", Family.OLLAMA, False, False),
    ("devcontainer", Family.DEVCONTAINERS, False, False),
    ("Homebrew/4.6.0 (Macintosh; arm64 Mac OS X 15.5) curl/8.7.1", Family.HOMEBREW, False, False),
    ("Linuxbrew/4.6.0 (Linux; x86_64 Debian GNU/Linux 12) curl/7.88.1", Family.HOMEBREW, False, False),
    ("Bazel/release 8.3.1", Family.RULES_OCI, False, False),
    ("jib 3.4.6 jib-maven-plugin Google-HTTP-Java-Client/1.42.2 (gzip)", Family.JIB, False, False),
    (".NET Container Library v10.0.100", Family.DOTNET, False, False),
    ("oci-client/0.15.0", Family.OCI_CLIENT, False, False),
    ("Watchtower/v1.7.1", Family.WATCHTOWER, False, False),
    ("Watchtower (Docker)", Family.WATCHTOWER, False, False),
    ("diun/4.30.0 go/1.24.5 Linux", Family.DIUN, False, False),
    ("acme-scanner/2.0 (trivy/0.65.0)", Family.TRIVY, False, False),
    ("docker/28.5.1 go/go1.24 UpstreamClient(diun/4.30.0)", Family.DOCKER, True, True),
    ("not-cosign/1 cosigner/2 my.oras-go", Family.OTHER, False, False),
    ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 6.1; .NET CLR 2.0.50727)", Family.OTHER, False, False),
    ("curl/8.5.0", Family.OTHER, False, False),
    ("Docker-Client/24.0", Family.OTHER, False, False),
    ("", Family.OTHER, False, False),
]


@pytest.mark.parametrize(("user_agent", "family", "redirect_safe", "takes_token_from_ping"), TABLE)
def test_the_table_of_families(
    user_agent: str, family: Family, redirect_safe: bool, takes_token_from_ping: bool
) -> None:
    client = identify(user_agent)
    assert client.family is family
    assert client.redirect_safe == redirect_safe, "redirect-safe: see REDIRECT_SAFE in facaded/oci/clients.py"
    assert client.takes_token_from_ping == takes_token_from_ping, "see Client.takes_token_from_ping"


BEGIN_WITHOUT_PING = {Family.CONTAINERD, Family.BUILDKIT}


@pytest.mark.parametrize("family", Family)
def test_all_families_but_these_begin_a_pull_with_a_ping(family: Family) -> None:
    assert Client(family).begins_with_ping == (family not in BEGIN_WITHOUT_PING)


@given(st.text())
def test_any_user_agent_is_identified(user_agent: str) -> None:
    assert isinstance(identify(user_agent), Client)


@pytest.mark.parametrize(
    ("user_agent", "requests"),
    [
        ("docker/28.0.0", 1),
        ("docker/28.0.0 containerd-client/2.0.0", 2),
        ("containerd/2.0.0", 2),
        ("buildkit/1", 2),
    ],
)
def test_a_client_that_does_not_ping_requests_a_manifest_twice(user_agent: str, requests: int) -> None:
    assert identify(user_agent).requests_per_manifest == requests


def test_a_product_somewhere_in_the_user_agent_makes_no_client_redirect_safe() -> None:
    assert set(PRODUCTS.values()) & REDIRECT_SAFE == set()
    assert {family for _, family in PREFIXES} == REDIRECT_SAFE


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_product_is_found_after_words_of_any_kind(product: str) -> None:
    assert identify(f"acme/1.0 (linux; amd64) {product}").family is PRODUCTS[product]


def test_a_user_agent_is_searched_at_its_beginning_only() -> None:
    """So a long one costs no more than a short one."""
    cosign = "cosign/v3.0.2"
    assert identify(cosign.rjust(NAMED_WITHIN)).family is Family.COSIGN
    assert identify(" " * NAMED_WITHIN + cosign).family is Family.OTHER


def test_the_named_clients_cover_all_families() -> None:
    named = {find_client(name).family for name in USER_AGENTS}
    missing = ", ".join(family.name for family in set(Family) - named)
    assert not missing, f"nothing in USER_AGENTS, PREFIXES or PRODUCTS (facaded/oci/clients.py) leads to {missing}"


def test_a_client_is_found_by_its_name_or_its_user_agent() -> None:
    assert find_client("Podman") == identify("containers/5.30.0")
    for user_agent in ("containerd/1.4.3", "acme/1.0", "devcontainer", "jib 3.4.6 jib-cli"):
        assert find_client(user_agent) == identify(user_agent)
    with pytest.raises(ValueError, match="unknown client 'docket': use docker, "):
        find_client("docket")


def test_a_client_that_is_not_redirect_safe_is_labelled_so() -> None:
    assert identify("docker/28.0.0").label == "docker"
    assert identify("containerd/1.4.3").label == "containerd?"
