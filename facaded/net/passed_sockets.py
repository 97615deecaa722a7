"""Sockets that systemd opens and passes to the daemon: socket activation, sd_listen_fds(3)."""

import os
import socket
from collections.abc import Mapping, Sequence
from itertools import count

from attrs import frozen
from twisted.internet.endpoints import serverFromString

from facaded.net.reactor import IFacadedReactor

_DOMAINS = {socket.AF_INET: "INET", socket.AF_INET6: "INET6"}


class PassedSocketError(Exception):
    """A socket cannot be used. The text says why, and what to do."""


@frozen
class PassedSocket:
    """A descriptor from systemd. `name` is the FileDescriptorName= of its .socket unit, which several may have.

    `endpoint` is the Twisted endpoint string that listens on it; empty if it is no listening TCP socket.
    """

    descriptor: int
    name: str
    endpoint: str


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
        sockets: list[PassedSocket] = []
        names = environ.get("LISTEN_FDNAMES", "").split(":")
        for index in count():
            try:
                descriptor = serverFromString(reactor, f"systemd:domain=INET:index={index}").fileno
            except IndexError:  # there are no more, or they are for another process
                break
            name = (names[index] if index < len(names) else "") or UNNAMED
            domain = _listening_domain(descriptor)
            endpoint = f"systemd:domain={domain}:index={index}" if domain else ""
            sockets.append(PassedSocket(descriptor, name, endpoint))
        return cls(sockets)

    def take(self, reference: str) -> tuple[str, ...]:
        """Return the Twisted endpoint strings of the sockets with this name, or of the one at `index=N`.

        Raises PassedSocketError if there is none, or if one cannot be listened on or was taken before.
        """
        taken = [passed for index, passed in enumerate(self._sockets) if reference in (passed.name, f"index={index}")]
        if not taken:
            names = ", ".join(dict.fromkeys(passed.name for passed in self._sockets)) or "none"
            remedy = "start the .socket unit with this FileDescriptorName= before facaded"
            raise PassedSocketError(f"systemd passed no such socket (passed: {names}): {remedy}")
        for passed in taken:
            if not passed.endpoint:
                raise PassedSocketError(
                    "it is no TCP socket: write ListenStream= with a port, or an address and a port"
                )
            if passed not in self._unused:
                raise PassedSocketError("another listener uses this socket: name each socket once")
            self._unused.remove(passed)
        return tuple(passed.endpoint for passed in taken)

    def close_unused(self) -> tuple[str, ...]:
        """Close the sockets that were not taken, and return their names."""
        unused, self._unused = self._unused, []
        for passed in unused:
            os.close(passed.descriptor)
        return tuple(passed.name for passed in unused)


def _listening_domain(descriptor: int) -> str:
    """Return the domain of a listening TCP socket as Twisted names it; an empty string for anything else."""
    try:
        passed = socket.socket(fileno=descriptor)
    except OSError:
        return ""
    try:
        is_listening = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        return _DOMAINS.get(passed.family, "") if is_listening and passed.type == socket.SOCK_STREAM else ""
    finally:
        passed.detach()
