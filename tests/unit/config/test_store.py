"""The store of versions: what runs after a start, garbage, full and read-only disks, schemas, trials, what is kept."""

from __future__ import annotations

import errno
import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.migrations import Release, SchemaError, migrated, schema_of
from gateway.config.store import NoSuchVersionError, Store, StoreError, UnusableError
from gateway.config.store_passwords import named_secrets
from gateway.config.store_records import (
    MAX_DOCUMENT,
    Origin,
    RecordError,
    State,
    Trial,
    Version,
    read_state,
    read_version,
    state_record,
    version_record,
)
from gateway.config.store_staged import Staged
from tests.unit.config.forgetful_disk import ForgetfulDisk
from tests.unit.config.store_scene import RELEASE, document, examined, opened


def disk() -> ForgetfulDisk:
    return ForgetfulDisk(random.Random(1))


def commit(store: Store, name: str, passwords: dict[str, str] | None = None, trial: Trial | None = None) -> Version:
    text = store.take_passwords(document(name, passwords))
    return store.add(text, Origin.COMMIT, author="anna", comment="", wall=1e9, trial=trial)


def three(at: ForgetfulDisk) -> Store:
    store = opened(at)
    for name in ("one", "two", "three"):
        commit(store, name, {"hq": f"password of {name}"})
    return store


def name_of(store: Store) -> str:
    assert store.configuration is not None
    return store.configuration.gateway.name


# -- what is kept --


def test_a_version_is_there_after_a_restart() -> None:
    at = disk()
    version = commit(three(at), "four")
    at.release()
    store = opened(at)
    assert (store.running, name_of(store), store.degraded) == (4, "four", "")
    assert store.version(4) == version
    assert (version.parent, version.author, version.schema) == (3, "anna", 1)
    assert [each.number for each in store.versions] == [4, 3, 2, 1]
    assert store.state.previous == 3


def test_rolling_back_finds_the_old_password() -> None:
    at = disk()
    store = three(at)
    old = store.text(1)
    store.add(old, Origin.ROLLBACK, author="anna", comment="", wall=0.0, restores=1)
    (reference,) = named_secrets(store.text(4))
    assert at.contents()[reference].startswith(b"password of one\n")


def test_versions_are_bounded_and_their_passwords_go_with_them() -> None:
    at = disk()
    store = opened(at, kept=3)
    for number in range(10):
        commit(store, f"g{number}", {"hq": f"password {number}"})
    assert [version.number for version in store.versions] == [10, 9, 8]
    secrets = sorted(name for name in at.contents() if name.startswith("secrets/"))
    assert len(secrets) == 3
    assert secrets == sorted(each for version in store.versions for each in version.secrets)


def test_a_password_that_stays_is_written_once() -> None:
    at = disk()
    store = opened(at)
    commit(store, "one", {"hq": "the same as ever"})
    commit(store, "two", {"hq": "the same as ever"})
    assert store.version(1).secrets == store.version(2).secrets == ("secrets/hq.1",)


def test_passwords_of_what_is_staged_are_kept_until_it_is_discarded() -> None:
    at = disk()
    store = three(at)
    staged = store.take_passwords(document("four", {"desk": "to be or not"}))
    store.stage(Staged(staged, "anna", 1e9, 3))
    commit(store, "five")
    at.release()
    store = opened(at)
    assert store.staged == Staged(staged, "anna", 1e9, 3)
    commit(store, "six")
    assert "secrets/desk.1" in at.contents() and b"to be or not" not in at.contents()["staged"]
    store.unstage()
    assert "secrets/desk.1" not in at.contents() and "staged" not in at.contents()


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_garbage_is_taken_for_what_is_staged(data: bytes, at: int) -> None:
    on = disk()
    three(on).stage(Staged(document("four"), "anna", 1e9, 3))
    good = on.contents()["staged"]
    for content in (data, good[:at], good[:at] + b"x" + good[at:], good[:at] + data):
        on.spoil("staged", content)
        on.release()
        store = opened(on)
        assert store.staged is None or content == good
        assert name_of(store) == "three" and not store.degraded


def test_what_is_staged_is_kept_whole_or_not_at_all_on_a_disk_that_fails() -> None:
    at = disk()
    store = three(at)
    first, second = (Staged(document(name), "anna", 1e9, 3) for name in ("four", "five"))
    store.stage(first)
    steps = at.steps
    store.stage(second)
    for step in range(at.steps - steps):
        store.stage(first)
        at.fail_at = at.steps + step
        with pytest.raises(StoreError, match="cannot be kept"):
            store.stage(second)
        at.fail_at = None
        assert store.staged == first
        at.release()
        store = opened(at)
        assert store.staged in (first, second)


def test_a_document_has_a_limit() -> None:
    store = three(disk())
    text = document("four") + "#" * MAX_DOCUMENT
    with pytest.raises(StoreError, match="octets"):
        store.add(text, Origin.COMMIT, author="", comment="", wall=0.0)
    with pytest.raises(UnusableError):
        store.add(document("wrong"), Origin.COMMIT, author="", comment="", wall=0.0)
    assert store.running == 3
    with pytest.raises(NoSuchVersionError):
        store.text(4)


def test_a_first_version_without_its_state_is_made_the_active_one_for_good() -> None:
    at = disk()
    commit(opened(at), "one")
    at.release()
    at.unlink("state.json")
    assert name_of(opened(at)) == "one"
    assert read_state(at.contents()["state.json"]).active == 1


# -- trials --


def on_trial(at: ForgetfulDisk, until: int = 60_000_000) -> Store:
    store = three(at)
    commit(store, "four", trial=Trial("first", until, 0.0))
    at.release()
    return store


def test_a_trial_goes_on_over_a_restart_of_the_daemon() -> None:
    at = disk()
    on_trial(at)
    store = opened(at, now=59_999_999)
    assert (store.running, store.state.trial) == (4, Trial("first", 60_000_000, 0.0))


@pytest.mark.parametrize(("boot", "now"), [("first", 60_000_000), ("second", 10)])
def test_a_trial_that_is_over_is_undone_at_the_start(boot: str, now: int) -> None:
    at = disk()
    on_trial(at)
    for _ in range(2):
        # At the next start it is still so.
        store = opened(at, boot=boot, now=now)
        assert (store.running, store.state.active, store.state.previous, name_of(store)) == (3, 3, 2, "three")
        assert store.version(4).undone
        assert store.degraded == ""
        at.release()


def test_a_trial_is_over_where_nobody_knows_whether_the_host_began_anew() -> None:
    at = disk()
    store = opened(at, boot="")
    commit(store, "one")
    commit(store, "two", trial=Trial("", 60_000_000, 0.0))
    at.release()
    assert name_of(opened(at, boot="", now=1)) == "one"


@pytest.mark.parametrize("wall", [0.0, -1e9, 1e11])
def test_the_wall_clock_decides_nothing(wall: float) -> None:
    at = disk()
    on_trial(at)
    assert opened(at, wall=wall, now=1).running == 4
    at.release()
    assert opened(at, wall=wall, now=60_000_000).running == 3


def test_what_was_confirmed_stays() -> None:
    at = disk()
    store = on_trial(at)
    store.confirm()
    assert opened(at, boot="second").running == 4


def test_an_undone_version_is_never_gone_back_to() -> None:
    at = disk()
    store = on_trial(at)
    store.undo("a whim")
    commit(store, "five")
    assert store.state.previous == 3
    store.undo("another")
    assert (store.running, store.state.previous) == (3, 2)
    assert store.version(4).undone == "a whim"


# -- garbage --


def test_garbage_in_any_file_leaves_a_good_version_and_a_clear_word() -> None:
    whole = disk()
    three(whole)
    rng = random.Random(2)
    for name, content in whole.contents().items():
        spoiled = bytearray(content)
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
        for garbage in (
            bytes(spoiled),
            b"",
            b"{}",
            rng.randbytes(100),
            content[: len(content) // 2],
            bytes(len(content)),
        ):
            at = disk()
            three(at)
            at.release()
            at.spoil(name, garbage)
            store = opened(at)
            assert name_of(store) in ("two", "three"), (name, garbage)
            assert name_of(store) == "three" or store.degraded, (name, garbage)
            # And it goes on from there.
            commit(store, "four")
            at.release()
            again = opened(at)
            assert (name_of(again), again.degraded) == ("four", "")


def test_a_damaged_password_is_not_used() -> None:
    at = disk()
    reference = named_secrets(three(at).text(3))[0]
    at.release()
    for garbage in (b"another password\n", b"password of three\n", b"", b"password of thref\n" + b"0" * 64 + b"\n"):
        at.spoil(reference, garbage)
        store = opened(at)
        assert name_of(store) == "two"
        assert f"{reference} is damaged" in store.degraded
        at.release()
    at.unlink(reference)
    store = opened(at)
    assert name_of(store) == "two"
    assert f"{reference} cannot be read" in store.degraded


def test_garbage_everywhere_leaves_nothing_configured_and_says_so() -> None:
    at = disk()
    three(at)
    at.release()
    for name in at.contents():
        at.spoil(name, b"\xff\x00")
    before = at.contents()
    store = opened(at)
    store.stand_by()
    assert "no version can be used" in store.degraded
    assert store.unconfigured and not store.virgin and name_of(store) == "unconfigured"
    # All is as it was, for whoever can mend it.
    assert at.contents() == before
    commit(store, "mended")
    at.release()
    store = opened(at)
    assert name_of(store) == "mended" and not store.degraded and not store.unconfigured
    assert [version.origin for version in store.versions[:2]] == [Origin.COMMIT, Origin.DEFAULT]


def test_what_was_never_configured_is_gone_back_to_after_a_first_commit_on_trial() -> None:
    at = disk()
    store = opened(at)
    store.stand_by()
    assert store.unconfigured and store.virgin and store.running == 0 and not at.contents()
    assert "listen = []" in store.text(0)
    commit(store, "one", trial=Trial("first", 60_000_000, 0.0))
    assert name_of(store) == "one" and not store.unconfigured and not store.virgin
    store.undo("a whim")
    assert name_of(store) == "unconfigured" and store.unconfigured and store.running == 1
    at.release()
    store = opened(at)
    assert store.unconfigured and not store.virgin


@given(st.binary(max_size=200))
def test_records_take_any_bytes(data: bytes) -> None:
    for read in (read_state, read_version):
        with pytest.raises(RecordError):
            read(data)


@given(st.integers(0, 500), st.integers(0, 7))
def test_no_flipped_bit_of_a_record_is_believed(at: int, bit: int) -> None:
    record = version_record(Version(1, 1.5, "anna", "ä\n", 1, "0" * 64, 0, Origin.IMPORT, ("secrets/hq.1",)))
    assert read_version(record).author == "anna"
    spoiled = bytearray(record)
    spoiled[at % len(record)] ^= 1 << bit
    try:
        version = read_version(bytes(spoiled))
    except RecordError:
        return
    # Blanks between the words say nothing.
    assert version == read_version(record)


def test_state_that_makes_no_sense_is_no_state() -> None:
    for state in (State(active=3, last=2), State(active=0, last=2)):
        with pytest.raises(RecordError):
            read_state(state_record(state))
    good = State(2, 1, 3, Trial("b", 5, 1.0), {3: "so"})
    assert read_state(state_record(good)) == good


# -- disks that refuse --


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_at_any_step_leaves_all_as_it_was(code: int) -> None:
    for step in itertools.count():
        at = disk()
        store = three(at)
        before = at.steps
        at.fail_at, at.fail_with = before + step, code
        try:
            version = commit(store, "four", {"hq": "password of four", "desk": "another"})
        except StoreError as error:
            assert "cannot be written" in str(error)
            assert (store.running, name_of(store), store.state.active) == (3, "three", 3)
            at.fail_at = None
            at.release()
            again = opened(at)
            assert (again.running, name_of(again), again.degraded) == (3, "three", "")
            # With room again it works.
            assert commit(again, "four").number == 4
        else:
            assert version.number == 4
            at.fail_at = None
            at.release()
            assert name_of(opened(at)) == "four"
            if at.steps < before + step:
                return


def test_a_disk_that_stays_full_keeps_the_old_version() -> None:
    for step in range(40):
        at = disk()
        store = three(at)
        at.fail_at, at.fail_steps = at.steps + step, 10_000
        try:
            commit(store, "four", {"hq": "password of four"})
            expected = "four"
        except StoreError:
            assert name_of(store) == "three"
            expected = "three"
        at.fail_at = None
        at.release()
        again = opened(at)
        # What became visible and could not be taken back is whole too.
        assert name_of(again) == expected or (name_of(again) == "four" and again.version(4))
        assert again.degraded == ""


def read_only(at: ForgetfulDisk) -> None:
    at.release()
    at.fail_at, at.fail_steps, at.fail_with = at.steps, 10_000, errno.EROFS


def test_a_read_only_disk_runs_what_is_on_it() -> None:
    at = disk()
    three(at)
    read_only(at)
    store = opened(at)
    assert (store.running, store.degraded) == (3, "")
    with pytest.raises(StoreError):
        commit(store, "four", {"hq": "x" * 9})
    assert store.running == 3


def test_a_trial_is_undone_even_if_that_cannot_be_written() -> None:
    at = disk()
    on_trial(at)
    read_only(at)
    store = opened(at, boot="second")
    assert (store.running, name_of(store)) == (3, "three")
    assert "cannot be written" in store.degraded


def test_undoing_works_on_a_full_disk() -> None:
    at = disk()
    store = on_trial(at)
    at.fail_at, at.fail_steps = at.steps, 10_000
    assert store.undo("not confirmed").number == 3
    assert name_of(store) == "three"
    assert "cannot be written" in store.degraded


def test_two_writers_are_one_too_many() -> None:
    at = disk()
    three(at)
    with pytest.raises(StoreError, match="another gateway"):
        opened(at)


# -- schemas --


def second(text: str) -> str:
    return text.replace("schema = 1", "schema = 2").replace("name = ", "title = ")


def examined_second(text: str, path: object) -> object:
    return examined(text.replace("title = ", "name = "), path)  # type: ignore[arg-type]


NEXT = Release(schema=2, steps={1: second}, examine=examined_second)  # type: ignore[arg-type]


def test_a_newer_schema_leads_to_the_last_good_version() -> None:
    at = disk()
    three(at)
    at.release()
    newer = opened(at, release=NEXT)
    assert name_of(newer) == "three"
    at.release()
    older = opened(at)
    assert (older.running, name_of(older)) == (3, "three")
    assert "schema is 2" in older.degraded
    assert older.state.active == 4
    at.release()
    # The newer release finds its own again.
    assert opened(at, release=NEXT).running == 4
    at.release()
    # What the older one commits is the next version, and all is well.
    older = opened(at)
    assert commit(older, "five").number == 5
    assert older.degraded == ""


def test_a_migration_works_on_a_copy() -> None:
    at = disk()
    store = three(at)
    text = store.text(3)
    at.release()
    store = opened(at, release=NEXT)
    assert store.text(3) == text
    assert 'title = "three"' in store.text(4)
    version = store.version(4)
    assert (version.origin, version.parent, version.schema) == (Origin.MIGRATION, 3, 2)
    at.release()
    assert opened(at, release=NEXT).running == 4


def test_a_migration_that_cannot_be_kept_runs_all_the_same() -> None:
    at = disk()
    three(at)
    read_only(at)
    store = opened(at, release=NEXT)
    assert name_of(store) == "three"
    assert "cannot be kept" in store.degraded


def test_a_trial_goes_on_over_a_migration() -> None:
    at = disk()
    on_trial(at)
    store = opened(at, now=1, release=NEXT)
    assert (store.running, store.state.previous) == (5, 3)
    at.release()
    store = opened(at, boot="second", release=NEXT)
    assert name_of(store) == "three"


def test_a_step_must_lead_somewhere() -> None:
    with pytest.raises(SchemaError, match="no way"):
        migrated("schema = 1", Release(schema=2, steps={}))
    with pytest.raises(SchemaError, match="nowhere"):
        migrated("schema = 1", Release(schema=2, steps={1: lambda text: text}))
    with pytest.raises(SchemaError, match="knows 1"):
        migrated("schema = 2", RELEASE)
    assert migrated("schema = 1", replace(RELEASE)) == "schema = 1"
    assert [schema_of(text) for text in ("schema = true", "schema", "schema = -1", "schema = 7")] == [0, 0, 0, 7]


# -- names and passwords --


@settings(max_examples=50)
@given(
    st.dictionaries(
        st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,20}", fullmatch=True),
        st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=40).filter(
            lambda text: text.isprintable() and text != "***" and not set('"\\') & set(text)
        ),
        max_size=4,
    )
)
def test_each_password_has_a_file_of_its_own(passwords: dict[str, str]) -> None:
    at = disk()
    store = opened(at)
    version = commit(store, "one", passwords)
    contents = at.contents()
    assert [contents[each].split(b"\n")[0].decode() for each in version.secrets] == list(passwords.values())
    assert len(set(version.secrets)) == len(passwords)
