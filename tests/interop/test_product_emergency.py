"""Help for who has no password: a phone that is nobody, or was shut out, calls 911; and gets nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import socket
from itertools import count
from pathlib import Path

from tests.interop.product import Product
from tests.interop.program import PATIENCE
from tests.interop.scenario import scenario

PHONES = """\
[[phone]]
name = "100"
secret = "correct horse battery"
context = "internal"
[[route]]
context = "internal"
match = "911"
to = ["pri:r0/911"]
[[route]]
context = "internal"
match = "_9."
to = ["pri:r0/{number:1}"]
"""
_SERIAL = count(1)


class Branch(Product):
    """A product whose trunk is not where the calls come from."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, far_host="127.0.0.9", extra=PHONES)


class Caller:
    """A few lines of SIP from an address of its own, that prove nothing."""

    def __init__(self, product: Product, address: str) -> None:
        self._product = product
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self._socket.setblocking(False)
        host, port = self._socket.getsockname()
        self._place = f"{host}:{port}"
        self._call = f"call-{next(_SERIAL)}"
        self._tag = ""

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    async def ask(self, method: str, number: str, *fields: str, seconds: float = PATIENCE) -> int:
        """Send a request; the status of its final response, 0 for none."""
        host = self._place.partition(":")[0]
        offer = f"v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio 40000 RTP/AVP 8\r\n"
        body = f"Content-Type: application/sdp\r\nContent-Length: {len(offer)}\r\n\r\n{offer}"
        serial = next(_SERIAL)
        uri = f"sip:{number}@127.0.0.1:{self._product.sip_port}"
        tag = f";tag={self._tag}" if self._tag else ""
        lines = [
            f"{method} {uri} SIP/2.0",
            f"Via: SIP/2.0/UDP {self._place};branch=z9hG4bK{serial};rport",
            "Max-Forwards: 70",
            f"From: <sip:100@127.0.0.1>;tag=f{self._call}",
            f"To: <{uri}>{tag}",
            f"Call-ID: {self._call}",
            f"CSeq: {serial if method != 'ACK' else serial - 1} {method}",
            f"Contact: <sip:100@{self._place}>",
            *fields,
        ]
        head = "\r\n".join(lines) + "\r\n"
        data = (head + (body if method == "INVITE" else "Content-Length: 0\r\n\r\n")).encode()
        self._socket.sendto(data, ("127.0.0.1", self._product.sip_port))
        if method == "ACK":
            return 0
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    answer = (await loop.sock_recv(self._socket, 65_535)).decode()
                    status = int(answer.split()[1])
                    if status >= 200 and f"branch=z9hG4bK{serial};" in answer:
                        break
        except TimeoutError:
            return 0
        if method == "INVITE":
            self._tag = next(line for line in answer.split("\r\n") if line.startswith("To:")).partition(";tag=")[2]
        return status

    async def call(self, number: str) -> int:
        """An INVITE with its ACK."""
        status = await self.ask("INVITE", number)
        await self.ask("ACK", number)
        return status


def guess(password: str) -> str:
    """Credentials with a nonce that nobody gave."""
    response = hashlib.md5(password.encode(), usedforsecurity=False).hexdigest()
    return (
        f'Authorization: Digest username="100", realm="branch-gateway", nonce="x", uri="sip:127.0.0.1", '
        f'response="{response}", algorithm=MD5, qop=auth, nc=00000001, cnonce="c"'
    )


@scenario
async def test_who_proves_nothing_reaches_help_and_nobody_else(tmp_path: Path) -> None:
    async with Branch(tmp_path) as product:
        with Caller(product, "127.0.0.3") as caller:
            assert await caller.call("95550112") == 401
        with Caller(product, "127.0.0.3") as caller:
            assert await caller.call("911") == 200
            (call,) = (await product.gateway.command("status"))["calls"]
            assert call["state"] == "answered"
            assert await caller.ask("REFER", "911", "Refer-To: <sip:95550112@x>") == 603
            with Caller(product, "127.0.0.4") as thief:
                thief._call, thief._tag = caller._call, caller._tag
                assert await thief.ask("BYE", "911") in (401, 403, 481)
            assert await caller.ask("BYE", "911") == 200
        await product.until_idle()
        (record,) = product.records()
        assert record["emergency"] and record["source"] == "100"
        assert "says to be 100" in record["notes"][0]
        assert "emergency call to 911 without proof" in product.log


@scenario
async def test_four_at_a_time_and_who_was_shut_out_is_heard(tmp_path: Path) -> None:
    async with Branch(tmp_path) as product:
        callers = [Caller(product, f"127.0.1.{number}") for number in range(1, 6)]
        assert [await caller.call("911") for caller in callers] == [200, 200, 200, 200, 401]
        assert await callers[0].ask("BYE", "911") == 200
        with Caller(product, "127.0.0.7") as guesser:
            for number in range(40):
                await guesser.ask("REGISTER", "x", guess(str(number)), seconds=0.3)
                if "127.0.0.7" in (await product.gateway.command("status"))["shut_out"]:
                    break
            assert not await guesser.ask("REGISTER", "x", guess("once more"), seconds=0.3)
        with Caller(product, "127.0.0.7") as caller:
            assert await caller.call("911") == 200
            assert await caller.ask("BYE", "911") == 200
        for each in callers[1:4]:
            assert await each.ask("BYE", "911") == 200
        await product.until_idle()
        for each in callers:
            each.__exit__()
