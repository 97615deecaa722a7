"""Exit statuses of the commands and of the daemon.

systemd/facaded.service restarts the daemon after every status but USAGE, because settings do not get better by
themselves.
"""

GOOD = 0
"""The command worked, and its answer is good."""

BAD_NEWS = 1
"""The answer is bad news, such as a backend that is down, or there is none."""

USAGE = 2
"""The command line or the settings cannot be used."""

ADDRESS_UNAVAILABLE = 3
"""An address to listen on is in use or does not exist on this machine: it may be free or there later."""

CLOSED_PIPE = 141
"""Whoever read the output has stopped reading. A shell reports the same status after SIGPIPE: 128 + 13."""
