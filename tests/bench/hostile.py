"""Hostile clients: `python -m tests.bench.hostile HOST PORT` attacks until its input ends.

Each kind of client has an address of its own, and begins again when it has ended: slow heads, slow readers, random
bytes, idle connections, a flood of requests, and unfinished TLS handshakes.
"""

import argparse
import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Callable

from tests.bench.load import end_with_input

IDLE = 100
"""Connections that stay idle."""

SLOW = 20
"""Connections that send a head byte by byte, and as many that do not read."""

PAUSE = 0.2
"""Seconds between two attempts of one client: a connection that is refused must not become a busy loop."""

FLOOD, FLOOD_PAUSE = 2000, 10.0
"""Requests of a flood, sent at once on one connection, and the seconds between two floods."""

REQUEST = (
    b"GET /v2/org/app/manifests/latest HTTP/1.1\r\nHost: docker.lab.test\r\nUser-Agent: skopeo/1\r\nAccept: */*\r\n\r\n"
)

HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"

Attack = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def idle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send nothing until the server closes."""
    await reader.read()


async def slow_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send one byte a second."""
    for byte in b"GET /v2/ HTTP/1.1\r\nHost: docker.lab.test\r\nX-Slow: " + b"a" * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(1)


async def slow_reader(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask for many manifests, and read nothing for a minute. Its transport is paused, so its buffers fill."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a stream's transport reads too
    writer.write(REQUEST * 500)
    await asyncio.sleep(60)


async def junk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send random bytes."""
    writer.write(secrets.token_bytes(1 + secrets.randbelow(4000)) + b"\r\n\r\n")
    async with asyncio.timeout(5):
        await reader.read()


async def unfinished_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin a TLS handshake, and wait."""
    writer.write(HELLO)
    await reader.read()


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send as many requests as possible from one address, and read the answers."""
    writer.write(REQUEST * FLOOD)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FLOOD_PAUSE / 2):
            while await reader.read(1 << 16):
                pass
    await asyncio.sleep(FLOOD_PAUSE)


CLIENTS: tuple[tuple[Attack, str, int], ...] = (
    (idle, "127.0.2.1", IDLE),
    (slow_head, "127.0.2.2", SLOW),
    (slow_reader, "127.0.2.3", SLOW),
    (junk, "127.0.2.4", 2),
    (unfinished_hello, "127.0.2.5", SLOW),
    (flood, "127.0.2.6", 1),
)
"""The kinds of client, the address of each, and how many there are."""


async def repeat(attack: Attack, source: str, host: str, port: int) -> None:
    """Attack again and again, each time on a new connection."""
    while True:
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.open_connection(host, port, local_addr=(source, 0))
            try:
                await attack(reader, writer)
            finally:
                writer.transport.abort()
        await asyncio.sleep(PAUSE)


async def run(host: str, port: int) -> None:
    async with asyncio.TaskGroup() as clients:
        for attack, source, count in CLIENTS:
            for _ in range(count):
                clients.create_task(repeat(attack, source, host, port))


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.bench.hostile", description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    options = parser.parse_args()
    end_with_input()
    asyncio.run(run(options.host, options.port))


if __name__ == "__main__":
    main()
