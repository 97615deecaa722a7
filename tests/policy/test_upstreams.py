"""Upstreams: which registries a client may ask itself, and under which names."""

import pytest

from facaded.policy.decision import BackendRules, Route, Rules
from facaded.policy.repositories import parse, parse_rename
from facaded.policy.upstreams import merge_namespaces, namespace, shared_prefixes, upstream_names


def rules(
    *repositories: str, renames: dict[str, str] | None = None, routes: dict[str, tuple[str, ...]] | None = None
) -> Rules:
    """Return rules with the backends hub and ghcr; `renames` are those of ghcr, `routes` the backends by pattern."""
    ghcr = tuple(parse_rename(facade, backend) for facade, backend in (renames or {}).items())
    return Rules(
        repositories=tuple(map(parse, repositories)),
        backends={
            "hub": BackendRules("https://registry-1.docker.io"),
            "ghcr": BackendRules("https://ghcr.io", ghcr),
        },
        named_routes=tuple(Route(backends, (parse(text),)) for text, backends in (routes or {}).items()),
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/*", "org"),
        ("org/**", "org"),
        ("org/team/*", "org/team"),
        ("org/app", "org/app"),
        ("*", ""),
        ("**", ""),
        ("org/app-*", None),
        ("*/app", None),
        ("*/*", None),
    ],
)
def test_a_namespace_is_what_all_names_begin_with(text: str, expected: str | None) -> None:
    assert namespace(parse(text)) == expected


@pytest.mark.parametrize(
    ("repositories", "renames", "names"),
    [
        (("org/*",), {}, {"hub": "org/*", "ghcr": "org/*"}),
        (("org/*",), {"org/*": "gh/*"}, {"hub": "org/*", "ghcr": "gh/*"}),
        (("org/*",), {"other/*": "gh/*"}, {"hub": "org/*", "ghcr": "org/*"}),
        (("org/*",), {"**": "mirror/**"}, {"hub": "org/*", "ghcr": "mirror/org/*"}),
        (("org/app-*",), {"org/*": "gh/*"}, {"hub": "org/app-*", "ghcr": "gh/app-*"}),
        (("org/app",), {"org/*": "gh/*"}, {"hub": "org/app", "ghcr": "gh/app"}),
        (("*",), {"*": "org/*"}, {"hub": "*", "ghcr": "org/*"}),
        # "*" renames org/a and not org/a/b; "org/app" is only one of the names; the last name is too long
        (("org/**",), {"org/*": "gh/*"}, {"hub": "org/**"}),
        (("org/*",), {"org/app": "gh/app"}, {"hub": "org/*"}),
        (("org/app",), {"org/app": "gh/a.-b"}, {"hub": "org/app"}),
        ((), {}, {"hub": "**"}),
    ],
)
def test_a_pattern_follows_renames_or_the_backend_is_left_out(
    repositories: tuple[str, ...], renames: dict[str, str], names: dict[str, str]
) -> None:
    (entry,) = upstream_names(rules(*repositories, renames=renames))
    assert {name: pattern.text for name, pattern in entry.names} == names
    assert entry.left_out == (() if "ghcr" in names or not repositories else ("ghcr",))


def test_a_backend_that_a_route_within_does_not_have_is_left_out() -> None:
    """A client cannot tell org/next-1 from org/app, so hub, which may be somebody else's there, would be asked too."""
    named, default = upstream_names(rules("org/*", routes={"org/next-*": ("ghcr",)}))
    assert (named.pattern.text, [name for name, _ in named.names]) == ("org/next-*", ["ghcr"])
    assert [name for name, _ in default.names] == ["ghcr"]
    assert default.left_out == ("hub",)


def test_a_route_that_is_a_namespace_leaves_the_others_as_they_are() -> None:
    named, default = upstream_names(rules("org/*", routes={"org/next/*": ("ghcr",)}))
    assert [name for name, _ in named.names] == ["ghcr"]
    assert [name for name, _ in default.names] == ["hub", "ghcr"]


@pytest.mark.parametrize(
    ("configured", "prefixes", "left_out"),
    [
        (rules("org/*", "team/**"), {"hub": "", "ghcr": ""}, ()),
        (rules("org/*", "team/**", renames={"**": "m/**"}), {"hub": "", "ghcr": "m"}, ()),
        (rules("*", "team/*", renames={"*": "m/*"}), {"hub": ""}, ("ghcr",)),
        (rules("org/*", renames={"org/*": "gh/*"}), {"hub": ""}, ("ghcr",)),
        (rules("org/*", renames={"org/*": "xorg/*"}), {"hub": ""}, ("ghcr",)),
        (rules("org/*", routes={"org/next/*": ("ghcr", "hub")}), {"hub": "", "ghcr": ""}, ()),
        (rules("org/*", routes={"org/next/*": ("ghcr",)}), {"ghcr": ""}, ("hub",)),
        (rules("org/*", routes={"org/old/*": ("hub",), "org/next/*": ("ghcr",)}), {}, ("hub", "ghcr")),
        (rules(), {"hub": ""}, ()),
    ],
)
def test_a_client_with_mirrors_for_a_whole_registry_gets_those_that_have_every_repository(
    configured: Rules, prefixes: dict[str, str], left_out: tuple[str, ...]
) -> None:
    found_prefixes, without = shared_prefixes(configured)
    assert found_prefixes == prefixes
    assert set(without) == set(left_out)


@pytest.mark.parametrize(
    ("configured", "expected"),
    [
        (rules("org/*", "org/**"), [("org/*", ["hub", "ghcr"], ())]),
        (rules("org/*", "team/*"), [("org/*", ["hub", "ghcr"], ()), ("team/*", ["hub", "ghcr"], ())]),
        (rules("org/**", routes={"org/*": ("ghcr",)}), [("org/*", ["ghcr"], ("hub",))]),
        (rules("org", "org/*", renames={"org/*": "gh/*"}), [("org", ["hub"], ("ghcr",))]),
        (rules("org/*", "org/**", renames={"org/*": "gh/*"}), [("org/*", ["hub"], ("ghcr",))]),
        (rules("org/a-*", "org/b-*"), [("org/a-*", ["hub", "ghcr"], ()), ("org/b-*", ["hub", "ghcr"], ())]),
    ],
)
def test_a_namespace_with_several_patterns_has_the_upstreams_that_all_of_them_have(
    configured: Rules, expected: list[tuple[str, list[str], tuple[str, ...]]]
) -> None:
    merged = merge_namespaces(upstream_names(configured))
    assert [(one.pattern.text, [name for name, _ in one.names], one.left_out) for one in merged] == expected
