"""Where we are, while it changes: facts of the network, what registrars and STUN see, and ``externhost``'s look-ups.

Brings every change to ``AdvertisedAddress``, to the calls in progress, and to whoever else must tell a far end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.voip.sip.address import NetworkFacts
from gateway.voip.sip.addresses import is_public
from gateway.voip.sip.externip import Source
from gateway.voip.sip.flow import UDP, Flow, literal_address
from gateway.voip.sip.stun import AGAIN, Outcome, StunClient, StunError
from gateway.voip.sip.timers import SipTimer

if TYPE_CHECKING:
    from gateway.voip.sip.endpoint import SipEndpoint

log = logging.getLogger(__name__)


class Relocation:
    """One per endpoint. ``listeners`` are called with the time after the address that others are told changed."""

    def __init__(self, endpoint: SipEndpoint) -> None:
        self._endpoint = endpoint
        self._advertised = endpoint.outbound.advertised
        self.listeners: list[Callable[[int], None]] = []
        self._stun = StunClient(endpoint.rng)
        self._begin()

    def _begin(self) -> None:
        endpoint, settings = self._endpoint, self._endpoint.settings.addressing
        self._name = settings.externhost
        self._refresh = settings.externrefresh
        self._stun_at = settings.stun if settings.automatic else None
        self._server: Flow | None = None
        self._trouble = ""
        if literal_address(self._name) is not None:
            self._advertised.external.resolved([self._name])
            self._name = ""
        if self._name:
            endpoint.resolve([self._name])
        if self._stun_at is not None:
            # At the first moment there is.
            endpoint.timers.start((self, SipTimer.K), 0)

    def take_up(self) -> None:
        """What is settled about our addresses is another; calls in progress keep what their far ends were told."""
        for timer in (SipTimer.REFRESH, SipTimer.E, SipTimer.K):
            self._endpoint.timers.stop((self, timer))
        self._stun = StunClient(self._endpoint.rng)
        self._begin()

    @property
    def timers(self) -> int:
        """How many timers run that never end: an endpoint with nothing else to do is idle."""
        keys = ((self, SipTimer.REFRESH), (self, SipTimer.E), (self, SipTimer.K))
        return sum(key in self._endpoint.timers for key in keys)

    # -- facts --

    def network(self, facts: NetworkFacts, now: int) -> None:
        """The networks of this host changed: interfaces, addresses or routes."""
        if not self._advertised.update(facts):
            return
        external = self._advertised.external
        own = ", ".join(facts.addresses) or "no address"
        log.info("WAN interface %s: %s; address outside: %s", facts.wan or "none", own, external)
        self._changed(now)
        self._find_server(now)
        if self._name:
            self._endpoint.resolve([self._name])

    def status(self) -> dict[str, object]:
        """What an operator is shown."""
        facts = self._advertised.facts
        return {
            "interface": facts.wan,
            "addresses": list(facts.addresses),
            "networks": [str(network) for network in facts.connected],
            "external": self._advertised.external.as_json(),
        }

    def seen(self, by: str, address: str, port: int, flow: Flow, now: int) -> None:
        """The registrar of trunk ``by`` saw our request on ``flow`` come from there (received and rport, RFC 3581)."""
        if flow.transport != UDP:
            # The port of one connection is nothing that anybody else could use.
            port = 0
        self._noted(self._advertised.external.seen(Source.REGISTRAR, by, address, port), now)

    def resolved(self, host: str, addresses: tuple[str, ...], now: int) -> None:
        """The answer to a Resolve, of whoever asked."""
        if host == self._name:
            self._noted(self._advertised.external.resolved(addresses), now)
            self._endpoint.timers.start((self, SipTimer.REFRESH), now + self._refresh)
        if self._stun_at is not None and host == self._stun_at[0]:
            if not addresses:
                self._complain(f"{host} does not resolve")
            self._ask(addresses, self._stun_at[1], now)

    def _noted(self, changed: bool, now: int) -> None:
        if changed:
            self._advertised.forget()
            log.info("our address outside: %s", self._advertised.external)
            self._changed(now)

    def _changed(self, now: int) -> None:
        for leg in tuple(self._endpoint.legs.values()):
            leg.relocate(now)
        for tell in self.listeners:
            tell(now)

    # -- STUN --

    def _find_server(self, now: int) -> None:
        if self._stun_at is None:
            return
        host = self._stun_at[0]
        literal = literal_address(host)
        if literal is not None:
            self._ask((literal,), self._stun_at[1], now)
        else:
            self._endpoint.resolve([host])

    def _ask(self, addresses: tuple[str, ...], port: int, now: int) -> None:
        endpoint = self._endpoint
        for address in addresses:
            listener = endpoint.outbound.listener_for(UDP, address)
            if listener is None or is_public(self._advertised.own(address, listener)):
                continue
            endpoint.timers.stop((self, SipTimer.K))
            self._server = Flow(UDP, address, port, 0, listener)
            self._stun.start(now)
            self._drain(now)
            return
        # Nobody to ask, or nothing to ask for.
        endpoint.timers.start((self, SipTimer.K), now + AGAIN)

    def receive(self, data: bytes, flow: Flow, now: int) -> bool:
        """A datagram that begins like STUN; False if it is nothing of ours."""
        server = self._server
        if server is None or (flow.address, flow.port) != (server.address, server.port):
            return False
        try:
            self._stun.receive(data, now)
        except StunError as error:
            log.debug("from %s: %s", flow, error)
            return False
        self._drain(now)
        return True

    def expire(self, timer: SipTimer, now: int) -> None:
        """Time for the next look-up, request or retransmission."""
        if timer is SipTimer.REFRESH:
            self._endpoint.resolve([self._name])
        elif timer is SipTimer.K:
            self._find_server(now)
        else:
            self._stun.handle_timer(now)
            self._drain(now)

    def _drain(self, now: int) -> None:
        timers, server = self._endpoint.timers, self._server
        while server is not None and (output := self._stun.poll()) is not None:
            if isinstance(output, bytes):
                self._endpoint.send(server, output)
                continue
            if output.outcome is Outcome.MAPPED and output.response is not None:
                self._trouble = ""
                response = output.response
                self._noted(
                    self._advertised.external.seen(Source.STUN, server.address, response.address, response.port), now
                )
            elif output.response is not None:
                self._complain(f"{server} refuses: {output.response.code} {output.response.reason}")
            else:
                self._complain(f"{server} does not answer")
            timers.start((self, SipTimer.K), now + AGAIN)
        deadline = self._stun.next_timer()
        if deadline is None:
            timers.stop((self, SipTimer.E))
        else:
            timers.start((self, SipTimer.E), deadline)

    def _complain(self, trouble: str) -> None:
        """Once, until it works again."""
        if trouble != self._trouble:
            self._trouble = trouble
            log.warning("STUN: %s; asked again every %d s. Check [network] stunaddr", trouble, AGAIN // 1_000_000)
