"""How well the far end hears us, and we it: the RR elements of PONG (RFC 5456 8.6.37 to 8.6.42)."""

from __future__ import annotations

import msgspec

from gateway.media.api import Statistics
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.errors import IaxError

_MOST_32 = 0xFFFF_FFFF
_MOST_24 = 0xFF_FFFF
_MOST_16 = 0xFFFF


class LinkReport(msgspec.Struct, frozen=True):
    """What one side says of the voice it receives: times in milliseconds, ``lost_percent`` since its last report."""

    jitter: int = 0
    lost: int = 0
    lost_percent: int = 0
    packets: int = 0
    delay: int = 0
    dropped: int = 0
    out_of_order: int = 0

    @classmethod
    def of(cls, statistics: Statistics, before: Statistics | None = None) -> LinkReport:
        """Our report from the engine's counters; ``before`` are those at the last one."""
        lost, packets = statistics.lost, statistics.packets_received
        recent_lost = lost - (before.lost if before is not None else 0)
        recent = packets - (before.packets_received if before is not None else 0) + recent_lost
        percent = 100 * recent_lost // recent if recent > 0 and recent_lost > 0 else 0
        return cls(
            jitter=max(0, round(statistics.jitter)),
            lost=lost,
            lost_percent=min(percent, 100),
            packets=packets,
            delay=max(0, round(statistics.buffer_delay)),
            dropped=statistics.late,
            out_of_order=statistics.reordered,
        )

    @classmethod
    def read(cls, elements: Elements) -> LinkReport | None:
        """The far end's report; None if there is none, or none that can be read."""
        try:
            loss = elements.number(Ie.RR_LOSS)
            packets = elements.number(Ie.RR_PKTS)
            if loss is None and packets is None:
                return None
            loss = loss or 0
            return cls(
                jitter=elements.number(Ie.RR_JITTER) or 0,
                lost=loss & _MOST_24,
                lost_percent=loss >> 24,
                packets=packets or 0,
                delay=elements.number(Ie.RR_DELAY) or 0,
                dropped=elements.number(Ie.RR_DROPPED) or 0,
                out_of_order=elements.number(Ie.RR_OOO) or 0,
            )
        except IaxError:
            return None

    def add_to(self, elements: Elements) -> Elements:
        """Append all RR elements."""
        loss = self.lost_percent << 24 | min(self.lost, _MOST_24)
        elements.add_number(Ie.RR_JITTER, min(self.jitter, _MOST_32), 4)
        elements.add_number(Ie.RR_LOSS, loss, 4)
        elements.add_number(Ie.RR_PKTS, min(self.packets, _MOST_32), 4)
        elements.add_number(Ie.RR_DELAY, min(self.delay, _MOST_16), 2)
        elements.add_number(Ie.RR_DROPPED, min(self.dropped, _MOST_32), 4)
        return elements.add_number(Ie.RR_OOO, min(self.out_of_order, _MOST_32), 4)

    def as_json(self) -> dict[str, object]:
        """As JSON types."""
        return msgspec.structs.asdict(self)
