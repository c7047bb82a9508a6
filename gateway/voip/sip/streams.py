"""Connections of an endpoint: bytes in, messages out (RFC 3261 18.3), and the keep-alive of RFC 5626 4.4.1."""

from __future__ import annotations

from collections.abc import Callable

from gateway.core import SECOND
from gateway.voip.sip.counters import EndpointCounters
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Close, Flow
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import StreamParser

MAX_STREAMS = 1024
"""Connections at a time; a further one is closed."""
MAX_PONGS = 8
"""Keep-alives answered of those that arrive at once: who sends more does not wait for the answers."""
MAX_UNFINISHED = 32 * SECOND
"""How long one message may take to arrive: as long as anybody waits for an answer (RFC 3261 17.1.2.2, 64*T1)."""
_PONG = b"\r\n"


class Streams:
    """``receive`` is told each whole message, and raises SipError to have the connection closed.

    ``broken`` is told what cannot be read, ``send`` and ``close`` are the endpoint's outputs.
    """

    def __init__(
        self,
        counters: EndpointCounters,
        receive: Callable[[Request | Response, Flow, int], None],
        broken: Callable[[SipError, Flow, int], None],
        send: Callable[[Flow, bytes], None],
        close: Callable[[Close], None],
    ) -> None:
        self._counters = counters
        self._receive = receive
        self._broken = broken
        self._send = send
        self._close = close
        self._parsers: dict[Flow, StreamParser] = {}
        # Since when there has been a message of which not all is there.
        self._begun: dict[Flow, int] = {}

    def feed(self, data: bytes, flow: Flow, now: int) -> None:
        """Bytes came on the connection of ``flow``."""
        parser = self._parsers.get(flow)
        if parser is None:
            if len(self._parsers) >= MAX_STREAMS:
                self._counters.overload += 1
                self._close(Close(flow, f"more than {MAX_STREAMS} connections"))
                return
            parser = self._parsers[flow] = StreamParser()
        parser.feed(data)
        pings = parser.pings
        try:
            while (message := parser.next_message()) is not None:
                self._begun.pop(flow, None)
                self._receive(message, flow, now)
            if parser.unfinished:
                self._wait(flow, now)
        except SipError as error:
            self._broken(error, flow, now)
            self.lost(flow)
            self._close(Close(flow, error.text))
            return
        pings = parser.pings - pings
        self._counters.keepalives += pings
        for _ in range(min(pings, MAX_PONGS)):
            # RFC 5626 4.4.1: a double CR LF is answered with a single one.
            self._send(flow, _PONG)

    def lost(self, flow: Flow) -> None:
        """The connection of ``flow`` is gone."""
        self._parsers.pop(flow, None)
        self._begun.pop(flow, None)

    def _wait(self, flow: Flow, now: int) -> None:
        """A message is not all there yet. Whoever sends it octet by octet holds a connection, and no idle one."""
        if now - self._begun.setdefault(flow, now) > MAX_UNFINISHED:
            raise SipError(None, f"a message is not complete after {MAX_UNFINISHED // SECOND} s")
