"""The admin listener: health for load balancers and orchestrators, metrics for Prometheus, the status for people."""

from collections.abc import Callable

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.resource import Resource

from facaded.admin.exposition import CONTENT_TYPE, Exposition
from facaded.admin.metrics import Metrics
from facaded.admin.status_pages import AdminAnswer, StatusPages
from facaded.backends.watch import Watch
from facaded.net.addresses import is_address
from facaded.oci.requests import READS
from facaded.policy.decision import split_host
from facaded.policy.outages import explain_outages, find_outages
from facaded.web.responses import respond
from facaded.web.server import NOT_DONE_YET

TEXT = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}

UNKNOWN_HOST = "unknown host: use an IP address or localhost, or add the name to listen.admin_hosts"


class Admin(Resource):
    """Answers GET and HEAD of `/livez`, `/readyz`, `/statusz`, `/metrics`, and those of `pages`.

    `admin_hosts` are the names that it accepts as Host besides `localhost` and IP addresses; all others are refused,
    because a web page could otherwise read it through a DNS name that resolves to this machine (DNS rebinding). An
    address is no name that somebody else controls, and kubelet and Prometheus send that of the pod. `why_not_ready` is
    called for each request to `/readyz`; it returns None if the daemon is ready for clients, else the reason.
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        admin_hosts: tuple[str, ...],
        why_not_ready: Callable[[], str | None],
        watch: Watch,
        metrics: Metrics,
        pages: StatusPages,
    ) -> None:
        Resource.__init__(self)
        self._admin_hosts = admin_hosts
        self._why_not_ready = why_not_ready
        self._watch = watch
        self._exposition = Exposition(metrics.families)
        self._pages = pages

    def reconfigure(self, admin_hosts: tuple[str, ...]) -> None:
        """Accept these Host values from now on."""
        self._admin_hosts = admin_hosts

    def render(self, request: Request) -> int:
        finished = request.notifyFinish()
        finished.addErrback(lambda _: None)  # its client has gone, which is no error
        answered = self._refuse(request) or self._find_page(request) or succeed(self._answer_health(request))

        def write(result: AdminAnswer | Failure) -> None:
            if isinstance(result, Failure):
                self._log.failure("the status could not be shown", result)
                result = _text(500, "internal error in facaded: see its log")
            if not finished.called:
                respond(request, result.status, result.headers, result.body)

        answered.addBoth(write)
        return NOT_DONE_YET

    def _refuse(self, request: Request) -> Deferred[AdminAnswer] | None:
        host, _ = split_host(request.requestHeaders.getRawHeaders(b"Host", [b""])[0].decode("latin-1"))
        if host != "localhost" and not is_address(host) and host not in self._admin_hosts:
            return succeed(_text(421, UNKNOWN_HOST))
        if request.method.decode("latin-1") not in READS:
            refused = _text(405, "method not allowed: use GET or HEAD")
            return succeed(evolve(refused, headers={**TEXT, "Allow": ", ".join(READS)}))
        return None

    def _find_page(self, request: Request) -> Deferred[AdminAnswer] | None:
        known = request.getHeader(b"If-None-Match") or b""
        return self._pages.find(request.path.decode("latin-1"), known.decode("latin-1"))

    def _answer_health(self, request: Request) -> AdminAnswer:
        match request.path:
            case b"/livez":
                return _text(200, "alive")
            case b"/readyz":
                reason = self._why_not_ready()
                return _text(503, reason) if reason else _text(200, "ready")
            case b"/statusz":
                outages = explain_outages(find_outages(self._watch.snapshot()))
                return _text(503, outages) if outages else _text(200, "ok")
            case b"/metrics":
                return AdminAnswer(200, TEXT | {"Content-Type": CONTENT_TYPE}, self._exposition.write())
            case _:
                return _text(404, "not found: use /, /status.json, /livez, /readyz, /statusz or /metrics")


def _text(status: int, line: str) -> AdminAnswer:
    return AdminAnswer(status, TEXT, f"{line}\n".encode())
