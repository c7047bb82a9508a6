"""Standing SIP calls with voice through whoever stands in the middle, and what they cost it a second.

A caller and a called side of our own do the signalling, one call after the other; ``voice-ends`` is all their voice.
"""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from gateway.media.engine_process import BINARY
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import parse
from tests.bench.middle import CALLER, MIDDLES, Middle
from tests.interop.program import PeerError, free_port

PROGRAM = BINARY.with_name("voice-ends")
FIRST_PORT = 12_000
"""Two for each end; below those that the system hands out, and below those of whoever relays."""
KEY = bytes(range(1, 31))
REPLY_SECONDS = 5.0
SETTLE_SECONDS = 2.0
LEAST_HEARD = 0.98
"""Of what was sent, below which the figure would be of a relay that does not do its work."""

_MEDIA = re.compile(rb"^m=audio (\d+) ", re.MULTILINE)
_INLINE = re.compile(rb"^a=crypto:\d+ AES_CM_128_HMAC_SHA1_80 inline:([\w+/=]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class End:
    """One end of a call: its port, the port it sends to, and the keys that it sends and takes SRTP with."""

    local: int
    remote: int
    out: bytes = b""
    into: bytes = b""

    def __str__(self) -> str:
        keys = f" {self.out.hex()} {self.into.hex()}" if self.out else ""
        return f"{self.local} {self.remote}{keys}\n"


def _description(port: int, *, secure: bool) -> bytes:
    profile = "RTP/SAVP" if secure else "RTP/AVP"
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0", f"m=audio {port} {profile} 8"]
    lines += ["a=rtpmap:8 PCMA/8000", "a=ptime:20", "a=sendrecv"]
    if secure:
        lines.append(f"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{base64.b64encode(KEY).decode()}")
    return "".join(f"{line}\r\n" for line in lines).encode()


class Called(asyncio.DatagramProtocol):
    """Answers every call; the digits that are called say which of the ends it is."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.ends: dict[int, End] = {}
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way out."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a request."""
        message = parse(data)
        if not isinstance(message, Request) or message.method == "ACK":
            return
        response = message.response(200, to_tag="called")
        if message.method == "INVITE":
            number = int(message.uri.user or "0")
            local = FIRST_PORT + 4 * number + 2
            found = _MEDIA.search(message.body)
            assert found is not None
            self.ends[number] = End(local, int(found[1]))
            body = _description(local, secure=False)
            fields = [("Contact", f"<sip:called@127.0.0.1:{self.port}>"), ("Content-Type", "application/sdp")]
            response = Response(200, "OK", [*response.headers, *fields], body)
        self._transport.sendto(response.to_bytes(), addr)


class _Line(asyncio.DatagramProtocol):
    """UDP as a queue of messages."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Keep it."""
        self.messages.put_nowait(data)


class Caller:
    """Calls by UDP, or by TLS where whoever is called has a port for that."""

    def __init__(self, middle: Middle) -> None:
        self._middle = middle
        self._own = f"127.0.0.1:{free_port()}"
        self._word = "TLS" if middle.tls_port else "UDP"
        self.ends: dict[int, End] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        """Connect."""
        if self._middle.tls_port:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._middle.tls_port, ssl=context)
            stack.callback(self._writer.close)
            self._own = f"127.0.0.1:{self._writer.get_extra_info('sockname')[1]}"
            return
        host, port = self._own.split(":")
        self._transport, self._line = await asyncio.get_running_loop().create_datagram_endpoint(
            _Line, local_addr=(host, int(port)), remote_addr=("127.0.0.1", self._middle.port)
        )
        stack.callback(self._transport.close)

    def _send(self, request: Request) -> None:
        if self._middle.tls_port:
            self._writer.write(request.to_bytes())
        else:
            self._transport.sendto(request.to_bytes())

    async def _receive(self) -> Request | Response:
        if not self._middle.tls_port:
            return parse(await self._line.messages.get())
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"^content-length: *(\d+)", head, re.IGNORECASE | re.MULTILINE)
        return parse(head + await self._reader.readexactly(int(length[1]) if length else 0))

    def _request(self, method: str, uri: str, number: int, to: str, extra: list[tuple[str, str]]) -> Request:
        host = f"127.0.0.1:{self._middle.port}"
        fields = [
            ("Via", f"SIP/2.0/{self._word} {self._own};branch=z9hG4bK{method}{number}"),
            ("Max-Forwards", "70"),
            *(field for field in extra if field[0] == "Route"),
            ("From", f"<sip:{CALLER}@{host}>;tag=caller"),
            ("To", to),
            ("Call-ID", f"{number}@{self._own}"),
            ("CSeq", f"1 {method}"),
            *(field for field in extra if field[0] != "Route"),
        ]
        return Request(
            method,
            uri,
            fields,
            _description(self._local(number), secure=self._middle.secure) if method == "INVITE" else b"",
        )

    @staticmethod
    def _local(number: int) -> int:
        return FIRST_PORT + 4 * number

    async def call(self, number: int) -> None:
        """One call, up to its ACK."""
        uri = f"sip:9{number}@127.0.0.1:{self._middle.tls_port or self._middle.port}"
        way = ";transport=tls" if self._middle.tls_port else ""
        contact = ("Contact", f"<sip:{CALLER}@{self._own}{way}>")
        self._send(self._request("INVITE", uri, number, f"<{uri}>", [contact, ("Content-Type", "application/sdp")]))
        while True:
            response = await asyncio.wait_for(self._receive(), REPLY_SECONDS)
            if isinstance(response, Response) and response.status >= 200 and response.call_id.startswith(f"{number}@"):
                break
        if response.status != 200:
            raise SystemExit(f"bench: {self._middle.name} answered a call with {response.status} {response.reason}")
        routes = [("Route", str(route)) for route in reversed(response.record_routes)]
        target = str(response.contacts[0].uri)
        self._send(self._request("ACK", target, number, str(response.to), routes))
        found, key = _MEDIA.search(response.body), _INLINE.search(response.body)
        if found is None or (key is None) is self._middle.secure:
            raise SystemExit(f"bench: {self._middle.name} answered with {response.body!r}")
        keys = (KEY, base64.b64decode(key[1])) if key else (b"", b"")
        self.ends[number] = End(self._local(number), int(found[1]), *keys)


async def _voice(middle: Middle, plan: str, seconds: int) -> Mapping[str, float]:
    """Percent of a core of all of it, by what spent it, while ``plan`` talks."""
    if not await asyncio.to_thread(PROGRAM.exists):
        raise SystemExit(f"bench: {PROGRAM} is missing, make bench builds it")
    process = await asyncio.create_subprocess_exec(
        PROGRAM, str(seconds), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None and process.stdout is not None
    marks: list[Mapping[str, float]] = []
    try:
        process.stdin.write(plan.encode())
        process.stdin.close()
        for word in (b"begin\n", b"end\n"):
            if await asyncio.wait_for(process.stdout.readline(), SETTLE_SECONDS + seconds + 10) != word:
                raise SystemExit("bench: voice-ends ended early")
            marks.append(middle.cpu())
        sent, heard = map(int, re.findall(rb"\d+", await process.stdout.readline()))
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if heard < LEAST_HEARD * sent:
        raise SystemExit(f"bench: of {sent} packets through {middle.name} {heard} arrived")
    return {what: (marks[1][what] - marks[0][what]) * 100 / seconds for what in marks[0]}


async def voice_calls(directory: Path, count: int, seconds: int, *, secure: bool) -> tuple[dict[str, float], list[str]]:
    """Percent of a core per standing call of ``count``, by what spent it; what could not be started, and why.

    ``secure``: the caller's half of each call is SRTP, the other is not.
    """
    spent: dict[str, float] = {}
    missing: list[str] = []
    for number, kind in enumerate(MIDDLES):
        async with AsyncExitStack() as stack:
            port = free_port()
            transport, called = await asyncio.get_running_loop().create_datagram_endpoint(
                partial(Called, port), local_addr=("127.0.0.1", port)
            )
            stack.callback(transport.close)
            middle = kind(directory / f"middle{number}", port, secure=secure)
            try:
                await stack.enter_async_context(middle)
            except PeerError as error:
                missing.append(f"{kind.name}: {str(error).splitlines()[0]}")
                continue
            caller = Caller(middle)
            await caller.open(stack)
            for each in range(count):
                await caller.call(each)
            plan = "".join(f"{caller.ends[each]}{called.ends[each]}" for each in range(count))
            for what, percent in (await _voice(middle, plan, seconds)).items():
                spent[what] = percent / count
    return spent, missing
