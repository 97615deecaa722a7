"""Upstreams: the registries that a client may ask itself when the facade does not answer, and the names there. Pure.

A client's mirrors know no renames like the facade's: they replace the beginning of a name, or put something before it.
"""

from collections.abc import Iterator, Sequence

from attrs import frozen

from facaded.policy.decision import Route, Rules
from facaded.policy.repositories import Pattern, Rename, renamed

EVERYTHING = Pattern("**")
"""Matches every repository."""


@frozen
class UpstreamNames:
    """The repositories that `pattern` matches at the facade, and their pattern at each upstream, by its name.

    `left_out` are the backends of the route that have names for which there is no such pattern.
    """

    pattern: Pattern
    names: tuple[tuple[str, Pattern], ...]
    left_out: tuple[str, ...] = ()


def namespace(pattern: Pattern) -> str | None:
    """Return what all names of a pattern begin with: `org` for `org/*`, empty for `*`; None for other wildcards."""
    text = pattern.text
    for wildcard in ("**", "*"):
        if text == wildcard:
            return ""
        text = text.removesuffix(f"/{wildcard}")
    return None if "*" in text else text


def upstream_names(rules: Rules) -> tuple[UpstreamNames, ...]:
    """Return the names of all repositories that the rules allow: those of named routes first."""
    *named_routes, default = rules.routes
    named = [_names(rules, route, pattern) for route in named_routes for pattern in route.repositories]
    others = [_names(rules, default, pattern) for pattern in rules.repositories or (EVERYTHING,)]
    return (*named, *others)


def merge_namespaces(entries: tuple[UpstreamNames, ...]) -> tuple[UpstreamNames, ...]:
    """Return one entry for each namespace, for clients that tell repositories apart by it: `org/*` is `org/**`.

    It has the upstreams that all of its patterns have, under the same names. Patterns without a namespace stay as they
    are.
    """
    groups: dict[str, list[UpstreamNames]] = {}
    for entry in entries:
        here = namespace(entry.pattern)
        groups.setdefault(entry.pattern.text if here is None else f"{here}/", []).append(entry)
    return tuple(first if not others else _merge(first, others) for first, *others in groups.values())


def _merge(first: UpstreamNames, others: Sequence[UpstreamNames]) -> UpstreamNames:
    """Return the entry of a namespace with several patterns. The last one is the widest: named routes come first."""
    alike = [
        (name, pattern)
        for name, pattern in others[-1].names
        if all((name, namespace(pattern)) in _namespaces(entry) for entry in (first, *others))
    ]
    names = dict.fromkeys(name for entry in (first, *others) for name in (*dict(entry.names), *entry.left_out))
    return UpstreamNames(first.pattern, tuple(alike), tuple(name for name in names if name not in dict(alike)))


def _namespaces(entry: UpstreamNames) -> set[tuple[str, str | None]]:
    return {(name, namespace(pattern)) for name, pattern in entry.names}


def shared_prefixes(rules: Rules) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return what goes before every name at each upstream that has all repositories, and which backends are left out.

    For clients whose mirrors are for a whole registry, not for some of its repositories.
    """
    names = upstream_names(rules)
    prefixes: dict[str, str] = {}
    for upstream in dict.fromkeys(name for entry in reversed(names) for name, _ in entry.names):
        candidates = {_prefix(entry, upstream) for entry in names}
        if len(candidates) == 1 and (prefix := candidates.pop()) is not None:
            prefixes[upstream] = prefix
    involved = dict.fromkeys(name for route in rules.routes for name in route.backends)
    return prefixes, tuple(name for name in involved if name not in prefixes)


def _prefix(entry: UpstreamNames, upstream: str) -> str | None:
    text = next((pattern.text for name, pattern in entry.names if name == upstream), None)
    if text is None or not f"/{text}".endswith(f"/{entry.pattern.text}"):
        return None
    return text.removesuffix(entry.pattern.text).rstrip("/")


def _names(rules: Rules, route: Route, pattern: Pattern) -> UpstreamNames:
    names = dict(_renamed_patterns(rules, route, pattern))
    left_out = tuple(name for name in route.backends if name not in names)
    return UpstreamNames(pattern, tuple(names.items()), left_out)


def _renamed_patterns(rules: Rules, route: Route, pattern: Pattern) -> Iterator[tuple[str, Pattern]]:
    for name in route.backends:
        there = _renamed_pattern(rules.backends[name].renames, pattern)
        if there is not None and all(name in other.backends for other in _within(rules, route, pattern)):
            yield name, there


def _within(rules: Rules, route: Route, pattern: Pattern) -> Iterator[Route]:
    """Yield the other routes with repositories that the pattern matches too and that are no whole namespace."""
    for other in rules.named_routes:
        inexpressible = (part for part in other.repositories if namespace(part) is None)
        if other is not route and any(part.may_overlap(pattern) for part in inexpressible):
            yield other


def _renamed_pattern(renames: tuple[Rename, ...], pattern: Pattern) -> Pattern | None:
    """Return the pattern of a backend's names of all repositories that a pattern matches; None if there is none."""
    overlapping = [rename for rename in renames if rename.facade.may_overlap(pattern)]
    if not overlapping:
        return pattern
    if not pattern.wildcard:
        name = renamed(renames, pattern.text)
        return Pattern(name) if name else None
    first = overlapping[0]
    is_covered = first.facade.matches(pattern.text) and ("**" in first.facade.text or "**" not in pattern.text)
    return Pattern(first.apply(pattern.text)) if is_covered else None
