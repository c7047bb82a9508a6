"""Emergency calls of phones that cannot prove who they are: let through from networks of ours, a few at a time.

Who stands before a burning house with a phone whose password is wrong needs no password. From beyond the WAN nobody
gets through so: whoever is there has emergency numbers of his own, and no house here.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from gateway.core import MILLISECOND, SECOND
from gateway.voip.sip.digest import Credentials
from gateway.voip.sip.direct_policy import NOT_DIRECT
from gateway.voip.sip.encryption import MediaEncryption
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.identity import called_of
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import PeerKind, PeerSettings

if TYPE_CHECKING:
    from gateway.voip.sip.endpoint import SipEndpoint

log = logging.getLogger(__name__)

MAX_UNPROVEN = 4
"""Calls at a time that are let through without a proof; a further one is asked for it like any other (own)."""
RESCUE_EACH = 100 * MILLISECOND
RESCUE_BURST = SECOND
"""INVITEs that are read, and connections taken, of sources that are not heard otherwise: 10 a second, 10 at once."""
_SCHEMES = (b"sip:", b"sips:", b"tel:")


def called_number(request: Request) -> str:
    """The digits that are called, or "" if that is no number."""
    try:
        called = called_of(request)
    except SipError:
        return ""
    return "" if called is None else called.digits


def _number_in(line: bytes) -> str:
    """What an INVITE that begins with ``line`` calls, read no further than that takes."""
    uri = line[7:].lstrip()[:64].lower()
    for scheme in _SCHEMES:
        if uri.startswith(scheme):
            uri = uri[len(scheme) :]
            break
    for end in b"@;?> \r\n":
        uri = uri.partition(bytes((end,)))[0]
    return uri.decode("ascii", "replace")


def unproven(phone: PeerSettings) -> PeerSettings:
    """What a call gets whose caller only says to be ``phone``."""
    encryption = phone.media_encryption
    if encryption is MediaEncryption.REQUIRED:
        encryption = MediaEncryption.OPTIONAL
    # Nobody is shown what its password makes of a challenge of his.
    return replace(
        phone,
        secret="",
        unproven=True,
        insecure_invite=False,
        allowtransfer=False,
        direct=NOT_DIRECT,
        media_encryption=encryption,
    )


class UnprovenCalls:
    """``leads_to_help``: whether a number is an emergency call in a context; the owner of the dial plan sets it."""

    def __init__(self, endpoint: SipEndpoint) -> None:
        self.leads_to_help: Callable[[str, str], bool] = lambda _context, _number: False
        self._endpoint = endpoint
        self.numbers = endpoint.settings.emergency
        # When all so far of sources that are not heard will have been paid for.
        self._free_at = 0
        self._full = False

    @property
    def standing(self) -> int:
        """How many there are now."""
        return sum(leg.peer.unproven for leg in self._endpoint.legs.values())

    def near(self, address: str) -> bool:
        """Whether ``address`` is in a network of ours, and not beyond the WAN."""
        return self._endpoint.outbound.advertised.is_inside(address)

    def heard(self, data: bytes, address: str, now: int) -> bool:
        """Whether ``data`` is read of a source that is not heard otherwise: it may be a call for help."""
        if not data.startswith(b"INVITE ") or _number_in(data) not in self.numbers or not self.near(address):
            return False
        if not self._affordable(now):
            return False
        # What follows in its call is to be heard too.
        self._endpoint.strangers.look_again()
        return True

    def admits(self, address: str, now: int) -> bool:
        """Whether a connection is taken of a source that is not heard otherwise: who knows what will come over it."""
        return bool(self.numbers) and self.near(address) and self._affordable(now)

    def _affordable(self, now: int) -> bool:
        free_at = max(self._free_at, now) + RESCUE_EACH
        if free_at - now > RESCUE_BURST:
            return False
        self._free_at = free_at
        return True

    def caller(self, request: Request, credentials: Credentials | None, flow: Flow) -> PeerSettings | None:
        """As whom an INVITE without a proof may go on; None if it needs one.

        Who calls from where it has registered is that; who only says a name gets the call and nothing beyond it.
        """
        if request.uri.user is None or called_number(request) not in self.numbers or not self.near(flow.address):
            return None
        phone = self._named(request, credentials, flow)
        if phone is None or not self.leads_to_help(phone.context, called_number(request)):
            return None
        if self._endpoint.phones.location.owner(flow) == phone.name:
            return phone
        number = called_number(request)
        if self.standing >= MAX_UNPROVEN:
            if not self._full:
                self._full = True
                text = (
                    "emergency calls without proof: %d stand, so %s, who says to be %s, is asked for one like any other"
                )
                log.warning(text, MAX_UNPROVEN, flow, phone.name)
            return None
        self._full = False
        log.warning(
            "emergency call to %s without proof: %s says to be %s, and is let through", number, flow, phone.name
        )
        return unproven(phone)

    def _named(self, request: Request, credentials: Credentials | None, flow: Flow) -> PeerSettings | None:
        names = [self._endpoint.phones.location.owner(flow), credentials.username if credentials is not None else None]
        with contextlib.suppress(SipError):
            names.append(request.from_.uri.user_decoded)
        for name in names:
            peer = self._endpoint.peers.get(name) if name else None
            if peer is not None and peer.kind is PeerKind.PHONE:
                return peer
        return None
