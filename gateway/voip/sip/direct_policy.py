"""``directmedia`` in Asterisk's words, with ``directmediapermit`` and ``directmediadeny``: whose voice may go directly.

Decides only; ``direct`` acts on it.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

import msgspec

from gateway.voip.sip.addresses import Address, Network, address_of

MAX_KEPT = 256


class DirectMedia(Enum):
    """One word of ``directmedia``."""

    YES = "yes"
    NO = "no"
    NONAT = "nonat"
    UPDATE = "update"
    OUTGOING = "outgoing"


class DirectPolicy(msgspec.Struct, frozen=True):
    """What a peer's ``directmedia`` words come to.

    ``behind_nat``: tried for who is behind NAT too. ``update``: by UPDATE where the peer knows that. ``outgoing``: a
    call that the peer began is left alone until it has asked for a change itself.
    """

    allowed: bool = False
    behind_nat: bool = False
    update: bool = False
    outgoing: bool = False
    permit: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()

    def may_reach(self, address: str) -> bool:
        """Whether the peer may send its voice to ``address``: the narrowest network that holds it decides.

        One that is in both lists is permitted. An address in no list is permitted unless there are permits only.
        """
        if not self.permit and not self.deny:
            return True
        return _may_reach(self.permit, self.deny, address)


NOT_DIRECT = DirectPolicy()


def policy_of(
    words: frozenset[DirectMedia], permit: tuple[Network, ...] = (), deny: tuple[Network, ...] = ()
) -> DirectPolicy:
    """The policy of ``words``; "no" is none. "nonat" and "update" alone do nothing for who is behind NAT."""
    if not words or DirectMedia.NO in words:
        return NOT_DIRECT
    limited = DirectMedia.NONAT in words or (DirectMedia.UPDATE in words and DirectMedia.YES not in words)
    return DirectPolicy(
        True,
        not limited,
        DirectMedia.UPDATE in words,
        DirectMedia.OUTGOING in words,
        permit,
        deny,
    )


@lru_cache(maxsize=MAX_KEPT)
def _may_reach(permit: tuple[Network, ...], deny: tuple[Network, ...], text: str) -> bool:
    address = address_of(text)
    if address is None:
        return False
    permitted = _narrowest(permit, address)
    denied = _narrowest(deny, address)
    if permitted < 0 and denied < 0:
        return bool(deny)
    return permitted >= denied


def _narrowest(networks: tuple[Network, ...], address: Address) -> int:
    lengths = [network.prefixlen for network in networks if network.version == address.version and address in network]
    return max(lengths, default=-1)
