"""The B channels of a span: who has which, what blocks them, and how one is hunted (Asterisk's g, G, r and R).

Signalling of blocking (SERVICE, RESTART) and the channel negotiation of Q.931 5.1.2 are the trunk's; here is the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, Flag

from gateway.pri.lapd.link import Side

MAX_TABLES_IN_GROUP = 64
"""Spans of one trunk group."""


class Line(Enum):
    """The two primary rate lines: E1 has D channel 16 (G.704, timeslot 0 is framing), T1 has 24."""

    E1 = "e1"
    T1 = "t1"

    @property
    def d_channel(self) -> int:
        """The timeslot of the D channel."""
        return 16 if self is Line.E1 else 24

    @property
    def timeslots(self) -> int:
        """The highest timeslot, B or D."""
        return 31 if self is Line.E1 else 24


class Hunt(Enum):
    """How a group is searched for an idle channel; the value is Asterisk's letter in ``DAHDI/g1/…``."""

    ASCENDING = "g"
    DESCENDING = "G"
    ROUND_ROBIN_ASCENDING = "r"
    ROUND_ROBIN_DESCENDING = "R"

    @property
    def descending(self) -> bool:
        """True for G and R."""
        return self in (Hunt.DESCENDING, Hunt.ROUND_ROBIN_DESCENDING)

    @property
    def round_robin(self) -> bool:
        """True for r and R."""
        return self in (Hunt.ROUND_ROBIN_ASCENDING, Hunt.ROUND_ROBIN_DESCENDING)


class Block(Flag):
    """What keeps a channel from being used; several may at a time, and each is lifted by whoever set it.

    LOCAL: taken out of service by our operator. REMOTE: by the far end's SERVICE; it may still call us on it.
    LAYER1: the line has an alarm, or the D channel is gone. RESTART: our RESTART is not yet acknowledged; the far end
    may call us on it.
    """

    NONE = 0
    LOCAL = 1
    REMOTE = 2
    LAYER1 = 4
    RESTART = 8


_BINDING = Block.LOCAL | Block.LAYER1
"""What keeps the far end from using a channel as well."""


class ChannelState(Enum):
    """What a channel shows to an operator; a call on a blocked channel is BUSY until it ends."""

    IDLE = "idle"
    BUSY = "busy"
    BLOCKED = "blocked"
    RESTARTING = "restarting"


class BChannel:
    """One B channel. ``owner`` is whatever seized it (a call), compared by identity; None is nobody."""

    __slots__ = ("block", "owner", "seizures", "timeslot")

    def __init__(self, timeslot: int) -> None:
        self.timeslot = timeslot
        self.owner: object | None = None
        self.block = Block.NONE
        self.seizures = 0

    def __repr__(self) -> str:
        return f"BChannel({self.timeslot}, {self.state.value}, block={self.block!r})"

    @property
    def state(self) -> ChannelState:
        """What the channel is, in one word."""
        if self.owner is not None:
            return ChannelState.BUSY
        if Block.RESTART in self.block:
            return ChannelState.RESTARTING
        return ChannelState.BLOCKED if self.block else ChannelState.IDLE

    @property
    def idle(self) -> bool:
        """True if we may seize it for a call of ours."""
        return self.owner is None and self.block is Block.NONE

    @property
    def acceptable(self) -> bool:
        """True if the far end may seize it: its own block does not bind it, nor does a restart of ours."""
        block = self.block
        return self.owner is None and (block is Block.NONE or not block & _BINDING)


class BChannelTable:
    """The B channels of one span."""

    __slots__ = ("_channels", "_last", "_order", "line", "name")

    def __init__(
        self, line: Line, name: str = "", *, d_channel: bool = True, timeslots: Iterable[int] | None = None
    ) -> None:
        """``d_channel`` False makes its timeslot a B channel (NFAS); ``timeslots`` names those the carrier provides.

        ValueError if one of ``timeslots`` is not a B channel of the line, or there is none.
        """
        self.line = line
        self.name = name
        of_line = [t for t in range(1, line.timeslots + 1) if not (d_channel and t == line.d_channel)]
        chosen = sorted(set(of_line if timeslots is None else timeslots))
        for timeslot in chosen:
            if timeslot not in of_line:
                raise ValueError(f"timeslot {timeslot} of {name or line.value} is no B channel of {line.value}")
        if not chosen:
            raise ValueError(f"{name or line.value} has no B channel")
        self._order: list[BChannel] = [BChannel(timeslot) for timeslot in chosen]
        self._channels = {channel.timeslot: channel for channel in self._order}
        self._last: int | None = None

    def __iter__(self) -> Iterator[BChannel]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)

    def get(self, timeslot: int) -> BChannel | None:
        """The channel, or None if the line has no such B channel (Q.850 cause 82 for the far end)."""
        return self._channels.get(timeslot)

    def count(self, state: ChannelState) -> int:
        """How many channels are in ``state``."""
        return sum(channel.state is state for channel in self._order)

    def hunt(self, policy: Hunt, owner: object) -> BChannel | None:
        """Seize an idle channel for ``owner``, or None if there is none.

        r and R begin next to the channel that the last r or R found, whatever g, G or the far end took since.
        """
        index = _hunt(self._order, policy, self._last)
        if index is None:
            return None
        if policy.round_robin:
            self._last = index
        channel = self._order[index]
        _seize(channel, owner)
        return channel

    def seize(self, timeslot: int, owner: object, *, incoming: bool = False) -> BChannel | None:
        """Seize this very channel, or None if it is not free or does not exist.

        ``incoming`` is a call of the far end, which may use what it has blocked itself.
        """
        channel = self._channels.get(timeslot)
        if channel is None or not (channel.acceptable if incoming else channel.idle):
            return None
        _seize(channel, owner)
        return channel

    def seize_preferred(
        self, timeslot: int, owner: object, policy: Hunt = Hunt.ASCENDING, *, incoming: bool = False
    ) -> BChannel | None:
        """Seize this channel or else, as it is only preferred (Q.931 5.1.2, 5.2.3.1), any other by ``policy``."""
        return self.seize(timeslot, owner, incoming=incoming) or self.hunt(policy, owner)

    def take_over(self, timeslot: int, owner: object) -> object | None:
        """After glare: give a busy channel to ``owner``; returns who had it. ValueError if it is not a channel."""
        channel = self._of(timeslot)
        loser = channel.owner
        _seize(channel, owner)
        return loser

    def release(self, timeslot: int, owner: object) -> bool:
        """Let go of a channel; False, and nothing happens, if ``owner`` is not who has it."""
        channel = self._channels.get(timeslot)
        if channel is None or channel.owner is None or channel.owner is not owner:
            return False
        channel.owner = None
        return True

    def block(self, reason: Block, timeslot: int | None = None) -> None:
        """Add ``reason`` to one channel or, with None, to all; a call on it stays. ValueError for no such channel."""
        for channel in self._order if timeslot is None else (self._of(timeslot),):
            channel.block |= reason

    def unblock(self, reason: Block, timeslot: int | None = None) -> None:
        """Take ``reason`` from one channel or, with None, from all. ValueError for no such channel."""
        for channel in self._order if timeslot is None else (self._of(timeslot),):
            channel.block &= ~reason

    def _of(self, timeslot: int) -> BChannel:
        channel = self._channels.get(timeslot)
        if channel is None:
            raise ValueError(f"{self.name or self.line.value} has no B channel {timeslot}")
        return channel


class TrunkGroup:
    """Several spans hunted as one, in the order given, each with its channels ascending: the ``g0`` of a route."""

    __slots__ = ("_channels", "_last", "_order", "name", "tables")

    def __init__(self, name: str, tables: Sequence[BChannelTable]) -> None:
        """ValueError for no table, a table twice, or more than MAX_TABLES_IN_GROUP."""
        if not 1 <= len(tables) <= MAX_TABLES_IN_GROUP:
            raise ValueError(f"group {name} has {len(tables)} spans, expected 1 to {MAX_TABLES_IN_GROUP}")
        if len({id(table) for table in tables}) != len(tables):
            raise ValueError(f"group {name} has a span twice")
        self.name = name
        self.tables = tuple(tables)
        self._order = [(table, channel) for table in tables for channel in table]
        self._channels = [channel for _, channel in self._order]
        self._last: int | None = None

    def __len__(self) -> int:
        return len(self._order)

    def hunt(self, policy: Hunt, owner: object) -> tuple[BChannelTable, BChannel] | None:
        """Seize an idle channel of any span for ``owner``, or None; r and R go round the group, not each span."""
        index = _hunt(self._channels, policy, self._last)
        if index is None:
            return None
        if policy.round_robin:
            self._last = index
        found = self._order[index]
        _seize(found[1], owner)
        return found


def _seize(channel: BChannel, owner: object) -> None:
    channel.owner = owner
    channel.seizures += 1


def _hunt(order: Sequence[BChannel], policy: Hunt, last: int | None) -> int | None:
    """The index of the idle channel that ``policy`` finds first; ``last`` is the index r or R found before."""
    size = len(order)
    step = -1 if policy.descending else 1
    first = size - 1 if policy.descending else 0
    start = last + step if policy.round_robin and last is not None else first
    for offset in range(size):
        index = (start + step * offset) % size
        channel = order[index]
        if channel.owner is None and channel.block is Block.NONE:
            return index
    return None


class Glare(Enum):
    """Who keeps a channel that both ends seized at once, and what becomes of the other call."""

    OURS = "ours"
    """Our call keeps it; theirs gets another channel if it said preferred, else it is refused with cause 44."""

    THEIRS = "theirs"
    """Their call gets it; ours waits for the channel the far end offers instead, or for its refusal."""


def resolve_glare(side: Side, *, ours_exclusive: bool, theirs_exclusive: bool, symmetric: bool = False) -> Glare:
    """Award a channel after glare; ``side`` is ours.

    The call from the network goes first (Q.931 5.7). In symmetric operation an exclusive call goes before a preferred
    one, and only between equals the network's (Q.931 D.3, where one end acts as the network).
    """
    if symmetric and ours_exclusive is not theirs_exclusive:
        return Glare.OURS if ours_exclusive else Glare.THEIRS
    return Glare.OURS if side is Side.NETWORK else Glare.THEIRS
