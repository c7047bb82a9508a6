"""What a leg of IAX2 has, its voice, and how it ends: with one Released, which waits for the engine's last counters.

Mini and trunk frames are the engine's; here are the full VOICE frames (RFC 5456 8.2) between it and the session.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from gateway.cause import Cause, Location
from gateway.core import SECOND
from gateway.leg import SECURE_MEDIA, Leaving, LegEvent, Listener, MediaChanged, Released
from gateway.media.api import (
    ClearVoice,
    Codec,
    Direction,
    Failure,
    IaxVoiceDue,
    IaxVoiceSettings,
    Opened,
    Statistics,
)
from gateway.voip.iax import transfer
from gateway.voip.iax.causes import add_cause
from gateway.voip.iax.elements import Elements
from gateway.voip.iax.formats import BITS, codec_of
from gateway.voip.iax.frame import Command, FrameType, FullFrame
from gateway.voip.iax.host import Ended, Host
from gateway.voip.iax.leg_states import NEXT, LegState
from gateway.voip.iax.reports import LinkReport
from gateway.voip.iax.timers import IaxTimer

if TYPE_CHECKING:
    from gateway.voip.iax.peer import Peer
    from gateway.voip.iax.rounds import Pass
    from gateway.voip.iax.session import Session

log = logging.getLogger(__name__)

COUNTERS_WAIT = 2 * SECOND
"""How long the end of a leg waits for the engine's last counters (own)."""
COUNTERS = IaxTimer.LINGER
"""The timer of that wait, by its key in the endpoint."""
MEDIA_FAILED = IaxTimer.TOKEN
"""A timer that is due at once: replies of the engine come without a time."""
CLEAR = "came in clear into an encrypted call"


class _Nobody:
    """Owns the session of a leg that is over, so that these two do not hold each other."""

    def on_frame(self, session: Session, frame: FullFrame, now: int) -> None:
        """Nobody is there to hear it."""

    def on_session_end(self, session: Session, ended: Ended, now: int) -> None:
        """Nor this."""


NOBODY = _Nobody()


class VoicedLeg:
    """A leg as far as it can be heard and ended; see ``gateway.voip.iax.leg.IaxLeg``."""

    technology = "iax2"

    __slots__ = (
        "__weakref__",
        "_before",
        "_closed",
        "_counters",
        "_counting",
        "_media_failure",
        "_passing",
        "_quiet",
        "_released",
        "_reported",
        "_required",
        "_told_format",
        "codec",
        "host",
        "incoming",
        "left",
        "listener",
        "name",
        "path_change",
        "path_release",
        "peer",
        "rtptimeout",
        "session",
        "settings",
        "source",
        "state",
        "stream",
    )

    def __init__(self, host: Host, peer: Peer, name: str, now: int, incoming: bool) -> None:  # noqa: ARG002
        self.listener: Listener | None = None
        self.name = name
        self.peer = peer
        self.source = peer.settings.name
        self.stream: int | None = None
        self.rtptimeout = peer.settings.rtptimeout
        self.incoming = incoming
        self.state = LegState.IDLE
        self.session: Session | None = None
        self.codec: Codec | None = None
        self.settings: IaxVoiceSettings | None = None
        # The far end goes on with another one, without us.
        self.left = False
        # Where its voice and frames may go without us, or we without who is in the middle.
        self.path_release: transfer.PathRelease | None = None
        self.path_change: transfer.PathChange | None = None
        self.host = host
        # The call must be encrypted: its peer's settings have it so, or its route.
        self._required = False
        # The far end wants no voice now (QUELCH).
        self._quiet = False
        self._told_format = False
        self._media_failure = ""
        # What its call is known by while it stands, if it comes back.
        self._passing: Pass | None = None
        self._closed = False
        self._counting = False
        self._counters: Statistics | None = None
        # The counters that the last PONG was made of.
        self._before: Statistics | None = None
        self._released: Released | None = None
        self._reported = False

    def __repr__(self) -> str:
        return f"<IaxLeg {self.name} {self.state.value}>"

    @property
    def over(self) -> bool:
        """True once the leg's end is settled, reported or not."""
        return self._released is not None

    def emit(self, event: LegEvent) -> None:
        """Queue an event for the listener."""
        if self._released is None:
            self.host.queue(self, event)  # type: ignore[arg-type]

    def _set_state(self, state: LegState) -> None:
        if state is self.state:
            return
        if state not in NEXT[self.state]:
            raise AssertionError(f"{self.name}: {self.state.value} -> {state.value} is not a transition")
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s: %s -> %s", self.name, self.state.value, state.value)
        self.state = state

    # -- the stream --

    def _open(self, session: Session) -> None:
        """Have the engine's stream; it is of use from ``_tell_engine`` on."""
        stream = self.host.media.open_iax(session.path.socket, self.name, self._opened)
        if not self._media_failure:
            self.stream = stream
            self.emit(MediaChanged(stream))

    def _opened(self, reply: Opened | Failure) -> None:
        if isinstance(reply, Failure) and self._released is None:
            self._media_failure = reply.text
            self.host.start(self, MEDIA_FAILED, 0)

    def _tell_engine(self) -> None:
        """Where voice goes and how, as far as that is known."""
        session, codec = self.session, self.codec
        if session is None or codec is None or self.stream is None or self._closed:
            return
        if not self.host.shown(session):
            # Its address may be anybody's, and voice is a lot for one NEW.
            return
        settings = self.voice_settings(session, codec)
        if settings != self.settings:
            self.settings = settings
            self.host.media.set_iax(self.stream, settings)

    def voice_settings(self, session: Session, codec: Codec) -> IaxVoiceSettings:
        """What the engine is to know of the voice."""
        peer = self.peer.settings
        return IaxVoiceSettings(
            address=session.path.address,
            port=session.path.port,
            source_call=session.source,
            far_call=session.destination,
            codec=codec,
            epoch=session.epoch,
            trunk=peer.trunk,
            trunk_stamps=peer.trunk_stamps,
            trunk_octets=peer.trunk_octets,
            send_key=session.send_key,
            receive_key=session.receive_key,
            encrypted=session.encrypted,
            direction=Direction.RECVONLY if self._quiet else Direction.SENDRECV,
        )

    def on_media(self, event: IaxVoiceDue | ClearVoice, now: int) -> None:
        """Take an event of this leg's stream."""
        session = self.session
        if session is None or self._released is not None:
            return
        if isinstance(event, IaxVoiceDue):
            session.send(FrameType.VOICE, BITS[event.codec], now, event.data, event.stamp)
        elif session.encrypted:
            self._clear("voice", now)

    def _on_voice(self, frame: FullFrame) -> None:
        """A full VOICE frame in its turn: the engine's, with all mini frames that follow."""
        codec = codec_of(frame.subclass)
        if codec is None:
            if not self._told_format:
                self._told_format = True
                log.warning("%s: voice of format %#x, which was not agreed on, is not heard", self.name, frame.subclass)
        elif self.stream is not None and self.settings is not None:
            self.host.media.iax_voice(self.stream, frame.stamp, codec, frame.data)

    def _clear(self, what: str, now: int) -> None:
        log.warning("%s: %s of %s %s: the call is released", self.name, what, self.peer.settings.name, CLEAR)
        self.fail(Cause.BEARER_CAPABILITY_NOT_AVAILABLE, f"{what} {CLEAR}", now)

    def on_clear(self, session: Session, frame: FullFrame, now: int) -> None:  # noqa: ARG002 - SessionWatcher
        """The far end does not keep to what was agreed."""
        self._clear("a frame", now)

    def speak_up(self, now: int) -> None:
        """We may be elsewhere now: the far end sees it by a full frame, of which the next may be seconds away."""
        if self.session is not None and self.state in (LegState.LINKED, LegState.UP):
            self.session.ping(now)

    def on_shown(self, session: Session, now: int) -> None:  # noqa: ARG002 - SessionWatcher
        """It has answered what went to where it says to be."""
        if self.state in (LegState.LINKED, LegState.UP):
            self._tell_engine()

    def on_keys(self, session: Session, now: int) -> None:  # noqa: ARG002 - SessionWatcher
        """Voice has the keys of its session."""
        if self.settings is not None:
            self._tell_engine()

    def on_moved(self, session: Session, now: int) -> None:  # noqa: ARG002 - SessionWatcher
        """Voice goes where its session's frames go."""
        if self.settings is not None:
            self._tell_engine()

    def report(self, session: Session, now: int) -> LinkReport | None:  # noqa: ARG002 - SessionWatcher
        """What PONG says of the voice that comes: by the counters that were asked for at the last PING."""
        stream, counters, before = self.stream, self._counters, self._before
        if stream is None or self.settings is None or self._closed:
            return None
        self._before = counters
        self.host.media.statistics(stream, self._counted_meanwhile)
        return None if counters is None else LinkReport.of(counters, before)

    def _counted_meanwhile(self, reply: Statistics | Failure) -> None:
        if isinstance(reply, Statistics) and not self._closed:
            self._counters = reply

    # -- the end --

    def expire(self, timer: IaxTimer, now: int) -> None:
        """A timer of this leg ran out."""
        if timer is COUNTERS:
            self._report()
        elif timer is MEDIA_FAILED and self._released is None:
            log.error("%s: no stream for its voice: %s", self.name, self._media_failure)
            self.fail(Cause.RESOURCE_UNAVAILABLE, self._media_failure, now)

    def fail(self, cause: Cause, text: str, now: int, timer: str = "") -> None:
        """End the call for a reason of our own: the far end is told, and the Call."""
        self._hang_up(cause, text, now)
        self.finish(cause, Location.PRIVATE_LOCAL, now, text=text, timer=timer)

    def _hang_up(self, cause: Cause, text: str, now: int) -> None:
        """HANGUP, or REJECT of a call that was not accepted yet (6.2.4, 6.2.5)."""
        session = self.session
        if session is None or session.closed:
            return
        command = Command.REJECT if self.state is LegState.OFFERED else Command.HANGUP
        session.command(command, now, add_cause(Elements(), cause, text))
        session.close(now)

    def finish(
        self,
        cause: Cause,
        location: Location,
        now: int,
        *,
        ours: bool = False,
        text: str = "",
        timer: str = "",
    ) -> None:
        """The leg is over: close session and stream and, when its last counters are here, report Released. Once."""
        if self._released is not None:
            return
        answered = self.state is LegState.UP
        transfer.over(self, now)  # type: ignore[arg-type]
        self._released = released = Released(cause, location, ours, text, timer)
        host, session = self.host, self.session
        self._set_state(LegState.OVER)
        host.stop(self, IaxTimer.AUTH)
        if self._passing is not None:
            host.rounds.leave(self._passing)
            self._passing = None
        if not self.incoming:
            self.peer.turns.settled(self, now)  # type: ignore[arg-type]
        if session is not None:
            session.close(now)
            session.owner = NOBODY
        self._closed = True
        if self.stream is None:
            self._report()
            return
        if answered and not ours:
            host.queue(self, Leaving(released))  # type: ignore[arg-type]
        self._counting = True
        host.start(self, COUNTERS, now + COUNTERS_WAIT)
        host.media.close(self.stream, self._counted)

    def _counted(self, reply: Statistics | Failure) -> None:
        if isinstance(reply, Statistics):
            self._counters = reply
        self._report()

    def _report(self) -> None:
        released = self._released
        if self._reported or released is None:
            return
        self._reported = True
        host = self.host
        if self._counting:
            host.stop(self, COUNTERS)
        host.queue(self, released)  # type: ignore[arg-type]
        host.forget_leg(self)  # type: ignore[arg-type]

    def let_go(self) -> None:
        """Released has been heard: let go of all that refers to this leg, so that no collector has to find it."""
        self.listener = None

    def record(self) -> dict[str, object]:
        """What the call record says of this leg."""
        session, codec = self.session, self.codec
        result: dict[str, object] = {
            "technology": self.technology,
            "peer": self.peer.settings.name,
            "direction": "in" if self.incoming else "out",
            "far_address": None if session is None else str(session.path),
            "facts": [SECURE_MEDIA] if session is not None and session.encrypted else [],
            "codec": None if codec is None else codec.name.lower(),
            "trunked": self.peer.settings.trunk and not (session is not None and session.encrypted),
        }
        if self.left:
            result["released_from_path"] = True
        if session is not None:
            result["session"] = session.as_json()
        if self._counters is not None:
            result["media"] = self._counters.by_name()
        return result
