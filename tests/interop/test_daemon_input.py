"""The gateway as a program in surroundings that are wrong: one clear line, the right exit, never a traceback."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.pri.lapd import Lapd, Side, Transmit
from tests.interop.product import Product
from tests.interop.program import PATIENCE
from tests.interop.scenario import scenario

GOOD = """\
schema = 1
[gateway]
run_dir = "run"
[sip]
listen = ["udp:127.0.0.1:{port}"]
[[span]]
name = "pstn"
channels = "virtual:pstn"
line = "e1"
context = "from-pstn"
[[route]]
context = "from-pstn"
match = "_X."
to = ["echo"]
"""
SIP_PORT = 9060


def gateway(directory: Path, text: str, option: str = "--check", *more: str) -> subprocess.CompletedProcess[str]:
    """Run the program with ``text`` as its configuration until it ends."""
    file = directory / "gateway.toml"
    file.write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "gateway", option, str(file), *more],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def good(port: int = SIP_PORT) -> str:
    return GOOD.format(port=port)


def test_a_good_file_is_passed_in_silence(tmp_path: Path) -> None:
    done = gateway(tmp_path, good())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("mode", "told"), [(0o644, True), (0o640, False)])
def test_file_with_passwords_that_everybody_may_read_is_told(tmp_path: Path, mode: int, told: bool) -> None:
    (tmp_path / "gateway.toml").touch(mode)
    (tmp_path / "gateway.toml").chmod(mode)
    done = gateway(tmp_path, good() + '[[phone]]\nname = "desk"\nsecret = "correct horse"\ncontext = "from-pstn"\n')
    assert done.returncode == 0
    assert ("everybody on this host may read it" in done.stderr) is told
    assert "correct horse" not in done.stderr


MISTAKES = {
    'line = "e1"': ('line = "e2"', 'gateway.toml:9: span[pstn].line = "e2": expected'),
    'run_dir = "run"': ("run_dir = 5", "gateway.toml:3: gateway.run_dir = 5: expected"),
    "[sip]": ("[sips]", "gateway.toml:4: sips: unknown"),
    'match = "_X."': ('match = "_X.X"', 'gateway.toml:13: route[1].match = "_X.X": expected'),
    'to = ["echo"]': ('to = ["play:nowhere"]', 'gateway.toml:14: route[1].to[1] = "play:nowhere": expected a prompt'),
    "schema = 1": ("schema = ", "gateway.toml:1"),
    'name = "pstn"\n': (
        'name = "pstn"\ntimers.q921.T200_ms = 0\n',
        "gateway.toml:8: span[pstn].timers.q921.T200_ms = 0: expected",
    ),
}


@pytest.mark.parametrize(
    ("what", "option"), [*((what, "--check") for what in MISTAKES), ("[sip]", "--config"), ("schema = 1", "--config")]
)
def test_a_mistake_is_told_with_file_line_key_value_and_expectation(tmp_path: Path, what: str, option: str) -> None:
    instead, told = MISTAKES[what]
    assert what in good()
    done = gateway(tmp_path, good().replace(what, instead), option)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.toml"]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = good().replace('line = "e1"', 'line = "e2"').replace("run_dir", "rundir")
    assert len(gateway(tmp_path, text).stderr.splitlines()) == 2


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    for option in ("--check", "--config"):
        done = subprocess.run(
            [sys.executable, "-m", "gateway", option, str(tmp_path / "no.toml")],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert "cannot be read: No such file" in done.stderr


def one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It ended with 1 and a last line that has ``words``."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert all(word in last for word in words), done.stderr


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_sip_port_in_use_is_one_line(tmp_path: Path, kind: socket.SocketKind) -> None:
    with socket.socket(socket.AF_INET, kind) as other:
        other.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            other.listen()
        port = other.getsockname()[1]
        word = "udp" if kind is socket.SOCK_DGRAM else "tcp"
        text = (
            good(port).replace("udp:", f"{word}:").replace("schema = 1", "schema = 1\nmedia.rtp_ports = [20000, 21000]")
        )
        one_line(gateway(tmp_path, text, "--config"), str(port), "in use")


def test_a_run_directory_that_cannot_be_had_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    one_line(gateway(tmp_path, good(), "--config"), "gateway.run_dir", "there is a file")


def test_a_trace_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    one_line(gateway(tmp_path, good(), "--config", "--trace", str(tmp_path / "no" / "trace")), "trace", "No such file")


# -- a running gateway --


@scenario
async def test_a_span_nobody_listens_at_is_a_red_alarm_until_somebody_does(tmp_path: Path) -> None:
    async with Product(tmp_path, exchange=False) as product:
        status = await product.until(lambda status: bool(status["spans"]["s0"]["findings"]), "findings")
        span = status["spans"]["s0"]
        assert (span["alarm"], span["data_link"]) == ("red", False)
        assert "No such file" in span["reason"]
        assert "nobody answers at the other end" in span["findings"][0]
        await product.start_exchange()
        await product.until_up()
        assert (await product.exchange.command("status"))["spans"]["s0"]["data_link"]


@scenario
async def test_a_full_disk_loses_records_but_no_calls_and_is_told_once(tmp_path: Path) -> None:
    async with Product(tmp_path, records="/dev/full") as product:
        for _ in range(2):
            async with await product.calling("95550112") as caller:
                await caller.succeed()
        await product.until_idle()
        assert product.log.count("call records cannot be written to /dev/full: No space left") == 1


@scenario
async def test_without_an_engine_calls_are_refused_and_the_gateway_says_why(tmp_path: Path) -> None:
    async with Product(tmp_path, engine=False) as product:
        status = await product.gateway.command("status")
        assert status["engine"] == {"up": False, "streams": 0}
        async with await product.calling("95550112", "uac_refused", code=503) as caller:
            await caller.succeed()
        assert (await product.pstn_call())["answered"] is None
        assert product.log.count("media.sock: No such file") == 1
        await product.until_idle()
        assert len(product.records()) == 1 + 1


OPTIONS = (
    "OPTIONS sip:gw@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 127.0.0.1:{port};branch=z9hG4bK{branch};rport\r\n"
    "From: <sip:a@b>;tag=1\r\nTo: <sip:gw@127.0.0.1>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def spoilt(rng: random.Random) -> bytes:
    """A request with something wrong."""
    data = bytearray(OPTIONS.format(transport="UDP", port=9, branch=rng.getrandbits(60)).encode())
    for _ in range(rng.randrange(1, 8)):
        at = rng.randrange(len(data))
        match rng.randrange(3):
            case 0:
                data[at] = rng.randrange(256)
            case 1:
                del data[at : at + rng.randrange(20)]
            case _:
                data[at:at] = rng.choice([b"\r\n", b"\0", b"\xff" * 9, b":", b"<", b'"', b"INVITE ", b"x" * 500])
    return bytes(data)


async def over_udp(product: Product, data: bytes) -> bytes:
    """What ``data`` is answered with."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.setblocking(False)
        ours.connect(("127.0.0.1", product.sip_port))
        await loop.sock_sendall(ours, data)
        return await asyncio.wait_for(loop.sock_recv(ours, 65536), PATIENCE)


@scenario
async def test_malformed_sip_gets_400_or_nothing_and_the_gateway_goes_on(tmp_path: Path) -> None:
    rng = random.Random(7)
    async with Product(tmp_path, exchange=False) as product:
        bad = OPTIONS.format(transport="UDP", port=9, branch="bad").replace("CSeq: 1 OPTIONS", "CSeq: one OPTIONS")
        assert (await over_udp(product, bad.encode())).startswith(b"SIP/2.0 400 ")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
            ours.connect(("127.0.0.1", product.sip_port))
            for _ in range(500):
                ours.send(spoilt(rng) if rng.random() < 0.8 else rng.randbytes(rng.randrange(1, 1400)))
        for _ in range(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", product.sip_port)
            writer.write(spoilt(rng) + rng.randbytes(200))
            writer.write_eof()
            await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
            await writer.wait_closed()
        good_one = OPTIONS.format(transport="UDP", port=9, branch="good")
        assert (await over_udp(product, good_one.encode())).startswith(b"SIP/2.0 200 ")
        assert (await product.gateway.command("status"))["sip"]["garbage"] > 0


class FarEnd:
    """The network's end of a D channel that can say anything."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.lapd = Lapd(Side.NETWORK)
        self.heard: list[bytes] = []
        self._listeners = [self._listen(directory / name) for name in ("line", "16")]

    @staticmethod
    def _listen(path: Path) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.setblocking(False)
        listener.bind(str(path))
        listener.listen(1)
        return listener

    async def accept(self) -> None:
        """Wait for the gateway."""
        loop = asyncio.get_running_loop()
        self.line, self.d = [(await loop.sock_accept(listener))[0] for listener in self._listeners]
        self.line.send(b'{"alarm": "none"}')
        self.lapd.activate(0)

    async def talk(self, seconds: float = PATIENCE, until: Callable[[], bool] = lambda: False) -> None:
        """Do what LAPD wants for a while, or until something has come of it."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            now = round(loop.time() * 1e6)
            while (output := self.lapd.poll()) is not None:
                if isinstance(output, Transmit):
                    self.d.send(output.frame)
            if until() or (left := end - loop.time()) <= 0:
                break
            try:
                frame = await asyncio.wait_for(loop.sock_recv(self.d, 1024), min(left, 0.05))
            except TimeoutError:
                continue
            self.heard.append(frame)
            self.lapd.receive(frame, now)

    def close(self) -> None:
        for one in (self.line, self.d, *self._listeners):
            one.close()


@scenario
async def test_malformed_layer_2_and_3_get_what_the_recommendations_say_and_the_gateway_goes_on(tmp_path: Path) -> None:
    rng = random.Random(3)
    far = FarEnd(tmp_path / "s0")
    async with Product(tmp_path, exchange=False) as product:
        await far.accept()
        await far.talk(until=lambda: far.lapd.established)
        await product.until(lambda status: bool(status["spans"]["s0"]["data_link"]), "the data link")
        # A SETUP without what it must have (5.8.6.1).
        far.lapd.send(bytes([8, 2, 0, 5, 0x05]), 0)

        def refused() -> bool:
            # RELEASE COMPLETE to the reference's other side, cause 96 (mandatory element missing).
            return any(frame[4:9] == bytes([8, 2, 0x80, 5, 0x5A]) and 0x80 | 96 in frame[9:] for frame in far.heard)

        await far.talk(until=refused)
        assert refused()
        for _ in range(200):
            if rng.random() < 0.5:
                body = bytes([8, 2, rng.randrange(256), rng.randrange(256), rng.randrange(128)])
                far.lapd.send(body + rng.randbytes(rng.randrange(60)), 0)
            else:
                far.d.send(rng.randbytes(rng.randrange(1, 280)))
            await far.talk(0.002)
        await far.talk(1.0)
        status = await product.until(lambda status: not status["calls"], "no calls")
        assert status["spans"]["s0"]["alarm"] == "none"
    far.close()


@scenario
async def test_a_line_that_talks_nonsense_is_no_reason_to_stop(tmp_path: Path) -> None:
    far = FarEnd(tmp_path / "s0")
    async with Product(tmp_path, exchange=False) as product:
        await far.accept()
        for text in (b"", b"{", b"[]", b'{"alarm": "purple"}', os.urandom(300), b'{"slips": -1}'):
            if text:
                far.line.send(text)
        far.line.send(b'{"alarm": "yellow"}')
        await product.until(lambda status: status["spans"]["s0"]["alarm"] == "yellow", "the yellow alarm")
    far.close()


def test_the_program_tells_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway"], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 2
    assert "expected --config FILE, --store DIR or --check FILE" in done.stderr
