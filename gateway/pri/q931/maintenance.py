"""SERVICE and SERVICE ACKNOWLEDGE: B channels taken out of and into service by either end (NI-2, 4ESS, 5ESS).

An acknowledgement is known by its call reference flag alone: which type octet is which depends on the switch type, and
an acknowledgement that were answered would never end. No timer repeats a SERVICE: the state of our channels is told
again whenever the data link comes up.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.pri.channels import Block
from gateway.pri.q931.acceptance import check
from gateway.pri.q931.ie import ChangeStatus, ChannelIdentification, ServiceStatus
from gateway.pri.q931.message import CallReference, Message, decode

if TYPE_CHECKING:
    from gateway.pri.q931.link import Q931Link

log = logging.getLogger(__name__)


class ServiceProcedure:
    """The maintenance messages of one D channel. A variant without them ignores them."""

    def __init__(self, link: Q931Link) -> None:
        self._link = link
        self._reference = CallReference(0, False, link.call_reference_octets)
        variant = link.variant
        self._service, self._acknowledge = (
            decode(bytes((variant.maintenance_discriminator, 1, 0, octet))).message_type
            for octet in variant.service_octets
        )

    def announce(self, timeslot: int) -> None:
        """Tell the far end whether the channel is in service here."""
        if not self._link.variant.service_messages:
            return
        channel = self._link.channels.get(timeslot)
        if channel is None:
            return
        blocked = Block.LOCAL in channel.block
        status = ServiceStatus.OUT_OF_SERVICE if blocked else ServiceStatus.IN_SERVICE
        elements = (
            ChangeStatus(status),
            self._link.variant.channel_identification((timeslot,), exclusive=True),
        )
        discriminator = self._link.variant.maintenance_discriminator
        self._link.transmit(Message(self._service, self._reference, elements, discriminator))

    def link_established(self) -> None:
        """Tell again which channels are out of service here."""
        if self._link.variant.service_messages:
            for channel in self._link.channels:
                if Block.LOCAL in channel.block:
                    self.announce(channel.timeslot)

    def receive(self, message: Message) -> None:
        """Take a maintenance message."""
        link = self._link
        spoken = (
            link.variant.service_messages
            and message.protocol_discriminator == link.variant.maintenance_discriminator
            and message.message_type in (self._service, self._acknowledge)
        )
        fault = check(message)
        status = message.first(ChangeStatus)
        wanted = message.first(ChannelIdentification)
        if not spoken or (fault is not None and fault.fatal) or wanted is None or status is None:
            link.ignored += 1
            log.info("%s: ignored: %r", link.name, message)
            return
        acknowledges = message.call_reference.flag
        for timeslot in wanted.channels:
            channel = link.channels.get(timeslot)
            if channel is None:
                continue
            if status.status == ServiceStatus.IN_SERVICE:
                link.channels.unblock(Block.REMOTE, timeslot)
            elif not acknowledges:
                # In an acknowledgement it only echoes our own wish.
                link.channels.block(Block.REMOTE, timeslot)
        if not acknowledges:
            link.transmit(
                Message(
                    self._acknowledge,
                    message.call_reference.answer(),
                    (status, wanted),
                    message.protocol_discriminator,
                )
            )
