"""How digits leave by SIP: ``dtmfmode``, and what is done where the far end does not take that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.leg import Keypad
from gateway.voip.sip.codecs import codec_rows
from gateway.voip.sip.peers import DtmfMode, PeerSettings
from tests.unit.voip.sip.sip_far_end import FarEnd, sdp
from tests.unit.voip.sip.sip_pair import FakeMedia

INFO = ("Allow", "INVITE, ACK, BYE, CANCEL, INFO")
OPUS = b"m=audio 20000 RTP/AVP 107\r\na=rtpmap:107 opus/48000/2\r\n"


class PressedMedia(FakeMedia):
    def __init__(self) -> None:
        super().__init__()
        self.pressed: list[tuple[int, str, int]] = []

    def send_digits(self, stream: int, digits: str, milliseconds: int = 100) -> None:
        self.pressed.append((stream, digits, milliseconds))


def far_end(mode: DtmfMode, *codecs: str) -> tuple[FarEnd, PressedMedia]:
    def change(peer: PeerSettings) -> PeerSettings:
        return replace(peer, dtmfmode=mode, codecs=codec_rows(codecs or ("alaw",)))

    far = FarEnd(peer=change)
    media = PressedMedia()
    far.media = far.endpoint.media = media
    return far, media


@pytest.mark.parametrize(
    ("body", "fields", "by_info"),
    [
        (sdp(), (INFO,), False),
        (sdp(formats="8"), (INFO,), False),
        (b"v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n" + OPUS, (INFO,), True),
        (b"v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\n" + OPUS, (), False),
    ],
)
def test_auto_takes_events_then_tones_and_info_where_tones_do_not_survive(
    body: bytes, fields: tuple[tuple[str, str], ...], by_info: bool
) -> None:
    far, _ = far_end(DtmfMode.AUTO, "alaw", "opus")
    leg, _, invite = far.call_out()
    far.answer(invite, 200, *fields, body=body)
    far.take()
    assert leg.keypad("5", 100, far.now) is by_info
    assert far.names() == (["INFO"] if by_info else [])


@pytest.mark.parametrize("mode", DtmfMode)
def test_voice_has_no_digits_in_it_where_they_are_told(mode: DtmfMode) -> None:
    for call in (FarEnd.answered_out, FarEnd.answered_in):
        far, media = far_end(mode)
        leg, *_ = call(far)
        assert leg.stream is not None
        assert media.rtp[leg.stream].digits_told is (mode is DtmfMode.INFO)
        # Before the answer INFO is no way, so that voice is.
        assert not media.history[0][1].digits_told or len(media.history) == 1


@pytest.mark.parametrize("status", [405, 415, 501])
def test_digits_that_are_refused_in_info_go_as_tones_from_then_on(status: int) -> None:
    far, media = far_end(DtmfMode.INFO)
    leg, _, _ = far.answered_out()
    leg.keypad("12", 160, far.now)
    far.answer(far.take_request("INFO"), status)
    assert leg.stream is not None
    assert media.pressed == [(leg.stream, "1", 160), (leg.stream, "2", 160)]
    assert not media.rtp[leg.stream].digits_told
    assert far.take() == []
    assert not leg.keypad("3", 100, far.now)


def test_one_info_that_is_refused_for_itself_changes_nothing() -> None:
    far, media = far_end(DtmfMode.INFO)
    leg, _, _ = far.answered_out()
    leg.keypad("1", 160, far.now)
    far.answer(far.take_request("INFO"), 500)
    assert media.pressed == []
    assert leg.keypad("2", 100, far.now)
    far.take_request("INFO")


def test_digits_by_info_before_the_answer_are_heard() -> None:
    far, _ = far_end(DtmfMode.INFO)
    leg, notes, _ = far.call_in()
    leg.progress(True, far.now)
    tag = far.take_response(183).to.tag
    far.request("INFO", to_tag=tag, body=b"Signal=5\r\nDuration=160\r\n", content_type="application/dtmf-relay")
    far.take_response(200)
    assert notes.events[-1] == Keypad("5", 160)


@pytest.mark.parametrize(
    ("codecs", "offered"),
    [
        (("alaw",), ["101 telephone-event/8000"]),
        (("opus", "alaw"), ["110 telephone-event/48000", "101 telephone-event/8000"]),
        (
            ("slin16", "g722", "opus"),
            ["119 telephone-event/16000", "101 telephone-event/8000", "110 telephone-event/48000"],
        ),
    ],
)
def test_events_are_offered_at_the_clock_of_every_codec(codecs: tuple[str, ...], offered: list[str]) -> None:
    far, _ = far_end(DtmfMode.RFC4733, *codecs)
    _, _, invite = far.call_out()
    lines = invite.body.decode().split("\r\n")
    assert [line.removeprefix("a=rtpmap:") for line in lines if "telephone-event/" in line] == offered
    formats = next(line for line in lines if line.startswith("m=")).split()[3:]
    assert formats[len(codecs) :] == [each.split()[0] for each in offered]
    assert len(set(formats)) == len(formats)
