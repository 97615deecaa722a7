"""The registry as clients see it: parses a request, decides on the answer, fetches what it needs, and renders it."""

from functools import partial
from typing import TypeAlias

from attrs import evolve, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.backends.demand_checks import Proven
from facaded.backends.fetcher import Fetcher
from facaded.backends.manifests import Accept
from facaded.backends.registry import RangeHeaders
from facaded.backends.served_content import ReadOptions
from facaded.backends.watch import Watch
from facaded.oci import requests
from facaded.oci.errors import Code, Refusal
from facaded.policy.asked_again import Asking
from facaded.policy.changes import Change
from facaded.policy.decision import (
    UNREMARKABLE,
    Answer,
    Forward,
    Mode,
    OwnChallenge,
    OwnToken,
    Page,
    Pong,
    Redirect,
    RoutingState,
    Rules,
    Serve,
    Visit,
    decide,
)
from facaded.policy.health import State
from facaded.web import render
from facaded.web.answered_requests import Decision, Kind, Outcome
from facaded.web.begun_answers import BegunAnswer
from facaded.web.own_token import is_own, own_challenge
from facaded.web.relay import relay
from facaded.web.render import Rendered
from facaded.web.request_head import Origin, RequestHead
from facaded.web.responses import respond
from facaded.web.returning_clients import ReturningClients, asking_of
from facaded.web.server import head_of, origin_of, record_decision, take_begun

HereAnswered: TypeAlias = Redirect | Pong | OwnChallenge | OwnToken | Page | Refusal
"""An answer that needs nothing from a backend."""

WITH_TOKEN = Visit(has_token=True)

KEPT = 500
"""Answers that are kept: as many as heads, see `simple_heads`."""

ERROR = Refusal(500, Code.UNSUPPORTED, "internal error in facaded: see its log")


@frozen
class ClientRequest:
    """A request: its head, where it comes from, and what else is known of it and its client.

    `asking` is the request as clients that come back are recognised by; None if it needs no backend.
    """

    head: RequestHead
    origin: Origin
    visit: Visit
    asking: Asking | None

    @classmethod
    def read(cls, head: RequestHead, origin: Origin) -> "ClientRequest":
        """Look for the facade's own token."""
        authorization = head.fields.authorization
        visit = WITH_TOKEN if authorization and is_own(authorization) else UNREMARKABLE
        return cls(head, origin, visit, asking_of(head, origin.address))


@frozen
class KeptAnswer:
    """The answer to a head that comes again and again, and what was rendered of it."""

    answer: Answer
    rendered: Rendered
    begun: BegunAnswer


@frozen(eq=False)
class Standing:
    """What decides answers: the settings, and which backends are active. It never changes, but is replaced.

    `kept` are answers that depend on it and on a head alone, and so are dropped with it.
    """

    rules: Rules
    routing: RoutingState
    kept: dict[RequestHead, KeptAnswer] = field(factory=dict, init=False, repr=False)

    def keep(self, parsed: ClientRequest, answer: KeptAnswer) -> None:
        """Keep an answer if it depends on nothing else, and if its head may come again."""
        if parsed.head.is_kept and parsed.visit is UNREMARKABLE and isinstance(answer.answer, Redirect):
            if len(self.kept) >= KEPT:
                self.kept.clear()
            self.kept[parsed.head] = answer


class Facade(Resource):
    """Answers requests to the registry.

    `rules` decide how, `fetcher` fetches from the backends, and `watch` pushes which backends are active. `returning`
    recognises clients that come back after a redirect; nothing does without it.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, watch: Watch, rules: Rules, fetcher: Fetcher, returning: ReturningClients | None = None) -> None:
        Resource.__init__(self)
        self._returning = returning
        self._watch = watch
        snapshot = watch.snapshot()
        self._healths = snapshot.watch_state.healths
        self._standing = Standing(rules, snapshot.routing)
        self.reconfigure(rules, fetcher)
        watch.subscribe(self._follow)
        self._settled = False
        watch.when_settled().addCallback(self._settle)

    def reconfigure(self, rules: Rules, fetcher: Fetcher) -> None:
        """Apply new settings. Requests in progress finish under the old ones."""
        self._standing = Standing(rules, self._standing.routing)
        self._fetcher = fetcher
        if self._returning is not None:
            self._returning.report_doubts(fetcher.doubt_blob)

    def render(self, request: Request) -> int:
        begun = take_begun(request) or self.begin(head_of(request), origin_of(request))
        if begun.work is None:
            self._write(request, begun)
        else:
            work = begun.work
            request.notifyFinish().addErrback(lambda _: work.cancel())
            work.addCallback(lambda _: self._write(request, begun))
            work.addErrback(lambda failure: self._log.failure("internal error while writing an answer", failure))
        return NOT_DONE_YET

    def begin(self, head: RequestHead, origin: Origin) -> BegunAnswer:
        """Begin to answer a request: its answer is there, unless it depends on a check or needs a backend's response.

        Cancel its work if the client disconnects before.
        """
        parsed = ClientRequest.read(head, origin)
        try:
            parsed = self._recognise(parsed)
            kept = self._standing.kept.get(head) if parsed.visit is UNREMARKABLE else None
            decided = self._decide(parsed) if kept is None else kept.answer
            answer = self._prove(parsed, decided) if self._settled or not isinstance(decided, Redirect) else None
            if kept is not None and answer is decided:
                self._note(parsed, answer, kept.rendered)
                return kept.begun
            begun = BegunAnswer(head.fields.client)
            if answer is not None and not isinstance(answer, Serve | Forward):
                rendered = self._render_here(parsed, answer)
                self._end(begun, parsed, answer, rendered)
                self._standing.keep(parsed, KeptAnswer(answer, rendered, begun))
                return begun
            return self._begin_work(begun, parsed, answer)
        except Exception:
            return self._report_error(Failure(), BegunAnswer(head.fields.client), parsed)

    def _begin_work(self, begun: BegunAnswer, parsed: ClientRequest, answer: Answer | None) -> BegunAnswer:
        """Begin what may need a backend; often a cache has it, and nothing is left to do."""
        work = Deferred.fromCoroutine(self._answer(begun, parsed, answer))
        work.addErrback(self._report_error, begun, parsed)
        begun.work = None if begun.rendered is not None else work.addCallback(lambda _: None)
        return begun

    async def _answer(self, begun: BegunAnswer, parsed: ClientRequest, answer: Answer | None) -> None:
        """Answer a request that needs a backend. After a start, wait for the first health checks to decide which.

        Without an `answer`, wait for what decides it.
        """
        if not self._settled:
            await self._watch.when_settled()
            answer = None
        if answer is None:
            answer = await self._decide_patiently(parsed)
        match answer:
            case Serve():
                rendered = await self._serve(parsed, answer)
            case Forward():
                rendered = await self._forward(parsed, answer)
            case _:
                rendered = self._render_here(parsed, answer)
        self._end(begun, parsed, answer, rendered)

    async def _decide_patiently(self, parsed: ClientRequest) -> Answer:
        """Return the answer after the check in progress, if a redirect depends on it. Wait once, 1 s at most."""
        parsed = self._find_elsewhere(parsed)
        decided = self._decide(parsed)
        if self._prove(parsed, decided) is None:
            assert isinstance(decided, Redirect)
            assert decided.need is not None
            await self._watch.checks.when_decided(decided.backend, decided.need)
            decided = self._decide(parsed)
        return self._prove(parsed, decided) or self._decide(_as_unproven(parsed))

    def _prove(self, parsed: ClientRequest, answer: Answer) -> Answer | None:
        """Return the answer, or another one if it is a redirect to a backend that has not proven that it works.

        Returns None if a check will soon tell whether it has.
        """
        if not isinstance(answer, Redirect) or answer.need is None:
            return answer
        proven = self._watch.checks.judge(answer.backend, answer.need)
        if proven is Proven.UNDECIDED:
            return None
        return answer if proven is Proven.YES else self._decide(_as_unproven(parsed))

    def _settle(self, _: None) -> None:
        """Answer redirects at once, because the first health checks are over."""
        self._settled = True

    def _follow(self, change: Change) -> None:
        self._standing = Standing(self._standing.rules, change.routing)
        self._healths = change.watch_state.healths

    def _recognise(self, parsed: ClientRequest) -> ClientRequest:
        """Add what the request shows of earlier ones of its client, and what is known of its target."""
        if self._returning is None or parsed.asking is None:
            return self._find_elsewhere(parsed)
        visit = self._returning.recognise(parsed.asking, self._standing.rules.mode is Mode.AUTO, parsed.visit)
        return self._find_elsewhere(parsed if visit is parsed.visit else evolve(parsed, visit=visit))

    def _find_elsewhere(self, parsed: ClientRequest) -> ClientRequest:
        target, visit = parsed.head.parsed, parsed.visit
        if isinstance(target, requests.ManifestRead | requests.Blob) and self._fetcher.must_serve(target):
            return evolve(parsed, visit=evolve(visit, elsewhere=True))
        return parsed

    def _decide(self, parsed: ClientRequest) -> Answer:
        fields, standing = parsed.head.fields, self._standing
        host = fields.host.decode("latin-1")
        return decide(parsed.head.parsed, host, fields.client, standing.rules, standing.routing, parsed.visit)

    async def _serve(self, parsed: ClientRequest, answer: Serve) -> Rendered:
        fetched = await self._fetcher.serve(answer, _options(parsed))
        health = self._healths.get(answer.preferred)  # None if a reload has removed the backend meanwhile
        bad_state = health.state.value if health and health.state in (State.DOWN, State.LIMITED) else None
        return render.render_served(answer.read, fetched, answer.preferred, bad_state, parsed.head.fields.if_none_match)

    async def _forward(self, parsed: ClientRequest, answer: Forward) -> Rendered:
        authorization = parsed.head.fields.authorization or None
        fetched = await self._fetcher.forward(answer.request, answer.backend, authorization, _options(parsed))
        return render.render_forwarded(answer.request, fetched, answer.backend, parsed.head.fields.if_none_match)

    def _end(self, begun: BegunAnswer, parsed: ClientRequest, answer: Answer, rendered: Rendered) -> None:
        """Give an answer to what has begun, and note it."""
        begun.rendered, begun.decision = rendered, _decision(parsed, answer, rendered)
        self._note(parsed, answer, rendered)

    def _note(self, parsed: ClientRequest, answer: Answer, rendered: Rendered) -> None:
        """Note an answer for the next requests of its client."""
        if self._returning is not None and parsed.asking is not None:
            self._returning.note(parsed.asking, answer, rendered)

    def _write(self, request: Request, begun: BegunAnswer) -> None:
        """Write an answer; there is none if the client has disconnected."""
        rendered = begun.rendered
        if rendered is None:
            return
        record_decision(request, begun.client, begun.decision)
        if rendered.streamed is not None:
            relay(request, rendered.status, rendered.all_headers, rendered.streamed)
        else:
            respond(request, rendered.status, rendered.all_headers, rendered.body, rendered.length)

    def _render_here(self, parsed: ClientRequest, answer: HereAnswered) -> Rendered:
        return render.render(answer, self._standing.rules, partial(_challenge, parsed))

    def _report_error(self, failure: Failure, begun: BegunAnswer, parsed: ClientRequest) -> BegunAnswer:
        """Log an error of this program, and answer 500. Do nothing if the client has disconnected."""
        if failure.check(CancelledError):
            return begun
        self._log.failure("internal error while answering a request", failure)
        rendered = self._render_here(parsed, ERROR)
        begun.rendered, begun.decision = rendered, _decision(parsed, ERROR, rendered)
        return begun


def _as_unproven(parsed: ClientRequest) -> ClientRequest:
    return evolve(parsed, visit=evolve(parsed.visit, unproven=True))


def _challenge(parsed: ClientRequest) -> str:
    fields = parsed.head.fields
    host, forwarded = fields.host.decode("latin-1"), next(reversed(fields.forwarded), "")
    return own_challenge(host, parsed.origin.is_secure, fields.x_forwarded_proto, forwarded)


def _options(parsed: ClientRequest) -> ReadOptions:
    fields = parsed.head.fields
    ranged = RangeHeaders.read(fields.range, fields.if_range)
    return ReadOptions(Accept.read(fields.accept), parsed.head.method != b"HEAD", ranged, parsed.origin.address)


KINDS = {
    requests.Home: Kind.PAGE,
    requests.Ping: Kind.PING,
    requests.TokenRequest: Kind.TOKEN,
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


def _decision(parsed: ClientRequest, answer: Answer, rendered: Rendered) -> Decision:
    outcome = Outcome.ERROR if answer is ERROR else OUTCOMES.get(type(answer), Outcome.ANSWERED_HERE)
    kind = KINDS.get(type(parsed.head.parsed), Kind.OTHER)
    again = parsed.visit.asked_again and isinstance(answer, Serve | OwnChallenge)
    return Decision(kind, outcome, rendered.backend, *_subject(parsed.head.parsed), again)


def _subject(target: requests.Request | Refusal) -> tuple[str, str]:
    """Return the repository and the tag or digest that a request names; empty where it names none."""
    match target:
        case requests.ManifestRead():
            return target.name, target.reference
        case requests.Blob() | requests.Referrers():
            return target.name, target.digest
        case requests.Tags():
            return target.name, ""
        case _:
            return "", ""
