"""Which of two slots starts: the state that the boot loader and we share, and what may become of it.

Theory of operation: docs/boot.md. Here are values and transitions alone; slots_block.py has the octets, slots_store.py
the partition. A slot on trial has 3 starts, a confirmed one 8, then the other slot has its turn, then rescue.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

TRIAL_STARTS = 3
CONFIRMED_STARTS = 8
MAX_FAULTS = CONFIRMED_STARTS
"""Proven faults of a confirmed slot, without a confirmation in between, after which it has no starts left."""


class Slot(Enum):
    """A system in a partition of its own."""

    A = "A"
    B = "B"

    @property
    def other(self) -> Slot:
        """The one that this is not."""
        return Slot.B if self is Slot.A else Slot.A


class SlotState(Enum):
    """What is known of a slot."""

    CONFIRMED = "c"
    TRIAL = "t"
    BAD = "b"
    """Empty, half written or found wanting: it is never started."""


class Ending(Enum):
    """How the run before this one ended, as far as there is proof."""

    UNKNOWN = "nothing is known of it"
    """A power cut leaves no proof, nor does an orderly restart."""
    PANIC = "the kernel panicked"
    WATCHDOG = "the hardware watchdog ended it"


class SlotError(ValueError):
    """Such a change of the slots is not allowed now."""


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """One slot: ``left`` starts (0 to 8) before the other's turn, and ``faults`` that were proven (0 to 8)."""

    state: SlotState = SlotState.CONFIRMED
    left: int = CONFIRMED_STARTS
    faults: int = 0

    @property
    def startable(self) -> bool:
        """Whether the boot loader would start it."""
        return self.state is not SlotState.BAD and self.left > 0


@dataclass(frozen=True, slots=True)
class BootState:
    """All that the boot environment has. The default is the safe one, for when nothing can be read."""

    first: Slot = Slot.A
    a: SlotRecord = SlotRecord()
    b: SlotRecord = SlotRecord()
    rescue: bool = False
    """Somebody asked for rescue: it starts until this is taken back."""
    returned: bool = False
    """The first slot ran out of starts without proof of a fault and was given them once more."""
    booted: Slot | None = None
    """What the boot loader started last."""

    def __getitem__(self, slot: Slot) -> SlotRecord:
        return self.a if slot is Slot.A else self.b

    def having(self, slot: Slot, record: SlotRecord) -> BootState:
        """The same with ``record`` for ``slot``."""
        return replace(self, a=record) if slot is Slot.A else replace(self, b=record)


def retire(state: BootState, slot: Slot) -> BootState:
    """Before ``slot`` is written over: never start it. SlotError if there is no other one to start."""
    if not state[slot.other].startable:
        raise SlotError(f"slot {slot.value} cannot be written: slot {slot.other.value} could not be started")
    return replace(state.having(slot, SlotRecord(SlotState.BAD, 0)), first=slot.other)


def put_on_trial(state: BootState, slot: Slot) -> BootState:
    """``slot`` is written and whole: start it next, three times at most. SlotError if it would have no way back."""
    if state[slot.other].state is not SlotState.CONFIRMED:
        raise SlotError(f"slot {slot.other.value} is not confirmed: from slot {slot.value} there would be no way back")
    record = SlotRecord(SlotState.TRIAL, TRIAL_STARTS)
    return replace(state.having(slot, record), first=slot, returned=False)


def confirm(state: BootState, running: Slot) -> BootState:
    """``running`` has shown that it is good: it is the one to start from now on."""
    return replace(state.having(running, SlotRecord()), first=running, returned=False)


def roll_back(state: BootState, running: Slot) -> BootState:
    """Start the other slot from now on. One on trial is bad then. SlotError if the other is no slot to start."""
    other = state[running.other]
    if other.state is not SlotState.CONFIRMED:
        raise SlotError(f"slot {running.other.value} is not confirmed: there is nothing to go back to")
    state = state.having(running.other, SlotRecord())
    if state[running].state is SlotState.TRIAL:
        state = state.having(running, SlotRecord(SlotState.BAD, 0))
    return replace(state, first=running.other, returned=False)


def give_up(state: BootState, running: Slot) -> BootState:
    """``running`` is not healthy and about to be started anew; of a slot on trial the boot loader has counted that."""
    state = _blame(state, running)
    record, other = state[running], running.other
    if record.state is SlotState.CONFIRMED and record.faults >= MAX_FAULTS and state[other].startable:
        return replace(state.having(running, replace(record, left=0)), first=other)
    return state


@dataclass(frozen=True, slots=True)
class Arrival:
    """``state`` is to be written; with ``restart`` the box is to be started anew at once, for ``why``."""

    state: BootState
    restart: bool = False
    why: str = ""


def arrive(state: BootState, running: Slot, ending: Ending) -> Arrival:
    """The system in ``running`` has come so far that its programs run: settle what the boot loader has counted.

    The boot loader counts starts, as it cannot know how a run ends. Starts of a confirmed slot are given back here, at
    the earliest moment that can write, but for those of which there is proof that the slot was at fault: so a power cut
    costs none. A slot on trial gets nothing back; only its confirmation ends the count.
    """
    preferred = state.first
    why = ""
    if ending is not Ending.UNKNOWN:
        # The run before was of the slot to prefer, whichever was left to start now.
        state = _blame(state, preferred)
    if running is preferred:
        return _settle_preferred(state, running)
    record = state[preferred]
    if record.state is SlotState.TRIAL and record.left == 0:
        why = f"slot {preferred.value} was not confirmed in {TRIAL_STARTS} starts"
        state = state.having(preferred, SlotRecord(SlotState.BAD, 0))
        state = replace(state, first=running, returned=False)
    elif (again := second_chance(state)) is not None:
        state = again
        back = f"slot {preferred.value} had {CONFIRMED_STARTS} starts and no proven fault: it gets them once more"
        return Arrival(_refill(state, running), restart=True, why=back)
    elif not record.startable:
        why = f"slot {preferred.value} has no starts left"
        state = replace(state, first=running)
    elif record.state is SlotState.CONFIRMED:
        why = f"the kernel of slot {preferred.value} could not be started"
        state = replace(state, first=running)
    return Arrival(_refill(state, running), why=why)


def second_chance(state: BootState) -> BootState | None:
    """The first slot with all its starts, if it ran out of them and nothing speaks against it; None if it had that.

    Eight starts that came to nothing look the same whether its kernel hangs or power failed each time.
    """
    record = state[state.first]
    spent = record.state is SlotState.CONFIRMED and record.left == 0 and record.faults == 0
    return replace(state.having(state.first, SlotRecord()), returned=True) if spent and not state.returned else None


def _settle_preferred(state: BootState, running: Slot) -> Arrival:
    record = state[running]
    if record.state is SlotState.CONFIRMED and record.faults >= MAX_FAULTS and state[running.other].startable:
        spent = replace(state.having(running, replace(record, left=0)), first=running.other)
        return Arrival(spent, restart=True, why=f"slot {running.value} failed {record.faults} times")
    if record.state is SlotState.CONFIRMED:
        # Whatever made it run out of starts once is over.
        state = replace(state, returned=False)
    return Arrival(_refill(state, running))


def _blame(state: BootState, slot: Slot) -> BootState:
    record = state[slot]
    if record.state is not SlotState.CONFIRMED:
        return state
    return state.having(slot, replace(record, faults=min(MAX_FAULTS, record.faults + 1)))


def _refill(state: BootState, running: Slot) -> BootState:
    record = state[running]
    if record.state is not SlotState.CONFIRMED:
        return state
    # The last one has at least one start: it is what runs, and there may be nothing better.
    return state.having(running, replace(record, left=max(1, CONFIRMED_STARTS - record.faults)))


def retry(state: BootState) -> BootState:
    """What rescue does after its time-out: every slot that may be any good has its starts again.

    A slot on trial that ran out of them has another chance only where there is nothing else.
    """
    for slot in Slot:
        if state[slot].state is SlotState.CONFIRMED:
            state = state.having(slot, SlotRecord())
    if not any(state[slot].startable for slot in Slot):
        for slot in Slot:
            if state[slot].state is SlotState.TRIAL:
                state = state.having(slot, SlotRecord(SlotState.TRIAL, TRIAL_STARTS))
    if not state[state.first].startable and state[state.first.other].startable:
        state = replace(state, first=state.first.other)
    return replace(state, rescue=False, returned=True)


def choose(state: BootState, slot: Slot) -> BootState:
    """What a person at rescue does: start ``slot`` next. SlotError if it is known to be bad."""
    record = state[slot]
    if record.state is SlotState.BAD:
        raise SlotError(f"slot {slot.value} is empty or bad")
    left = CONFIRMED_STARTS if record.state is SlotState.CONFIRMED else TRIAL_STARTS
    return replace(state.having(slot, SlotRecord(record.state, left)), first=slot, rescue=False, returned=False)
