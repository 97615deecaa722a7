"""What answers are based on: requests as they are decided, the settings, and which backends are active."""

from collections.abc import Mapping

from attrs import field, frozen

from facaded.backends.manifests import Manifest
from facaded.backends.served_content import Content
from facaded.policy.asked_again import Asking
from facaded.policy.decision import UNREMARKABLE, Answer, Redirect, RoutingState, Rules, Visit, decide
from facaded.policy.health import Health, State
from facaded.web.begun_answers import BegunAnswer
from facaded.web.own_token import is_own
from facaded.web.render import Rendered
from facaded.web.request_head import Origin, RequestHead
from facaded.web.returning_clients import asking_of

READY_ANSWERS = 500
"""Answers that are ready for the next request: as many as heads, see `simple_heads`."""

READY_SIZE = 4096
"""Bytes of the largest manifest of a ready answer, which keeps it although the cache may have evicted it."""

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
        authorization = head.fields.authorization
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


@frozen(eq=False)
class AnswerBasis:
    """The settings and the state of the backends that decide answers. It never changes, but is replaced.

    `ready` are answers that depend on it and on a head alone, and so are dropped with it.
    """

    rules: Rules
    routing: RoutingState
    healths: Mapping[str, Health]
    ready: dict[RequestHead, ReadyAnswer] = field(factory=dict, init=False, repr=False)

    def decide(self, parsed: ClientRequest) -> Answer:
        """Decide how to answer a request."""
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
            if len(self.ready) >= READY_ANSWERS:
                self.ready.clear()
            self.ready[parsed.head] = answer
