"""The head of a request as answers depend on it: the same, however it was read."""

import re
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TypeVar

from attrs import define, field, frozen

from facaded.backends.manifests import Accept
from facaded.oci.clients import Client, identify
from facaded.oci.errors import Refusal
from facaded.oci.requests import Home, Request, parse
from facaded.policy.asked_again import Asking
from facaded.web.answered_requests import AGENT_LENGTH, HOST_LENGTH, LoggedRequest, printable_path, quotable

Key = TypeVar("Key")
Value = TypeVar("Value")

DIFFERENT_FOR_BROWSERS = frozenset([Refusal, Home])
"""What other clients than browsers send hardly ever, and so is worth a second look."""

_HTML = re.compile(r"(?:^|,)[ \t]*text/html[ \t]*(?=[;,]|$)([^,]*)")
"""A part of an Accept header (RFC 9110 §12.5.1) in lower case, and its parameters.

An expression, because an Accept header of thousands of commas takes milliseconds to split.
"""

_ZERO = re.compile(r";[ \t]*q[ \t]*=[ \t]*0(?:\.0{0,3})?[ \t]*(?:;|$)")
"""The weight of a media type that is not accepted (RFC 9110 §12.4.2), in its parameters."""

ReadValues = Callable[[str], Iterable[bytes]]
"""Returns the values of a header field by its name, in their order."""


@frozen(slots=False)  # with slots, cached properties would make all attributes slow
class HeaderFields:
    """The header fields that an answer depends on, but for credentials.

    A field that may come only once has its last value, "" without one. `host` is the value of the Host header,
    undecoded. `client` is what `user_agent` identifies.
    """

    host: bytes
    user_agent: str
    client: Client
    accept: tuple[str, ...] = ()
    range: str = ""
    if_range: str = ""
    if_none_match: str = ""
    x_forwarded_for: tuple[str, ...] = ()
    x_forwarded_proto: str = ""
    forwarded: tuple[str, ...] = ()

    @cached_property
    def accepted(self) -> Accept:
        """The media types that are accepted."""
        return Accept.read(self.accept)

    @cached_property
    def accepts_html(self) -> bool:
        """Whether the client is a browser: no client of a registry accepts HTML."""
        return any(not _ZERO.search(match[1]) for line in self.accept for match in _HTML.finditer(line.lower()))

    @cached_property
    def logged(self) -> LoggedRequest:
        """What the log shows of the header of a simple request."""
        host = quotable(self.host.decode("latin-1"), HOST_LENGTH)
        return LoggedRequest(host, quotable(self.user_agent, AGENT_LENGTH))

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
            lines("Accept"),
            last("Range"),
            last("If-Range"),
            last("If-None-Match"),
            lines("X-Forwarded-For"),
            last("X-Forwarded-Proto"),
            lines("Forwarded"),
        )


@define(eq=False)
class RequestHead:
    """A request's method and target as they were sent, and its header.

    Two heads are never equal, so that what is known of one can be kept by it. `closes` is whether the connection ends
    with the answer. `is_kept` is whether this object has come again, and may once more. `parsed` is the target,
    `verb` and `path` are what subscribers see of the request line. `asking` is what was made of the head last, after
    the address of its client.
    """

    method: bytes
    target: bytes
    fields: HeaderFields
    authorization: str = ""
    closes: bool = False
    is_kept: bool = False
    parsed: Request | Refusal = field(init=False)
    verb: str = field(init=False)
    path: str = field(init=False)
    asking: tuple[str, Asking] | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.verb, self.path = self.method.decode("latin-1"), printable_path(self.target)
        self.parsed = parse(self.method, self.target, self.fields.host)
        if type(self.parsed) in DIFFERENT_FOR_BROWSERS and self.fields.accepts_html:
            self.parsed = parse(self.method, self.target, self.fields.host, is_browser=True)


@frozen
class Origin:
    """Where a request comes from: the client's address, see `client_address`, and whether it came over TLS."""

    address: str
    is_secure: bool


def put_bounded(table: dict[Key, Value], key: Key, value: Value, most: int) -> None:
    """Put a value into a table of at most so many; forget all others if it is full, because that costs least."""
    if len(table) >= most:
        table.clear()
    table[key] = value
