"""What call control tells its owner: indications and confirmations (Q.931 annex A), requests to the data link."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from gateway.cause import Cause
from gateway.pri.q931.ie import CauseElement, RestartClass
from gateway.pri.q931.message import Message

if TYPE_CHECKING:
    from gateway.pri.q931.call import Q931Call


class Primitive(IntEnum):
    """What happened to one call."""

    SETUP = 1
    MORE_INFORMATION = 2
    INFORMATION = 3
    DIGITS_COMPLETE = 4
    PROCEEDING = 5
    PROGRESS = 6
    ALERTING = 7
    CONNECT = 8
    CONNECTED = 9
    NOTIFY = 10
    FACILITY = 11
    CHANNEL = 12
    DISCONNECT = 13
    CLEARED = 14
    RELEASE = 15


class CallIndication(msgspec.Struct, frozen=True):
    """One primitive of one call, with the message that caused it if there was one.

    CHANNEL: the call's B channel is agreed. DIGITS_COMPLETE: T302 expired. DISCONNECT: the far end clears and sends
    in-band information meanwhile, the owner decides when to go on. CLEARED: the call is over for its user, the channel
    is still being released; ``cause`` says why. RELEASE: reference and channel are free, the last word on a call.
    """

    call: Q931Call
    primitive: Primitive
    message: Message | None = None
    cause: CauseElement | None = None


class SendData(msgspec.Struct, frozen=True, gc=False):
    """DL-DATA request: one encoded message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EstablishLink:
    """DL-ESTABLISH request after a data link failure (Q.931 5.8.9)."""


@dataclass(frozen=True, slots=True)
class RestartIndication:
    """The far end restarted these timeslots; their calls are cleared. The owner answers with ``restart_completed``."""

    timeslots: tuple[int, ...]
    restart_class: RestartClass


@dataclass(frozen=True, slots=True)
class MaintenanceIndication:
    """Something management should know: a RESTART without answer, a channel whose release was never confirmed."""

    text: str
    timeslots: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedIndication:
    """A SETUP was answered with RELEASE COMPLETE before it became a call."""

    message: Message
    cause: Cause


LinkOutput = RefusedIndication | CallIndication | SendData | EstablishLink | RestartIndication | MaintenanceIndication
