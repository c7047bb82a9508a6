"""What buildroot/board/x86_64/grub.cfg decides, in Python: tests/image compares it with the file run by a real GRUB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from gateway.provision.slots import BootState, Slot, SlotState
from gateway.provision.slots_block import GENERATIONS, decode, encode, latest

Write = Callable[[int, bytes], bool]
"""Writes a copy, or cannot."""


@dataclass(frozen=True, slots=True)
class Start:
    """``slot``, or rescue for ``reason``."""

    slot: Slot | None
    reason: str = ""


def start(copies: tuple[bytes, bytes], write: Write, kernels: frozenset[Slot] = frozenset(Slot)) -> Start:
    """One run of the boot loader; ``kernels`` are the slots whose kernel can be loaded."""
    chosen = latest(copies)
    if chosen is None:
        return Start(None, "environment")
    found = decode(copies[chosen])
    assert found is not None
    state, generation = found
    if state.rescue:
        return Start(None, "asked")
    spare_fair = decode(copies[1 - chosen]) is not None
    for slot in (state.first, state.first.other):
        record = state[slot]
        if not record.startable:
            continue
        state = replace(state.having(slot, replace(record, left=record.left - 1)), booted=slot)
        generation = (generation + 1) % GENERATIONS
        counted = _write_both(encode(state, generation), chosen, spare_fair, write)
        if (counted or record.state is SlotState.CONFIRMED) and slot in kernels:
            return Start(slot)
    return Start(None, "exhausted")


def _write_both(block: bytes, chosen: int, spare_fair: bool, write: Write) -> bool:
    taken = write(1 - chosen, block) if spare_fair else False
    return write(chosen, block) or taken


class Disk:
    """Two copies, each changed in place; power fails once ``octets_left`` are written."""

    def __init__(self, state: BootState | None = None, generation: int = 0) -> None:
        block = encode(state or BootState(), generation)
        self.copies = [bytearray(block), bytearray(block)]
        self.octets_left: int | None = None

    @property
    def pair(self) -> tuple[bytes, bytes]:
        return bytes(self.copies[0]), bytes(self.copies[1])

    @property
    def state(self) -> BootState | None:
        """What counts."""
        which = latest(self.pair)
        found = None if which is None else decode(self.pair[which])
        return None if found is None else found[0]

    def write(self, copy: int, block: bytes) -> bool:
        """Raises PowerCutError where power fails."""
        octets = len(block)
        if self.octets_left is not None:
            octets = min(octets, self.octets_left)
            self.octets_left -= octets
        self.copies[copy][:octets] = block[:octets]
        if octets < len(block):
            raise PowerCutError
        return True

    def grub(self, kernels: frozenset[Slot] = frozenset(Slot)) -> Start:
        return start(self.pair, self.write, kernels)


class PowerCutError(Exception):
    """It is dark."""
