"""Q.921 figures B.4 to B.8 as tables: state, events before, event, then the outputs and the next state."""

from __future__ import annotations

import pytest

from gateway.pri.lapd import Lapd, Side, State
from gateway.pri.lapd.frames import FrameType
from tests.unit.pri.lapd_far_end import WAY, FarEnd

S4, S5, S6, S7, S8 = State

SIDES = pytest.mark.parametrize("side", list(Side))

# (state, events before, event, outputs, state after)
Row = tuple[State, tuple[str, ...], str, list[str], State]

TEI_ASSIGNED: list[Row] = [
    (S4, (), "establish", ["c:SABME P"], S5),
    (S4, (), "release", ["release-confirm"], S4),
    (S4, (), "send x", [], S4),
    (S4, (), "c:SABME P", ["r:UA F", "establish-indication"], S7),
    (S4, (), "c:SABME", ["r:UA", "establish-indication"], S7),
    (S4, (), "c:DISC P", ["r:DM F"], S4),
    (S4, (), "c:DISC", ["r:DM"], S4),
    (S4, (), "r:UA F", ["mdl C"], S4),
    (S4, (), "r:UA", ["mdl D"], S4),
    (S4, (), "r:DM F", [], S4),
    (S4, (), "r:DM", ["c:SABME P"], S5),
    (S4, (), "c:I 0 0 x", [], S4),
    (S4, (), "c:RR 0 P", [], S4),
    (S4, (), "c:RNR 0 P", [], S4),
    (S4, (), "c:REJ 0 P", [], S4),
    (S4, (), "r:RR 0 F", [], S4),
    (S4, (), "r:FRMR 12345", [], S4),
    (S4, (), "c:UI x", [], S4),
    (S4, (), "c:XID P", [], S4),
    (S4, (), "down", [], S4),
    (S4, (), "busy", [], S4),
]

AWAITING_ESTABLISHMENT: list[Row] = [
    (S5, (), "establish", [], S5),
    (S5, (), "release", ["c:DISC P"], S6),
    (S5, (), "send x", [], S5),
    (S5, (), "c:SABME P", ["r:UA F"], S5),
    (S5, (), "c:DISC P", ["r:DM F"], S5),
    (S5, (), "r:UA F", ["establish-confirm"], S7),
    (S5, (), "r:UA", ["mdl D"], S5),
    (S5, (), "r:DM F", ["release-indication"], S4),
    (S5, (), "r:DM", [], S5),
    (S5, (), "timer", ["c:SABME P"], S5),
    (S5, ("timer", "timer"), "timer", ["c:SABME P"], S5),
    (S5, ("timer", "timer", "timer"), "timer", ["mdl G", "release-indication"], S4),
    (S5, (), "down", ["release-indication"], S4),
    (S5, (), "c:I 0 0 P x", [], S5),
    (S5, (), "c:RR 0 P", [], S5),
    (S5, (), "r:RNR 0 F", [], S5),
    (S5, (), "r:FRMR 12345", [], S5),
    (S5, (), "c:UI x", [], S5),
    # Layer 3 did not ask for it: it hears of it only if I frames are lost.
    (S5, ("r:UA F", "r:DM"), "r:UA F", [], S7),
    (S5, ("r:UA F", "send x", "r:DM"), "r:UA F", ["establish-indication"], S7),
    # Layer 3 makes a re-establishment its own.
    (S5, ("r:UA F", "r:DM", "establish"), "r:UA F", ["establish-confirm"], S7),
    # What layer 3 sends while it believes in the link is kept.
    (S5, ("r:UA F", "r:DM", "send x"), "r:UA F", ["c:I 0 0 x"], S7),
    (S5, ("r:UA F", "send x", "r:DM", "send y"), "r:UA F", ["establish-indication"], S7),
    (S5, ("r:UA F", "r:DM", "send x", "establish"), "r:UA F", ["establish-confirm"], S7),
]

AWAITING_RELEASE: list[Row] = [
    (S6, (), "release", [], S6),
    (S6, (), "send x", [], S6),
    (S6, (), "c:SABME P", ["r:DM F"], S6),
    (S6, (), "c:DISC P", ["r:UA F"], S6),
    (S6, (), "r:UA F", ["release-confirm"], S4),
    (S6, (), "r:UA", ["mdl D"], S6),
    (S6, (), "r:DM F", ["release-confirm"], S4),
    (S6, (), "r:DM", [], S6),
    (S6, (), "timer", ["c:DISC P"], S6),
    (S6, ("timer", "timer", "timer"), "timer", ["mdl H", "release-confirm"], S4),
    (S5, ("timer", "timer", "release", "timer", "timer"), "timer", ["c:DISC P"], S6),
    (S6, (), "down", ["release-confirm"], S4),
    (S6, (), "c:I 0 0 P x", [], S6),
    (S6, (), "c:RR 0 P", [], S6),
    (S6, (), "r:FRMR 12345", [], S6),
    (S6, (), "establish", [], S6),
    (S6, ("establish",), "r:UA F", ["release-confirm", "c:SABME P"], S5),
    (S6, ("establish", "release"), "r:UA F", ["release-confirm"], S4),
]

MULTIPLE_FRAME_ESTABLISHED: list[Row] = [
    (S7, (), "establish", ["c:SABME P"], S5),
    (S7, (), "release", ["c:DISC P"], S6),
    (S7, (), "send x", ["c:I 0 0 x"], S7),
    (S7, (), "c:SABME P", ["r:UA F", "mdl F"], S7),
    (S7, ("send x",), "c:SABME P", ["r:UA F", "mdl F", "establish-indication"], S7),
    (S7, (), "c:DISC P", ["r:UA F", "release-indication"], S4),
    (S7, (), "r:UA F", ["mdl C"], S7),
    (S7, (), "r:UA", ["mdl D"], S7),
    (S7, (), "r:DM F", ["mdl B"], S7),
    (S7, (), "r:DM", ["mdl E", "c:SABME P"], S5),
    (S7, (), "r:FRMR 12345", ["mdl K", "c:SABME P"], S5),
    (S7, (), "down", ["release-indication"], S4),
    (S7, (), "c:UI x", [], S7),
    (S7, (), "c:XID P", [], S7),
    # T203 and T200.
    (S7, (), "timer", ["c:RR 0 P"], S8),
    (S7, ("busy",), "timer", ["c:RNR 0 P"], S8),
    (S7, ("send x",), "timer", ["c:I 0 0 P x"], S8),
    (S7, ("send x", "send y"), "timer", ["c:I 1 0 P y"], S8),
    (S7, ("send x", "r:RNR 0"), "timer", ["c:RR 0 P"], S8),
    # I frames.
    (S7, (), "c:I 0 0 x", ["data x", "r:RR 1"], S7),
    (S7, (), "c:I 0 0 P x", ["data x", "r:RR 1 F"], S7),
    (S7, (), "c:I 1 0 x", ["r:REJ 0"], S7),
    (S7, (), "c:I 1 0 P x", ["r:REJ 0 F"], S7),
    (S7, ("c:I 1 0 x",), "c:I 2 0 y", [], S7),
    (S7, ("c:I 1 0 x",), "c:I 2 0 P y", ["r:RR 0 F"], S7),
    (S7, ("c:I 1 0 x", "c:I 0 0 w"), "c:I 2 0 y", ["r:REJ 1"], S7),
    (S7, ("busy",), "c:I 0 0 x", [], S7),
    (S7, ("busy",), "c:I 0 0 P x", ["r:RNR 0 F"], S7),
    (S7, (), "c:I 0 1 x", ["data x", "mdl J", "c:SABME P"], S5),
    (S7, ("send x",), "c:I 0 1 y", ["data y", "r:RR 1"], S7),
    # Supervisory frames.
    (S7, (), "c:RR 0", [], S7),
    (S7, (), "c:RR 0 P", ["r:RR 0 F"], S7),
    (S7, ("busy",), "c:RR 0 P", ["r:RNR 0 F"], S7),
    (S7, (), "r:RR 0", [], S7),
    (S7, (), "r:RR 0 F", ["mdl A"], S7),
    (S7, (), "r:RR 1", ["mdl J", "c:SABME P"], S5),
    (S7, ("send x",), "r:RR 1", [], S7),
    (S7, (), "c:REJ 0 P", ["r:RR 0 F"], S7),
    (S7, (), "r:REJ 0 F", ["mdl A"], S7),
    (S7, (), "r:REJ 1", ["mdl J", "c:SABME P"], S5),
    (S7, ("send x", "send y", "send z"), "r:REJ 1", ["c:I 1 0 y", "c:I 2 0 z"], S7),
    (S7, ("send x", "c:I 0 0 w"), "r:REJ 0", ["c:I 0 1 x"], S7),
    (S7, (), "c:RNR 0 P", ["r:RR 0 F"], S7),
    (S7, (), "r:RNR 0 F", ["mdl A"], S7),
    (S7, (), "r:RNR 1", ["mdl J", "c:SABME P"], S5),
    (S7, ("r:RNR 0",), "send x", [], S7),
    (S7, ("r:RNR 0", "send x"), "r:RR 0", ["c:I 0 0 x"], S7),
    (S7, ("r:RNR 0", "send x"), "r:REJ 0", ["c:I 0 0 x"], S7),
    (S7, ("send x", "r:RNR 0", "send y"), "c:I 0 1 w", ["data w", "r:RR 1"], S7),
    # Own receiver busy.
    (S7, (), "busy", ["r:RNR 0"], S7),
    (S7, ("busy",), "busy", [], S7),
    (S7, ("busy",), "free", ["r:RR 0"], S7),
    (S7, (), "free", [], S7),
    # Clearing of conditions by re-establishment.
    (S7, ("r:RNR 0", "c:SABME P"), "send x", ["c:I 0 0 x"], S7),
    (S7, ("c:I 1 0 x", "c:SABME P"), "c:I 1 0 x", ["r:REJ 0"], S7),
    (S7, ("busy", "c:SABME P"), "c:I 0 0 x", ["data x", "r:RR 1"], S7),
]

TIMER_RECOVERY: list[Row] = [
    (S8, (), "establish", ["c:SABME P"], S5),
    (S8, (), "release", ["c:DISC P"], S6),
    (S8, (), "send x", [], S8),
    (S8, (), "c:SABME P", ["r:UA F", "mdl F"], S7),
    (S8, ("send x",), "c:SABME P", ["r:UA F", "mdl F", "c:I 0 0 x"], S7),
    (S8, (), "c:DISC P", ["r:UA F", "release-indication"], S4),
    (S8, (), "r:UA F", ["mdl C"], S8),
    (S8, (), "r:UA", ["mdl D"], S8),
    (S8, (), "r:DM F", ["mdl B", "c:SABME P"], S5),
    (S8, (), "r:DM", ["mdl E", "c:SABME P"], S5),
    (S8, (), "r:FRMR 12345", ["mdl K", "c:SABME P"], S5),
    (S8, (), "down", ["release-indication"], S4),
    (S8, (), "timer", ["c:RR 0 P"], S8),
    (S8, ("timer", "timer"), "timer", ["c:RR 0 P"], S8),
    (S8, ("timer", "timer", "timer"), "timer", ["mdl I", "c:SABME P"], S5),
    (S8, ("busy",), "timer", ["c:RNR 0 P"], S8),
    (S8, (), "c:I 0 0 x", ["data x", "r:RR 1"], S8),
    (S8, (), "c:I 0 0 P x", ["data x", "r:RR 1 F"], S8),
    (S8, (), "c:I 1 0 P x", ["r:REJ 0 F"], S8),
    (S8, (), "c:I 0 1 x", ["data x", "mdl J", "c:SABME P"], S5),
    (S8, ("busy",), "c:I 0 0 P x", ["r:RNR 0 F"], S8),
    (S8, (), "c:RR 0", [], S8),
    (S8, (), "c:RR 0 P", ["r:RR 0 F"], S8),
    (S8, (), "r:RR 0", [], S8),
    (S8, (), "r:RR 0 F", [], S7),
    (S8, (), "r:RR 1 F", ["mdl J", "c:SABME P"], S5),
    (S8, (), "c:RR 1", ["mdl J", "c:SABME P"], S5),
    (S8, ("send x",), "r:RR 0 F", ["c:I 0 0 x"], S7),
    (S8, ("send x",), "r:REJ 0 F", ["c:I 0 0 x"], S7),
    (S8, ("send x",), "r:REJ 0", [], S8),
    (S8, (), "c:REJ 0 P", ["r:RR 0 F"], S8),
    (S8, (), "c:RNR 0 P", ["r:RR 0 F"], S8),
    (S8, (), "r:RNR 0", [], S8),
    (S8, ("send x",), "r:RNR 0 F", [], S7),
    (S8, ("send x", "r:RNR 0 F"), "r:RR 0", ["c:I 0 0 x"], S7),
    (S8, (), "r:RNR 1 F", ["mdl J", "c:SABME P"], S5),
    (S8, (), "busy", ["r:RNR 0"], S8),
    (S8, ("busy",), "free", ["r:RR 0"], S8),
]

ROWS = [*TEI_ASSIGNED, *AWAITING_ESTABLISHMENT, *AWAITING_RELEASE, *MULTIPLE_FRAME_ESTABLISHED, *TIMER_RECOVERY]


@SIDES
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0].value}-{'-'.join((*row[1], row[2])).replace(' ', '_')}")
def test_state_event(side: Side, row: Row) -> None:
    state, before, event, outputs, after = row
    far_end = FarEnd(Lapd(side, persistent=False), side)
    far_end.run(*WAY[state])
    assert far_end.link.state is state
    far_end.run(*before)
    assert far_end.do(event) == outputs
    assert far_end.link.state is after


# Timer recovery that began with an I frame unacknowledged.
RECOVERY: list[tuple[tuple[str, ...], str, list[str], State]] = [
    ((), "r:RR 1 F", ["c:I 1 0 y"], S7),
    ((), "r:RR 2 F", [], S7),
    ((), "r:RR 2", [], S8),
    (("r:RR 2",), "timer", ["c:RR 0 P"], S8),
    (("r:RR 1",), "timer", ["c:I 1 0 P y"], S8),
    (("r:RNR 1",), "timer", ["c:RR 0 P"], S8),
    ((), "r:REJ 0 F", ["c:I 0 0 x", "c:I 1 0 y"], S7),
    ((), "c:I 0 2 w", ["data w", "r:RR 1"], S8),
    (("c:I 0 2 w",), "r:RR 2 F", [], S7),
    ((), "r:RNR 1 F", [], S7),
    (("r:RNR 1 F",), "r:RR 1", ["c:I 1 0 y"], S7),
    ((), "c:SABME P", ["r:UA F", "mdl F", "establish-indication"], S7),
]


@SIDES
@pytest.mark.parametrize("row", RECOVERY, ids=lambda row: "-".join((*row[0], row[1])).replace(" ", "_"))
def test_timer_recovery_with_two_i_frames_out(side: Side, row: tuple[tuple[str, ...], str, list[str], State]) -> None:
    before, event, outputs, after = row
    far_end = FarEnd(Lapd(side, persistent=False), side)
    far_end.run(*WAY[S7], "send x", "send y", "timer")
    assert far_end.link.state is S8
    far_end.run(*before)
    assert far_end.do(event) == outputs
    assert far_end.link.state is after


REJECTED = {
    "L": bytes((0x0D, 0x00)),
    "L SABM": bytes((0x2F,)),
    "M": bytes((0x01, 0x00, 0x00)),
    "M SABME": bytes((0x7F, 0x00)),
    "N": bytes((0x87, 0x00)),
    "O": bytes((0x00, 0x00)) + bytes(261),
    "O UI": bytes((0x03,)) + bytes(261),
}


@SIDES
@pytest.mark.parametrize("name", list(REJECTED))
@pytest.mark.parametrize("state", list(State))
def test_frame_rejection_is_reported_and_re_establishes_from_7_and_8(side: Side, state: State, name: str) -> None:
    far_end = FarEnd(Lapd(side, persistent=False), side)
    far_end.run(*WAY[state])
    command = bytes((0x02 if side is Side.USER else 0x00, 0x01))
    far_end.link.receive(command + REJECTED[name], far_end.now)
    transfer = state in (S7, S8)
    assert far_end.drain() == [f"mdl {name[0]}", *(["c:SABME P"] if transfer else [])]
    assert far_end.link.state is (S5 if transfer else state)


@pytest.mark.parametrize(
    ("frame", "counter"),
    [
        (b"", "other_address"),
        (b"\x02", "other_address"),
        (b"\x02\x01", "invalid"),
        (b"\x02\x01\x00", "invalid"),
        (b"\x02\x01\x01", "invalid"),
        (b"\xfe\xff\x03\x0f\x00\x00\x01\xff", "other_address"),  # TEI management
        (b"\x02\x03\x7f", "other_address"),  # TEI 1
        (b"\x03\x01\x7f", "other_address"),  # EA of the first octet
        (b"\x02\x01\x13x", "ignored"),  # UI
    ],
)
def test_frames_that_are_not_for_us_are_counted_and_nothing_else(frame: bytes, counter: str) -> None:
    far_end = FarEnd(Lapd(Side.USER), Side.USER)
    far_end.run(*WAY[S7])
    far_end.link.receive(frame, 0)
    assert far_end.drain() == []
    assert far_end.link.state is S7
    assert getattr(far_end.link.statistics, counter) == 1


@SIDES
@pytest.mark.parametrize("kind", ["I 0 0 x", "SABME P", "DISC P", "UA F", "DM F", "FRMR 12345"])
def test_a_looped_line_is_told_from_a_bad_frame(side: Side, kind: str) -> None:
    far_end = FarEnd(Lapd(side), side)
    far_end.run(*WAY[S7])
    wrong = "c:" if FrameType[kind.split()[0]] in (FrameType.UA, FrameType.DM, FrameType.FRMR) else "r:"
    assert far_end.do(wrong + kind) == ["mdl L", "c:SABME P"]
    assert far_end.link.statistics.wrong_side == 1


def test_two_ends_of_the_same_side_never_establish_and_say_why() -> None:
    ends = [Lapd(Side.USER), Lapd(Side.USER)]
    texts = []
    for end in ends:
        end.activate(0)
        end.establish(0)
    for end, other in ((ends[0], ends[1]), (ends[1], ends[0])):
        while (output := end.poll()) is not None:
            if hasattr(output, "frame"):
                other.receive(output.frame, 0)
            elif hasattr(output, "text"):
                texts.append(output.text)
    assert any("same side" in text for text in texts)
    assert not ends[0].established
    assert not ends[1].established


# What the timers do: ``a`` was started by this event at its time, ``-`` does not run, ``o`` runs on from before.
TIMERS: list[tuple[State, tuple[str, ...], str, str]] = [
    (S4, (), "establish", "a-"),
    (S4, (), "c:SABME P", "-a"),
    (S5, (), "establish", "o-"),
    (S5, (), "c:SABME P", "o-"),
    (S5, (), "r:UA F", "-a"),
    (S5, (), "r:DM F", "--"),
    (S5, (), "release", "a-"),
    (S5, (), "down", "--"),
    (S6, (), "r:UA F", "--"),
    (S6, (), "c:DISC P", "o-"),
    (S7, (), "establish", "a-"),
    (S7, (), "release", "a-"),
    (S7, (), "send x", "a-"),
    (S7, ("send x",), "send y", "o-"),
    (S7, ("send x",), "c:SABME P", "-a"),
    (S7, (), "c:SABME P", "-a"),
    (S7, (), "c:DISC P", "--"),
    (S7, (), "r:DM", "a-"),
    (S7, (), "r:FRMR 12345", "a-"),
    (S7, (), "down", "--"),
    (S7, (), "c:RR 0", "-a"),
    (S7, (), "c:I 0 0 x", "-a"),
    (S7, (), "r:RR 1", "a-"),
    (S7, ("send x", "send y"), "r:RR 0", "o-"),
    (S7, ("send x", "send y"), "r:RR 1", "a-"),
    (S7, ("send x", "send y"), "r:RR 2", "-a"),
    (S7, ("send x", "send y"), "c:I 0 0 x", "o-"),
    (S7, ("send x", "send y"), "c:I 0 1 x", "a-"),
    (S7, ("send x", "send y"), "c:I 0 2 x", "-a"),
    (S7, ("send x", "send y", "r:RNR 0"), "c:I 0 1 x", "o-"),
    (S7, ("send x", "send y", "r:RNR 0"), "c:I 0 2 x", "o-"),
    (S7, ("send x", "send y"), "r:REJ 0", "a-"),
    (S7, ("send x", "send y"), "r:REJ 2", "-a"),
    (S7, (), "r:REJ 0", "-a"),
    (S7, (), "r:RNR 0", "a-"),
    (S7, ("send x",), "r:RNR 0", "a-"),
    (S7, ("send x",), "r:RNR 1", "a-"),
    (S7, ("send x",), "c:I 1 0 x", "o-"),
    (S7, (), "busy", "-o"),
    (S8, (), "r:RR 0", "o-"),
    (S8, (), "c:RR 0 P", "o-"),
    (S8, (), "r:RR 0 F", "-a"),
    (S8, ("send x",), "r:RR 0 F", "a-"),
    (S8, (), "r:REJ 0 F", "-a"),
    (S8, (), "r:RNR 0", "o-"),
    (S8, (), "r:RNR 0 F", "a-"),
    (S8, (), "c:I 0 0 x", "o-"),
    (S8, (), "c:SABME P", "-a"),
    (S8, (), "c:DISC P", "--"),
    (S8, (), "r:DM F", "a-"),
    (S8, (), "release", "a-"),
    (S8, (), "down", "--"),
]


@pytest.mark.parametrize(
    "row", TIMERS, ids=lambda row: f"{row[0].value}-{'-'.join((*row[1], row[2])).replace(' ', '_')}"
)
def test_timers(row: tuple[State, tuple[str, ...], str, str]) -> None:
    state, before, event, expected = row
    far_end = FarEnd(Lapd(Side.USER, persistent=False), Side.USER)
    far_end.run(*WAY[state], *before)
    far_end.now += 100_000
    far_end.run(event)
    link = far_end.link

    def what(at: int | None, length: int) -> str:
        return "-" if at is None else "a" if at == far_end.now + length else "o"

    assert what(link.t200_at, link.t200) + what(link.t203_at, link.t203) == expected


@pytest.mark.parametrize("begin", ["timer", "send x"])
def test_every_timer_recovery_has_all_its_attempts(begin: str) -> None:
    far_end = FarEnd(Lapd(Side.USER, persistent=False), Side.USER)
    far_end.run(*WAY[S7])
    for _ in range(3):
        if begin == "send x":
            far_end.run("send x", "timer")
        else:
            far_end.run("timer")
        attempts = 1
        while far_end.link.state is S8 and attempts < (3 if begin == "send x" else 4):
            far_end.run("timer")
            attempts += 1
        assert far_end.link.state is S8
        far_end.run(f"r:RR {far_end.link.vs} F")
        assert far_end.link.state is S7
