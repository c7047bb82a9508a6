"""Which call an octet string is of: Call-ID (RFC 3261), call reference (Q.931 4.3), call numbers (RFC 5456 8.1.1).

Reads as little as it takes and refuses nothing: what cannot be read is of no call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from gateway.capture.ring import CallKeys, Entry, VoicePath, Wire
from gateway.core import SECOND
from gateway.pri.q931.message import CALL_CONTROL
from gateway.voip.iax.calltokens import STATELESS_NUMBER
from gateway.voip.iax.frame import FULL_HEADER, MAX_CALL_NUMBER

BEFORE = SECOND
"""How long before a call is known its first message came: the rest of a stream's read may be handled first."""
AFTER = 40 * SECOND
"""How long after its end a call may still be cleared and repeated (T308 twice, 64*T1 of SIP)."""
_CALL_ID = re.compile(rb"[\r\n](?:call-id|i)[ \t]*:[ \t]*(?:\r\n[ \t]+)?([^\s]+)", re.IGNORECASE)


def sip_call_id(message: bytes) -> str:
    """Its Call-ID; "" if none can be found."""
    found = _CALL_ID.search(message)
    return "" if found is None else found.group(1).decode("utf-8", "replace")


def q931_reference(frame: bytes) -> tuple[int, bool] | None:
    """Call reference value of the message in an I frame, and whether it is from the side that chose it; else None."""
    if len(frame) < 6 or frame[2] & 1 or frame[4] != CALL_CONTROL:
        return None
    length = frame[5] & 0x0F
    octets = frame[6 : 6 + length]
    if not octets or len(octets) < length:
        return None
    value = int.from_bytes(bytes((octets[0] & 0x7F,)) + octets[1:], "big")
    return value, not octets[0] & 0x80


def iax_numbers(frame: bytes) -> tuple[int, int]:
    """Source and destination call number of a full frame; 0 and 0 of anything else."""
    if len(frame) < FULL_HEADER or not frame[0] & 0x80:
        return 0, 0
    return (frame[0] << 8 | frame[1]) & MAX_CALL_NUMBER, (frame[2] << 8 | frame[3]) & MAX_CALL_NUMBER


@dataclass(slots=True)
class Wanted:
    """What entries of one call bear."""

    begin: int
    end: int | None
    call_ids: set[str] = field(default_factory=set)
    references: set[tuple[str, int, bool]] = field(default_factory=set)
    """Span, value, and whether we chose it."""
    numbers: set[int] = field(default_factory=set)
    """Ours, of IAX2."""
    far: set[tuple[str, int]] = field(default_factory=set)
    """Where the far end of an IAX2 leg is, and its call number."""
    streams: set[int] = field(default_factory=set)

    def takes(self, entry: Entry) -> bool:
        """Whether a frame or a datagram is of the call; of SIP, ``entry`` is one whole message."""
        at, wire, inward, where, data = entry
        if wire == Wire.SIP:
            # Nobody has it twice.
            return sip_call_id(data) in self.call_ids
        if at < self.begin or (self.end is not None and at > self.end):
            return False
        if wire == Wire.LAPD:
            reference = q931_reference(data)
            if reference is None:
                return False
            value, of_sender = reference
            return (where, value, of_sender is not inward) in self.references
        if wire == Wire.IAX2:
            return self._takes_iax(inward, where[0].address, data)
        return isinstance(where, VoicePath) and where.stream in self.streams

    def _takes_iax(self, inward: bool, address: str, data: bytes) -> bool:
        source, destination = iax_numbers(data)
        ours, theirs = (destination, source) if inward else (source, destination)
        if ours and ours != STATELESS_NUMBER:
            return ours in self.numbers
        # The first frame of a call, and those about call tokens before it.
        return (address, theirs) in self.far


def wanted_of(call: CallKeys) -> Wanted:
    """What entries of ``call`` bear."""
    wanted = Wanted(call.started - BEFORE, None if call.ended is None else call.ended + AFTER)
    for key in call.keys:
        match key:
            case ("sip", str(call_id)):
                wanted.call_ids.add(call_id)
            case ("pri", str(span), int(value), bool(ours)):
                wanted.references.add((span, value, ours))
            case ("iax2", int(number), str(address), int(far)):
                wanted.numbers.add(number)
                wanted.far.add((address, far))
            case ("stream", int(stream)):
                wanted.streams.add(stream)
            case _:
                raise ValueError(f"{key!r} is no key of a call")
    return wanted


def keys_of(records: Iterable[Mapping[str, object]]) -> tuple[tuple[object, ...], ...]:
    """What the messages of legs bear, by what their records say of them."""
    keys: list[tuple[object, ...]] = []
    for record in records:
        technology = record.get("technology")
        if technology == "sip":
            if record["call_id"]:
                keys.append(("sip", record["call_id"]))
        elif technology == "pri":
            if record["call_reference"]:
                keys.append(("pri", record["trunk"], record["call_reference"], record["direction"] == "out"))
        elif technology == "iax2" and "session" in record:
            session = cast("Mapping[str, object]", record["session"])
            address = str(session["far_address"]).rpartition(":")[0].strip("[]")
            keys.append(("iax2", session["source_call"], address, session["far_call"]))
    return tuple(keys)
