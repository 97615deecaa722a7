"""Why an endpoint cannot be opened: the sentence, and whether it may work later."""

import errno
import os
import socket
from pathlib import Path

import pytest
from twisted.internet.error import CannotListenError

from facaded.listeners import ListenError, ListenFailure


def refused(number: int, port: int | bytes = 8080) -> CannotListenError:
    return CannotListenError("", port, OSError(number, os.strerror(number)))


@pytest.mark.parametrize(
    ("error", "sentence", "is_temporary"),
    [
        (refused(errno.EADDRINUSE), "another program listens there: stop it, or choose another address", True),
        (refused(errno.EADDRNOTAVAIL), "this machine has no such address: choose one that it has", True),
        (OSError(errno.ENOENT, ""), "the directory does not exist: create it, or choose another path", False),
        (refused(errno.EAFNOSUPPORT), "Address family not supported by protocol", False),
        (OverflowError("port must be 0-65535."), "port must be 0-65535.", False),
        (
            CannotListenError(None, b"/run/x.sock", "Cannot acquire lock"),
            "another facaded uses this socket: stop it, or choose another path",
            True,
        ),
    ],
)
def test_it_is_explained_with_a_remedy(error: ListenError, sentence: str, is_temporary: bool) -> None:
    assert ListenFailure.of(error) == ListenFailure(sentence, is_temporary)


def test_a_file_in_the_place_of_a_socket_does_not_go_away(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.mkdir()
    failure = ListenFailure.of(refused(errno.EADDRINUSE, bytes(path)))
    assert failure == ListenFailure(f"{path} exists and is not a socket: remove it, or choose another path")


def test_a_socket_of_another_program_may_go_away(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "control.sock"))
        assert ListenFailure.of(refused(errno.EADDRINUSE, bytes(tmp_path / "control.sock"))).is_temporary
