"""Many machines behind one address that pull one image at the same time: none of them asks again.

Blobs may be served to them, with the CDN that a redirect would lead to, but never from another backend.
"""

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facaded.oci.requests import Blob, ManifestRead, Ping, Read
from tests.policy.asking import CONTAINERD, DOCKER, LAYERS, PLATFORM_DIGEST, TAG_DIGEST, Front

MACHINES = 50

Sent = tuple[float, str, Ping | Read]


def docker_pull(start: float, latency: float, random: Random) -> Iterator[Sent]:
    """A pull of Docker's classic store: three layers at a time, whose downloads take some seconds."""
    yield start, "GET", Ping()
    head = start + 2 * latency  # the ping at the registry, and the token
    yield head, "HEAD", ManifestRead("org/app", "latest")
    yield from _by_digest(head + latency, latency, random)


def containerd_pull(start: float, latency: float, random: Random) -> Iterator[Sent]:
    """A pull of containerd, which asks without a token first."""
    yield start, "HEAD", ManifestRead("org/app", "latest")
    yield start + 2 * latency, "HEAD", ManifestRead("org/app", "latest")
    yield from _by_digest(start + 3 * latency, latency, random)


def _by_digest(start: float, latency: float, random: Random) -> Iterator[Sent]:
    yield start, "GET", ManifestRead("org/app", TAG_DIGEST)
    yield start + latency, "GET", ManifestRead("org/app", PLATFORM_DIGEST)
    ends = [start + 2 * latency] * 3
    for layer in LAYERS:
        began = min(ends)
        ends[ends.index(began)] = began + latency + random.uniform(0.05, 8)
        yield began, "GET", Blob("org/app", layer)


PULLS = {DOCKER: docker_pull, CONTAINERD: containerd_pull}


@given(
    st.sampled_from(sorted(PULLS)),
    st.integers(0, 2**32),
    st.integers(2, MACHINES),
    st.floats(0.005, 0.3),
    st.floats(0, 0.2) | st.just(0.0),
)
@settings(max_examples=30, deadline=None)
def test_the_manifests_of_machines_that_pull_an_image_at_once_are_redirected(
    user_agent: str, seed: int, machines: int, latency: float, spread: float
) -> None:
    random = Random(seed)
    front = Front()
    pulls = (PULLS[user_agent](random.uniform(0, spread), latency, random) for _ in range(machines))
    for now, method, target in sorted((sent for pull in pulls for sent in pull), key=lambda sent: sent[0]):
        judgement = front.ask(now, method, target, user_agent)
        assert judgement.avoided == "", (now, method, target)
        assert not judgement.asked_again or isinstance(target, Blob), (now, method, target)
    assert front.table.returns().count == 0


@pytest.mark.parametrize("user_agent", PULLS)
def test_the_manifests_of_machines_that_pull_an_image_one_after_the_other_are_redirected(user_agent: str) -> None:
    random, front = Random(1), Front()
    pulls = (PULLS[user_agent](number * 1.3, 0.1, random) for number in range(MACHINES))
    for now, method, target in sorted((sent for pull in pulls for sent in pull), key=lambda sent: sent[0]):
        judgement = front.ask(now, method, target, user_agent)
        assert judgement.avoided == "", (now, method, target)
        assert not judgement.asked_again or isinstance(target, Blob), (now, method, target)
    assert front.table.returns().count == 0
