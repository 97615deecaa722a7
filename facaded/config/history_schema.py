"""The keys of [history]: see `schema`."""

from facaded.config import values
from facaded.config.sections import HistorySettings
from facaded.config.tables import Key, Table

HISTORY = Table(
    HistorySettings,
    (
        Key(
            "days",
            values.DAYS,
            "90",
            "Days for which changes of the backends, requests a minute and pulls are kept, for `facaded history` and "
            "`facaded stats`; 0 records nothing. No addresses of clients are kept.",
            "Lower it if so much must not be known, or raise it, with the size.",
        ),
        Key(
            "size",
            values.HISTORY_SIZE,
            '"50MiB"',
            "The most space that the history takes in the state directory. If it is full, its oldest days are deleted.",
            "Raise it if `facaded stats` shows fewer days than it should.",
        ),
    ),
)
