from __future__ import annotations

import pytest

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.sdp import (
    MAX_DESCRIPTION,
    MAX_FORMATS,
    MAX_LINES,
    MAX_MEDIA,
    Origin,
    RtpMap,
    SessionDescription,
    address_family,
)

FULL = (
    b"v=0\r\n"
    b"o=jdoe 3724394400 3724394405 IN IP4 198.51.100.1\r\n"
    b"s=Call to John Smith\r\n"
    b"i=SDP Offer #1\r\n"
    b"u=http://www.jdoe.example.com/home.html\r\n"
    b"c=IN IP4 198.51.100.1/127\r\n"
    b"b=AS:256\r\n"
    b"t=0 0\r\n"
    b"a=recvonly\r\n"
    b"x=what is this\r\n"
    b"m=audio 49170/2 RTP/AVP 0 97\r\n"
    b"c=IN IP6 2001:db8::2\r\n"
    b"a=rtpmap:97 iLBC/8000/1\r\n"
    b"a=fmtp:97 mode=20\r\n"
    b"a=rtcp-mux\r\n"
    b"a=ptime: 30\r\n"
    b"m=video 51372 RTP/AVP 99\r\n"
    b"a=rtpmap:99 h263-1998/90000\r\n"
    b"a=sendonly\r\n"
)
HEAD = b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\n"


def test_description_is_written_as_it_was_read() -> None:
    assert SessionDescription.parse(FULL).to_bytes() == FULL


def test_everything_in_a_full_description() -> None:
    description = SessionDescription.parse(FULL)
    assert description.origin == Origin("jdoe", "3724394400", 3724394405, "IP4", "198.51.100.1")
    assert description.name == "Call to John Smith"
    audio, video = description.media
    assert (audio.media, audio.port, audio.port_count, audio.protocol, audio.formats) == (
        "audio",
        49170,
        2,
        "RTP/AVP",
        ("0", "97"),
    )
    assert audio.rtpmaps() == {"97": RtpMap("ilbc", 8000)}
    assert audio.fmtp("97") == "mode=20" and audio.fmtp("9") is None
    assert (
        audio.attribute("rtcp-mux") == "" and audio.attribute("ptime") == "30" and audio.attribute("maxptime") is None
    )
    assert audio.attributes("rtpmap") == ["97 iLBC/8000/1"]
    assert description.address_of(audio) == "2001:db8::2"
    assert description.address_of(video) == "198.51.100.1"
    assert description.direction_of(audio) == "recvonly"
    assert description.direction_of(video) == "sendonly"
    assert description.attribute("recvonly") == ""


@pytest.mark.parametrize(
    "data",
    [
        HEAD.replace(b"\r\n", b"\n") + b"t=0 0\nm=audio 1 RTP/AVP 0\n",
        HEAD + b"m=audio 1 RTP/AVP 0",
        b"v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\nm=audio 1 RTP/AVP 0\r\n",
        HEAD + b"t=0 0\r\nm=audio 1 RTP/AVP 0\r\n\r\n",
        HEAD + b"t=0 0\r\nm=audio 1 RTP/AVP 0\r\n\0",
        b"v=0\r\no=- 1 1 IN IP4 host\r\ns=\r\nt=0 0\r\nm=AUDIO 1  RTP/AVP 0\r\n",
    ],
)
def test_what_the_field_sends_is_taken(data: bytes) -> None:
    (audio,) = SessionDescription.parse(data).media
    assert (audio.media, audio.port, audio.formats) == ("audio", 1, ("0",))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"v=1\r\n",
        b"v=0\r\n",
        b"v=0\r\ns=-\r\n",
        b"v=0\r\no=- 1 IN IP4 192.0.2.1\r\n",
        b"v=0\r\no=- 1 x IN IP4 192.0.2.1\r\n",
        HEAD + b"rubbish\r\n",
        HEAD + b"t=0 0\r\n\r\nm=audio 1 RTP/AVP 0\r\n",
        HEAD + b"m=audio 1 RTP/AVP\r\n",
        HEAD + b"m=audio x RTP/AVP 0\r\n",
        HEAD + b"m=audio 65536 RTP/AVP 0\r\n",
        HEAD + b"m=audio 1/x RTP/AVP 0\r\n",
        HEAD + b"a=x\ry\r\n",
        HEAD + b"m=audio 1 RTP/AVP 0 \0 \x1f\r\n",
        b"\xff\xfe",
    ],
)
def test_what_is_no_description_is_400(data: bytes) -> None:
    with pytest.raises(SipError) as caught:
        SessionDescription.parse(data)
    assert caught.value.status == 400


def test_address_that_is_missing_or_malformed_is_400_when_needed() -> None:
    for line in (b"", b"c=IN IP4\r\n", b"c=ATM NSAP 1\r\n"):
        description = SessionDescription.parse(HEAD + line + b"m=audio 1 RTP/AVP 0\r\n")
        with pytest.raises(SipError):
            description.address_of(description.media[0])


def test_senseless_rtpmap_is_left_out() -> None:
    description = SessionDescription.parse(
        HEAD
        + b"m=audio 1 RTP/AVP 96 97\r\na=rtpmap:96\r\na=rtpmap:97 x/y\r\na=rtpmap:98 L16/44100/2\r\na=rtpmap:98 x/1\r\n"
    )
    assert description.media[0].rtpmaps() == {"98": RtpMap("l16", 44100, 2)}


def test_limits() -> None:
    line = b"a=x\r\n"
    assert SessionDescription.parse(HEAD + line * (MAX_LINES - 3))
    media = b"m=audio 1 RTP/AVP 0\r\n"
    assert len(SessionDescription.parse(HEAD + media * MAX_MEDIA).media) == MAX_MEDIA
    assert SessionDescription.parse(HEAD + b"m=audio 1 RTP/AVP" + b" 0" * MAX_FORMATS)
    for data in (
        HEAD + line * (MAX_LINES - 2),
        HEAD + media * (MAX_MEDIA + 1),
        HEAD + b"m=audio 1 RTP/AVP" + b" 0" * (MAX_FORMATS + 1),
        HEAD + b"a=" + b"x" * MAX_DESCRIPTION,
    ):
        with pytest.raises(SipError):
            SessionDescription.parse(data)


@pytest.mark.parametrize(
    ("address", "family"),
    [
        ("192.0.2.1", "IP4"),
        ("255.255.255.255", "IP4"),
        ("2001:db8::1", "IP6"),
        ("::ffff:192.0.2.1", "IP6"),
        ("256.0.0.1", None),
        ("1.2.3", None),
        ("1.2.3.4.5", None),
        ("example.com", None),
        ("a:b", None),
        ("", None),
    ],
)
def test_family_of_an_address(address: str, family: str | None) -> None:
    assert address_family(address) == family
