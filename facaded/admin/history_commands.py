"""The commands `history` and `stats` of the control socket, and their documents."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from facaded.admin.control import CommandRefusedError, CommandTable, Parameters
from facaded.history.past import DAY, HistoryError, PastChange
from facaded.history.queries import MOST_CHANGES_READ, PullSum, PullTotals, read_changes, read_pulls
from facaded.history.recorder import Recorder
from facaded.net.json_documents import Document
from facaded.oci.requests import Image, parse_image

LONGEST = 3650
"""Most days that a command asks for: as many as the history may have."""

T = TypeVar("T")


@frozen
class PastChanges(Document):
    """Answers `GET /history`: the changes of the last `days`, the latest first; `omitted` is whether there are more."""

    days: int
    changes: tuple[PastChange, ...]
    omitted: bool = False


@frozen
class PullStatistics(Document):
    """Answers `GET /stats`: the pulls of the last `days`, today included, since the day `first` (UTC).

    With an `image`, its `tags` are listed instead of `images`. The most frequent ones come first, 500 at most; `by_day`
    has the days with pulls in their order. An empty name stands for names beyond a bound, and for signatures.
    """

    days: int
    first: str
    image: str
    total: PullSum
    images: tuple[PullSum, ...]
    tags: tuple[PullSum, ...]
    families: tuple[PullSum, ...]
    by_day: tuple[PullSum, ...]


class HistoryCommands:
    """The commands that read the history. `wall` returns seconds since the epoch."""

    def __init__(self, recorder: Recorder, wall: Callable[[], float]) -> None:
        self._recorder = recorder
        self._wall = wall

    @property
    def table(self) -> CommandTable:
        """The commands by method and path."""
        return {("GET", "/history"): self.list_changes, ("GET", "/stats"): self.count_pulls}

    def list_changes(self, parameters: Parameters) -> Deferred[Document]:
        """Return the changes of some days."""
        days = _read_days(parameters, 7)
        query = partial(read_changes, since=self._wall() - days * DAY)

        def answer(changes: tuple[PastChange, ...]) -> Document:
            return PastChanges(days, changes, len(changes) == MOST_CHANGES_READ)

        return _refusing(self._recorder.read(query)).addCallback(answer)

    def count_pulls(self, parameters: Parameters) -> Deferred[Document]:
        """Return the pulls of some days. Refused if the image is no image reference."""
        days, image = _read_days(parameters, 30), _read_image(parameters)
        first_day = int(self._wall() // DAY) - days + 1
        first = datetime.fromtimestamp(max(first_day, 0) * DAY, UTC).strftime("%Y-%m-%d")
        repository, reference = (image.name, image.reference) if image else ("", "")

        def answer(totals: PullTotals) -> Document:
            images, tags = ((), totals.images) if image else (totals.images, ())
            shown = parameters.image
            return PullStatistics(days, first, shown, totals.whole, images, tags, totals.families, totals.days)

        query = partial(read_pulls, first_day=first_day, repository=repository, reference=reference)
        return _refusing(self._recorder.read(query)).addCallback(answer)


def _read_days(parameters: Parameters, default: int) -> int:
    text = parameters.days or str(default)
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= LONGEST):
        raise CommandRefusedError(f"days: expected a whole number from 1 to {LONGEST}")
    return int(text)


def _read_image(parameters: Parameters) -> Image | None:
    """Return the image that is asked for, with an empty reference for all its tags; None for all images."""
    if not parameters.image:
        return None
    try:
        image = parse_image(parameters.image)
    except ValueError as error:
        raise CommandRefusedError(str(error)) from None
    return image if ":" in parameters.image else Image(image.name, "")


def _refusing(result: Deferred[T]) -> Deferred[T]:
    """Turn a HistoryError into the refusal of the command."""

    def refuse(failure: Failure) -> Failure:
        return Failure(CommandRefusedError(failure.getErrorMessage())) if failure.check(HistoryError) else failure

    return result.addErrback(refuse)
