"""The admin listener: health of the daemon for load balancers and orchestrators, and its metrics for Prometheus."""

from collections.abc import Callable

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.admin.exposition import CONTENT_TYPE, Exposition
from facaded.admin.metrics import Metrics
from facaded.backends.watch import Watch
from facaded.net.addresses import is_address
from facaded.oci.requests import READS
from facaded.policy.decision import split_host
from facaded.policy.outages import explain_outages, find_outages
from facaded.web.responses import respond

TEXT = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}

UNKNOWN_HOST = "unknown host: use an IP address or localhost, or add the name to listen.admin_hosts"


class Admin(Resource):
    """Answers GET and HEAD of `/livez`, `/readyz`, `/statusz` and `/metrics`.

    `admin_hosts` are the names that it accepts as Host besides `localhost` and IP addresses; all others are refused,
    because a web page could otherwise read it through a DNS name that resolves to this machine (DNS rebinding). An
    address is no name that somebody else controls, and kubelet and Prometheus send that of the pod. `why_not_ready` is
    called for each request to `/readyz`; it returns None if the daemon is ready for clients, else the reason.
    """

    isLeaf = True

    def __init__(
        self,
        admin_hosts: tuple[str, ...],
        why_not_ready: Callable[[], str | None],
        watch: Watch,
        metrics: Metrics,
    ) -> None:
        Resource.__init__(self)
        self._admin_hosts = admin_hosts
        self._why_not_ready = why_not_ready
        self._watch = watch
        self._exposition = Exposition(metrics.families)

    def reconfigure(self, admin_hosts: tuple[str, ...]) -> None:
        """Accept these Host values from now on."""
        self._admin_hosts = admin_hosts

    def render(self, request: Request) -> int:
        status, headers, body = self._answer(request)
        respond(request, status, TEXT | headers, body)
        return NOT_DONE_YET

    def _answer(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        host, _ = split_host(request.requestHeaders.getRawHeaders(b"Host", [b""])[0].decode("latin-1"))
        if host != "localhost" and not is_address(host) and host not in self._admin_hosts:
            return 421, {}, _line(UNKNOWN_HOST)
        if request.method.decode("latin-1") not in READS:
            return 405, {"Allow": ", ".join(READS)}, _line("method not allowed: use GET or HEAD")
        match request.path:
            case b"/livez":
                return 200, {}, _line("alive")
            case b"/readyz":
                reason = self._why_not_ready()
                return (503, {}, _line(reason)) if reason else (200, {}, _line("ready"))
            case b"/statusz":
                outages = explain_outages(find_outages(self._watch.snapshot()))
                return (503, {}, _line(outages)) if outages else (200, {}, _line("ok"))
            case b"/metrics":
                return 200, {"Content-Type": CONTENT_TYPE}, self._exposition.write()
            case _:
                return 404, {}, _line("not found: use /livez, /readyz, /statusz or /metrics")


def _line(text: str) -> bytes:
    return f"{text}\n".encode()
