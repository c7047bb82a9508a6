"""Who a call says it comes from, where the configuration knows better than the peer: ``callerid``."""

from __future__ import annotations

from msgspec.structs import replace

from gateway.config.model import Configuration
from gateway.config.values import CallerId
from gateway.identity import Number, Party, Presentation
from gateway.leg import Offered


class CallerIds:
    """The ``callerid`` of each peer that has one."""

    def __init__(self, configuration: Configuration) -> None:
        peers = (*configuration.trunks, *configuration.iax_trunks, *configuration.phones)
        self._by_source: dict[str, CallerId] = {peer.name: peer.callerid for peer in peers if peer.callerid is not None}

    def applied(self, offered: Offered) -> Offered:
        """``offered`` with the caller of its source's ``callerid``; a caller who wants to stay unknown still does."""
        callerid = self._by_source.get(offered.source)
        if callerid is None:
            return offered
        said = offered.setup.caller
        presentation = said.number.presentation if said.number is not None else Presentation.ALLOWED
        if presentation is Presentation.NOT_AVAILABLE:
            presentation = Presentation.ALLOWED
        number = Number(callerid.number, presentation=presentation)
        caller = Party(number, callerid.name or None, said.name_presentation)
        return replace(offered, setup=replace(offered.setup, caller=caller))
