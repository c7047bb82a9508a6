"""The IAX2 endpoint: what the media engine's IAX2 sockets hear, sessions, calls, peers. Sans-I/O (``gateway.core``).

Composes sessions, gatekeeper, registrar, registrations and watches, and is what these use of one another
(``host.Host``). Sockets and voice are the media engine's; full frames come and go through ``Media``.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Collection

from gateway.capture.ring import Ring, Wire
from gateway.cause import Cause
from gateway.core import SECOND, TimerQueue, timer_durations
from gateway.leg import Leg, LegEvent, Listener, NotOffered, Offered, OnNotOffered, Released, Setup
from gateway.media.api import IaxFrame, IaxMediaEvent, Media
from gateway.voip.iax.binding_store import StoreIaxBindings
from gateway.voip.iax.bursts import Bursts
from gateway.voip.iax.callnumbers import CallNumbers
from gateway.voip.iax.counters import Counters
from gateway.voip.iax.crypt import prepare
from gateway.voip.iax.frame import MAX_CALL_NUMBER, FullFrame
from gateway.voip.iax.gatekeeper import Gatekeeper
from gateway.voip.iax.host import Path, SessionOwner, Timed
from gateway.voip.iax.identities import Identities
from gateway.voip.iax.keepalive import Keepalive
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.peer import Peer
from gateway.voip.iax.peers import IaxSettings
from gateway.voip.iax.qualify import Watch
from gateway.voip.iax.reception import Meter, Reception
from gateway.voip.iax.reconfigured import take_up
from gateway.voip.iax.registrar import Registrar
from gateway.voip.iax.registration import Registration
from gateway.voip.iax.rounds import Rounds
from gateway.voip.iax.session import Session
from gateway.voip.iax.shares import Shares
from gateway.voip.iax.sockets import Heritage, Sockets
from gateway.voip.iax.timers import TIMERS, IaxTimer
from gateway.voip.reach import Reach
from gateway.voip.sip.address import NetworkFacts
from gateway.voip.sip.defence import Defence
from gateway.voip.sip.flow import Resolve
from gateway.voip.sip.names import Answer, Names
from gateway.voip.sip.suspects import Suspects
from gateway.voip.sip.toll_fraud import TollFraud

log = logging.getLogger(__name__)

NAMES_AGAIN = 60 * SECOND
"""How often the addresses of peers' names are looked at: who calls from a new one is to be known."""
SPREAD = 5 * SECOND
"""The first registrations are spread over so much at most."""
_NAMES = IaxTimer.TOKEN
_IAX2 = int(Wire.IAX2)

OnOffer = Callable[[Leg, Offered, int], "Listener | None"]
Output = Resolve | StoreIaxBindings


class IaxEndpoint:
    """All IAX2 of the gateway.

    ``on_offer`` is called from ``poll`` for each incoming call; it returns the leg's listener, or None to refuse it.
    ``wall_clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        settings: IaxSettings,
        media: Media,
        rng: random.Random,
        on_offer: OnOffer,
        *,
        on_not_offered: OnNotOffered | None = None,
        wall_clock: Callable[[], float] | None = None,
    ) -> None:
        self.settings = settings
        self.media = media
        self.rng = rng
        self.durations = timer_durations(TIMERS, settings.timers)
        self.suspects = Suspects()
        self.counters = Counters()
        self.bursts = Bursts(log)
        self.rounds = Rounds()
        self.shares = Shares(self)
        self.names = Names()
        self.numbers = CallNumbers(rng, self.durations[IaxTimer.LINGER])
        self.legs: dict[str, IaxLeg] = {}
        self.closing = False
        self._on_offer = on_offer
        self._on_not_offered = on_not_offered
        self._timers: TimerQueue[tuple[Timed, IaxTimer]] = TimerQueue()
        self._out: deque[Output] = deque()
        self._events: deque[tuple[IaxLeg, LegEvent]] = deque()
        self._by_stream: dict[int, IaxLeg] = {}
        self._serial = 0
        self._now = 0
        self._begun = False
        self._names_running = False
        # Where what goes over the wire is kept for captures, if anywhere.
        self.ring: Ring | None = None
        # How many calls a peer has sent on that go on without it: they are calls of its own still.
        self.left_by: Callable[[str], int] = lambda _peer: 0
        # Who keeps calls for the next start: what is kept of a leg is other now.
        self.on_changed: Callable[[IaxLeg], None] | None = None
        # Calls of before are about to be gone on with: until they are there nobody is heard.
        self._inheriting = False
        self.toll_fraud = TollFraud(self._standing, settings.emergency)
        self.sockets = Sockets(self, settings.listeners)
        self.peers: dict[str, Peer] = {each.name: Peer(each, self) for each in settings.peers}
        self.identities = Identities(self.peers, rng.randbytes(32))
        self.defence = Defence(self.identities.is_fixed, self.identities.is_registered)
        guest = settings.guest
        self.guest = None if guest is None else Peer(guest, self)
        self.registrar = Registrar(self, self._out.append, wall_clock)
        self.gatekeeper = Gatekeeper(self)
        self.reception = Reception(self)
        self.registrations: list[Registration] = []
        for peer in self.peers.values():
            self._equip(peer)
        if settings.encrypts:
            prepare()

    def _equip(self, peer: Peer) -> None:
        settings = peer.settings
        peer.calls = lambda: self.shares.of(peer.name)
        if settings.register and not settings.dynamic:
            peer.registration = Registration(self, peer, self._registration_changed)
            self.registrations.append(peer.registration)
        if settings.register or settings.dynamic:
            peer.keepalive = Keepalive(self, peer)
        if settings.qualify:
            peer.watch = Watch(
                self,
                peer.name,
                peer.path,
                settings.qualify,
                settings.qualifyfreq,
                self._reach_changed,
                peer.try_next,
            )

    # -- the contract of gateway.core --

    def open(self, now: int) -> None:
        """Begin: sockets, names, registrations, watches. What is open already stays as it is."""
        self._now = now
        self.sockets.open()
        if self._begun:
            return
        self._begun = True
        self._locate(now)
        self._begin(self.peers.values(), now)

    def _begin(self, peers: Collection[Peer], now: int) -> None:
        registrations = [peer.registration for peer in peers if peer.registration is not None]
        for registration in registrations:
            # Many accounts with one provider do not come all at once.
            registration.wait_until(now if len(registrations) == 1 else now + self.rng.randrange(SPREAD))
        for peer in peers:
            if peer.watch is not None and not peer.settings.dynamic:
                peer.watch.begin(now)

    def take_up(self, settings: IaxSettings, now: int) -> None:
        """Let ``settings`` hold for calls and registrations from now on."""
        self._now = now
        take_up(self, settings, now)

    def begin_with(self, fresh: Collection[Peer], now: int) -> None:
        """These peers are new."""
        for peer in fresh:
            self._equip(peer)
        if not self._begun:
            return
        self.sockets.open()
        self._locate(now)
        self._begin(fresh, now)

    def _locate(self, now: int) -> None:
        """Look at the addresses of names, and go on doing so."""
        self.identities.locate(now)
        if self.identities.names and not self._names_running:
            self._names_running = True
            self.start(self, _NAMES, now + NAMES_AGAIN)

    def engine_ready(self, fresh: bool, now: int) -> None:
        """The media engine answers (again); ``fresh``: it has nothing of what was opened before."""
        self._now = now
        if fresh:
            self.sockets.lost()
        if self._inheriting:
            # What begins now might take a call number that another call has.
            self.sockets.open()
        else:
            self.open(now)

    def inherit(self, engine: Heritage) -> None:
        """Take over what the media engine has of the program before this one, and hear nobody until ``inherited``."""
        self._inheriting = True
        self.sockets.inherit(engine)

    def inherited(self, now: int) -> None:
        """The calls of before that go on are here."""
        if self._inheriting:
            self._inheriting = False
            self.open(now)

    def media_event(self, event: IaxMediaEvent, now: int) -> None:
        """The media engine heard something. Nothing that it may be raises."""
        self._now = now
        if isinstance(event, IaxFrame):
            if self._inheriting:
                # It comes again.
                return
            path = Path(event.socket, event.address, event.port)
            if self.ring is not None:
                self._note(self.ring, True, path, event.data)
            self.reception.receive(event.data, path, now)
            return
        leg = self._by_stream.get(event.stream)
        if leg is None or leg.stream != event.stream:
            leg = next((each for each in self.legs.values() if each.stream == event.stream), None)
            if leg is None:
                return
            self._by_stream[event.stream] = leg
        leg.on_media(event, now)

    def handle_timer(self, now: int) -> None:
        """Let everything that is due happen."""
        self._now = now
        for owner, timer in self._timers.expired(now):
            owner.expire(timer, now)

    def expire(self, timer: IaxTimer, now: int) -> None:
        """The addresses of names may be others by now."""
        if timer is _NAMES:
            self.identities.locate(now)
            self.start(self, _NAMES, now + NAMES_AGAIN)

    def enter(self, now: int) -> None:
        """What is drained from now on happens at ``now``: replies of the media engine bring no time along."""
        if now > self._now:
            self._now = now

    @property
    def now(self) -> int:
        """The last moment that we know of."""
        return self._now

    def next_timer(self) -> int | None:
        """The earliest deadline, or None; at once while there is something to drain."""
        if self._events or self._out:
            return self._now
        return self._timers.next_timer()

    def poll(self) -> Output | None:
        """The next thing to do; tells leg events to their listeners on the way. None when there is no more."""
        out, events = self._out, self._events
        while events:
            leg, event = events.popleft()
            self._tell(leg, event)
        question = self.names.poll()
        if question is not None:
            return question
        return out.popleft() if out else None

    def _tell(self, leg: IaxLeg, event: LegEvent) -> None:
        if isinstance(event, Offered):
            leg.listener = self._on_offer(leg, event, self._now)
            if leg.listener is None:
                leg.release(Cause.SWITCHING_EQUIPMENT_CONGESTION, self._now)
            return
        if isinstance(event, Released):
            self._released(leg, event)
        listener = leg.listener
        if listener is not None:
            listener.on_leg(leg, event, self._now)
        if isinstance(event, Released):
            leg.listener = None

    def _released(self, leg: IaxLeg, event: Released) -> None:
        """Who was called and said not a word is called after all others until it says one."""
        session = leg.session
        if not event.ours and not leg.incoming and session is not None and session.heard is None:
            self.suspects.add(leg.peer.name, self._now)

    # -- names, networks, restarts, the end --

    def looked_up(self, question: Resolve, answer: Answer, now: int) -> None:
        """The answer to a Resolve, with its time to live; whoever else asked, it is only taken if we did too."""
        self._now = now
        asked = [peer for peer in self.identities.names if peer.asks(question)]
        if not asked:
            return
        before = [peer.path(now) for peer in asked]
        self.names.answered(question, answer, now)
        self.identities.locate(now)
        for peer, path in zip(asked, before, strict=True):
            if peer.path(now) != path:
                self._found(peer, now)

    def _found(self, peer: Peer, now: int) -> None:
        """``peer`` can be had at another place than before."""
        if peer.registration is not None:
            peer.registration.soon(now)
        if peer.watch is not None:
            peer.watch.ask_soon(now)

    def network(self, _facts: NetworkFacts, now: int) -> None:
        """The WAN is another: registrars and calls are told where we are, and whoever is watched is looked at."""
        self._now = now
        if not self._begun or self.closing:
            return
        self.names.forget(now)
        self.identities.locate(now)
        self.sockets.open()
        for peer in self.peers.values():
            if not peer.settings.dynamic or peer.binding is not None:
                self._found(peer, now)
        for leg in tuple(self.legs.values()):
            leg.speak_up(now)

    def leave(self, now: int) -> None:
        """The program ends: registrations are taken back and stored, nothing new begins."""
        self._now = now
        self.closing = True
        for registration in self.registrations:
            registration.leave(now)
        for peer in self.peers.values():
            if peer.watch is not None:
                peer.watch.cease(now)
            if peer.keepalive is not None:
                peer.keepalive.off()
        self.registrar.store_now(now)
        if self._names_running:
            self._names_running = False
            self.stop(self, _NAMES)

    def restore(self, data: bytes, now: int) -> int:
        """Take the registrations stored before a restart; how many stand. Raises ValueError if it makes no sense."""
        self._now = now
        return self.registrar.restore(data, now)

    # -- calls --

    def new_leg(self, peer_name: str, now: int, *, emergency: bool = False) -> Leg | Cause:
        """A leg for a call to the peer of that name, to be placed; or why there is none."""
        self._now = now
        peer = self.peers.get(peer_name)
        if peer is None:
            return Cause.NO_ROUTE_TO_DESTINATION
        if self.shares.full(emergency=emergency) or (not emergency and self.shares.spent(peer, now)):
            return Cause.SWITCHING_EQUIPMENT_CONGESTION
        if peer.path(now) is None:
            return Cause.SUBSCRIBER_ABSENT if peer.settings.dynamic else Cause.DESTINATION_OUT_OF_ORDER
        self.counters.calls_out += 1
        return self.make_leg(peer, now, incoming=False)

    def make_leg(self, peer: Peer, now: int, *, incoming: bool) -> IaxLeg:
        """A leg of ``peer``'s."""
        self._serial += 1
        name = f"iax2/{peer.name or 'stranger'}-{self._serial}"
        leg = IaxLeg(self, peer, name, now, incoming)
        self.enter_leg(leg)
        return leg

    def enter_leg(self, leg: IaxLeg) -> None:
        """``leg`` is one of ours."""
        self.legs[leg.name] = leg
        self.shares.add(leg.peer.name)
        if leg.stream is not None:
            self._by_stream[leg.stream] = leg

    def _standing(self, name: str) -> int:
        return self.shares.of(name) + self.left_by(name)

    def facts_of(self, peer_name: str) -> frozenset[str]:
        """What a call to the peer of that name can have of ``secure_signalling`` and ``secure_media``."""
        peer = self.peers.get(peer_name)
        return frozenset() if peer is None else peer.facts

    def not_offered(self, refused: NotOffered, now: int) -> None:
        """A call of a peer's that was refused before anybody could be asked."""
        if self._on_not_offered is not None:
            self._on_not_offered(refused, now)

    # -- Host --

    def transmit(self, path: Path, data: bytes) -> None:
        """Send one datagram; to who has not shown where it is no more and nothing longer than came from there."""
        meters = self.reception.meters
        if meters:
            meter = meters.get((data[0] << 8 | data[1]) & MAX_CALL_NUMBER)
            if meter is not None and not meter.lets_pass(data):
                self.counters.held += 1
                return
        if self.ring is not None:
            self._note(self.ring, False, path, data)
        self.media.send_iax(path.socket, path.address, path.port, data)

    def _note(self, ring: Ring, inward: bool, path: Path, data: bytes) -> None:
        at = 2 if inward else 0
        session = self.reception.sessions.get(int.from_bytes(data[at : at + 2], "big") & MAX_CALL_NUMBER)
        key = b"" if session is None else session.receive_key if inward else session.send_key
        ring.note(self._now, _IAX2, inward, (path, key), data)

    def start(self, owner: Timed, timer: IaxTimer, at: int) -> None:
        """Let ``owner.expire(timer)`` be called at ``at``."""
        self._timers.start((owner, timer), at)

    def stop(self, owner: Timed, timer: IaxTimer) -> None:
        """Do not."""
        self._timers.stop((owner, timer))

    def open_session(self, path: Path, owner: SessionOwner, now: int) -> Session | None:
        """A session that we begin; None if there is no call number left."""
        setup: Setup | None = getattr(owner, "setup", None)
        emergency = setup is not None and setup.emergency
        number = self.numbers.take(path.address, now, emergency=emergency)
        if number is None:
            self.out_of_numbers(path, now)
            return None
        session = Session(self, path, number, owner, now)
        self.reception.sessions[number] = session
        return session

    def adopt(
        self, path: Path, number: int, owner: SessionOwner, frame: FullFrame, now: int, *, metered: int | None
    ) -> Session:
        """A session that a far end begins with ``frame``, which has still to be given to it.

        ``metered``: where the far end really is was not shown; its datagram had so many octets.
        """
        session = Session(self, path, number, owner, now, frame.source)
        self.reception.adopt(session, frame.data, None if metered is None else Meter(metered))
        return session

    def has_asked(self, challenge: bytes) -> bool:
        """Whether ``challenge`` is our own, that a far end is to answer."""
        return self.gatekeeper.has_asked(challenge)

    def shown(self, session: Session) -> bool:
        """Whether the far end of the session has shown that it is where it says."""
        return session.source not in self.reception.meters

    def out_of_numbers(self, path: Path, now: int) -> None:
        """A session with the far end of ``path`` cannot begin."""
        self.counters.overload += 1
        text = "no call number is left for a session with %s: %d are in use"
        self.bursts.tell("numbers", now, logging.ERROR, text, path, len(self.numbers))

    def changed(self, session: Session) -> None:
        """The session is other than it was."""
        if self.on_changed is not None:
            owner = session.owner
            if isinstance(owner, IaxLeg):
                self.on_changed(owner)

    def forget(self, session: Session, now: int) -> None:
        """The session is closed: its call number rests, then it is free."""
        self.reception.forget(session)
        self.numbers.release(session.source, now)

    def moved(self, session: Session, path: Path) -> None:
        """The far end of the session is elsewhere now."""
        self.reception.moved(session)
        self.numbers.moved(session.source, path.address)

    def queue(self, leg: IaxLeg, event: LegEvent) -> None:
        """Tell the listener of ``leg``, out of the drain loop."""
        self._events.append((leg, event))

    def offer(self, leg: IaxLeg, offered: Offered, now: int) -> None:
        """A call that came in wants a Call."""
        self._now = now
        self._events.append((leg, offered))

    def forget_leg(self, leg: IaxLeg) -> None:
        """The leg is over and owes nothing any more."""
        if self.legs.pop(leg.name, None) is None:
            return
        self.shares.remove(leg.peer.name)
        for stream in [stream for stream, each in self._by_stream.items() if each is leg]:
            del self._by_stream[stream]

    # -- what watches, registrations and the registrar ask --

    def socket_to(self, address: str, listener: int | None = None) -> int | None:
        """The socket that reaches ``address``, ``listener`` if it can be had; None while there is none."""
        return self.sockets.to(address, listener)

    def listener_of(self, socket: int) -> int:
        """Which of the listeners ``socket`` is."""
        return self.sockets.listener_of(socket)

    def listen(self, path: Path, hears: Callable[[bytes, Path, int], None], now: int) -> int | None:
        """A call number that needs no session; what comes for it is told to ``hears``."""
        number = self.numbers.take(path.address, now)
        if number is None:
            self.out_of_numbers(path, now)
            return None
        self.reception.ears[number] = hears
        return number

    def unlisten(self, number: int, now: int) -> None:
        """The call number is not needed any more."""
        if self.reception.ears.pop(number, None) is not None:
            self.numbers.release(number, now)

    def heard(self, peer: Peer, now: int) -> None:
        """``peer`` said something, and it was it for certain."""
        if peer.watch is not None:
            peer.watch.heard(now)
        self.suspects.heard(peer.name)

    def placed(self, peer: Peer, now: int) -> None:
        """A peer that registers is elsewhere now, or nowhere."""
        self._keep(peer, peer.binding is not None, now)
        watch = peer.watch
        if watch is None:
            return
        if peer.binding is None:
            watch.cease(now)
        else:
            watch.ask_soon(now)

    def _reach_changed(self, watch: Watch, now: int) -> None:
        if watch.state is Reach.UNREACHABLE:
            self.suspects.unreachable(watch.name, now)
        else:
            self.suspects.reachable(watch.name)

    @staticmethod
    def _keep(peer: Peer, placed: bool, now: int) -> None:
        if peer.keepalive is not None:
            if placed:
                peer.keepalive.on(now)
            else:
                peer.keepalive.off()

    def _registration_changed(self, registration: Registration, now: int) -> None:
        self._keep(registration.peer, registration.in_force, now)
        watch = registration.peer.watch
        if registration.in_force and watch is not None and watch.state is Reach.UNREACHABLE:
            watch.ask_soon(now)

    # -- for operators and tests --

    @property
    def quiet(self) -> bool:
        """True if no leg is left and no registration has still to be taken back."""
        return not self.legs and not (self.closing and any(not each.over for each in self.registrations))

    @property
    def idle(self) -> bool:
        """True if no leg and no session is left, nor anything to be told."""
        sessions = [each for each in self.reception.sessions.values() if not isinstance(each.owner, Registration)]
        return not (self.legs or sessions or self._events or len(self.gatekeeper))

    def statistics(self) -> dict[str, int]:
        """Counters for the operator."""
        counted = {name: getattr(self.counters, name) for name in Counters.__slots__}
        return {
            **counted,
            "legs": len(self.legs),
            "sessions": len(self.reception.sessions),
            "call_numbers": len(self.numbers),
            "bindings": len(self.registrar.bindings),
            "unproven": len(self.gatekeeper),
            "shut_out": len(self.defence.shut_out(self._now)),
        }

    def as_json(self, now: int) -> dict[str, object]:
        """What an operator is shown."""
        return {
            "listeners": self.sockets.as_json(),
            "peers": {name: peer.as_json(now) for name, peer in self.peers.items()},
            "shut_out": self.defence.shut_out(now),
            "statistics": self.statistics(),
        }
