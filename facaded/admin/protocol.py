"""The control protocol: the small documents that answer commands. `Status` and `Explanation` have their own modules.

Their JSON keys are an interface: the command and the daemon may be of different versions.
"""

from attrs import frozen

from facaded.net.json_documents import Document
from facaded.policy.network_hosts import NetworkHost


@frozen
class RecentImages(Document):
    """Answers `GET /recent-pulls`: references of recently pulled images, the latest first."""

    images: tuple[str, ...]


@frozen
class Overridden(Document):
    """Answers `POST /pin`, `/unpin`, `/drain` and `/undrain`: which backend is active and why, and warnings."""

    why: str
    warnings: tuple[str, ...]


@frozen
class FailedBack(Document):
    """Answers `POST /failback`: a sentence for each route that moved, which backend is active and why, and warnings."""

    moves: tuple[str, ...]
    why: str
    warnings: tuple[str, ...] = ()


@frozen
class RenewalBegun(Document):
    """Answers `POST /renew`: the names of each managed certificate, and why some of them cannot be renewed now."""

    certificates: tuple[str, ...]
    warnings: tuple[str, ...]


@frozen
class Reloaded(Document):
    """Answers `POST /reload`: the new settings are in force. `warnings` say which of them need a restart."""

    warnings: tuple[str, ...] = ()


@frozen
class HostList(Document):
    """Answers `GET /hosts`: the hosts that facaded and its clients connect to.

    `daemon` is False if no daemon is running, so that none was seen.
    """

    hosts: tuple[NetworkHost, ...]
    daemon: bool = True


@frozen
class ChallengesAnswered(Document):
    """Answers `POST /answer-challenge` and `/withdraw-challenges`: it is done."""


@frozen
class Problems(Document):
    """Answers a refused command, which changed nothing: sentences that say why."""

    problems: tuple[str, ...]
