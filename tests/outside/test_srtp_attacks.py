"""Who reads the wire of an encrypted call and sends in the telephone's name: nothing replayed or spoilt is heard."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from pathlib import Path

import pytest

from tests.interop.openssl import Certificates
from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.scenario import scenario
from tests.interop.standing_call import StandingCall, configuration, telephone

ETH_P_IP = 0x0800
HEADER = struct.Struct("!HHHH")
SECONDS = 3.0
LEAST = 100
"""Packets: two seconds of voice."""


class Eavesdropper:
    """Everything that goes to a UDP port of loopback, and a way to send in the name of who sent it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.taken: list[tuple[int, bytes]] = []
        self._ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
        self._ear.bind(("lo", ETH_P_IP))
        self._ear.setblocking(False)
        self._mouth = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
        self._own: set[bytes] = set()
        asyncio.get_running_loop().add_reader(self._ear, self._take)

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                packet, address = self._ear.recvfrom(4096)
                at = (packet[0] & 0x0F) * 4
                # On loopback each packet is seen twice: as it leaves, and as it comes.
                if packet[9] != socket.IPPROTO_UDP or address[2] == socket.PACKET_OUTGOING:
                    continue
                source, to, _, _ = HEADER.unpack_from(packet, at)
                payload = packet[at + HEADER.size :]
                if to == self.port and payload not in self._own:
                    self._own.add(payload)
                    self.taken.append((source, payload))

    def send(self, source: int, payload: bytes) -> None:
        """A packet that seems to come from the port ``source``."""
        self._own.add(payload)
        self._mouth.sendto(HEADER.pack(source, self.port, HEADER.size + len(payload), 0) + payload, ("127.0.0.1", 0))

    def close(self) -> None:
        """Let go of the sockets."""
        asyncio.get_running_loop().remove_reader(self._ear)
        self._ear.close()
        self._mouth.close()


def spoilt(payload: bytes) -> list[bytes]:
    """The packet with other voice, with another sequence number, and with a tag of zeros."""
    other = bytearray(payload)
    other[20] ^= 0xFF
    later = payload[:2] + (int.from_bytes(payload[2:4]) + 1000 & 0xFFFF).to_bytes(2) + payload[4:]
    return [bytes(other), later, payload[:-10] + bytes(10)]


@pytest.mark.skipif(os.geteuid() != 0, reason="who reads the wire and forges addresses has to be root")
@scenario
async def test_replayed_and_spoilt_packets_change_nothing(tmp_path: Path) -> None:
    files = await Certificates(tmp_path).make()
    ours = free_port()
    extra = f"module srtp.so\n{files.telephone}"
    async with await telephone(tmp_path, transport="tls", extra=extra, account=";mediaenc=srtp-mand") as phone:
        terms = 'transport = "tls"\nmedia_encryption = "required"'
        known = configuration(phone, terms).replace(f":{phone.sip_port}", f":{phone.sip_port + 1}")
        async with Product(tmp_path, sip=files.sip, listen=[f"tls:127.0.0.1:{ours}"], extra=known) as product:
            async with StandingCall(product, phone, f"127.0.0.1:{ours};transport=tls") as call:
                wire = Eavesdropper(call.port)
                try:
                    sent = 0
                    until = asyncio.get_running_loop().time() + SECONDS
                    while asyncio.get_running_loop().time() < until:
                        await asyncio.sleep(0.02)
                        for source, payload in wire.taken[-2:] + wire.taken[:1]:
                            for each in (payload, *spoilt(payload)):
                                wire.send(source, each)
                                sent += 1
                    assert len(wire.taken) > LEAST
                finally:
                    wire.close()
            await product.until_idle()
            (record,) = product.records()
    media = record["incoming"]["media"]
    assert sent > 4 * LEAST
    assert media["replayed"] > LEAST
    assert media["unauthenticated"] > LEAST
    assert media["strangers"] == 0
    assert record["incoming"]["srtp"]
