"""Edits by path: the value changes, and not a blank of anything else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import check
from gateway.config.defaults import default_of
from gateway.config.edit import (
    EditError,
    NoSuchKeyError,
    as_document,
    find,
    parts_of,
    value_of,
    with_value,
    without,
    written,
)

DOCUMENT = """# Branch 42
schema = 1

[gateway]
name = "branch"  # ours

[sip]
listen = [
  "udp:[::]:5060",  # all
]

# The head office.
[[trunk]]
name = "hq"
technology = "sip"
host = "192.0.2.10"
qualify = 2000   # ms
# nothing more

# The provider.
[[trunk]]
name = "provider"
technology = "iax2"
host = "192.0.2.11"

[[phone]]
name = "a.b"
nat = []
[[route]]
context = "default"
match = "100"
to = ["echo"]
[[route]]
context = "default"
match = "200"
to = ["echo"]
"""


def test_a_value_is_replaced_in_its_place() -> None:
    assert with_value(DOCUMENT, "trunk.hq.qualify", "4000") == DOCUMENT.replace("2000   #", "4000   #")
    assert (
        with_value(DOCUMENT, "route.2.to", '["milliwatt"]') == DOCUMENT[::-1].replace('"ohce"', '"ttawillim"', 1)[::-1]
    )
    assert '[sip]\nlisten = ["tls:[::]:5061"]\n\n#' in with_value(DOCUMENT, "sip.listen", '["tls:[::]:5061"]')


def test_a_word_without_quotes_is_text() -> None:
    assert 'host = "192.0.2.12"\nqualify' in with_value(DOCUMENT, "trunk.hq.host", "192.0.2.12")
    assert 'match = "300"' in with_value(DOCUMENT, "route.1.match", "300")
    assert 'defaultuser = "4711"' in with_value(DOCUMENT, "trunk.hq.defaultuser", "4711")
    assert value_of("true", "register") is True
    assert value_of("4000", "qualify") == 4000
    assert value_of(' "a b" ', "name") == "a b"


@pytest.mark.parametrize("value", ["", "a\nb", '"a', "[1", "{", "x" * 70_000, 'true\nother = "x"'])
def test_what_is_no_value_is_refused(value: str) -> None:
    with pytest.raises(EditError):
        with_value(DOCUMENT, "trunk.hq.qualify", value)


def test_a_new_key_stands_behind_the_others_of_its_table() -> None:
    text = with_value(DOCUMENT, "trunk.hq.register", "true")
    assert "qualify = 2000   # ms\nregister = true\n# nothing more\n" in text
    text = with_value(DOCUMENT, 'phone."a.b".max_contacts', "3")
    assert "nat = []\nmax_contacts = 3\n[[route]]" in text


def test_a_new_table_stands_behind_the_others_of_its_kind() -> None:
    text = with_value(DOCUMENT, "trunk.new.host", "192.0.2.13")
    assert 'host = "192.0.2.11"\n\n[[trunk]]\nname = "new"\nhost = "192.0.2.13"\n\n[[phone]]' in text
    text = with_value(DOCUMENT, "span.pstn.line", "e1")
    assert text.endswith('to = ["echo"]\n\n[[span]]\nname = "pstn"\nline = "e1"\n')
    text = with_value(DOCUMENT, "route.3.context", "internal")
    assert tomllib.loads(text)["route"][2] == {"context": "internal"}
    assert "\n[media]\nrtp_ports = [10, 20]\n" in with_value(DOCUMENT, "media.rtp_ports", "[10, 20]")


def test_timers_of_a_span_are_reached() -> None:
    text = with_value('[[span]]\nname = "a"\n[[span]]\nname = "b"\n', "span.a.timers.q931.T303_seconds", "5")
    assert text == '[[span]]\nname = "a"\ntimers.q931.T303_seconds = 5\n[[span]]\nname = "b"\n'
    text = with_value("[timers.q931]\nT303_seconds = 4\n", "timers.q921.N200", "5")
    assert tomllib.loads(text) == {"timers": {"q931": {"T303_seconds": 4}, "q921": {"N200": 5}}}
    text = with_value(
        '[[span]]\nname = "a"\n[span.timers.q931]\nT303_seconds = 4\n', "span.a.timers.q931.T310_seconds", "9"
    )
    assert text.endswith("T303_seconds = 4\nT310_seconds = 9\n")


def test_tables_in_one_line_are_edited_too() -> None:
    text = 'sip = { realm = "x" }\ntrunk = [{ name = "hq" }]\n'
    assert with_value(text, "sip.realm", "y") == text.replace('"x"', '"y"')
    assert tomllib.loads(with_value(text, "sip.useragent", "z"))["sip"] == {"realm": "x", "useragent": "z"}
    assert tomllib.loads(with_value(text, "trunk.hq.host", "h"))["trunk"] == [{"name": "hq", "host": "h"}]
    assert tomllib.loads(without(text, "sip.realm"))["sip"] == {}
    assert "trunk" not in tomllib.loads(without(text, "trunk.hq"))


def test_a_key_goes_with_its_line() -> None:
    assert without(DOCUMENT, "trunk.hq.qualify") == DOCUMENT.replace("qualify = 2000   # ms\n", "")
    assert without(DOCUMENT, "sip.listen") == DOCUMENT.replace('listen = [\n  "udp:[::]:5060",  # all\n]\n', "")


def test_a_table_goes_and_remarks_stay() -> None:
    text = without(DOCUMENT, "trunk.hq")
    assert [each["name"] for each in tomllib.loads(text)["trunk"]] == ["provider"]
    assert "# The provider.\n" in text
    assert "route" not in tomllib.loads(without(without(DOCUMENT, "route.2"), "route.1"))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("trunk.hq.qualfy", 'did you mean "qualify"'),
        ("trnk.hq.qualify", 'did you mean "trunk"'),
        ("sip.nonsense", "expected one of"),
        ("", "expected a path"),
        ("a b", "expected a path"),
        ("x" * 1000, "expected a path"),
        ("trunk.hq.qualify\n", "expected a path"),
        ("trunk", "path of a key"),
        ("trunk.hq", "path of a key"),
        ("sip", "path of a key"),
        ("route.9.to", "there is no route"),
        ("route.x.to", "there is no route"),
        ("route.1.line", "there is no key"),
    ],
)
def test_a_path_that_leads_nowhere_is_told(path: str, text: str) -> None:
    with pytest.raises(NoSuchKeyError, match=text):
        with_value(DOCUMENT, path, "1")


def test_what_is_not_written_cannot_be_removed_or_found() -> None:
    for path in ("trunk.hq.register", "trunk.xx", "media", "trunk.hq.host.deep"):
        with pytest.raises(NoSuchKeyError):
            without(DOCUMENT, path)
        with pytest.raises(NoSuchKeyError):
            find(tomllib.loads(DOCUMENT), path)
    with pytest.raises(EditError):
        with_value(DOCUMENT, "trunk.hq.host.deep", "1")


def test_values_are_shown_as_toml() -> None:
    root = tomllib.loads(DOCUMENT)
    assert as_document(find(root, "trunk.hq.qualify")) == "2000"
    assert as_document(find(root, "trunk.2.name")) == '"provider"'
    assert as_document(find(root, 'phone."a.b"')) == 'name = "a.b"\nnat = []\n'
    assert tomllib.loads(as_document(find(root, "sip"))) == root["sip"]
    assert default_of(root, "trunk.hq.qualifyfreq") == "60"
    assert default_of(root, "trunk.provider.trunkmtu") == "4096"
    assert default_of(root, "sip.auth_algorithms") == '["md5", "sha-512-256", "sha-256"]'
    assert default_of(root, "media.rtp_ports") == "[10000, 19999]"
    for path in ("trunk.hq.trunkmtu", "trunk.hq.secret", "route.1.caller", "trunk.xx.qualify", "span.a.timers"):
        with pytest.raises(NoSuchKeyError):
            default_of(root, path)


def test_what_an_edit_makes_is_checked_as_any_document() -> None:
    text = with_value(DOCUMENT, "trunk.hq.qualify", "soon")
    assert any(problem.key == "trunk[hq].qualify" for problem in check(text, Path("x.toml")))


_NAMES = st.sampled_from(["hq", "provider", "a.b", "new", "x-1", "7"])
_PATHS = st.one_of(
    st.builds(
        lambda section, name, key: f'{section}."{name}".{key}',
        st.sampled_from(["trunk", "phone", "span"]),
        _NAMES,
        st.sampled_from(["context", "timers.q931.T303_seconds", "host", "line", "secret", "group"]),
    ),
    st.sampled_from(["sip.listen", "sip.realm", "media.prompts", "gateway.name", "route.1.to", "route.3.to", "schema"]),
)
_VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-(10**9), 10**9), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(_PATHS, _VALUES, st.booleans()), max_size=8))
def test_any_edits_lose_no_remark_and_mean_what_they_say(edits: list[tuple[str, object, bool]]) -> None:
    text = DOCUMENT
    remarks = [line for line in DOCUMENT.splitlines() if line.startswith("#")]
    for path, value, remove in edits:
        try:
            text = without(text, path) if remove else with_value(text, path, written(value))
        except EditError:
            continue
        root = tomllib.loads(text)
        if remove:
            with pytest.raises(NoSuchKeyError):
                # Of a list another table may have taken its number.
                find(root, path if not path.startswith("route") else "route.9")
        else:
            found = find(root, path)
            texts = isinstance(value, int) and not isinstance(value, bool)
            assert found == value or (texts and found == str(value))
        assert [line for line in text.splitlines() if line.startswith("#")] == remarks
    assert parts_of("trunk.hq.qualify") == ("trunk", "hq", "qualify")
