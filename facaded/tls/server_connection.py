"""The server's end of a TLS connection in memory: records in, content out, and content in, records out.

A call into OpenSSL that only finds that there is nothing to do costs 2 µs, as much as decrypting a request. So the
records that arrive are counted, and OpenSSL is asked for records to send only if it may have some. Its methods are
looked up once, because pyOpenSSL's connections look up everything in Python that they do not find.
"""

import contextlib

from OpenSSL import SSL

RECORD_SIZE = 16 << 10
"""Bytes of content that a record has at most (RFC 8446 §5.1)."""

FLIGHT_SIZE = 4 * RECORD_SIZE
"""Bytes of content that are encrypted at a time: until they have been sent, they are in memory twice."""

OVERHEAD = 2 << 10
"""Bytes that a flight has beyond its content, nearly always: up to 29 for each record, some 160 for session tickets
before the first answer, and some 1,500 for the handshake; the rest of a longer certificate chain takes another call."""

MOST_COUNTED = 16
"""Records of a segment that are counted: counting many tiny ones would cost more than it saves."""

_HEADER_SIZE = 5
"""Bytes before the content of a record: its type, version and length."""

_TYPES = range(20, 24)
"""The types of records (RFC 8446 §5.1)."""

_LONGEST = RECORD_SIZE + 2048
"""Bytes of an encrypted record at most (RFC 5246 §6.2.3; fewer in RFC 8446 §5.2)."""

_UNKNOWN = 1 << 16
"""The number of records that have arrived, if they were not counted: more than there can be."""


_WAITS = (SSL.WantReadError, SSL.WantWriteError)
"""OpenSSL wants bytes of the client first, or wants what it has to send to be taken."""


class ServerConnection:
    """One connection; `ssl` is a new one of OpenSSL's.

    `is_handshaking` says whether the handshake is incomplete; until then, what is written waits. `has_ended` says that
    nothing more can be read: the client has sent its close_notify, or there is an `error`. What `take` returns then is
    the last: the answer to that. `records` is how many records can be read, or more; `has_output` says whether `take`
    may return something.
    """

    is_handshaking = True
    has_ended = False
    error: SSL.Error | None = None
    unsent_size = 0
    records = 0
    has_output = False
    _can_count = True
    _missing = 0
    _cut_header = b""
    _has_records = False
    _is_closing = False

    def __init__(self, ssl: SSL.Connection) -> None:
        ssl.set_accept_state()
        self._ssl = ssl
        self._bio_write, self._bio_read, self._recv, self._send = ssl.bio_write, ssl.bio_read, ssl.recv, ssl.send
        self._unsent: list[bytes | memoryview] = []

    def note_local_address(self, address: str) -> None:
        """Note where the connection arrived, for the choice of the certificate. Call it before the handshake."""
        self._ssl.set_app_data(address)

    def feed(self, data: bytes) -> None:
        """Take bytes from the client. They continue the handshake, or bring content, which `read` returns."""
        if self.has_ended or not data:
            return
        self._bio_write(data)
        self.records = self._count(data) if self._can_count else _UNKNOWN
        if self.is_handshaking:
            self._shake_hands()

    def read(self) -> bytes:
        """Return the content of the next record; nothing if none has arrived, or if the connection has ended."""
        if not self.records or self.is_handshaking or self.has_ended:
            return b""
        self.records -= 1
        try:
            return self._recv(RECORD_SIZE)
        except _WAITS:
            self.records = 0
            self.has_output = self._has_records = True  # such as new keys, or the refusal of another handshake
        except SSL.ZeroReturnError:
            self.has_ended = True
            self.close()
        except SSL.Error as error:
            self._fail(error)
        return b""

    def write(self, data: bytes) -> None:
        """Take content for the client."""
        if data:
            self._unsent.append(data)
            self.unsent_size += len(data)
            self.has_output = True

    def close(self) -> None:
        """Send a close_notify after the content that was written. Call it after the handshake."""
        self._is_closing = self.has_output = True

    def take(self) -> bytes:
        """Return the next records for the client; nothing if there are none for now."""
        size = OVERHEAD
        if not self.is_handshaking and self.error is None:
            if self._unsent:
                size += self._encrypt()
            if self._is_closing and not self._unsent:
                self._shut_down()
        records = self._output(size) if self._has_records else b""
        self.has_output = self._has_records or bool(self._unsent)
        return records

    def _count(self, data: bytes) -> int:
        """Return how many records end in these bytes; `_UNKNOWN`, from now on, if they are not like a client's."""
        if not self._missing and not self._cut_header and data[0] in _TYPES and len(data) >= _HEADER_SIZE:
            length = (data[3] << 8) + data[4]
            if len(data) == _HEADER_SIZE + length <= _LONGEST:
                return 1
        data = self._cut_header + data
        size, start = len(data), self._missing
        count = int(0 < start <= size)
        while size - start >= _HEADER_SIZE:
            length = (data[start + 3] << 8) + data[start + 4]
            if data[start] not in _TYPES or length > _LONGEST or count == MOST_COUNTED:
                self._can_count = False
                return _UNKNOWN
            start += _HEADER_SIZE + length
            count += start <= size
        self._missing, self._cut_header = max(0, start - size), data[start:]
        return count

    def _shake_hands(self) -> None:
        """Continue the handshake.

        Before TLS 1.3, the client waits for the end of it. With TLS 1.3, OpenSSL has session tickets to send. They
        leave with the first answer if the request is here, and else at once: without an acknowledgement, Nagle's
        algorithm keeps the client's request back for 40 ms.
        """
        try:
            self._ssl.do_handshake()
        except _WAITS:
            self._has_records = True
        except SSL.Error as error:
            self._fail(error)
        else:
            self.is_handshaking = False
            self._has_records = self._ssl.get_protocol_version() < SSL.TLS1_3_VERSION
        self.has_output = self._has_records or bool(self._unsent)

    def _encrypt(self) -> int:
        """Encrypt a flight of what was written, and return its size. OpenSSL takes one record at a time."""
        content = self._unsent[0] if len(self._unsent) == 1 else b"".join(self._unsent)
        sent = 0
        try:
            while sent < min(len(content), FLIGHT_SIZE):
                sent += self._send(content[sent : sent + RECORD_SIZE])
        except _WAITS:
            pass  # the same bytes follow with the next call
        except SSL.Error as error:
            self._fail(error)
        self._has_records = True
        self.unsent_size = len(content) - sent
        self._unsent = [memoryview(content)[sent:]] if self.unsent_size else []
        return sent

    def _shut_down(self) -> None:
        self._is_closing = False
        with contextlib.suppress(SSL.Error):
            self._ssl.shutdown()
        self._has_records = True

    def _output(self, size: int) -> bytes:
        """Return at most `size` bytes that OpenSSL has to send."""
        try:
            records = self._bio_read(size)
        except _WAITS:
            records = b""
        self._has_records = len(records) == size
        return records

    def _fail(self, error: SSL.Error) -> None:
        """End with an error, and send the alert that OpenSSL may have for the client."""
        self.error = error.with_traceback(None)  # its frames refer to this, and so would keep OpenSSL's memory
        self.has_ended = self.has_output = self._has_records = True
        self._unsent = []
