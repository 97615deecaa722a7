"""The registry as clients see it: parses a request, decides on the answer, fetches what it needs, and renders it."""

from functools import partial
from typing import TypeAlias

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource

from facaded.backends.backend_watch import BackendWatch, Viewed
from facaded.backends.demand_checks import Proven
from facaded.backends.fetcher import Fetcher
from facaded.backends.registry import NO_RANGE, RangeHeaders
from facaded.backends.served_content import NotServed, ReadOptions, Served
from facaded.oci import requests
from facaded.oci.errors import Code, Refusal, reason_of
from facaded.policy.decision import (
    Answer,
    Forward,
    Mode,
    OwnChallenge,
    OwnToken,
    Page,
    Pong,
    Redirect,
    Rules,
    Serve,
)
from facaded.web import render
from facaded.web.answer_basis import AnswerBasis, ClientRequest, ReadyAnswer
from facaded.web.answered_requests import Decision, Kind, Outcome
from facaded.web.begun_answers import BegunAnswer
from facaded.web.own_token import own_challenge
from facaded.web.relay import relay
from facaded.web.render import Rendered
from facaded.web.request_head import Origin, RequestHead
from facaded.web.responses import respond
from facaded.web.returning_clients import ReturningClients
from facaded.web.server import NOT_DONE_YET, head_of, origin_of, record_decision, take_begun

HereAnswered: TypeAlias = Redirect | Pong | OwnChallenge | OwnToken | Page | requests.PageFile | Refusal
"""An answer that needs nothing from a backend."""

LISTED = (requests.ManifestRead, requests.Blob)
"""What a list of referrers leads to."""

FIRST_ERROR = 400
"""The first status of an error: RFC 9110 §15.5."""

ERROR = Refusal(500, Code.UNSUPPORTED, "internal error in facaded: see its log")


class Facade(Resource):
    """Answers requests to the registry.

    `rules` decide how, `fetcher` is what fetches from the backends now, and `watch` pushes which of them are active.
    `returning` recognises clients that come back after a redirect; nothing does without it.
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self, watch: BackendWatch, rules: Rules, fetcher: Fetcher, returning: ReturningClients | None = None
    ) -> None:
        Resource.__init__(self)
        self._returning = returning
        self._watch = watch
        view = watch.snapshot().view
        self._basis = AnswerBasis(rules, view.routing, view.healths)
        self.reconfigure(rules, fetcher)
        watch.subscribe(self._follow)
        self._settled = False
        watch.when_settled().addCallback(self._settle)

    def reconfigure(self, rules: Rules, fetcher: Fetcher) -> None:
        """Apply new settings. Requests in progress finish under the old ones."""
        self._basis = AnswerBasis(rules, self._basis.routing, self._basis.healths)
        self.fetcher = fetcher
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
        parsed, begun = ClientRequest.read(head, origin), BegunAnswer(head.fields.client)
        try:
            parsed = self._recognise(parsed)
            basis = self._basis  # a check that begins below may replace it
            ready = basis.find_ready(parsed) if head.is_kept else None
            decided = basis.decide(parsed) if ready is None else ready.answer
            answer = self._prove(parsed, decided) if self._settled or not isinstance(decided, Redirect) else None
            cached = None
            if self._settled and isinstance(answer, Serve):
                cached = self.fetcher.find_cached(answer, _options(parsed))
            content = cached.content if cached is not None else None
            if ready is not None and answer is decided and content is ready.content:
                _note(self._returning, parsed, answer, ready.rendered)
                return ready.begun
            rendered = _render_at_once(parsed, answer, cached, basis)
            if rendered is not None and answer is not None:
                self._end(begun, parsed, answer, rendered)
                if parsed.head.is_kept and answer is decided:
                    basis.make_ready(parsed, ReadyAnswer(answer, rendered, begun, content))
                return begun
            work = Deferred.fromCoroutine(self._answer(begun, parsed, answer))
            work.addErrback(lambda failure: self._report_error(failure, begun, parsed))
        except Exception:
            self._report_error(Failure(), begun, parsed)
            return begun
        begun.work = work if begun.rendered is None else None
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
                fetched = await self.fetcher.serve(answer, _options(parsed))
                rendered = _render_served(parsed, answer, fetched, self._basis)
            case Forward():
                rendered = await self._forward(parsed, answer)
            case _:
                rendered = _render_here(parsed, answer, self._basis.rules)
        self._end(begun, parsed, answer, rendered)

    async def _decide_patiently(self, parsed: ClientRequest) -> Answer:
        """Return the answer after the check in progress, if a redirect depends on it. Wait once, 1 s at most."""
        decided = self._basis.decide(parsed)
        if self._prove(parsed, decided) is None:
            assert isinstance(decided, Redirect)
            assert decided.need is not None
            await self._watch.checks.when_decided(decided.backend, decided.need)
            decided = self._basis.decide(parsed)
        return self._prove(parsed, decided) or self._basis.decide(_as_unproven(parsed))

    def _prove(self, parsed: ClientRequest, answer: Answer) -> Answer | None:
        """Return the answer, or another one if it is a redirect to a backend that has not proven that it works.

        Returns None if a check will soon tell whether it has.
        """
        if not isinstance(answer, Redirect) or answer.need is None:
            return answer
        proven = self._watch.checks.judge(answer.backend, answer.need)
        if proven is Proven.UNDECIDED:
            return None
        return answer if proven is Proven.YES else self._basis.decide(_as_unproven(parsed))

    def _settle(self, _: None) -> None:
        """Answer redirects at once, because the first health checks are over."""
        self._settled = True

    def _follow(self, change: Viewed) -> None:
        self._basis = AnswerBasis(self._basis.rules, change.view.routing, change.view.healths)

    def _recognise(self, parsed: ClientRequest) -> ClientRequest:
        """Add what the request shows of earlier ones of its client, and what is known of its target."""
        target, visit = parsed.head.parsed, parsed.visit
        if self._returning is not None and parsed.asking is not None:
            visit = self._returning.recognise(parsed.asking, self._basis.rules.mode is Mode.AUTO, visit)
        if isinstance(target, LISTED) and self.fetcher.must_serve(target):
            visit = evolve(visit, elsewhere=True)
        return parsed if visit is parsed.visit else evolve(parsed, visit=visit)

    async def _forward(self, parsed: ClientRequest, answer: Forward) -> Rendered:
        authorization = parsed.head.authorization or None
        fetched = await self.fetcher.forward(answer.request, answer.backend, authorization, _options(parsed))
        return render.render_forwarded(answer.request, fetched, answer.backend, parsed.head.fields.if_none_match)

    def _end(self, begun: BegunAnswer, parsed: ClientRequest, answer: Answer, rendered: Rendered) -> None:
        """Give an answer to what has begun, and note it."""
        begun.rendered, begun.decision = rendered, _decision(parsed, answer, rendered)
        _note(self._returning, parsed, answer, rendered)

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

    def _report_error(self, failure: Failure, begun: BegunAnswer, parsed: ClientRequest) -> None:
        """Log an error of this program, and answer 500. Do nothing if the client has disconnected."""
        if failure.check(CancelledError):
            return
        self._log.failure("internal error while answering a request", failure)
        rendered = _render_here(parsed, ERROR, self._basis.rules)
        begun.rendered, begun.decision = rendered, _decision(parsed, ERROR, rendered)


def _note(returning: ReturningClients | None, parsed: ClientRequest, answer: Answer, rendered: Rendered) -> None:
    """Note an answer for the next requests of its client."""
    if returning is not None and parsed.asking is not None:
        returning.note(parsed.asking, answer, rendered)


def _render_at_once(
    parsed: ClientRequest, answer: Answer | None, cached: Served | None, basis: AnswerBasis
) -> Rendered | None:
    """Return an answer that needs no backend, because the cache has what is served; None if it has to wait."""
    match answer:
        case Redirect():
            return render.render_redirect(answer)
        case None | Forward():
            return None
        case Serve():
            return None if cached is None else _render_served(parsed, answer, cached, basis)
        case _:
            return _render_here(parsed, answer, basis.rules)


def _render_served(parsed: ClientRequest, answer: Serve, fetched: Served | NotServed, basis: AnswerBasis) -> Rendered:
    bad_state, if_none_match = basis.bad_state(answer.preferred), parsed.head.fields.if_none_match
    return render.render_served(answer.read, fetched, answer.preferred, bad_state, if_none_match)


def _render_here(parsed: ClientRequest, answer: HereAnswered, rules: Rules) -> Rendered:
    if isinstance(answer, requests.PageFile):
        return render.render_page_file(answer, parsed.head.fields.if_none_match)
    return render.render(answer, rules, partial(_challenge, parsed))


def _as_unproven(parsed: ClientRequest) -> ClientRequest:
    return evolve(parsed, visit=evolve(parsed.visit, unproven=True))


def _challenge(parsed: ClientRequest) -> str:
    fields = parsed.head.fields
    host, forwarded = fields.host.decode("latin-1"), next(reversed(fields.forwarded), "")
    return own_challenge(host, parsed.origin.is_secure, fields.x_forwarded_proto, forwarded)


def _options(parsed: ClientRequest) -> ReadOptions:
    fields = parsed.head.fields
    ranged = RangeHeaders.read(fields.range, fields.if_range) if fields.range else NO_RANGE
    return ReadOptions(fields.accepted, parsed.head.method != b"HEAD", ranged, parsed.origin.address)


KINDS = {
    requests.Home: Kind.PAGE,
    requests.PageFile: Kind.PAGE,
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
    reason = reason_of(rendered.body) if rendered.status >= FIRST_ERROR else ""
    return Decision(kind, outcome, rendered.backend, *_subject(parsed.head.parsed), again, reason)


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
