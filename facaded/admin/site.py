"""The admin listener: is the daemon alive, and is it ready? For load balancers and orchestrators."""

from collections.abc import Callable

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from facaded.net.addresses import is_loopback
from facaded.oci.requests import READS
from facaded.policy.decision import split_host
from facaded.web.server import respond

TEXT = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}


class Admin(Resource):
    """`/livez` and `/readyz`, for GET and HEAD.

    `admin_hosts` are the Host values that are answered besides loopback ones: a web page elsewhere must not read
    this by a name that leads here (DNS rebinding). `why_not_ready` is called at each request to `/readyz`, and returns
    None if the daemon answers its clients, else a sentence that says why not.
    """

    isLeaf = True

    def __init__(self, admin_hosts: tuple[str, ...], why_not_ready: Callable[[], str | None]) -> None:
        Resource.__init__(self)
        self._admin_hosts = admin_hosts
        self._why_not_ready = why_not_ready

    def reconfigure(self, admin_hosts: tuple[str, ...]) -> None:
        """Answer for these Host values from now on."""
        self._admin_hosts = admin_hosts

    def render(self, request: Request) -> int:
        status, headers, text = self._answer(request)
        respond(request, status, TEXT | headers, f"{text}\n".encode())
        return NOT_DONE_YET

    def _answer(self, request: Request) -> tuple[int, dict[str, str], str]:
        host, _ = split_host(request.requestHeaders.getRawHeaders(b"Host", [b""])[0].decode("latin-1"))
        if not is_loopback(host) and host not in self._admin_hosts:
            return 421, {}, "this listener answers for loopback addresses and listen.admin_hosts only"
        if request.method.decode("latin-1") not in READS:
            return 405, {"Allow": ", ".join(READS)}, "GET and HEAD only"
        match request.path:
            case b"/livez":
                return 200, {}, "alive"
            case b"/readyz":
                waiting = self._why_not_ready()
                return (503, {}, waiting) if waiting else (200, {}, "ready")
            case _:
                return 404, {}, "here are /livez and /readyz"
