"""EuroISDN (ETS 300 102, EN 300 403) on an E1: Q.931 nearly as it stands.

Names come as Display, from the network only; channels are blocked on our side alone; the interface is restarted whole.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.core import SECOND
from gateway.identity import Redirection
from gateway.pri.lapd import Side
from gateway.pri.q931.diversion import read_diversion
from gateway.pri.q931.ie import Facility
from gateway.pri.q931.message import Message
from gateway.pri.q931.timers import Q931Timer
from gateway.pri.q931.variant import Variant


class EuroIsdn(Variant):
    """EN 300 403-1, point-to-point on a primary rate."""

    name = "euroisdn"
    maximum_digits = 20  # EN 300 403-1 4.5.8: 23 octets with octets 1 to 3
    two_calling_numbers = True
    maximum_name = 32  # EN 300 403-1 table 4-3: Display of 34 octets where the network takes no more
    timers: Mapping[Side, Mapping[Q931Timer, int]] = {
        # EN 300 403-1 9.2: T310 on the user side is 30 to 120 s; networks announce for up to 110 s without PROGRESS.
        Side.USER: {Q931Timer.T310: 110 * SECOND},
        Side.NETWORK: {},
    }

    def read_redirection(self, message: Message) -> Redirection | None:
        """Redirecting number, or the diversion services' way of saying it (ETS 300 207-1)."""
        redirection = super().read_redirection(message)
        if redirection is None:
            for element in message.elements:
                if isinstance(element, Facility):
                    redirection = redirection or read_diversion(element)
        return redirection
