"""The control protocol: the documents that answer commands, besides the larger ones that have modules of their own.

Their JSON keys are part of the interface between a command and a daemon of another version.
"""

from attrs import frozen

from facaded.net.json_documents import Document


@frozen
class RecentImages(Document):
    """Answers `GET /recent-pulls`: references of the images that were pulled recently, the latest first."""

    images: tuple[str, ...]


@frozen
class Overridden(Document):
    """Answers `POST /pin`, `/unpin`, `/drain` and `/undrain`: the active backend, why, and warnings."""

    why: str
    warnings: tuple[str, ...]


@frozen
class RenewalBegun(Document):
    """Answers `POST /renew`: the names of each certificate that is renewed, and why others are not."""

    certificates: tuple[str, ...]
    warnings: tuple[str, ...]


@frozen
class Reloaded(Document):
    """Answers `POST /reload`: the new settings are in force. `warnings` say which of them need a restart."""

    warnings: tuple[str, ...] = ()


@frozen
class Problems(Document):
    """Says why a command is refused, in sentences. Nothing has changed then."""

    problems: tuple[str, ...]
