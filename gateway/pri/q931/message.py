"""Q.931 messages as octets and as values: clause 4.1 to 4.5, with what 5.8 needs to know of faulty ones.

``decode`` raises only for what is no message (5.8.1 to 5.8.3.1); faults of single elements are ``Message.problems``.
Which elements a message may and must have is in ``contents``; what to do about it is call control's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from functools import lru_cache
from typing import TypeVar

import msgspec

from gateway.pri.q931.errors import ContentError, Q931Error
from gateway.pri.q931.ie.catalogue import CATALOGUE
from gateway.pri.q931.ie.element import (
    MAX_CONTENTS,
    InformationElement,
    UnknownElement,
    UnknownSingleOctet,
)
from gateway.pri.q931.ie.single import RepeatIndicator, Shift, parse_single_octet

MAX_MESSAGE = 260
"""Octets of a message: N201 of the data link (Q.921 5.9.3)."""
MAX_ELEMENTS = 64
MAX_REMEMBERED = 1024
"""Different contents of short messages whose elements are kept: some for every B channel of a few spans."""
SHORT = 16
"""Octets of elements up to which a message is short: any channel, progress or cause, but no numbers."""
MAX_CALL_REFERENCE_OCTETS = 2
"""Q.931 4.3: two octets on a primary rate interface."""

CALL_CONTROL = 0x08
MAINTENANCE = 0x03
"""SERVICE messages of 4ESS, 5ESS and DMS-100."""
MAINTENANCE_NATIONAL = 0x43
"""SERVICE messages of NI-2, where the two message types mean each other."""

Element = TypeVar("Element", bound=InformationElement)


class MessageType(IntEnum):
    """Q.931 table 4-2, Q.932 table 7-1; the low octet is the type, a high octet 3 marks maintenance messages."""

    ALERTING = 0x01
    CALL_PROCEEDING = 0x02
    PROGRESS = 0x03
    SETUP = 0x05
    CONNECT = 0x07
    SETUP_ACKNOWLEDGE = 0x0D
    CONNECT_ACKNOWLEDGE = 0x0F
    USER_INFORMATION = 0x20
    SUSPEND_REJECT = 0x21
    RESUME_REJECT = 0x22
    HOLD = 0x24
    SUSPEND = 0x25
    RESUME = 0x26
    HOLD_ACKNOWLEDGE = 0x28
    SUSPEND_ACKNOWLEDGE = 0x2D
    RESUME_ACKNOWLEDGE = 0x2E
    HOLD_REJECT = 0x30
    RETRIEVE = 0x31
    RETRIEVE_ACKNOWLEDGE = 0x33
    RETRIEVE_REJECT = 0x37
    DISCONNECT = 0x45
    RESTART = 0x46
    RELEASE = 0x4D
    RESTART_ACKNOWLEDGE = 0x4E
    RELEASE_COMPLETE = 0x5A
    SEGMENT = 0x60
    FACILITY = 0x62
    REGISTER = 0x64
    NOTIFY = 0x6E
    STATUS_ENQUIRY = 0x75
    CONGESTION_CONTROL = 0x79
    INFORMATION = 0x7B
    STATUS = 0x7D
    SERVICE_ACKNOWLEDGE = 0x307
    SERVICE = 0x30F


class ProblemKind(Enum):
    """What is wrong with an element, and the clause that says what then."""

    UNRECOGNISED = "unrecognised"  # 5.8.7.1
    CONTENT_ERROR = "content error"  # 5.8.6.2, 5.8.7.2
    TOO_LONG = "too long"  # 5.8.6.2, 5.8.7.2: counts as a content error
    OUT_OF_SEQUENCE = "out of sequence"  # 5.8.5.1
    DUPLICATE = "duplicate"  # 5.8.5.2


@dataclass(frozen=True, slots=True)
class ElementProblem:
    """One faulty element. ``identifier`` is as on the wire, in ``codeset``.

    ``comprehension_required``: bits 8-5 of the identifier are 0 in codeset 0 (Q.931 table 4-3 note 5), so that an
    unrecognised one must be answered as a missing mandatory element. An element out of sequence is usable all the
    same; a duplicate is left out of ``Message.elements``, and one with a content error is there as UnknownElement.
    """

    identifier: int
    codeset: int
    kind: ProblemKind
    comprehension_required: bool = False
    text: str = ""


class CallReference(msgspec.Struct, frozen=True, gc=False):
    """Q.931 4.3. ``flag`` True: sent by the side that did not originate the reference. Length 0 is the dummy one."""

    value: int
    flag: bool = False
    length: int = 2

    @property
    def is_global(self) -> bool:
        """True for the reference of all calls at once: value 0 in one or two octets."""
        return self.length > 0 and self.value == 0

    def answer(self) -> CallReference:
        """The same reference as the other side writes it."""
        return CallReference(self.value, not self.flag, self.length)


class Message:
    """One message. Immutable by convention; equal if type, reference, discriminator and elements are equal.

    ``message_type`` is a plain int where no MessageType has that octet (5.8.4), 0x300 and more for maintenance.
    ``problems`` is empty for one built here. ``octets`` are the octets it was decoded from, or None.
    """

    __slots__ = ("call_reference", "elements", "message_type", "octets", "problems", "protocol_discriminator")

    def __init__(
        self,
        message_type: MessageType | int,
        call_reference: CallReference,
        elements: Iterable[InformationElement] = (),
        protocol_discriminator: int | None = None,
        problems: tuple[ElementProblem, ...] = (),
        octets: bytes | None = None,
    ) -> None:
        self.message_type = message_type
        self.call_reference = call_reference
        self.elements: tuple[InformationElement, ...] = tuple(elements)
        if protocol_discriminator is None:
            protocol_discriminator = MAINTENANCE if message_type >> 8 == MAINTENANCE else CALL_CONTROL
        self.protocol_discriminator = protocol_discriminator
        self.problems = problems
        self.octets = octets

    def first(self, kind: type[Element]) -> Element | None:
        """The first element of class ``kind``, or None."""
        for element in self.elements:
            if element.__class__ is kind:
                return element
        return None

    def all(self, kind: type[Element]) -> tuple[Element, ...]:
        """All elements of class ``kind``, in order."""
        return tuple(element for element in self.elements if element.__class__ is kind)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (
            self.message_type == other.message_type
            and self.call_reference == other.call_reference
            and self.protocol_discriminator == other.protocol_discriminator
            and self.elements == other.elements
        )

    def __hash__(self) -> int:
        return hash((self.message_type, self.call_reference, self.protocol_discriminator, self.elements))

    @property
    def name(self) -> str:
        """The message's name as the standard writes it, or its octet."""
        kind = self.message_type
        return kind.name.replace("_", " ") if isinstance(kind, MessageType) else f"message type 0x{kind:02x}"

    def __repr__(self) -> str:
        reference = self.call_reference
        elements = ", ".join(repr(element) for element in self.elements)
        return f"<{self.name} {reference.value}{'!' if reference.flag else ''} {elements}>"


_CALL_TYPES: dict[int, MessageType] = {kind.value: kind for kind in MessageType if kind < 0x100}
_MAINTENANCE_TYPES: dict[int, MessageType] = {kind.value & 0xFF: kind for kind in MessageType if kind >= 0x100}
_TYPES = {
    CALL_CONTROL: _CALL_TYPES,
    MAINTENANCE: _MAINTENANCE_TYPES,
    MAINTENANCE_NATIONAL: _MAINTENANCE_TYPES,
}


_USUAL_HEAD = bytes((CALL_CONTROL, 2))
"""Call control, and a call reference of two octets."""


def decode(data: bytes, longest: int = MAX_MESSAGE) -> Message:
    """The message of ``data``.

    Q931Error if it is too short (5.8.2) or longer than ``longest``, has another protocol discriminator (5.8.1), a
    call reference of a wrong format or length (5.8.3.1), or more than MAX_ELEMENTS elements: it is to be ignored.
    """
    size = len(data)
    if data[:2] == _USUAL_HEAD and 5 <= size <= longest:
        high, low, octet = data[2:5]
        reference = CallReference((high & 0x7F) << 8 | low, high > 0x7F)
        discriminator = CALL_CONTROL
        kind: MessageType | int = _CALL_TYPES.get(octet, octet)
        at = 5
    else:
        discriminator, reference, octet, kind, at = _decode_head(data, size, longest)
    # 4.4: type 0 is an escape to national types, the octet after it is no element.
    if at == size or not octet:
        return Message(kind, reference, (), discriminator, (), data)
    elements, problems = (_decode_short if size - at <= SHORT else _decode_elements)(data[at:])
    return Message(kind, reference, elements, discriminator, problems, data)


def _decode_head(data: bytes, size: int, longest: int) -> tuple[int, CallReference, int, MessageType | int, int]:
    """Protocol discriminator, call reference, type octet, what it means, and where the elements begin."""
    if size < 3:
        raise Q931Error(f"message of {size} octets, expected at least 3")
    if size > longest:
        raise Q931Error(f"message of {size} octets, expected at most {longest}")
    discriminator = data[0]
    types = _TYPES.get(discriminator)
    if types is None:
        raise Q931Error(f"protocol discriminator 0x{discriminator:02x}, expected 0x08")
    length = data[1]
    if length == 2:
        if size < 5:
            raise Q931Error(f"message of {size} octets ends before its message type")
        high = data[2]
        reference = CallReference((high & 0x7F) << 8 | data[3], high > 0x7F, 2)
        octet = data[4]
        at = 5
    elif length <= 1:
        if size < 3 + length:
            raise Q931Error(f"message of {size} octets ends before its message type")
        reference = CallReference(data[2] & 0x7F, data[2] > 0x7F, 1) if length else CallReference(0, False, 0)
        octet = data[2 + length]
        at = 3 + length
    else:
        raise Q931Error(f"call reference of length octet 0x{length:02x}, expected 0 to {MAX_CALL_REFERENCE_OCTETS}")
    kind = types.get(octet, octet if types is _CALL_TYPES else MAINTENANCE << 8 | octet)
    return discriminator, reference, octet, kind, at


def _decode_elements(data: bytes) -> tuple[tuple[InformationElement, ...], tuple[ElementProblem, ...]]:
    """What follows the message type: elements, and what is wrong with them."""
    elements: list[InformationElement] = []
    problems: list[ElementProblem] = []
    at = 0
    size = len(data)
    active = codeset = 0  # the locked codeset, and the one of the next element
    last = -1  # identifier of the last variable-length element of the locked codeset
    seen: dict[int, int] = {}
    entries = CATALOGUE  # none once there was a shift, after which nothing is usual
    keep = object.__setattr__
    for _ in range(MAX_ELEMENTS):
        if at >= size:
            break
        identifier = data[at]
        start = at + 2
        end = start + data[at + 1] if start <= size else start
        entry = entries.get(identifier)
        if entry is not None and identifier > last and start < end <= size and end - start <= entry[1]:
            # What nearly every element is.
            parse = entry[0]
            contents = data[start:end]
            at = end
            last = identifier
            seen[identifier] = 1
        else:
            if identifier & 0x80:
                at += 1
                if identifier & 0xF0 == 0x90:
                    codeset, active, last = _shift(identifier, active, last, elements, problems)
                    entries = {}
                    continue
                single = parse_single_octet(identifier) if codeset == 0 else None
                if single is None:
                    single = UnknownSingleOctet(identifier, codeset)
                    if codeset == 0:
                        problems.append(ElementProblem(identifier, 0, ProblemKind.UNRECOGNISED))
                elements.append(single)
                codeset = active
                continue
            at = end
            if at > size:
                text = "element ends after the message"
                problems.append(_problem(identifier, codeset, ProblemKind.CONTENT_ERROR, text))
                break
            contents = data[start:at]
            if codeset == active:
                if identifier < last:
                    problems.append(_problem(identifier, codeset, ProblemKind.OUT_OF_SEQUENCE))
                else:
                    last = identifier
            if codeset:
                elements.append(UnknownElement(identifier, contents, codeset))
                codeset = active
                continue
            codeset = active
            if not contents:
                # 4.5.1: an empty element is as good as an absent one.
                elements.append(UnknownElement(identifier))
                continue
            entry = CATALOGUE.get(identifier)
            if entry is None:
                problems.append(_problem(identifier, 0, ProblemKind.UNRECOGNISED))
                elements.append(UnknownElement(identifier, contents))
                continue
            parse, longest, times = entry
            if identifier in seen:
                seen[identifier] += 1
                if seen[identifier] > times:
                    problems.append(_problem(identifier, 0, ProblemKind.DUPLICATE))
                    continue
            else:
                seen[identifier] = 1
            if len(contents) > longest:
                text = f"{len(contents)} octets of contents, expected at most {longest}"
                problems.append(_problem(identifier, 0, ProblemKind.TOO_LONG, text))
                elements.append(UnknownElement(identifier, contents))
                continue
        try:
            element = parse(contents)
        except ContentError as error:
            problems.append(_problem(identifier, 0, ProblemKind.CONTENT_ERROR, str(error)))
            elements.append(UnknownElement(identifier, contents))
            continue
        if element.raw is None:
            keep(element, "raw", contents)
        elements.append(element)
    else:
        if at < size:
            raise Q931Error(f"message with more than {MAX_ELEMENTS} information elements")
    return tuple(elements), tuple(problems)


# Most messages differ from others in their call reference only. Elements never change, so that many can have the same.
_decode_short = lru_cache(MAX_REMEMBERED)(_decode_elements)


def _shift(
    octet: int, active: int, last: int, elements: list[InformationElement], problems: list[ElementProblem]
) -> tuple[int, int, int]:
    """The codeset of the next element, the locked one and its last identifier, after a shift (4.5.3, 4.5.4)."""
    shift = Shift(octet & 7, not octet & 8)
    elements.append(shift)
    if not shift.locking:
        return shift.to, active, last
    if shift.to < active:
        # 4.5.3: a locking shift to a lower codeset is an error; what follows stays in the locked codeset.
        problems.append(ElementProblem(octet, active, ProblemKind.CONTENT_ERROR, False, "locking shift downwards"))
        return active, active, last
    return shift.to, shift.to, -1 if shift.to != active else last


def _problem(identifier: int, codeset: int, kind: ProblemKind, text: str = "") -> ElementProblem:
    return ElementProblem(identifier, codeset, kind, codeset == 0 and not identifier & 0xF0, text)


def encode(message: Message) -> bytes:
    """The octets of ``message``: those it was decoded from, else built with its elements in legal order.

    Elements of other codesets than 0 get the shifts they need. ValueError if a field is out of its range or the
    whole is longer than MAX_MESSAGE.
    """
    if message.octets is not None:
        return message.octets
    head = encode_head(message.protocol_discriminator, message.call_reference)
    return encode_after(head, message.message_type, message.elements)


def encode_head(protocol_discriminator: int, reference: CallReference) -> bytes:
    """What all messages of one call begin with; ValueError if the reference is out of its range."""
    length, value = reference.length, reference.value
    if not 0 <= length <= MAX_CALL_REFERENCE_OCTETS:
        raise ValueError(f"call reference of {length} octets, expected 0 to {MAX_CALL_REFERENCE_OCTETS}")
    if length == 2 and 0 <= value < 0x8000:
        return bytes((protocol_discriminator, 2, value >> 8 | reference.flag << 7, value & 0xFF))
    if length == 0:
        return bytes((protocol_discriminator, 0))
    flag = 1 << 8 * length - 1
    if not 0 <= value < flag:
        raise ValueError(f"call reference {value}, expected 0 to {flag - 1}")
    return bytes((protocol_discriminator, length)) + (value | flag if reference.flag else value).to_bytes(length, "big")


def encode_after(head: bytes, message_type: MessageType | int, elements: tuple[InformationElement, ...]) -> bytes:
    """The octets of a message that begins with ``head`` (``encode_head``); errors as ``encode``."""
    if len(elements) > MAX_ELEMENTS:
        raise ValueError(f"{len(elements)} elements, expected at most {MAX_ELEMENTS}")
    out = bytearray(head)
    out.append(message_type & 0xFF)
    last = -1
    for element in elements:
        identifier = element.identifier
        contents = element.raw
        if contents is None:
            contents = element.build()
        size = len(contents)
        if identifier < last or element.codeset or size > MAX_CONTENTS:
            break
        if identifier < 0x80:
            out.append(identifier)
            out.append(size)
            last = identifier
        elif identifier == 0x90:
            break
        out += contents
    else:
        elements = ()
    if elements:
        # Not all of codeset 0 and in order.
        del out[len(head) + 1 :]
        _encode_elements(elements if _in_sequence(elements) else sequenced(elements), out)
    if len(out) > MAX_MESSAGE:
        raise ValueError(f"message of {len(out)} octets, expected at most {MAX_MESSAGE}")
    return bytes(out)


def _encode_elements(elements: tuple[InformationElement, ...], out: bytearray) -> None:
    active = codeset = 0
    for element in elements:
        identifier = element.identifier
        contents = element.octets()
        if identifier == 0x90 and isinstance(element, Shift):
            out += contents
            if not element.locking:
                codeset = element.to
            else:
                # As the receiver takes it: a locking shift downwards changes nothing (4.5.3).
                codeset = active = max(active, element.to)
            continue
        wanted = element.codeset
        if wanted != codeset:
            if wanted > active:
                out.append(0x90 | wanted)
                active = wanted
            else:
                out.append(0x98 | wanted)
        codeset = active
        if identifier < 0x80:
            if len(contents) > MAX_CONTENTS:
                raise ValueError(f"element 0x{identifier:02x} of {len(contents)} octets, over {MAX_CONTENTS}")
            out.append(identifier)
            out.append(len(contents))
        out += contents


def _in_sequence(elements: tuple[InformationElement, ...]) -> bool:
    last = -1
    for element in elements:
        if element.codeset:
            return any(isinstance(other, Shift) for other in elements)
        identifier = element.identifier
        if identifier >= 0x80:
            continue
        if identifier < last:
            return False
        last = identifier
    return True


def sequenced(elements: Iterable[InformationElement]) -> tuple[InformationElement, ...]:
    """The elements in the order of 4.5.1: by codeset and identifier, those of one identifier as given.

    A Repeat indicator stays before the element it stood before; other single-octet elements go to the front of
    their codeset.
    """
    keyed: list[tuple[int, int, InformationElement]] = []
    pending: list[InformationElement] = []
    for element in elements:
        if isinstance(element, Shift):
            continue
        if isinstance(element, RepeatIndicator):
            pending.append(element)
            continue
        identifier = element.identifier if element.identifier < 0x80 else -1
        keyed.extend((element.codeset, identifier, indicator) for indicator in pending)
        pending.clear()
        keyed.append((element.codeset, identifier, element))
    keyed.sort(key=lambda entry: entry[:2])
    return tuple(entry[2] for entry in keyed)
