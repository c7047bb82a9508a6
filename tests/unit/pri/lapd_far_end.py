"""A far end in words for the tests of LAPD: frames are written and read as text, from the view of the end under test.

``c:`` and ``r:`` are command and response; ``P`` and ``F`` are the bit set; ``I 0 1 P abc`` has N(S), N(R) and data.
"""

from __future__ import annotations

from gateway.pri.lapd import Data, Established, Lapd, MdlError, Released, Side, State, Transmit
from gateway.pri.lapd.frames import Frame, FrameType, decode, encode, encode_address

SECOND = 1_000_000


def spell(frame: bytes, sender: Side) -> str:
    """A frame as text."""
    cr = bool(frame[0] & 2)
    command = cr is (sender is Side.NETWORK)
    assert frame[:2] == encode_address(0, 0, cr)
    decoded = decode(frame)
    words = [("c:" if command else "r:") + decoded.type.name]
    if decoded.type is FrameType.I:
        words.append(str(decoded.ns))
    if decoded.type & 3 == 1 or decoded.type is FrameType.I:
        words.append(str(decoded.nr))
    if decoded.pf:
        words.append("P" if command else "F")
    if decoded.information:
        words.append(decoded.information.decode())
    return " ".join(words)


def frame(text: str, sender: Side) -> bytes:
    """The octets of a frame given as text."""
    kind_text, *words = text[2:].split()
    kind = FrameType[kind_text]
    command = text.startswith("c:")
    ns = int(words.pop(0)) if kind is FrameType.I else 0
    nr = int(words.pop(0)) if kind is FrameType.I or kind & 3 == 1 else 0
    pf = bool(words) and words[0] in ("P", "F")
    if pf:
        words.pop(0)
    information = words[0].encode() if words else b""
    address = encode_address(0, 0, command is (sender is Side.NETWORK))
    return encode(address, Frame(kind, pf, ns, nr, information))


class FarEnd:
    """Drives one Lapd by hand in virtual time."""

    def __init__(self, link: Lapd, side: Side) -> None:
        self.link = link
        self.near = side
        self.far = Side.USER if side is Side.NETWORK else Side.NETWORK
        self.now = 0

    def drain(self) -> list[str]:
        """All outputs as text."""
        said = []
        while (output := self.link.poll()) is not None:
            match output:
                case Transmit(octets):
                    said.append(spell(octets, self.near))
                case Established(by_peer):
                    said.append("establish-indication" if by_peer else "establish-confirm")
                case Released(confirmed):
                    said.append("release-confirm" if confirmed else "release-indication")
                case Data(data):
                    said.append(f"data {data.decode()}")
                case MdlError(code, _):
                    said.append(f"mdl {code}")
        return said

    def do(self, event: str) -> list[str]:
        """Let one event happen: a frame as text, or a primitive by its name. Returns what came of it."""
        link = self.link
        if event[:2] in ("c:", "r:"):
            link.receive(frame(event, self.far), self.now)
        else:
            match event.split():
                case ["establish"]:
                    link.establish(self.now)
                case ["release"]:
                    link.release(self.now)
                case ["send", text]:
                    link.send(text.encode(), self.now)
                case ["busy"]:
                    link.receiver_busy(True, self.now)
                case ["free"]:
                    link.receiver_busy(False, self.now)
                case ["up"]:
                    link.activate(self.now)
                case ["down"]:
                    link.deactivate(self.now)
                case ["timer"]:
                    at = link.next_timer()
                    assert at is not None
                    self.now = max(self.now, at)
                    link.handle_timer(self.now)
                case _:
                    raise AssertionError(event)
        return self.drain()

    def run(self, *events: str) -> list[str]:
        """Several events; what came of the last one."""
        said: list[str] = []
        for event in events:
            said = self.do(event)
        return said


# How to come to each state.
WAY: dict[State, tuple[str, ...]] = {
    State.TEI_ASSIGNED: ("up",),
    State.AWAITING_ESTABLISHMENT: ("up", "establish"),
    State.AWAITING_RELEASE: ("up", "establish", "r:UA F", "release"),
    State.MULTIPLE_FRAME_ESTABLISHED: ("up", "establish", "r:UA F"),
    State.TIMER_RECOVERY: ("up", "establish", "r:UA F", "timer"),
}
