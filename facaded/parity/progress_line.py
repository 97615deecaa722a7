"""How far a comparison is, on one line of a terminal."""

from typing import TextIO


class ProgressLine:
    """Shows how many references are compared, or nothing where `stream` is no terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = 0

    def __call__(self, done: int, of: int) -> None:
        self._show(f"{done} of {of} …")

    def wipe(self) -> None:
        """Clear the line."""
        if self._shown:
            self._show("")
            self._shown = 0

    def _show(self, text: str) -> None:
        if self._stream.isatty():
            wiped = "" if text else "\r"
            self._stream.write(f"\r{text.ljust(self._shown)}{wiped}")
            self._stream.flush()
            self._shown = len(text)
