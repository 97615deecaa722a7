"""How file descriptors are divided."""

import pytest

from facaded.net.descriptors import OPERATOR_CONNECTIONS, Division, divide


@pytest.mark.parametrize(
    ("descriptors", "division"),
    [
        (1 << 20, Division((1 << 20) - 836, OPERATOR_CONNECTIONS)),
        (20_000, Division(19_164, OPERATOR_CONNECTIONS)),
        (4096, Division(3404, 128)),
        (1024, Division(524, 32)),
        (256, Division(64, 8)),
        (1, Division(1, 1)),
    ],
)
def test_clients_get_what_backends_and_operators_leave(descriptors: int, division: Division) -> None:
    assert divide(descriptors, backends=2, per_backend=72) == division


@pytest.mark.parametrize("descriptors", [1024, 4096, 20_000])
def test_there_is_a_reserve_for_two_backends_and_their_token_servers(descriptors: int) -> None:
    division = divide(descriptors, backends=2, per_backend=72)
    assert descriptors - division.clients - 2 * division.operators >= 2 * (72 + 72 + 8) + 100


def test_few_descriptors_leave_enough_for_two_probed_backends() -> None:
    division = divide(256, backends=2, per_backend=72)
    assert 256 - division.clients - 2 * division.operators >= 2 * (72 + 8)


def test_relayed_blobs_take_two_descriptors_for_each_client() -> None:
    assert divide(4096, 2, 72, per_client=2).clients == divide(4096, 2, 72).clients // 2
