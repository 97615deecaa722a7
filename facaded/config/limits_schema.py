"""The keys of [limits] as data: see `schema`."""

from facaded.config import values
from facaded.config.tables import Key, Table
from facaded.policy.limits import Limits

LIMITS = Table(
    Limits,
    (
        Key(
            "connections",
            values.CONNECTIONS,
            '"auto"',
            "Open connections of all clients together. At the limit, the oldest idle connection of the source with the "
            'most makes room. "auto" leaves a reserve of file descriptors for the registries and the state, and is '
            "10000 at most; an idle connection over TLS takes some 30 KiB.",
            "Raise it on a machine with more than 1 GB of memory.",
        ),
        Key(
            "connections_per_source",
            values.NUMBER,
            "1000",
            "Open connections of one source: an IPv4 address or an IPv6 /64. At the limit, its oldest idle one makes "
            "room.",
            "Raise it if more than a few hundred machines share one address and you cannot name it in `exempt`.",
        ),
        Key(
            "new_connections_per_source",
            values.NUMBER,
            "100",
            "New connections a second of one source, ten times as many at once. Further ones are closed.",
            "Raise it together with connections_per_source.",
        ),
        Key(
            "requests_per_source",
            values.NUMBER,
            "200",
            "Requests a second of one source, ten times as many at once. Further ones are answered 429.",
            "Raise it if clients behind one address are answered 429; if that is a proxy's, set trusted_proxies.",
        ),
        Key(
            "backend_requests",
            values.NUMBER,
            "64",
            "Requests to one backend in progress, three quarters of them of one source at most. Further ones wait.",
            "Lower it if a registry of your own cannot take as many.",
        ),
        Key(
            "backend_requests_per_source",
            values.NUMBER,
            "50",
            "Requests a second of one source that need a backend, ten times as many at once. Further ones are answered "
            "429.",
            "Lower it if single clients use up what the registries allow this machine.",
        ),
        Key(
            "quota_reserve",
            values.PERCENTAGE,
            "25",
            "Percentage of the pulls that a registry allows this machine (Docker Hub says how many) that is kept for "
            "sources that have not had their share; 0 keeps none.",
            "Lower it if all clients share one address.",
        ),
        Key(
            "unsent_bytes",
            values.SIZE,
            '"64MiB"',
            "Memory for answers that clients have not read yet. At the limit, the source with the most loses its "
            "oldest one; a source that would have as much is answered 503.",
            "Raise it on a machine with more than 1 GB of memory, if `facaded status` says that it was reached.",
        ),
        Key(
            "stall_time",
            values.DURATION,
            '"10s"',
            "How long a client may read nothing of its answer until its connection is closed.",
            "Raise it for clients whose network stops for longer.",
        ),
        Key(
            "head_time",
            values.DURATION,
            '"10s"',
            "How long the head of a request may take.",
            "Raise it for clients with a very slow network.",
        ),
        Key(
            "handshake_time",
            values.DURATION,
            '"10s"',
            "How long a TLS handshake may take.",
            "Raise it for clients with a very slow network.",
        ),
        Key(
            "idle_time",
            values.DURATION,
            '"60s"',
            "How long a connection without a request is kept open.",
            "Lower it if `facaded status` says that `connections` was reached.",
        ),
        Key(
            "exempt",
            values.NETWORKS,
            "[]",
            "Networks whose sources have no limits of their own, such as build machines behind one address.",
            'Set it if many of your own clients share an address: ["192.0.2.7", "2001:db8:1::/48"].',
        ),
    ),
)
