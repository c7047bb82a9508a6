"""Slots: what is started, what a power cut costs, and that no octet of any write is a bad moment for one."""

from __future__ import annotations

import os
import random
import re
from collections import deque
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provision import slots
from gateway.provision.slots import BootState, Ending, Slot, SlotError, SlotRecord, SlotState
from gateway.provision.slots_block import (
    BLOCK,
    COPY_AT,
    GENERATIONS,
    LEGAL,
    PARTITION,
    SIGNATURE,
    decode,
    encode,
    latest,
    newer,
    partition,
)
from gateway.provision.slots_store import BootEnvironment, BootEnvironmentError
from tests.unit.provision.grub_model import Disk, PowerCutError

BOARD = Path(__file__).parents[3] / "buildroot/board/x86_64"

records = st.builds(SlotRecord, st.sampled_from(SlotState), st.integers(0, 8), st.integers(0, 8))
states = st.builds(
    BootState,
    st.sampled_from(Slot),
    records,
    records,
    st.booleans(),
    st.booleans(),
    st.one_of(st.none(), st.sampled_from(Slot)),
)
BAD = SlotRecord(SlotState.BAD, 0)


def trial_of_b() -> BootState:
    return slots.put_on_trial(slots.retire(BootState(), Slot.B), Slot.B)


# --- the octets


@given(states, st.integers(0, GENERATIONS - 1))
def test_a_state_comes_back_from_its_octets(state: BootState, generation: int) -> None:
    block = encode(state, generation)
    assert len(block) == BLOCK and decode(block) == (state, generation)
    # All of it lies in one sector, which disks write as a whole.
    assert block.rstrip(b"#").rfind(b"\n") < 512


def test_every_value_is_one_character_and_its_place_never_moves() -> None:
    assert all(len(value) == 1 for legal in LEGAL.values() for value in legal)
    names = re.findall(rb"(\w+)=.\n", encode(BootState(), 0))
    assert names == [name.encode() for name in LEGAL] and names[0] == b"head" and names[-1] == b"tail"


@given(st.binary(max_size=2 * BLOCK))
def test_octets_that_nobody_wrote_are_void_or_legal(data: bytes) -> None:
    for block in (data, SIGNATURE + data, (SIGNATURE + data).ljust(BLOCK, b"#")[:BLOCK]):
        found = decode(block)
        assert found is None or encode(*found).count(b"\n") == len(LEGAL) + 1


@given(states, st.integers(0, GENERATIONS - 1), st.integers(0, BLOCK - 1), st.integers(0, 255))
def test_one_wrong_octet_never_gives_anything_but_a_legal_state(
    state: BootState, generation: int, at: int, octet: int
) -> None:
    block = bytearray(encode(state, generation))
    block[at] = octet
    found = decode(bytes(block))
    assert found is None or (0 <= found[0].a.left <= 8 and 0 <= found[0].b.left <= 8)


@given(states, states, st.integers(0, GENERATIONS - 1), st.integers(0, BLOCK))
def test_a_copy_cut_off_at_any_octet_is_the_old_the_new_or_void(
    old: BootState, new: BootState, generation: int, cut: int
) -> None:
    before, after = encode(old, generation), encode(new, (generation + 1) % GENERATIONS)
    forward = decode(after[:cut] + before[cut:])
    assert forward in (None, (old, generation), (new, (generation + 1) % GENERATIONS))
    # A disk may write its second sector before its first.
    backward = decode(before[:cut] + after[cut:])
    assert backward in (None, (old, generation), (new, (generation + 1) % GENERATIONS))


def test_of_two_generations_one_is_the_newer() -> None:
    for one in range(GENERATIONS):
        assert newer((one + 1) % GENERATIONS, one) and not newer(one, one)
        assert all(newer(one, other) != newer(other, one) for other in range(GENERATIONS) if other != one)


# --- the boot loader's file has the same figures


def test_the_boot_loaders_file_has_the_same_values_and_the_boards_partitions() -> None:
    text = (BOARD / "grub.cfg").read_text()
    partitions = dict(line.split("=") for line in (BOARD / "partitions.env").read_text().splitlines() if "=" in line)
    assert partitions["PARTUUID_ROOTFS_A"] in text and partitions["PARTUUID_ROOTFS_B"] in text
    # The description of a slot is in its last 4 KiB, of which GRUB wants the sector.
    assert f"){int(partitions['SIZE_ROOTFS']) * 2048 - 8}+2" in text
    assert int(partitions["SIZE_BOOTSTATE"]) << 20 == PARTITION
    for number in range(1, 9):
        assert f"less_{number}={number - 1}" in text
    for number in range(GENERATIONS):
        assert f"next_{number}={(number + 1) % GENERATIONS}" in text
    for name, legal in LEGAL.items():
        wanted = '"$head"' if name == "tail" else " ".join(legal)
        if name == "booted":
            wanted = "A B N"
        assert f'expect "${name}" {wanted}\n' in text, name


def test_no_table_of_the_boot_loader_uses_a_sentinel_as_an_index() -> None:
    text = (BOARD / "grub.cfg").read_text()
    assert "less_0" not in text  # a slot with none left is never counted down
    assert 'a_left" != 0' in text and 'b_left" != 0' in text


# --- starts


def test_a_slot_on_trial_has_three_starts_then_the_other_has_its_turn() -> None:
    disk = Disk(trial_of_b())
    started = [disk.grub().slot for _ in range(5)]
    assert started == [Slot.B, Slot.B, Slot.B, Slot.A, Slot.A]


def test_confirmed_slots_have_eight_starts_each_then_rescue() -> None:
    disk = Disk(BootState(first=Slot.B))
    started = [disk.grub() for _ in range(18)]
    assert [each.slot for each in started] == [Slot.B] * 8 + [Slot.A] * 8 + [None] * 2
    assert started[-1].reason == "exhausted"


def test_a_slot_without_a_kernel_costs_no_restart() -> None:
    disk = Disk(BootState())
    assert disk.grub(frozenset({Slot.B})).slot is Slot.B
    assert disk.grub(frozenset()).reason == "exhausted"


def test_rescue_starts_until_it_is_taken_back() -> None:
    disk = Disk(replace(BootState(), rescue=True))
    assert [disk.grub().reason for _ in range(3)] == ["asked"] * 3
    assert slots.retry(replace(BootState(), rescue=True)).rescue is False


@given(states)
def test_starts_that_come_to_nothing_always_end_in_rescue_and_never_start_a_bad_slot(state: BootState) -> None:
    disk = Disk(state)
    for _ in range(17):
        begun = disk.grub()
        if begun.slot is None:
            break
        assert state[begun.slot].state is not SlotState.BAD
    else:
        pytest.fail("neither slot came to anything and rescue never started")


# --- power cuts


@given(states, st.integers(0, GENERATIONS - 1), st.lists(st.integers(0, 2 * BLOCK), max_size=12))
def test_power_cuts_while_the_boot_loader_counts_leave_the_state_of_before_or_after(
    state: BootState, generation: int, cuts: list[int]
) -> None:
    disk = Disk(state, generation)
    for cut in cuts:
        before, pair = disk.state, disk.pair
        whole = Disk()
        whole.copies = [bytearray(each) for each in pair]
        whole.grub()
        # With one copy void there is nothing to fall back on while the other is written, but a sector is never torn.
        disk.octets_left = cut if None not in map(decode, pair) else cut // BLOCK * BLOCK
        with suppress(PowerCutError):
            disk.grub()
        assert disk.state in (before, whole.state) and disk.state is not None
        disk.octets_left = None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5 * BLOCK), st.booleans()), max_size=40))
def test_power_cuts_at_any_octet_never_take_the_only_good_slot_away(steps: list[tuple[int, bool]]) -> None:
    """Boot loader, then system, with power failing anywhere; whatever happened, the good slot starts in the end."""
    disk = Disk(BootState(b=BAD))
    for cut, reaches_programs in steps:
        disk.octets_left = cut
        with suppress(PowerCutError):
            if disk.grub().slot is not None and reaches_programs:
                write(disk, slots.arrive(known(disk), Slot.A, Ending.UNKNOWN).state)
    disk.octets_left = None
    begun = disk.grub()
    if begun.slot is None:
        # Rescue is there; it gives the starts back at once, or lays the environment out anew.
        state = disk.state or BootState(b=BAD)
        write(disk, slots.second_chance(state) or slots.retry(state))
        begun = disk.grub()
    assert begun.slot is Slot.A


@given(st.lists(st.integers(0, 7), max_size=60))
def test_power_cuts_do_not_consume_the_starts_of_a_confirmed_slot(cuts_in_a_row: list[int]) -> None:
    """However often power fails before the system's programs run, the first run that comes that far settles it."""
    disk = Disk(BootState())
    for cuts in cuts_in_a_row:
        for _ in range(cuts):
            assert disk.grub().slot is Slot.A
        assert disk.grub().slot is Slot.A
        write(disk, slots.arrive(known(disk), Slot.A, Ending.UNKNOWN).state)
        assert known(disk).a == SlotRecord()


def test_eight_power_cuts_in_the_first_seconds_lead_away_and_back() -> None:
    disk = Disk(BootState())
    for _ in range(8):
        assert disk.grub().slot is Slot.A
    assert disk.grub().slot is Slot.B
    arrival = slots.arrive(known(disk), Slot.B, Ending.UNKNOWN)
    assert arrival.restart and "once more" in arrival.why
    write(disk, arrival.state)
    assert disk.grub().slot is Slot.A
    back = slots.arrive(known(disk), Slot.A, Ending.UNKNOWN)
    assert not back.restart and back.state.a == SlotRecord() and not back.state.returned


def test_a_slot_that_dies_without_proof_is_given_up_the_second_time() -> None:
    disk = Disk(BootState())
    for _ in range(2):
        for _ in range(8):
            assert disk.grub().slot is Slot.A
        assert disk.grub().slot is Slot.B
        arrival = slots.arrive(known(disk), Slot.B, Ending.UNKNOWN)
        write(disk, arrival.state)
    assert not arrival.restart and arrival.state.first is Slot.B and arrival.state.b.left == 8
    assert disk.grub().slot is Slot.B


@pytest.mark.parametrize("ending", [Ending.PANIC, Ending.WATCHDOG])
def test_proven_faults_of_a_confirmed_slot_are_counted_until_the_other_has_its_turn(ending: Ending) -> None:
    disk = Disk(BootState())
    starts = 0
    while (begun := disk.grub().slot) is Slot.A:
        starts += 1
        arrival = slots.arrive(known(disk), Slot.A, ending if starts > 1 else Ending.UNKNOWN)
        write(disk, arrival.state)
    assert begun is Slot.B and starts == 9  # the ninth is told of the eighth fault, and gives up at once
    assert arrival.restart and arrival.state.first is Slot.B


def test_a_panic_before_any_program_runs_is_no_reason_to_come_back() -> None:
    disk = Disk(BootState())
    for _ in range(9):
        last = disk.grub().slot
    assert last is Slot.B
    arrival = slots.arrive(known(disk), Slot.B, Ending.PANIC)
    assert not arrival.restart and arrival.state.first is Slot.B and arrival.state.a.faults == 1


def test_confirmation_forgets_faults() -> None:
    state = slots.arrive(BootState(), Slot.A, Ending.WATCHDOG).state
    assert state.a == SlotRecord(SlotState.CONFIRMED, 7, 1)
    assert slots.confirm(state, Slot.A).a == SlotRecord()


def test_the_last_slot_keeps_a_start_however_often_it_failed() -> None:
    state = BootState(b=BAD)
    for _ in range(20):
        state = slots.arrive(state, Slot.A, Ending.PANIC).state
        state = slots.give_up(state, Slot.A)
    assert state.first is Slot.A and state.a.left == 1


def test_a_slot_that_gives_up_eight_times_hands_over() -> None:
    state = BootState()
    for _ in range(8):
        assert state.first is Slot.A
        state = slots.give_up(state, Slot.A)
    assert Disk(state).grub().slot is Slot.B
    on_trial = trial_of_b()
    assert slots.give_up(on_trial, Slot.B) == on_trial


# --- an update


def test_an_update_is_started_confirmed_and_has_a_way_back() -> None:
    disk = Disk(slots.retire(BootState(), Slot.B))
    assert disk.grub().slot is Slot.A  # while it is being written
    write(disk, slots.put_on_trial(known(disk), Slot.B))
    assert disk.grub().slot is Slot.B
    arrived = slots.arrive(known(disk), Slot.B, Ending.UNKNOWN).state
    assert arrived.b == SlotRecord(SlotState.TRIAL, 2)  # a trial gets nothing back
    write(disk, slots.confirm(arrived, Slot.B))
    assert known(disk).first is Slot.B and known(disk).b == SlotRecord()
    write(disk, slots.roll_back(known(disk), Slot.B))
    assert disk.grub().slot is Slot.A and known(disk).b.state is SlotState.CONFIRMED


def test_a_trial_that_failed_is_never_started_again() -> None:
    disk = Disk(trial_of_b())
    assert [disk.grub().slot for _ in range(4)][-1] is Slot.A
    arrival = slots.arrive(known(disk), Slot.A, Ending.PANIC)
    assert "not confirmed in 3 starts" in arrival.why and not arrival.restart
    assert arrival.state.first is Slot.A and arrival.state.b == BAD and arrival.state.a == SlotRecord()


def test_what_has_no_way_back_is_refused() -> None:
    with pytest.raises(SlotError, match="could not be started"):
        slots.retire(BootState(b=BAD), Slot.A)
    with pytest.raises(SlotError, match="no way back"):
        slots.put_on_trial(BootState(a=SlotRecord(SlotState.TRIAL, 2)), Slot.B)
    with pytest.raises(SlotError, match="nothing to go back to"):
        slots.roll_back(BootState(b=BAD), Slot.A)
    with pytest.raises(SlotError, match="empty or bad"):
        slots.choose(BootState(b=BAD), Slot.B)


def test_what_is_chosen_at_rescue_starts_next() -> None:
    state = replace(BootState(b=SlotRecord(SlotState.CONFIRMED, 0)), rescue=True)
    assert Disk(slots.choose(state, Slot.B)).grub().slot is Slot.B


def test_after_rescues_time_out_whatever_may_be_good_starts() -> None:
    spent = BootState(a=SlotRecord(SlotState.CONFIRMED, 0, 8), b=SlotRecord(SlotState.TRIAL, 0), first=Slot.B)
    state = slots.retry(spent)
    assert state.first is Slot.A and state.a == SlotRecord() and state.b.left == 0
    alone = slots.retry(replace(spent, a=BAD))
    assert alone.first is Slot.B and alone.b == SlotRecord(SlotState.TRIAL, 3)


# --- the partition


@pytest.fixture
def environment(tmp_path: Path) -> BootEnvironment:
    device = tmp_path / "bootstate"
    block = encode(BootState(), 0)
    device.write_bytes(partition((block, block)))
    return BootEnvironment(device, tmp_path / "lock")


def pair(environment: BootEnvironment) -> tuple[bytes, bytes]:
    data = environment.device.read_bytes()
    return data[COPY_AT[0] :][:BLOCK], data[COPY_AT[1] :][:BLOCK]


def test_a_change_goes_to_both_copies_and_to_nothing_else(environment: BootEnvironment) -> None:
    before = environment.device.read_bytes()
    assert environment.read() == BootState()
    changed = environment.change(lambda state: slots.retire(state, Slot.B))
    after = environment.device.read_bytes()
    assert environment.read() == changed and pair(environment)[0] == pair(environment)[1]
    different = {at // 512 for at in range(PARTITION) if before[at] != after[at]}
    assert different == {each // 512 for each in COPY_AT} and len(after) == PARTITION


def test_a_change_that_is_refused_writes_nothing(environment: BootEnvironment) -> None:
    before = environment.device.read_bytes()
    with pytest.raises(SlotError):
        environment.change(lambda state: slots.choose(replace(state, b=BAD), Slot.B))
    environment.change(lambda state: state)
    assert environment.device.read_bytes() == before


class CutOff(BootEnvironment):
    """Power fails after so many octets."""

    budget = 0

    def _write(self, descriptor: int, at: int, data: bytes) -> None:
        super()._write(descriptor, at, data[: self.budget])
        if self.budget < len(data):
            raise PowerCutError
        self.budget -= len(data)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2 * BLOCK), min_size=1, max_size=4), states)
def test_power_cuts_at_any_octet_of_any_change_leave_old_or_new(cuts: list[int], state: BootState) -> None:
    scratch = Path(os.environ.get("XDG_RUNTIME_DIR", "/dev/shm"))
    device = scratch / f"bootstate-{os.getpid()}"
    try:
        block = encode(state, 3)
        device.write_bytes(partition((block, block)))
        old: BootState | None = state
        for number, cut in enumerate(cuts):
            new = replace(state, first=state.first.other, returned=bool(number % 2))
            cutting = CutOff(device, device.with_suffix(".lock"))
            cutting.budget = cut
            with suppress(PowerCutError):
                cutting.change(lambda _old, new=new: new)  # type: ignore[misc]
            found = BootEnvironment(device, device.with_suffix(".lock")).read()
            assert found in (old, new) and found is not None
            old = found
    finally:
        device.unlink(missing_ok=True)
        device.with_suffix(".lock").unlink(missing_ok=True)


@pytest.mark.parametrize("damage", ["zeros", "ones", "noise", "header", "end", "nothing"])
@pytest.mark.parametrize("copy", [0, 1])
def test_a_copy_that_is_spoilt_is_mended_from_the_other(environment: BootEnvironment, damage: str, copy: int) -> None:
    environment.change(lambda state: replace(state, first=Slot.B))
    spoil(environment, copy, damage)
    assert environment.read() == BootState(first=Slot.B)
    assert environment.repair() is (damage != "nothing")
    assert environment.repair() is False
    assert pair(environment)[0] == pair(environment)[1]
    assert environment.read() == BootState(first=Slot.B)


@pytest.mark.parametrize("damage", ["zeros", "ones", "noise", "header"])
def test_with_both_copies_spoilt_the_safe_default_holds(environment: BootEnvironment, damage: str) -> None:
    for copy in (0, 1):
        spoil(environment, copy, damage)
    assert environment.read() is None and latest(pair(environment)) is None
    assert environment.repair() is True
    assert environment.read() == BootState()


def test_an_archive_that_is_spoilt_is_laid_out_anew_around_its_copies(environment: BootEnvironment) -> None:
    environment.change(lambda state: replace(state, first=Slot.B))
    whole = environment.device.read_bytes()
    with environment.device.open("r+b") as file:
        file.write(bytes(512))
        file.seek(COPY_AT[0] + BLOCK)
        file.write(b"x" * 512)
    assert environment.repair() is True
    assert environment.device.read_bytes() == whole


def test_what_is_no_such_partition_is_an_error(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(bytes(100))
    for device, wrong in ((tmp_path / "none", "No such file"), (small, "less than 1048576 octets")):
        with pytest.raises(BootEnvironmentError, match=wrong):
            BootEnvironment(device, tmp_path / "lock").read()


def test_a_copy_that_cannot_be_written_leaves_the_other_to_count(
    environment: BootEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    refused = deque([COPY_AT[1]])

    def pwrite(descriptor: int, data: bytes, at: int) -> int:
        if at in refused:
            raise OSError(5, "Input/output error")
        return real(descriptor, data, at)

    monkeypatch.setattr(os, "pwrite", pwrite)
    environment.change(lambda state: replace(state, first=Slot.B))
    assert environment.read() == BootState(first=Slot.B)
    refused.append(COPY_AT[0])
    with pytest.raises(BootEnvironmentError, match="cannot be written"):
        environment.change(lambda state: replace(state, first=Slot.A))


def spoil(environment: BootEnvironment, copy: int, damage: str) -> None:
    noise = random.Random(copy).randbytes(BLOCK)
    what = {
        "zeros": bytes(BLOCK),
        "ones": b"\xff" * BLOCK,
        "noise": noise,
        "header": b"# GRUB",
        "end": b"broken",
        "nothing": b"",
    }[damage]
    with environment.device.open("r+b") as file:
        file.seek(COPY_AT[copy] + (BLOCK - 6 if damage == "end" else 0))
        file.write(what[:6].replace(b"#", b"!") if damage == "header" else what)


def known(disk: Disk) -> BootState:
    assert disk.state is not None
    return disk.state


def write(disk: Disk, state: BootState) -> None:
    """As BootEnvironment does."""
    which = latest(disk.pair)
    found = None if which is None else decode(disk.pair[which])
    block = encode(state, (found[1] + 1) % GENERATIONS if found else 0)
    for copy in (0, 1) if which == 1 else (1, 0):
        disk.write(copy, block)
