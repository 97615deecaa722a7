"""Which control socket a command uses, of those that may be there."""

import socket
from pathlib import Path

from facaded.cli.options import choose_socket


def test_a_socket_with_a_listener_is_preferred_to_one_that_is_left_over(tmp_path: Path) -> None:
    missing, left_over, live = (tmp_path / name for name in ("missing", "left-over", "live"))
    assert choose_socket([missing]) is None
    with socket.socket(socket.AF_UNIX) as earlier:
        earlier.bind(str(left_over))
    assert choose_socket([missing, left_over]) == left_over
    with socket.socket(socket.AF_UNIX) as running:
        running.bind(str(live))
        running.listen()
        assert choose_socket([missing, left_over, live]) == live
