"""The server's end of a TLS connection: what it reads and sends, however the bytes arrive."""

import ssl
from collections.abc import Callable
from itertools import cycle, pairwise
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL

from facaded.tls.server_connection import FLIGHT_SIZE, MOST_COUNTED, RECORD_SIZE, ServerConnection
from tests.tls.key_updates import KeyUpdatingClient
from tests.tls.secure_ends import ClientEnd, server_context

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class CountedSsl(SSL.Connection):
    """A connection of OpenSSL's that counts calls; `send` raises `hesitation`, if any, until more bytes arrive."""

    reads = 0
    outputs = 0
    hesitation: type[SSL.Error] | None = None

    def recv(self, *arguments: Any) -> bytes:
        self.reads += 1
        return SSL.Connection.recv(self, *arguments)

    def bio_read(self, *arguments: Any) -> bytes:
        self.outputs += 1
        return SSL.Connection.bio_read(self, *arguments)

    def bio_write(self, *arguments: Any) -> int:
        self.hesitation = None
        return SSL.Connection.bio_write(self, *arguments)

    def send(self, *arguments: Any) -> int:
        if self.hesitation is not None:
            raise self.hesitation
        return SSL.Connection.send(self, *arguments)


class BothEnds:
    """A client and a server, which pass on bytes as `split` makes pieces of them."""

    def __init__(
        self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3, split: Callable[[bytes], list[bytes]] | None = None
    ) -> None:
        self.ssl = CountedSsl(server_context())
        self.server = ServerConnection(self.ssl)
        self.client = ClientEnd(version)
        self.content = b""
        self._split = split or (lambda data: [data])

    def to_server(self, data: bytes) -> None:
        for piece in self._split(data):
            self.server.feed(piece)
            while content := self.server.read():
                self.content += content

    def to_client(self) -> bytes:
        """Let the client read what the server has to send; return an answer of TLS itself."""
        sent = b""
        while records := self.server.take():
            sent += records
        return self.client.receive(sent)

    def shake_hands(self) -> "BothEnds":
        hello = self.client.shake_hands()
        for _ in range(3):
            self.to_server(hello)
            hello = self.client.shake_hands(self.server.take())
        assert not self.server.is_handshaking
        return self


@pytest.mark.parametrize("version", VERSIONS)
def test_content_passes_in_both_directions(version: ssl.TLSVersion) -> None:
    both = BothEnds(version).shake_hands()
    both.to_server(both.client.send(b"question"))
    both.server.write(b"ans")
    both.server.write(b"wer")
    both.to_client()
    assert (both.content, both.client.content) == (b"question", b"answer")


@given(
    st.sampled_from(VERSIONS),
    st.lists(st.lists(st.floats(0, 1), max_size=5), min_size=1, max_size=4),
    st.lists(st.binary(min_size=1, max_size=20) | st.just(b"x" * 20_000), max_size=4),
)
@settings(max_examples=50)
def test_records_may_be_split_and_joined_anywhere(
    version: ssl.TLSVersion, cuts: list[list[float]], contents: list[bytes]
) -> None:
    of_flights = cycle(cuts)

    def split(flight: bytes) -> list[bytes]:
        places = sorted(round(cut * len(flight)) for cut in next(of_flights))
        return [flight[start:end] for start, end in pairwise([0, *places, len(flight)])]

    both = BothEnds(version, split).shake_hands()
    both.to_server(b"".join(map(both.client.send, contents)))
    assert both.content == b"".join(contents)


@pytest.mark.parametrize("cut", [3, 700])
def test_a_whole_record_is_read_without_asking_for_more(cut: int) -> None:
    """A ClientHello with post-quantum keys comes in two segments."""
    both = BothEnds(split=lambda flight: [flight[:cut], flight[cut:]]).shake_hands()
    both.ssl.reads = 0
    for _ in range(6):
        both.to_server(both.client.send(b"x"))
    assert (both.content, both.ssl.reads) == (b"xxxxxx", 6)


@pytest.mark.parametrize("header", [b"\x18\x03\x03\x00\x02", b"\x17\x03\x03\xff\xff"])
def test_what_is_no_record_is_an_error_before_all_of_it_has_arrived(header: bytes) -> None:
    both = BothEnds().shake_hands()
    both.to_server(header)
    assert both.server.error is not None


def test_an_answer_is_one_flight() -> None:
    both = BothEnds().shake_hands()
    both.ssl.outputs = 0
    both.server.write(b"head")
    both.server.write(b"body")
    both.server.close()
    flight = both.server.take()
    assert both.server.take() == b""
    assert both.ssl.outputs == 1
    both.client.receive(flight)
    assert (both.client.content, both.client.has_ended) == (b"headbody", True)


def test_more_records_than_are_counted_are_all_read() -> None:
    both = BothEnds().shake_hands()
    for _ in range(2):
        both.to_server(b"".join(both.client.send(b"x") for _ in range(MOST_COUNTED + 4)))
    assert both.content == b"x" * 2 * (MOST_COUNTED + 4)


@given(st.lists(st.integers(0, 2 * FLIGHT_SIZE), max_size=4))
@settings(max_examples=20)
def test_much_content_is_sent_in_flights(sizes: list[int]) -> None:
    both = BothEnds().shake_hands()
    expected = b""
    for number, size in enumerate(sizes):
        both.server.write(bytes([number]) * size)
        expected += bytes([number]) * size
    flights = list(iter(both.server.take, b""))
    assert len(flights) == (len(expected) + FLIGHT_SIZE - 1) // FLIGHT_SIZE
    both.client.receive(b"".join(flights))
    assert both.client.content == expected
    assert both.server.unsent_size == 0


@pytest.mark.parametrize("hesitation", [SSL.WantReadError, SSL.WantWriteError])
@pytest.mark.parametrize("size", [5, RECORD_SIZE + 5])
def test_what_openssl_does_not_take_is_encrypted_later(hesitation: type[SSL.Error], size: int) -> None:
    both = BothEnds().shake_hands()
    both.ssl.hesitation = hesitation
    both.server.write(b"x" * size)
    both.server.close()
    both.to_client()
    assert both.client.content == b""
    both.to_server(both.client.send(b"y"))
    both.to_client()
    assert (both.client.content, both.client.has_ended) == (b"x" * size, True)


def test_an_error_while_encrypting_ends_the_connection() -> None:
    both = BothEnds().shake_hands()
    both.ssl.hesitation = SSL.SysCallError
    both.server.write(b"x")
    both.to_client()
    assert both.server.has_ended
    assert isinstance(both.server.error, SSL.SysCallError)


def test_content_waits_for_the_handshake() -> None:
    both = BothEnds()
    both.server.write(b"early")
    assert both.server.take() == b""
    both.shake_hands()
    both.to_client()
    assert both.client.content == b"early"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_client_closes(version: ssl.TLSVersion) -> None:
    both = BothEnds(version).shake_hands()
    both.to_server(both.client.send(b"last") + both.client.close())
    assert (both.content, both.server.has_ended, both.server.error) == (b"last", True, None)
    both.server.write(b"answer")
    both.to_client()
    assert (both.client.content, both.client.has_ended) == (b"answer", True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_server_closes_and_still_reads(version: ssl.TLSVersion) -> None:
    both = BothEnds(version).shake_hands()
    both.server.write(b"answer")
    both.server.close()
    both.to_client()
    assert (both.client.content, both.client.has_ended, both.server.has_ended) == (b"answer", True, False)
    both.to_server(both.client.close())
    assert both.server.has_ended
    assert both.server.take() == b""


def test_what_follows_a_close_notify_is_ignored() -> None:
    both = BothEnds().shake_hands()
    both.to_server(both.client.close() + b"\x16" * 100)
    both.to_server(b"\x16" * 100)
    assert (both.content, both.server.error) == (b"", None)


def test_a_record_that_was_changed_ends_the_connection_with_an_alert() -> None:
    both = BothEnds().shake_hands()
    record = bytearray(both.client.send(b"x"))
    record[-1] ^= 1
    both.to_server(bytes(record))
    assert both.server.has_ended
    with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac"):
        both.to_client()


def test_what_is_no_tls_gets_an_alert_at_most() -> None:
    both = BothEnds()
    both.to_server(b"GET / HTTP/1.1\r\n\r\n")
    assert both.server.error is not None
    assert len(both.server.take()) <= 7


@given(st.lists(st.lists(st.sampled_from([None, b"", b"x", b"y" * 5000]), max_size=30), max_size=6), st.randoms())
@settings(max_examples=30)
def test_answers_to_key_updates_do_not_wait_for_content(segments: list[list[bytes | None]], chance: Random) -> None:
    """Otherwise a client that sends nothing else would fill the memory. None is a key update."""
    ssl_connection = SSL.Connection(server_context())
    server = ServerConnection(ssl_connection)
    client = KeyUpdatingClient(server)
    read = expected = b""
    for records in segments:
        data = b"".join(client.update_keys() if record is None else client.send(record) for record in records)
        expected += b"".join(filter(None, records))
        cut = chance.randrange(len(data) + 1)
        for piece in (data[:cut], data[cut:]):
            server.feed(piece)
            read += b"".join(iter(server.read, b""))
            while server.take():
                pass
        if None in records:
            with pytest.raises(SSL.WantReadError):
                ssl_connection.bio_read(1)
    assert read == expected
    assert server.error is None


@pytest.mark.parametrize("with_request", [False, True])
def test_session_tickets_leave_at_once_or_with_the_answer_to_a_request_that_is_here(with_request: bool) -> None:
    """Without an acknowledgement of its Finished, a client with Nagle's algorithm waits 40 ms with its request."""
    both = BothEnds()
    both.to_server(both.client.shake_hands())
    finished = both.client.shake_hands(both.server.take())
    both.to_server(finished + both.client.send(b"question") if with_request else finished)
    assert not both.server.is_handshaking
    if with_request:
        both.server.write(b"answer")
    both.ssl.outputs = 0
    records = both.server.take()
    both.client.receive(records)
    assert (bool(records), both.client.content) == (True, b"answer" if with_request else b"")
    assert both.ssl.outputs == 1, "all in one flight"
