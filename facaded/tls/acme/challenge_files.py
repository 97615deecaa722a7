"""The pending answers to challenges, in the directory that several daemons share: a CA may ask any of them.

DIRECTORY/challenges/http-01/TOKEN      the key authorization of an http-01 challenge
DIRECTORY/challenges/tls-alpn-01/NAME   that of a tls-alpn-01 challenge
"""

import contextlib
import re
import time
from pathlib import Path

from facaded.tls.acme.private_files import PrivateFiles, StoreError
from facaded.tls.acme.settings import ChallengeKind

ANSWER_SIZE = 1024
"""Bytes that are read of an answer: a token and a thumbprint have fewer than 200."""

LEFT_OVER = 86400.0
"""Seconds after which an answer is removed that a killed daemon has left."""

_SUBJECT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,254}")
"""A token or a name, and nothing that leads to another directory."""

_ANSWER = re.compile(r"[A-Za-z0-9_-]{1,128}\.[A-Za-z0-9_-]{43}(?: [A-Za-z0-9.:_-]{1,253})?")


class ChallengeFiles:
    """Publishes and finds answers. A subject is the token of an http-01 challenge, or the name in the CA's SNI."""

    def __init__(self, directory: Path) -> None:
        self._files = PrivateFiles(directory, lambda message: None)

    def publish(self, kind: ChallengeKind, subject: str, key_authorization: str) -> None:
        """Write an answer, for all daemons. Raises StoreError."""
        self._files.write(self._path(kind, subject), key_authorization.encode("ascii"))

    def withdraw(self, kind: ChallengeKind, subject: str) -> None:
        """Remove an answer. If that fails, `tidy` will."""
        with contextlib.suppress(StoreError):
            self._files.remove(self._path(kind, subject))

    def find(self, kind: ChallengeKind, subject: str) -> str | None:
        """Return the key authorization that another daemon has published, or None."""
        if not _SUBJECT.fullmatch(subject):
            return None
        with contextlib.suppress(StoreError):
            return self._files.read(self._path(kind, subject), _read, ANSWER_SIZE)
        return None

    def tidy(self) -> None:
        """Remove what killed daemons have left."""
        with contextlib.suppress(StoreError, OSError):
            for path in self._files.matching(self._files.directory / "challenges", "*/*"):
                if path.stat().st_mtime < time.time() - LEFT_OVER:
                    self._files.remove(path)

    def _path(self, kind: ChallengeKind, subject: str) -> Path:
        return self._files.directory / "challenges" / kind.value / subject


def _read(text: bytes) -> str:
    answer = text.decode("ascii")
    if not _ANSWER.fullmatch(answer):
        raise ValueError("not a key authorization")
    return answer
