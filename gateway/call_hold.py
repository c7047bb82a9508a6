"""Hold in a call that was answered: who put us on hold, what the other side hears meanwhile, and whom it is told.

Also which calls end for want of any voice (``rtptimeout``), and when voice may go around the gateway.
"""

from __future__ import annotations

import logging

from gateway import leg as words
from gateway.call_end import EndingCall
from gateway.call_states import Purpose, State, Switch
from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.leg import Leg
from gateway.media.api import Failure, Opened

log = logging.getLogger(__name__)


class HoldingCall(EndingCall):
    """A call as far as its sides may be on hold; see ``gateway.call.Call``."""

    __slots__ = (
        "_holding",
        "_joined",
        "_music_failed",
        "_silent",
    )

    def __init__(self, identity: str, switch: Switch, leg: Leg, setup: words.Setup, now: int) -> None:
        super().__init__(identity, switch, leg, setup, now)
        # Sides that put us on hold.
        self._holding: tuple[Leg, ...] = ()
        self._music_failed = False
        # The two sides that were told that their voice may go around the gateway.
        self._joined: tuple[Leg, Leg] | None = None
        # Streams of which nothing is heard, by the time since when.
        self._silent: dict[int, int] = {}

    # -- hold --

    def _on_held(self, leg: Leg, now: int) -> None:
        if leg in self._holding:
            return
        self._holding = (*self._holding, leg)
        other = self._partner(leg)
        if other is not None and self._tells(other):
            other.hold(now)
        self._settle_voice(now)

    def _on_resumed(self, leg: Leg, now: int) -> None:
        if leg not in self._holding:
            return
        self._holding = tuple(each for each in self._holding if each is not leg)
        other = self._partner(leg)
        if other is not None and self._tells(other):
            other.resume(now)
        self._settle_voice(now)

    def _tells(self, other: Leg) -> bool:
        """Whether ``other`` is told of a hold: a line always (NOTIFY), others only where they hear no music of ours."""
        return other.technology == "pri" or self._switch.music_on_hold() is None

    def _partner(self, leg: Leg) -> Leg | None:
        """The other side of the call, as seen from ``leg``."""
        if leg is self.outgoing:
            return None if self._incoming_gone else self.incoming
        return self.outgoing if leg is self.incoming else None

    def _waiting(self) -> Leg | None:
        """The side that is to hear music on hold: the other one holds, and it does not."""
        if not self._holding or self.outgoing is None:
            return None
        held_by_caller, held_by_called = self.incoming in self._holding, self.outgoing in self._holding
        if held_by_caller is held_by_called:
            return None
        return self.outgoing if held_by_caller else self.incoming

    def _settle_voice(self, now: int) -> None:
        """Let each side of an answered call hear what it is to hear now."""
        if self.state is not State.ANSWERED or self._serving:
            return
        waiting = self._waiting()
        if waiting is None:
            self._stop_own_voice()
        elif self._own_stream is None or self._hearer is not waiting:
            self._play_music(waiting)
        self._settle_join(now)
        self._wire()

    def _play_music(self, hearer: Leg) -> None:
        self._stop_own_voice()
        music = self._switch.music_on_hold()
        if isinstance(music, str) and not self._music_failed:
            self._adopt_voice(self._media.open_prompt(music, f"{self.identity} music", self._on_music, repeat=True))
            # What cannot be played may be known at once.
            if self._music_failed:
                self._stop_own_voice()
        if self._own_stream is None and music is not None:
            tone = music if not isinstance(music, str) else self._switch.hold_tone()
            self._own_voice(tone, "hold")
        if self._own_stream is not None:
            self._hearer = hearer

    def _on_music(self, reply: Opened | Failure) -> None:
        if not isinstance(reply, Failure) or self._music_failed:
            return
        self._music_failed = True
        self._note(f"no music on hold: {reply.text}")
        log.error("call %s: music on hold cannot be played: %s", self.identity, reply.text)
        hearer = self._hearer
        if hearer is not None and self.state is State.ANSWERED:
            self._play_music(hearer)
            self._wire()

    def _pair(self) -> tuple[Leg, Leg | None]:
        hearer = self._hearer
        if hearer is None or hearer is self.incoming:
            return self.incoming, self.outgoing
        return hearer, self.incoming

    # -- voice around the gateway --

    @property
    def _plain(self) -> bool:
        """True if the two sides talk and nothing of ours has to hear them or be heard."""
        return (
            self.state is State.ANSWERED
            and self._own_stream is None
            and not self._transferring
            and not self._holding
            and not self._incoming_gone
        )

    def _settle_join(self, now: int) -> None:
        """Tell the sides whether their voice may go around the gateway, if that has changed."""
        outgoing = self.outgoing
        wanted = (self.incoming, outgoing) if outgoing is not None and self._plain else None
        joined = self._joined
        if joined == wanted:
            return
        self._joined = wanted
        if joined is not None:
            joined[0].join(None, now)
        if wanted is not None:
            wanted[0].join(wanted[1], now)

    def _end(self, now: int) -> None:
        # Call and leg would keep each other in memory until the collector comes by.
        self._joined, self._holding = None, ()
        super()._end(now)

    # -- nothing is heard any more --

    def _on_silent(self, stream: int, milliseconds: int, now: int) -> None:
        """Nothing comes in on ``stream``: one-way audio, or the far end is gone."""
        leg = self.incoming if stream == self.incoming.stream else self.outgoing
        if leg is None or leg.stream != stream or leg in self._holding:
            return
        self.history.one_way = True
        side = "incoming" if leg is self.incoming else "outgoing"
        self._note(f"nothing heard from the {side} side for {milliseconds} ms")
        log.warning("call %s: one-way audio: %s", self.identity, self.history.notes[-1])
        if leg.rtptimeout:
            self._silent[stream] = now - milliseconds * MILLISECOND
            self._watch_voice(now)

    def _on_heard_again(self, stream: int, now: int) -> None:
        if self._silent.pop(stream, None) is not None:
            self._watch_voice(now)

    def _watch_voice(self, now: int) -> None:
        """(Re)start the timer that ends a call none of whose sides with ``rtptimeout`` can be heard."""
        self._lift(Purpose.VOICE_LIMIT)
        due = 0
        for leg in (self.incoming, self.outgoing):
            if leg is None or leg.stream is None or not leg.rtptimeout:
                continue
            since = self._silent.get(leg.stream)
            if since is None:
                return
            due = max(due, since + leg.rtptimeout)
        if due:
            self._limit(Purpose.VOICE_LIMIT, max(due, now))

    def _voice_limit(self, now: int) -> None:
        if self.state is not State.ANSWERED or self._holding or self._transferring:
            return
        seconds = max((now - since) // SECOND for since in self._silent.values()) if self._silent else 0
        self._note(f"ended: nothing heard for {seconds} s (rtptimeout)")
        self._release(Cause.RECOVERY_ON_TIMER_EXPIRY, "gateway", now, "rtptimeout")
