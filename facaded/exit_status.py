"""Exit statuses of the commands and of the daemon.

systemd/facaded.service restarts the daemon after every status but USAGE, because settings do not get better by
themselves.
"""

GOOD = 0
"""The command worked, and its answer is no bad news."""

BAD_NEWS = 1
"""The answer is bad news, such as a backend that is down, or there is no answer."""

USAGE = 2
"""The command line or the settings cannot be used."""

ADDRESS_UNAVAILABLE = 3
"""An address to listen on is in use, or does not exist on this machine: a later start may work."""

CLOSED_PIPE = 141
"""The reader of standard output has closed it. A shell reports the same status after SIGPIPE: 128 + 13."""
