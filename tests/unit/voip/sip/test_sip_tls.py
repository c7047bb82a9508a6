"""SIP over TLS on loopback: calls, whom a certificate lets in, what is refused and how it is told, new files."""

from __future__ import annotations

import asyncio
import datetime
import logging
import socket
import ssl
from pathlib import Path

import pytest

from gateway.cause import Cause
from gateway.leg import SECURE_SIGNALLING
from gateway.voip.sip import connection as connection_module
from gateway.voip.sip.flow import TLS, Flow, Send
from gateway.voip.sip.handshakes import Handshakes
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.tls import TlsSettings, VerifyClient
from tests.unit.voip.sip.sip_pair import Notes, simple_setup
from tests.unit.voip.sip.socket_node import Node, run
from tests.unit.voip.sip.tls_files import NOW, Authority

LISTEN = "tls:127.0.0.1:0"
OPTIONS = (
    b"OPTIONS sip:x@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS 127.0.0.1:9;branch=z9hG4bKabc\r\n"
    b"From: <sip:a@b>;tag=1\r\nTo: <sip:x@127.0.0.1>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def peer(port: int, host: str = "127.0.0.1", **settings: object) -> PeerSettings:
    return PeerSettings("b", host, port, TLS, **settings)  # type: ignore[arg-type]


def place(node: Node) -> tuple[SipLeg, Notes]:
    leg = node.endpoint.new_leg("b", node.clock())
    assert isinstance(leg, SipLeg)
    leg.listener = notes = Notes()
    leg.place(simple_setup(), node.clock())
    node.drain()
    return leg, notes


def client(ca: Path | None, **contexts: object) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if ca is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(ca)
    return context


async def line(reader: asyncio.StreamReader) -> bytes:
    return await asyncio.wait_for(reader.readline(), 5)


async def counted(handshakes: Handshakes, count: int) -> None:
    """Wait for so many handshakes to have begun or been turned away, which no event tells of."""
    for _ in range(500):
        if handshakes.under_way + handshakes.turned_away == count:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    await asyncio.sleep(0)


def test_call_over_tls_both_sides_verified(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def scenario() -> None:
        a, b = Node(), Node()
        await b.start(LISTEN, tls=authority.tls("b"))
        await a.start(LISTEN, peers=(peer(b.listeners[0].port),), tls=authority.tls("a"))
        leg, notes = place(a)
        await b.until(lambda: bool(b.offers))
        far, far_notes = b.offers[0]
        assert far.flow.transport == TLS
        far.answer(None, b.clock())
        b.drain()
        await a.until(lambda: "Answered" in notes.names())
        leg.release(Cause.NORMAL_CALL_CLEARING, a.clock())
        a.drain()
        await b.until(lambda: far_notes.released is not None)
        assert notes.released is not None
        # One connection for the whole of it: INVITE, ACK and BYE.
        assert (a.transport.connections, b.transport.connections) == (1, 1)
        assert (a.transport.handshakes.refused, b.transport.handshakes.done) == (0, 1)
        await a.close()
        await b.close()

    run(scenario)


def test_incoming_call_over_tls_has_the_fact_secure_signalling(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def scenario() -> None:
        a, b = Node(), Node()
        await b.start(LISTEN, tls=authority.tls("b"))
        await a.start(LISTEN, peers=(peer(b.listeners[0].port),), tls=authority.tls("a"))
        place(a)
        await b.until(lambda: bool(b.setups))
        assert b.setups[0].facts == {SECURE_SIGNALLING}
        await a.close()
        await b.close()

    run(scenario)


@pytest.mark.parametrize(
    ("hosts", "addresses", "host", "expected"),
    [
        ((), ("127.0.0.2",), "127.0.0.1", "expected a certificate for 127.0.0.1; it is for 127.0.0.2"),
        (("hq.example.org",), ("127.0.0.1",), "localhost", "expected a certificate for localhost; it is for"),
    ],
)
def test_far_end_of_another_name_is_not_called(
    tmp_path: Path,
    hosts: tuple[str, ...],
    addresses: tuple[str, ...],
    host: str,
    expected: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    authority = Authority(tmp_path)
    authority.issue("b", hosts, addresses)

    async def scenario() -> None:
        a, b = Node(), Node()
        await b.start(LISTEN, tls=authority.tls("b"))
        await a.start(LISTEN, peers=(peer(b.listeners[0].port, host),), tls=authority.tls("a"))
        a.endpoint.resolved("localhost", ("127.0.0.1",), a.clock())
        _, notes = place(a)
        await a.until(lambda: notes.released is not None)
        assert notes.released is not None
        assert notes.released.cause is Cause.TEMPORARY_FAILURE
        assert not b.offers
        await a.close()
        await b.close()

    run(scenario)
    assert expected in caplog.text


def test_far_end_is_called_by_the_name_in_its_certificate_whatever_its_address(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("b", ["HQ.example.org"], [])

    async def scenario() -> None:
        a, b = Node(), Node()
        await b.start(LISTEN, tls=authority.tls("b"))
        await a.start(LISTEN, peers=(peer(b.listeners[0].port, "hq.example.org"),), tls=authority.tls("a"))
        a.endpoint.resolved("hq.example.org", ("127.0.0.1",), a.clock())
        place(a)
        await b.until(lambda: bool(b.offers))
        await a.close()
        await b.close()

    run(scenario)


def test_far_end_of_an_unknown_ca_is_not_called_unless_it_need_not_be_verified(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "other")
    theirs.issue("b")

    async def scenario() -> None:
        a, b = Node(), Node()
        await b.start(LISTEN, tls=theirs.tls("b"))
        peers = (peer(b.listeners[0].port),)
        await a.start(LISTEN, peers=peers, tls=ours.tls("a"))
        _, notes = place(a)
        await a.until(lambda: notes.released is not None)
        assert "its certificate is of a CA that is not in tls_ca" in caplog.text
        # And the one that is refused says so too.
        await b.until(lambda: b.transport.handshakes.refused == 1)
        assert "it does not know the CA" in caplog.text
        await a.close()
        a = Node()
        await a.start(LISTEN, peers=peers, tls=ours.tls("a", unverified=["127.0.0.1"]))
        place(a)
        await b.until(lambda: bool(b.offers))
        await a.close()
        await b.close()

    run(scenario)


def test_expired_certificate_of_the_far_end_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    authority.issue("b", now=NOW - datetime.timedelta(days=20), days=10)

    async def scenario() -> None:
        a, b = Node(), Node()
        await b.start(LISTEN, tls=authority.tls("b"))
        await a.start(LISTEN, peers=(peer(b.listeners[0].port),), tls=authority.tls("a"))
        _, notes = place(a)
        await a.until(lambda: notes.released is not None)
        await b.until(lambda: b.transport.handshakes.refused == 1)
        await a.close()
        await b.close()

    run(scenario)
    assert "its certificate has ended; expected a new one there" in caplog.text
    assert "it does not like our certificate (tls_certificate): ended" in caplog.text


def test_plain_text_on_the_tls_port_is_closed_and_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)

    async def scenario() -> None:
        node = Node()
        await node.start(LISTEN, tls=authority.tls("b"))
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.listeners[0].port)
            writer.write(OPTIONS)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            await hang_up(writer)
        assert node.transport.handshakes.refused == 3
        assert node.transport.handshakes.under_way == 0
        await node.close()

    run(scenario)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [
        "TLS from 127.0.0.1 refused: it speaks plain text on the TLS port; set its transport to TLS, or its port to "
        "that of TCP or UDP"
    ]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_below_1_2_is_refused(tmp_path: Path, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)

    async def scenario() -> None:
        node = Node()
        await node.start(LISTEN, tls=authority.tls("b"))
        context = client(None)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            context.minimum_version = version
            context.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.wait_for(
                asyncio.open_connection("127.0.0.1", node.listeners[0].port, ssl=context, server_hostname=""), 5
            )
        await node.until(lambda: node.transport.handshakes.refused == 1)
        await node.close()

    run(scenario)
    assert "it offers no TLS from 1.2 on" in caplog.text


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_options_over_tls_1_2_and_1_3(tmp_path: Path, version: ssl.TLSVersion) -> None:
    authority = Authority(tmp_path)

    async def scenario() -> None:
        node = Node()
        await node.start(LISTEN, tls=authority.tls("b"))
        context = client(authority.file)
        context.minimum_version = context.maximum_version = version
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", node.listeners[0].port, ssl=context, server_hostname=""
        )
        writer.write(b"\r\n\r\n")
        assert await asyncio.wait_for(reader.readexactly(2), 5) == b"\r\n"
        writer.write(OPTIONS)
        assert await line(reader) == b"SIP/2.0 200 OK\r\n"
        assert node.transport.secure_connections == 1
        await hang_up(writer)
        await node.until(lambda: node.transport.connections == 0)
        await node.close()

    run(scenario)


def test_who_shows_no_certificate_is_refused_where_one_is_required(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)

    async def scenario() -> None:
        node = Node()
        await node.start(LISTEN, tls=authority.tls("b", verify_client=VerifyClient.REQUIRED))
        context = client(authority.file)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", node.listeners[0].port, ssl=context, server_hostname=""
        )
        # TLS 1.3 tells the client only when it reads.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            writer.write(OPTIONS)
            assert await asyncio.wait_for(reader.read(), 5) == b""
            raise ConnectionError
        await hang_up(writer)
        assert node.transport.connections == 0
        await node.close()

    run(scenario)
    assert "it sent no certificate; give it one" in caplog.text


@pytest.mark.parametrize(("name", "source"), [("a", "a-trunk"), ("stranger", "")])
def test_trunk_is_known_by_its_certificate_from_any_address(tmp_path: Path, name: str, source: str) -> None:
    authority = Authority(tmp_path)
    authority.issue("a", ["a.example.org"], [])
    authority.issue("stranger", ["c.example.org"], [])

    async def scenario() -> None:
        a, b = Node(), Node()
        trunk = PeerSettings("a-trunk", "a.example.org", 5061, TLS)
        required = authority.tls("b", verify_client=VerifyClient.REQUIRED, names=["a.example.org"])
        await b.start(LISTEN, peers=(trunk,), tls=required)
        await a.start(LISTEN, peers=(peer(b.listeners[0].port),), tls=authority.tls(name))
        place(a)
        await b.until(lambda: bool(b.offers))
        assert b.offers[0][0].source == source
        await a.close()
        await b.close()

    run(scenario)


def test_peer_with_tls_is_not_known_in_the_clear(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def scenario() -> None:
        node = Node()
        await node.start("udp:127.0.0.1:0", LISTEN, peers=(peer(5061),), tls=authority.tls("b"))
        match = node.endpoint.peers.match
        assert match(Flow("UDP", "127.0.0.1", 5061)) is None
        assert match(Flow("TCP", "127.0.0.1", 5061, 3)) is None
        found = match(Flow("TLS", "127.0.0.1", 40_000, 3))
        assert found is not None
        assert found.name == "b"
        await node.close()

    run(scenario)


def test_sips_is_taken_over_tls_only(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    secure = OPTIONS.replace(b"OPTIONS sip:", b"OPTIONS sips:")

    async def scenario() -> None:
        node = Node()
        await node.start("tcp:127.0.0.1:0", LISTEN, tls=authority.tls("b"))
        for number, context, status in ((0, None, b"416"), (1, client(authority.file), b"200")):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1",
                node.listeners[number].port,
                ssl=context,
                server_hostname=None if context is None else "",
            )
            writer.write(secure)
            assert (await line(reader)).split()[1] == status
            await hang_up(writer)
        await node.close()

    run(scenario)


def test_handshake_that_does_not_end_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setattr(connection_module, "HANDSHAKE_TIMEOUT", 0.05)

    async def scenario() -> None:
        node = Node()
        await node.start(LISTEN, tls=authority.tls("b"))
        reader, writer = await asyncio.open_connection("127.0.0.1", node.listeners[0].port)
        writer.write(b"\x16\x03\x01")
        assert await asyncio.wait_for(reader.read(), 5) == b""
        await hang_up(writer)
        assert node.transport.handshakes.under_way == 0
        await node.close()

    run(scenario)
    assert "it did not finish in time" in caplog.text


def test_call_to_a_port_that_does_not_speak_tls_fails_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SIP/2.0 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        node = Node()
        port = server.sockets[0].getsockname()[1]
        await node.start(LISTEN, peers=(peer(port),), tls=authority.tls("a"))
        _, notes = place(node)
        await node.until(lambda: notes.released is not None)
        server.close()
        await node.close()

    run(scenario)
    assert "refused: it answers with something that is not TLS" in caplog.text


def test_new_certificate_is_shown_to_new_connections_and_open_ones_go_on(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.tls("b")

    async def scenario() -> None:
        node = Node()
        await node.start(LISTEN, tls=tls)
        port = node.listeners[0].port
        serials = []
        pairs = []
        for _ in range(2):
            context = client(authority.file)
            pairs.append(await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=""))
            serials.append(pairs[-1][1].get_extra_info("peercert")["serialNumber"])
            authority.issue("b")
            tls.reload()
        assert serials[0] != serials[1]
        for reader, writer in pairs:
            writer.write(b"\r\n\r\n")
            assert await asyncio.wait_for(reader.readexactly(2), 5) == b"\r\n"
            await hang_up(writer)
        await node.close()

    run(scenario)


def test_message_for_a_far_end_without_tls_set_up_is_reported_lost() -> None:
    async def scenario() -> None:
        node = Node()
        await node.start("tcp:127.0.0.1:0", peers=(peer(9),))
        lost: list[Flow] = []
        inner = node.endpoint.connection_lost
        node.endpoint.connection_lost = lambda flow, now: (lost.append(flow), inner(flow, now))[1]  # type: ignore
        flow = Flow(TLS, "127.0.0.1", 9)
        node.transport.perform(Send(flow, b"x"))
        await node.until(lambda: lost == [flow])
        await node.close()

    run(scenario)


def test_many_handshakes_of_one_stranger_are_turned_away_and_those_of_peers_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.voip.sip.handshakes.MAX_PER_SOURCE", 2)
    authority = Authority(tmp_path)

    async def scenario() -> None:
        for peers, expected in (((), 3), ((peer(5061),), 0)):
            node = Node()
            await node.start(LISTEN, peers=peers, tls=authority.tls("b"))
            opened = [socket.create_connection(("127.0.0.1", node.listeners[0].port)) for _ in range(5)]
            await counted(node.transport.handshakes, 5)
            assert node.transport.handshakes.turned_away == expected
            for each in opened:
                each.close()
            await node.close()

    run(scenario)


def test_connection_carries_nothing_for_a_name_that_its_certificate_is_not_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("b", ["b.example.org"], ["127.0.0.1"])

    async def scenario() -> None:
        a, b = Node(), Node()
        await b.start(LISTEN, tls=authority.tls("b"))
        port = b.listeners[0].port
        await a.start(LISTEN, peers=(peer(port),), tls=authority.tls("a"))
        lost: list[Flow] = []
        inner = a.endpoint.connection_lost
        a.endpoint.connection_lost = lambda flow, now: (lost.append(flow), inner(flow, now))[1]  # type: ignore
        place(a)
        await b.until(lambda: bool(b.offers))
        other = Flow(TLS, "127.0.0.1", port, 0, 0, "other.example.org")
        a.transport.perform(Send(other, OPTIONS))
        await a.until(lambda: lost == [other])
        assert a.transport.connections == 1
        # What it is for too goes over it.
        a.transport.perform(Send(Flow(TLS, "127.0.0.1", port, 0, 0, "b.example.org"), b"\r\n\r\n"))
        await b.until(lambda: b.endpoint.counters.keepalives == 1)
        assert (a.transport.connections, b.transport.handshakes.done) == (1, 2)
        await a.close()
        await b.close()

    run(scenario)


def test_wildcard_listener_takes_ipv6_and_ipv4(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("b", [], ["127.0.0.1", "::1"])

    async def scenario() -> None:
        node = Node()
        await node.start("tls:[::]:0", tls=authority.tls("b"))
        for address in ("127.0.0.1", "::1"):
            context = ssl.create_default_context(cafile=str(authority.file))
            reader, writer = await asyncio.open_connection(
                address, node.listeners[0].port, ssl=context, server_hostname=address
            )
            writer.write(OPTIONS)
            assert await line(reader) == b"SIP/2.0 200 OK\r\n"
            await hang_up(writer)
        await node.close()

    run(scenario)


def test_settings_without_certificate_can_call_but_not_listen(tmp_path: Path) -> None:
    assert TlsSettings().files == ()
