"""What the units of a slot run: `arrive` as early as can be, `mark-good` once a start; and `status` for people.

Reads how the run before ended, changes the boot environment, and starts the box anew where that is due. All that
decides is elsewhere: slots.py and confirmation.py.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.cli.gatewayctl.client import SYSTEM_BUS, Gateway
from gateway.provision import slots
from gateway.provision.bus.adapter import Bus, BusError
from gateway.provision.bus.interface import ROOT
from gateway.provision.bus.objects import CALL, DIAGNOSTICS, JOB, MANAGER, SPAN
from gateway.provision.confirmation import Confirmation, Heard, Look, Trials, Verdict
from gateway.provision.slots import BootState, Ending, Slot, SlotState
from gateway.provision.slots_store import DEVICE, LOCK, BootEnvironment, BootEnvironmentError

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
BUS_SECONDS = 10.0
TEST_SECONDS = 5
MAX_TEST_SECONDS = 90.0
CARD_RESET = 0x0020
"""WDIOF_CARDRESET of linux/watchdog.h: the hardware watchdog was why the machine was reset."""
MAX_RECORD = 64 << 10
SERVICE = "branch-gateway.service"
CARDS = Path("/var/lib/branch-gateway-slots/cards")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where things are; tests have a machine of their own."""

    environment: BootEnvironment
    command_line: Path = Path("/proc/cmdline")
    pstore: Path = Path("/sys/fs/pstore")
    watchdogs: Path = Path("/sys/class/watchdog")
    cards: Path = CARDS
    spans: Path = Path("/sys/bus/dahdi_spans/devices")
    restart: Sequence[str] = ("systemctl", "--no-block", "reboot")
    show: Sequence[str] = ("systemctl", "show", "-P", "ActiveState", "-P", "NRestarts", SERVICE)


def running_slot(machine: Machine) -> Slot | None:
    """The slot that the kernel was told it is; None where it is none (rescue, a developer's machine)."""
    for word in machine.command_line.read_text("utf-8", "replace").split():
        name, _, value = word.partition("=")
        if name == "branch.slot" and value in Slot.__members__:
            return Slot(value)
    return None


def how_it_ended(machine: Machine) -> Ending:
    """What there is proof of. Records of a panic go to the log and are removed: each is proof once."""
    ending = Ending.UNKNOWN
    with suppress(OSError, ValueError):
        for path in sorted(machine.watchdogs.glob("watchdog*/bootstatus")):
            if int(path.read_text(), 0) & CARD_RESET:
                ending = Ending.WATCHDOG
    with suppress(OSError):
        for path in sorted(machine.pstore.glob("dmesg-*")):
            ending = Ending.PANIC
            text = path.read_bytes()[-MAX_RECORD:].decode("utf-8", "replace")
            log.error("the kernel panicked before this start (%s):\n%s", path.name, text)
            path.unlink()
    return ending


def arrive(machine: Machine) -> int:
    """Settle what the boot loader counted; exit status."""
    slot = running_slot(machine)
    if slot is None:
        log.info("this system is in no slot; nothing is counted")
        return 0
    ending = how_it_ended(machine)
    if ending is not Ending.UNKNOWN:
        log.error("the run before: %s", ending.value)
    before = machine.environment.read()
    if before is None:
        log.error("no copy of the boot environment was readable; it begins anew with the safe default")
        before = BootState(first=slot)
    arrival = slots.arrive(before, slot, ending)
    machine.environment.change(lambda _: arrival.state)
    if arrival.why:
        log.error("%s", arrival.why)
    if arrival.restart:
        _run(machine.restart)
    return 0


async def mark_good(machine: Machine, trials: Trials, address: str, clock: Callable[[], int], **settings: int) -> int:
    """Watch the slot until it is confirmed (0) or given up (1)."""
    slot = running_slot(machine)
    if slot is None:
        log.info("this system is in no slot; nothing is to be confirmed")
        return 0
    judge = Confirmation(trials, _cards_before(machine), clock(), **settings)
    told = ""
    while True:
        look = await _look(machine, address)
        verdict = judge.observe(look, clock())
        if judge.why != told:
            told = judge.why
            log.info("slot %s: %s", slot.value, told)
        match verdict:
            case Verdict.TEST:
                judge.tested(await _test(address, judge.trial), clock())
                continue
            case Verdict.GOOD:
                before = machine.environment.read()
                machine.environment.change(lambda state: slots.confirm(state, slot))
                _remember_cards(machine, look.cards)
                if before is None or before[slot].state is not SlotState.CONFIRMED:
                    log.warning("slot %s is confirmed: %s", slot.value, told)
                return 0
            case Verdict.GIVE_UP:
                log.error("slot %s is given up: %s", slot.value, told)
                machine.environment.change(lambda state: slots.give_up(state, slot))
                _run(machine.restart)
                return 1
            case Verdict.WAIT:
                await asyncio.sleep(LOOK_SECONDS if not settings else 0.01)


async def _look(machine: Machine, address: str) -> Look:
    shown = await asyncio.to_thread(_run, machine.show)
    words = shown.split()
    look = Look(
        ready=bool(words) and words[0] == "active",
        restarts=int(words[1]) if len(words) > 1 and words[1].isdigit() else 0,
        cards=sum(1 for _ in machine.spans.glob("*")),
    )
    try:
        async with asyncio.timeout(BUS_SECONDS):
            seen: Look = await _on_bus(address, lambda gateway: _ask(gateway, look))
            return seen
    except (BusError, OSError, TimeoutError) as error:
        log.debug("the gateway does not answer: %s", error)
        return look


async def _ask(gateway: Gateway, look: Look) -> Look:
    found = await gateway.all_of(MANAGER, SPAN, CALL)
    manager, spans, calls = found[MANAGER.name], found[SPAN.name], found[CALL.name]
    return replace(
        look,
        bus=bool(manager),
        health={str(part): str(text) for each in manager for part, text in each["Health"].items()},
        lines_up=any(span["Alarm"] == "none" and span["DataLink"] for span in spans),
        calls=len(calls),
        emergency=any(call["Emergency"] for call in calls),
    )


async def _test(address: str, trial: str) -> Heard:
    context, _, number = trial.partition("/")

    async def call(gateway: Gateway) -> dict[str, Any]:
        (path,) = await gateway.call(f"{ROOT}/diagnostics", DIAGNOSTICS, "TestCall", context, number, TEST_SECONDS)
        while True:
            job = await gateway.properties(path, JOB)
            if job["State"] != "running":
                return job
            await asyncio.sleep(0.2)

    try:
        async with asyncio.timeout(MAX_TEST_SECONDS):
            job = await _on_bus(address, call)
    except (BusError, OSError, TimeoutError) as error:
        log.warning("the test call over %s: %s", trial, error)
        return Heard.ONE_WAY
    result = job["Result"]
    log.info("the test call over %s: %s", trial, ", ".join(f"{name} {value}" for name, value in result.items()))
    if result.get("two_way") == "yes":
        return Heard.BOTH_WAYS
    return Heard.ONE_WAY if result.get("answered") == "yes" else Heard.NOT_ANSWERED


async def _on_bus(address: str, work: Callable[[Gateway], Any]) -> Any:
    bus = await Bus.open(address, bounded=False)
    try:
        return await work(Gateway(bus, asyncio.Queue()))
    finally:
        bus.close()


def _cards_before(machine: Machine) -> int:
    with suppress(OSError, ValueError):
        return int(machine.cards.read_text())
    return 0


def _remember_cards(machine: Machine, cards: int) -> None:
    """So that a slot that does not see them is none to keep. A file that is cut off is no number: nothing is missed."""
    if cards == _cards_before(machine):
        return
    try:
        machine.cards.parent.mkdir(parents=True, exist_ok=True)
        fresh = machine.cards.with_suffix(".new")
        fresh.write_text(f"{cards}\n")
        fresh.replace(machine.cards)
    except OSError as error:
        log.error("%s: cannot be written: %s", machine.cards, error.strerror or error)


def _run(words: Sequence[str]) -> str:
    """What a program says; nothing if it cannot be run."""
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        log.error("%s: %s", words[0], error)
        return ""


def status(machine: Machine) -> str:
    """A few lines for people."""
    state = machine.environment.read()
    if state is None:
        return "no copy of the boot environment is readable"
    running = running_slot(machine)
    lines = []
    for slot in Slot:
        record = state[slot]
        notes = [name for name, holds in (("first", slot is state.first), ("running", slot is running)) if holds]
        what = f"slot {slot.value}: {record.state.name.lower()}, {record.left} starts left, {record.faults} faults"
        lines.append(what + (f" ({', '.join(notes)})" if notes else ""))
    if state.rescue:
        lines.append("rescue is asked for")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python3 -m gateway.provision.slots_command arrive|mark-good|status`."""
    parser = argparse.ArgumentParser(prog="slots", description=__doc__)
    parser.add_argument("what", choices=("arrive", "mark-good", "status", "repair"))
    parser.add_argument("--device", type=Path, default=DEVICE)
    parser.add_argument("--bus", default=SYSTEM_BUS)
    parser.add_argument("--line", default="", metavar="CONTEXT/NUMBER", help="the test call while the line is up")
    parser.add_argument("--loop", default="", metavar="CONTEXT/NUMBER", help="the test call else")
    wanted = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    machine = Machine(BootEnvironment(wanted.device, LOCK))
    try:
        match wanted.what:
            case "arrive":
                return arrive(machine)
            case "mark-good":
                trials = Trials(wanted.line, wanted.loop)
                return asyncio.run(mark_good(machine, trials, wanted.bus, lambda: time.monotonic_ns() // 1000))
            case "repair":
                log.info("the boot environment was %s", "mended" if machine.environment.repair() else "sound")
            case _:
                sys.stdout.write(status(machine) + "\n")
    except BootEnvironmentError as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
