"""The journal of one order: writes how far it has come before each step, so that a later process can finish it."""

from attrs import evolve

from facaded.tls.acme.order_files import OrderFiles
from facaded.tls.acme.stored_order import OrderStage, StoredOrder


class OrderJournal:
    """The order in flight for `names` at the CA with the directory URL `ca`. All methods raise StoreError.

    If `write` or `enter` raises, the step that follows must not be taken.
    """

    def __init__(self, orders: OrderFiles, ca: str, names: tuple[str, ...]) -> None:
        self.ca = ca
        self.names = names
        self.order = orders.find(ca, names)
        self._orders = orders

    @property
    def stage(self) -> OrderStage | None:
        """How far the order has come; None without one."""
        return self.order.stage if self.order else None

    def write(self, order: StoredOrder) -> None:
        """Begin with a new order, or replace what is stored of it."""
        self._orders.save(order)
        self.order = order

    def enter(self, stage: OrderStage, now: float) -> None:
        """Write that a stage begins, unless it has begun before."""
        assert self.order is not None
        if self.order.stage is not stage:
            finalized = now if stage is OrderStage.FINALIZING else None
            self.write(evolve(self.order, stage=stage, finalized=finalized))

    def is_stuck(self, now: float, patience: float) -> bool:
        """Return whether the CA has not finished the order for `patience` seconds."""
        if self.order is None:
            return False
        since = self.order.placed if self.order.finalized is None else self.order.finalized
        return now - since > patience

    def discard(self) -> None:
        """Remove the order: its certificate is stored, or there will be none."""
        self.order = None
        self._orders.discard(self.ca, self.names)
