"""A SIP call as a leg (``gateway.leg``): commands in, events out, and the RTP stream that is its voice.

The INVITE is in ``uac.py`` or ``uas.py``, what follows it in ``session.py``. SRTP and NAT modes of media join in
``_open_media`` and ``on_session_media``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.cause import Cause, Location
from gateway.identity import Party
from gateway.leg import (
    Conveyed,
    Held,
    Identified,
    Keypad,
    LegEvent,
    Listener,
    MediaChanged,
    Released,
    Resumed,
    Setup,
)
from gateway.media.api import Direction, Failure, Opened, RtpSettings, Statistics
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.host import Host
from gateway.voip.sip.identity import asserted_fields
from gateway.voip.sip.negotiation import UNKNOWN_PORT, Negotiation
from gateway.voip.sip.offer_answer import LocalMedia
from gateway.voip.sip.parties import rules_for
from gateway.voip.sip.peers import DtmfMode, PeerSettings
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.uac import OutgoingInvite
from gateway.voip.sip.waits import Wait

if TYPE_CHECKING:
    from gateway.voip.sip.session import Session
    from gateway.voip.sip.uas import IncomingInvite

log = logging.getLogger(__name__)


class SipLeg:
    """One SIP call. ``settings`` is what the media engine was told last."""

    technology = "sip"

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
        self.flow = flow
        self.local_address = local_address
        self.remote_host = remote_host
        self.incoming: IncomingInvite | None = None
        self.outgoing: OutgoingInvite | None = None
        self.settings: RtpSettings | None = None
        self.call_id = ""
        self._host = host
        self._session: Session | None = None
        self._negotiation: Negotiation | None = None
        self._wait: Wait | None = None
        self._opening = False
        self._placed = False
        self._answered = False
        self._released: Released | None = None
        self._reported = False
        self._status = 0
        self._statistics: Statistics | None = None

    def local_media(self) -> LocalMedia:
        """Our end of the stream before the engine has named its port."""
        peer = self.peer
        return LocalMedia(
            self.local_address,
            UNKNOWN_PORT,
            peer.codecs,
            self._host.rng.getrandbits(31),
            telephone_event=peer.dtmfmode in (DtmfMode.RFC4733, DtmfMode.AUTO),
            packet_milliseconds=peer.packet_milliseconds,
        )

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
        self._negotiation = Negotiation(self.local_media())
        self._placed = True
        self.outgoing = OutgoingInvite(self, self._host, self.peer, self.flow, setup, self._negotiation)
        self.call_id = self.outgoing.call_id
        self.open_media(self._negotiation, now)

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
            self.incoming.answer(connected, now, conveyed)

    def digits(self, digits: str, complete: bool, now: int) -> None:
        """More digits for an INVITE that gets 484."""
        if self.outgoing is not None and self._released is None and not self._answered:
            self.outgoing.digits(digits, complete, now)

    def keypad(self, digits: str, milliseconds: int, now: int) -> bool:
        """INFO where the peer's ``dtmfmode`` is info; False where audio carries digits."""
        if self.peer.dtmfmode is not DtmfMode.INFO:
            return False
        if self._session is not None and self._answered:
            self._session.keypad(digits, milliseconds, now)
        return True

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

    def release(self, cause: Cause, now: int, text: str = "") -> None:
        """End the call: refusal, CANCEL or BYE."""
        if self._released is not None:
            return
        if self.incoming is not None and not self.incoming.answered:
            self.incoming.refuse(cause, text, now)
        elif self._session is not None and (self.incoming is not None or self._answered):
            self._session.release(cause, text, now)
        elif self.outgoing is not None:
            self.outgoing.cancel(cause, text, now)
        self.finish(cause, Location.PRIVATE_LOCAL, now, ours=True, text=text)

    def let_go(self) -> None:
        """Released has been heard: let go of all that refers to this leg, so that no collector has to find it."""
        self.listener = self.incoming = self.outgoing = None

    def record(self) -> dict[str, object]:
        """What the call record says of this leg."""
        settings = self.settings
        result: dict[str, object] = {
            "technology": self.technology,
            "peer": self.peer.name,
            "direction": "out" if self._placed else "in",
            "call_id": self.call_id,
            "far_address": str(self.flow),
            "codec": settings.codec.name.lower() if settings is not None else None,
            "media_address": f"{settings.address}:{settings.port}" if settings is not None else None,
        }
        if self._status:
            result["sip_status"] = self._status
        if self._statistics is not None:
            result["media"] = self._statistics.by_name()
        return result

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
    ) -> None:
        """The leg is over: close the stream and, when its last counters are here, report Released. Once only."""
        if self._released is not None:
            return
        self._released = Released(cause, location, ours, text, timer)
        self._status = status
        host = self._host
        self._stop_waiting()
        if self.stream is None:
            self._report(now)
            return
        self._wait = host.waits.start(self, SipTimer.STATISTICS, now)
        host.media.close(self.stream, self._on_closed)

    def _report(self, now: int) -> None:  # noqa: ARG002
        if self._reported or self._released is None:
            return
        self._reported = True
        self._stop_waiting()
        self._host.queue(self, self._released)
        self._host.leg_over(self)

    def on_session_media(self, session: Session, now: int) -> None:  # noqa: ARG002
        """Offer and answer settled: tell the engine. Of several early dialogs the latest is heard."""
        settings = session.negotiation.settings
        if self._released is not None or self.stream is None or (self._session not in (None, session)):
            return
        if settings is None and self.settings is not None:
            # The far end switched the stream off (port 0).
            settings = replace(self.settings, direction=Direction.INACTIVE)
        if settings is not None and settings != self.settings:
            self.settings = settings
            self._host.media.set_rtp(self.stream, settings)

    def on_session_hold(self, session: Session, held: bool, now: int) -> None:  # noqa: ARG002
        """The far end put us on hold, or took us back."""
        if session is self._session and self._answered:
            self.emit(Held() if held else Resumed())

    def on_session_digits(self, session: Session, digits: str, milliseconds: int, now: int) -> None:  # noqa: ARG002
        """Digits by INFO."""
        if session is self._session and self._answered:
            self.emit(Keypad(digits, milliseconds))

    def on_session_identity(self, session: Session, party: Party, now: int) -> None:  # noqa: ARG002
        """The far end is somebody else now."""
        if session is self._session:
            self.emit(Identified(party))

    def on_session_over(self, session: Session, cause: Cause, text: str, now: int, timer: str = "") -> None:
        """The session ended: BYE, time-out, or an early dialog of an incoming call."""
        if session is not self._session:
            return
        if self.incoming is not None and not self.incoming.answered:
            self.incoming.ended_by_bye()
        location = Location.USER if not text else Location.BEYOND_INTERWORKING
        self.finish(cause, location, now, text=text, timer=timer)
