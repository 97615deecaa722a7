"""Frozen attrs classes that cost nothing at run time, for the objects that each request creates.

A class of attrs's own `frozen` takes three times as long to create, because each attribute is set around the method
that forbids it. Here mypy, which checks every commit, forbids it instead. Everything else is the same: attributes in
slots, equality and hash by value.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrs import frozen
else:
    from attrs import define

    def frozen(decorated=None, *, eq=True, **options):
        """Do what attrs's `frozen` does, but for the check when an attribute is set."""
        return define(decorated, eq=eq, unsafe_hash=eq or None, **options)


__all__ = ["frozen"]
