"""How far an order has come, taken down before it goes on."""

from collections.abc import Callable

from facaded.tls.acme.schedule import Stage


class OrderStages:
    """The stage of an order under way: `now` is what a failure would cost.

    `reached` is called with the stage that is about to begin, before anything is asked that counts against a limit of
    the CA. It may raise StoreError, and then nothing is asked.
    """

    def __init__(self, reached: Callable[[Stage], None]) -> None:
        self.now = Stage.REACHING
        self._reached = reached

    def enter(self, stage: Stage) -> None:
        """Begin a stage that costs something at the CA. Raises StoreError."""
        self._reached(stage)
        self.now = stage
