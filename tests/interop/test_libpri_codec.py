"""The codecs of Q.921 and Q.931 against what libpri sends: all of it is understood and written back octet by octet.

Two libpri ends talk to each other and record their frames; nothing of them is kept between runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.pri.lapd import frames as lapd
from gateway.pri.q931.ie.element import UnknownElement
from gateway.pri.q931.message import Message, MessageType, decode, encode
from tests.interop.libpri import NATIONAL, RESTRICTED_PASSED, UNAVAILABLE, LibpriPeer
from tests.interop.scenario import scenario

PLAN = ["1=answer", "2=busy", "3=refuse:1", "4=ring", "5=inband", "6=dial:7", "7=reject:41"]

SWITCHES = [("euroisdn", "e1"), ("euroisdn", "t1"), ("ni2", "t1"), ("dms100", "t1"), ("5ess", "t1"), ("4ess", "t1")]
SWITCHES += [("qsig", "e1")]

IN_EVERY_VARIANT = {
    MessageType.SETUP,
    MessageType.CALL_PROCEEDING,
    MessageType.ALERTING,
    MessageType.PROGRESS,
    MessageType.CONNECT,
    MessageType.CONNECT_ACKNOWLEDGE,
    MessageType.SETUP_ACKNOWLEDGE,
    MessageType.INFORMATION,
    MessageType.DISCONNECT,
    MessageType.RELEASE,
    MessageType.RELEASE_COMPLETE,
    MessageType.RESTART,
    MessageType.RESTART_ACKNOWLEDGE,
}


async def _calls(caller: LibpriPeer, called: LibpriPeer) -> None:
    identities: dict[str, object] = {
        "caller": "4165551234",
        "name": "Zoë Ångström",
        "redirecting": "4165550001",
        "redirecting_name": "First",
        "original": "4165550002",
        "count": 2,
    }
    call = await caller.call("1000", **identities)
    await caller.event("answer", call=call)
    caller.command("notify", call=call, info=0x79)
    caller.command("display", call=call, text="hello")
    caller.command("keypad", call=call, digits="42#")
    caller.command("hangup", call=call, cause=16)
    await caller.event("hangup", call=call)
    for digits, ends, arguments in (
        ("2000", "hangup_request", {"caller": "4165551234", "caller_pres": RESTRICTED_PASSED, "name_pres": 0x20}),
        ("3000", "hangup", {"caller": "", "caller_pres": UNAVAILABLE, "bearer": 8}),
        ("7000", "hangup_request", {"keypad": "*21#", "user_user": "hello", "called_plan": NATIONAL, "exclusive": 1}),
    ):
        call = await caller.call(digits, **arguments)
        await caller.event(ends, call=call)
    for digits, rings in (("4000", "ringing"), ("5000", "progress")):
        call = await caller.call(digits, nonisdn=1)
        await caller.event(rings, call=call)
        caller.command("hangup", call=call, cause=16)
        await called.event("hangup_request", cause=16)
    call = await caller.call("60", complete=0)
    await caller.event("setup_ack", call=call)
    caller.command("info", call=call, digits="12345")
    await caller.event("answer", call=call)
    caller.command("hangup", call=call)
    await caller.event("hangup", call=call)
    call = await caller.call("9")
    ring = await called.event("ring", called="9")
    called.command("alert", call=ring["call"], inband=1)
    called.command("answer", call=ring["call"], connected="4165550003", connected_name="Third", connected_pres=0x20)
    await caller.event("answer", call=call)
    called.command("hangup", call=ring["call"], cause=31)
    await called.event("hangup", call=ring["call"])
    caller.command("reset", channel=5)
    await caller.event("restart_ack")
    caller.command("service", channel=3, status=1)


def _rewrite(octets: bytes) -> bytes:
    message = decode(octets)
    assert message.problems == (), f"{octets.hex()}: {message.problems}"
    assert not message.all(UnknownElement), f"{octets.hex()}: {message}"
    return encode(
        Message(message.message_type, message.call_reference, message.elements, message.protocol_discriminator)
    )


@pytest.mark.parametrize(("switch", "line"), SWITCHES)
@scenario
async def test_all_that_libpri_sends_is_understood_and_written_back_alike(
    tmp_path: Path, switch: str, line: str
) -> None:
    async with (
        await LibpriPeer.start(
            tmp_path, switch=switch, line=line, plan=PLAN, options=["--overlap", "--service"]
        ) as network,
        await LibpriPeer.start(
            tmp_path, side="user", listen=False, switch=switch, line=line, plan=PLAN, options=["--overlap", "--service"]
        ) as user,
    ):
        await network.event("up")
        await user.event("up")
        await _calls(user, network)
        await _calls(network, user)
    frames = [frame.octets for peer in (user, network) for frame in peer.frames() if not frame.received]
    seen = set()
    for octets in frames:
        frame = lapd.decode(octets)
        assert lapd.encode(octets[:2], frame) == octets
        if octets[2] & 1 == 0:
            message = octets[4:]
            seen.add(decode(message).message_type)
            assert _rewrite(message).hex() == message.hex()
    assert seen >= IN_EVERY_VARIANT
