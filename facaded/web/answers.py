"""The registry as clients see it: a request's bytes are parsed, an answer is decided, and rendered here."""

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.backends.manifests import Accept
from facaded.backends.serving import Serving, Wanted
from facaded.backends.source import Ranged
from facaded.backends.watch import Watch
from facaded.oci import errors, requests
from facaded.oci.clients import identify
from facaded.oci.errors import Code, Refusal
from facaded.oci.requests import Manifest, is_digest
from facaded.policy.answers import Answer, Forward, Page, Pong, Redirect, Rules, Serve, decide
from facaded.policy.health import State
from facaded.policy.hints import Hints
from facaded.policy.lately import Lately
from facaded.web import page, served
from facaded.web.relay import relay
from facaded.web.served import JSON, Rendered
from facaded.web.site import respond

ALWAYS = {"Cache-Control": "no-store", "Vary": "User-Agent, Accept, Authorization"}
"""On every answer: nothing may be remembered, for the next answer may be another."""

WELL = (200, 304, 307)
"""Of a manifest that is served, or whose asker is sent on."""


class Facade(Resource):
    """Answers for the registry.

    `rules` gives the rules in force, `watch` knows who is in charge, `serving` gives what asks the backends, `seconds`
    monotonic time. `lately` keeps what was pulled.
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self, rules: Callable[[], Rules], watch: Watch, serving: Callable[[], Serving], seconds: Callable[[], float]
    ) -> None:
        Resource.__init__(self)
        self._rules = rules
        self._watch = watch
        self._serving = serving
        self._seconds = seconds
        self._hints = Hints()
        self.lately = Lately()

    def render(self, request: Request) -> int:
        work = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: work.cancel())
        work.addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        asked = requests.parse(request.method, request.uri, _host(request))
        answer = self._decide(request, asked)
        if isinstance(answer, Redirect | Serve | Forward) and not self._watch.settled:
            await self._watch.when_settled()
            answer = self._decide(request, asked)
        match answer:
            case Serve():
                rendered = await self._serve(request, answer)
            case Forward():
                rendered = await self._forward(request, answer)
            case _:
                rendered = self._rendered(answer)
        if isinstance(asked, Manifest) and isinstance(answer, Redirect | Serve) and rendered.status in WELL:
            self._note(request, asked, answer)
        self._write(request, rendered)

    def _note(self, request: Request, asked: Manifest, answer: Redirect | Serve) -> None:
        """Remember what was pulled.

        A client that comes back for what it was just sent elsewhere for has perhaps not got it there.
        """
        if not is_digest(asked.reference):
            self.lately.add(asked.name, asked.reference)
        if isinstance(answer, Redirect):
            address, method = str(getattr(request.getClientAddress(), "host", "")), request.method.decode("latin-1")
            usual = identify(_header(request, "User-Agent")).requests_of_manifest
            if self._hints.repeated(address, method, answer.location, self._seconds(), usual):
                self._watch.probe_soon(answer.backend)

    def _decide(self, request: Request, asked: requests.Request | Refusal) -> Answer:
        client = identify(_header(request, "User-Agent"))
        return decide(asked, _host(request).decode("latin-1"), client, self._rules(), self._watch.snapshot().situation)

    async def _serve(self, request: Request, answer: Serve) -> Rendered:
        found = await self._serving().serve(answer.read, answer.backends, _wanted(request))
        health = self._watch.standing.healths.get(answer.preferred)  # a reload may have taken it away
        trouble = health.state.value if health and health.state in (State.DOWN, State.LIMITED) else None
        return served.render(answer.read, found, answer.preferred, trouble, _header(request, "If-None-Match"))

    async def _forward(self, request: Request, answer: Forward) -> Rendered:
        authorization = _header(request, "Authorization") or None
        found = await self._serving().forward(answer.request, answer.backend, authorization, _wanted(request))
        return served.render_forwarded(answer.request, found, answer.backend, _header(request, "If-None-Match"))

    def _write(self, request: Request, rendered: Rendered) -> None:
        headers = rendered.headers
        if "Content-Security-Policy" not in headers:  # on all but the page for a person
            headers = {"Docker-Distribution-Api-Version": "registry/2.0", **headers}
        if rendered.relayed is not None:
            relay(request, rendered.status, {**ALWAYS, **headers}, rendered.relayed)
        else:
            respond(request, rendered.status, {**ALWAYS, **headers}, rendered.body, rendered.length)

    def _rendered(self, answer: Redirect | Pong | Page | Refusal) -> Rendered:
        match answer:
            case Redirect():
                return Rendered(307, {"Location": answer.location, "X-Facaded-Backend": answer.backend})
            case Pong():
                return Rendered(200, JSON, b"{}")
            case Page():
                return Rendered(200, page.HEADERS, page.render(answer.host, self._rules()))
            case Refusal():
                allow = {"Allow": ", ".join(answer.allow)} if answer.allow else {}
                return Rendered(answer.status, JSON | allow, errors.document(answer.code, answer.message))

    def _failed(self, failure: Failure, request: Request) -> None:
        """The client has gone away, or this program has an error: that is logged, and the client told so."""
        if failure.check(CancelledError):
            return
        self._log.failure("no answer to a request", failure)
        if not request.startedWriting:
            refusal = Refusal(500, Code.UNSUPPORTED, "an error in facaded: its log says more")
            self._write(request, self._rendered(refusal))


def _wanted(request: Request) -> Wanted:
    lines = request.requestHeaders.getRawHeaders(b"Accept", [])
    accept = Accept.read(tuple(line.decode("latin-1") for line in lines))
    ranged = Ranged(_header(request, "Range"), _header(request, "If-Range"))
    return Wanted(accept, request.method != b"HEAD", ranged)


def _host(request: Request) -> bytes:
    value: bytes = request.requestHeaders.getRawHeaders(b"Host", [b""])[0]
    return value


def _header(request: Request, name: str) -> str:
    return (request.getHeader(name.encode("ascii")) or b"").decode("latin-1")
