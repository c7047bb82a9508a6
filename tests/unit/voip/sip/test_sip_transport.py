"""The asyncio adapter on loopback: UDP, TCP, dual stack, a port in use, connections that fail or do not read."""

from __future__ import annotations

import asyncio
import socket

import pytest

from gateway.cause import Cause
from gateway.voip.sip import transport as transport_module
from gateway.voip.sip.flow import TCP, UDP, Close, Flow, Resolve, Send
from gateway.voip.sip.hop import Listener as Socket
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.names import Answer
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.transport import ListenError, SipTransport, parse_listen
from tests.unit.voip.sip.sip_pair import Notes, simple_setup
from tests.unit.voip.sip.socket_node import Node, run

OPTIONS = (
    b"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/%b 127.0.0.1:9;branch=z9hG4bKabc%d;rport\r\n"
    b"From: <sip:a@b>;tag=1\r\nTo: <sip:x@127.0.0.1>\r\nCall-ID: c%d\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize("word", ["udp", "tcp"])
def test_call_over_real_sockets(word: str) -> None:
    async def scenario() -> None:
        a, b = Node(), Node()
        await b.start("udp:127.0.0.1:0", "tcp:127.0.0.1:0")
        port = b.listeners[0 if word == "udp" else 1].port
        await a.start(
            "udp:127.0.0.1:0",
            "tcp:127.0.0.1:0",
            peers=(PeerSettings("b", "127.0.0.1", port=port, transport=word.upper()),),
        )
        leg = a.endpoint.new_leg("b", a.clock())
        assert isinstance(leg, SipLeg)
        leg.listener = notes = Notes()
        leg.place(simple_setup(), a.clock())
        a.drain()
        await b.until(lambda: bool(b.offers))
        far, far_notes = b.offers[0]
        far.answer(None, b.clock())
        b.drain()
        await a.until(lambda: "Answered" in notes.names())
        leg.release(Cause.NORMAL_CALL_CLEARING, a.clock())
        a.drain()
        await b.until(lambda: far_notes.released is not None)
        assert notes.released is not None
        assert a.transport.connections == (1 if word == "tcp" else 0)
        await a.close()
        await b.close()

    run(scenario)


def test_dual_stack_socket_takes_ipv4_and_ipv6_and_answers_both() -> None:
    async def scenario() -> None:
        node = Node()
        await node.start("udp:[::]:0")
        port = node.listeners[0].port
        loop = asyncio.get_running_loop()
        for number, (family, address) in enumerate(((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))):
            with socket.socket(family, socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                client.connect((address, port))
                await loop.sock_sendall(client, OPTIONS % (b"UDP", number, number))
                answer = await asyncio.wait_for(loop.sock_recv(client, 4096), 5)
            assert answer.startswith(b"SIP/2.0 200 OK\r\n")
            assert f"received={address}".encode() in answer
        await node.close()

    run(scenario)


def test_port_in_use_is_one_clear_line() -> None:
    async def scenario() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            transport = SipTransport((Socket(UDP, "127.0.0.1", port),), lambda: 0, lambda: None)
            with pytest.raises(ListenError) as caught:
                await transport.start()
        assert str(caught.value) == f"cannot listen on udp:127.0.0.1:{port}: Address already in use"

    run(scenario)


def test_call_to_a_closed_tcp_port_is_released_as_unreachable() -> None:
    async def scenario() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            node = Node()
            await node.start("tcp:127.0.0.1:0", peers=(PeerSettings("b", "127.0.0.1", port=port, transport=TCP),))
            leg = node.endpoint.new_leg("b", node.clock())
            assert isinstance(leg, SipLeg)
            leg.listener = notes = Notes()
            leg.place(simple_setup(), node.clock())
            node.drain()
            await node.until(lambda: notes.released is not None)
            assert notes.released is not None
            assert notes.released.cause is Cause.TEMPORARY_FAILURE
            await node.close()

    run(scenario)


def test_tcp_ping_is_answered_with_pong_and_messages_follow() -> None:
    async def scenario() -> None:
        node = Node()
        await node.start("tcp:127.0.0.1:0")
        reader, writer = await asyncio.open_connection("127.0.0.1", node.listeners[0].port)
        writer.write(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readexactly(2), 5) == b"\r\n"
        writer.write(OPTIONS % (b"TCP", 1, 1))
        assert (await asyncio.wait_for(reader.readline(), 5)) == b"SIP/2.0 200 OK\r\n"
        writer.close()
        await writer.wait_closed()
        await node.close()

    run(scenario)


def test_connection_that_is_refused_is_told_in_the_systems_words(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        with socket.socket() as taken:
            # Bound, and nobody listens.
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            node = Node()
            await node.start("tcp:127.0.0.1:0")
            node.transport.perform(Send(Flow(TCP, "127.0.0.1", port), b"x"))
            await node.until(lambda: bool(caplog.messages))
            await node.close()
        assert caplog.messages == [f"cannot connect to tcp:127.0.0.1:{port}: Connection refused"]

    run(scenario)


def test_stream_that_cannot_be_framed_is_closed() -> None:
    async def scenario() -> None:
        node = Node()
        await node.start("tcp:127.0.0.1:0")
        reader, writer = await asyncio.open_connection("127.0.0.1", node.listeners[0].port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await writer.wait_closed()
        await node.until(lambda: node.transport.connections == 0)
        await node.close()

    run(scenario)


@pytest.mark.parametrize("known", [True, False])
def test_of_the_connections_of_strangers_one_end_a_second_is_told(
    caplog: pytest.LogCaptureFixture, known: bool
) -> None:
    async def scenario() -> None:
        node = Node()
        await node.start("tcp:127.0.0.1:0")
        node.transport.handshakes.known = lambda _address: known
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.listeners[0].port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()
            await writer.wait_closed()
        await node.close()

    with caplog.at_level("INFO", logger=transport_module.__name__):
        run(scenario)
    told = [message for message in caplog.messages if message.startswith("closing")]
    assert len(told) == 5 if known else 1 <= len(told) < 5


def test_connection_beyond_the_limit_takes_the_place_of_the_one_silent_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MAX_CONNECTIONS", 2)

    async def scenario() -> None:
        node = Node()
        await node.start("tcp:127.0.0.1:0")
        pairs = []
        for _ in range(2):
            pairs.append(await asyncio.open_connection("127.0.0.1", node.listeners[0].port))
        pairs[0][1].write(b"\r\n\r\n")
        assert await asyncio.wait_for(pairs[0][0].readexactly(2), 5) == b"\r\n"
        await node.until(lambda: node.transport.connections == 2)
        pairs.append(await asyncio.open_connection("127.0.0.1", node.listeners[0].port))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(pairs[1][0].readexactly(1), 5)
        assert node.transport.connections == 2
        for _, writer in pairs:
            writer.close()
        await node.close()

    run(scenario)


def test_connections_of_strangers_make_way_and_never_those_of_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "MAX_CONNECTIONS", 2)

    async def scenario() -> None:
        node = Node()
        await node.start("tcp:127.0.0.1:0", peers=(PeerSettings("b", "127.0.0.2"),))
        pairs = []

        async def connect(address: str) -> asyncio.StreamReader:
            port = node.listeners[0].port
            pairs.append(await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0)))
            return pairs[-1][0]

        async def alive(number: int) -> bool:
            pairs[number][1].write(b"\r\n\r\n")
            try:
                return await asyncio.wait_for(pairs[number][0].readexactly(2), 5) == b"\r\n"
            except (ConnectionError, asyncio.IncompleteReadError):
                return False

        for address in ("127.0.0.2", "127.0.0.1"):
            await connect(address)
            assert await alive(-1)
        # A stranger takes a stranger's place though the peer was silent for longer, and then a peer does.
        await connect("127.0.0.1")
        assert [await alive(number) for number in range(3)] == [True, False, True]
        await connect("127.0.0.2")
        assert [await alive(number) for number in range(4)] == [True, False, False, True]
        # Nobody is left whose place a stranger could take; another peer's connection takes the idlest's.
        await connect("127.0.0.1")
        assert [await alive(number) for number in range(5)] == [True, False, False, True, False]
        await connect("127.0.0.2")
        assert [await alive(number) for number in (0, 3, 5)] == [False, True, True]
        for _, writer in pairs:
            writer.close()
        await node.close()

    run(scenario)


def test_datagrams_before_attach_are_kept_by_the_host() -> None:
    async def scenario() -> None:
        seen: list[bytes] = []

        class Sink:
            def receive(self, data: bytes, flow: Flow, now: int) -> None:
                seen.append(data)

            def connection_lost(self, flow: Flow, now: int) -> None: ...

            def looked_up(self, question: Resolve, answer: Answer, now: int) -> None: ...

        arrived = asyncio.Event()
        transport = SipTransport((Socket(UDP, "127.0.0.1", 0),), lambda: 0, arrived.set)
        (bound,) = await transport.start()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"early", ("127.0.0.1", bound.port))
            await transport.attach(Sink())
            await asyncio.wait_for(arrived.wait(), 5)
        assert seen == [b"early"]
        transport.close()

    run(scenario)


def test_name_is_resolved_for_the_endpoint() -> None:
    async def scenario() -> None:
        node = Node()
        await node.start("udp:127.0.0.1:0", peers=(PeerSettings("b", "localhost"),))
        assert isinstance(node.endpoint.new_leg("b", node.clock()), Cause)
        node.drain()
        await node.until(lambda: not node.endpoint.peers.unresolved())
        leg = node.endpoint.new_leg("b", node.clock())
        assert isinstance(leg, SipLeg)
        assert leg.flow.address == "127.0.0.1"
        leg.release(Cause.NORMAL_CALL_CLEARING, node.clock())
        node.drain()
        await node.close()

    run(scenario)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("udp:[::]:5060", Socket(UDP, "::", 5060)),
        ("tcp:127.0.0.1:5061", Socket(TCP, "127.0.0.1", 5061)),
        ("UDP:0.0.0.0:5060", Socket(UDP, "0.0.0.0", 5060)),
    ],
)
def test_listen_strings(text: str, expected: Socket) -> None:
    assert parse_listen(text) == expected


@pytest.mark.parametrize(
    "text", ["", "udp", "udp:host:5060", "sctp:[::]:5060", "udp:[::]:70000", "udp:[::]", "udp:[::]:x"]
)
def test_bad_listen_strings_say_what_was_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"^listen is .*, expected "):
        parse_listen(text)


def test_outputs_for_flows_that_are_gone_are_reported_lost() -> None:
    async def scenario() -> None:
        node = Node()
        await node.start("udp:127.0.0.1:0")
        node.transport.perform(Close(Flow(TCP, "127.0.0.1", 9, 77), "none"))
        node.transport.perform(Send(Flow(UDP, "127.0.0.1", 9, 0, 5), b"no such listener"))
        node.transport.perform(Send(Flow(TCP, "127.0.0.1", 9, 77), b"no such connection"))
        node.transport.perform(Resolve("localhost"))
        await node.until(lambda: True)
        await node.close()

    run(scenario)
