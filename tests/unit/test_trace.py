"""Trace lines: what each message is called and what of it is told; broken ones are told as such."""

from __future__ import annotations

import json

from gateway.cause import Cause
from gateway.pri.q931.ie import CauseElement, ChannelIdentification, ProgressDescription, ProgressIndicator
from gateway.pri.q931.message import CallReference, Message, MessageType, encode
from gateway.trace import MAX_TEXT, trace_frame, trace_sip

INVITE = (
    b"INVITE sip:1@b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\nTo: <sip:1@b>\r\n"
    b"Call-ID: abc\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def frame(message: Message) -> bytes:
    return b"\x02\x01\x00\x00" + encode(message)


def test_a_setup_with_its_channel() -> None:
    message = Message(MessageType.SETUP, CallReference(5, False, 2), (ChannelIdentification((3,), exclusive=True),))
    line = trace_frame(7, "pstn", True, frame(message))
    assert line is not None
    assert (line.at, line.wire, line.inward, line.message) == (7, "pstn", True, "SETUP")
    assert (line.detail, line.dialogue) == ("channel 3!", "5")


def test_progress_and_cause_are_told() -> None:
    elements = (CauseElement(Cause.USER_BUSY), ProgressIndicator(ProgressDescription.INBAND_INFORMATION))
    line = trace_frame(0, "pstn", False, frame(Message(MessageType.DISCONNECT, CallReference(1, True, 2), elements)))
    assert line is not None
    assert line.detail == "progress 8, cause 17"


def test_frames_without_a_message_are_none_and_broken_ones_say_so() -> None:
    assert trace_frame(0, "pstn", True, b"\x02\x01\x01\x01") is None
    assert trace_frame(0, "pstn", True, b"\x02\x01\x7f") is None
    line = trace_frame(0, "pstn", True, b"\x02\x01\x00\x00\x08")
    assert line is not None
    assert line.message == "(broken)"


def test_sip_messages() -> None:
    line = trace_sip(1, "udp:a:5060", False, INVITE)
    assert line is not None
    assert (line.message, line.detail, line.dialogue) == ("INVITE", "", "abc")
    answer = INVITE.replace(b"INVITE sip:1@b SIP/2.0", b"SIP/2.0 200 OK").replace(b"1 INVITE", b"2 BYE")
    line = trace_sip(1, "udp:a:5060", True, answer)
    assert line is not None
    assert (line.message, line.detail) == ("200 OK", "to BYE")
    assert trace_sip(1, "udp:a:5060", True, b"\r\n\r\n") is None
    broken = trace_sip(1, "udp:a:5060", True, b"INVITE " + b"x" * 500)
    assert broken is not None
    assert broken.message == "(broken)" and len(broken.detail) <= MAX_TEXT


def test_sip_messages_without_what_they_must_have_are_traced_all_the_same() -> None:
    for start in (b"SIP/2.0 400 Bad Request", b"INVITE sip:1@b SIP/2.0"):
        for odd in (b"", b"CSeq: x\r\n", b"Call-ID: caf\xe9\r\nCSeq:\r\n"):
            line = trace_sip(1, "udp:a:5060", False, start + b"\r\n" + odd + b"\r\n")
            assert line is not None
            assert line.message == start.partition(b" ")[2].decode() or line.message == "INVITE"
            assert line.to_json().isascii()


def test_a_line_is_one_json_object() -> None:
    line = trace_sip(1, "udp:a:5060", False, INVITE)
    assert line is not None
    assert json.loads(line.to_json())["dir"] == "out"
    assert "\n" not in line.to_json()
