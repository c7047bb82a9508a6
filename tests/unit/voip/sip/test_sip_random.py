"""Random and mutated messages: only SipError comes out of the codecs, and what parses is written and read again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.identity import MAX_NAME, Number, Party, Presentation, Redirection, Screening, TypeOfNumber
from gateway.voip.sip.body import body_parts, find_sdp
from gateway.voip.sip.codecs import codec_rows
from gateway.voip.sip.diversion import diversion_fields, history_fields, redirection_of
from gateway.voip.sip.encryption import KEY_OCTETS, Encryption, MediaEncryption
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.identity import IdentityRules, caller_fields, caller_of, connected_of, preferred_of
from gateway.voip.sip.message import Message, Request, Response
from gateway.voip.sip.offer_answer import LocalMedia, Negotiated, apply_answer, make_answer, make_offer
from gateway.voip.sip.parser import StreamParser, parse
from gateway.voip.sip.reason import reasons
from gateway.voip.sip.sdp import SessionDescription
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.validation import check_request, check_response
from gateway.voip.sip.values import NameAddr, Via

VALID = [path.read_bytes() for path in sorted((Path(__file__).parent / "torture").glob("*.dat"))]
VALID.append(
    b"INVITE sip:+12125550100;phone-context=+1@h;user=phone SIP/2.0\r\nv: SIP/2.0/UDP h;rport;branch=z9hG4bKx\r\n"
    b'f: "A" <sip:1@h>;tag=1\r\nt: <sip:2@g>\r\ni: c\r\nCSeq: 1 INVITE\r\nm: <sip:1@h;transport=tcp>\r\n'
    b"P-Asserted-Identity: <sip:1@h>, <tel:+1>\r\nPrivacy: id\r\nRemote-Party-ID: <sip:1@h>;privacy=full\r\n"
    b"Diversion: <sip:3@h>;reason=user-busy;counter=2\r\nHistory-Info: <sip:1@h?Reason=SIP%3Bcause%3D302>;index=1, "
    b'<sip:2@h;cause=486>;index=1.1;mp=1\r\nReason: Q.850;cause=16;text="x"\r\nx: 90;refresher=uac\r\nRAck: 1 1 X\r\n'
    b"Content-Type: application/sdp\r\n\r\n"
    b"v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\nm=audio 4 RTP/AVP 8 96\r\n"
    b"a=rtpmap:96 telephone-event/8000\r\na=ptime:20\r\na=rtcp:5\r\na=sendonly\r\n"
)
ACCESSORS = [name for name, value in [*vars(Message).items(), *vars(Request).items()] if isinstance(value, property)]
LOCAL = LocalMedia("192.0.2.1", 10000, codec_rows(["alaw", "ulaw"]), 1)
TRUNK = IdentityRules("gw.example.com", trusted=True)
OFFER = make_offer(LOCAL)
SECURE = replace(LOCAL, encryption=Encryption(MediaEncryption.REQUIRED, True, bytes(range(KEY_OCTETS))))
SECURE_OFFER = make_offer(SECURE)


def use(data: bytes) -> None:
    """Everything the gateway may do with what came in."""
    try:
        message = parse(data)
    except SipError:
        return
    for name in ACCESSORS:
        if hasattr(type(message), name):
            attempt(partial(getattr, message, name))
    attempt(lambda: [str(address.uri) for address in message.contacts])
    attempt(lambda: [(via.rport, via.received, via.sent_by, str(via)) for via in message.vias])
    if isinstance(message, Request):
        refusal = check_request(message)
        message.response(refusal.status if refusal else 200, to_tag="t").to_bytes()
        attempt(lambda: caller_of(message, TRUNK))
        attempt(message.cancel)
        attempt(lambda: message.ack(message.response(404)))
        attempt(lambda: message.stamp_source("192.0.2.3", 5060))
        preferred_of(message)
    else:
        check_response(message)
    connected_of(message, TRUNK)
    redirection_of(message)
    reasons(message)
    attempt(lambda: body_parts(message))
    attempt(lambda: use_sdp(find_sdp(message)))
    again = parse(message.to_bytes())
    assert again.start_line == message.start_line
    assert again.body == message.body


def use_sdp(data: bytes | None) -> None:
    if data is None:
        return
    description = SessionDescription.parse(data)
    assert SessionDescription.parse(description.to_bytes()) == description
    attempt(lambda: make_answer(description, LOCAL).description.to_bytes())
    attempt(lambda: apply_answer(OFFER, description, LOCAL))
    with suppress(SipError):
        assert_encrypted(make_answer(description, SECURE))
    with suppress(SipError):
        assert_encrypted(apply_answer(SECURE_OFFER, description, SECURE))


def assert_encrypted(negotiated: Negotiated) -> None:
    assert negotiated.settings is None or negotiated.settings.srtp is not None


def attempt(action: Callable[[], object]) -> None:
    with suppress(SipError):
        action()


def messages_in(chunks: list[bytes]) -> list[str]:
    """The start lines found in a stream that comes in ``chunks``."""
    stream = StreamParser()
    found: list[str] = []
    try:
        for chunk in chunks:
            stream.feed(chunk)
            while (message := stream.next_message()) is not None:
                found.append(message.start_line)
    except SipError:
        found.append("broken")
    return found


@st.composite
def mutated(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 4)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=0, max_size=3))
            case 1:
                data[at:at] = draw(
                    st.sampled_from(
                        [b'"', b"<", b">", b";", b",", b":", b"\r\n", b"\r\n ", b"%", b"@", b"[", b"\\", b"="]
                    )
                )
            case 2:
                del data[at : at + draw(st.integers(1, 20))]
            case 3:
                start = draw(st.integers(0, len(data)))
                data[at:at] = data[start : start + draw(st.integers(1, 40))]
            case _:
                data[at : at + 1] = draw(
                    st.sampled_from([b"0", b"-1", b"99999999999999999999", b"\xd9\xa3", b"\xff", b"\0"])
                )
    return bytes(data)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_random_bytes(data: bytes) -> None:
    use(data)
    use(b"INVITE sip:a@b SIP/2.0\r\n" + data)


@given(mutated(VALID))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_mutated_messages(data: bytes) -> None:
    use(data)


@given(mutated([OFFER.to_bytes(), VALID[-1].partition(b"\r\n\r\n")[2]]))
@settings(max_examples=400, deadline=None)
def test_mutated_descriptions(data: bytes) -> None:
    attempt(lambda: use_sdp(data))


@given(mutated(VALID), st.lists(st.integers(1, 200), max_size=20))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_stream_finds_the_same_messages_however_it_is_cut(data: bytes, cuts: list[int]) -> None:
    whole = data + VALID[0]
    chunks, at = [], 0
    for cut in cuts:
        chunks.append(whole[at : at + cut])
        at += cut
    assert messages_in([*chunks, whole[at:]]) == messages_in([whole])


@given(st.text(max_size=80))
def test_text_values_raise_only_sip_errors(text: str) -> None:
    for read in (Uri.parse, NameAddr.parse, Via.parse):
        with suppress(SipError):
            str(read(text))
    attempt(lambda: Uri.parse(f"sip:{text}").matches(Uri.parse(text)))


NUMBERS = st.builds(
    Number,
    st.text("0123456789*#ABCD", min_size=1, max_size=32),
    st.sampled_from([TypeOfNumber.UNKNOWN, TypeOfNumber.INTERNATIONAL]),
    presentation=st.sampled_from([Presentation.ALLOWED, Presentation.RESTRICTED]),
    screening=st.sampled_from(Screening),
)


@given(NUMBERS, st.text(max_size=MAX_NAME + 20))
def test_any_caller_can_be_written_and_read(number: Number, name: str) -> None:
    sender, fields = caller_fields(Party(number, name, number.presentation), TRUNK)
    message = Request("INVITE", "sip:1@h", [("From", str(sender)), *fields])
    read = parse(message.to_bytes())
    assert isinstance(read, Request)
    found = caller_of(read, TRUNK).number
    assert found is not None
    assert (found.digits, found.type, found.presentation) == (number.digits, number.type, number.presentation)


@given(NUMBERS, NUMBERS, st.integers(1, 31), st.text(max_size=20))
def test_any_redirection_can_be_written_and_read(last: Number, first: Number, count: int, name: str) -> None:
    redirection = Redirection(last, count=count, original=first, name=name)
    for fields in (diversion_fields(redirection, TRUNK), history_fields(redirection, Uri.parse("sip:1@h"), TRUNK)):
        read: Message = parse(Response(200, None, fields).to_bytes())
        found = redirection_of(read)
        assert found is not None
        assert (found.number.digits, found.number.presentation) == (last.digits, last.presentation)
