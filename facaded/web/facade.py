"""The registry as clients see it: a request is read, an answer decided, fetched if need be, and rendered."""

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.backends.fetcher import Fetcher, ReadOptions
from facaded.backends.manifests import Accept
from facaded.backends.registry import RangeHeaders
from facaded.backends.watch import Watch
from facaded.oci import requests
from facaded.oci.clients import Client, identify
from facaded.oci.errors import Code, Refusal
from facaded.policy.changes import Change
from facaded.policy.decision import Answer, Forward, Redirect, Rules, Serve, decide
from facaded.policy.health import State
from facaded.web import render
from facaded.web.answered import Decision, Kind, Outcome
from facaded.web.relay import relay
from facaded.web.render import Rendered
from facaded.web.server import note, respond

ERROR = Refusal(500, Code.UNSUPPORTED, "an error in facaded: its log says more")


@frozen
class ClientRequest:
    """A request, read once: what it asks for, at which Host, and who sends it."""

    target: requests.Request | Refusal
    host: str
    client: Client


class Facade(Resource):
    """Answers for the registry, by `rules`, which say how, and with `fetcher`, which asks the backends.

    `watch` pushes which backends are active.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, watch: Watch, rules: Rules, fetcher: Fetcher) -> None:
        Resource.__init__(self)
        self._watch = watch
        self.reconfigure(rules, fetcher)
        now = watch.snapshot()
        self._situation, self._healths = now.routing, now.watch_state.healths
        watch.subscribe(self._changed)
        self._settled = False
        watch.when_settled().addCallback(self._settle)

    def reconfigure(self, rules: Rules, fetcher: Fetcher) -> None:
        """Answer by other rules from now on. Requests that are being served end as they began."""
        self._rules = rules
        self._fetcher = fetcher

    def render(self, request: Request) -> int:
        asked = _read(request)
        try:
            answer = self._decide(asked)
            if isinstance(answer, Serve | Forward) or (isinstance(answer, Redirect) and not self._settled):
                work = Deferred.fromCoroutine(self._answer(request, asked, answer))
                request.notifyFinish().addErrback(lambda _: work.cancel())
                work.addErrback(self._failed, request, asked)
            else:
                self._write(request, asked, answer, render.render(answer, self._rules))
        except Exception:
            self._failed(Failure(), request, asked)
        return NOT_DONE_YET

    async def _answer(self, request: Request, asked: ClientRequest, answer: Answer) -> None:
        """Answer what needs a backend: after a start, the first health checks say which."""
        if not self._settled:
            await self._watch.when_settled()
            answer = self._decide(asked)
        match answer:
            case Serve():
                rendered = await self._serve(request, answer)
            case Forward():
                rendered = await self._forward(request, answer)
            case _:
                rendered = render.render(answer, self._rules)
        self._write(request, asked, answer, rendered)

    def _settle(self, _: None) -> None:
        """The first health checks are over: redirects wait no more."""
        self._settled = True

    def _changed(self, change: Change) -> None:
        self._situation, self._healths = change.routing, change.watch_state.healths

    def _decide(self, asked: ClientRequest) -> Answer:
        return decide(asked.target, asked.host, asked.client, self._rules, self._situation)

    async def _serve(self, request: Request, answer: Serve) -> Rendered:
        fetched = await self._fetcher.serve(answer.read, answer.backends, _options(request))
        health = self._healths.get(answer.preferred)  # a reload may have taken it away
        trouble = health.state.value if health and health.state in (State.DOWN, State.LIMITED) else None
        return render.render_served(answer.read, fetched, answer.preferred, trouble, _header(request, "If-None-Match"))

    async def _forward(self, request: Request, answer: Forward) -> Rendered:
        authorization = _header(request, "Authorization") or None
        fetched = await self._fetcher.forward(answer.request, answer.backend, authorization, _options(request))
        return render.render_forwarded(answer.request, fetched, answer.backend, _header(request, "If-None-Match"))

    def _write(self, request: Request, asked: ClientRequest, answer: Answer, rendered: Rendered) -> None:
        note(request, asked.client, _decision(asked, answer, rendered))
        if rendered.relayed is not None:
            relay(request, rendered.status, rendered.head, rendered.relayed)
        else:
            respond(request, rendered.status, rendered.head, rendered.body, rendered.length)

    def _failed(self, failure: Failure, request: Request, asked: ClientRequest) -> None:
        """The client has gone away, or this program has an error: that is logged, and the client told so."""
        if failure.check(CancelledError):
            return
        self._log.failure("no answer to a request", failure)
        if not request.startedWriting:
            self._write(request, asked, ERROR, render.render(ERROR, self._rules))


def _read(request: Request) -> ClientRequest:
    host = request.requestHeaders.getRawHeaders(b"Host", [b""])[0]
    client = identify(_header(request, "User-Agent"))
    return ClientRequest(requests.parse(request.method, request.uri, host), host.decode("latin-1"), client)


def _options(request: Request) -> ReadOptions:
    lines = request.requestHeaders.getRawHeaders(b"Accept", [])
    accept = Accept.read(tuple(line.decode("latin-1") for line in lines))
    ranged = RangeHeaders(_header(request, "Range"), _header(request, "If-Range"))
    return ReadOptions(accept, request.method != b"HEAD", ranged)


def _header(request: Request, name: str) -> str:
    return (request.getHeader(name.encode("ascii")) or b"").decode("latin-1")


KINDS = {
    requests.Home: Kind.PAGE,
    requests.Ping: Kind.PING,
    requests.ManifestRead: Kind.MANIFEST,
    requests.Blob: Kind.BLOB,
    requests.Tags: Kind.TAGS,
    requests.Referrers: Kind.REFERRERS,
}

OUTCOMES = {
    Redirect: Outcome.REDIRECTED,
    Serve: Outcome.SERVED,
    Forward: Outcome.FORWARDED,
    Refusal: Outcome.REFUSED,
}


def _decision(asked: ClientRequest, answer: Answer, rendered: Rendered) -> Decision:
    outcome = Outcome.ERROR if answer is ERROR else OUTCOMES.get(type(answer), Outcome.ANSWERED_HERE)
    return Decision(KINDS.get(type(asked.target), Kind.OTHER), outcome, rendered.backend, *_subject(asked.target))


def _subject(target: requests.Request | Refusal) -> tuple[str, str]:
    """The repository that a request is about, and the reference in it."""
    match target:
        case requests.ManifestRead():
            return target.name, target.reference
        case requests.Blob() | requests.Referrers():
            return target.name, target.digest
        case requests.Tags():
            return target.name, ""
        case _:
            return "", ""
