"""facaded's own account at one backend: for which repositories it is used, where it is sent, and if it is refused."""

import base64
import functools
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from attrs import frozen
from publicsuffixlist import PublicSuffixList

from facaded.backends.failures import PasswordFileError
from facaded.net.expiring import ExpiringMap

PUBLIC_TIME = 600.0
"""Seconds for which a repository counts as public after an anonymous request for it succeeded."""

REFUSED_TIME = 300.0
"""Seconds for which an account that was refused is not tried again: registries lock accounts after failed logins."""

TRIAL_TIME = 5.0
"""Seconds for which one request tries an account that may not work, and all others do without: a request takes 4."""

REPOSITORIES = 1000
"""Repositories for which it is known that they are public, and those that the account is refused for."""

EVERY_REPOSITORY = ""
"""In the place of a repository's name: the account is refused for all."""

NoteAccount = Callable[[str, str | None], None]
"""Called with a repository and what is wrong with the account there, a sentence; None if the account works there."""


@frozen
class Credentials:
    """facaded's own account at a backend.

    `realm` is a token server outside the backend's domain that may receive it too.
    """

    username: str
    password_file: Path
    realm: str | None = None

    def basic(self) -> str:
        """Return the Authorization value for Basic. Raises PasswordFileError."""
        try:
            with self.password_file.open("rb") as file:
                password = file.read(4096).strip()
        except OSError:
            raise PasswordFileError("facaded cannot read password_file") from None
        return "Basic " + base64.b64encode(self.username.encode() + b":" + password).decode("ascii")


class OwnAccount:
    """The account with `credentials` at the registry at `url`, and what is known of it; without them, it is never used.

    It is used for a repository only while that is known to be public, or always with `publish_private`. `seconds`
    returns monotonic time; `note` is called with news.
    """

    def __init__(
        self,
        url: str,
        seconds: Callable[[], float],
        credentials: Credentials | None,
        publish_private: bool,
        note: NoteAccount,
    ) -> None:
        self.publish_private = publish_private
        self._url = url
        self._seconds = seconds
        self._credentials = credentials
        self._note = note
        self._unproven = not publish_private
        self._public: ExpiringMap[str, bool] = ExpiringMap(REPOSITORIES)
        self._refused: ExpiringMap[str, bool] = ExpiringMap(REPOSITORIES)
        self._worked: ExpiringMap[str, bool] = ExpiringMap(1)

    def is_meant_for(self, name: str) -> bool:
        """Return whether requests for the repository `name` use the account if it works."""
        if self._credentials is None:
            return False
        return self.publish_private or self._public.get(name, self._seconds()) is not None

    def is_refused_for(self, name: str) -> bool:
        """Return whether the account is not to be tried for the repository `name` now."""
        now = self._seconds()
        return any(self._refused.get(key, now) is not None for key in (EVERY_REPOSITORY, name))

    def basic(self, url: str) -> str | None:
        """Return the Authorization value for Basic at `url`; None if that may not have it. Raises PasswordFileError."""
        return self._credentials.basic() if self._credentials and self._may_receive(url) else None

    def begin_trial(self) -> None:
        """Note that a token is requested with the account. One that may not work is tried by one request at a time."""
        if self._unproven:
            self._refused.put(EVERY_REPOSITORY, True, self._seconds() + TRIAL_TIME)

    def mark_public(self, name: str) -> None:
        """Note that an anonymous request for the repository `name` succeeded."""
        self._public.put(name, True, self._seconds() + PUBLIC_TIME)

    def mark_accepted(self, name: str) -> None:
        """Note that the token server issued a token for the repository `name` to the account."""
        self._unproven = False
        self._worked.put(EVERY_REPOSITORY, True, self._seconds() + REFUSED_TIME)
        for key in (EVERY_REPOSITORY, name):
            self._refused.discard(key)
        self._note(name, None)

    def mark_refused(self, name: str, status: int, by: str = "its token server") -> None:
        """Note that a token server or the registry refused the account for `name`: with 401 for all repositories."""
        # A token server may answer 401 for a repository that does not exist: then the account works elsewhere.
        everywhere = status == 401 and self._worked.get(EVERY_REPOSITORY, self._seconds()) is None
        if everywhere:
            self._unproven = True
        self._refused.put(EVERY_REPOSITORY if everywhere else name, True, self._seconds() + REFUSED_TIME)
        where = "" if everywhere else f" for {name}"
        effect = "its images cannot be fetched" if self.publish_private else "requests are anonymous"
        problem = f"facaded's account was refused by {by}{where} ({status})"
        self._note(EVERY_REPOSITORY if everywhere else name, f"{problem}: check username and password_file; {effect}")

    def _may_receive(self, url: str) -> bool:
        """Return whether credentials may be sent to `url`.

        It must be on the backend's host, under its registrable domain, or the realm in the settings.
        """
        realm, backend = urlsplit(url), urlsplit(self._url)
        if self._credentials and self._credentials.realm and url.partition("?")[0] == self._credentials.realm:
            return True
        realm_host, backend_host = realm.hostname or "", backend.hostname or ""
        if realm_host == backend_host:
            return True
        if backend_host.replace(".", "").isdigit():
            return False
        suffixes = _load_public_suffixes()
        domain = suffixes.privatesuffix(backend_host)
        return domain is not None and suffixes.privatesuffix(realm_host) == domain


@functools.cache
def _load_public_suffixes() -> PublicSuffixList:
    """Return the public suffix list. It takes 2 MiB of memory, and is only needed for accounts."""
    return PublicSuffixList()
