"""How a part of the daemon takes part in a reload: see `reload`."""

from collections.abc import Callable
from typing import TypeAlias

from facaded.config.loading import Loaded

Swap: TypeAlias = Callable[[], None]
"""Applies the settings that a part was prepared for. It cannot fail."""

Prepare: TypeAlias = Callable[[Loaded], Swap]
"""Prepares a part for new settings, and changes nothing. Raises SettingsError."""
