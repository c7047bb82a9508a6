"""The whole product with real peers: what goes from end to end of a call, and trunks that say nothing."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.interop.libpri import LibpriPeer
from tests.interop.product import DID, Product
from tests.interop.program import PATIENCE, free_port
from tests.interop.scenario import scenario
from tests.interop.sipp import Sipp

WAYS = """
[[trunk]]
name = "both"
technology = "sip"
host = "127.0.0.1:{both}"
context = "from-hq"
trustrpid = true
diversion = "both"
[[route]]
context = "from-pstn"
match = "_41655502XX"
to = ["sip:both/{{number}}"]
[[trunk]]
name = "silent"
technology = "sip"
host = "127.0.0.1:{silent}"
context = "from-hq"
failover_ms = 1500
[[route]]
context = "from-pstn"
match = "_41655503XX"
to = ["sip:silent/{{number}}", "sip:hq/{{number}}"]
"""


def header(message: bytes, name: str) -> list[str]:
    """The values of a header field."""
    lines = message.decode().split("\r\n\r\n")[0].split("\r\n")
    return [line.partition(":")[2].strip() for line in lines if line.partition(":")[0].lower() == name.lower()]


@pytest.mark.parametrize("side", ["user", "network"])
@scenario
async def test_user_information_and_diversions_of_libpri_reach_sip_and_its_answer_libpri(
    tmp_path: Path, side: str
) -> None:
    span = tmp_path / "s0"
    span.mkdir()
    both = free_port()
    far_side = "network" if side == "user" else "user"
    async with (
        await LibpriPeer.start(span, side=far_side, switch="euroisdn", line="e1", plan=("1=answer",)) as peer,
        Product(tmp_path, side=side, exchange=False, extra=WAYS.format(both=both, silent=free_port())) as product,
    ):
        await peer.event("up")
        await product.until_up()
        async with await Sipp.start("uas_basic", tmp_path / "sipp", port=both, codecs="8 101") as phone:
            call = await peer.call("4165550201", redirecting="4165550777", reason=1, user_user="hello")
            invite = (await phone.exchanged(b"INVITE", sent=False)).data
            await peer.event("answer", call=call)
            peer.command("hangup", call=call, cause=16)
            await phone.succeed()
        assert header(invite, "User-to-User") == ["0468656c6c6f;encoding=hex;purpose=isdn-uui"]
        (diversion,) = header(invite, "Diversion")
        assert diversion.startswith("<sip:4165550777@127.0.0.1>;reason=user-busy")
        (history,) = header(invite, "History-Info")
        assert history.startswith("<sip:4165550777@127.0.0.1>;index=1, <sip:4165550201@")
        assert "cause=486" in history
        await product.until_idle()
        # ALERTING says that the call has left ISDN: progress indicator 1 of a private network, or of a public one.
        left = bytes((0x01, 0x1E, 0x02, 0x81 if side == "user" else 0x82, 0x81))
        assert any(left in frame.octets for frame in peer.frames() if frame.received)


async def seconds_to_answer(product: Product) -> float:
    """A call over the silent trunk's route, to its end."""
    began = time.monotonic()
    call = (await product.exchange.command("call", called="4165550301", hold=200))["call"]
    await product.exchange.event("answered", PATIENCE, lambda event: event["call"] == call)
    seconds = time.monotonic() - began
    await product.exchange.event("ended", PATIENCE, lambda event: event["call"] == call)
    return seconds


@scenario
async def test_a_trunk_that_says_nothing_is_left_for_the_next_one(tmp_path: Path) -> None:
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with silent:
        silent.bind(("127.0.0.1", 0))
        extra = WAYS.format(both=free_port(), silent=silent.getsockname()[1])
        async with Product(tmp_path, extra=extra) as product:
            async with await product.answering(calls=4) as phone:
                first_delay, *delays = [await seconds_to_answer(product) for _ in range(4)]
                await phone.succeed()
            await product.until_idle()
            first, *others = product.records()
            assert [attempt["destination"] for attempt in first["attempts"]] == [
                "sip:silent/4165550301",
                "sip:hq/4165550301",
            ]
            assert first["attempts"][0]["text"] == "no response within 1.5 s"
            for record in others:
                assert [attempt["destination"] for attempt in record["attempts"]] == ["sip:hq/4165550301"]
            assert first_delay > 1.4
            # Where it waits for the silent one it always does; a busy machine is slow now and then.
            assert min(delays) < 1.4
            assert "silent does not answer" in product.log
            # It comes back: what it says, whatever it is, makes it a trunk like any other again.
            silent.sendto(
                b"OPTIONS sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKo;rport\r\n"
                b"Max-Forwards: 70\r\nFrom: <sip:127.0.0.1>;tag=1\r\nTo: <sip:127.0.0.1>\r\nCall-ID: o\r\n"
                b"CSeq: 1 OPTIONS\r\n\r\n",
                ("127.0.0.1", product.sip_port),
            )
            silent.settimeout(PATIENCE)
            while not silent.recv(65536).startswith(b"SIP/2.0 200"):
                pass
            await product.until(lambda _: "silent answers again" in product.log, "that it is told")


@scenario
async def test_a_callee_that_only_tries_outlives_t310_of_libpri(tmp_path: Path) -> None:
    span = tmp_path / "s0"
    span.mkdir()
    async with (
        await LibpriPeer.start(span, side="network", switch="euroisdn", line="e1", plan=("1=answer",)) as peer,
        Product(tmp_path, exchange=False) as product,
    ):
        await peer.event("up")
        await product.until_up()
        async with await product.answering("uas_trying", ring=12_000) as phone:
            call = await peer.call(DID)
            await peer.event("progress", call=call)
            await peer.event("answer", call=call)
            peer.command("hangup", call=call, cause=16)
            await phone.succeed()
        await product.until_idle()
