"""B-channel tables: hunting as Asterisk does, blocking by direction, seizure, glare, trunk groups."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.pri.channels import (
    MAX_TABLES_IN_GROUP,
    BChannelTable,
    Block,
    ChannelState,
    Glare,
    Hunt,
    Line,
    TrunkGroup,
    resolve_glare,
)
from gateway.pri.lapd import Side


def hunt(table: BChannelTable, policy: Hunt, count: int) -> list[int | None]:
    found = [table.hunt(policy, object()) for _ in range(count)]
    return [None if channel is None else channel.timeslot for channel in found]


def free(table: BChannelTable, *timeslots: int) -> None:
    for timeslot in timeslots:
        channel = table.get(timeslot)
        assert channel is not None
        assert channel.owner is not None
        assert table.release(timeslot, channel.owner)


def test_b_channels_of_e1_and_t1() -> None:
    assert [c.timeslot for c in BChannelTable(Line.E1)] == [*range(1, 16), *range(17, 32)]
    assert [c.timeslot for c in BChannelTable(Line.T1)] == list(range(1, 24))
    assert len(BChannelTable(Line.T1, d_channel=False)) == 24
    assert (Line.E1.d_channel, Line.T1.d_channel) == (16, 24)


@pytest.mark.parametrize("timeslots", [[0], [16], [32], [-1], []])
def test_a_table_of_timeslots_that_the_line_has_not_is_refused(timeslots: list[int]) -> None:
    with pytest.raises(ValueError, match="B channel"):
        BChannelTable(Line.E1, "pstn", timeslots=timeslots)


def test_fractional_line() -> None:
    table = BChannelTable(Line.E1, timeslots=[5, 1, 3, 3])
    assert hunt(table, Hunt.ASCENDING, 4) == [1, 3, 5, None]
    assert table.get(2) is None
    assert table.seize(2, object()) is None


def test_g_takes_the_lowest_idle() -> None:
    table = BChannelTable(Line.E1)
    assert hunt(table, Hunt.ASCENDING, 3) == [1, 2, 3]
    free(table, 1)
    assert hunt(table, Hunt.ASCENDING, 2) == [1, 4]


def test_capital_g_takes_the_highest_idle() -> None:
    table = BChannelTable(Line.E1)
    assert hunt(table, Hunt.DESCENDING, 3) == [31, 30, 29]
    free(table, 31)
    assert hunt(table, Hunt.DESCENDING, 2) == [31, 28]


def test_r_goes_on_upwards_from_the_last_used_and_wraps() -> None:
    table = BChannelTable(Line.T1, timeslots=[1, 2, 3])
    assert hunt(table, Hunt.ROUND_ROBIN_ASCENDING, 2) == [1, 2]
    free(table, 1, 2)
    assert hunt(table, Hunt.ROUND_ROBIN_ASCENDING, 3) == [3, 1, 2]


def test_capital_r_goes_on_downwards_from_the_last_used_and_wraps() -> None:
    table = BChannelTable(Line.T1, timeslots=[1, 2, 3])
    assert hunt(table, Hunt.ROUND_ROBIN_DESCENDING, 2) == [3, 2]
    free(table, 3, 2)
    assert hunt(table, Hunt.ROUND_ROBIN_DESCENDING, 3) == [1, 3, 2]


def test_r_and_capital_r_share_where_they_were_and_g_does_not_move_it() -> None:
    table = BChannelTable(Line.T1)
    assert hunt(table, Hunt.ROUND_ROBIN_ASCENDING, 5) == [1, 2, 3, 4, 5]
    assert hunt(table, Hunt.DESCENDING, 1) == [23]
    free(table, 1, 2, 3, 4, 5)
    assert hunt(table, Hunt.ROUND_ROBIN_DESCENDING, 2) == [4, 3]
    assert hunt(table, Hunt.ASCENDING, 1) == [1]
    assert hunt(table, Hunt.ROUND_ROBIN_ASCENDING, 1) == [5]
    table.seize(9, object(), incoming=True)
    assert hunt(table, Hunt.ROUND_ROBIN_ASCENDING, 1) == [6]


@pytest.mark.parametrize("policy", list(Hunt))
def test_every_policy_finds_every_channel_and_then_none(policy: Hunt) -> None:
    for line in Line:
        table = BChannelTable(line)
        found = hunt(table, policy, len(table))
        assert sorted(t for t in found if t is not None) == [c.timeslot for c in table]
        assert hunt(table, policy, 1) == [None]


def test_a_letter_names_a_policy() -> None:
    assert [Hunt(letter) for letter in "gGrR"] == list(Hunt)


@pytest.mark.parametrize(
    ("block", "we_may", "they_may", "state"),
    [
        (Block.LOCAL, False, False, ChannelState.BLOCKED),
        (Block.REMOTE, False, True, ChannelState.BLOCKED),
        (Block.LAYER1, False, False, ChannelState.BLOCKED),
        (Block.RESTART, False, True, ChannelState.RESTARTING),
        (Block.REMOTE | Block.LOCAL, False, False, ChannelState.BLOCKED),
        (Block.NONE, True, True, ChannelState.IDLE),
    ],
)
def test_what_a_block_forbids(block: Block, we_may: bool, they_may: bool, state: ChannelState) -> None:
    table = BChannelTable(Line.E1)
    table.block(block, 5)
    channel = table.get(5)
    assert channel is not None
    assert channel.state is state
    assert (5 in hunt(table, Hunt.ASCENDING, 10)) is we_may
    if we_may:
        free(table, 5)
    assert (table.seize(5, object()) is not None) is we_may
    if we_may:
        free(table, 5)
    assert (table.seize(5, object(), incoming=True) is not None) is they_may


def test_each_block_is_lifted_by_itself() -> None:
    table = BChannelTable(Line.E1)
    table.block(Block.LOCAL, 3)
    table.block(Block.LAYER1)
    assert table.count(ChannelState.IDLE) == 0
    table.unblock(Block.LAYER1)
    assert table.count(ChannelState.IDLE) == 29
    table.unblock(Block.REMOTE, 3)
    assert table.count(ChannelState.IDLE) == 29
    table.unblock(Block.LOCAL, 3)
    assert table.count(ChannelState.IDLE) == 30


def test_a_call_outlives_a_block() -> None:
    table = BChannelTable(Line.E1)
    call = object()
    table.seize(7, call)
    table.block(Block.LOCAL, 7)
    assert (table.count(ChannelState.BUSY), table.count(ChannelState.BLOCKED)) == (1, 0)
    assert table.release(7, call)
    assert (table.count(ChannelState.BUSY), table.count(ChannelState.BLOCKED)) == (0, 1)


def test_only_the_owner_releases_and_only_once() -> None:
    table = BChannelTable(Line.E1)
    first, second = object(), object()
    table.seize(1, first)
    assert not table.release(1, second)
    assert table.release(1, first)
    assert not table.release(1, first)
    table.seize(1, second)
    assert not table.release(1, first)
    assert not table.release(99, first)


@pytest.mark.parametrize("timeslot", [0, 16, 32])
def test_blocking_what_is_no_channel_is_an_error(timeslot: int) -> None:
    table = BChannelTable(Line.E1, "pstn")
    for act in (table.block, table.unblock):
        with pytest.raises(ValueError, match=f"pstn has no B channel {timeslot}"):
            act(Block.LOCAL, timeslot)
    with pytest.raises(ValueError, match="no B channel"):
        table.take_over(timeslot, object())


def test_exclusive_is_that_channel_or_none_and_preferred_any() -> None:
    table = BChannelTable(Line.E1)
    table.seize(4, object())
    assert table.seize(4, object()) is None
    other = table.seize_preferred(4, object(), Hunt.DESCENDING)
    assert other is not None
    assert other.timeslot == 31
    wanted = table.seize_preferred(5, object())
    assert wanted is not None
    assert wanted.timeslot == 5
    unknown = table.seize_preferred(16, object())
    assert unknown is not None
    assert unknown.timeslot == 1


def test_take_over_after_glare_leaves_the_loser_without_rights() -> None:
    table = BChannelTable(Line.E1)
    ours, theirs = object(), object()
    table.seize(2, ours)
    assert table.take_over(2, theirs) is ours
    assert not table.release(2, ours)
    assert table.release(2, theirs)


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_the_network_wins_glare(ours: bool, theirs: bool) -> None:
    assert resolve_glare(Side.NETWORK, ours_exclusive=ours, theirs_exclusive=theirs) is Glare.OURS
    assert resolve_glare(Side.USER, ours_exclusive=ours, theirs_exclusive=theirs) is Glare.THEIRS


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_in_symmetric_operation_exclusive_wins_and_both_ends_agree(side: Side, ours: bool, theirs: bool) -> None:
    here = resolve_glare(side, ours_exclusive=ours, theirs_exclusive=theirs, symmetric=True)
    other = Side.USER if side is Side.NETWORK else Side.NETWORK
    there = resolve_glare(other, ours_exclusive=theirs, theirs_exclusive=ours, symmetric=True)
    assert {here, there} == {Glare.OURS, Glare.THEIRS}
    if ours is not theirs:
        assert (here is Glare.OURS) is ours


# -- groups --


def group_hunt(group: TrunkGroup, policy: Hunt, count: int) -> list[str]:
    found = [group.hunt(policy, object()) for _ in range(count)]
    return ["none" if hit is None else f"{hit[0].name}/{hit[1].timeslot}" for hit in found]


def small_group() -> TrunkGroup:
    return TrunkGroup("g0", [BChannelTable(Line.T1, name, timeslots=[1, 2]) for name in "abc"])


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        (Hunt.ASCENDING, ["a/1", "a/2", "b/1", "b/2", "c/1", "c/2", "none"]),
        (Hunt.DESCENDING, ["c/2", "c/1", "b/2", "b/1", "a/2", "a/1", "none"]),
        (Hunt.ROUND_ROBIN_ASCENDING, ["a/1", "a/2", "b/1", "b/2", "c/1", "c/2", "none"]),
        (Hunt.ROUND_ROBIN_DESCENDING, ["c/2", "c/1", "b/2", "b/1", "a/2", "a/1", "none"]),
    ],
)
def test_a_group_is_hunted_span_after_span(policy: Hunt, order: list[str]) -> None:
    assert group_hunt(small_group(), policy, 7) == order


def test_round_robin_goes_on_in_the_next_span() -> None:
    group = small_group()
    assert group_hunt(group, Hunt.ROUND_ROBIN_ASCENDING, 3) == ["a/1", "a/2", "b/1"]
    for table in group.tables:
        for channel in table:
            if channel.owner is not None:
                table.release(channel.timeslot, channel.owner)
    assert group_hunt(group, Hunt.ROUND_ROBIN_ASCENDING, 4) == ["b/2", "c/1", "c/2", "a/1"]


def test_a_span_in_alarm_is_passed_over() -> None:
    group = small_group()
    group.tables[0].block(Block.LAYER1)
    assert group_hunt(group, Hunt.ASCENDING, 1) == ["b/1"]


def test_group_limits() -> None:
    table = BChannelTable(Line.T1)
    with pytest.raises(ValueError, match="twice"):
        TrunkGroup("g0", [table, table])
    for count in (0, MAX_TABLES_IN_GROUP + 1):
        with pytest.raises(ValueError, match="expected 1 to 64"):
            TrunkGroup("g0", [BChannelTable(Line.T1) for _ in range(count)])
    assert len(TrunkGroup("g0", [BChannelTable(Line.E1) for _ in range(MAX_TABLES_IN_GROUP)])) == 1920


class TableMachine(RuleBasedStateMachine):
    """A table against a plain set of who has what."""

    def __init__(self) -> None:
        super().__init__()
        self.table = BChannelTable(Line.E1)
        self.calls: dict[int, object] = {}
        self.blocks: dict[int, set[Block]] = {c.timeslot: set() for c in self.table}

    timeslots = st.sampled_from([1, 2, 15, 17, 31])

    @rule(policy=st.sampled_from(Hunt))
    def hunt(self, policy: Hunt) -> None:
        idle = [t for t in self.blocks if t not in self.calls and not self.blocks[t]]
        call = object()
        channel = self.table.hunt(policy, call)
        assert (channel is None) is (not idle)
        if channel is not None:
            assert channel.timeslot in idle
            if policy is Hunt.ASCENDING:
                assert channel.timeslot == min(idle)
            if policy is Hunt.DESCENDING:
                assert channel.timeslot == max(idle)
            self.calls[channel.timeslot] = call

    @rule(timeslot=timeslots, incoming=st.booleans())
    def seize(self, timeslot: int, incoming: bool) -> None:
        call = object()
        may = timeslot not in self.calls and not self.blocks[timeslot] - (
            {Block.REMOTE, Block.RESTART} if incoming else set()
        )
        assert (self.table.seize(timeslot, call, incoming=incoming) is not None) is may
        if may:
            self.calls[timeslot] = call

    @rule(timeslot=timeslots)
    def release(self, timeslot: int) -> None:
        call = self.calls.pop(timeslot, None)
        assert self.table.release(timeslot, call or object()) is (call is not None)

    @rule(timeslot=timeslots, reason=st.sampled_from([Block.LOCAL, Block.REMOTE, Block.RESTART]), on=st.booleans())
    def block(self, timeslot: int, reason: Block, on: bool) -> None:
        (self.table.block if on else self.table.unblock)(reason, timeslot)
        (self.blocks[timeslot].add if on else self.blocks[timeslot].discard)(reason)

    @invariant()
    def agrees(self) -> None:
        for channel in self.table:
            assert channel.owner is self.calls.get(channel.timeslot)
            assert channel.idle is (channel.timeslot not in self.calls and not self.blocks[channel.timeslot])
        assert self.table.count(ChannelState.BUSY) == len(self.calls)


TableMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=60, deadline=None)
TestTableMachine = TableMachine.TestCase
