"""Our captures as tshark reads them: nothing malformed, the right protocols, ports, directions and times."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.capture.capture import Capture, Selection
from gateway.capture.ring import Ring, VoicePath, Wire
from gateway.voip.sip.flow import TCP, TLS, UDP, Flow
from tests.interop.wire_check import EXPERT_WARNING, tshark
from tests.unit.branch_scene import Scene
from tests.unit.capture.test_capture import WALL, Anywhere, captures
from tests.unit.test_switch_iax import Tandem, required

FIELDS = ("frame.time_epoch", "frame.protocols", "_ws.expert.severity", "_ws.malformed", "frame.packet_flags_direction")
SDP = "v=0\r\no=- 1 1 IN IP4 192.0.2.2\r\ns=-\r\nc=IN IP4 192.0.2.2\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8\r\n"


def rows(path: Path, data: bytes, *fields: str) -> list[list[str]]:
    """The rows of what tshark finds in a capture that it has nothing to say against."""
    path.write_bytes(data)
    found = tshark(path, *(word for field in (*FIELDS, *fields) for word in ("-e", field)))
    assert found
    times = [float(row[0]) for row in found]
    assert times == sorted(times)
    for row in found:
        worst = max((int(value, 0) for value in row[2].split(",") if value), default=0)
        assert worst < EXPERT_WARNING and not row[3], row
    return [[row[1], {"1": "in", "2": "out"}[str(int(row[4], 0))], *row[5:]] for row in found]


def test_a_call_between_line_and_sip(tmp_path: Path) -> None:
    scene = Scene()
    ring = scene.switch.ring = Ring()
    scene.from_pstn(hold=1_000)
    scene.run(5)
    data = b"".join(captures(ring, scene.switch, scene.now).capture_of())
    found = rows(tmp_path / "call.pcapng", data, "q931.message_type", "sip.Method", "lapd.direction", "ip.src")
    q931 = [(row[1], int(row[2], 0)) for row in found if "q931" in row[0].split(":")]
    assert q931[:2] == [("in", 0x05), ("out", 0x02)]
    assert [row[1] for row in found if row[3] == "INVITE"] == ["out"]
    assert [row[1] for row in found if row[3] == "BYE"] == ["in"] or [row[3] for row in found].count("BYE") == 1
    assert {row[0].split(":")[-1] for row in found} <= {"lapd", "q931", "sip", "sdp"}
    for row in found:
        if row[5]:
            assert row[5] == ("10.0.0.2" if row[1] == "in" else "10.0.0.1")
    begun = float(tshark(tmp_path / "call.pcapng", "-e", "frame.time_epoch")[0][0])
    assert WALL - 10 < begun < WALL


def test_an_encrypted_iax2_call_in_clear(tmp_path: Path) -> None:
    scene = Tandem(terms="forceencryption = true", peer=required)
    assert scene.switch.iax is not None
    ring = scene.switch.iax.ring = Ring()
    leg, _, _, _ = scene.through()
    scene.end(leg)
    data = b"".join(captures(ring, scene.switch, scene.now).capture_of())
    found = rows(tmp_path / "iax.pcapng", data, "iax2.iax.subclass", "iax2.control.subclass", "udp.srcport")
    assert {row[0].split(":")[3] for row in found} == {"iax2"}
    subclasses = {int(row[2], 0) for row in found if row[2]}
    assert {1, 7, 8, 9, 5} <= subclasses  # NEW, ACCEPT, AUTHREQ, AUTHREP, HANGUP
    assert 4 in {int(row[3], 0) for row in found if row[3]}  # ANSWER
    assert {row[4] for row in found} == {"4569"}


def request(method: str, number: int, body: str = "") -> bytes:
    kind = "Content-Type: application/sdp\r\n" if body else ""
    return (
        f"{method} sip:1@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.2;branch=z9hG4bK{number}\r\n"
        f"From: <sip:2@192.0.2.2>;tag=a\r\nTo: <sip:1@192.0.2.1>\r\nCall-ID: c{number}\r\nCSeq: 1 {method}\r\n"
        f'Max-Forwards: 70\r\nAuthorization: Digest username="u", realm="r", nonce="n", uri="sip:1", response="ab"\r\n'
        f"{kind}Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


ANSWER = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 192.0.2.2;branch=z9hG4bK1\r\nFrom: <sip:2@192.0.2.2>;tag=a\r\n"
    b"To: <sip:1@192.0.2.1>;tag=b\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize("reveal", [False, True])
@pytest.mark.parametrize("transport", [TCP, TLS])
@pytest.mark.parametrize(
    ("address", "outgoing"), [("192.0.2.2", False), ("2001:db8::2", False), ("192.0.2.2", True), ("2001:db8::2", True)]
)
def test_streams_however_they_were_cut(
    tmp_path: Path, transport: str, address: str, outgoing: bool, reveal: bool
) -> None:
    ring = Ring()
    port = 5061 if outgoing and transport == TLS else 40_000
    flow = Flow(transport, address, port, 0 if outgoing else 3)
    stream = request("INVITE", 1, SDP) + b"\r\n\r\n" + request("OPTIONS", 2) + request("BYE", 3)
    for at, cut in enumerate(range(0, len(stream), 70)):
        ring.note(at * 1000, Wire.SIP, True, flow, stream[cut : cut + 70])
        if at == 8:
            ring.note(at * 1000, Wire.SIP, False, flow, ANSWER)
    data = b"".join(Capture(ring, Anywhere(outgoing=outgoing), Selection(reveal=reveal), wall=0).octets())
    found = rows(tmp_path / "tcp.pcapng", data, "sip.Method", "sip.Status-Code", "tcp.srcport", "tcp.dstport")
    assert [row[2] for row in found if row[2]] == ["INVITE", "OPTIONS", "BYE"]
    (answer,) = [row for row in found if row[3]]
    assert (answer[1], answer[3]) == ("out", "200")
    theirs = 5060 if port == 5061 else port
    ours = 50_000 if outgoing else 5060
    assert answer[4:] == [str(ours), str(theirs)]
    assert "sdp" in found[0][0].split(":")
    if not reveal:
        assert b'response="ab"' not in data and b'response="xx"' in data


@pytest.mark.parametrize("cut", [70, 71])
def test_the_rest_of_a_message_is_no_harm_to_the_next(tmp_path: Path, cut: int) -> None:
    ring = Ring()
    flow = Flow(TLS, "192.0.2.2", 40_000, 3)
    ring.note(0, Wire.SIP, True, flow, request("INVITE", 1)[cut:] + request("OPTIONS", 2))
    data = b"".join(Capture(ring, Anywhere(), Selection(), wall=0).octets())
    found = rows(tmp_path / "rest.pcapng", data, "sip.Method")
    assert [row[2] for row in found if row[2]] == ["OPTIONS"]


def test_sip_and_voice_at_any_port(tmp_path: Path) -> None:
    """What SDP says is followed to the RTP that it announces."""
    ring = Ring()
    flow = Flow(UDP, "192.0.2.2", 34_567)
    ring.note(0, Wire.SIP, True, flow, request("INVITE", 1, SDP))
    voice = VoicePath(7, ("192.0.2.1", 10_000), ("192.0.2.2", 20_000))
    for number in range(5):
        packet = bytes((0x80, 8)) + number.to_bytes(2, "big") + (number * 160).to_bytes(4, "big") + bytes(4 + 160)
        ring.note(20_000 * number, Wire.RTP, False, voice, packet)
    data = b"".join(Capture(ring, Anywhere(), Selection(), wall=0).octets())
    found = rows(tmp_path / "voice.pcapng", data, "rtp.p_type", "rtp.seq", "udp.srcport")
    assert [row[2:4] for row in found[1:]] == [["8", str(number)] for number in range(5)]
    assert found[0][4] == "34567" and "sdp" in found[0][0]
