"""The admin listener: health checks of the daemon itself, for load balancers and orchestrators."""

from collections.abc import Callable

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.net.addresses import is_loopback
from facaded.oci.requests import READS
from facaded.policy.decision import split_host
from facaded.web.responses import respond

TEXT = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}


class Admin(Resource):
    """Answers GET and HEAD of `/livez` and `/readyz`.

    `admin_hosts` are the Host values that it accepts besides loopback addresses; all others are refused, because a web
    page could otherwise read it through a DNS name that resolves to this machine (DNS rebinding). `why_not_ready` is
    called for each request to `/readyz`; it returns None if the daemon is ready for clients, else the reason.
    """

    isLeaf = True

    def __init__(self, admin_hosts: tuple[str, ...], why_not_ready: Callable[[], str | None]) -> None:
        Resource.__init__(self)
        self._admin_hosts = admin_hosts
        self._why_not_ready = why_not_ready

    def reconfigure(self, admin_hosts: tuple[str, ...]) -> None:
        """Accept these Host values from now on."""
        self._admin_hosts = admin_hosts

    def render(self, request: Request) -> int:
        status, headers, text = self._answer(request)
        respond(request, status, TEXT | headers, f"{text}\n".encode())
        return NOT_DONE_YET

    def _answer(self, request: Request) -> tuple[int, dict[str, str], str]:
        host, _ = split_host(request.requestHeaders.getRawHeaders(b"Host", [b""])[0].decode("latin-1"))
        if not is_loopback(host) and host not in self._admin_hosts:
            return 421, {}, "unknown host: use a loopback address, or add the name to listen.admin_hosts"
        if request.method.decode("latin-1") not in READS:
            return 405, {"Allow": ", ".join(READS)}, "method not allowed: use GET or HEAD"
        match request.path:
            case b"/livez":
                return 200, {}, "alive"
            case b"/readyz":
                reason = self._why_not_ready()
                return (503, {}, reason) if reason else (200, {}, "ready")
            case _:
                return 404, {}, "not found: use /livez or /readyz"
