"""SERVICE and SERVICE ACKNOWLEDGE: B channels taken out of and into service by either end (NI-2, 4ESS, 5ESS).

No timer repeats a SERVICE: the state of our channels is told again whenever the data link comes up.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.pri.channels import Block
from gateway.pri.q931.acceptance import check
from gateway.pri.q931.ie import ChangeStatus, ChannelIdentification, ServiceStatus
from gateway.pri.q931.message import CallReference, Message, MessageType

if TYPE_CHECKING:
    from gateway.pri.q931.link import Q931Link

log = logging.getLogger(__name__)


class ServiceProcedure:
    """The maintenance messages of one D channel. A variant without them ignores them."""

    def __init__(self, link: Q931Link) -> None:
        self._link = link
        self._reference = CallReference(0, False, link.call_reference_octets)

    def announce(self, timeslot: int) -> None:
        """Tell the far end whether the channel is in service here."""
        if not self._link.variant.service_messages:
            return
        channel = self._link.channels.get(timeslot)
        if channel is None:
            return
        blocked = Block.LOCAL in channel.block
        status = ServiceStatus.OUT_OF_SERVICE if blocked else ServiceStatus.IN_SERVICE
        self._send(MessageType.SERVICE, self._reference, timeslot, status)

    def link_established(self) -> None:
        """Tell again which channels are out of service here."""
        if self._link.variant.service_messages:
            for channel in self._link.channels:
                if Block.LOCAL in channel.block:
                    self.announce(channel.timeslot)

    def receive(self, message: Message) -> None:
        """Take a maintenance message."""
        link = self._link
        fault = check(message)
        status = message.first(ChangeStatus)
        wanted = message.first(ChannelIdentification)
        if not link.variant.service_messages or (fault is not None and fault.fatal) or wanted is None or status is None:
            link.ignored += 1
            log.info("%s: ignored: %r", link.name, message)
            return
        acknowledges = message.message_type is MessageType.SERVICE_ACKNOWLEDGE
        for timeslot in wanted.channels:
            channel = link.channels.get(timeslot)
            if channel is None:
                continue
            if status.status == ServiceStatus.IN_SERVICE:
                link.channels.unblock(Block.REMOTE, timeslot)
            elif not acknowledges:
                # In an acknowledgement it only echoes our own wish.
                link.channels.block(Block.REMOTE, timeslot)
        if message.message_type is MessageType.SERVICE:
            link.transmit(
                Message(
                    MessageType.SERVICE_ACKNOWLEDGE,
                    message.call_reference.answer(),
                    (status, wanted),
                    message.protocol_discriminator,
                )
            )

    def _send(self, kind: MessageType, reference: CallReference, timeslot: int, status: ServiceStatus) -> None:
        elements = (
            ChangeStatus(status),
            self._link.variant.channel_identification((timeslot,), exclusive=True),
        )
        self._link.transmit(Message(kind, reference, elements))
