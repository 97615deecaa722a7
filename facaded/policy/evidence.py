"""Evidence: what requests on behalf of clients found at a backend, as evidence of its health."""

from attrs import frozen

from facaded.policy.health import Step


@frozen
class Attempt:
    """One request to a backend for a client.

    `step` is the step of a pull that it took, and `good` whether that worked. An attempt that says nothing of the
    backend's health as a whole, such as a list, is no `sample`. `repository` and `source`, the client's address, keep
    one image or one client from counting many times. `retry_after` is the Retry-After of a 429, in seconds.
    """

    backend: str
    step: Step
    good: bool
    repository: str = ""
    source: str = ""
    reason: str = ""
    retry_after: float = 0.0
    sample: bool = True
