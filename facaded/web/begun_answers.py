"""An answer that has begun: known already, or known when the backends that it needs have answered."""

from typing import Protocol, runtime_checkable

from attrs import define, field
from twisted.internet.defer import Deferred

from facaded.oci.clients import Client
from facaded.web.answer_bytes import WholeAnswer
from facaded.web.answered_requests import UNDECIDED, Decision
from facaded.web.render import Rendered
from facaded.web.request_head import Origin, RequestHead


@define(eq=False)
class BegunAnswer:
    """The answer to a request of `client`. `rendered` is None until the `work` has ended that finds it.

    `whole` is the same in bytes, once it has been written directly: it may be written again.
    """

    client: Client
    rendered: Rendered | None = None
    decision: Decision = UNDECIDED
    work: Deferred[None] | None = field(default=None, repr=False)
    whole: WholeAnswer | None = field(default=None, repr=False)


@runtime_checkable
class AnswersHeads(Protocol):
    """A resource that answers by a request's head alone."""

    def begin(self, head: RequestHead, origin: Origin) -> BegunAnswer | None:
        """Begin an answer; return None if the request has to be rendered. It is answered, or its work cancelled."""
