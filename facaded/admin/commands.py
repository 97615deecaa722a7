"""What the control socket does: each command with the document that it answers."""

from collections.abc import Callable, Mapping
from typing import Any

from facaded.admin import explanation, status
from facaded.admin.control import Asked, Document, RefusedError
from facaded.backends.watch import Watch
from facaded.config import Loaded
from facaded.net.resolver import stale_names
from facaded.policy.answers import Rules
from facaded.policy.health import Purpose
from facaded.policy.lately import Lately
from facaded.policy.overrides import ContradictionError
from facaded.reload import Reloader
from facaded.state import Clocks, StateStore
from facaded.tls.termination import Termination

Table = Mapping[tuple[str, str], Callable[[Asked], Document]]


class Commands:
    """The commands of a daemon."""

    def __init__(
        self,
        watch: Watch,
        state: StateStore,
        recent: Lately,
        tls: Termination | None,
        reloader: Reloader,
        reactor: Any,
        clocks: Callable[[], Clocks],
    ) -> None:
        self._watch = watch
        self._state = state
        self._recent = recent
        self._tls = tls
        self._reloader = reloader
        self._reactor = reactor
        self._clocks = clocks

    def reconfigure(self, rules: Rules) -> None:
        """Explain by other rules from now on."""
        self._rules = rules

    @property
    def table(self) -> Table:
        """What is done, by method and path."""
        return {
            ("GET", "/status"): self._status,
            ("GET", "/lately"): lambda _: {"images": list(self._recent.images())},
            ("GET", "/explain"): self._explain,
            ("POST", "/reload"): self._reload,
            ("POST", "/renew"): self._renew,
            ("POST", "/pin"): self._overriding(lambda asked: self._watch.pin(asked.backend, asked.seconds)),
            ("POST", "/unpin"): self._overriding(lambda _: self._watch.unpin()),
            ("POST", "/drain"): self._overriding(lambda asked: self._watch.drain(asked.backend, asked.seconds)),
            ("POST", "/undrain"): self._overriding(lambda asked: self._watch.undrain(asked.backend)),
        }

    def _status(self, _: Asked) -> Document:
        loaded: Loaded = self._reloader.loaded
        certificates = self._tls.document() if self._tls is not None else []
        stale, to_wall = stale_names(self._reactor), self._clocks().to_wall
        return status.document(
            self._watch, self._rules, loaded.source, loaded.warnings, stale, to_wall, certificates
        )

    def _explain(self, asked: Asked) -> Document:
        now = self._watch.snapshot()

        def in_charge(route: tuple[str, ...], purpose: Purpose) -> str:
            return now.explain((route, purpose))

        try:
            return explanation.document(asked.image, asked.client, self._rules, now.situation, in_charge)
        except ValueError as error:
            raise RefusedError(str(error)) from None

    def _reload(self, _: Asked) -> Document:
        if problems := self._reloader.reload():
            raise RefusedError(*(f"not reloaded: {problem}" for problem in problems))
        return {}

    def _renew(self, _: Asked) -> Document:
        names, refusals = self._tls.renew() if self._tls is not None else ([], ())
        if not names:
            raise RefusedError("no certificate is got here: set [tls.acme], or renew those of [[tls.certificate]]")
        if len(refusals) == len(names):
            raise RefusedError(*refusals)
        return {"certificates": names, "warnings": list(refusals)}

    def _overriding(self, override: Callable[[Asked], None]) -> Callable[[Asked], Document]:
        """A command that changes what the operator says, and tells what has come of it."""

        def command(asked: Asked) -> Document:
            try:
                override(asked)
            except ContradictionError as error:
                raise RefusedError(str(error)) from None
            warnings = () if self._state.kept else ("the state cannot be written: this ends with a restart",)
            return {"why": self._watch.snapshot().explain(), "warnings": list(warnings)}

        return command
