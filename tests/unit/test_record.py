"""Call records: what a line holds, and a file that grows, is rotated, runs out of disk and is read again."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.identity import (
    Number,
    Party,
    Presentation,
    Redirection,
    RedirectionReason,
    Screening,
    TypeOfNumber,
)
from gateway.media.api import Statistics
from gateway.record import (
    MAX_LINE,
    AttemptRecord,
    CallRecord,
    RecordError,
    RecordWriter,
    WallClock,
    from_iso,
    iso,
    leg_document,
    number_record,
    party_record,
    read_records,
    redirection_record,
)

START = 1_764_000_000_123_000


def a_record(identity: str = "1", **changes: object) -> CallRecord:
    record = CallRecord(
        id=identity,
        start=START,
        source="pstn",
        context="from-pstn",
        dialled="4165551234",
        cause=17,
        released_by="called",
        end=START + 9_500_000,
        routed=START + 1_000,
        ringing=START + 2_000_000,
        answer=START + 4_000_000,
        sent="1234",
        caller={"number": "905", "name": "Zoë"},
        incoming={"technology": "pri", "channel": 3},
        attempts=(
            AttemptRecord("pri:g0/1", "1", 34, {"technology": "pri"}),
            AttemptRecord("sip:hq/1234", "1234", 17, {"technology": "sip", "sip_status": 486, "codec": "alaw"}),
        ),
        facts=("secure_media",),
        one_way=True,
        notes=("nothing heard",),
    )
    return replace(record, **changes)


def test_line_holds_everything_in_words_an_operator_reads() -> None:
    line = json.loads(a_record().to_json())
    assert line["start"] == "2025-11-24T16:00:00.123Z"
    assert line["answer"] == "2025-11-24T16:00:04.123Z"
    assert line["end"] == "2025-11-24T16:00:09.623Z"
    assert line["talk_seconds"] == 5.5
    assert (line["cause"], line["cause_name"], line["released_by"]) == (17, "user_busy", "called")
    assert line["sip_status"] == 486
    assert line["attempts"][1] == {
        "destination": "sip:hq/1234",
        "number": "1234",
        "cause": 17,
        "leg": {"technology": "sip", "sip_status": 486, "codec": "alaw"},
    }
    assert line["caller"]["name"] == "Zoë"
    assert line["one_way"] is True
    assert line["v"] == 1


def test_call_that_never_got_anywhere_has_a_record() -> None:
    record = CallRecord("2", START, "hq", "from-hq", "999", 1, "dial plan", START + 400)
    line = json.loads(record.to_json())
    assert (line["ringing"], line["answer"], line["routed"], line["sip_status"]) == (None, None, None, None)
    assert (line["talk_seconds"], line["attempts"], line["cause_name"]) == (0.0, [], "unallocated_number")
    assert CallRecord.from_json(record.to_json()) == replace(record, end=START)


def test_record_reads_back_what_it_wrote() -> None:
    assert CallRecord.from_json(a_record().to_json()) == a_record()


def test_incoming_sip_status_counts_where_the_outgoing_leg_is_not_sip() -> None:
    record = a_record(attempts=(AttemptRecord("pri:g0/1"),), incoming={"sip_status": 404})
    assert record.sip_status == 404


def test_members_of_every_table_have_names_of_their_own() -> None:
    for kind, presentation, screening in itertools.product(TypeOfNumber, Presentation, Screening):
        document = number_record(Number("1", type=kind, presentation=presentation, screening=screening))
        assert document["type"] == kind.name.lower()
        assert document["presentation"] == presentation.name.lower()
        assert document["screening"] == screening.name.lower()


def test_what_says_more_of_an_attempt_is_in_the_line_and_read_back() -> None:
    record = a_record(attempts=(AttemptRecord("pri:g0/1", "1", 34, text="no channel is free"),))
    assert json.loads(record.to_json())["attempts"][0]["text"] == "no channel is free"
    assert CallRecord.from_json(record.to_json()) == record


def test_unknown_cause_number_is_named_by_its_class() -> None:
    assert json.loads(a_record(cause=45).to_json())["cause_name"] == "resource_unavailable"


def test_octets_that_are_no_utf_8_are_written_escaped() -> None:
    odd = b"caf\xe9".decode("utf-8", "surrogateescape")
    record = a_record(incoming={"technology": "sip", "call_id": odd}, notes=(odd,))
    read = CallRecord.from_json(record.to_json())
    assert read.incoming["call_id"] == "caf\\udce9"
    assert read.notes == ("caf\\udce9",)


def test_record_that_is_too_long_is_cut_and_says_so() -> None:
    record = a_record(notes=tuple("x" * 1000 for _ in range(70)))
    line = record.to_json()
    assert len(line) < MAX_LINE
    assert CallRecord.from_json(line).notes == ("cut short",)


@pytest.mark.parametrize(
    "line", [b"", b"{", b"[]", b"{}", b'{"v":2}', b'{"v":1,"id":1}', b"\xff", b'{"v":1,"start":"soon"}', b"null"]
)
def test_other_lines_are_record_errors(line: bytes) -> None:
    with pytest.raises(RecordError):
        CallRecord.from_json(line)


@settings(deadline=None)
@given(st.binary(max_size=80) | st.text(max_size=40).map(lambda text: f'{{"v":1,"start":"{text}"}}'.encode()))
def test_random_lines_are_record_errors(line: bytes) -> None:
    with pytest.raises(RecordError):
        CallRecord.from_json(line)


@settings(deadline=None)
@given(st.integers(0, 4_000_000_000_000_000))
def test_times_are_kept_to_the_millisecond(time: int) -> None:
    assert from_iso(iso(time)) == time // 1000 * 1000


def test_monotonic_times_map_to_the_wall_clock() -> None:
    clock = WallClock(wall=START, monotonic=500)
    assert clock.at(1500) == START + 1000
    assert clock.at(None) is None


def test_identities_as_json() -> None:
    number = Number(
        "416",
        TypeOfNumber.NATIONAL,
        presentation=Presentation.RESTRICTED,
        screening=Screening.NETWORK,
    )
    expected = {
        "number": "416",
        "type": "national",
        "plan": "isdn",
        "presentation": "restricted",
        "screening": "network",
    }
    assert number_record(number) == expected
    assert party_record(Party(number, "Ann")) == {**expected, "name": "Ann"}
    assert party_record(Party(name="Ann")) == {"name": "Ann"}
    assert party_record(None) == {}
    redirection = Redirection(number, RedirectionReason.BUSY, 2, Number("905"))
    assert redirection_record(redirection) == {**expected, "reason": "busy", "count": 2, "original": "905"}
    assert redirection_record(None) is None


def test_voice_figures_are_rounded_and_the_loss_is_in_percent() -> None:
    media = Statistics(packets_received=190, lost=10, jitter=1.23456, mos=4.40999).by_name()
    line = json.loads(a_record(incoming={"technology": "sip", "media": media}).to_json())
    voice = line["incoming"]["media"]
    assert (voice["loss_percent"], voice["jitter"], voice["mos"], voice["lost"]) == (5.0, 1.23, 4.41, 10)
    assert leg_document({"media": Statistics().by_name()})["media"]["loss_percent"] == 0.0  # type: ignore[index]
    assert leg_document({"media": None}) == {"media": None}


# -- the file --


def test_writer_appends_one_line_each_and_the_reader_finds_them(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_bytes(a_record("0").to_json() + b"\n")
    writer = RecordWriter(path)
    assert all(writer.write(a_record(str(number))) for number in range(1, 4))
    writer.close()
    assert path.read_bytes().count(b"\n") == 4
    assert [record.id for record in read_records(path)] == ["0", "1", "2", "3"]
    assert (writer.written, writer.errors) == (3, 0)


def test_file_is_rotated_before_it_grows_past_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    size = len(a_record("10").to_json()) + 1
    writer = RecordWriter(path, max_bytes=2 * size, files=2)
    for number in range(10, 19):
        assert writer.write(a_record(str(number)))
    writer.close()
    kept = [[record.id for record in read_records(tmp_path / name)] for name in ("calls.jsonl.2", "calls.jsonl.1")]
    assert kept == [["14", "15"], ["16", "17"]]
    assert [record.id for record in read_records(path)] == ["18"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["calls.jsonl", "calls.jsonl.1", "calls.jsonl.2"]


def test_record_larger_than_the_limit_is_still_written(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "c", max_bytes=10)
    assert writer.write(a_record("1"))
    assert writer.write(a_record("2"))
    writer.close()
    assert [record.id for record in read_records(tmp_path / "c")] == ["2"]


def test_unwritable_file_is_counted_and_logged_once_and_calls_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "records"
    writer = RecordWriter(directory / "calls.jsonl")
    assert not writer.write(a_record())
    assert not writer.write(a_record())
    directory.mkdir()
    assert writer.write(a_record("3"))
    writer.close()
    assert (writer.written, writer.errors) == (1, 2)
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
    assert "2 were lost" in caplog.text


def test_full_disk_tears_a_line_and_the_next_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "calls.jsonl"
    writer = RecordWriter(path)
    assert writer.write(a_record("1"))
    real_write = os.write

    def half(descriptor: int, data: bytes) -> int:
        return real_write(descriptor, data[:50])

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    assert not writer.write(a_record("2"))
    monkeypatch.setattr(os, "write", full)
    assert not writer.write(a_record("3"))
    monkeypatch.setattr(os, "write", real_write)
    assert writer.write(a_record("4"))
    writer.close()
    assert [record.id for record in read_records(path)] == ["1", "4"]
    assert writer.errors == 2


@pytest.mark.parametrize("moved", [True, False])
def test_file_that_others_move_or_remove_is_begun_anew(tmp_path: Path, moved: bool) -> None:
    path = tmp_path / "calls.jsonl"
    writer = RecordWriter(path)
    assert writer.write(a_record("1"))
    if moved:
        path.rename(tmp_path / "yesterday")
    else:
        path.unlink()
    assert writer.write(a_record("2"))
    assert writer.write(a_record("3"))
    writer.close()
    assert [record.id for record in read_records(path)] == ["2", "3"]


def test_what_keeps_records_from_being_written_is_told_before_the_first_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = RecordWriter(tmp_path)
    assert not writer.prepare()
    assert "call records cannot be written" in caplog.text
    assert not writer.errors
    good = RecordWriter(tmp_path / "calls.jsonl")
    assert good.prepare()
    good.close()


def test_line_torn_by_a_crash_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_bytes(a_record("1").to_json() + b"\n" + a_record("2").to_json()[:40])
    writer = RecordWriter(path)
    assert writer.write(a_record("3"))
    writer.close()
    assert [record.id for record in read_records(path)] == ["1", "3"]
    assert "not a call record" in caplog.text
