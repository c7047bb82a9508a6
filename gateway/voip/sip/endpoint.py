"""The SIP endpoint: datagrams and streams in, messages, legs and their events out. Sans-I/O (``gateway.core``).

Composes streams, reception, transactions, dialogs and legs, and is what these use of one another (``host.Host``).
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from gateway.cause import Cause
from gateway.core import TimerQueue
from gateway.identity import Number
from gateway.leg import LegEvent, Offered, OnNotOffered, Released, Setup
from gateway.media.api import Media
from gateway.voip.sip.address import AdvertisedAddress
from gateway.voip.sip.addresses import is_private
from gateway.voip.sip.authenticator import Authenticator
from gateway.voip.sip.binding_store import StoreBindings
from gateway.voip.sip.composed import field_lines
from gateway.voip.sip.counters import EndpointCounters
from gateway.voip.sip.defence import Defence
from gateway.voip.sip.dialog import DialogKey
from gateway.voip.sip.dialogs import Dialogs
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.far_ends import FarEnds
from gateway.voip.sip.flow import ADDRESS, RELIABLE, Close, Flow, Resolve, Send
from gateway.voip.sip.hop import succeeding
from gateway.voip.sip.hop_facts import facts_of
from gateway.voip.sip.host import Fields
from gateway.voip.sip.identification import Identification
from gateway.voip.sip.incoming import EMERGENCY_LEGS, IncomingCalls, OnOffer
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.names import Answer
from gateway.voip.sip.outbound import Outbound
from gateway.voip.sip.parser import parse
from gateway.voip.sip.peers import NO_BRAKES, PeerKind, PeerSettings, PeerTable, SipSettings
from gateway.voip.sip.phones import Phones
from gateway.voip.sip.reception import Reception
from gateway.voip.sip.relocation import Relocation
from gateway.voip.sip.session import Session
from gateway.voip.sip.status import reason_phrase
from gateway.voip.sip.strangers import Strangers
from gateway.voip.sip.streams import Streams
from gateway.voip.sip.suspects import Suspects
from gateway.voip.sip.timers import durations
from gateway.voip.sip.toll_fraud import TollFraud
from gateway.voip.sip.transaction import ServerTransaction, Timers
from gateway.voip.sip.transactions import Transactions
from gateway.voip.sip.unproven import UnprovenCalls

log = logging.getLogger(__name__)

Output = Send | Close | Resolve | StoreBindings


class SipEndpoint:
    """All SIP of the gateway. ``local_for`` says which local address reaches a remote one.

    ``on_offer`` is called from ``poll`` for each incoming call; it returns the leg's listener, or None to refuse it.
    """

    def __init__(
        self,
        settings: SipSettings,
        media: Media,
        rng: random.Random,
        on_offer: OnOffer,
        *,
        local_for: Callable[[str], str] = lambda remote: "::1" if ":" in remote else "127.0.0.1",
        on_not_offered: OnNotOffered | None = None,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings
        self.media = media
        self.rng = rng
        self.suspects = Suspects()
        self.counters = EndpointCounters()
        self.timers: Timers = TimerQueue()
        self.durations = durations(settings.timers)
        self.transactions = Transactions(self.timers, self.durations, rng, self.send)
        self.waits = self.transactions.waits
        self.peers = PeerTable(settings.peers)
        self.dialog_table = Dialogs()
        self.dialogs = self.dialog_table.by_key
        self.defence = Defence(self.peers.knows, lambda address: self.phones.location.knows(address), is_private)
        self.strangers = Strangers(settings, self.peers, self.defence, self.transactions, self.dialogs)
        advertised = AdvertisedAddress(settings.listeners, local_for, settings.addressing)
        self.strangers.near = advertised.is_inside
        self.outbound = Outbound(self.transactions, settings.listeners, advertised, self.send)
        self.legs: dict[str, SipLeg] = {}
        # How many calls a peer has sent on that go on without it: they are calls of its own still.
        self.left_by: Callable[[str], int] = lambda _peer: 0
        # Who hears of legs whose dialog or terms are other than they were.
        self.on_changed: Callable[[SipLeg], None] | None = None
        # The numbers of our sockets that only calls use that began over them.
        self.retired: frozenset[int] = frozenset()
        self._out: deque[Output] = deque()
        self._events: deque[tuple[SipLeg, LegEvent]] = deque()
        self._replies: deque[Callable[[int], None]] = deque()
        self._serial = 0
        self._now = 0
        self.phones = Phones(self, self._out.append, wall_clock)
        self.identification = Identification(
            settings,
            self.peers,
            Authenticator(settings.realm, rng.randbytes(32), settings.algorithms),
            self.defence,
            self.phones.location.owner,
        )
        self.toll_fraud = TollFraud(self._standing, settings.emergency)
        self.incoming = IncomingCalls(self, on_offer, on_not_offered)
        self.reception = Reception(self)
        self._streams = Streams(
            self.counters, self._receive_streamed, self.reception.broken, self.send, self._out.append
        )
        self.relocation = Relocation(self)
        self.far_ends = FarEnds(self, settings.peers, settings.user_agent, self.relocation.seen)
        self.relocation.listeners.append(self.far_ends.moved)
        self.identification.account = self.far_ends.account
        self.unproven = UnprovenCalls(self)
        if settings.emergency:
            self.identification.unproven = self.unproven.caller

    # -- the contract of gateway.core --

    def receive(self, data: bytes, flow: Flow, now: int) -> bool:
        """A datagram, or bytes of a stream, arrived on ``flow``; False if it is dropped unread. It raises nothing."""
        self._now = now
        if flow.transport in RELIABLE:
            if self.far_ends.streams:
                self.far_ends.heard_on(flow, data, now)
            self._streams.feed(data, flow, now)
            return True
        if self.strangers.unheard(flow.address, now) and not self.unproven.heard(data, flow.address, now):
            self.counters.overload += 1
            return False
        if len(data) < 12 or data[0] < 0x20:
            # CR LF keep-alives, STUN (first two bits zero, RFC 5389 6) and the like; CR LF may come first (3261 7.5).
            if data[:1] == b"\1" and self.relocation.receive(data, flow, now):
                return True
            data = data.lstrip(b"\r\n")
            if not data.strip(b"\0 ") or data[0] < 4:
                self.counters.keepalives += 1
                return True
        try:
            message = parse(data)
        except SipError as error:
            self.reception.broken(error, flow, now)
            return True
        self.reception.receive(message, flow, now)
        return True

    def _receive_streamed(self, message: Request | Response, flow: Flow, now: int) -> None:
        if self.strangers.unheard(flow.address, now) and not (
            isinstance(message, Request) and self.unproven.heard(message.start_line.encode(), flow.address, now)
        ):
            self.counters.overload += 1
            raise SipError(None, "a stranger sends more than is read")
        self.reception.receive(message, flow, now)

    def admits(self, address: str, now: int) -> bool:
        """Whether a connection from ``address`` is taken: one of ours that is shut out may still call for help."""
        return self.defence.allowed(address, now) or self.unproven.admits(address, now)

    def connection_lost(self, flow: Flow, now: int) -> None:
        """The connection of ``flow`` is gone, or could not be opened."""
        self._now = now
        self._streams.lost(flow)
        self.phones.connection_lost(flow, now)
        if flow.connection:
            # Calls outlive their connection: what is still to be sent opens a new one (RFC 3261 18.1.1).
            for session in self.dialogs.values():
                if session.flow == flow:
                    if session.peer.dynamic:
                        session.flow = self.phones.way_back(session.peer, flow, now)
                        continue
                    name = flow.name or (session.peer.host.lower() if flow.secure else "")
                    session.flow = Flow(flow.transport, flow.address, session.peer.port, name=name)
        self.transactions.transport_failed(flow, now)
        self.far_ends.connection_lost(flow, now)

    def resolved(self, host: str, addresses: tuple[str, ...], now: int) -> None:
        """The answer to a Resolve; without addresses the name is asked for again when it is next called."""
        self._now = now
        self.peers.resolved(host, addresses)
        self.relocation.resolved(host, addresses, now)
        self.far_ends.resolved(host, addresses, now)

    def looked_up(self, question: Resolve, answer: Answer, now: int) -> None:
        """The answer to a Resolve of any kind, with its time to live."""
        self._now = now
        if question.kind == ADDRESS:
            addresses = tuple([record for record in answer.records if isinstance(record, str)])
            self.peers.resolved(question.host, addresses)
            self.relocation.resolved(question.host, addresses, now)
        self.far_ends.looked_up(question, answer, now)

    def handle_timer(self, now: int) -> None:
        """Let everything that is due happen."""
        self._now = now
        for owner, timer in self.timers.expired(now):
            owner.expire(timer, now)

    def enter(self, now: int) -> None:
        """What is drained from now on happens at ``now``: replies of the media engine bring no time along."""
        if now > self._now:
            self._now = now

    def next_timer(self) -> int | None:
        """The earliest deadline, or None; at once while there is something to drain."""
        if self._out or self._events or self._replies:
            return self._now
        return self.timers.next_timer()

    @property
    def pending(self) -> bool:
        """Whether there is something to drain."""
        return bool(self._events or self._replies or self._out)

    def poll(self) -> Output | None:
        """The next thing to send or do; tells leg events to their listeners on the way. None when there is no more."""
        out = self._out
        while not out:
            if self._replies:
                self._replies.popleft()(self._now)
            elif self._events:
                self._tell(*self._events.popleft())
            else:
                return None
        return out.popleft()

    def take_up(self, settings: SipSettings, now: int) -> None:
        """Let ``settings`` hold for calls and registrations from now on. Numbers of sockets stay as they are."""
        self._now = now
        before, known = tuple(self.peers), self.settings
        self.settings = replace(settings, listeners=succeeding(known.listeners, settings.listeners))
        changed = self.peers.replace(settings.peers)
        ways = self.settings.listeners != known.listeners or settings.addressing != known.addressing
        if ways:
            self.retired = frozenset([number for number, each in enumerate(self.settings.listeners) if each.retired])
            self.outbound.take_up(self.settings.listeners, settings.addressing)
            if settings.addressing != known.addressing:
                self.relocation.take_up()
            self.phones.move_from(self.retired, now)
        self.durations.update(durations(settings.timers))
        self.phones.registrar.settings = settings.registrar
        for peer in before:
            if peer.name in changed:
                self._reconsider(peer, now)
        self.identification.take_up(settings, changed)
        self.identification.unproven = self.unproven.caller if settings.emergency else None
        self.unproven.numbers = settings.emergency
        self.toll_fraud.exempt(settings.emergency)
        self.strangers.may_call = settings.context is not None
        # Who is told another address, or reached from another socket, is registered with anew.
        self.far_ends.take_up(
            changed | {each.name for each in self.peers} if ways else changed, settings.user_agent, now
        )
        for name in changed:
            self.phones.watch_again(name, now)

    def uses(self, number: int) -> bool:
        """Whether a call needs the socket of that number."""
        transport = self.settings.listeners[number].transport
        return any(flow.listener == number and flow.transport == transport for flow in self.flows)

    @property
    def flows(self) -> Iterator[Flow]:
        """The flows of all calls."""
        yield from (leg.flow for leg in self.legs.values())
        yield from (session.flow for session in self.dialogs.values())

    def _reconsider(self, before: PeerSettings, now: int) -> None:
        """``before`` is gone or another: what it registered holds if it could register so as well now."""
        after = self.peers.get(before.name)
        if after is None:
            self.toll_fraud.forget(before.name)
        if after is None or (after.secret, after.dynamic, after.transport) != (
            before.secret,
            before.dynamic,
            before.transport,
        ):
            self.phones.forget(before.name, now)

    # -- calls --

    def new_leg(self, peer: str, now: int, *, emergency: bool = False) -> SipLeg | Cause:
        """A leg for a call to the peer called ``peer``, to be placed; or why there is none."""
        self._now = now
        settings = self.peers.get(peer)
        if settings is None:
            return Cause.NO_ROUTE_TO_DESTINATION
        if len(self.legs) >= self.settings.max_calls + (EMERGENCY_LEGS if emergency else 0):
            self.counters.overload += 1
            return Cause.SWITCHING_EQUIPMENT_CONGESTION
        if settings.dynamic:
            return self._new_registered_leg(settings, now)
        flows = self.far_ends.flows(settings, now)
        if not flows:
            return Cause.DESTINATION_OUT_OF_ORDER
        self.counters.calls_out += 1
        leg = self.make_leg(settings, flows[0], settings.host_port, settings.name)
        leg.other_flows = flows[1:]
        return leg

    def _new_registered_leg(self, peer: PeerSettings, now: int) -> SipLeg | Cause:
        ways = self.phones.ways(peer, now)
        if not ways:
            return Cause.SUBSCRIBER_ABSENT
        self.counters.calls_out += 1
        first = ways[0]
        leg = self.make_leg(peer, first.flow, first.target.host_port, peer.name)
        leg.ways = ways
        return leg

    def facts_of(self, peer: str) -> frozenset[str]:
        """What a call to the peer called ``peer`` can have of ``secure_signalling`` and ``secure_media``."""
        settings = self.peers.get(peer)
        if settings is None:
            return frozenset()
        ways = self.phones.ways(settings, self._now) if settings.dynamic else ()
        return facts_of(settings, (way.flow for way in ways))

    def make_leg(self, peer: PeerSettings, flow: Flow, remote_host: str, source: str) -> SipLeg:
        """A leg of ``peer``'s; ``source`` is its name, or nothing for strangers."""
        self._serial += 1
        name = f"sip/{source or 'stranger'}-{self._serial}"
        address = self.outbound.advertised.of(flow.address, flow.listener)
        leg = SipLeg(self, name, peer, flow, address, remote_host, source=source)
        self.legs[name] = leg
        if not source:
            self.strangers.called(flow.address, 1)
        return leg

    def take_leg(self, leg: SipLeg) -> None:
        """``leg`` is one of ours, under the name that it has."""
        number = leg.name.rpartition("-")[2]
        self._serial = max(self._serial, int(number) if number.isdecimal() else 0)
        self.legs[leg.name] = leg
        if not leg.source:
            self.strangers.called(leg.flow.address, 1)

    @property
    def idle(self) -> bool:
        """True if no leg, dialog, transaction or timer is left."""
        return not self.legs and not self.dialogs and not len(self.transactions) and self._timers_idle

    @property
    def _timers_idle(self) -> bool:
        # What lines are left is stopped: whoever could wait is gone.
        return (
            len(self.timers)
            == self.waits.running + self.relocation.timers + self.phones.running + self.far_ends.running
        )

    def statistics(self) -> dict[str, int]:
        """Counters for the operator."""
        counted = {name: getattr(self.counters, name) for name in EndpointCounters.__slots__}
        table = self.transactions.counters
        return {
            **counted,
            "legs": len(self.legs),
            "dialogs": len(self.dialogs),
            "bindings": len(self.phones.location),
            "transactions": len(self.transactions),
            "retransmissions": table.retransmissions,
            "stray_responses": table.stray_responses,
        }

    # -- Host --

    def new_tag(self) -> str:
        """A new From or To tag."""
        return f"{self.rng.getrandbits(48):x}"

    def add_dialog(self, key: DialogKey, session: Session) -> None:
        """Let ``session`` have the requests of the dialog ``key``."""
        self.dialog_table.add(key, session)

    def session_of(self, key: DialogKey) -> Session | None:
        """The session of the dialog ``key``."""
        return self.dialogs.get(key)

    def remove_dialog(self, key: DialogKey) -> None:
        """The dialog is over."""
        self.dialog_table.remove(key)

    def changed(self, session: Session) -> None:
        """Something was said in ``session``: what is kept of its leg is too old."""
        if self.on_changed is not None and isinstance(session.owner, SipLeg):
            self.on_changed(session.owner)

    def placed(self, leg: SipLeg) -> None:
        """An INVITE of ``leg``'s went out: what is kept of it is too old."""
        if self.on_changed is not None:
            self.on_changed(leg)

    def queue(self, leg: SipLeg, event: LegEvent) -> None:
        """Tell ``leg``'s listener ``event`` from the drain loop."""
        self._events.append((leg, event))

    def media_replied(self, handle: Callable[[int], None]) -> None:
        """The media engine answered: ``handle`` it from the drain loop."""
        self._replies.append(handle)

    def hindrance(self, leg: SipLeg, setup: Setup, now: int) -> str:
        """Why ``leg`` may not be placed: the brakes of its trunk; "" if it may. Phones are called however often."""
        peer = leg.peer
        if peer.brakes == NO_BRAKES or peer.kind is PeerKind.PHONE or setup.emergency:
            return ""
        return self.toll_fraud.hindrance(peer, setup.called.digits, now, own=1)

    def braked(self, peer: PeerSettings, number: Number, now: int) -> bool:
        """Whether ``peer``, who sends a call of its own on to ``number``, has made too many calls for that."""
        return peer.brakes != NO_BRAKES and bool(self.toll_fraud.hindrance(peer, number.digits, now, own=1))

    def _standing(self, peer: str) -> int:
        return sum(leg.peer.name == peer for leg in self.legs.values()) + self.left_by(peer)

    def leg_over(self, leg: SipLeg) -> None:
        """``leg`` has queued its Released."""
        if self.legs.pop(leg.name, None) is not None and not leg.peer.name:
            self.strangers.called(leg.flow.address, -1)

    def respond(
        self,
        transaction: ServerTransaction,
        status: int,
        now: int,
        fields: Fields = (),
        body: bytes = b"",
        reason: str | None = None,
    ) -> bytes:
        """Answer ``transaction``'s request; returns the bytes sent."""
        if not transaction.tag:
            transaction.tag = self.new_tag()
        own = field_lines(fields) if fields else ""
        if own.count("\n") != len(fields) or own.count("\r") != len(fields):
            raise ValueError(f"a header field of a {status} has a line end in it")
        echoed = transaction.request.echoed(status, transaction.tag if transaction.initial else None)
        phrase = reason_phrase(status) if reason is None else reason
        head = f"SIP/2.0 {status} {phrase}\r\n{echoed}{own}Content-Length: {len(body)}\r\n\r\n"
        data = head.encode("utf-8", "surrogateescape") + body
        transaction.respond(status, data, now)
        return data

    def send(self, flow: Flow, data: bytes) -> None:
        """``data`` is to leave on ``flow``."""
        self._out.append(Send(flow, data))

    def close(self, flow: Flow, text: str) -> None:
        """The connection ``flow`` is to be closed."""
        self._out.append(Close(flow, text))

    def ask(self, question: Resolve) -> None:
        """The DNS is to be asked."""
        self._out.append(question)

    def resolve(self, hosts: Iterable[str]) -> None:
        """The addresses of ``hosts`` are wanted."""
        self._out.extend(map(Resolve, hosts))

    def _tell(self, leg: SipLeg, event: LegEvent) -> None:
        if isinstance(event, Offered):
            self.incoming.offer(leg, event, self._now)
            return
        listener = leg.listener
        if listener is not None:
            listener.on_leg(leg, event, self._now)
        if isinstance(event, Released):
            leg.let_go()
