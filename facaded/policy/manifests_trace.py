"""Which requests of one client for manifests are one pull. Pure.

A pull is a GET of a manifest. GETs of other manifests by digest that follow it belong to it: those of an index's
platforms. A GET by digest after a HEAD of a tag is a pull of that tag, because Docker and containerd look a tag up with
HEAD. A HEAD that no GET follows is an update check: no client remembers a 307, so the GET would come here too. The same
GET again is another pull, by somebody else behind the same address, unless one pull needs it twice.
"""

import math
from collections.abc import Callable
from typing import TypeAlias

from attrs import define

from facaded.oci.clients import Client, Family
from facaded.policy.pull_kinds import CountKey, ManifestRequest, PullKind, kind_of

WINDOW = 60.0
"""Seconds within which requests of a client may belong to one pull. Clients ask for all manifests within a second or
two; one that was redirected without success comes back within a minute: see `asked_again`.
"""

REFERENCES = 6
"""Most references of one client in one repository that are followed at once; the oldest is evicted first."""

REPEATS = {family: Client(family).requests_per_manifest - 1 for family in Family}
"""How many more redirected requests like the first one belong to one pull: a client without a token sends two."""

SIGNATURES_OF = "signatures of "
"""Precedes the reference of a request for signatures: that of their image is another one."""

AddPulls: TypeAlias = Callable[[CountKey, int], None]
"""Counts pulls of the content of a `PullKey`."""


@define
class HeadTrace:
    """HEADs of one reference that no GET has followed: since when, and how many checks they are.

    `repeats` is how many more HEADs belong to the last check.
    """

    at: float
    checks: int = 0
    repeats: int = 0
    is_proven: bool = False


@define
class PullRoot:
    """GETs of one reference that began pulls, which are counted as `shown`.

    `unproven` pulls are not counted yet. `repeats` is how many more redirected GETs belong to the last pull, and
    `may_return` is whether a served one does, because the redirect may have failed.
    """

    shown: str
    kind: PullKind
    at: float
    unproven: int = 0
    repeats: int = 0
    may_return: bool = False


class ManifestsTrace:
    """What clients of one family and one address asked for in one repository; it calls `add` with their pulls.

    `at` is when they last asked. `awaits_proof` is whether there may be redirected pulls to prove.
    """

    __slots__ = (
        "_add",
        "_earliest",
        "_family",
        "_heads",
        "_latest",
        "_repository",
        "_roots",
        "at",
        "awaits_proof",
    )

    def __init__(self, family: Family, repository: str, add: AddPulls) -> None:
        self.at = 0.0
        self.awaits_proof = False
        self._family = family
        self._repository = repository
        self._add = add
        self._heads: dict[str, HeadTrace] = {}
        self._roots: dict[str, PullRoot] = {}
        self._earliest, self._latest = math.inf, -math.inf  # bounds of when heads and roots began

    def note(self, request: ManifestRequest) -> None:
        """Follow a request."""
        now, reference, is_get, was_redirected, is_signature = request
        self.at = now
        if now - self._earliest > WINDOW or self._latest - now > WINDOW:
            self._finish_old(now)
        if now < self._earliest:
            self._earliest = now
        if now > self._latest:
            self._latest = now
        if is_signature:
            if is_get:
                self._note_get(f"{SIGNATURES_OF}{reference}", reference, was_redirected, PullKind.SIGNATURE)
        elif is_get:
            self._note_get(reference, reference, was_redirected, None)
        else:
            self._note_head(reference, was_redirected)

    def prove(self) -> None:
        """Count redirected pulls as proven: the client asked for something that their manifests name."""
        self.awaits_proof = False
        for root in self._roots.values():
            root.may_return = False
            if root.unproven:
                self._count_unproven(root, is_proven=True)

    def finish(self) -> None:
        """Count what was followed as it is."""
        while self._heads:
            self._finish_head()
        while self._roots:
            self._finish_root()

    def _finish_old(self, now: float) -> None:
        """Count what began more than WINDOW before, or after a clock was set back."""
        heads, roots = self._heads, self._roots
        while heads and abs(now - next(iter(heads.values())).at) > WINDOW:
            self._finish_head()
        while roots and abs(now - next(iter(roots.values())).at) > WINDOW:
            self._finish_root()
        begun = [*(head.at for head in heads.values()), *(root.at for root in roots.values())]
        self._earliest, self._latest = min(begun, default=now), max(begun, default=now)

    def _note_head(self, reference: str, was_redirected: bool) -> None:
        head = self._heads.get(reference)
        if head is None:
            if len(self._heads) >= REFERENCES:
                self._finish_head()
            head = self._heads[reference] = HeadTrace(self.at)
        if not was_redirected:
            head.is_proven, head.repeats = True, 0
        elif head.repeats:
            head.repeats -= 1
            return
        else:
            head.repeats = REPEATS[self._family]
        head.checks += 1

    def _note_get(self, key: str, reference: str, was_redirected: bool, kind: PullKind | None) -> None:
        """Follow a GET; `key` is that of its root, and `kind` is None for the usual one of the family."""
        root = self._roots.get(key)
        if root is None:
            if self._is_part(key):
                self.prove()
                return
            root = self._begin(key, reference, kind)
        elif not was_redirected:
            if root.may_return:
                root.may_return = False
                self._count_unproven(root, is_proven=True)
                return
        elif root.repeats > 0:
            root.repeats -= 1
            return
        followed_head = bool(self._heads) and self._use_head(root.shown)
        if not was_redirected:
            self._count(root, 1, is_proven=True)
            return
        self.awaits_proof = True
        root.unproven += 1
        root.may_return = True
        root.repeats = 0 if followed_head else REPEATS[self._family]  # with the HEAD, the client has got its token

    def _is_part(self, key: str) -> bool:
        """Return whether a GET is of a manifest that an index names, which the client has just asked for."""
        if self._heads or not self._roots or ":" not in key:
            return False
        return not key.startswith(SIGNATURES_OF) and f"{SIGNATURES_OF}{key}" not in self._roots

    def _begin(self, key: str, reference: str, kind: PullKind | None) -> PullRoot:
        """Return the root of a pull that begins: of the reference, or of the tag whose HEAD came first."""
        if kind is None:
            kind = kind_of(self._family, is_get=True, is_signature=False)
            if self._heads and ":" in key and key not in self._heads:
                reference = next(iter(self._heads))
        if len(self._roots) >= REFERENCES:
            self._finish_root()
        root = self._roots[key] = PullRoot(reference, kind, self.at)
        return root

    def _use_head(self, reference: str) -> bool:
        """Let a GET follow one of the HEADs of a reference, and return whether there was one."""
        head = self._heads.get(reference)
        if head is None:
            return False
        head.checks -= 1
        if not head.checks:
            del self._heads[reference]
        return True

    def _finish_head(self) -> None:
        reference = next(iter(self._heads))
        head = self._heads.pop(reference)
        kind = kind_of(self._family, is_get=False, is_signature=False)
        self._add(self._key(reference, kind, is_proven=head.is_proven), head.checks)

    def _finish_root(self) -> None:
        root = self._roots.pop(next(iter(self._roots)))
        if root.unproven:
            self._count_unproven(root, is_proven=False)

    def _count_unproven(self, root: PullRoot, *, is_proven: bool) -> None:
        self._count(root, root.unproven, is_proven=is_proven)
        root.unproven = 0

    def _count(self, root: PullRoot, count: int, *, is_proven: bool) -> None:
        self._add(self._key(root.shown, root.kind, is_proven=is_proven), count)

    def _key(self, reference: str, kind: PullKind, *, is_proven: bool) -> CountKey:
        shown = "" if kind is PullKind.SIGNATURE else reference
        return self._repository, shown, self._family, kind, is_proven
