"""The stages of an order in progress, each saved before it starts."""

from collections.abc import Callable

from facaded.tls.acme.schedule import OrderStage


class StageTracker:
    """Tracks the stage of an order in progress: `current` decides what a failure costs.

    `reached` is called with a stage that is about to start, before any request that counts against a limit of the CA.
    It may raise StoreError; then the request is not sent.
    """

    def __init__(self, reached: Callable[[OrderStage], None]) -> None:
        self.current = OrderStage.CONNECTING
        self._reached = reached

    def enter(self, stage: OrderStage) -> None:
        """Start a stage that counts against a limit of the CA. Raises StoreError."""
        self._reached(stage)
        self.current = stage
