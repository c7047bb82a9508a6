"""Looks at the gateway while it runs: whom it calls where, from whom it takes calls, and what a restart costs."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from gateway.core import SECOND
from gateway.leg import Leg, Offered
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.registrar import GRACE
from gateway.voip.sip.defence import MAX_SHUT_OUT, MAX_SOURCES
from gateway.voip.sip.flow import Send
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request
from gateway.voip.sip.phones import STORE_REFRESHES_AFTER
from tests.simulation.registering import MAX_CONTACTS, SECRET
from tests.simulation.story import EMERGENCY

if TYPE_CHECKING:
    from gateway.switch import Switch

STRANGERS_PREFIX = "192.0.2."
LIFTED_BY = 16 * 60 * SECOND
"""Who was shut out again and again in a run is not for longer: a minute, doubled each time."""
STORED_BY = STORE_REFRESHES_AFTER + SECOND
_TO_TAG = re.compile(rb"\r\n(?:To|t): [^\r\n]*;tag=", re.IGNORECASE)
_PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^,\s]+))')


class Guard:
    """``breaches`` says what was not as it should be. ``until``: when each address may be called as a phone at last."""

    def __init__(self) -> None:
        self.breaches: list[str] = []
        self.until: dict[str, int] = {}
        self.proven = 0
        self.served: dict[bytes, set[str]] = {}
        """At which of the provider's servers each of its numbers (7 and six more digits) was called."""
        self._called: set[bytes] = set()
        self._shut_out: set[str] = set()
        self._proofs: set[tuple[str, str]] = set()
        self._expected: dict[tuple[str, str], int] = {}

    def sent(self, send: Send, bindings: int, now: int) -> None:
        """The gateway sends this; so many bindings it has."""
        if bindings > MAX_CONTACTS:
            self._breach(f"{bindings} bindings, at most {MAX_CONTACTS} allowed")
        data = send.data
        if not data.startswith(b"INVITE ") or _TO_TAG.search(data) is not None:
            # What belongs to a call goes on for as long as that does.
            return
        call = data.partition(b"\r\nCall-ID: ")[2][:40]
        if call in self._called:
            # Sent again, or after a challenge: it was in time at first.
            return
        self._called.add(call)
        if data[11:12] == b"7" and data[18:19] == b"@":
            self.served.setdefault(data[11:18], set()).add(send.flow.address)
        until = self.until.get(send.flow.address)
        if until is not None and now > until:
            self._breach(f"a phone was called at {send.flow.address}, where it is no longer registered")

    def offered(self, leg: Leg, offered: Offered) -> None:
        """A call is offered to the dial plan: whoever has a secret proved to have it, and each proof counts once."""
        if isinstance(leg, IaxLeg):
            session = leg.session
            if session is not None and session.path.address.startswith(STRANGERS_PREFIX):
                self._breach(f"a stranger's call was taken: {offered.setup.called.digits}")
            return
        if not isinstance(leg, SipLeg) or leg.incoming is None or leg.session is None or leg.session.invited is None:
            return
        peer = leg.peer
        if not peer.name:
            self._breach(f"a stranger's call was taken: {leg.session.invited.request.uri_text}")
        if not peer.secret or peer.insecure_invite:
            return
        request = leg.session.invited.request
        if offered.setup.called.digits == EMERGENCY and "authorization" not in request.headers.first:
            # Whoever is at the branch may call an ambulance.
            if leg.flow.address.startswith(STRANGERS_PREFIX):
                self._breach("a stranger's emergency call was taken")
            return
        if not _proves(request, SECRET):
            self._breach(
                f"{peer.name} has a secret, and {offered.setup.called.digits} was called without a proof of it"
            )
            return
        self.proven += 1
        written = _parameters(request)
        proof = written.get("nonce", ""), written.get("nc", "")
        if proof in self._proofs:
            self._breach(f"a proof of {peer.name} was taken twice")
        self._proofs.add(proof)

    def stopping(self, switch: Switch, now: int) -> None:
        """The daemon dies: what was stored some time ago is to be there when it is back."""
        self._proofs.clear()
        self._expected = {
            (each.name, each.contact): each.expires
            for each in switch.sip.phones.location
            if each.expires - each.granted * SECOND < now - STORED_BY
        }
        if switch.iax is not None:
            for peer in switch.iax.registrar.bindings:
                if peer.expires - peer.granted * SECOND - GRACE < now - STORED_BY:
                    self._expected[peer.name, str(peer)] = peer.expires

    def started(self, switch: Switch, now: int) -> None:
        """It is back."""
        there = {(each.name, each.contact) for each in switch.sip.phones.location}
        if switch.iax is not None:
            there |= {(each.name, str(each)) for each in switch.iax.registrar.bindings}
        for key, expires in self._expected.items():
            # Seconds are what is stored.
            if expires > now + SECOND and key not in there:
                self._breach(f"the restart lost where {key[0]} is registered: {key[1]}")
        self._expected = {}

    def look(self, switch: Switch, homes: frozenset[str], trunks: frozenset[str], now: int) -> None:
        """No table grows without end, and nobody of the branch is shut out. ``homes``: addresses of far ends."""
        sip = switch.sip
        if len(sip.phones.location) > MAX_CONTACTS:
            self._breach(f"{len(sip.phones.location)} bindings of one telephone number")
        if len(sip.defence) > MAX_SOURCES + MAX_SHUT_OUT:
            self._breach(f"{len(sip.defence)} sources are remembered")
        if len(sip.transactions) > sip.transactions.limit:
            self._breach(f"{len(sip.transactions)} transactions")
        known = trunks | {address for address in homes if sip.defence.known(address)}
        for address in sip.defence.shut_out(now):
            self._shut_out.add(address)
            if address in known:
                self._breach(f"{address} is one of us and is shut out")

    def lifted(self, switch: Switch, now: int) -> list[str]:
        """Who is still not heard some time after the run, of all that were shut out."""
        defence, then = switch.sip.defence, now + LIFTED_BY
        return [
            f"{address} is shut out for ever"
            for address in sorted(self._shut_out)
            if not defence.allowed(address, then)
        ]

    def _breach(self, text: str) -> None:
        self.breaches.append(text)


def _parameters(request: Request) -> dict[str, str]:
    text = request.headers.get("authorization") or ""
    return {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(text)}


def _hash(algorithm: str, text: str) -> str:
    name = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}[algorithm]
    return hashlib.new(name, text.encode(), usedforsecurity=False).hexdigest()


def _proves(request: Request, secret: str) -> bool:
    """RFC 7616 3.4.1 once more, in other words than the product's."""
    written = _parameters(request)
    try:
        algorithm = written.get("algorithm", "MD5").upper()
        first = _hash(algorithm, f"{written['username']}:{written['realm']}:{secret}")
        second = _hash(algorithm, f"{request.method}:{written['uri']}")
        middle = f"{written['nonce']}:{written['nc']}:{written['cnonce']}:{written['qop']}"
        return _hash(algorithm, f"{first}:{middle}:{second}") == written["response"].lower()
    except KeyError:
        return False
