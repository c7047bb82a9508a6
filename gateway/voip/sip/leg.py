"""A SIP call as a leg (``gateway.leg``): commands in, events out, and the RTP stream that is its voice.

The INVITE is in ``uac.py`` or ``uas.py``, what follows it in ``session.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.cause import Cause, Location
from gateway.identity import Party
from gateway.leg import (
    SECURE_MEDIA,
    SECURE_SIGNALLING,
    Conveyed,
    Forward,
    Held,
    Identified,
    Keypad,
    Leaving,
    Leg,
    LegEvent,
    Listener,
    MediaChanged,
    Released,
    Resumed,
    Setup,
    TransferStep,
)
from gateway.media.api import Codec, Direction, Failure, Latch, Opened, RtpSettings, Statistics
from gateway.voip.sip.codecs import TONELESS, preferring
from gateway.voip.sip.direct import DirectPath, answer, begin
from gateway.voip.sip.encryption import Encryption, MediaEncryption
from gateway.voip.sip.flow import TLS, Flow
from gateway.voip.sip.fork import Fork
from gateway.voip.sip.host import Host
from gateway.voip.sip.identity import asserted_fields
from gateway.voip.sip.negotiation import UNKNOWN_PORT, Negotiation
from gateway.voip.sip.offer_answer import Elsewhere, LocalMedia
from gateway.voip.sip.parties import rules_for
from gateway.voip.sip.peers import DtmfMode, PeerSettings
from gateway.voip.sip.refer import Refer
from gateway.voip.sip.replaces import transferred
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.uac import OutgoingInvite
from gateway.voip.sip.waits import Wait

if TYPE_CHECKING:
    from gateway.voip.sip.session import Session
    from gateway.voip.sip.uas import IncomingInvite
    from gateway.voip.sip.way import Way

log = logging.getLogger(__name__)


class SipLeg:
    """One SIP call. ``settings`` is what the media engine was told last."""

    technology = "sip"

    # Without them, more than 30 attributes would cost every object a dict of its own.
    __slots__ = (
        "__weakref__",
        "_answered",
        "_caller",
        "_direct",
        "_host",
        "_negotiation",
        "_opening",
        "_other_codec",
        "_placed",
        "_quiet",
        "_released",
        "_reported",
        "_secure_bridge",
        "_session",
        "_statistics",
        "_status",
        "_wait",
        "call_id",
        "flow",
        "incoming",
        "listener",
        "local_address",
        "name",
        "other_flows",
        "outgoing",
        "path",
        "peer",
        "remote_host",
        "rtptimeout",
        "settings",
        "source",
        "stream",
        "ways",
    )

    def __init__(
        self,
        host: Host,
        name: str,
        peer: PeerSettings,
        flow: Flow,
        local_address: str,
        remote_host: str,
        *,
        source: str,
    ) -> None:
        self.listener: Listener | None = None
        self.name = name
        self.source = source
        self.stream: int | None = None
        self.peer = peer
        self.rtptimeout = peer.rtptimeout
        self.flow = flow
        self.local_address = local_address
        self.remote_host = remote_host
        self.incoming: IncomingInvite | None = None
        self.outgoing: OutgoingInvite | Fork | None = None
        # The other servers of the peer, best first (RFC 3263 4.3).
        self.other_flows: Sequence[Flow] = ()
        # Of who is registered: where its INVITEs go.
        self.ways: tuple[Way, ...] = ()
        self.settings: RtpSettings | None = None
        self.call_id = ""
        self._host = host
        self._session: Session | None = None
        self._negotiation: Negotiation | None = None
        self._wait: Wait | None = None
        self._opening = False
        self._placed = False
        self._answered = False
        # Voice around the gateway: with whom, whether now, and whether ever.
        self.path: DirectPath | None = None
        self._caller: SipLeg | None = None
        self._quiet = False
        self._direct = False
        self._released: Released | None = None
        self._reported = False
        self._status = 0
        self._statistics: Statistics | None = None
        # The call's route demands SRTP here, whatever the peer's settings say; help is called for without, too.
        self._secure_bridge = False
        # What the other side of the call has.
        self._other_codec: Codec | None = None

    def local_media(self, flow: Flow | None = None) -> LocalMedia:
        """Our end of the stream before the engine has named its port; ``flow`` if it is not the leg's."""
        peer, host = self.peer, self._host
        flow = self.flow if flow is None else flow
        mode = MediaEncryption.REQUIRED if self._secure_bridge else peer.media_encryption
        return LocalMedia(
            host.outbound.advertised.media_of(flow.address, flow.listener),
            UNKNOWN_PORT,
            preferring(peer.codecs, self._other_codec),
            host.rng.getrandbits(31),
            telephone_event=peer.dtmfmode in (DtmfMode.RFC4733, DtmfMode.AUTO),
            packet_milliseconds=peer.packet_milliseconds,
            comfort_noise=peer.comfort_noise,
            encryption=Encryption.begin(mode, confidential=flow.transport == TLS, rng=host.rng),
        )

    def negotiation(self, flow: Flow | None = None) -> Negotiation:
        """Offer and answer of a new session of this leg, with keys of its own."""
        return Negotiation(self.local_media(flow), self._host.rng)

    @property
    def secure_media(self) -> bool:
        """True if its voice is SRTP, by keys that came with TLS; before there are terms: if it will be, or fail."""
        negotiation = self._session.negotiation if self._session is not None else self._negotiation
        if negotiation is None:
            return False
        encryption, settings = negotiation.local.encryption, negotiation.settings
        if settings is None:
            return encryption.confidential and encryption.mode is MediaEncryption.REQUIRED
        return encryption.confidential and settings.srtp is not None

    @property
    def session(self) -> Session | None:
        """The session of an incoming call, or the one that won of an outgoing call."""
        return self._session

    @property
    def over(self) -> bool:
        """True once the leg's end is settled, reported or not."""
        return self._released is not None

    # -- commands (gateway.leg.Leg) --

    def place(self, setup: Setup, now: int) -> None:
        """Start an outgoing call: open the RTP stream, then INVITE with its port."""
        if self.incoming is not None or self.outgoing is not None or self._released is not None:
            return
        if not setup.speech:
            # An unrestricted bearer would need CLEARMODE (RFC 4040), which the engine does not have.
            self.finish(Cause.BEARER_CAPABILITY_NOT_IMPLEMENTED, Location.PRIVATE_LOCAL, now, text="only speech")
            return
        if setup.hops == 0:
            # RFC 7332 5: what comes back to us again and again must end at some time.
            self.finish(Cause.EXCHANGE_ROUTING_ERROR, Location.PRIVATE_LOCAL, now, text="Max-Forwards is 0")
            return
        hindrance = self._host.hindrance(self, setup, now)
        if hindrance:
            self.finish(Cause.CALL_REJECTED, Location.PRIVATE_LOCAL, now, text=hindrance)
            return
        self._placed = True
        self._secure_bridge = SECURE_MEDIA in setup.secure_bridge and not setup.emergency
        self._other_codec = setup.codec
        ways = self.ways
        if len(ways) > 1:
            self.outgoing = fork = Fork(self, self._host, self.peer, ways, setup)
            negotiation = fork.negotiation
        else:
            negotiation = self.negotiation()
            if self._caller is not None:
                begin(self._caller, self, negotiation)
                self._caller = None
            way = ways[0] if ways else None
            self.outgoing = OutgoingInvite(self, self._host, self.peer, self.flow, setup, negotiation, way=way)
        self.call_id = self.outgoing.call_id
        if setup.emergency:
            negotiation.hear_everything()
        self.open_media(negotiation, now)

    def call_next_server(self, setup: Setup, negotiation: Negotiation, body: bytes, now: int) -> None:
        """The server that was called does not do its duty: call the next one (RFC 3263 4.3)."""
        self.flow, *self.other_flows = self.other_flows
        self.outgoing = outgoing = OutgoingInvite(self, self._host, self.peer, self.flow, setup, negotiation)
        self.call_id = outgoing.call_id
        outgoing.start_with(body, now)

    def proceed(self, now: int) -> None:
        """Nothing to send: 100 went out with the INVITE's arrival."""

    def progress(self, inband: bool, now: int, cause: Cause | None = None, conveyed: Conveyed | None = None) -> None:
        """183, with SDP if ``inband``."""
        if self.incoming is not None and self._released is None:
            self.incoming.progress(inband, cause, now, conveyed)

    def alert(self, inband: bool, now: int, conveyed: Conveyed | None = None) -> None:
        """180, with SDP if ``inband``."""
        if self.incoming is not None and self._released is None:
            self.incoming.alert(inband, now, conveyed)

    def answer(self, connected: Party | None, now: int, conveyed: Conveyed | None = None) -> None:
        """200 with SDP."""
        if self.incoming is not None and self._released is None:
            self._answered = True
            if self._by_info:
                self._tell_engine()
            self.incoming.answer(connected, now, conveyed)

    def digits(self, digits: str, complete: bool, now: int) -> None:
        """More digits for an INVITE that gets 484."""
        if self.outgoing is not None and self._released is None and not self._answered:
            self.outgoing.digits(digits, complete, now)

    def keypad(self, digits: str, milliseconds: int, now: int) -> bool:
        """INFO where the peer's ``dtmfmode`` makes it so; False where voice carries digits."""
        if not self._by_info:
            return False
        if self._session is not None and self._answered:
            self._session.keypad(digits, milliseconds, now)
        return True

    @property
    def _by_info(self) -> bool:
        """True if digits go out by INFO: if so set, or automatically where no voice would carry them."""
        mode, session = self.peer.dtmfmode, self._session
        if mode is DtmfMode.RFC4733 or (session is not None and session.info_refused):
            return False
        if mode is not DtmfMode.AUTO or session is None or self.settings is None:
            return mode is DtmfMode.INFO
        settings = self.settings
        toneless = settings.dtmf_payload_type is None and settings.codec in TONELESS
        return toneless and "INFO" in session.allow

    def hold(self, now: int) -> None:
        """Put the far end on hold: re-INVITE with sendonly."""
        if self._session is not None and self._answered:
            self._session.changes.direct(Direction.SENDONLY, now)

    def resume(self, now: int) -> None:
        """Take the far end back: re-INVITE with sendrecv."""
        if self._session is not None and self._answered:
            self._session.changes.direct(Direction.SENDRECV, now)

    def identify(self, connected: Party, now: int) -> None:
        """Name the connected party: in the 200 if that is still to come, else by UPDATE."""
        if self._released is not None:
            return
        if self.incoming is not None and not self.incoming.answered:
            self.incoming.identify(connected)
        elif self._session is not None and self._answered:
            fields = asserted_fields(connected, rules_for(self.peer, self.local_address))
            if fields:
                self._session.changes.identify(list(fields), now)

    def notify(self, description: int, now: int) -> None:
        """Nothing: SIP has no word for what NOTIFY tells."""

    def transfer(self, step: TransferStep, now: int, cause: Cause | None = None) -> None:
        """NOTIFY of the implicit subscription that REFER made."""
        if self._session is not None and self._session.referral is not None:
            self._session.referral.went(step, cause, now)

    def join(self, other: Leg | None, now: int) -> None:
        """Let the voice of two SIP far ends go directly where both may; None: have it here again."""
        path = self.path
        if other is None or not self.peer.direct.allowed:
            if path is not None:
                path.want(False, now)
            elif self.peer.direct.allowed:
                self.send_elsewhere(None, now)
            elif isinstance(other, SipLeg):
                self.come_back(now)
                other.come_back(now)
            return
        if not isinstance(other, SipLeg) or not other.peer.direct.allowed:
            self.come_back(now)
            if isinstance(other, SipLeg):
                other.come_back(now)
            return
        if path is None or not path.joins(self, other):
            path = DirectPath(self, other)
            # Of a call that the program before this one left so.
            path.direct = self._quiet and other._quiet
        self.path = other.path = path
        if self._host.settings.directrtpsetup and self.incoming is not None and not self._answered:
            answer(self, other)
        path.want(True, now)

    def begin_with(self, caller: Leg) -> None:
        """This leg is about to be placed for ``caller``, whose voice may never have to come here."""
        if isinstance(caller, SipLeg) and self.peer.direct.allowed and caller.peer.direct.allowed:
            self._caller = caller

    def confirmed(self, now: int) -> None:
        """Our 2xx is on its way: the terms hold."""
        if self.path is not None:
            self.path.reconcile(now)

    def send_elsewhere(self, elsewhere: Elsewhere | None, now: int) -> None:
        """Have the far end told where to send its voice; None is here."""
        if self._session is not None and self._released is None:
            self._session.changes.redirect(elsewhere, now)

    def come_back(self, now: int) -> None:
        """Voice that goes directly, as it did when the gateway was restarted, may not do so any more."""
        if self._quiet:
            self.keep_quiet(False)
            self.send_elsewhere(None, now)

    def keep_quiet(self, quiet: bool) -> None:
        """While voice goes directly our stream neither sends nor waits for anything."""
        self._quiet = quiet
        self._direct = self._direct or quiet
        self._tell_engine()

    def release(self, cause: Cause, now: int, text: str = "") -> None:
        """End the call: refusal, CANCEL or BYE."""
        if self._released is not None:
            return
        if self.incoming is not None and not self.incoming.answered:
            self.incoming.refuse(cause, text, now)
        elif self._session is not None and (self.incoming is not None or self._answered):
            session, referral = self._session, self._session.referral
            # Whoever asked for a transfer is told how it went before it is hung up.
            if referral is None or not referral.told_first(lambda at: session.release(cause, text, at)):
                session.release(cause, text, now)
        elif self.outgoing is not None:
            self.outgoing.cancel(cause, text, now)
        self.finish(cause, Location.PRIVATE_LOCAL, now, ours=True, text=text)

    def let_go(self) -> None:
        """Released has been heard: let go of all that refers to this leg, so that no collector has to find it."""
        self.listener = self.incoming = self.outgoing = self.path = None

    def record(self) -> dict[str, object]:
        """What the call record says of this leg."""
        settings = self.settings
        result: dict[str, object] = {
            "technology": self.technology,
            "peer": self.peer.name,
            "direction": "out" if self._placed else "in",
            "call_id": self.call_id,
            "far_address": str(self.flow),
            "facts": self._facts(),
            "codec": settings.codec.name.lower() if settings is not None else None,
            "media_address": f"{settings.address}:{settings.port}" if settings is not None else None,
            "srtp": settings.srtp.send.suite.name if settings is not None and settings.srtp is not None else None,
        }
        if self._direct:
            result["direct_media"] = True
        if self._status:
            result["sip_status"] = self._status
        if self._statistics is not None:
            result["media"] = self._statistics.by_name()
        return result

    def _facts(self) -> list[str]:
        """What this hop has: TLS with somebody whom nobody verifies is no secure signalling."""
        if not (self.flow.secure and self.peer.tls_verify):
            return []
        return [SECURE_MEDIA, SECURE_SIGNALLING] if self.secure_media else [SECURE_SIGNALLING]

    def relocate(self, now: int) -> None:
        """Our address, or the one that we have outside, changed: the far end is told where it now is another."""
        if self._released is not None:
            return
        outbound = self._host.outbound
        session = self._session
        # A binding or a connection may have moved since the call began.
        flow = self.flow if session is None else session.flow
        if not outbound.advertised.reachable(flow.address, flow.listener):
            return
        self.local_address = outbound.advertised.of(flow.address, flow.listener)
        address = outbound.advertised.media_of(flow.address, flow.listener)
        if session is not None:
            session.relocate(outbound.recontact(flow, session.contact), address, now)
        elif self.outgoing is not None:
            self.outgoing.relocate(address, now)

    # -- media --

    def open_media(self, negotiation: Negotiation, now: int) -> None:
        """Ask the engine for the RTP stream; what needs its port waits."""
        self._negotiation = negotiation
        self._opening = True
        host = self._host
        self._wait = host.waits.start(self, SipTimer.MEDIA, now)
        address = host.outbound.advertised.bind_of(self.flow.address, self.flow.listener)
        self.stream = host.media.open_rtp(address, self.name, self._on_opened)

    def _on_opened(self, reply: Opened | Failure) -> None:
        self._host.media_replied(lambda now: self._media_opened(reply, now))

    def _on_closed(self, reply: Statistics | Failure) -> None:
        self._host.media_replied(lambda now: self._media_closed(reply, now))

    def _media_opened(self, reply: Opened | Failure, now: int) -> None:
        if self._released is not None or not self._opening:
            return
        self._opening = False
        self._stop_waiting()
        if isinstance(reply, Failure):
            log.error("%s: no RTP stream: %s", self.name, reply.text)
            self.stream = None
            self._no_media(reply.text, now)
            return
        if self._negotiation is not None:
            self._negotiation.place(reply.port)
        self.emit(MediaChanged(self.stream))
        if self.outgoing is not None:
            self.outgoing.start(now)
        elif self.incoming is not None:
            self.incoming.media_ready(now)

    def _media_closed(self, reply: Statistics | Failure, now: int) -> None:
        if isinstance(reply, Statistics):
            self._statistics = reply
        self._report(now)

    def _stop_waiting(self) -> None:
        wait = self._wait
        if wait is not None:
            self._wait = wait.owner = None

    def _no_media(self, text: str, now: int, timer: str = "") -> None:
        if self.incoming is not None:
            self.incoming.refuse(Cause.RESOURCE_UNAVAILABLE, text, now)
        self.finish(Cause.RESOURCE_UNAVAILABLE, Location.PRIVATE_LOCAL, now, text=text, timer=timer)

    def expire(self, timer: SipTimer, now: int) -> None:
        """The engine did not answer."""
        if timer is SipTimer.STATISTICS:
            self._report(now)
        elif self._released is None:
            self._no_media("the media engine does not answer", now, "timer of the media engine's reply")

    # -- what the INVITE and the session report --

    def emit(self, event: LegEvent) -> None:
        """Queue an event for the listener."""
        if self._released is None:
            self._host.queue(self, event)

    def attach(self, incoming: IncomingInvite, session: Session) -> None:
        """This is an incoming leg."""
        self.incoming = incoming
        self._session = session
        self.call_id = session.dialog.call_id

    def answered(self, session: Session, now: int) -> None:  # noqa: ARG002
        """The outgoing call was answered: ``session`` won."""
        self._session = session
        self._answered = True
        if self._by_info:
            self._tell_engine()

    def finish(
        self,
        cause: Cause,
        location: Location,
        now: int,
        *,
        ours: bool = False,
        text: str = "",
        status: int = 0,
        timer: str = "",
        forward: Forward | None = None,
    ) -> None:
        """The leg is over: close the stream and, when its last counters are here, report Released. Once only."""
        if self._released is not None:
            return
        self._released = Released(cause, location, ours, text, timer, forward)
        self._status = status
        host = self._host
        self._stop_waiting()
        if self.stream is None:
            self._report(now)
            return
        self._wait = host.waits.start(self, SipTimer.STATISTICS, now)
        host.media.close(self.stream, self._on_closed)
        if self._answered and not ours and (self.incoming is None or self.incoming.answered):
            host.queue(self, Leaving(self._released))

    def _report(self, now: int) -> None:  # noqa: ARG002
        if self._reported or self._released is None:
            return
        self._reported = True
        self._stop_waiting()
        self._host.queue(self, self._released)
        self._host.leg_over(self)

    def on_session_media(self, session: Session, now: int) -> None:
        """Offer and answer settled: tell the engine. Of several early dialogs the latest is heard."""
        settings = session.negotiation.settings
        if self._released is not None or self.stream is None or (self._session not in (None, session)):
            return
        if self._session is None and self.outgoing is not None and not self.outgoing.hears(session):
            return
        if settings is None and self.settings is not None:
            # The far end switched the stream off (port 0).
            settings = replace(self.settings, direction=Direction.INACTIVE)
        if settings is not None and (session.latches or session.flow.address != settings.address):
            # Whose voice comes from elsewhere than its SDP says is known by where its signalling comes from.
            latch = Latch.ONCE if session.latches else Latch.NO
            settings = replace(settings, latch=latch, signalling_address=session.flow.address)
        if settings is not None and settings != self.settings:
            self.settings = settings
            self._tell_engine()
        if self.path is not None:
            self.path.reconcile(now)

    def _tell_engine(self) -> None:
        settings = self.settings
        if settings is None or self.stream is None or self._released is not None:
            return
        if self._quiet:
            settings = replace(settings, direction=Direction.INACTIVE)
        if self._answered and self._by_info:
            settings = replace(settings, digits_told=True)
        self._host.media.set_rtp(self.stream, settings)

    def on_session_stays(self, now: int) -> None:
        """The far end keeps to the gateway's address."""
        if self.path is not None:
            self.path.refused(now)

    def on_session_hold(self, session: Session, held: bool, now: int) -> None:  # noqa: ARG002
        """The far end put us on hold, or took us back."""
        if session is self._session and self._answered:
            self.emit(Held() if held else Resumed())

    def on_session_digits(self, session: Session, digits: str, milliseconds: int, now: int) -> None:  # noqa: ARG002
        """Digits by INFO; before the answer they may be meant for who speaks then."""
        if session is self._session:
            self.emit(Keypad(digits, milliseconds))

    def on_session_unsent(self, session: Session, digits: str, milliseconds: int, now: int) -> None:  # noqa: ARG002
        """Digits that the far end takes in no INFO: voice is what is left."""
        if session is self._session and self.stream is not None and self._released is None:
            self._tell_engine()
            self._host.media.send_digits(self.stream, digits, milliseconds)

    def on_session_identity(self, session: Session, party: Party, now: int) -> None:  # noqa: ARG002
        """The far end is somebody else now."""
        if session is self._session:
            self.emit(Identified(party))

    def on_session_refer(self, session: Session, refer: Refer, now: int) -> None:
        """The far end asks for a transfer."""
        if session is not self._session or not self._answered or session.referral is None:
            return
        wanted = transferred(refer, self, self._host, now)
        if isinstance(wanted, Cause):
            session.referral.went(TransferStep.FAILED, wanted, now)
        else:
            self.emit(wanted)

    def on_session_over(self, session: Session, cause: Cause, text: str, now: int, timer: str = "") -> None:
        """The session ended: BYE, time-out, or an early dialog of an incoming call."""
        if session is not self._session:
            if self._session is None and self.outgoing is not None:
                self.outgoing.lost(session, text or "it hung up after an answer that never came here", now, timer)
            return
        if self.incoming is not None and not self.incoming.answered:
            self.incoming.ended_by_bye()
        self.finish(cause, Location.BEYOND_INTERWORKING if text else Location.USER, now, text=text, timer=timer)
