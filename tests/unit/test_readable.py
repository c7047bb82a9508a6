"""Asking a socket whether more waits: datagrams, packets, nothing."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from gateway.readable import waiting


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_what_waits_is_seen_until_it_is_read(kind: socket.SocketKind) -> None:
    here, there = socket.socketpair(socket.AF_UNIX, kind)
    with closing(here), closing(there):
        assert not waiting(here)
        there.send(b"one")
        there.send(b"two")
        assert waiting(here)
        assert here.recv(10) == b"one"
        assert waiting(here)
        assert here.recv(10) == b"two"
        assert not waiting(here)


def test_udp_datagrams_are_seen() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as far,
    ):
        here.bind(("127.0.0.1", 0))
        assert not waiting(here)
        far.sendto(b"OPTIONS", here.getsockname())
        assert waiting(here)
        assert here.recv(10) == b"OPTIONS"
        assert not waiting(here)
