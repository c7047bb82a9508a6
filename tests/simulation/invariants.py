"""What must hold when a run is over: nothing is left, every call has its record, and both sides agree how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.media.wire import Kind
from gateway.pri.channels import ChannelState
from gateway.pri.trunk import PriTrunk
from gateway.voip.iax.endpoint import IaxEndpoint
from gateway.voip.sip.endpoint import SipEndpoint
from tests.simulation.iax_site import IaxSite

if TYPE_CHECKING:
    from tests.simulation.branch import Branch


def left_over(branch: Branch) -> list[str]:
    """What is still there although nobody calls any more."""
    gateway = branch.gateway
    switch = gateway.switch
    found: list[str] = []
    if not gateway.running:
        found.append("gateway: not running")
    undrained = switch.poll() if gateway.running else None
    if undrained is not None:
        found.append(f"gateway: {undrained} was not drained")
    for name, trunk in switch.trunks.items():
        found += _trunk(f"gateway {name}", trunk)
    for exchange in branch.exchanges:
        found += _trunk(exchange.name, exchange.exchange.trunk)
        found += [f"{exchange.name}: line {line.report}" for line in exchange.exchange.lines.values()]
        found += [f"{exchange.name}: stream {each.label}" for each in exchange.media.wiring.streams.values()]
    found += [f"gateway: call {call.identity} {call.state.value}" for call in switch.calls.values()]
    found += [f"gateway: binding {each.contact}" for each in switch.sip.phones.location]
    found += _endpoint("gateway", switch.sip)
    if not switch.idle and not found:
        found.append("gateway: the switch is not idle")
    for phone in branch.phones:
        found += _endpoint(phone.name, phone.endpoint)
        found += [f"{phone.name}: stream {each.label}" for each in phone.media.wiring.streams.values()]
    for server in branch.servers:
        found += [f"{server.name}: binding {each.contact}" for each in server.endpoint.phones.location]
    found += _iax(branch)
    if not gateway.media.up:
        found.append("gateway: no media engine")
    if gateway.media.next_timer() is not None:
        found.append("media client: requests wait for a reply")
    sockets = {each.number for each in gateway.engine.streams.values() if each.kind is Kind.IAX_SOCKET}
    listeners = 0 if switch.iax is None else len(switch.iax.settings.listeners)
    if len(sockets) > listeners:
        found.append(f"engine: {len(sockets)} IAX2 sockets, of {listeners} that are needed")
    found += [f"engine: stream {each.label}" for each in gateway.engine.streams.values() if each.number not in sockets]
    found += [f"media client: stream {each}" for each in sorted(gateway.media.streams - sockets)]
    return found


def _iax(branch: Branch) -> list[str]:
    found: list[str] = []
    switch = branch.gateway.switch
    if switch.iax is not None:
        found += _iax_endpoint("gateway", switch.iax)
    for node in branch.iax.all:
        if not node.quiet:
            found.append(f"{node.name}: not quiet")
        if isinstance(node, IaxSite):
            found += _iax_endpoint(node.name, node.endpoint)
            streams = node.media.wiring.streams.values()
            found += [f"{node.name}: stream {each.label}" for each in streams if each.kind is not Kind.IAX_SOCKET]
    return found


def _iax_endpoint(name: str, endpoint: IaxEndpoint) -> list[str]:
    found = [f"{name}: leg {leg.name}" for leg in endpoint.legs.values()]
    reception = endpoint.reception
    found += [f"{name}: {session!r} of {session.owner}" for session in reception.sessions.values()]
    found += [f"{name}: call number {number} is listened to" for number in reception.ears]
    found += [f"{name}: {each} is registered" for each in endpoint.registrar.bindings]
    for what, count in (
        ("call numbers in use", len(endpoint.numbers)),
        ("who have not proven who they are", len(endpoint.gatekeeper)),
        ("sessions that have not shown where they are", len(reception.meters)),
        ("passes of calls", len(endpoint.rounds)),
        ("calls that wait for their turn", sum(len(peer.turns) for peer in endpoint.peers.values())),
    ):
        if count:
            found.append(f"{name}: {count} {what}")
    if not found and not endpoint.idle:
        found.append(f"{name}: IAX2 is not idle")
    return found


def _trunk(name: str, trunk: PriTrunk) -> list[str]:
    found = [f"{name}: {call!r}" for call in trunk.q931.calls.values()]
    found += [f"{name}: {leg!r}" for leg in trunk.legs.values()]
    found += [f"{name}: {channel!r}" for channel in trunk.channels if channel.state is not ChannelState.IDLE]
    if not trunk.up:
        found.append(f"{name}: the D channel is down")
    if trunk.q931.restarts.outstanding:
        found.append(f"{name}: RESTART of {trunk.q931.restarts.outstanding} waits for its acknowledgement")
    if len(trunk.q931.timers):
        found.append(f"{name}: {len(trunk.q931.timers)} Q.931 timers run")
    return found


def _endpoint(name: str, endpoint: SipEndpoint) -> list[str]:
    found = [f"{name}: leg {leg.name}" for leg in endpoint.legs.values()]
    found += [f"{name}: dialog {session.phase.value} {key}" for key, session in endpoint.dialogs.items()]
    found += [f"{name}: {each.kind} {each.state.name}" for each in endpoint.transactions.all]
    if not found and not endpoint.idle:
        found.append(f"{name}: {len(endpoint.timers)} SIP timers run")
    return found
