"""The lines of keys in TOML text, and the bounds of what is parsed."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facaded.config.settings_error import KeyPath
from facaded.config.toml_lines import KEY_PARTS, NESTING, TooDeepError, check_bounds, key_lines

TEXT = '''# a comment = 1 [x]
hosts = ["a", # one
  'b]', [
    1, { c = 2 } ]
]
a.b."c.d" = { x = 1, y = [1, 2] }
[health]
interval = "10s" # [c]
text = """
[no]
no = 1 \\""" """""
other = \'\'\'
x = "\'\'\'
after = 1979-05-27 07:32:00
[[backend]]
name = "x"
[[backend]]
name = 'y'
[backend.rename]
"org/*" = "b"
[[tls.certificate]]
key = 1
'''

LINES: dict[KeyPath, int] = {
    ("hosts",): 2,
    ("hosts", 0): 2,
    ("hosts", 1): 3,
    ("hosts", 2): 3,
    ("hosts", 2, 0): 4,
    ("hosts", 2, 1): 4,
    ("hosts", 2, 1, "c"): 4,
    ("a",): 6,
    ("a", "b"): 6,
    ("a", "b", "c.d"): 6,
    ("a", "b", "c.d", "x"): 6,
    ("a", "b", "c.d", "y"): 6,
    ("a", "b", "c.d", "y", 0): 6,
    ("a", "b", "c.d", "y", 1): 6,
    ("health",): 7,
    ("health", "interval"): 8,
    ("health", "text"): 9,
    ("health", "other"): 12,
    ("health", "after"): 14,
    ("backend",): 15,
    ("backend", 0): 15,
    ("backend", 0, "name"): 16,
    ("backend", 1): 17,
    ("backend", 1, "name"): 18,
    ("backend", 1, "rename"): 19,
    ("backend", 1, "rename", "org/*"): 20,
    ("tls",): 21,
    ("tls", "certificate"): 21,
    ("tls", "certificate", 0): 21,
    ("tls", "certificate", 0, "key"): 22,
}


def test_every_key_and_entry_has_its_line() -> None:
    tomllib.loads(TEXT)
    assert key_lines(TEXT) == LINES


def paths(value: object, path: KeyPath = ()) -> set[KeyPath]:
    """All key paths in what tomllib gives."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path, *(inner for name, entry in entries for inner in paths(entry, (*path, name)))}


STATEMENTS = st.lists(
    st.sampled_from(
        [
            *TEXT.splitlines(),
            "a.b = 1",
            "a = {}",
            "[a]",
            "[[a]]",
            "[a.b]",
            "[[a.b]]",
            "[ a . 'b' ]",
            '"" = ""',
            "x = [\n]",
            "x = [[], [{}],]",
            'x = """"""""',
            "x = ''''''",
            "y = 1.5e3",
            "'q.r' = +inf",
        ]
    ),
    max_size=12,
)


@given(STATEMENTS)
def test_where_tomllib_sees_a_key_there_is_a_line_for_it_and_no_other(statements: list[str]) -> None:
    text = "\n".join(statements)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert key_lines(text).keys() | {()} == paths(document)


@given(st.text(st.sampled_from("ab.=[]{}\"'\\#\n \t1,"), max_size=200))
def test_the_bounds_are_checked_of_any_text(text: str) -> None:
    check_bounds(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\n" + ".".join(["a"] * 100_000) + " = 1", 2),
        ("a" + ".a" * KEY_PARTS + " = 1", 1),
        ('x = """\n"""\n' + " . ".join(['"a"'] * (KEY_PARTS + 1)) + " = 1", 3),
        ("[" + ".".join(["a"] * 100_000) + "]", 1),
        ("x = " + "[" * 100_000, 1),
        ("x = " + "[\n" * (NESTING + 1), NESTING + 1),
        ("x = " + "{a=" * 100_000, 1),
    ],
)
def test_what_would_take_too_long_to_parse_is_refused(text: str, line: int) -> None:
    with pytest.raises(TooDeepError) as caught:
        check_bounds(text)
    assert caught.value.line == line


def test_what_is_long_but_flat_is_not_refused() -> None:
    check_bounds("x = [" + '"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v", ' * 1000 + "]\n" + "# a.a" * 1000)
    check_bounds("[[a.b]]\n" * 1000 + ".".join(["a"] * KEY_PARTS) + " = 1")
