"""The rescue stage's scripts under a real MicroPython: they change the boot environment as the gateway does."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from gateway.provision import slots
from gateway.provision.slots import BootState, Slot, SlotState
from gateway.provision.slots_block import BLOCK, COPY_AT, GENERATIONS, decode, encode, is_clean, latest, partition
from gateway.provision.slots_store import BootEnvironment
from tests.image.micropython import run
from tests.image.test_grub import some_copies, some_state


def micropython(script: str, *arguments: str | Path) -> str:
    done = run(script, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected(change: str, state: BootState) -> BootState | None:
    match change:
        case "retry":
            return slots.retry(state)
        case "second_chance":
            return slots.second_chance(state)
        case _:
            return slots.choose(state, Slot(change))


@pytest.mark.parametrize("change", ["retry", "second_chance", "A", "B"])
def test_rescue_changes_a_state_as_the_gateway_does(change: str, tmp_path: Path) -> None:
    randomness = random.Random(change)
    states = [some_state(randomness) for _ in range(200)]
    if change in Slot.__members__:
        states = [each for each in states if each[Slot(change)].state is not SlotState.BAD]
    (tmp_path / "in").write_bytes(b"".join(encode(state, 0) for state in states))
    micropython(
        "import sys, bootstate\n"
        "change = sys.argv[3]\n"
        "with open(sys.argv[1], 'rb') as source, open(sys.argv[2], 'wb') as out:\n"
        "    while True:\n"
        "        block = source.read(1024)\n"
        "        if not block: break\n"
        "        state = bootstate.decode(block)\n"
        "        if change in 'AB': state = bootstate.choose(state, change)\n"
        "        else: state = getattr(bootstate, change)(state)\n"
        "        out.write(bytes(1024) if state is None else bootstate.encode(state, 1))\n",
        tmp_path / "in",
        tmp_path / "out",
        change,
    )
    out = (tmp_path / "out").read_bytes()
    found = [decode(out[at : at + BLOCK]) for at in range(0, len(out), BLOCK)]
    assert [each and each[0] for each in found] == [expected(change, state) for state in states]
    assert len(found) > 50


def test_rescue_reads_the_copy_that_the_gateway_reads(tmp_path: Path) -> None:
    randomness = random.Random(7)
    cases = [some_copies(randomness) for _ in range(300)]
    # It is stricter with what is legal but not clean.
    cases = [each for each in cases if all(decode(copy) is None or is_clean(copy) for copy in each)]
    (tmp_path / "in").write_bytes(b"".join(first + second for first, second in cases))
    said = micropython(
        "import sys, bootstate\n"
        "with open(sys.argv[1], 'rb') as source:\n"
        "    while True:\n"
        "        pair = source.read(2048)\n"
        "        if not pair: break\n"
        "        print(bootstate.latest((pair[:1024], pair[1024:])))\n",
        tmp_path / "in",
    )
    assert said.split() == [str(latest(case)) for case in cases] and len(cases) > 100


@pytest.mark.parametrize("damage", ["none", "all", "headers", "one copy"])
def test_what_rescue_writes_is_whole_whatever_was_there(damage: str, tmp_path: Path) -> None:
    device = tmp_path / "bootstate"
    block = encode(BootState(first=Slot.B), GENERATIONS - 1)
    device.write_bytes(partition((block, block)))
    with device.open("r+b") as file:
        if damage == "all":
            file.write(random.Random(1).randbytes(1 << 20))
        elif damage == "headers":
            file.write(bytes(512))
        elif damage == "one copy":
            file.seek(COPY_AT[1])
            file.write(bytes(100))
    micropython(
        "import sys, bootstate\n"
        "environment = bootstate.Environment(sys.argv[1])\n"
        "environment.write(environment.read() or bootstate.default())\n",
        device,
    )
    environment = BootEnvironment(device, tmp_path / "lock")
    assert environment.read() == (BootState() if damage == "all" else BootState(first=Slot.B))
    assert environment.repair() is False


def test_a_slot_that_is_known_to_be_bad_is_not_chosen() -> None:
    said = run("import bootstate\nstate = bootstate.default()\nbootstate.choose(bootstate.retired(state, 'B'), 'B')")
    assert said.returncode != 0 and "slot B is empty or bad" in said.stdout + said.stderr


# --- what comes from outside


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("keys")
    for name in ("owner", "stranger"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                "-keyout", directory / f"{name}.key", "-out", directory / f"{name}.pem")  # fmt: skip
    return directory


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60)


def token(keys: Path, signer: str, text: str, path: Path) -> Path:
    (path / "text").write_text(text)
    openssl("cms", "-sign", "-binary", "-nodetach", "-outform", "DER", "-signer", keys / f"{signer}.pem",
            "-inkey", keys / f"{signer}.key", "-in", path / "text", "-out", path / "token")  # fmt: skip
    return path / "token"


ASK = (
    "import sys, images\n"
    "try:\n"
    "    images.Images(sys.argv[1], keyring=sys.argv[2]).token(sys.argv[3], 'reset SN-7 4711')\n"
    "    print('taken')\n"
    "except images.RefusedError as error:\n"
    "    print(error)\n"
)


@pytest.mark.parametrize(
    ("signer", "text", "outcome"),
    [
        ("owner", "reset SN-7 4711", "taken"),
        ("owner", "reset SN-8 4711", "the token is for something else"),
        ("owner", "reset SN-7 4711 and more", "the token is for something else"),
        ("stranger", "reset SN-7 4711", "the token's signature is not good"),
    ],
)
def test_a_token_must_be_signed_by_the_owner_and_for_this_very_thing(
    keys: Path, signer: str, text: str, outcome: str, tmp_path: Path
) -> None:
    path = token(keys, signer, text, tmp_path)
    assert micropython(ASK, tmp_path, keys / "owner.pem", path).strip() == outcome


def test_a_token_that_was_tampered_with_is_refused(keys: Path, tmp_path: Path) -> None:
    path = token(keys, "owner", "reset SN-8 4711", tmp_path)
    path.write_bytes(path.read_bytes().replace(b"SN-8", b"SN-7"))
    assert micropython(ASK, tmp_path, keys / "owner.pem", path).strip() == "the token's signature is not good"
