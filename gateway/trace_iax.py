"""Full frames of IAX2 as lines of the trace. Those of encrypted calls are told in clear; passwords and keys are not.

Mini and trunk frames are voice, which the media engine sends and hears by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway.media.api import IaxFrame, Media
from gateway.trace import MAX_TEXT, TraceLine, Tracer
from gateway.voip.iax.crypt import Cipher
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import FULL_HEADER, MAX_CALL_NUMBER, FrameType, FullFrame, name_of, parse_full
from gateway.voip.sip.flow import bracketed

if TYPE_CHECKING:
    from gateway.voip.iax.endpoint import IaxEndpoint


class IaxTrace:
    """Stands between an endpoint, set afterwards, and its ``media``; ``clock`` says when something is sent."""

    def __init__(self, tracer: Tracer, media: Media, clock: Callable[[], int]) -> None:
        self.endpoint: IaxEndpoint | None = None
        self._tracer = tracer
        self._media = media
        self._clock = clock
        # Nothing is encrypted here.
        self._rng = random.Random(0)

    def __getattr__(self, name: str) -> Any:
        """All else of the media engine, as it is."""
        return getattr(self._media, name)

    def send_iax(self, socket: int, address: str, port: int, data: bytes) -> None:
        """See Media."""
        self._frame(self._clock(), address, port, False, data)
        self._media.send_iax(socket, address, port, data)

    def received(self, event: IaxFrame, now: int) -> None:
        """The endpoint is about to hear this."""
        self._frame(now, event.address, event.port, True, event.data)

    def _frame(self, at: int, address: str, port: int, inward: bool, data: bytes) -> None:
        if len(data) < FULL_HEADER or not data[0] & 0x80:
            return
        ours = int.from_bytes(data[2:4] if inward else data[:2], "big") & MAX_CALL_NUMBER
        key = self._key_of(ours, inward)
        frame = self._opened(data, key) if key else None
        details = ["encrypted"] if frame is not None else []
        frame = frame or parse_full(data)
        name, detail = name_of(frame.type, frame.subclass), _detail(frame)
        if key and not details and name.startswith("frame "):
            name, detail = "(unreadable)", f"{len(data)} octets"
        if frame.retransmitted:
            details.append("again")
        text = ", ".join([detail, *details] if detail else details)
        wire = f"{bracketed(address)}:{port}"
        self._tracer(TraceLine(at, "iax2", wire, inward, name, text[:MAX_TEXT], str(ours) if ours else ""))

    def _key_of(self, number: int, inward: bool) -> bytes:
        session = None if self.endpoint is None else self.endpoint.reception.sessions.get(number)
        return b"" if session is None else session.receive_key if inward else session.send_key

    def _opened(self, data: bytes, key: bytes) -> FullFrame | None:
        try:
            frame = parse_full(Cipher(key, self._rng).decrypt(data))
        except IaxError:
            return None
        return None if name_of(frame.type, frame.subclass).startswith("frame ") else frame


def _detail(frame: FullFrame) -> str:
    if frame.type == FrameType.IAX:
        try:
            return frame.elements.described()
        except IaxError as error:
            return f"broken: {error}"
    return f"{len(frame.data)} octets" if frame.data else ""
