"""The registry as clients see it: a request's bytes are parsed, an answer is decided, and rendered here."""

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.backends.watch import Watch
from facaded.oci import errors, requests
from facaded.oci.errors import Code, Refusal
from facaded.policy.answers import Answer, Page, Pong, Redirect, Rules, decide
from facaded.web import page
from facaded.web.site import respond

ALWAYS = {"Cache-Control": "no-store", "Vary": "User-Agent, Accept, Authorization"}
"""On every answer: nothing may be remembered, for the next answer may be another."""

JSON = {"Content-Type": "application/json"}


class Facade(Resource):
    """Answers for the registry. `rules` gives the rules in force, `watch` knows who is in charge."""

    isLeaf = True
    _log = Logger()

    def __init__(self, rules: Callable[[], Rules], watch: Watch) -> None:
        Resource.__init__(self)
        self._rules = rules
        self._watch = watch

    def render(self, request: Request) -> int:
        work = Deferred.fromCoroutine(self._answer(request))
        request.notifyFinish().addErrback(lambda _: work.cancel())
        work.addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        host = request.requestHeaders.getRawHeaders(b"Host", [b""])[0]
        asked = requests.parse(request.method, request.uri, host)
        answer = self._decide(asked, host)
        if isinstance(answer, Redirect) and not self._watch.settled:
            await self._watch.when_settled()
            answer = self._decide(asked, host)
        self._write(request, answer)

    def _decide(self, asked: requests.Request | Refusal, host: bytes) -> Answer:
        return decide(asked, host.decode("latin-1"), self._rules(), self._watch.standing.charge.backend)

    def _write(self, request: Request, answer: Answer) -> None:
        status, headers, body = self._rendered(answer)
        if not isinstance(answer, Page):
            headers = {"Docker-Distribution-Api-Version": "registry/2.0", **headers}
        respond(request, status, {**ALWAYS, **headers}, body)

    def _rendered(self, answer: Answer) -> tuple[int, dict[str, str], bytes]:
        match answer:
            case Redirect():
                return 307, {"Location": answer.location, "X-Facaded-Backend": answer.backend}, b""
            case Pong():
                return 200, JSON, b"{}"
            case Page():
                return 200, page.HEADERS, page.render(answer.host, self._rules())
            case Refusal():
                allow = {"Allow": ", ".join(answer.allow)} if answer.allow else {}
                return answer.status, JSON | allow, errors.document(answer.code, answer.message)

    def _failed(self, failure: Failure, request: Request) -> None:
        """The client has gone away, or this program has an error: that is logged, and the client told so."""
        if failure.check(CancelledError):
            return
        self._log.failure("no answer to a request", failure)
        if not request.startedWriting:
            self._write(request, Refusal(500, Code.UNSUPPORTED, "an error in facaded: its log says more"))
