"""Reads simple heads: whole, without a body, and with nothing in them that needs more than a look.

What is not simple is not refused here, but left to the parser of `Channel`, which knows all of HTTP/1.1. So whatever is
simple means the same to both.
"""

import re

from attrs import frozen

from facaded.web.request_head import HeaderFields, RequestHead, put_bounded
from facaded.web.strict_channel import HOST, PARAMETERS

SIZE = 4096
"""Most bytes of a simple head: clients send some 300, and with a token some 3,000."""

KEPT = 500
"""Heads, and headers, that are kept by their bytes: clients send the same ones again and again."""

KEPT_SIZE = 1024
"""Most bytes of one that is kept."""


_LINE = re.compile(rb"(GET|HEAD) (/[\x21-\x7e]*) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)\r\n")
_BLOCK = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n){1,100}\r\n")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_AUTHORIZATION = b"\r\nAuthorization:"
"""How the credentials begin, as all clients spell them; in another way they are not simple."""

_ORDINARY = frozenset(
    [b"authorization", b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"http2-settings"]
)
"""Header fields that are not simple: a body may follow, or another protocol."""

_SECRET = frozenset([b"proxy-authorization", b"cookie"])
"""Header fields with credentials, which are not kept."""


@frozen
class _Block:
    """A header, whether the client asked to close the connection, and whether it may be kept."""

    fields: HeaderFields
    closes: bool
    may_be_kept: bool


class SimpleHeads:
    """Reads simple heads. It keeps those without credentials, and headers by themselves, without the credentials."""

    def __init__(self) -> None:
        self._heads: dict[bytes, RequestHead] = {}
        self._blocks: dict[bytes, _Block] = {}

    def read(self, data: bytes) -> RequestHead | None:
        """Return the head that `data` consists of; None if it is not a simple one, or not just one."""
        if (head := self._heads.get(data)) is not None:
            head.is_kept = True
            return head
        if len(data) > SIZE:
            return None
        start = data.find(_AUTHORIZATION)
        if start < 0:
            return self._parse(data, data)
        end = data.find(b"\r\n", start + 2)
        value = data[start + len(_AUTHORIZATION) : end]
        return self._parse(data, data[:start] + data[end:], value) if _VALUE.fullmatch(value) else None

    def _parse(self, data: bytes, rest: bytes, credentials: bytes | None = None) -> RequestHead | None:
        """Parse `data` without its credentials, which is the `rest`."""
        line, _, block_bytes = rest.partition(b"\r\n")
        block = self._blocks.get(block_bytes) or self._parse_block(block_bytes)
        match = _LINE.fullmatch(line) if block is not None else None
        if block is None or match is None:
            return None
        method, target = match.groups()
        if target.count(b"&") + target.count(b";") > PARAMETERS:
            return None
        if credentials is not None:
            authorization = credentials.strip(b" \t").decode("latin-1")
            return RequestHead(method, target, block.fields, authorization, block.closes)
        head = RequestHead(method, target, block.fields, "", block.closes)
        if len(data) <= KEPT_SIZE and block.may_be_kept:
            put_bounded(self._heads, data, head, KEPT)
        return head

    def _parse_block(self, block_bytes: bytes) -> _Block | None:
        block = _parse_block(block_bytes)
        if block is not None and block.may_be_kept:
            put_bounded(self._blocks, block_bytes, block, KEPT)
        return block


def _parse_block(rest: bytes) -> _Block | None:
    if not _BLOCK.fullmatch(rest):
        return None
    values: dict[bytes, list[bytes]] = {}
    for name, value in _FIELD.findall(rest):
        values.setdefault(name.lower(), []).append(value.strip(b" \t"))
    hosts, connections = values.get(b"host", ()), values.get(b"connection", [b"keep-alive"])
    if len(hosts) != 1 or not HOST.fullmatch(hosts[0]) or not _ORDINARY.isdisjoint(values):
        return None
    connection = connections[0].lower() if len(connections) == 1 else b""
    if connection not in (b"keep-alive", b"close"):
        return None
    fields = HeaderFields.read(lambda name: values.get(name.lower().encode("ascii"), ()))
    may_be_kept = len(rest) <= KEPT_SIZE and _SECRET.isdisjoint(values)
    return _Block(fields, connection == b"close", may_be_kept)
