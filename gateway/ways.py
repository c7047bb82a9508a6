"""The ways out of the gateway: what leg a destination of the dial plan gets, and in which order they are tried."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gateway.cause import Cause
from gateway.config.model import Configuration
from gateway.leg import Leg
from gateway.pri.channels import TrunkGroup
from gateway.pri.trunk import PriTrunk
from gateway.routing.dialplan import (
    Destination,
    IaxDestination,
    LegDestination,
    PhoneDestination,
    PriDestination,
    TrunkDestination,
)
from gateway.routing.groups import trunk_groups
from gateway.voip.sip.endpoint import SipEndpoint

if TYPE_CHECKING:
    from gateway.voip.iax.endpoint import IaxEndpoint

_NOTHING: frozenset[str] = frozenset()


class Ways:
    """Telephone lines by their groups, SIP, and IAX2 where there is any."""

    def __init__(
        self,
        configuration: Configuration,
        trunks: Mapping[str, PriTrunk],
        sip: SipEndpoint,
        iax: IaxEndpoint | None,
    ) -> None:
        self.closed: frozenset[str] = _NOTHING
        """Spans, trunks and phones that no call begins over, but for help."""
        self._sip = sip
        self._iax = iax
        self._groups = {
            name: TrunkGroup(name, [trunks[span].channels for span in spans])
            for name, spans in trunk_groups(configuration).items()
        }
        self._trunk_of = {id(trunk.channels): trunk for trunk in trunks.values()}

    def ordered(self, destinations: Sequence[Destination], now: int) -> Sequence[Destination]:
        """``destinations`` with peers that went silent after the others, but before what needs no far end at all.

        A prompt or tone always succeeds: what stands behind it is never tried.
        """
        sip = self._sip.suspects
        iax = None if self._iax is None else self._iax.suspects
        if len(destinations) < 2 or not (sip.names or (iax is not None and iax.names)):
            return destinations
        placed: list[Destination] = []
        doubtful: list[Destination] = []
        # Tried all the same, if nothing else works: it may be the only way to an ambulance.
        unreachable: list[Destination] = []
        rest: Sequence[Destination] = ()
        for number, destination in enumerate(destinations):
            match destination:
                case PriDestination():
                    placed.append(destination)
                    continue
                case TrunkDestination(peer) | PhoneDestination(peer):
                    suspects = sip
                case IaxDestination(peer) if iax is not None:
                    suspects = iax
                case _:
                    rest = destinations[number:]
                    break
            if suspects.is_unreachable(peer):
                unreachable.append(destination)
            else:
                (doubtful if suspects.doubts(peer, now) else placed).append(destination)
        return (*placed, *doubtful, *unreachable, *rest)

    def open_leg(self, destination: LegDestination, now: int, *, emergency: bool = False) -> Leg | Cause:
        """A fresh outgoing leg, or why there can be none."""
        match destination:
            case PriDestination():
                return self._open_pri(destination, now, emergency=emergency)
            case IaxDestination(peer) | TrunkDestination(peer) | PhoneDestination(peer) if (
                peer in self.closed and not emergency
            ):
                return Cause.DESTINATION_OUT_OF_ORDER
            case IaxDestination(peer):
                if self._iax is None:
                    return Cause.NO_ROUTE_TO_DESTINATION
                return self._iax.new_leg(peer, now, emergency=emergency)
            case TrunkDestination(peer) | PhoneDestination(peer):
                return self._sip.new_leg(peer, now, emergency=emergency)

    def lacking(self, destination: LegDestination, wanted: frozenset[str]) -> frozenset[str]:
        """Which of the facts ``wanted`` the hop to ``destination`` cannot have; a telephone line has none."""
        match destination:
            case PriDestination():
                return wanted
            case IaxDestination(peer):
                return wanted - (_NOTHING if self._iax is None else self._iax.facts_of(peer))
            case TrunkDestination(peer) | PhoneDestination(peer):
                return wanted - self._sip.facts_of(peer)

    def _open_pri(self, destination: PriDestination, now: int, *, emergency: bool) -> Leg | Cause:
        """A leg on the channel that the group's hunt finds; 38 if none of its spans works, 34 if all are taken."""
        group = self._groups.get(destination.group)
        if group is None:
            return Cause.NO_ROUTE_TO_DESTINATION
        found = group.hunt(destination.hunt, self)
        if found is None:
            up = any(self._trunk_of[id(table)].up for table in group.tables)
            return Cause.NO_CIRCUIT_AVAILABLE if up else Cause.NETWORK_OUT_OF_ORDER
        table, channel = found
        trunk = self._trunk_of[id(table)]
        closed = trunk.name in self.closed and not emergency
        leg = Cause.NO_CIRCUIT_AVAILABLE if closed else trunk.new_leg(destination.hunt, now, channel)
        if isinstance(leg, Cause):
            table.release(channel.timeslot, self)
        return leg
