"""An IAX2 far end of its own making (``iax_rfc``): calls both ways by script, with voice.

``breaches`` is what it finds wrong in the gateway's frames.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from tests.simulation import iax_rfc as rfc
from tests.simulation.iax_leaving import LeavingEnd
from tests.simulation.iax_rfc import Full, MalformedError, Numbers
from tests.simulation.iax_talk import Talk
from tests.simulation.iax_voice import TALK_EVERY
from tests.simulation.story import BOREDOM, KEY, Script, Side
from tests.simulation.world import Address

PING_EVERY = 20 * SECOND
WRITES = 0.3
"""In so many calls it sends TEXT once."""


class IaxPbx(LeavingEnd):
    """One far end."""

    texts = 0

    def _handle(self, talk: Talk, frame: Full) -> None:
        what = frame.kind, frame.sub if frame.kind in (rfc.IAX, rfc.CONTROL) else None
        _HANDLERS.get(what, IaxPbx._unheard)(self, talk, frame)

    # -- calls that come --

    def _invited(self, talk: Talk, frame: Full) -> None:
        said = frame.elements
        if self.terms.registers and talk.address != self.gateway and self.fair:
            self.breaches.append(f"{self.name}: registered at {self.gateway}, and was called from {talk.address}")
        calling = said.get(rfc.IE_CALLING, b"").decode("utf-8", "replace")
        called = said.get(rfc.IE_CALLED, b"").decode("utf-8", "replace")
        script = self.story.by_caller(calling) or self.story.by_called(called)
        if script is None:
            self._refuse(talk, rfc.REJECT, Cause.UNALLOCATED_NUMBER)
            return
        talk.script = script
        if rfc.IE_ENCRYPTION not in said and self.terms.must_be_encrypted and self.fair:
            self.breaches.append(f"{self.name}: a call that must be encrypted is not to be: {frame}")
        self._challenge(talk, frame, rfc.AUTHREQ)

    def _authrep(self, talk: Talk, frame: Full) -> None:
        if talk.proven or talk.script is None or not talk.challenge:
            self._ack(talk, frame)
            return
        if not self._proves(talk, frame):
            if self.fair:
                self.breaches.append(f"{self.name}: {frame} is no proof")
            self._refuse(talk, rfc.REJECT, Cause.CALL_REJECTED)
            return
        talk.proven = True
        script = talk.script
        answering = script.next_answer()
        talk.side = side = Side(self.name, "iax2", answering, self.world.now)
        script.callees.append(side)
        self.sides.append(side)
        wanted = int.from_bytes(Full(0, 0, 0, 0, 0, 0, 0, talk.in_words).elements.get(rfc.IE_CAPABILITY, b""), "big")
        chosen = rfc.ALAW if wanted & rfc.ALAW else rfc.ULAW
        self._say(talk, rfc.IAX, rfc.ACCEPT, rfc.element(rfc.IE_FORMAT, chosen, 4))
        self._accepted(talk)
        for milliseconds, act in (
            (answering.early, IaxPbx._progress),
            (answering.ring_after, IaxPbx._ring),
            (answering.answer_after, IaxPbx._answer),
            (answering.refuse_after, IaxPbx._refuse_call),
        ):
            if milliseconds is not None:
                self._later(milliseconds * MILLISECOND, act.__get__(self), talk)
        self._later(BOREDOM * MILLISECOND, self._get_bored, talk)

    def _accepted(self, talk: Talk) -> None:
        talk.accepted = True
        self._later(PING_EVERY, self._ping, talk)
        if self._rng.random() < WRITES:
            self._later(self._rng.randrange(20) * SECOND, self._write, talk)
        if self.terms.rotates and talk.send_key:
            self._later(self.terms.rotates, self._rotate, talk)

    def _progress(self, talk: Talk) -> None:
        self._say(talk, rfc.CONTROL, rfc.PROGRESS)
        self._talk(talk)

    def _ring(self, talk: Talk) -> None:
        if talk.hung_up is None and talk.side is not None and talk.side.answered is None:
            talk.side.ringing = self.world.now
            self._say(talk, rfc.CONTROL, rfc.RINGING)

    def _answer(self, talk: Talk) -> None:
        side = talk.side
        if side is None or talk.hung_up is not None:
            return
        side.answered = self.world.now
        self._say(talk, rfc.CONTROL, rfc.ANSWER)
        self._talk(talk)
        answering = side.answering
        assert answering is not None
        hold = BOREDOM if answering.hold is None else answering.hold
        self._later(hold * MILLISECOND, self._hang_up, talk)
        self._act(talk, answering.acts)

    def _refuse_call(self, talk: Talk) -> None:
        answering = talk.side.answering if talk.side is not None else None
        if answering is None or talk.hung_up is not None:
            return
        if answering.cause is Cause.USER_BUSY and self._rng.random() < 0.5:
            # As Asterisk says it; whoever called then hangs up.
            self._say(talk, rfc.CONTROL, rfc.BUSY)
            self._note_hangup(talk, answering.cause)
            self._later(SECOND, lambda each: self._end(each, Cause.USER_BUSY), talk)
            return
        self._end(talk, answering.cause)

    def _get_bored(self, talk: Talk) -> None:
        if talk.side is not None and talk.side.answered is None:
            self._end(talk, Cause.NO_ANSWER_FROM_USER)

    # -- calls that go --

    def place(self, script: Script) -> None:
        """Make a call to the gateway."""
        target = self.gateway
        if self.terms.registrar:
            if self.bound is None or self.bound_until < self.world.now:
                self.lost_calls += 1
                return
            target = self.bound
        talk = self._open(target)
        talk.script, talk.calling = script, True
        talk.side = script.caller = Side(self.name, "iax2", None, self.world.now)
        self.sides.append(talk.side)
        terms = self.terms
        talk.first = (
            rfc.element(rfc.IE_VERSION, 2, 2)
            + rfc.element(rfc.IE_CALLED, script.called)
            + rfc.element(rfc.IE_CALLING, script.calling)
            + rfc.element(rfc.IE_NAME, f"Caller {script.number}")
            + (rfc.element(rfc.IE_USERNAME, terms.name) if terms.name else b"")
            + rfc.element(rfc.IE_FORMAT, rfc.ALAW, 4)
            + rfc.element(rfc.IE_CAPABILITY, rfc.ALAW | rfc.ULAW, 4)
        )
        if terms.encryption != "no":
            talk.first += rfc.element(rfc.IE_ENCRYPTION, self._encryption, 2)
        self._say(talk, rfc.IAX, rfc.NEW, talk.first + rfc.element(rfc.IE_TOKEN, b""))
        self._later(script.patience * MILLISECOND, self._give_up, talk)

    def _tokened(self, talk: Talk, frame: Full) -> None:
        """The gateway wants to see that we are where we say."""
        token = frame.elements.get(rfc.IE_TOKEN)
        if talk.hung_up is not None and not talk.other:
            # It gave up before there was a call.
            self._gone(talk, talk.hung_up)
            return
        if token is None or talk.other or not talk.first or talk.over or talk.hung_up is not None:
            return
        talk.numbers = Numbers()
        sub = rfc.NEW if talk.registering < 0 else rfc.REGREQ if talk.registering else rfc.REGREL
        self._say(talk, rfc.IAX, sub, talk.first + rfc.element(rfc.IE_TOKEN, token))

    def _authreq(self, talk: Talk, frame: Full) -> None:
        said = frame.elements
        if talk.proven or not talk.calling or talk.hung_up is not None:
            self._ack(talk, frame)
            return
        talk.proven = True
        if self.terms.guest:
            self.breaches.append(f"{self.name}: a guest is asked who he is: {frame}")
        if rfc.IE_ENCRYPTION in said and self.terms.encryption != "no":
            talk.send_key = talk.receive_key = rfc.call_key(said.get(rfc.IE_CHALLENGE, b""), self.terms.secret)
        elif self.terms.must_be_encrypted and self.fair:
            self.breaches.append(f"{self.name}: a call that must be encrypted is not: {frame}")
        self._say(talk, rfc.IAX, rfc.AUTHREP, self._proof(said))

    def _accept(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        if talk.calling and not talk.accepted and talk.side is not None:
            talk.side.proceeding = self.world.now
            if rfc.IE_FORMAT not in frame.elements and self.fair:
                self.breaches.append(f"{self.name}: {frame} without FORMAT")
            self._accepted(talk)

    def _proceeding(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)

    def _rings(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        side = talk.side
        if side is not None and talk.calling:
            side.ringing = side.ringing or self.world.now

    def _answered(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        side, script = talk.side, talk.script
        if side is None or script is None or not talk.calling or side.answered is not None:
            return
        if not talk.accepted and self.fair:
            self.breaches.append(f"{self.name}: ANSWER before ACCEPT: {frame}")
        side.answered = self.world.now
        self._talk(talk)
        self.story.on_answered(script)
        self._later(script.hold * MILLISECOND, self._hang_up, talk)
        self._act(talk, script.acts)

    def _give_up(self, talk: Talk) -> None:
        if talk.side is not None and talk.side.answered is None and talk.script is not None:
            self._end(talk, talk.script.caller_cause)

    # -- calls that stand --

    def _act(self, talk: Talk, acts: tuple[tuple[int, str], ...]) -> None:
        for milliseconds, what in acts:
            act = {"hold": self._hold, "resume": self._resume, "press": self._press}.get(what)
            if act is not None:
                self._later(milliseconds * MILLISECOND, act, talk)

    def _hold(self, talk: Talk) -> None:
        if talk.hung_up is None:
            talk.music = self._rng.random() < 0.5
            if talk.music:
                self._say(talk, rfc.IAX, rfc.QUELCH, rfc.element(rfc.IE_MUSICONHOLD, b""))
            else:
                self._say(talk, rfc.CONTROL, rfc.HOLD)

    def _resume(self, talk: Talk) -> None:
        if talk.hung_up is None:
            if talk.music:
                self._say(talk, rfc.IAX, rfc.UNQUELCH)
            else:
                self._say(talk, rfc.CONTROL, rfc.UNHOLD)

    def _write(self, talk: Talk) -> None:
        if talk.hung_up is None and talk.side is not None and talk.side.answered is not None:
            self.texts += 1
            self._say(talk, rfc.TEXT, 0, f"from {self.name}".encode())

    def _press(self, talk: Talk) -> None:
        if talk.hung_up is None and talk.script is not None and talk.side is not None:
            self._say(talk, rfc.DTMF_BEGIN, ord(KEY))
            self._later(100 * MILLISECOND, self._released_key, talk)
            self.story.on_key(talk.script, talk.side)

    def _released_key(self, talk: Talk) -> None:
        if talk.hung_up is None:
            self._say(talk, rfc.DTMF_END, ord(KEY))

    def _digit(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        if talk.side is not None:
            talk.side.digits += chr(frame.sub)

    def _on_hold(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        if talk.side is not None:
            talk.side.held += 1

    def _off_hold(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        if talk.side is not None:
            talk.side.resumed += 1

    def _ping(self, talk: Talk) -> None:
        if talk.hung_up is None:
            self._say(talk, rfc.IAX, rfc.PING)
            self._say(talk, rfc.IAX, rfc.LAGRQ)
            self._later(PING_EVERY, self._ping, talk)

    def _pinged(self, talk: Talk, frame: Full) -> None:
        self._say(talk, rfc.IAX, rfc.PONG, stamp=frame.stamp)

    def _lag(self, talk: Talk, frame: Full) -> None:
        self._say(talk, rfc.IAX, rfc.LAGRP, stamp=frame.stamp)

    def _rotate(self, talk: Talk) -> None:
        if talk.hung_up is None:
            key = self._rng.randbytes(16)
            self._say(talk, rfc.IAX, rfc.RTKEY, rfc.element(rfc.IE_CHALLENGE, key))
            talk.send_key = key
            self.rotated += 1
            self._later(self.terms.rotates, self._rotate, talk)

    def _other_key(self, talk: Talk, frame: Full) -> None:
        key = frame.elements.get(rfc.IE_CHALLENGE, b"")
        self._ack(talk, frame)
        if talk.receive_key and len(key) == 16:
            talk.key_before, talk.receive_key = talk.receive_key, key
            self.told_keys += 1

    def talk_of(self, side: Side) -> Talk | None:
        """The call number that a party's call has."""
        return next((each for each in self.talks.values() if each.side is side), None)

    # -- voice --

    def _voice_of(self, talk: Talk) -> bytes:
        number = talk.script.number if talk.script is not None else 0
        return f"{self.name} {number} {'calling' if talk.calling else 'called'}".encode()

    def _talk(self, talk: Talk) -> None:
        """The first voice, or the first of other upper 16 bits of the stamp, is a full frame (8.1.2)."""
        stamp = self._stamp(talk)
        if stamp >> 16 != talk.spoken:
            talk.spoken = stamp >> 16
            self._say(talk, rfc.VOICE, rfc.ALAW, self._voice_of(talk), stamp)

    def _tick(self) -> None:
        """All talk at the same time, so that what goes in trunk frames goes in one."""
        shares: dict[Address, list[tuple[int, int, bytes]]] = {}
        for talk in list(self.talks.values()):
            if talk.side is None or talk.side.answered is None or talk.hung_up is not None:
                continue
            self._talk(talk)
            stamp = self._stamp(talk)
            if talk.leaks or (self.terms.trunk and not talk.send_key and not talk.joined):
                shares.setdefault(talk.address, []).append((talk.number, stamp, self._voice_of(talk)))
                continue
            data = rfc.mini(talk.number, stamp, self._voice_of(talk))
            self._transmit(talk.address, rfc.sealed(data, talk.send_key, self._rng) if talk.send_key else data)
        for address, share in shares.items():
            self._transmit(address, rfc.trunk(self.world.now // 1000, share[:20], stamps=self.terms.stamps))
        self.world.after(TALK_EVERY, self._tick_again)

    def _tick_again(self) -> None:
        if self.talks or not self.stopped:
            self._tick()

    def _spoken(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        talk.begun = True
        talk.heard = frame.body.decode("utf-8", "replace")

    def _voice(self, data: bytes, source: Address) -> None:
        sender = int.from_bytes(data[:2], "big")
        if sender:
            talk = self._heard_from(source, sender)
            if talk is None:
                return
            if talk.receive_key:
                try:
                    data = rfc.unsealed(data, talk.receive_key)
                except MalformedError:
                    if self.fair:
                        self.breaches.append(f"{self.name}: voice in the clear of an encrypted call")
                    return
            elif talk.accepted and self.terms.trunk and self.fair and not talk.joined:
                self.breaches.append(f"{self.name}: a mini frame where trunk frames are agreed")
        for each in rfc.read_voice(data):
            talk = self._heard_from(source, each.source)
            if talk is None:
                continue
            if each.trunked and talk.receive_key:
                self.breaches.append(f"{self.name}: trunk voice in the clear of an encrypted call")
            odd = each.trunked and (each.stamp is not None) is not self.terms.stamps
            if odd and self.fair and not talk.joined:
                self.breaches.append(f"{self.name}: trunk with{'' if each.stamp is not None else 'out'} stamps")
            if talk.begun:
                talk.heard = each.voice.decode("utf-8", "replace")

    def _heard_from(self, source: Address, sender: int) -> Talk | None:
        return next((each for each in self.talks.values() if (each.address, each.other) == (source, sender)), None)

    # -- the end --

    def _note_hangup(self, talk: Talk, cause: Cause) -> None:
        side = talk.side
        if side is not None and side.hung_up is None:
            side.hung_up, side.hung_up_with = self.world.now, cause

    def _hang_up(self, talk: Talk) -> None:
        answering = talk.side.answering if talk.side is not None else None
        assert talk.script is not None
        self._end(talk, answering.cause if answering is not None else talk.script.caller_cause)

    def _end(self, talk: Talk, cause: Cause) -> None:
        if talk.hung_up is not None:
            return
        self._note_hangup(talk, cause)
        body = rfc.element(rfc.IE_CAUSE, cause.name) + rfc.element(rfc.IE_CAUSECODE, int(cause), 1)
        self._say(talk, rfc.IAX, rfc.HANGUP, body)
        talk.hung_up = cause

    def _hung_up(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        code = frame.elements.get(rfc.IE_CAUSECODE)
        if code is None and self.fair and talk.side is not None:
            self.breaches.append(f"{self.name}: {frame} without a cause")
        cause = Cause.of(code[0]) if code else Cause.NORMAL_UNSPECIFIED
        self._over(talk, talk.hung_up or cause, ours=talk.hung_up is not None)


_HANDLERS: dict[tuple[int, int | None], Callable[[IaxPbx, Talk, Full], None]] = {
    (rfc.IAX, rfc.AUTHREP): IaxPbx._authrep,
    (rfc.IAX, rfc.AUTHREQ): IaxPbx._authreq,
    (rfc.IAX, rfc.ACCEPT): IaxPbx._accept,
    (rfc.IAX, rfc.REJECT): IaxPbx._hung_up,
    (rfc.IAX, rfc.HANGUP): IaxPbx._hung_up,
    (rfc.IAX, rfc.PING): IaxPbx._pinged,
    (rfc.IAX, rfc.POKE): IaxPbx._pinged,
    (rfc.IAX, rfc.LAGRQ): IaxPbx._lag,
    (rfc.IAX, rfc.RTKEY): IaxPbx._other_key,
    (rfc.IAX, rfc.TXREQ): IaxPbx._txreq,
    (rfc.IAX, rfc.TXREL): IaxPbx._txrel,
    (rfc.IAX, rfc.TXREJ): IaxPbx._txrej,
    (rfc.IAX, rfc.QUELCH): IaxPbx._on_hold,
    (rfc.IAX, rfc.UNQUELCH): IaxPbx._off_hold,
    (rfc.IAX, rfc.REGAUTH): IaxPbx._regauth,
    (rfc.IAX, rfc.REGACK): IaxPbx._regack,
    (rfc.IAX, rfc.REGREJ): IaxPbx._regrej,
    (rfc.IAX, rfc.REGREQ): IaxPbx._regreq,
    (rfc.IAX, rfc.REGREL): IaxPbx._regreq,
    (rfc.CONTROL, rfc.HOLD): IaxPbx._on_hold,
    (rfc.CONTROL, rfc.UNHOLD): IaxPbx._off_hold,
    (rfc.CONTROL, rfc.RINGING): IaxPbx._rings,
    (rfc.CONTROL, rfc.ANSWER): IaxPbx._answered,
    (rfc.CONTROL, rfc.PROCEEDING): IaxPbx._proceeding,
    (rfc.DTMF_END, None): IaxPbx._digit,
    (rfc.VOICE, None): IaxPbx._spoken,
}
