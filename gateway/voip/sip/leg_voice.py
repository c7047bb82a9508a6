"""What a leg of SIP has, the RTP stream that is its voice, and how it ends: with one Released, after its last counters.

The engine has the stream; what it is told comes of offer and answer (``negotiation.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from gateway.cause import Cause, Location
from gateway.leg import (
    SECURE_MEDIA,
    SECURE_SIGNALLING,
    Forward,
    Leaving,
    LegEvent,
    Listener,
    MediaChanged,
    Released,
)
from gateway.media.api import Codec, Direction, Failure, Latch, Opened, RtpSettings, Statistics
from gateway.voip.sip.codecs import TONELESS, preferring
from gateway.voip.sip.encryption import Encryption, MediaEncryption
from gateway.voip.sip.flow import TLS, Flow
from gateway.voip.sip.host import Host
from gateway.voip.sip.negotiation import UNKNOWN_PORT, Negotiation
from gateway.voip.sip.offer_answer import LocalMedia
from gateway.voip.sip.peers import DtmfMode, PeerSettings
from gateway.voip.sip.timers import SipTimer
from gateway.voip.sip.waits import Wait

if TYPE_CHECKING:
    from gateway.voip.sip.direct import DirectPath
    from gateway.voip.sip.fork import Fork
    from gateway.voip.sip.leg import SipLeg
    from gateway.voip.sip.session import Session
    from gateway.voip.sip.uac import OutgoingInvite
    from gateway.voip.sip.uas import IncomingInvite
    from gateway.voip.sip.way import Way

log = logging.getLogger(__name__)


class VoicedLeg:
    """A leg as far as it can be heard and ended; see ``gateway.voip.sip.leg.SipLeg``.

    ``settings`` is what the media engine was told last.
    """

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

    def emit(self, event: LegEvent) -> None:
        """Queue an event for the listener."""
        if self._released is None:
            self._host.queue(self, event)  # type: ignore[arg-type]

    # -- the stream --

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

    def keep_quiet(self, quiet: bool) -> None:
        """While voice goes directly our stream neither sends nor waits for anything."""
        self._quiet = quiet
        self._direct = self._direct or quiet
        self._tell_engine()

    def _tell_engine(self) -> None:
        settings = self.settings
        if settings is None or self.stream is None or self._released is not None:
            return
        if self._quiet:
            settings = replace(settings, direction=Direction.INACTIVE)
        if self._answered and self._by_info:
            settings = replace(settings, digits_told=True)
        self._host.media.set_rtp(self.stream, settings)

    # -- the end, and what is left of it --

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
            host.queue(self, Leaving(self._released))  # type: ignore[arg-type]

    def _report(self, now: int) -> None:  # noqa: ARG002
        if self._reported or self._released is None:
            return
        self._reported = True
        self._stop_waiting()
        host = self._host
        host.queue(self, self._released)  # type: ignore[arg-type]
        host.leg_over(self)  # type: ignore[arg-type]

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
