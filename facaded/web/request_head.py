"""The head of a request as answers depend on it: the same, however it was read."""

from collections.abc import Callable, Iterable

from attrs import frozen

from facaded.oci.clients import Client, identify

ReadValues = Callable[[str], Iterable[bytes]]
"""Returns the values of a header field by its name, in their order."""


@frozen
class HeaderFields:
    """The header fields that an answer depends on. A field that may come only once has its last value, "" without one.

    `host` is the value of the Host header, undecoded. `client` is what `user_agent` identifies.
    """

    host: bytes
    user_agent: str
    client: Client
    authorization: str = ""
    accept: tuple[str, ...] = ()
    range: str = ""
    if_range: str = ""
    if_none_match: str = ""
    x_forwarded_for: tuple[str, ...] = ()
    x_forwarded_proto: str = ""
    forwarded: tuple[str, ...] = ()

    @classmethod
    def read(cls, values_of: ReadValues) -> "HeaderFields":
        """Take the fields from a request's header."""

        def lines(name: str) -> tuple[str, ...]:
            return tuple(value.decode("latin-1") for value in values_of(name))

        def last(name: str) -> str:
            return next(reversed(lines(name)), "")

        user_agent = last("User-Agent")
        return cls(
            next(iter(values_of("Host")), b""),
            user_agent,
            identify(user_agent),
            last("Authorization"),
            lines("Accept"),
            last("Range"),
            last("If-Range"),
            last("If-None-Match"),
            lines("X-Forwarded-For"),
            last("X-Forwarded-Proto"),
            lines("Forwarded"),
        )


@frozen
class RequestHead:
    """A request's method and target as they were sent, and its header; whose it is, and whether it came over TLS.

    `address` is the client's, see `client_address`.
    """

    method: bytes
    target: bytes
    fields: HeaderFields
    address: str
    is_secure: bool
