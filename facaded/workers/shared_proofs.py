"""Tells the workers what has been proven of each backend, as soon as it changes."""

from functools import partial

from twisted.internet.interfaces import IReactorTime

from facaded.backends.watch import Watch
from facaded.workers.codec import to_message
from facaded.workers.process_channel import Message, Tell


class SharedProofs:
    """Sends the proofs of the backends of `watch` by `broadcast`, unless a reload is in progress."""

    def __init__(self, clock: IReactorTime, watch: Watch, broadcast: Tell) -> None:
        self.is_paused = False
        self._clock = clock
        self._watch = watch
        self._broadcast = broadcast
        self._changed: set[str] = set()
        self.follow()

    def follow(self) -> None:
        """Follow the proofs of the backends that there are now."""
        for name, watched in self._watch.snapshot().plan.backends.items():
            watched.proofs.changed = partial(self._note, name)

    def send_all(self, tell: Tell) -> None:
        """Send all of them."""
        for name in self._watch.snapshot().plan.backends:
            tell("proofs", self._describe(name))

    def send_changed(self) -> None:
        """Send those that have changed."""
        changed, self._changed = self._changed, set()
        if not self.is_paused:
            for name in changed & self._watch.snapshot().plan.backends.keys():
                self._broadcast("proofs", self._describe(name))

    def _note(self, name: str) -> None:
        if not self._changed:
            self._clock.callLater(0, self.send_changed)
        self._changed.add(name)

    def _describe(self, name: str) -> Message:
        proofs = self._watch.snapshot().plan.backends[name].proofs
        return {"backend": name, "proofs": to_message(proofs.state)}
