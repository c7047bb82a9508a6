"""Passwords are taken out of a document, wherever they stand in it, and nothing else of it changes."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.edit import written
from gateway.config.store_secrets import SecretsError, references, revision_of, take_secrets


class Files:
    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def place(self, name: str, password: str) -> str:
        reference = f"secrets/{name}.{len(self.kept) + 1}"
        self.kept[reference] = password
        return reference


def taken(text: str) -> tuple[str, dict[str, str]]:
    files = Files()
    return take_secrets(text, files.place), files.kept


def test_only_the_password_changes() -> None:
    text, kept = taken(
        '# all\r\n[[trunk]]  # one\nsecret   =  "open sesame"   # two\nname = "hq"\n\n[[phone]]\nname="p"\n'
        "secret='x#y\"z'\n"
    )
    assert text == (
        '# all\n[[trunk]]  # one\nsecret   =  { file = "secrets/hq.1" }   # two\nname = "hq"\n\n[[phone]]\nname="p"\n'
        'secret={ file = "secrets/p.2" }\n'
    )
    assert kept == {"secrets/hq.1": "open sesame", "secrets/p.2": 'x#y"z'}


def test_references_stay() -> None:
    text = '[[trunk]]\nname = "hq"\nsecret = { file = "/etc/x" }\n[[trunk]]\nname = "b"\nsecret.file = "secrets/b.7"\n'
    assert taken(text) == (text, {})
    assert references(tomllib.loads(text)) == ("secrets/b.7",)
    assert revision_of("secrets/b.7") == ("b", 7)
    assert [
        revision_of(name) for name in ("secrets/../x.1", "secrets/b", "secrets/b.0", "/secrets/b.1", "secrets/b.1\n")
    ] == [None] * 5


@pytest.mark.parametrize(
    "text",
    [
        'trunk = [{ name = "hq", secret = "hunter2hunter2" }]',
        'phone = [ # one\n {secret = "hunter2hunter2",\tname="p"} ]',
        '[[trunk]]\nname = "hq"\nsercet = "hunter2hunter2"',
        '[[trunk]]\nname = "hq"\nsecret = { text = "hunter2hunter2" }',
        '[[trunk]]\nname = "hq"\nsecret = ["hunter2hunter2"]',
        '[[trunk]]\nname = "hq"\nsecret.password.deep = "hunter2hunter2"',
        '[[trunk]]\nname = "hq"\n[trunk.secret]\nfile = "x"\ntext = "hunter2hunter2"',
        'secret = "hunter2hunter2"',
        '[trunk]\nname = "hq"\nsecret = "hunter2hunter2"',
        '[sip]\nsercet = "hunter2hunter2"',
        'sercet = "hunter2hunter2"',
        '[nonsense.deep]\nx = ["hunter2hunter2"]',
        'phone = "hunter2hunter2"',
        '[sip]\nauth_password = "hunter2hunter2"',
        '[[trunk]]\nname = "bad name!"\nsecret = "hunter2hunter2"',
        '[[trunk]]\nname = "a"\nsecret = "hunter2hunter2"\n[[trunk]]\nname = "a"\nsecret = "hunter2hunter2"',
        '[[trunk]]\nsecret = "hunter2hunter2"',
        '[[trunk]]\nname = "a"\nsecret = """hunter2hunter2"""',
        "[[trunk]]\nname = 'a'\n'secret' = '''hunter2hunter2'''",
        '[[trunk]]\nname = "a"\n"s\\u0065cret" = "hunter2hunter2"',
        '[[trunk]]\nname = "a"\n# secret = "hunter2hunter2"\n',
        "# the password: hunter2hunter2",
        "# its password was 'hunter2hunter2' once",
        '[[trunk]]\nname = "a"\nsecret = "hunter2hunter2"  # it is hunter2hunter2, really',
    ],
)
def test_no_password_is_left_wherever_it_stands(text: str) -> None:
    fresh, _ = taken(text)
    assert "hunter2" not in fresh
    tomllib.loads(fresh)
    # Nothing more is to be found in what is left.
    assert taken(fresh) == (fresh, {})


def test_numbers_that_are_none_are_in_nobody_s_way() -> None:
    fresh, kept = taken('[[trunk]]\nname = "a"\nptime = nan\nsecret = "open sesame"\n')
    assert "nan" in fresh and list(kept) == ["secrets/a.1"]


def test_what_was_struck_out_is_no_password() -> None:
    text = '[[trunk]]\nname = "a"\nsecret = "***"\n'
    assert taken(text) == (text, {})


@pytest.mark.parametrize("value", ["12345678", '""', "true", '"a\\nb"', f'"{"x" * 257}"', "1979-05-27"])
def test_what_cannot_be_a_password_is_not_kept(value: str) -> None:
    fresh, kept = taken(f'[[trunk]]\nname = "a"\nsecret = {value}\n')
    assert kept == {}
    assert tomllib.loads(fresh)["trunk"][0]["secret"] in ("", 0)


def test_many_peers_of_one_name_keep_their_passwords_apart() -> None:
    fresh, kept = taken('phone = [{ name = "a", secret = "one two" }, { name = "a", secret = "three" }]')
    assert sorted(kept) == ["secrets/_phone-1.1", "secrets/_phone-2.2"]
    assert [each["secret"]["file"] for each in tomllib.loads(fresh)["phone"]] == list(kept)


_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=8, max_size=30)
_KEYS = st.sampled_from(["secret", "sercet", "password", "name", "host", "context"])
_TABLES = st.lists(st.dictionaries(_KEYS, _WORDS, max_size=4), max_size=3)


@settings(max_examples=200)
@given(trunks=_TABLES, phones=_TABLES, inline=st.booleans())
def test_of_any_document_all_but_the_passwords_stays(
    trunks: list[dict[str, str]], phones: list[dict[str, str]], inline: bool
) -> None:
    if inline:
        text = f"trunk = {written(list(trunks))}\nphone = {written(list(phones))}\n"
    else:
        text = "".join(
            f"[[{section}]]\n" + "".join(f"{key} = {written(value)}\n" for key, value in table.items())
            for section, tables in (("trunk", trunks), ("phone", phones))
            for table in tables
        )
    fresh, kept = taken(text)
    root, made = tomllib.loads(text), tomllib.loads(fresh)
    for section in ("trunk", "phone"):
        for before, after in zip(root.get(section, []), made.get(section, []), strict=True):
            assert list(before) == list(after)
            for key, value in before.items():
                if key in ("secret", "sercet", "password"):
                    assert after[key] != value
                    assert isinstance(after[key], dict) is (key == "secret" and value.isprintable())
                else:
                    assert after[key] == value
    assert set(references(made)) == set(kept)


def test_text_that_is_no_toml_is_not_touched() -> None:
    with pytest.raises(tomllib.TOMLDecodeError):
        taken("secret = ")
    assert issubclass(SecretsError, ValueError)
