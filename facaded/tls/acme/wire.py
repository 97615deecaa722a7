"""Requests to one CA as RFC 8555 §6 has them: signed, with nonces, bounded in size and time."""

import email.utils
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from facaded.net.client import BoundedClient, Response, reason
from facaded.net.connections import fresh_client
from facaded.net.reactor import INetworkReactor
from facaded.net.text import printable, whole_number
from facaded.tls.acme import documents, problems
from facaded.tls.acme.documents import Directory, DocumentError
from facaded.tls.acme.keys import AccountKey
from facaded.tls.acme.problems import BAD_NONCE, AcmeError, AcmeProblemError
from facaded.tls.acme.settings import CertificateAuthority

CONNECT_TIME = 10.0
"""Seconds for a connection to one address of a CA. Nobody waits for it, and it may be far away."""

REQUEST_TIME = 30.0
"""Seconds for one request and its answer."""

BODY_SIZE = 256 << 10
"""Bytes of an answer: a directory has one thousand, a chain of certificates six."""

NONCE_TRIES = 10
"""Requests sent again because their nonce was refused: pebble refuses some on purpose, others after a restart."""

JOSE = "application/jose+json"
JSON = "application/json"
CHAIN = "application/pem-certificate-chain"

Connect: TypeAlias = Callable[[CertificateAuthority], BoundedClient]
"""Gives what reaches a CA. Raises OSError or OpenSSL.crypto.Error if its `ca_file` cannot be used."""


@frozen
class Signer:
    """Who signs: a key, and the URL of its account once it has one."""

    key: AccountKey
    account: str | None = None


class UnreachableError(AcmeError):
    """A CA could not be reached."""

    def __init__(self, url: str, error: Exception) -> None:
        said = reason(error)
        remedy = "for a private CA set ca_file in [[tls.acme.ca]]" if "verify" in said else "see that it can be reached"
        super().__init__(f"{url}: {said}: {remedy}", ill=True)


class Wire:
    """One CA at `directory`, asked through `client`; `wall` gives seconds since the epoch."""

    def __init__(self, directory: str, client: BoundedClient, clock: IReactorTime, wall: Callable[[], float]) -> None:
        self.url = directory
        self._client = client
        self._clock = clock
        self._wall = wall
        self._nonce: str | None = None
        self._directory: Directory | None = None

    async def directory(self) -> Directory:
        """Where this CA wants its requests; asked once."""
        if self._directory is None:
            documents.lawful(self.url, "the directory")
            self._directory = documents.read_directory(documents.parse((await self.get(self.url)).body))
        return self._directory

    async def get(self, url: str) -> Response:
        """What anybody may ask. Raises AcmeError if there is no answer, or one that is not good."""
        answer = await self._ask("GET", url, {"Accept": JSON})
        self._check(answer)
        return answer

    async def post(self, signer: Signer, url: str, document: Mapping[str, Any] | None, accept: str = JSON) -> Response:
        """A signed request with a document, or without one a signed GET (§6.3). Raises as `get` does.

        It is sent again with a new nonce while its nonce is all that is wrong with it (§6.5).
        """
        payload = b"" if document is None else json.dumps(document).encode("ascii")
        headers = {"Accept": accept, "Content-Type": JOSE}
        for tries_left in reversed(range(NONCE_TRIES)):
            body = signer.key.sign(url, payload, await self._take_nonce(), signer.account)
            answer = await self._ask("POST", url, headers, body)
            try:
                self._check(answer)
                return answer
            except AcmeProblemError as error:
                if error.problem.kind != BAD_NONCE or not tries_left:
                    raise
        raise AssertionError("the last try returns or raises")

    def retry_after(self, answer: Response) -> float:
        """Seconds of an answer's Retry-After, which may be a date; 0 if there is none."""
        said = answer.value("Retry-After")
        if (seconds := whole_number(said)) is not None:
            return float(seconds)
        try:
            return max(email.utils.parsedate_to_datetime(said[:40]).timestamp() - self._wall(), 0.0)
        except (ValueError, TypeError, OverflowError):
            return 0.0

    async def _take_nonce(self) -> str:
        """A nonce is good for one request (§6.5.1); each answer brings the next one."""
        if self._nonce is None:
            self._check(await self._ask("HEAD", (await self.directory()).new_nonce, {}))
        nonce, self._nonce = self._nonce, None
        if nonce is None:
            raise DocumentError("no nonce")
        return nonce

    async def _ask(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        asking = Deferred.fromCoroutine(self._client.ask(method, url, headers=headers, limit=BODY_SIZE, body=body))
        try:
            answer = await asking.addTimeout(REQUEST_TIME, self._clock)
        except CancelledError:
            raise
        except Exception as error:  # whatever a connection may end with; `words` knows them
            raise UnreachableError(_place(url), error) from error
        nonce = answer.value("Replay-Nonce")
        self._nonce = nonce if documents.is_nonce(nonce) else None
        return answer

    def _check(self, answer: Response) -> None:
        """Raises RefusedError if the answer is not a good one; a redirect is none (§6.1)."""
        if not 200 <= answer.status < 300:
            raise AcmeProblemError(problems.parse(answer.body, answer.status), answer.status, self.retry_after(answer))


@frozen
class CaNetwork:
    """How CAs are reached: over which connections, and with which clocks.

    `clock` gives timers, `wall` seconds since the epoch.
    """

    connect: Connect
    clock: IReactorTime
    wall: Callable[[], float]

    def wire(self, ca: CertificateAuthority) -> Wire:
        """Return what asks one CA. Raises OSError or OpenSSL.crypto.Error if its `ca_file` cannot be used."""
        return Wire(ca.directory, self.connect(ca), self.clock, self.wall)


def connect(reactor: INetworkReactor) -> Connect:
    """Return how CAs are reached over the network.

    Each request has a connection of its own, because a POST on a kept one that the CA has just closed would fail.
    """
    return lambda ca: fresh_client(reactor, ca.directory, ca.ca_file, CONNECT_TIME)


def _place(url: str) -> str:
    """A URL as it is named in a sentence: a query may hold what is nobody's business."""
    return printable(url.partition("?")[0])
