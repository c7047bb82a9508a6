"""Whether the record and both parties of each call agree how it ended.

The rule, where nothing went wrong: the cause that one side gave arrives at the other exactly, or as the translations of
RFC 3398 and RFC 3326 have it hop by hop (``arriving``, ``onward``); a caller is told "answered" if and only if the
called party answered. Parties that act within one round trip of each other (``margin``) may each be right. Where things
did go wrong a cause may also be one of RECOVERY, and whoever was restarted is not asked; but still nobody is told of an
answer that there was not, and every call has its one record.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.record import CallRecord
from gateway.voip.sip.causes import cause_for_bye, cause_for_sip, sip_status_for
from gateway.voip.sip.encryption import MediaEncryption
from tests.simulation.iax_round import NAMED_MOST, NOTICED, ROUND, UNNAMED_MOST
from tests.simulation.iax_shape import GUEST, WILD
from tests.simulation.misfortune import AFTERMATH
from tests.simulation.shape import PHONE, PROVIDER
from tests.simulation.story import EMERGENCY, KEY, Script, Side

if TYPE_CHECKING:
    from tests.simulation.branch import Branch

RECOVERY = frozenset(
    {
        Cause.CHANNEL_UNACCEPTABLE,
        Cause.NORMAL_CALL_CLEARING,
        Cause.NO_USER_RESPONDING,
        Cause.NO_ANSWER_FROM_USER,
        Cause.DESTINATION_OUT_OF_ORDER,
        Cause.INVALID_NUMBER_FORMAT,
        Cause.NORMAL_UNSPECIFIED,
        Cause.NO_CIRCUIT_AVAILABLE,
        Cause.NETWORK_OUT_OF_ORDER,
        Cause.TEMPORARY_FAILURE,
        Cause.SWITCHING_EQUIPMENT_CONGESTION,
        Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE,
        Cause.RESOURCE_UNAVAILABLE,
        Cause.INVALID_CALL_REFERENCE,
        Cause.MESSAGE_NOT_COMPATIBLE_WITH_STATE,
        Cause.MESSAGE_NOT_COMPATIBLE,
        Cause.RECOVERY_ON_TIMER_EXPIRY,
        Cause.INTERWORKING,
    }
)
"""What a call may end with that was hit by a fault: time-outs, failures, and what a state both do not share gives."""
NO_CHANNEL = frozenset(
    {
        Cause.CHANNEL_UNACCEPTABLE,
        Cause.NO_CIRCUIT_AVAILABLE,
        Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE,
        Cause.NETWORK_OUT_OF_ORDER,
        Cause.SWITCHING_EQUIPMENT_CONGESTION,
    }
)
"""How a call ends that the line itself refuses, before there is a call for the switch to record."""


EXCHANGE_TIMERS = {Cause.NO_USER_RESPONDING, Cause.NO_ANSWER_FROM_USER, Cause.RECOVERY_ON_TIMER_EXPIRY}
"""What a caller at the exchange hears when T310 or T301 runs out there; the gateway hears cause 102 (Q.931 5.2.5.3)."""


MOST_TOLD = 5
"""Records of one call."""
CARRY_HOLD = ("sip", "iax2")


def left(record: CallRecord) -> bool:
    """Whether the far ends went on without the gateway."""
    return bool(record.incoming.get("released_from_path"))


def arriving(side: Side) -> Cause | None:
    """The cause that the gateway hears if this party ends the call; None if it did not."""
    given = side.hung_up_with
    if side.technology == "pri":
        if given is None and side.cause in EXCHANGE_TIMERS:
            return Cause.RECOVERY_ON_TIMER_EXPIRY
        return given
    if side.technology == "iax2":
        return given
    if side.answering is not None and side.answered is None:
        answering = side.answering
        if answering.status and side.hung_up is None:
            return cause_for_sip(answering.status)
        if given is None:
            return None
        status = sip_status_for(given)[0]
        return cause_for_sip(status, None if _silent(side, given) else int(given))
    if given is None:
        return None
    return cause_for_bye(None if side.strips_reason else int(given))


def _silent(side: Side, cause: Cause) -> bool:
    return side.strips_reason or cause is Cause.NORMAL_CALL_CLEARING


def onward(cause: Cause, side: Side) -> Cause:
    """What a party hears if the gateway ends its side with ``cause``."""
    if side.technology != "sip" or side.answering is not None or side.answered is not None:
        return cause
    status = sip_status_for(cause)[0]
    return cause_for_sip(status, None if cause is Cause.NORMAL_CALL_CLEARING else int(cause))


MEDIA_CAUSES = frozenset({int(cause_for_sip(status)) for status in (415, 488, 606)})
SILENCE = frozenset(
    {
        Cause.NO_USER_RESPONDING,
        Cause.DESTINATION_OUT_OF_ORDER,
        Cause.NETWORK_OUT_OF_ORDER,
        Cause.TEMPORARY_FAILURE,
        Cause.RECOVERY_ON_TIMER_EXPIRY,
    }
)
"""What becomes of a call to a far end that says nothing."""
CALLED_ELSEWHERE_BY = 12 * SECOND
ANSWERED_WITHIN = 60 * SECOND
"""Patience of those who call an ambulance."""
RINGS_BY = 500 * MILLISECOND
ENDED_WITHIN = 3 * SECOND
"""Where nothing goes wrong: from one side's hanging up until both sides are rid of the call."""
HELD_WITHIN = 5 * SECOND
"""A re-INVITE may meet another one (RFC 3261 14.1: up to 4 s)."""


class Judgement:
    """Compares everybody's view of every call of a run."""

    def __init__(self, branch: Branch) -> None:
        self.branch = branch
        self.breaches: list[str] = []
        self.strict = not branch.misfortunes.any
        latency = branch.weather.latency + branch.weather.jitter
        slowest = max(latency, *(line.latency for line in branch.lines.values()))
        self.margin = 6 * slowest + 20 * MILLISECOND
        self._records: dict[int, list[CallRecord]] = {}
        self._refusals: Counter[int] = Counter()
        self.agreed = self.held = self.forks = 0
        # A 200 waits for the PRACK of what went before it (RFC 3262 3).
        self._reliable = False

    def judge(self) -> list[str]:
        """Everything that is wrong, one line each."""
        gateway = self.branch.gateway
        if len(gateway.records) != gateway.total_offers():
            self.breaches.append(f"{gateway.total_offers()} calls offered, {len(gateway.records)} records")
        seen: set[str] = set()
        for record in gateway.records:
            if record.id in seen:
                self.breaches.append(f"record {record.id} twice")
            seen.add(record.id)
            if any("did not end in time" in note for note in record.notes):
                self.breaches.append(f"record {record.id} of {record.dialled}: {record.notes}")
            script = self.branch.story.by_caller(str(record.caller.get("number", "")))
            if script is not None and record.source == WILD and script.origin != WILD:
                # What became of a number that was mangled.
                continue
            if script is not None:
                self._records.setdefault(script.number, []).append(record)
            elif self.strict and WILD not in self.branch.iax.shapes:
                self.breaches.append(f"record {record.id} belongs to no call: {record.caller}")
        for refusal in gateway.refused:
            number = refusal.refused.setup.caller.number
            script = self.branch.story.by_caller(number.digits) if number is not None else None
            if script is not None:
                self._refusals[script.number] += 1
        for script in self.branch.story.scripts.values():
            self._script(script)
        return self.breaches

    def _script(self, script: Script) -> None:
        for side in script.sides:
            if not side.over:
                self._wrong(script, f"{side.node} never heard of its end")
        caller = script.caller
        if caller is None:
            return
        records = self._records.get(script.number, [])
        if self.branch.misfortunes.contents_suffer or self.branch.iax.is_wild(script):
            # Numbers and causes may be anything; only that all comes to its end is still to be had.
            return
        if (
            script.kind == EMERGENCY
            and caller.node != GUEST
            and caller.answered is None
            and self._must_be_answered(script, caller)
        ):
            self._wrong(script, "an emergency call was not answered")
        if script.moved:
            # Who talks to whom in the end is not as planned; that nothing is left of it all is for the invariants.
            return
        if script.kind == ROUND:
            self._round(script, caller, records)
            return
        served = script.kind == "90"
        if caller.answered is not None and not served and not any(side.answered for side in script.callees):
            self._wrong(script, "the caller was told of an answer that nobody gave")
        for record in records:
            if record.answer is not None and not served and not any(side.answered for side in script.callees):
                self._wrong(script, f"record {record.id} tells of an answer that nobody gave")
        if self.branch.shape.braked and caller.cause is Cause.CALL_REJECTED and self._asked_again(script, records):
            # Its second offer was one call an hour too many.
            return
        self._digits(script)
        if any(map(left, records)):
            self._left(script, caller, records)
            return
        if self.strict:
            self._strict(script, caller, records)
            return
        # Two tokens may make two calls of one, where nobody has to prove anything.
        repeated = caller.node == GUEST or _repeated(caller, records) or self._asked_again(script, records)
        if not self.branch.gateway.restarts and len(records) > 1 and not repeated:
            self._wrong(script, f"{len(records)} records")
        if len(records) == 1:
            self._goes_on(script, caller, records[0])
        if len(records) == 1 and not self._forked(script, records[0]):
            self._lenient(script, caller, records[0])

    def _digits(self, script: Script) -> None:
        """A digit that goes in frames of its own arrives once, whatever becomes of the frames."""
        for side in script.sides:
            if side.technology != "iax2":
                continue
            others = [each for each in script.sides if each is not side]
            pressed = sum(what == "press" for each in others for _, what in self._acts(script, each))
            if side.digits.count(KEY) > pressed:
                self._wrong(script, f"{side.node} got {side.digits!r}, {pressed} digits were pressed")

    def _round(self, script: Script, caller: Side, records: list[CallRecord]) -> None:
        """It is noticed soon that a call goes round, whatever goes wrong, and the caller is told why it ends."""
        most = NAMED_MOST if self.branch.iax.names_calls else UNNAMED_MOST
        if self.strict and len(records) > most:
            self._wrong(script, f"it went round {len(records)} times")
        if self.strict and records and not caller.ours and caller.node != GUEST:
            expected = onward(NOTICED, caller)
            if caller.cause is not expected:
                self._wrong(script, f"went round, and the caller heard {_name(caller.cause)}, not {expected.name}")

    def _left(self, script: Script, caller: Side, records: list[CallRecord]) -> None:
        """The far ends went on without the gateway: for it the call was over then, for them it went on to its end."""
        if not self.strict:
            return
        (record,), callee = records if len(records) == 1 else (records[-1:]), script.callees[-1]
        if len(records) != 1:
            self._wrong(script, f"{len(records)} records of a call that left")
        if record.answer is None or record.cause != Cause.NORMAL_CALL_CLEARING:
            self._wrong(script, f"left, and is recorded with answer {record.answer} and cause {record.cause}")
        if caller.hung_up is None and callee.hung_up is None:
            self._wrong(script, "left, and ended without anybody's hanging up")
        for one, other in ((caller, callee), (callee, caller)):
            if one.hung_up is not None and not other.ours:
                # Who hangs up in the very moment in which the gateway lets go says so to that, and is not heard.
                crossed = abs(one.hung_up - record.end) < self.margin and other.cause is Cause.TEMPORARY_FAILURE
                if other.cause is not one.hung_up_with and not crossed:
                    self._wrong(script, f"{one.node} gave {_name(one.hung_up_with)}, heard {_name(other.cause)}")
                self.agreed += 1
        self._promptness(script, caller, callee)
        if self.branch.shape.music == "none":
            self._holds(script, caller, callee)

    def _acts(self, script: Script, side: Side) -> tuple[tuple[int, str], ...]:
        if side is script.caller:
            return script.acts
        return side.answering.acts if side.answering is not None else ()

    def _strict(self, script: Script, caller: Side, records: list[CallRecord]) -> None:
        told = len(records) + self._refusals[script.number]
        if told == 2 and self._asked_again(script, records):
            # That is another call.
            told = 1
            records = records[-1:]
        if not told and caller.ours and not script.callees and self._is_asked(script):
            # It gave up while it was asked for its password: nobody called yet.
            return
        if told != 1:
            self._wrong(script, f"{told} records")
        if len(records) != 1:
            return
        record = records[0]
        self._rings(script, caller, record)
        if self._forked(script, record):
            self._fork(script, caller, record)
            return
        callee = script.callees[-1] if script.callees and record.attempts else None
        self._answers(script, caller, callee, record)
        self._promptness(script, caller, callee)
        self._holds(script, caller, callee)
        self._causes(script, caller, callee, record)

    def _rings(self, script: Script, caller: Side, record: CallRecord) -> None:
        """Every telephone that is registered rings when its number is called."""
        devices = {each.name for each in self.branch.devices}
        called = [each for each in record.attempts if each.destination == f"sip:{PHONE}"]
        impatient = caller.hung_up is not None and caller.hung_up < caller.offered + self.margin + RINGS_BY
        if devices and called and not script.moved and not impatient:
            silent = sorted(devices - {side.node for side in script.callees})
            if silent:
                self._wrong(script, f"{', '.join(silent)} did not ring")

    def _is_asked(self, script: Script) -> bool:
        """Whether the gateway wants a password of the caller's."""
        branch = self.branch
        asked = (*branch.devices, *branch.servers)
        return script.caller is not None and (
            (branch.shape.proves and script.caller.technology == "sip")
            or script.caller.technology == "iax2"
            or any(each.name == script.origin for each in asked)
        )

    def _asked_again(self, script: Script, records: list[CallRecord]) -> bool:
        """Whether a caller that would have SRTP offered it in the other way when its first offer was refused."""
        terms = self.branch.shape.encryption.get(script.origin)
        wanted = terms is not None and terms[1] is MediaEncryption.OPTIONAL
        return wanted and 0 < len(records) < 3 and records[0].answer is None and records[0].cause in MEDIA_CAUSES

    def _must_be_answered(self, script: Script, caller: Side) -> bool:
        """Whether some way was there for this emergency call all the time."""
        if caller.lost or caller.ended is None or self.branch.misfortunes.packets_suffer:
            return False
        if any(side.lost for side in script.callees):
            # The desk was reached, and let it ring, until it was restarted.
            return False
        since, until = caller.offered - AFTERMATH, caller.offered + ANSWERED_WITHIN
        suffered = {what for at, what in self.branch.misfortunes.suffered if since <= at <= until}
        ways = {"hq", "alt"} - suffered
        if "lines" not in suffered and not self.branch.misfortunes.frames_suffer:
            ways.add("lines")
        return bool(ways) and "everything" not in suffered and caller.node not in suffered

    def _forked(self, script: Script, record: CallRecord) -> bool:
        """Whether several telephones rang at once."""
        return len(self.branch.devices) > 1 and any(each.destination == f"sip:{PHONE}" for each in record.attempts)

    def _fork(self, script: Script, caller: Side, record: CallRecord) -> None:
        """One of them has the call, the others are soon rid of it."""
        hung_up = caller.hung_up
        if record.answer is not None and caller.answered is None:
            if hung_up is None or hung_up > record.answer + self.margin:
                self._wrong(script, "answered, and the caller was not told")
        elif record.answer is None and caller.answered is not None:
            self._wrong(script, "the caller was told of an answer that the record has not")
        if record.answer is None:
            return
        talked = [side for side in script.callees if (side.ended or 0) > record.answer + ENDED_WITHIN]
        if len(talked) > 1:
            self._wrong(script, f"{len(talked)} telephones had the call")
        self.forks += 1

    def _goes_on(self, script: Script, caller: Side, record: CallRecord) -> None:
        """A call to the provider goes on at its other server where nothing but one of the two is down."""
        down = {what for _, what in self.branch.misfortunes.happened}
        alone = len(down) == 1 and down.pop().endswith("is down") and len(self.branch.servers) > 1
        attempts = [each for each in record.attempts if each.destination.startswith(f"sip:{PROVIDER}")]
        if not alone or self.branch.misfortunes.packets_suffer or not attempts or attempts[0].cause is None:
            return
        reached = any(side.node.startswith(PROVIDER) for side in script.callees)
        patient = (caller.ended or 0) > caller.offered + CALLED_ELSEWHERE_BY
        silent = len(record.attempts) == 1 or Cause.of(attempts[0].cause) in SILENCE
        if patient and not reached and silent:
            self._wrong(script, "the other server was not called")

    def _lenient(self, script: Script, caller: Side, record: CallRecord) -> None:
        """Where things go wrong: what was said is either the truth or one of RECOVERY."""
        cause = Cause.of(record.cause)
        callee = script.callees[-1] if script.callees and record.attempts else None
        if caller.answered is not None and record.answer is None and not self.branch.gateway.restarts:
            self._wrong(script, "the caller was told of an answer that the record has not")
        truths = set(RECOVERY)
        if self.branch.iax.leaked:
            # What becomes of a call whose far end leaks.
            truths.add(Cause.BEARER_CAPABILITY_NOT_AVAILABLE)
        for side in script.sides:
            given = arriving(side)
            if given is not None:
                truths.add(given)
        if record.released_by != "caller" or caller.lost:
            truths.add(cause)
        if cause not in truths:
            self._wrong(script, f"recorded as {cause.name}, which nobody gave")
        heard = {onward(cause, caller), *RECOVERY, *([caller.hung_up_with] if caller.ours else [])}
        if not caller.lost and caller.cause not in heard:
            self._wrong(script, f"the caller heard {_name(caller.cause)}, recorded as {cause.name}")
        if callee is not None and not callee.lost and not callee.ours and record.released_by == "caller":
            heard = {onward(cause, callee), *RECOVERY}
            if callee.cause not in heard:
                self._wrong(script, f"the called party heard {_name(callee.cause)}, recorded as {cause.name}")

    def _answers(self, script: Script, caller: Side, callee: Side | None, record: CallRecord) -> None:
        hung_up = caller.hung_up
        if record.answer is not None and caller.answered is None:
            if hung_up is None or hung_up > record.answer + self.margin:
                self._wrong(script, "answered, and the caller was not told")
        elif record.answer is None and caller.answered is not None:
            self._wrong(script, "the caller was told of an answer that the record has not")
        unseen = callee is not None and callee.answered is not None and record.answer is None
        if callee is not None and unseen and abs(record.end - (callee.answered or 0)) > self.margin:
            self._wrong(script, "the called party answered, and the record does not say so")

    def _promptness(self, script: Script, caller: Side, callee: Side | None) -> None:
        """What the called party does is told to the caller without waiting for anything else to happen."""
        if callee is None or len(script.callees) > 1:
            return
        for what, done, told in (
            ("ringing", callee.ringing, caller.ringing),
            ("answer", callee.answered, caller.answered),
        ):
            if done is not None and told is not None and told > done + self.margin and not self._reliable:
                self._wrong(script, f"the caller heard of the {what} after {(told - done) / 1e6:.3f} s")

        for one, other in ((caller, callee), (callee, caller)):
            if one.hung_up is not None and one.ended is not None and other.ended is not None:
                last = max(one.ended, other.ended)
                if last > one.hung_up + ENDED_WITHIN:
                    self._wrong(script, f"it took {(last - one.hung_up) / 1e6:.3f} s to end")

    def _holds(self, script: Script, caller: Side, callee: Side | None) -> None:
        """A party that is put on hold, and taken back, is told so once."""
        holds = [what for _, what in script.acts] == ["hold", "resume"]
        if callee is None or callee.technology not in CARRY_HOLD or not self._carries_hold(caller) or not holds:
            return
        if (callee.answering is not None and callee.answering.acts) or caller.answered is None:
            return
        resumed = caller.answered + script.acts[-1][0] * MILLISECOND
        if min(side.hung_up or side.ended or 0 for side in (caller, callee)) > resumed + HELD_WITHIN:
            self.held += 1
            times = 1 if self.branch.shape.music == "none" else 0
            if (callee.held, callee.resumed) != (times, times):
                self._wrong(script, f"put on hold {callee.held} times, taken back {callee.resumed} times, not {times}")

    def _carries_hold(self, side: Side) -> bool:
        return side.technology in CARRY_HOLD or any(
            exchange.name == side.node and exchange.exchange.trunk.variant.notifies_hold
            for exchange in self.branch.exchanges
        )

    def _causes(self, script: Script, caller: Side, callee: Side | None, record: CallRecord) -> None:
        cause = Cause.of(record.cause)
        if record.released_by == "caller":
            expected = arriving(caller)
            if cause is not expected:
                self._wrong(script, f"recorded as {cause.name}, the caller gave {_name(expected)}")
        elif not caller.ours or (caller.hung_up or 0) > record.end + self.margin:
            expected = onward(cause, caller)
            glare = caller.technology == "pri" and caller.cause is Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE
            # The loser of a glare takes any refusal for want of a channel as such (gateway.pri.leg).
            if caller.cause is not expected and not (glare and expected in NO_CHANNEL):
                self._wrong(script, f"the caller heard {_name(caller.cause)}, expected {expected.name}")
        if callee is None or record.attempts[-1].cause is None:
            return
        if record.released_by == "called":
            expected = arriving(callee)
            if callee.hung_up is None and callee.cause is Cause.RECOVERY_ON_TIMER_EXPIRY:
                # Nobody hung up: a timer of the gateway's, as T310, ended it both ways.
                if cause not in EXCHANGE_TIMERS:
                    self._wrong(script, f"recorded as {cause.name} when a timer ran out")
            elif expected in NO_CHANNEL and cause is Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE:
                # The loser of a glare takes any refusal for want of a channel as such (gateway.pri.leg).
                pass
            elif expected is not None and cause is not expected and not self._crossed(callee, cause):
                self._wrong(script, f"recorded as {cause.name}, the called party gave {expected.name}")
        elif record.released_by == "caller" and not callee.ours:
            expected = onward(cause, callee)
            if callee.cause is not expected:
                self._wrong(script, f"the called party heard {_name(callee.cause)}, expected {expected.name}")
        self.agreed += 1

    def _crossed(self, callee: Side, cause: Cause) -> bool:
        """Whether it hung up just as it had answered: a re-INVITE that the answer brought about then got 481."""
        at_once = (callee.hung_up or 0) < (callee.answered or 0) + self.margin
        return at_once and callee.technology == "sip" and cause is Cause.NORMAL_UNSPECIFIED

    def _wrong(self, script: Script, text: str) -> None:
        records = self._records.get(script.number, [])[:MOST_TOLD]
        facts = [
            f"record {each.id[9:]}: cause {each.cause} by {each.released_by}, "
            f"attempts {[(a.destination, a.cause) for a in each.attempts]}"
            for each in records
        ]
        self.breaches.append(f"{script}: {text}; {'; '.join(facts)}; {[_told(side) for side in script.sides]}")


def _repeated(caller: Side, records: list[CallRecord]) -> bool:
    """Whether an exchange repeated a SETUP (T303) whose answer the line kept back: then that is one more call."""
    return caller.technology == "pri" and len(records) == 2 and records[0].answer is None


def _name(cause: Cause | None) -> str:
    return "nothing" if cause is None else cause.name


def _told(side: Side) -> str:
    return (
        f"{side.node} answered {side.answered} hung up {side.hung_up} with {_name(side.hung_up_with)} "
        f"ended {side.ended} {_name(side.cause)}{' ours' if side.ours else ''}{' lost' if side.lost else ''}"
    )
