"""A cheap synthetic client: `python -m tests.bench.load HOST PORT DIGEST BLOB` pulls until its input ends.

Every second it prints a JSON object: pulls that succeeded, failed and were refused (429 or 503), and the milliseconds
of each request. It follows no redirect, because what is behind it is not facaded.
"""

import argparse
import asyncio
import contextlib
import os
import ssl
import sys
import threading
import time

from attrs import define, field

from facaded.web.own_token import TOKEN
from tests.bench.counts import Counts

USER_AGENTS = ("docker/28.5.1", "skopeo/1.22.0", "containerd/2.1.9", "crane/v0.20.6")
"""Half of them are redirected, and half are served."""

SOURCES = tuple(f"127.0.1.{number}" for number in range(1, 21))
"""Addresses of the clients, so that none of them reaches a limit for one source."""

REQUEST_TIME = 20.0
"""Timeout of one request in seconds: longer than facaded tries its backends."""

MOST_PULLS = 300
"""Pulls in progress at once; while there are more, none is started."""

ACCEPT = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"


@define
class Puller:
    """Pulls one image from the server at `host` and `port`, with a new connection for each pull."""

    host: str
    port: int
    digest: str
    blob: str
    tls: ssl.SSLContext | None = None
    tally: Counts = field(factory=Counts)

    @property
    def steps(self) -> tuple[tuple[str, str], ...]:
        return (
            ("GET", "/v2/"),
            ("HEAD", "/v2/org/app/manifests/latest"),
            ("GET", f"/v2/org/app/manifests/{self.digest}"),
            ("GET", f"/v2/org/app/blobs/{self.blob}"),
        )

    async def pull(self, number: int) -> None:
        statuses: list[int] = []
        token = ""
        source, agent = SOURCES[number % len(SOURCES)], USER_AGENTS[number % len(USER_AGENTS)]
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError, ValueError, IndexError):
            name = "docker.lab.test" if self.tls else None
            reader, writer = await asyncio.open_connection(
                self.host, self.port, local_addr=(source, 0), ssl=self.tls, server_hostname=name
            )
            try:
                for method, target in self.steps:
                    start = time.monotonic()
                    async with asyncio.timeout(REQUEST_TIME):
                        status = await self._ask(reader, writer, method, target, agent, token)
                    if target == "/v2/" and status == 401:  # the facade's own challenge, which Docker can answer
                        token, status = TOKEN, 200
                    statuses.append(status)
                    self.tally.latencies.append(round((time.monotonic() - start) * 1000, 1))
            finally:
                writer.transport.abort()
        self.tally.note(statuses, len(self.steps))

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        method: str,
        target: str,
        agent: str,
        token: str,
    ) -> int:
        """Send a request, read its whole response, and return the status."""
        lines = [f"{method} {target} HTTP/1.1", "Host: docker.lab.test", f"User-Agent: {agent}", f"Accept: {ACCEPT}"]
        lines += [f"Authorization: Bearer {token}"] if token else []
        writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("\r\ncontent-length: ")[2].partition("\r\n")[0])
        if method != "HEAD":
            await reader.readexactly(length)
        return int(head.split()[1])


async def run(puller: Puller, rate: float) -> None:
    """Start `rate` pulls a second, and print a report each second."""
    pulls = set[asyncio.Task[None]]()
    start = time.monotonic()
    number = reported = 0
    while True:
        due = int((time.monotonic() - start) * rate)
        while number < due:
            if len(pulls) < MOST_PULLS:
                pull = asyncio.create_task(puller.pull(number))
                pulls.add(pull)
                pull.add_done_callback(pulls.discard)
            number += 1
        if time.monotonic() - start > reported + 1:
            reported += 1
            print(puller.tally.report(), flush=True)
        await asyncio.sleep(0.02)


def untrusting() -> ssl.SSLContext:
    """Return a context that verifies nothing: the certificate is the test's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def end_with_input() -> None:
    """End this process when its input ends, as it does when the process that started it ends."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.bench.load", description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("digest")
    parser.add_argument("blob")
    parser.add_argument("--rate", type=float, default=30.0, help="pulls a second")
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    end_with_input()
    tls = untrusting() if options.tls else None
    asyncio.run(run(Puller(options.host, options.port, options.digest, options.blob, tls), options.rate))


if __name__ == "__main__":
    main()
