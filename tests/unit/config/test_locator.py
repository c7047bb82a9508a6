"""The line of every key, held against texts whose values are the lines they stand on."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.config.locator import Locator
from gateway.config.problems import KeyPath


def numbered(text: str) -> str:
    """``text`` with each ``@`` replaced by the number of its line."""
    return "\n".join(line.replace("@", str(number)) for number, line in enumerate(text.split("\n"), 1))


def leaves(node: object, path: KeyPath = ()) -> Iterator[tuple[KeyPath, object]]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from leaves(value, (*path, index))
    else:
        yield path, node


def paths(node: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from paths(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from paths(value, (*path, index))


def assert_located(text: str) -> None:
    text = numbered(text)
    document = tomllib.loads(text)
    locator = Locator(text)
    assert set(locator.paths()) == set(paths(document))
    for path, value in leaves(document):
        if isinstance(value, int) and not isinstance(value, bool):
            assert locator.line(path) == value, path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a = @\nb = @",
        "# comment\n\n a = @ # trailing [x] = {\n",
        "a = @\r\n[t]\r\nb = @\r\n",
        "[a]\nx = @\n[a.b]\ny = @\n[a.b.c]\nz = @",
        "[[a]]\nx = @\n[[a]]\nx = @\n[a.sub]\ny = @\n[[a.list]]\nz = @\n[[a.list]]\nz = @\n[[a]]\n[[a.list]]\nz = @",
        "[ a . b ]\nx = @\n[[ c . d ]]\ny = @",
        "a.b.c = @\na.b.d = @\n[t]\na.b = @",
        '"a b" = @\n\'c.d\' = @\n"e\\"f" = @\n"\\u00e9" = @\n\'\' = @',
        '["a.b".\'c\']\nx = @\n[["a.b".d]]\nx = @',
        "a = [@, @, @]",
        "a = [\n  @,\n\n  # no item\n  @, @,\n  [@,\n @],\n]\nb = @",
        "a = { b = @, c = { d = @ }, e = [@, @] }\nf = @",
        "a = [ { x = @ },\n { x = @, y = @ },\n ]\nb = @",
        'a = """\nb = 0\n[c]\n"""\nd = @',
        'a = """x"""""\nd = @',
        'a = """x\\"""\ny"""\nd = @',
        'a = """"""\nb = @\nc = ""\nd = @',
        "a = '''\nb = ''\n'''\nd = @\ne = ''''x''''\nf = @",
        'a = "# not a comment [ { \\" "\nb = @\nc = \'# "\'\nd = @',
        'a = "\\\\"\nb = @',
        'a = ["]", "[", "#", \'"\', """\n]""", @]\nb = @',
        "a = 1979-05-27 07:32:00\nb = @\nc = 07:32:00.5 # t\nd = [1979-05-27T07:32:00Z, @]\ne = -1.5e+3\nf = @",
        "a = inf\nb = [nan, @]\nc = true\nd = @\n",
        "a = []\nb = {}\nc = @\nd = [ ]\ne = @",
        "a=[@,@,]\nb=@",
        "[t]\n[u]\nx = @\n[t.v]\ny = @",
        "[a.b]\nx = @\n[a]\ny = @",
        "1 = @\n2-3 = @\n_x = @\ntrue = @\n4.5 = @",
    ],
)
def test_every_value_is_on_its_line(text: str) -> None:
    assert_located(text)


names = st.sampled_from(["a", "b", "c-1", '"q k"', "'l.k'", '"e\\"s"', "7"])
dotted = st.lists(names, min_size=1, max_size=3).map(" . ".join)
gaps = st.sampled_from(["", " ", "\t", "\n", "# c ] } [\n", "\n\n  ", " # '''\n"])
strings = st.sampled_from(
    ['"x # y"', "'[k]'", '"""\n[t]\nk = 3 # "" \\""" """', "'''\n]]'\n''k = 2'''", '"""a"""""', '""', "''", '"\\\\"']
)
scalars = st.sampled_from(["@", "@", "@", "1.5", "true", "1979-05-27 07:32:00", "0xff", "nan"])
plain = st.one_of(scalars, strings)
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(st.tuples(gaps, inner, gaps), max_size=4).map(
            lambda items: "[" + ",".join(a + item + b for a, item, b in items) + "]"
        ),
        st.lists(st.tuples(dotted, inner), max_size=3).map(
            lambda items: "{ " + ", ".join(f"{key} = {value}" for key, value in items) + " }"
        ),
    ),
    max_leaves=6,
)
statements = st.one_of(
    st.tuples(dotted, values).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    dotted.map(lambda key: f"[{key}]"),
    dotted.map(lambda key: f"[[ {key} ]]"),
    st.just("# [a] = 1"),
    st.just(""),
)


@settings(deadline=None)
@given(st.lists(statements, max_size=10))
def test_generated_documents_are_located(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        document = tomllib.loads(numbered(text))
    except ValueError:
        assume(False)
        raise
    locator = Locator(numbered(text))
    assert set(locator.paths()) == set(paths(document))
    for path, value in leaves(document):
        # 0xff is never a line.
        if isinstance(value, int) and not isinstance(value, bool) and value != 255:
            assert locator.line(path) == value
        span = locator.value(path)
        assert span is not None
        # As text, for nan is not even the same as itself.
        assert repr(tomllib.loads(f"value = {locator.text[slice(*span)]}")["value"]) == repr(value)


def test_comments_headers_and_pairs_are_where_they_are() -> None:
    text = '# one\n[a]  # two\nb = "#"  # three # four\nc.d = [ # five\n 1 ]\n[[e]]\n'
    locator = Locator(text)
    assert [text[slice(*each)] for each in locator.comments()] == ["# one", "# two", "# three # four", "# five"]
    assert [(text[start:end], path) for start, end, path in locator.headers()] == [("[a]", ("a",)), ("[[e]]", ("e", 0))]
    assert locator.pair(("a", "c", "d")) == text.index("c.d") and locator.pair(("a", "c")) is None
    assert locator.value(("a",)) is None
    assert locator.edited([(6, 9, "[x]"), (0, 5, "#")]) == text.replace("# one\n[a]", "#\n[x]")


def test_unknown_path_is_where_its_nearest_holder_is() -> None:
    locator = Locator("x = 1\n[a]\nb = 2\n")
    assert locator.line(("a", "missing", 3)) == 2
    assert locator.line(("nothing",)) == 1


@settings(deadline=None)
@given(st.text())
def test_any_text_at_all_ends(text: str) -> None:
    assert Locator(text).line(()) == 1
