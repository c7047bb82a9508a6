"""The boot environment in octets: GRUB's environment block, two copies of it, and the archive that they lie in.

Every value is one character, so that neither GRUB nor we move anything when one changes. `head` stands first and `tail`
last and both are the generation: a copy that was cut off while it was written has two different ones, and is void.
"""

from __future__ import annotations

from gateway.provision.slots import CONFIRMED_STARTS, BootState, Slot, SlotRecord, SlotState

BLOCK = 1024
SIGNATURE = b"# GRUB Environment Block\n"
GENERATIONS = 9
"""Odd: of two different generations exactly one is up to four ahead of the other, which is then the newer."""
NOBODY = "N"
PARTITION = 1 << 20
COPY_AT = (512, (512 << 10) + 512)
"""Where in the partition the copies are: half of it apart, each behind its header in the archive."""

_DIGITS = tuple(str(each) for each in range(GENERATIONS))
_STATES = tuple(each.value for each in SlotState)
_FLAGS = ("0", "1")
LEGAL: dict[str, tuple[str, ...]] = {
    "head": _DIGITS,
    "first": ("A", "B"),
    "a_state": _STATES,
    "a_left": _DIGITS[: CONFIRMED_STARTS + 1],
    "a_faults": _DIGITS[: CONFIRMED_STARTS + 1],
    "b_state": _STATES,
    "b_left": _DIGITS[: CONFIRMED_STARTS + 1],
    "b_faults": _DIGITS[: CONFIRMED_STARTS + 1],
    "rescue": _FLAGS,
    "returned": _FLAGS,
    "booted": ("A", "B", NOBODY),
    "tail": _DIGITS,
}
"""Names in their order, and what each may be."""


def encode(state: BootState, generation: int) -> bytes:
    """The 1024 octets of one copy; ``generation`` 0 to 8."""
    values = {
        "head": str(generation),
        "first": state.first.value,
        "rescue": str(int(state.rescue)),
        "returned": str(int(state.returned)),
        "booted": NOBODY if state.booted is None else state.booted.value,
        "tail": str(generation),
    }
    for prefix, record in (("a", state.a), ("b", state.b)):
        values[f"{prefix}_state"] = record.state.value
        values[f"{prefix}_left"] = str(record.left)
        values[f"{prefix}_faults"] = str(record.faults)
    lines = "".join(f"{name}={values[name]}\n" for name in LEGAL)
    return (SIGNATURE + lines.encode("ascii")).ljust(BLOCK, b"#")


def decode(block: bytes) -> tuple[BootState, int] | None:
    """State and generation of a copy; None if it is void. Takes exactly what grub.cfg takes."""
    values = _variables(block)
    if values is None or values.get("head") != values.get("tail"):
        return None
    if any(values.get(name) not in legal for name, legal in LEGAL.items()):
        return None
    a, b = (
        SlotRecord(SlotState(values[f"{slot}_state"]), int(values[f"{slot}_left"]), int(values[f"{slot}_faults"]))
        for slot in ("a", "b")
    )
    booted = None if values["booted"] == NOBODY else Slot(values["booted"])
    state = BootState(Slot(values["first"]), a, b, values["rescue"] == "1", values["returned"] == "1", booted)
    return state, int(values["head"])


def _variables(block: bytes) -> dict[str, str] | None:
    """As GRUB reads an environment block (grub_envblk_iterate): a name goes to the next `=`, whatever is in it."""
    if len(block) != BLOCK or not block.startswith(SIGNATURE):
        return None
    values: dict[str, str] = {}
    at = len(SIGNATURE)
    while at < BLOCK:
        if block[at] != ord("#"):
            equals = block.find(b"=", at)
            if equals < 0:
                break
            end = equals + 1
            while end < BLOCK and block[end] != ord("\n"):
                end += 2 if block[end] == ord("\\") else 1
            if end >= BLOCK:
                break
            name = block[at:equals].split(b"\0")[0]
            value = block[equals + 1 : end].replace(b"\\", b"").split(b"\0")[0]
            values[name.decode("latin-1")] = value.decode("latin-1")
            at = end
        line = block.find(b"\n", at)
        if line < 0:
            break
        at = line + 1
    return values


def is_clean(block: bytes) -> bool:
    """Whether a copy is as we write it. One that is not may be readable and yet refuse what GRUB wants to write."""
    found = decode(block)
    return found is not None and encode(*found) == block


def newer(one: int, other: int) -> bool:
    """Whether generation ``one`` was written after ``other``."""
    return 0 < (one - other) % GENERATIONS <= GENERATIONS // 2


def latest(copies: tuple[bytes, bytes]) -> int | None:
    """Which copy counts: the newer of those that are whole, the first if they are alike; None if both are void."""
    found = [decode(copy) for copy in copies]
    first, second = found
    if first is None:
        return None if second is None else 1
    return 1 if second is not None and newer(second[1], first[1]) else 0


def _header(name: str, size: int) -> bytes:
    """Of ustar (POSIX.1-1988), which GRUB's tarfs reads."""
    header = bytearray(512)
    header[: len(name)] = name.encode("ascii")
    header[100:124] = b"0000644\0" + b"0000000\0" * 2
    header[124:156] = b"%011o\0" % size + b"00000000000\0" + b" " * 8
    header[156:157] = b"0"
    header[257:265] = b"ustar\x0000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def partition(copies: tuple[bytes, bytes]) -> bytes:
    """The whole partition with ``copies`` in it: an archive, as GRUB writes to a file only within a file system.

    Its headers are never written again, so that no power cut can hurt them.
    """
    space = COPY_AT[1] - 512 - (COPY_AT[0] + BLOCK) - 512
    archive = _header("copy.0", BLOCK) + copies[0] + _header("space", space) + bytes(space)
    archive += _header("copy.1", BLOCK) + copies[1]
    return archive.ljust(PARTITION, b"\0")


def is_archive(read: bytes) -> bool:
    """Whether the headers of ``read``, a whole partition, are as they must be."""
    if len(read) < PARTITION:
        return False
    empty = partition((bytes(BLOCK), bytes(BLOCK)))
    places = (0, COPY_AT[0] + BLOCK, COPY_AT[1] - 512)
    return all(read[at : at + 512] == empty[at : at + 512] for at in places)
