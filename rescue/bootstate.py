# The boot environment as rescue changes it (MicroPython): the same octets as gateway/provision/slots_block.py, which
# the tests compare. Values are one character; `head` and `tail` are the generation, and differ in a copy cut off.
import os

BLOCK = 1024
SIGNATURE = b"# GRUB Environment Block\n"
GENERATIONS = 9
PARTITION = 1 << 20
COPY_AT = (512, (512 << 10) + 512)
STARTS = {"c": "8", "t": "3"}
DIGITS = "012345678"
LEGAL = (
    ("head", DIGITS),
    ("first", "AB"),
    ("a_state", "ctb"),
    ("a_left", DIGITS),
    ("a_faults", DIGITS),
    ("b_state", "ctb"),
    ("b_left", DIGITS),
    ("b_faults", DIGITS),
    ("rescue", "01"),
    ("returned", "01"),
    ("booted", "ABN"),
    ("tail", DIGITS),
)


def default():
    state = {name: legal[0] for name, legal in LEGAL}
    state.update({"a_left": "8", "b_left": "8", "booted": "N"})
    return state


def encode(state, generation):
    values = dict(state)
    values["head"] = values["tail"] = str(generation % GENERATIONS)
    text = "".join("%s=%s\n" % (name, values[name]) for name, _ in LEGAL)
    block = SIGNATURE + text.encode()
    return block + b"#" * (BLOCK - len(block))


def decode(block):
    # None if it is not exactly as we and GRUB write it: what is only nearly so is mended from the other copy.
    if len(block) != BLOCK or not block.startswith(SIGNATURE):
        return None
    state = {}
    lines = block[len(SIGNATURE) :].split(b"\n")
    for number, (name, legal) in enumerate(LEGAL):
        line = lines[number] if number < len(lines) else b""
        if len(line) != len(name) + 2 or not line.startswith(name.encode() + b"="):
            return None
        value = chr(line[-1])
        if value not in legal:
            return None
        state[name] = value
    if state["head"] != state["tail"] or encode(state, int(state["head"])) != block:
        return None
    return state


def latest(copies):
    first, second = decode(copies[0]), decode(copies[1])
    if first is None:
        return None if second is None else 1
    if second is None:
        return 0
    ahead = (int(second["head"]) - int(first["head"])) % GENERATIONS
    return 1 if 0 < ahead <= GENERATIONS // 2 else 0


def header(name, size):
    data = bytearray(512)
    data[0 : len(name)] = name
    data[100:124] = b"0000644\0" + b"0000000\0" + b"0000000\0"
    data[124:156] = b"%011o\0" % size + b"00000000000\0" + b"        "
    data[156] = 48
    data[257:265] = b"ustar\x0000"
    data[148:156] = b"%06o\0 " % sum(data)
    return bytes(data)


def headers():
    space = COPY_AT[1] - 512 - (COPY_AT[0] + BLOCK) - 512
    return (
        (0, header(b"copy.0", BLOCK)),
        (COPY_AT[0] + BLOCK, header(b"space", space)),
        (COPY_AT[1] - 512, header(b"copy.1", BLOCK)),
    )


class Environment:
    # Nobody else runs in rescue, so there is no lock.
    def __init__(self, device):
        self.device = device

    def read_at(self, at, octets):
        try:
            with open(self.device, "rb") as file:
                file.seek(at)
                return file.read(octets)
        except OSError:
            return b""

    def copies(self):
        return self.read_at(COPY_AT[0], BLOCK), self.read_at(COPY_AT[1], BLOCK)

    def read(self):
        copies = self.copies()
        which = latest(copies)
        return None if which is None else decode(copies[which])

    def write(self, state):
        # The copy that does not count first, each on the disk before the next.
        copies = self.copies()
        which = latest(copies)
        generation = 0 if which is None else int(decode(copies[which])["head"]) + 1
        for at, wanted in headers():
            if self.read_at(at, 512) != wanted:
                self.put(at, wanted)
        fresh = encode(state, generation)
        for copy in (0, 1) if which == 1 else (1, 0):
            self.put(COPY_AT[copy], fresh)

    def put(self, at, data):
        with open(self.device, "r+b") as file:
            file.seek(at)
            file.write(data)
        os.system("sync")


def startable(state, slot):
    slot = slot.lower()
    return state[slot + "_state"] != "b" and state[slot + "_left"] != "0"


def refilled(state, slot):
    slot = slot.lower()
    state = dict(state)
    state[slot + "_left"] = STARTS.get(state[slot + "_state"], "0")
    state[slot + "_faults"] = "0"
    return state


def other(slot):
    return "B" if slot == "A" else "A"


def second_chance(state):
    slot = state["first"].lower()
    spent = state[slot + "_state"] == "c" and state[slot + "_left"] == "0" and state[slot + "_faults"] == "0"
    if not spent or state["returned"] == "1":
        return None
    state = refilled(state, slot)
    state["returned"] = "1"
    return state


def retry(state):
    for slot in "AB":
        if state[slot.lower() + "_state"] == "c":
            state = refilled(state, slot)
    if not startable(state, "A") and not startable(state, "B"):
        for slot in "AB":
            if state[slot.lower() + "_state"] == "t":
                state = refilled(state, slot)
    state = dict(state)
    if not startable(state, state["first"]) and startable(state, other(state["first"])):
        state["first"] = other(state["first"])
    state["rescue"] = "0"
    state["returned"] = "1"
    return state


def choose(state, slot):
    if state[slot.lower() + "_state"] == "b":
        raise ValueError("slot %s is empty or bad" % slot)
    state = refilled(state, slot)
    state.update({"first": slot, "rescue": "0", "returned": "0"})
    return state


def retired(state, slot):
    # Before it is written over.
    state = dict(state)
    state.update({slot.lower() + "_state": "b", slot.lower() + "_left": "0", slot.lower() + "_faults": "0"})
    return state


def installed(state, slot):
    # A signed image put there by rescue: confirmed if there is nothing else to go back to, as it must not run out.
    state = dict(state)
    kind = "t" if startable(retry(state), other(slot)) else "c"
    state[slot.lower() + "_state"] = kind
    state = refilled(state, slot)
    state.update({"first": slot, "rescue": "0", "returned": "0"})
    return state
