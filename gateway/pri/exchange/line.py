"""One call at the simulated exchange: a subscriber that is called, or one that calls.

Hears a leg of the exchange's own trunk and commands it as the number plan says; times run in the owner's TimerQueue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from gateway import leg as words
from gateway.cause import Cause
from gateway.core import MILLISECOND, TimerQueue
from gateway.identity import Number, Party, Redirection
from gateway.leg import Leg, LegEvent
from gateway.media.api import Failure, Media, Opened, Statistics, Tone
from gateway.media.tones import MILLIWATT
from gateway.pri.exchange.plan import UNKNOWN, NumberPlan, Subscriber, Voice

MAX_DIALLED = 32
MEASURE_EVERY = 500
"""Milliseconds between two looks at what a line hears, for calls that the far end will end."""
GIVE_UP_AFTER = 200


class Moment(Enum):
    """What a line's timer is for."""

    ALERT = "alert"
    ANSWER = "answer"
    RELEASE = "release"
    MEASURE = "measure"
    GIVE_UP = "give up measuring"


LineTimer = tuple[int, Moment]


@dataclass(slots=True)
class Report:
    """What became of one call, as the exchange saw it. Times in microseconds of the owner's clock."""

    call: int
    direction: str
    called: str
    caller: str
    subscriber: str
    started: int
    alerting: int | None = None
    answered: int | None = None
    ended: int | None = None
    cause: Cause | None = None
    released_by_us: bool = False
    connected: Party | None = None
    caller_party: Party = field(default_factory=Party)
    redirection: Redirection | None = None
    progress: list[str] = field(default_factory=list)
    heard: Statistics | None = None
    channel: object = None


class Voices(Protocol):
    """The sounds an exchange knows."""

    @property
    def ringback(self) -> Tone:
        """Ringing tone of the exchange's country."""

    @property
    def announcement(self) -> Tone:
        """What stands for a spoken announcement."""


class Line:
    """A subscriber's side of one call. ``on_end`` is called once, when the leg is gone."""

    def __init__(
        self,
        call: int,
        media: Media,
        timers: TimerQueue[LineTimer],
        voices: Voices,
        report: Report,
        on_end: Callable[[Line], None],
        on_moment: Callable[[Line, str], None],
    ) -> None:
        self.call = call
        self.report = report
        self.leg: Leg | None = None
        self.measures = True
        self.subscriber: Subscriber = UNKNOWN
        self._plan: NumberPlan | None = None
        self._dialled = ""
        self._media = media
        self._timers = timers
        self._voices = voices
        self._voice = Voice.NOTHING
        self._voice_stream: int | None = None
        self._hold: int | None = None
        self._on_end = on_end
        self._on_moment = on_moment
        self._ended = False

    # -- called --

    def called(self, leg: Leg, setup: words.Setup, plan: NumberPlan, now: int) -> None:
        """Take an incoming call: wait for more digits if it is not complete, else do what the plan says."""
        self.leg = leg
        self._plan = plan
        self._dialled = setup.called.digits
        self._consider(setup.complete, now)

    def _consider(self, complete: bool, now: int) -> None:
        plan = self._plan
        if plan is None or not (complete or plan.complete(self._dialled) or len(self._dialled) >= MAX_DIALLED):
            return
        self.report.called = self._dialled
        self._plan = None
        self._begin(plan.lookup(self._dialled), now)

    def _begin(self, subscriber: Subscriber, now: int) -> None:
        if self.leg is None:
            return
        self.subscriber = subscriber
        self.report.subscriber = subscriber.name
        if subscriber.alert_after is None and subscriber.answer_after is None and subscriber.release_after == 0:
            self.leg.release(subscriber.cause, now)
            return
        self.leg.proceed(now)
        if subscriber.alert_after is not None:
            self._at(Moment.ALERT, now, subscriber.alert_after)
        elif subscriber.progress_inband:
            self._speak(subscriber.before)
            self.leg.progress(True, now)
        if subscriber.answer_after is not None:
            self._at(Moment.ANSWER, now, subscriber.answer_after)
        elif subscriber.release_after is not None:
            self._at(Moment.RELEASE, now, subscriber.release_after)

    # -- calling --

    def calling(self, leg: Leg, setup: words.Setup, voice: Voice, hold: int | None, now: int) -> None:
        """Place a call; once answered send ``voice`` and hang up after ``hold`` milliseconds (None: never)."""
        self.leg = leg
        self._hold = hold
        self.subscriber = Subscriber("caller", after=voice)
        leg.listener = self
        leg.place(setup, now)

    # -- both --

    def hang_up(self, now: int, cause: Cause = Cause.NORMAL_CALL_CLEARING) -> None:
        """End the call, measuring first what is heard if it is answered."""
        if self.leg is None or self._ended:
            return
        self.subscriber = Subscriber(self.subscriber.name, cause=cause)
        self._expired(Moment.RELEASE, now)

    def handle_timer(self, moment: Moment, now: int) -> None:
        """One of this line's timers has expired."""
        if not self._ended:
            self._expired(moment, now)

    def _expired(self, moment: Moment, now: int) -> None:
        if self.leg is None:
            return
        subscriber = self.subscriber
        if moment is Moment.ALERT:
            self._speak(subscriber.before)
            self.report.alerting = now
            self.leg.alert(subscriber.progress_inband, now)
        elif moment is Moment.ANSWER:
            self._speak(subscriber.after)
            self.report.answered = now
            self.leg.answer(Party(Number(self._dialled), subscriber.name), now)
            self._on_moment(self, "answered")
            self._measure(now)
            if subscriber.release_after is not None:
                self._at(Moment.RELEASE, now, subscriber.release_after)
        elif moment is Moment.RELEASE:
            self._stop_timers()
            if self.report.answered is not None and self.leg.stream is not None and self.measures:
                self._media.statistics(self.leg.stream, self._measured_last)
                # The measurement's reply may never come; the call must end all the same.
                self._at(Moment.GIVE_UP, now, GIVE_UP_AFTER)
            else:
                self.leg.release(subscriber.cause, now)
        elif moment is Moment.MEASURE:
            if self.leg.stream is not None:
                self._media.statistics(self.leg.stream, self._measured)
                self._at(Moment.MEASURE, now, MEASURE_EVERY)
        else:
            self.leg.release(subscriber.cause, now)

    def _measured(self, reply: Statistics | Failure) -> None:
        if isinstance(reply, Statistics):
            self.report.heard = reply

    def _measured_last(self, reply: Statistics | Failure) -> None:
        self._measured(reply)
        if (self.call, Moment.GIVE_UP) in self._timers:
            self._timers.start((self.call, Moment.GIVE_UP), 0)

    def on_leg(self, leg: Leg, event: LegEvent, now: int) -> None:
        """Take one event of the leg."""
        match event:
            case words.Digits(digits, complete) if self._plan is not None:
                self._dialled = (self._dialled + digits)[:MAX_DIALLED]
                self._consider(complete, now)
            case words.Proceeding():
                self.report.progress.append("proceeding")
            case words.Progress(inband):
                self.report.progress.append("progress in-band" if inband else "progress")
            case words.Alerting(inband):
                self.report.progress.append("alerting in-band" if inband else "alerting")
                self.report.alerting = now
                self._on_moment(self, "alerting")
            case words.Answered(connected):
                self.report.connected = connected
                self.report.answered = now
                self._speak(self.subscriber.after)
                self._on_moment(self, "answered")
                self._measure(now)
                if self._hold is not None:
                    self._at(Moment.RELEASE, now, self._hold)
            case words.Identified(connected):
                self.report.connected = connected
            case words.MediaChanged():
                self._wire()
            case words.Released(cause, ours=ours):
                self._stop_timers()
                self._ended = True
                self.report.cause = cause
                self.report.released_by_us = ours
                self.report.ended = now
                self.report.channel = leg.record().get("channel")
                self._silence()
                self._on_end(self)
                # Line and leg would keep each other in memory until the collector comes by.
                leg.listener = None
            case _:
                pass

    def _measure(self, now: int) -> None:
        if self.measures:
            self._at(Moment.MEASURE, now, MEASURE_EVERY)

    def _at(self, moment: Moment, now: int, milliseconds: int) -> None:
        self._timers.start((self.call, moment), now + milliseconds * MILLISECOND)

    def _stop_timers(self) -> None:
        for moment in Moment:
            self._timers.stop((self.call, moment))

    # -- voice --

    def _speak(self, voice: Voice) -> None:
        if voice is self._voice:
            return
        self._silence()
        self._voice = voice
        label = f"exchange {self.call} {voice.value}"
        if voice is Voice.ECHO:
            self._voice_stream = self._media.open_echo(label, _ignore)
        elif voice is not Voice.NOTHING:
            tone = {
                Voice.MILLIWATT: MILLIWATT,
                Voice.RINGBACK: self._voices.ringback,
                Voice.ANNOUNCEMENT: self._voices.announcement,
            }[voice]
            self._voice_stream = self._media.open_tone(tone, label, _ignore)
        self._wire()

    def _wire(self) -> None:
        if self.leg is not None and self.leg.stream is not None and self._voice_stream is not None:
            self._media.connect(self.leg.stream, self._voice_stream)

    def _silence(self) -> None:
        if self._voice_stream is not None:
            self._media.close(self._voice_stream)
            self._voice_stream = None
        self._voice = Voice.NOTHING


def _ignore(_reply: Opened | Failure) -> None:
    """A sound that cannot be made leaves the line silent; the measurement at the end tells."""
