"""Sockets that systemd opens and passes to the daemon: socket activation, sd_listen_fds(3)."""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from itertools import count

from attrs import evolve, frozen

from facaded.net.reactor import IFacadedReactor

_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class PassedSocketError(Exception):
    """A socket cannot be used. The text says why, and what to do."""


@frozen
class PassedSocket:
    """A descriptor from systemd. `name` is the FileDescriptorName= of its .socket unit, which several may have.

    `family` is its address family; 0 if it is no listening TCP socket.
    """

    descriptor: int
    name: str
    family: int


UNNAMED = "unknown"
"""The name of a socket without one, as sd_listen_fds_with_names(3) has it."""


class PassedSockets:
    """The sockets from systemd, in systemd's order, and which of them a listener uses."""

    def __init__(self, sockets: Sequence[PassedSocket] = ()) -> None:
        self._sockets = tuple(sockets)
        self._unused = list(sockets)

    @classmethod
    def of_process(cls, reactor: IFacadedReactor, environ: Mapping[str, str]) -> "PassedSockets":
        """Return those of this process, whose environment is `environ`.

        Twisted reads LISTEN_PID and LISTEN_FDS when its endpoints are imported, and removes both. It has a table of the
        names too, but only with the last socket of each name.
        """
        from twisted.internet.endpoints import serverFromString  # workers do not need it: see `server_endpoints`

        sockets: list[PassedSocket] = []
        names = environ.get("LISTEN_FDNAMES", "").split(":")
        for index in count():
            try:
                descriptor = serverFromString(reactor, f"systemd:domain=INET:index={index}").fileno
            except IndexError:  # there are no more, or they are for another process
                break
            name = (names[index] if index < len(names) else "") or UNNAMED
            sockets.append(PassedSocket(descriptor, name, _listening_family(descriptor)))
        return cls(sockets)

    def take(self, reference: str) -> tuple[PassedSocket, ...]:
        """Return the sockets with this name, or the one at `index=N`.

        Raises PassedSocketError if there is none, or if one cannot be listened on or was taken before.
        """
        taken = [passed for index, passed in enumerate(self._sockets) if reference in (passed.name, f"index={index}")]
        if not taken:
            names = ", ".join(dict.fromkeys(passed.name for passed in self._sockets)) or "none"
            remedy = "start the .socket unit with this FileDescriptorName= before facaded"
            raise PassedSocketError(f"systemd passed no such socket (passed: {names}): {remedy}")
        for passed in taken:
            if not passed.family:
                raise PassedSocketError(
                    "it is no TCP socket: write ListenStream= with a port, or an address and a port"
                )
            if passed not in self._unused:
                raise PassedSocketError("another listener uses this socket: name each socket once")
            self._unused.remove(passed)
        return tuple(taken)

    def duplicate_taken(self) -> tuple[PassedSocket, ...]:
        """Return the same sockets with descriptors of their own, for other processes; -1 for those nobody has taken."""
        return duplicate(
            evolve(passed, descriptor=-1) if passed in self._unused else passed for passed in self._sockets
        )

    def close_unused(self) -> tuple[str, ...]:
        """Close the sockets that were not taken, and return their names."""
        unused, self._unused = self._unused, []
        for passed in unused:
            if passed.descriptor >= 0:
                os.close(passed.descriptor)
        return tuple(passed.name for passed in unused)


def duplicate(sockets: Iterable[PassedSocket]) -> tuple[PassedSocket, ...]:
    """Return the same sockets with descriptors of their own; -1 stays."""
    return tuple(
        evolve(passed, descriptor=os.dup(passed.descriptor)) if passed.descriptor >= 0 else passed for passed in sockets
    )


def _listening_family(descriptor: int) -> int:
    """Return the address family of a listening TCP socket; 0 for anything else."""
    try:
        passed = socket.socket(fileno=descriptor)
    except OSError:
        return 0
    try:
        is_listening = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        is_stream = passed.type == socket.SOCK_STREAM
        return int(passed.family) if is_listening and is_stream and passed.family in _FAMILIES else 0
    finally:
        passed.detach()
