"""The journal of calls: what was put is there after a kill at any octet, of this boot only, bounded on disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import call_journal
from gateway.boot import boot_identity
from gateway.call_journal import MAX_CONTENT, CallJournal


def _begun(path: Path, boot: str = "boot") -> CallJournal:
    journal = CallJournal(path, boot)
    journal.begin()
    return journal


def test_what_was_put_is_there_and_what_was_dropped_is_not(tmp_path: Path) -> None:
    journal = _begun(tmp_path / "calls")
    journal.put("a", b"one")
    journal.put("b", b"two")
    journal.put("a", b"three")
    journal.drop("b")
    journal.drop("never")
    # No close: a killed program does not.
    assert CallJournal(journal.path, "boot").read() == {"a": b"three"}
    assert len(journal) == 1
    journal.close(keep=True)


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        journal = _begun(tmp_path / "calls")
        journal.put("a", b"keys")
    finally:
        os.umask(old)
    assert journal.path.stat().st_mode & 0o777 == 0o600
    journal.close(keep=False)
    assert not journal.path.exists()


def test_one_that_never_began_leaves_the_file_of_before(tmp_path: Path) -> None:
    journal = _begun(tmp_path / "calls")
    journal.put("a", b"one")
    journal.close(keep=True)
    CallJournal(journal.path, "boot").close(keep=False)
    assert CallJournal(journal.path, "boot").read() == {"a": b"one"}


def test_what_was_put_before_the_beginning_is_in_the_new_file_at_once(tmp_path: Path) -> None:
    old = _begun(tmp_path / "calls")
    old.put("a", b"one")
    old.put("b", b"two")
    heir = CallJournal(old.path, "boot")
    assert set(heir.read()) == {"a", "b"}
    heir.put("a", b"taken up")
    assert CallJournal(old.path, "boot").read() == {"a": b"one", "b": b"two"}
    heir.begin()
    assert CallJournal(old.path, "boot").read() == {"a": b"taken up"}
    old.close(keep=True)
    heir.close(keep=True)


def test_of_another_boot_nothing_is_read(tmp_path: Path) -> None:
    journal = _begun(tmp_path / "calls", "before")
    journal.put("a", b"one")
    journal.close(keep=True)
    assert CallJournal(journal.path, "after").read() == {}
    assert CallJournal(journal.path, "befor").read() == {}


def test_cut_at_any_octet_it_gives_what_was_whole(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    journal = _begun(path)
    states: list[tuple[int, dict[str, bytes]]] = [(path.stat().st_size, {})]
    true: dict[str, bytes] = {}
    for name, content in [("a", b"1"), ("b", b"22"), ("a", b"333"), ("c", b"")]:
        journal.put(name, content)
        true[name] = content
        states.append((path.stat().st_size, dict(true)))
    journal.drop("b")
    del true["b"]
    states.append((path.stat().st_size, dict(true)))
    journal.close(keep=True)
    whole = path.read_bytes()
    for length in range(states[0][0], len(whole) + 1):
        path.write_bytes(whole[:length])
        expected = [state for size, state in states if size <= length][-1]
        assert CallJournal(path, "boot").read() == expected


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(max_size=200), at=st.integers(0, 400))
def test_garbage_never_raises_and_never_invents(tmp_path: Path, garbage: bytes, at: int) -> None:
    path = tmp_path / "calls"
    journal = _begun(path)
    journal.put("a", b"x" * 100)
    journal.put("b", b"y" * 100)
    journal.close(keep=True)
    data = bytearray(path.read_bytes())
    data[at : at + len(garbage)] = garbage
    path.write_bytes(data)
    found = CallJournal(path, "boot").read()
    assert found.items() <= {"a": b"x" * 100, "b": b"y" * 100}.items()


def test_the_file_stays_small_however_long_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_journal, "SLACK", 1000)
    journal = _begun(tmp_path / "calls")
    for turn in range(2000):
        journal.put(f"call {turn % 7}", b"%4d" % turn * 20)
        assert journal.path.stat().st_size < 1000 + 2 * 7 * 100
    assert CallJournal(journal.path, "boot").read() == {f"call {n % 7}": b"%4d" % n * 20 for n in range(1993, 2000)}
    journal.close(keep=True)


def test_a_full_disk_is_told_once_and_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = _begun(tmp_path / "calls")
    journal.put("a", b"one")
    real, full = os.write, True

    def write(descriptor: int, data: bytes) -> int:
        if full:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", write)
    journal.put("b", b"two")
    journal.put("c", b"three")
    journal.drop("a")
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    full = False
    journal.put("d", b"four")
    assert CallJournal(journal.path, "boot").read() == {"b": b"two", "c": b"three", "d": b"four"}
    assert caplog.records[-1].message.endswith("is written again")
    journal.close(keep=True)


def test_a_record_of_which_a_part_fitted_does_not_hide_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = _begun(tmp_path / "calls")
    journal.put("a", b"one")
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, bytes(data)[:5]))
    journal.put("b", b"two")
    monkeypatch.undo()
    journal.put("c", b"three")
    assert CallJournal(journal.path, "boot").read() == {"a": b"one", "b": b"two", "c": b"three"}
    journal.close(keep=True)


def test_what_is_too_long_is_refused(tmp_path: Path) -> None:
    journal = _begun(tmp_path / "calls")
    with pytest.raises(ValueError, match="octets"):
        journal.put("a", bytes(MAX_CONTENT + 1))
    with pytest.raises(ValueError, match="octets"):
        journal.put("", b"")
    journal.close(keep=False)


def test_the_kernel_says_which_boot_it_is() -> None:
    assert len(boot_identity()) > 30
