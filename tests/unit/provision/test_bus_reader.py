"""Messages whose values are not what their header says: the reader takes nothing of what comes after for a part."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from gateway.provision.bus.adapter import METHOD_CALL, Incoming, _Reader
from gateway.provision.bus.marshal import Variant, body_of, message

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """The bus's end of a connection and ours."""
    bus, own = socket.socketpair()
    own.setblocking(False)
    with bus, own:
        yield bus, own


def call(signature: str, body: bytes, member: object = "M") -> bytes:
    fields = [(3, Variant("s", member))]
    if signature:
        fields.append((8, Variant("g", signature)))
    return bytes(message(METHOD_CALL, 0, 5, fields, body))


def heard(ends: Ends, *messages: bytes) -> Incoming | None:
    bus, own = ends
    bus.sendall(b"".join(messages))
    found: Incoming | None = _Reader(own, True).next()
    return found


def test_what_a_message_has_is_read_and_nothing_of_the_next_one(ends: Ends) -> None:
    first, second = call("s", body_of("s", ["one"])), call("", b"")
    found = heard(ends, first, second)
    assert found is not None and found.body == ["one"]
    assert ends[1].recv(1000) == second


@pytest.mark.parametrize(
    ("signature", "body"),
    [
        ("s", (1000).to_bytes(4, "little") + b"x\0"),
        ("as", (1000).to_bytes(4, "little")),
        ("s", b""),
        ("u", bytes(2)),
        ("", bytes(4)),
        ("u", bytes(8)),
        ("v", b"\0\0" + bytes(6)),
        ("v", b"\1v\0" * 5000),
        ("s", body_of("ay", [b"\xff"]) + b"\0"),
        ("(", bytes(8)),
    ],
)
def test_a_body_that_is_not_what_its_signature_says_is_no_message(ends: Ends, signature: str, body: bytes) -> None:
    data = bytearray(call("s" * len(signature), body))
    # No signature that is none can be written.
    data = data.replace(b"g\0" + bytes((len(signature),)) + b"s" * len(signature), b"g\0" + _told(signature))
    with pytest.raises(ValueError):
        heard(ends, bytes(data), call("", b""))


def _told(signature: str) -> bytes:
    return bytes((len(signature),)) + signature.encode()


def test_a_header_that_is_longer_than_it_says_is_no_message(ends: Ends) -> None:
    data = bytearray(call("", b"", "Member"))
    at = data.index(b"\6\0\0\0Member")
    data[at] = 200
    with pytest.raises(ValueError, match="longer than its message"):
        heard(ends, bytes(data), call("", b""))


def test_a_message_that_is_not_all_here_is_none_yet(ends: Ends) -> None:
    bus, own = ends
    data = call("su", body_of("su", ["one", 2]))
    reader = _Reader(own, True)
    for octet in data[:-1]:
        bus.send(bytes((octet,)))
        assert reader.next() is None
    bus.send(data[-1:])
    found = reader.next()
    assert found is not None and found.body == ["one", 2]
