"""The progress of a comparison, on one line of a terminal."""

from typing import TextIO


class ProgressLine:
    """Shows how many references have been compared; shows nothing if `stream` is not a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._width = 0

    def __call__(self, done: int, total: int) -> None:
        self._show(f"{done} of {total} …")

    def wipe(self) -> None:
        """Clear the line."""
        if self._width:
            self._show("")
            self._width = 0

    def _show(self, text: str) -> None:
        if self._stream.isatty():
            carriage_return = "" if text else "\r"
            self._stream.write(f"\r{text.ljust(self._width)}{carriage_return}")
            self._stream.flush()
            self._width = len(text)
