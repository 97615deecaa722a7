"""File descriptors: raises this process's limit, and divides them among clients, operators and facaded's own needs."""

import contextlib
import resource

from attrs import frozen

MOST = 1 << 20
"""Descriptors that are asked for at most: the kernel's own bound (fs.nr_open), and far more than are ever used."""

CLIENT_CONNECTIONS = 10_000
"""Connections of clients at most, unless the settings say how many: over TLS, idle, they take some 300 MiB."""

OPERATOR_CONNECTIONS = 200
"""Connections of the admin listener at most, and as many of the control socket: load balancers and scripts."""

HOSTS = 2
"""Hosts of a backend to which connections are kept: the registry and its token server, each for all requests."""

PER_PROBE = 8
"""Descriptors of a probe: a token, a manifest and a blob, from several addresses of a name at once."""

OWN = 32
"""Descriptors for the state, certificates, settings, the log, listeners, name lookups and the reactor."""

CLOSING = 100
"""Descriptors of connections that were closed to make room, until the reactor's next turn."""


@frozen
class Division:
    """How many connections clients may have, and operators at the admin listener and at the control socket each."""

    clients: int
    operators: int


def divide(descriptors: int, backends: int, per_backend: int, per_client: int = 1) -> Division:
    """Divide descriptors: what backends need, `per_backend` connections to each of their hosts, is kept from clients.

    A client takes `per_client` descriptors: two if a blob is relayed to it. If there are too few descriptors, clients
    get a quarter, which leaves enough for probes and the state.
    """
    operators = min(OPERATOR_CONNECTIONS, descriptors // 32)
    reserve = backends * (HOSTS * per_backend + PER_PROBE) + 2 * operators + OWN + CLOSING
    clients = max(descriptors - reserve, descriptors // 4) // per_client
    return Division(max(clients, 1), operators or 1)


def raise_limit() -> None:
    """Raise the soft limit of this process to its hard one: many systems set 1024 for old programs that use select."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _bounded(hard)
    if _bounded(soft) < wanted:
        with contextlib.suppress(OSError, ValueError):  # a sandbox may forbid it: then there are fewer connections
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def available() -> int:
    """Return how many descriptors this process may open."""
    return _bounded(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def _bounded(limit: int) -> int:
    return MOST if limit == resource.RLIM_INFINITY else min(limit, MOST)
