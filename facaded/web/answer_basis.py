"""What answers are based on: requests as they are decided, the settings, and which backends are active."""

from collections.abc import Mapping

from attrs import field

from facaded.backends.manifests import Manifest
from facaded.backends.served_content import Content
from facaded.oci.clients import Client
from facaded.oci.frozen_values import frozen
from facaded.oci.referrers import is_referrers_tag
from facaded.oci.requests import Blob, ManifestRead
from facaded.policy.asked_again import Asking
from facaded.policy.decision import UNREMARKABLE, Answer, Redirect, RoutingState, Rules, Visit, decide, lead_to
from facaded.policy.health import Health, State
from facaded.policy.proofs import Need
from facaded.web.begun_answers import BegunAnswer
from facaded.web.own_token import is_own
from facaded.web.render import Rendered
from facaded.web.request_head import Origin, RequestHead, put_bounded
from facaded.web.returning_clients import asking_of

READY_ANSWERS = 500
"""Answers that are ready for the next request: as many as heads, see `simple_heads`."""

READY_SIZE = 4096
"""Bytes of the largest manifest of a ready answer, which keeps it although the cache may have evicted it."""

WAYS = 2000
"""Ways that are kept, of some 300 bytes each: there are as many only if clients make up versions."""

WITH_CONTENT = (ManifestRead, Blob)

WITH_TOKEN = Visit(has_token=True)


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
        authorization = head.authorization
        visit = WITH_TOKEN if authorization and is_own(authorization) else UNREMARKABLE
        return cls(head, origin, visit, asking_of(head, origin.address))


@frozen
class ReadyAnswer:
    """The answer to a head that comes again and again, and what was rendered of it.

    `content` is what was served, from the cache: it is ready only as long as that is still there.
    """

    answer: Answer
    rendered: Rendered
    begun: BegunAnswer
    content: Content | None = None

    @property
    def is_worth_keeping(self) -> bool:
        """Whether it depends on nothing but the basis, the head and the cache, and takes little memory.

        A large manifest is in memory even if the answer is 304.
        """
        content = self.content
        if content is None:
            return isinstance(self.answer, Redirect)
        return isinstance(content, Manifest) and content.length <= READY_SIZE


@frozen
class Way:
    """Where a kind of request is redirected to, and what must be proven before; see `Redirect`."""

    backend: str
    url: str
    need: Need | None


@frozen(eq=False)
class AnswerBasis:
    """The settings and the state of the backends that decide answers. It never changes, but is replaced.

    What depends on it alone is kept, and dropped with it: `ready` are the answers to heads that come again. `_ways` are
    the redirects of clients that nothing else is known of, by the kind of the request, the host, the client and the
    route: they differ only in the target.
    """

    rules: Rules
    routing: RoutingState
    healths: Mapping[str, Health]
    ready: dict[RequestHead, ReadyAnswer] = field(factory=dict, init=False, repr=False)
    _ways: dict[tuple[type, bytes, Client, int], Way] = field(factory=dict, init=False, repr=False)

    def decide(self, parsed: ClientRequest) -> Answer:
        """Decide how to answer a request."""
        target, fields, rules = parsed.head.parsed, parsed.head.fields, self.rules
        if parsed.visit is not UNREMARKABLE or not isinstance(target, WITH_CONTENT) or not rules.allows(target.name):
            return self._decide_fully(parsed)
        if isinstance(target, ManifestRead) and "-" in target.reference and is_referrers_tag(target.reference):
            return self._decide_fully(parsed)
        host = fields.host if rules.hosts else b""  # else it could be anything, of any length
        key = type(target), host, fields.client, rules.route_index(target.name)
        if (way := self._ways.get(key)) is not None:
            return lead_to(target, way.url, way.backend, way.need)
        answer = self._decide_fully(parsed)
        if isinstance(answer, Redirect) and not rules.backends[answer.backend].renames:
            way = Way(answer.backend, rules.backends[answer.backend].url, answer.need)
            put_bounded(self._ways, key, way, WAYS)
        return answer

    def _decide_fully(self, parsed: ClientRequest) -> Answer:
        fields = parsed.head.fields
        host = fields.host.decode("latin-1")
        return decide(parsed.head.parsed, host, fields.client, self.rules, self.routing, parsed.visit)

    def bad_state(self, name: str) -> str | None:
        """Return the state of a backend if it is down or limited, else None."""
        health = self.healths.get(name)  # None if a reload has removed the backend meanwhile
        return health.state.value if health and health.state in (State.DOWN, State.LIMITED) else None

    def find_ready(self, parsed: ClientRequest) -> ReadyAnswer | None:
        """Return the answer that is ready for a request, None if there is none."""
        return self.ready.get(parsed.head) if parsed.visit is UNREMARKABLE else None

    def make_ready(self, parsed: ClientRequest, answer: ReadyAnswer) -> None:
        """Keep an answer for the next request with the same head, if that is worth it."""
        if parsed.visit is UNREMARKABLE and answer.is_worth_keeping:
            put_bounded(self.ready, parsed.head, answer, READY_ANSWERS)
