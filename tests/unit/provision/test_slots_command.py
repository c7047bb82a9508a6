"""What a slot does at its arrival, on a machine of the test's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.provision.slots import BootState, Ending, Slot, SlotRecord, SlotState
from gateway.provision.slots_block import encode, partition
from gateway.provision.slots_command import Machine, arrive, how_it_ended, running_slot, status
from gateway.provision.slots_store import BootEnvironment


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    block = encode(BootState(a=SlotRecord(SlotState.CONFIRMED, 5), booted=Slot.A), 4)
    (tmp_path / "bootstate").write_bytes(partition((block, block)))
    (tmp_path / "cmdline").write_text("root=/dev/dm-0 branch.slot=A quiet\n")
    for name in ("pstore", "watchdogs/watchdog0"):
        (tmp_path / name).mkdir(parents=True)
    return Machine(
        BootEnvironment(tmp_path / "bootstate", tmp_path / "lock"),
        command_line=tmp_path / "cmdline",
        pstore=tmp_path / "pstore",
        watchdogs=tmp_path / "watchdogs",
        restart=("touch", str(tmp_path / "restarted")),
    )


def known(machine: Machine) -> BootState:
    state = machine.environment.read()
    assert state is not None
    return state


def test_an_arrival_gives_the_starts_back(machine: Machine, tmp_path: Path) -> None:
    assert arrive(machine) == 0
    assert known(machine).a == SlotRecord() and not (tmp_path / "restarted").exists()


def test_a_panic_is_proof_once(machine: Machine) -> None:
    (machine.pstore / "dmesg-efi-1").write_text("Kernel panic - not syncing")
    assert arrive(machine) == 0
    assert known(machine).a == SlotRecord(SlotState.CONFIRMED, 7, 1)
    assert arrive(machine) == 0
    assert known(machine).a.faults == 1


@pytest.mark.parametrize(("bits", "ending"), [("32", Ending.WATCHDOG), ("0", Ending.UNKNOWN), ("x", Ending.UNKNOWN)])
def test_the_watchdogs_own_word_is_taken(machine: Machine, bits: str, ending: Ending) -> None:
    (machine.watchdogs / "watchdog0/bootstatus").write_text(bits + "\n")
    assert how_it_ended(machine) is ending


def test_the_other_slot_hands_back_and_starts_anew(machine: Machine, tmp_path: Path) -> None:
    machine.command_line.write_text("branch.slot=B")
    machine.environment.change(lambda state: replace(state, a=SlotRecord(SlotState.CONFIRMED, 0), booted=Slot.B))
    assert arrive(machine) == 0
    assert known(machine).a == SlotRecord() and (tmp_path / "restarted").exists()


def test_with_no_environment_the_running_slot_is_the_first(machine: Machine) -> None:
    machine.command_line.write_text("branch.slot=B")
    machine.environment.device.write_bytes(bytes(1 << 20))
    assert "no copy" in status(machine)
    assert arrive(machine) == 0
    assert known(machine).first is Slot.B and known(machine).b.left == 8
    assert "slot B: confirmed, 8 starts left, 0 faults (first, running)" in status(machine)


def test_a_machine_without_slots_is_left_alone(machine: Machine) -> None:
    before = machine.environment.device.read_bytes()
    for words in ("quiet", "branch.slot=C", "branch.slot="):
        machine.command_line.write_text(words)
        assert running_slot(machine) is None and arrive(machine) == 0
    assert machine.environment.device.read_bytes() == before
