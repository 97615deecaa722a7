"""Requests to one CA (RFC 8555 §6): signed, with nonces, and bounded in size and time."""

import email.utils
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from facaded.net.client import DATE_LENGTH, BoundedClient, Response, describe_error
from facaded.net.connections import fresh_client
from facaded.net.reactor import INetworkReactor
from facaded.net.text import printable, whole_number
from facaded.tls.acme import documents, problems
from facaded.tls.acme.account_key import AccountKey
from facaded.tls.acme.documents import Directory, DocumentError
from facaded.tls.acme.problems import BAD_NONCE, AcmeError, AcmeProblemError
from facaded.tls.acme.settings import CertificateAuthority

CONNECT_TIMEOUT = 10.0
"""Seconds to connect to one address of a CA. It is long, because no client waits and the CA may be far away."""

REQUEST_TIMEOUT = 30.0
"""Seconds for one request and its response."""

BODY_SIZE = 256 << 10
"""Bytes of a response: a directory has about one thousand, a certificate chain six thousand."""

NONCE_TRIES = 20
"""How often a request is sent while its nonce is refused: pebble refuses some on purpose, other CAs after a restart."""

JOSE = "application/jose+json"
JSON = "application/json"
CHAIN = "application/pem-certificate-chain"

Connect: TypeAlias = Callable[[CertificateAuthority], BoundedClient]
"""Returns the HTTP client for a CA. Raises OSError or OpenSSL.crypto.Error if its `ca_file` cannot be used."""


@frozen
class Signer:
    """Signs requests: a key, and the URL of its account once it is registered."""

    key: AccountKey
    account: str | None = None


class UnreachableError(AcmeError):
    """A CA could not be reached."""

    def __init__(self, url: str, error: Exception) -> None:
        message = describe_error(error)
        remedy = "check that this machine can reach it"
        if "verify" in message:
            remedy = "for a private CA, set ca_file in [[tls.acme.ca]]"
        super().__init__(f"{url}: {message}: {remedy}", ca_unavailable=True)


class Wire:
    """Sends requests to the CA at `directory` through `client`; `wall` returns seconds since the epoch.

    `offset` is how many seconds the CA's clock was ahead in its latest answer; None before it, or without a date in it.
    """

    def __init__(self, directory: str, client: BoundedClient, clock: IReactorTime, wall: Callable[[], float]) -> None:
        self.url = directory
        self._client = client
        self._clock = clock
        self._wall = wall
        self.offset: float | None = None
        self._nonce: str | None = None
        self._directory: Directory | None = None

    async def directory(self) -> Directory:
        """Return the CA's directory; it is fetched once."""
        if self._directory is None:
            documents.check_url(self.url, "the directory")
            self._directory = documents.read_directory(documents.parse((await self.get(self.url)).body))
        return self._directory

    async def get(self, url: str) -> Response:
        """Send an unsigned GET, and return the response. Raises AcmeError if there is none, or not a 2xx."""
        response = await self._request("GET", url, {"Accept": JSON})
        self._raise_for_status(response)
        return response

    async def post(self, signer: Signer, url: str, document: Mapping[str, Any] | None, accept: str = JSON) -> Response:
        """Send a signed document, or a signed GET without one (§6.3), and return the response. Raises as `get` does.

        A request whose nonce the CA refuses is sent again with a new nonce (§6.5).
        """
        payload = b"" if document is None else json.dumps(document).encode("ascii")
        headers = {"Accept": accept, "Content-Type": JOSE}
        for tries_left in reversed(range(NONCE_TRIES)):
            body = signer.key.sign(url, payload, await self._take_nonce(), signer.account)
            response = await self._request("POST", url, headers, body)
            try:
                self._raise_for_status(response)
                return response
            except AcmeProblemError as error:
                if error.problem.kind != BAD_NONCE:
                    raise
                if not tries_left:
                    raise AcmeError(str(error), ca_unavailable=True) from None
        raise AssertionError("the last try returns or raises")

    def retry_after(self, response: Response) -> float:
        """Return the Retry-After of a response, which may be a date, in seconds; 0 if there is none."""
        value = response.value("Retry-After")
        if (seconds := whole_number(value)) is not None:
            return float(seconds)
        try:
            until = email.utils.parsedate_to_datetime(value[:DATE_LENGTH]).timestamp()
            return max(until - self._wall() - (self.offset or 0.0), 0.0)
        except (ValueError, TypeError, OverflowError):
            return 0.0

    async def _take_nonce(self) -> str:
        """Return an unused nonce: each is valid for one request (§6.5.1), and each response brings the next one."""
        if self._nonce is None:
            self._raise_for_status(await self._request("HEAD", (await self.directory()).new_nonce, {}))
        nonce, self._nonce = self._nonce, None
        if nonce is None:
            raise DocumentError("the response has no nonce")
        return nonce

    async def _request(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Response:
        request = Deferred.fromCoroutine(self._client.ask(method, url, headers=headers, limit=BODY_SIZE, body=body))
        try:
            response = await request.addTimeout(REQUEST_TIMEOUT, self._clock)
        except CancelledError:
            raise
        except Exception as error:  # a connection may fail with any type; `describe_error` describes them
            raise UnreachableError(_without_query(url), error) from error
        self._note_time(response)
        nonce = response.value("Replay-Nonce")
        self._nonce = nonce if documents.is_nonce(nonce) else None
        return response

    def _note_time(self, response: Response) -> None:
        """Compare the clocks by the answer's Date, and by its Age if a cache has sent it (RFC 9110 §6.6.1)."""
        try:
            time = email.utils.parsedate_to_datetime(response.value("Date")[:DATE_LENGTH]).timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        self.offset = time + (whole_number(response.value("Age")) or 0) - self._wall()

    def _raise_for_status(self, response: Response) -> None:
        """Raise AcmeProblemError unless the status is 2xx; a redirect is an error too (§6.1)."""
        if not 200 <= response.status < 300:
            raise AcmeProblemError(
                problems.parse(response.body, response.status), response.status, self.retry_after(response)
            )


@frozen
class CaNetwork:
    """The connections and the clocks that requests to CAs use.

    `clock` provides timers, `wall` returns seconds since the epoch.
    """

    connect: Connect
    clock: IReactorTime
    wall: Callable[[], float]

    def wire(self, ca: CertificateAuthority) -> Wire:
        """Return the Wire to a CA. Raises OSError or OpenSSL.crypto.Error if its `ca_file` cannot be used."""
        return Wire(ca.directory, self.connect(ca), self.clock, self.wall)


def connect(reactor: INetworkReactor) -> Connect:
    """Return the function that creates the HTTP clients for CAs.

    Each request gets a new connection, because a POST on an idle one that the CA has just closed would fail.
    """
    return lambda ca: fresh_client(reactor, ca.directory, ca.ca_file, CONNECT_TIMEOUT)


def _without_query(url: str) -> str:
    """Return a URL for a message, without its query, which may contain secrets."""
    return printable(url.partition("?")[0])
