"""More families have names since 1.6; how any client is answered is still decided by the rule of 1.6, repeated here."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from facaded.oci.clients import PREFIXES, PRODUCTS, REDIRECT_SAFE, USER_AGENTS, Family, identify
from tests.oci.test_clients import TABLE

Behaviour = tuple[bool, bool, int, bool]
"""redirect_safe, takes_token_from_ping, requests_per_manifest, begins_with_ping."""

PREFIXES_OF_1_6 = (
    ("docker/", "docker"),
    ("containerd/", "containerd"),
    ("buildkit/", "buildkit"),
    ("regclient/", "regclient"),
    ("containers/", "containers"),
    ("Buildah/", "containers"),
    ("skopeo/", "containers"),
    ("cri-o/", "containers"),
    ("go-containerregistry/", "go-containerregistry"),
    ("crane/", "go-containerregistry"),
    ("oras-go", "oras"),
    ("oras/", "oras"),
    ("Helm/", "oras"),
)
LIBRARIES_OF_1_6 = (("go-containerregistry/", "go-containerregistry"), ("oras-go", "oras"), ("/oras/", "oras"))
VERSION_OF_1_6 = re.compile(r"containerd(?:-client)?/v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?(?![\d.])")


def behaviour_of_1_6(user_agent: str) -> Behaviour:
    family, version = family_of_1_6(user_agent)
    safe = family in ("docker", "buildkit", "regclient")
    if family == "containerd" and version is not None:
        safe = version >= {(1, 4): (1, 4, 9), (1, 5): (1, 5, 5)}.get(version[:2], (1, 6, 0))
    pings = family == "docker"
    return safe, pings, 1 if pings else 2, family not in ("containerd", "buildkit")


def family_of_1_6(user_agent: str) -> tuple[str, tuple[int, int, int] | None]:
    for prefix, family in PREFIXES_OF_1_6:
        if user_agent.startswith(prefix):
            _, token, rest = user_agent.partition("containerd-client/")
            if token and family == "docker":
                return "containerd", version_of_1_6(token + rest)
            return family, version_of_1_6(user_agent) if family == "containerd" else None
    return next((family for token, family in LIBRARIES_OF_1_6 if token in user_agent), "other"), None


def version_of_1_6(user_agent: str) -> tuple[int, int, int] | None:
    match = VERSION_OF_1_6.match(user_agent)
    return (int(match[1]), int(match[2]), int(match[3] or 0)) if match else None


def behaviour(user_agent: str) -> Behaviour:
    client = identify(user_agent)
    return (
        client.redirect_safe,
        client.takes_token_from_ping,
        client.requests_per_manifest,
        client.begins_with_ping,
    )


NAMES = [*PRODUCTS, *(prefix for prefix, _ in (*PREFIXES, *PREFIXES_OF_1_6, *LIBRARIES_OF_1_6)), "containerd-client/"]
VERSIONS = ["1.4.8", "1.4.9", "v1.5.4", "1.5.5", "1.6.20~ds1", "2.1.9", "v0.20", "unknown", "1.7.24.5", "99999.0.0", ""]
SEPARATORS = ["", " ", "/", " (", ") ", "; ", ","]
PIECES = st.one_of(st.sampled_from([*NAMES, *VERSIONS, *SEPARATORS]), st.text(max_size=4))
MADE_UP = st.lists(PIECES, max_size=8).map("".join)


def known_user_agents() -> list[str]:
    return [*(row[0] for row in TABLE), *USER_AGENTS.values()]


def test_every_known_user_agent_behaves_as_before() -> None:
    different = [known for known in known_user_agents() if behaviour(known) != behaviour_of_1_6(known)]
    assert different == []


@given(st.one_of(MADE_UP, st.text(), st.builds("".join, st.permutations(["docker/28 ", "containerd/1.4.8 ", "ko/1 "]))))
@example("nerdctl/2.0 containerd-client/2.1.4")
@example("docker/28 cosign/3 containerd-client/1.5.4")
@example("cosign/3 docker/28")
def test_any_user_agent_behaves_as_before(user_agent: str) -> None:
    assert behaviour(user_agent) == behaviour_of_1_6(user_agent)


def test_no_new_family_is_redirect_safe() -> None:
    assert {Family.DOCKER, Family.CONTAINERD, Family.BUILDKIT, Family.REGCLIENT} == REDIRECT_SAFE
