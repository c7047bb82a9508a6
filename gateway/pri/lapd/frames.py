"""LAPD frames as octets, from the address to the information field (Q.921 2 and 3); no flags, no FCS, modulo 128 only.

What a frame means is the state machine's matter; here is only what it is.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from gateway.core import ProtocolError


class FrameType(IntEnum):
    """The control field without P/F, N(S) and N(R) (Q.921 table 5)."""

    I = 0x00  # noqa: E741 - its name in Q.921
    RR = 0x01
    RNR = 0x05
    REJ = 0x09
    UI = 0x03
    DM = 0x0F
    DISC = 0x43
    UA = 0x63
    SABME = 0x6F
    FRMR = 0x87
    XID = 0xAF


_SUPERVISORY = {0x01: FrameType.RR, 0x05: FrameType.RNR, 0x09: FrameType.REJ}
_UNNUMBERED = {int(t): t for t in FrameType if t & 3 == 3}
_WITH_INFORMATION = {FrameType.UI, FrameType.XID, FrameType.FRMR}
COMMANDS_ONLY = frozenset({FrameType.I, FrameType.SABME, FrameType.DISC, FrameType.UI})
RESPONSES_ONLY = frozenset({FrameType.DM, FrameType.UA, FrameType.FRMR})
FRMR_INFORMATION = 5  # Q.921 3.6.11, figure 6
_POLL_FINAL = 0x10  # in an unnumbered frame's control field


class LapdError(ProtocolError):
    """A frame that is not one of Q.921; ``code`` is its MDL error L, M, N or O, or None where it is just discarded."""

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.code = code


class Frame(msgspec.Struct, frozen=True):
    """A frame after its address: ``pf`` is P of a command and F of a response; ``ns`` and ``nr`` are 0 where unused."""

    type: FrameType
    pf: bool = False
    ns: int = 0
    nr: int = 0
    information: bytes = b""


def decode(data: bytes, n201: int = 260) -> Frame:
    """Read the control and information field of ``data``; the address (two octets) is the caller's to compare.

    Raises LapdError: code None for an invalid frame (2.9: discarded in silence), L to O for a rejected one (5.8.5).
    """
    length = len(data)
    if length < 3:
        raise LapdError(f"frame of {length} octets, expected at least 3")
    control = data[2]
    if not control & 1:
        if length < 4:
            raise LapdError("I frame of 3 octets, expected at least 4")
        if length - 4 > n201:
            raise LapdError(f"I frame with {length - 4} octets of information, N201 is {n201}", "O")
        second = data[3]
        return Frame(FrameType.I, second & 1 == 1, control >> 1, second >> 1, data[4:])
    if control & 3 == 1:
        # Bits 5 to 8 are reserved: sent as 0, not looked at (Q.921 table 5).
        supervisory = _SUPERVISORY.get(control & 0x0F)
        if supervisory is None:
            raise LapdError(f"undefined supervisory control field 0x{control:02x}", "L")
        if length < 4:
            raise LapdError(f"{supervisory.name} frame of 3 octets, expected 4")
        if length > 4:
            raise LapdError(f"{supervisory.name} frame of {length} octets, expected 4", "M")
        second = data[3]
        return Frame(supervisory, second & 1 == 1, 0, second >> 1)
    unnumbered = _UNNUMBERED.get(control & ~_POLL_FINAL)
    if unnumbered is None:
        raise LapdError(f"undefined unnumbered control field 0x{control:02x}", "L")
    information = data[3:]
    if information and unnumbered not in _WITH_INFORMATION:
        raise LapdError(f"{unnumbered.name} frame of {length} octets, expected 3", "M")
    if unnumbered is FrameType.FRMR and len(information) != FRMR_INFORMATION:
        raise LapdError(f"FRMR with {len(information)} octets of information, expected {FRMR_INFORMATION}", "N")
    if len(information) > n201:
        raise LapdError(f"{unnumbered.name} with {len(information)} octets of information, N201 is {n201}", "O")
    return Frame(unnumbered, control & _POLL_FINAL != 0, 0, 0, information)


def encode_information(address: bytes, ns: int, nr: int, p: bool, information: bytes) -> bytes:
    """The octets of an I frame behind its two-octet ``address``."""
    return address + bytes((ns << 1, nr << 1 | p)) + information


def encode_supervisory(address: bytes, kind: FrameType, nr: int, pf: bool) -> bytes:
    """The octets of an RR, RNR or REJ."""
    return address + bytes((kind, nr << 1 | pf))


def encode_unnumbered(address: bytes, kind: FrameType, pf: bool, information: bytes = b"") -> bytes:
    """The octets of any other frame."""
    return address + bytes((kind | (_POLL_FINAL if pf else 0),)) + information


def encode(address: bytes, frame: Frame) -> bytes:
    """The octets of ``frame`` behind its two-octet ``address``."""
    kind = frame.type
    if kind is FrameType.I:
        return encode_information(address, frame.ns, frame.nr, frame.pf, frame.information)
    if kind & 3 == 1:
        return encode_supervisory(address, kind, frame.nr, frame.pf)
    return encode_unnumbered(address, kind, frame.pf, frame.information)


def encode_address(sapi: int, tei: int, cr: bool) -> bytes:
    """The two address octets (Q.921 figure 5); ``cr`` is the command/response bit as sent (3.3.2)."""
    if not 0 <= sapi <= 63:
        raise ValueError(f"SAPI is {sapi}, expected 0 to 63")
    if not 0 <= tei <= 127:
        raise ValueError(f"TEI is {tei}, expected 0 to 127")
    return bytes((sapi << 2 | cr << 1, tei << 1 | 1))
