"""What went over the wires, as one line a message: Q.931 of the spans and SIP, for the ladder and for people.

Costs nothing when no trace is asked for. Packet captures are a later matter; this tells the story, not the octets.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from gateway.core import ProtocolError
from gateway.pri.q931.ie import CauseElement, ChannelIdentification, ProgressIndicator
from gateway.pri.q931.message import MessageType, decode
from gateway.voip.sip.message import Request
from gateway.voip.sip.parser import parse

MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class TraceLine:
    """One message: ``at`` microseconds, ``inward`` True if it came to us, ``dialogue`` tells calls of a wire apart."""

    at: int
    protocol: str
    wire: str
    inward: bool
    message: str
    detail: str
    dialogue: str

    def to_json(self) -> str:
        """One line of JSON without a line end."""
        return json.dumps(
            {
                "at": self.at,
                "protocol": self.protocol,
                "wire": self.wire,
                "dir": "in" if self.inward else "out",
                "message": self.message,
                "detail": self.detail,
                "dialogue": self.dialogue,
            }
        )


Tracer = Callable[[TraceLine], None]


def trace_frame(at: int, span: str, inward: bool, frame: bytes) -> TraceLine | None:
    """The Q.931 message in a LAPD I frame, or None for frames that carry none."""
    if len(frame) < 5 or frame[2] & 1:
        return None
    try:
        message = decode(frame[4:])
    except ProtocolError as error:
        return TraceLine(at, "q931", span, inward, "(broken)", str(error)[:MAX_TEXT], "")
    details = []
    channel = message.first(ChannelIdentification)
    if channel is not None and channel.channels:
        details.append(f"channel {','.join(map(str, channel.channels))}{'!' if channel.exclusive else ''}")
    progress = message.first(ProgressIndicator)
    if progress is not None:
        details.append(f"progress {progress.description:d}")
    cause = message.first(CauseElement)
    if cause is not None:
        details.append(f"cause {cause.value:d}")
    kind = message.message_type
    name = kind.name.replace("_", " ") if isinstance(kind, MessageType) else f"message type {kind}"
    return TraceLine(at, "q931", span, inward, name, ", ".join(details), str(message.call_reference.value))


def trace_sip(at: int, peer: str, inward: bool, data: bytes) -> TraceLine | None:
    """The SIP message in ``data``, or None if there is none (keep-alive)."""
    if not data.strip():
        return None
    try:
        message = parse(data)
    except ProtocolError as error:
        return TraceLine(at, "sip", peer, inward, "(broken)", str(error)[:MAX_TEXT], "")
    detail = "SDP" if message.body else ""
    if isinstance(message, Request):
        text = message.method
    else:
        text = f"{message.status} {message.reason}"
        # The raw words: what is to be traced may lack anything.
        method = (message.headers.get("cseq") or "").rpartition(" ")[2]
        if message.status >= 200 and method != "INVITE":
            detail = f"to {method[:MAX_TEXT]}"
    return TraceLine(at, "sip", peer, inward, text[:MAX_TEXT], detail, message.headers.get("call-id") or "")
