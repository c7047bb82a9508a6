"""Remote operations inside Facility (Q.932 8.2.3, X.229), and the one family we speak: names.

Names are the callingName … busyName operations of QSIG (ECMA-164), which NI-2 (GR-1367) uses too. Everything else is
shown as component with its argument in octets. BER is read with limits; nothing here keeps a dialogue of operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, IntEnum

from gateway.identity import Presentation
from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie.element import MAX_CONTENTS
from gateway.pri.q931.ie.facility import NETWORKING_EXTENSIONS, ROSE, Facility
from gateway.pri.q931.ie.text import from_octets

MAX_DEPTH = 8
"""Nested BER values of indefinite length; deeper is an error."""
MAX_COMPONENTS = 16
MAX_NAME_OCTETS = 50
"""ECMA-164: NameData is OCTET STRING (SIZE (1..50))."""
MAX_INTEGER_OCTETS = 4

INFORMATION_FOLLOWING = bytes.fromhex("2a8648ce150004")
"""Operation 1.2.840.10005.0.4 of NI-2: the calling name comes in a FACILITY message before the call is answered."""

_ECMA_NAMES = bytes.fromhex("2b0c09")
"""1.3.12.9, whose arcs 0 to 3 are the name operations where they have global values."""

_DISCARD = b"\x8b\x01\x00"
"""Interpretation APDU: whoever does not know the operation is to discard it."""
_NETWORK_FACILITY_EXTENSION = bytes.fromhex("aa06800100820100")
"""From end PINX to end PINX."""


class ComponentKind(Enum):
    """Tags of X.229 components."""

    INVOKE = 0xA1
    RETURN_RESULT = 0xA2
    RETURN_ERROR = 0xA3
    REJECT = 0xA4


@dataclass(frozen=True, slots=True)
class Component:
    """One component. ``operation`` is a local number or the octets of a global one; an error's value if it is one.

    ``argument`` is what follows it, as BER. An invoke identifier or operation that is not there is None.
    """

    kind: ComponentKind
    invoke_id: int | None
    operation: int | bytes | None
    argument: bytes = b""


class NameOperation(IntEnum):
    """Whose name it is: the local values of ECMA-164."""

    CALLING = 0
    CALLED = 1
    CONNECTED = 2
    BUSY = 3


@dataclass(frozen=True, slots=True)
class PartyName:
    """A name and whether it may be shown; ``text`` None: withheld or not available."""

    operation: NameOperation
    text: str | None
    presentation: Presentation = Presentation.ALLOWED


def values(data: bytes, depth: int = 0) -> Iterator[tuple[int, bytes]]:
    """Tag and contents of each BER value in ``data``, in order.

    One-octet tags only, as all components have. ContentError where a value is cut short or nested beyond MAX_DEPTH.
    """
    at = 0
    while at < len(data):
        tag, start, end, at = _value(data, at, depth)
        yield tag, data[start:end]


def _value(data: bytes, at: int, depth: int) -> tuple[int, int, int, int]:
    """Tag, start and end of the contents, and where the next value begins."""
    size = len(data)
    if depth > MAX_DEPTH:
        raise ContentError(f"BER nested deeper than {MAX_DEPTH}")
    if at + 2 > size:
        raise ContentError("BER value cut short")
    tag, length = data[at], data[at + 1]
    if tag & 0x1F == 0x1F:
        raise ContentError("BER tag of several octets")
    at += 2
    if length == 0x80:
        if not tag & 0x20:
            raise ContentError("BER primitive of indefinite length")
        start = at
        while data[at : at + 2] != b"\x00\x00":
            at = _value(data, at, depth + 1)[3]
        return tag, start, at, at + 2
    if length > 0x80:
        octets = length & 0x7F
        if octets > 2 or at + octets > size:
            raise ContentError(f"BER length of {octets} octets")
        length = int.from_bytes(data[at : at + octets], "big")
        at += octets
    if at + length > size:
        raise ContentError(f"BER value of {length} octets in {size - at}")
    return tag, at, at + length, at + length


def components(facility: Facility) -> tuple[Component, ...]:
    """The components of a Facility with a ROSE or networking extensions profile; of others none.

    ContentError if they are not BER, or more than MAX_COMPONENTS.
    """
    if facility.profile not in (ROSE, NETWORKING_EXTENSIONS):
        return ()
    found: list[Component] = []
    for tag, contents in values(facility.components):
        try:
            kind = ComponentKind(tag)
        except ValueError:
            continue  # facility extensions and interpretation, before the components
        if len(found) == MAX_COMPONENTS:
            raise ContentError(f"more than {MAX_COMPONENTS} components")
        found.append(_component(kind, contents))
    return tuple(found)


def _component(kind: ComponentKind, contents: bytes) -> Component:
    parts = list(values(contents))
    invoke_id: int | None = None
    if parts and parts[0][0] in (0x02, 0x05):
        tag, octets = parts.pop(0)
        invoke_id = _integer(octets) if tag == 0x02 else None
    if kind is ComponentKind.REJECT:
        return Component(kind, invoke_id, None, _join(parts))
    if kind is ComponentKind.RETURN_RESULT:
        if not parts or parts[0][0] != 0x30:
            return Component(kind, invoke_id, None)
        parts = list(values(parts[0][1]))
    elif parts and parts[0][0] == 0x80:
        parts.pop(0)  # linked identifier
    if not parts or parts[0][0] not in (0x02, 0x06):
        raise ContentError(f"component {kind.name} without operation")
    tag, octets = parts.pop(0)
    return Component(kind, invoke_id, _integer(octets) if tag == 0x02 else octets, _join(parts))


def _join(parts: list[tuple[int, bytes]]) -> bytes:
    return b"".join(_ber(tag, octets) for tag, octets in parts)


def _integer(octets: bytes) -> int:
    if not 1 <= len(octets) <= MAX_INTEGER_OCTETS:
        raise ContentError(f"BER integer of {len(octets)} octets")
    return int.from_bytes(octets, "big", signed=True)


def read_name(facility: Facility) -> PartyName | None:
    """The first name in a Facility, or None if there is none or its octets are no BER."""
    try:
        for component in components(facility):
            if component.kind is not ComponentKind.INVOKE:
                continue
            operation = _name_operation(component.operation)
            if operation is not None:
                return _name(operation, component.argument, sequence=True)
    except ContentError:
        return None
    return None


def information_follows(facility: Facility) -> bool:
    """True if a Facility of NI-2 says that the calling name comes later, in a FACILITY message."""
    if INFORMATION_FOLLOWING not in facility.components:
        return False
    try:
        return any(component.operation == INFORMATION_FOLLOWING for component in components(facility))
    except ContentError:
        return False


def _name_operation(operation: int | bytes | None) -> NameOperation | None:
    if isinstance(operation, bytes):
        if len(operation) != 4 or operation[:3] != _ECMA_NAMES:
            return None
        operation = operation[3]
    return NameOperation(operation) if operation in (0, 1, 2, 3) else None


def _name(operation: NameOperation, argument: bytes, *, sequence: bool) -> PartyName | None:
    """ECMA-164 Name, alone or as first of a sequence."""
    for tag, contents in values(argument):
        if tag == 0x30 and sequence:
            return _name(operation, contents, sequence=False)
        if tag in (0x80, 0x82):
            text = contents
        elif tag in (0xA1, 0xA3):
            text = next((octets for inner, octets in values(contents) if inner == 0x04), b"")
        elif tag == 0x84:
            return PartyName(operation, None, Presentation.NOT_AVAILABLE)
        elif tag == 0x87:
            return PartyName(operation, None, Presentation.RESTRICTED)
        else:
            return None
        if len(text) > MAX_NAME_OCTETS:
            return None
        restricted = tag in (0x82, 0xA3)
        shown = from_octets(text).strip()
        return PartyName(operation, shown or None, Presentation.RESTRICTED if restricted else Presentation.ALLOWED)
    return None


def name_facility(name: PartyName, invoke_id: int, *, network_extension: bool) -> Facility:
    """The Facility that tells ``name``; longer names are cut to MAX_NAME_OCTETS.

    ``network_extension`` True is QSIG's way (with a network facility extension before it), False is NI-2's.
    """
    if name.text:
        octets = name.text.encode("latin-1", "replace")[:MAX_NAME_OCTETS]
        argument = _ber(0x82 if name.presentation is Presentation.RESTRICTED else 0x80, octets)
    else:
        argument = _ber(0x87 if name.presentation is Presentation.RESTRICTED else 0x84, b"")
    return _invoke(invoke_id, _ber(0x02, bytes((name.operation,))), argument, network_extension)


def information_following(invoke_id: int) -> Facility:
    """The Facility of NI-2's SETUP that announces a calling name for later."""
    return _invoke(invoke_id, _ber(0x06, INFORMATION_FOLLOWING), b"\x0a\x01\x00", False)


def _invoke(invoke_id: int, operation: bytes, argument: bytes, network_extension: bool) -> Facility:
    if not 0 <= invoke_id < 0x8000:
        raise ValueError(f"invoke identifier {invoke_id}, expected 0 to 32767")
    # One octet of sign bit beyond the value's own bits: 128 takes two octets.
    identifier = invoke_id.to_bytes(invoke_id.bit_length() // 8 + 1, "big")
    component = _ber(ComponentKind.INVOKE.value, _ber(0x02, identifier) + operation + argument)
    extension = _NETWORK_FACILITY_EXTENSION if network_extension else b""
    return Facility(extension + _DISCARD + component, bytes((0x80 | NETWORKING_EXTENSIONS,)))


def _ber(tag: int, contents: bytes) -> bytes:
    size = len(contents)
    if size < 0x80:
        return bytes((tag, size)) + contents
    if size > MAX_CONTENTS:
        raise ContentError(f"BER value of {size} octets, expected at most {MAX_CONTENTS}")
    return bytes((tag, 0x81, size)) + contents
