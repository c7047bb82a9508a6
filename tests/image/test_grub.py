"""The boot loader's own file, run by a real GRUB: it decides as the model does, whatever is in the boot environment."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.provision import slots
from gateway.provision.slots import BootState, Ending, Slot, SlotRecord, SlotState
from gateway.provision.slots_block import BLOCK, COPY_AT, GENERATIONS, SIGNATURE, decode, encode, is_clean
from gateway.provision.slots_store import BootEnvironment
from tests.image.grub import GrubDisk, partitions_env
from tests.unit.provision.grub_model import Disk

RANDOM_BOOTS = 160


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> GrubDisk:
    return GrubDisk(tmp_path_factory.mktemp("grub"))


def lay(disk: GrubDisk, state: BootState, generation: int = 0) -> None:
    block = encode(state, generation)
    disk.lay((block, block))


def environment(disk: GrubDisk, tmp_path: Path) -> BootEnvironment:
    """What Linux has of the disk: the partition as a file of its own."""
    with disk.disk.open("rb") as file:
        file.seek(disk.bootstate)
        (tmp_path / "bootstate").write_bytes(file.read(1 << 20))
    return BootEnvironment(tmp_path / "bootstate", tmp_path / "lock")


def put_back(disk: GrubDisk, found: BootEnvironment) -> None:
    disk.write(disk.bootstate, found.device.read_bytes())


def test_the_kernel_is_told_which_slot_it_is_and_how_its_root_is_verified(disk: GrubDisk) -> None:
    identities = partitions_env()
    for number, slot in enumerate(Slot):
        lay(disk, BootState(first=slot))
        booted = disk.boot()
        assert booted.slot is slot, booted.text
        device = f"PARTUUID={identities[f'PARTUUID_ROOTFS_{slot.value}']}"
        table = f"0 {800 + number} verity 1 {device} {device} 4096 4096 {100 + number} {100 + number}"
        # GRUB folds lines, so words are compared without what is between them.
        wanted = f"dm-mod.create=slot,,,ro,{table} sha256 r{number} s{number} 1 panic_on_corruption"
        assert wanted.replace(" ", "") in booted.words
        assert f"branch.slot={slot.value}" in booted.words and "panic=10" in booted.words
        assert f"(hd0,gpt{3 + number})/boot/bzImage" in booted.words


def test_a_trial_has_three_starts_then_the_confirmed_slot_eight_then_rescue(disk: GrubDisk) -> None:
    lay(disk, slots.put_on_trial(slots.retire(BootState(), Slot.B), Slot.B))
    started = [disk.boot() for _ in range(13)]
    assert [each.slot for each in started] == [Slot.B] * 3 + [Slot.A] * 8 + [None] * 2
    assert {each.reason for each in started[11:]} == {"exhausted"}


def test_two_confirmed_slots_have_eight_starts_each_from_either_side(disk: GrubDisk) -> None:
    for first in Slot:
        lay(disk, BootState(first=first))
        started = [disk.boot().slot for _ in range(17)]
        assert started == [first] * 8 + [first.other] * 8 + [None]


def test_what_the_system_writes_the_boot_loader_reads_and_the_other_way_round(disk: GrubDisk, tmp_path: Path) -> None:
    lay(disk, BootState())
    for _ in range(4):
        assert disk.boot().slot is Slot.A
    found = environment(disk, tmp_path)
    state = found.read()
    assert state is not None and state.a.left == 4 and state.booted is Slot.A
    found.change(lambda state: slots.arrive(state, Slot.A, Ending.UNKNOWN).state)
    found.change(lambda state: slots.put_on_trial(slots.retire(state, Slot.B), Slot.B))
    put_back(disk, found)
    assert [disk.boot().slot for _ in range(4)] == [Slot.B] * 3 + [Slot.A]


@pytest.mark.parametrize("damage", ["truncated", "zeros", "ones", "noise", "blank block", "cut off", "no newline"])
@pytest.mark.parametrize("copies", [(0,), (1,), (0, 1)])
def test_damaged_copies(disk: GrubDisk, tmp_path: Path, damage: str, copies: tuple[int, ...]) -> None:
    lay(disk, BootState(first=Slot.B), 5)
    whole, next_one = encode(BootState(first=Slot.B), 5), encode(BootState(), 6)
    data = {
        "truncated": whole[:60] + bytes(BLOCK - 60),
        "zeros": bytes(BLOCK),
        "ones": b"\xff" * BLOCK,
        "noise": random.Random(1).randbytes(BLOCK),
        "blank block": SIGNATURE.ljust(BLOCK, b"#"),
        "cut off": next_one[:70] + whole[70:],
        "no newline": whole.replace(b"tail=5\n", b"tail=5#"),
    }[damage]
    for copy in copies:
        disk.write(disk.bootstate + COPY_AT[copy], data)
    booted = disk.boot()
    found = environment(disk, tmp_path)
    if len(copies) == 2:
        assert booted.reason == "environment", booted.text
        assert found.repair()
        put_back(disk, found)
        assert disk.boot().slot is Slot.A
        return
    assert booted.slot is Slot.B, booted.text
    state = found.read()
    assert state is not None and state.b.left == 7
    assert disk.copies[copies[0]] == data  # GRUB cannot mend it; the system does
    assert found.repair() and found.read() == state
    put_back(disk, found)
    assert disk.boot().slot is Slot.B


def test_headers_of_the_archive_that_are_spoilt_lead_to_rescue_which_mends_them(disk: GrubDisk, tmp_path: Path) -> None:
    lay(disk, BootState(first=Slot.B))
    disk.write(disk.bootstate, bytes(512))
    assert disk.boot().reason == "environment"
    found = environment(disk, tmp_path)
    assert found.repair() and found.read() == BootState(first=Slot.B)
    put_back(disk, found)
    assert disk.boot().slot is Slot.B


def test_a_slot_without_a_kernel_or_a_description_is_passed_over_at_once(disk: GrubDisk) -> None:
    lay(disk, BootState())
    assert disk.boot(frozenset({Slot.B})).slot is Slot.B
    assert disk.boot(frozenset()).reason == "exhausted"
    described = disk.description_at(Slot.A)
    with disk.disk.open("rb") as file:
        file.seek(described)
        text = file.read(BLOCK)
    disk.write(described, bytes(BLOCK))
    try:
        lay(disk, BootState())
        assert disk.boot().slot is Slot.B
    finally:
        disk.write(described, text)


def test_nothing_to_start_ends_in_another_try_and_never_at_a_prompt(disk: GrubDisk) -> None:
    lay(disk, BootState(a=SlotRecord(SlotState.BAD, 0), b=SlotRecord(SlotState.BAD, 0)))
    booted = disk.boot(rescue=False)
    assert booted.slot is None and "Once more in 0 seconds" in booted.text.replace("\n", "")
    assert "grub>" not in booted.text


def test_rescue_starts_when_it_is_asked_for(disk: GrubDisk) -> None:
    lay(disk, replace(BootState(), rescue=True))
    booted = disk.boot()
    assert booted.reason == "asked" and "branch.rescue=asked" in booted.words


def some_state(randomness: random.Random) -> BootState:
    def record() -> SlotRecord:
        return SlotRecord(randomness.choice(list(SlotState)), randomness.randint(0, 8), randomness.randint(0, 8))

    booted = randomness.choice([None, *Slot])
    slot = randomness.choice(list(Slot))
    return BootState(slot, record(), record(), randomness.random() < 0.1, randomness.random() < 0.5, booted)


def some_copies(randomness: random.Random) -> tuple[bytes, bytes]:
    """Two states of any age, of which some are spoilt: cut off, mixed, with wrong octets, or never ours."""
    generation = randomness.randrange(GENERATIONS)
    copies = [bytearray(encode(some_state(randomness), generation)) for _ in range(2)]
    if randomness.random() < 0.7:
        copies[1] = bytearray(encode(some_state(randomness), randomness.randrange(GENERATIONS)))
    for copy in copies:
        match randomness.randrange(6):
            case 0:
                at = randomness.randrange(200)
                copy[at:] = encode(some_state(randomness), randomness.randrange(GENERATIONS))[at:]
            case 1:
                for _ in range(randomness.randint(1, 3)):
                    copy[randomness.randrange(200)] = randomness.choice([0, 10, 35, 48, 49, 61, 65, 66, 92, 98, 255])
            case 2:
                at = randomness.randrange(BLOCK)
                copy[at:] = randomness.randbytes(BLOCK - at)
    return bytes(copies[0]), bytes(copies[1])


@pytest.mark.parametrize("seed", range(4))
def test_grub_decides_as_the_model_does_whatever_it_finds(disk: GrubDisk, seed: int) -> None:
    randomness = random.Random(seed)
    compared = 0
    for number in range(RANDOM_BOOTS // 4):
        copies = some_copies(randomness)
        kernels = frozenset(slot for slot in Slot if randomness.random() < 0.8)
        if not all(decode(copy) is None or is_clean(copy) for copy in copies):
            # Legal values among wrong octets: what GRUB can write there depends on where they are.
            continue
        compared += 1
        disk.lay(copies)
        booted = disk.boot(kernels)
        model = Disk()
        model.copies = [bytearray(each) for each in copies]
        expected = model.grub(kernels)
        assert (booted.slot, booted.reason) == (expected.slot, expected.reason), (number, copies, booted.text)
        assert [decode(each) for each in disk.copies] == [decode(each) for each in model.pair], (number, copies)
    assert compared > RANDOM_BOOTS // 4 // 2
