"""Segmented messages put together again (Q.931 Annex H). Received only: what we send fits into one frame.

A message whose segments do not follow each other is dropped without an answer, as the annex has it.
"""

from __future__ import annotations

import logging

from gateway.core import SECOND
from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie import SegmentedMessage
from gateway.pri.q931.message import CALL_CONTROL, MAX_MESSAGE, MessageType

log = logging.getLogger(__name__)

MAX_SEGMENTS = 8
"""Segments of one message (H.2)."""
MAX_SEGMENTED = MAX_SEGMENTS * MAX_MESSAGE
"""Octets of a message that came in segments."""
T314 = 4 * SECOND
"""How long the next segment may take (H.2, table 9-1)."""

_HEADER = 5
"""Octets before the first element: discriminator, call reference of two octets, message type (4.3)."""
_ELEMENT = 4
"""Octets of the Segmented message element."""


def is_segment(data: bytes) -> bool:
    """Whether ``data`` is a SEGMENT of a message of call control."""
    return len(data) > _HEADER and data[4] == MessageType.SEGMENT and data[0] == CALL_CONTROL and data[1] == 2


class Segments:
    """The message of one data link that is being received in segments; there is one at a time (H.2)."""

    __slots__ = ("_kind", "_reference", "_remaining", "_since", "_so_far")

    def __init__(self) -> None:
        self._reference = b""
        self._kind = 0
        self._remaining = 0
        self._since = 0
        self._so_far: list[bytes] = []

    def receive(self, data: bytes, now: int) -> bytes | None:
        """Take a SEGMENT; the whole message when this was its last one, else None."""
        reference, contents = data[:4], data[_HEADER:]
        try:
            # It is the first element of a SEGMENT, and all else is a piece of the message.
            if contents[:2] != b"\x00\x02":
                raise ContentError("no Segmented message element")
            element = SegmentedMessage.parse(contents[2:_ELEMENT])
        except ContentError as error:
            self._drop(str(error))
            return None
        piece = contents[_ELEMENT:]
        if element.first:
            self._drop("another one begins")
            if not 0 < element.remaining < MAX_SEGMENTS:
                return None
            self._reference, self._kind = reference, element.message_type
        elif not self._so_far:
            return None
        elif reference != self._reference or element.message_type != self._kind:
            self._drop("a segment of another message came")
            return None
        elif element.remaining != self._remaining - 1 or now - self._since > T314:
            self._drop("a segment is missing or late")
            return None
        self._remaining, self._since = element.remaining, now
        self._so_far.append(piece)
        if element.remaining:
            return None
        message = b"".join((reference, bytes((self._kind,)), *self._so_far))
        self._so_far = []
        return message

    def _drop(self, why: str) -> None:
        if self._so_far:
            log.info("a message in segments is dropped: %s", why)
            self._so_far = []
