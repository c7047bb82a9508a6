"""Calls that go round: where the routes of some sites send a number to one another, each pass is a call more.

RFC 5456 counts no hops. NEW says by variables (VARIABLE, which whoever does not know passes over) how many more the
call may take, as Max-Forwards of SIP does, and by what all gateways on its way know it. Asterisk hands variables on
from one IAX2 call to the next. Of far ends that have none, calls are told apart by their numbers.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from gateway.leg import Setup
from gateway.voip.iax.elements import Elements, Ie

MAX_HOPS = 10
"""What a call may take that nobody has counted: more than any way through branches and their headquarters (own)."""
MAX_PASSES = 2
"""How often one call may stand with the same number from the same peer: one that was given up there and tried again,
of which we know the second before the end of the first (own)."""
MAX_ALIKE = 5
"""How many calls of one caller to one number may come from a peer and go back to it, where nothing else tells whether
they are the same one (own)."""
MAX_RENAMED = 10
"""The same where each has a name of its own: a far end that has another technology in between may give new ones."""
MAX_IDENTITY = 32
_HOPS = "MAX_FORWARDS"
_IDENTITY = "CALL_ID"
_MOST = 255


class Pass(NamedTuple):
    """One leg of a call as it is known again. ``identity`` "": by its numbers, or it goes out."""

    peer: str
    incoming: bool
    called: str
    caller: str
    identity: str


def pass_of(peer: str, incoming: bool, setup: Setup) -> Pass:
    """What the call ``setup`` from or to ``peer`` is known by."""
    number = setup.caller.number
    caller = "" if number is None else number.digits
    return Pass(peer, incoming, setup.called.digits, caller, setup.identity if incoming else "")


def add_variables(elements: Elements, setup: Setup) -> None:
    """Append what the far end needs to find out that it had the call before."""
    hops = MAX_HOPS if setup.hops is None else min(max(setup.hops - 1, 0), MAX_HOPS)
    elements.add_text(Ie.VARIABLE, f"{_HOPS}={hops}")
    if setup.identity:
        elements.add_text(Ie.VARIABLE, f"{_IDENTITY}={setup.identity}")


def read_variables(elements: Elements) -> tuple[int | None, str]:
    """The hops that are left, None where nobody counts them, and the identity, "" if there is none."""
    hops: int | None = None
    identity = ""
    for data in elements.all(Ie.VARIABLE):
        name, _, value = data.decode("latin-1").partition("=")
        if not value.isascii():
            continue
        if name == _HOPS and value.isdecimal() and len(value) <= len(str(_MOST)):
            left = min(int(value), _MOST)
            hops = left if hops is None else min(hops, left)
        elif name == _IDENTITY and value.isalnum() and len(value) <= MAX_IDENTITY:
            identity = value
    return hops, identity


class Rounds:
    """The legs that stand, by what their calls are known by."""

    def __init__(self) -> None:
        self._standing: Counter[Pass] = Counter()

    def __len__(self) -> int:
        return len(self._standing)

    def enter(self, one: Pass) -> None:
        """A leg begins; ``leave`` is owed."""
        for each in _known_as(one):
            self._standing[each] += 1

    def leave(self, one: Pass) -> None:
        """It is over."""
        for each in _known_as(one):
            self._standing[each] -= 1
            if not self._standing[each]:
                del self._standing[each]

    def had(self, one: Pass) -> int:
        """How often the call that comes by ``one`` is here already, if that is too often; 0 if it may come.

        Where the far end names its calls two of them are seldom the same one; where it does not, or by names that are
        always new, they are only if as many go back to where they come from.
        """
        standing = self._standing
        most = MAX_ALIKE
        if one.identity:
            count = standing[one]
            if count >= MAX_PASSES:
                return count
            most = MAX_RENAMED
        count = min(standing[one._replace(identity="")], standing[one._replace(incoming=False, identity="")])
        return count if count >= most else 0


def _known_as(one: Pass) -> tuple[Pass, ...]:
    """``one``, and what it is known by if its name says nothing."""
    return (one, one._replace(identity="")) if one.identity else (one,)
