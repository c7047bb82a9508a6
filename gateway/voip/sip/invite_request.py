"""What the INVITEs of one outgoing call say (RFC 3261 13.2.1): caller, called number, target, what is conveyed.

They differ in CSeq, in digits that came later, in where redirections sent them, and in what refusals made us learn.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import TYPE_CHECKING

from gateway.leg import Setup
from gateway.voip.sip.body import SDP_TYPE
from gateway.voip.sip.composed import ComposedRequest, field_lines
from gateway.voip.sip.credentials import CHALLENGES, client_for
from gateway.voip.sip.dialog import new_call
from gateway.voip.sip.diversion import diversion_fields, history_fields
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import TLS, UDP, Flow, bracketed
from gateway.voip.sip.hop import OwnVia
from gateway.voip.sip.host import ALLOW, Host
from gateway.voip.sip.identity import caller_fields
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parties import rules_for
from gateway.voip.sip.peers import PeerKind, PeerSettings, RedirectionHeader, Reliability
from gateway.voip.sip.session import session_timer
from gateway.voip.sip.telephone import user_of
from gateway.voip.sip.uas import supported_by
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.user_to_user import isub_of, user_to_user_field
from gateway.voip.sip.values import NameAddr

if TYPE_CHECKING:
    from gateway.voip.sip.leg import SipLeg
    from gateway.voip.sip.way import Way

log = logging.getLogger(__name__)

MAX_FORWARDS = 70
"""RFC 3261 8.1.1.6."""
REDIRECTIONS = frozenset({300, 301, 302})
"""305 names a proxy and 380 a service, not where the called user is (21.3)."""
_OWN_FIELDS = 10
"""Header fields that every INVITE of ours has."""


class Remedy(Enum):
    """What can be done about a refusal."""

    NONE = "none"
    AGAIN = "the next INVITE says what was asked for"
    DIGITS = "the next INVITE has more digits, once they are here"
    ELSEWHERE = "the next INVITE goes where a redirection said, if there is such a place"


class InviteRequest:
    """``setup`` grows with overlap digits (RFC 3578). ``way``: of who is registered. ``cseq``: that of the last one."""

    def __init__(self, leg: SipLeg, host: Host, peer: PeerSettings, flow: Flow, setup: Setup, way: Way | None) -> None:
        self._leg = leg
        self._host = host
        self._peer = peer
        self._way = way
        self.setup = setup
        self.tag, call_id, self.cseq = new_call(host.rng)
        address = leg.local_address
        self.call_id = f"{call_id}@{address.strip('[]')}"
        self.rules = rules_for(peer, peer.fromdomain or address)
        self.timer = session_timer(host, peer)
        self.digest = client_for(peer, host.rng)
        # Challenges that were answered one after the other.
        self._rounds = 0
        self._sent_uri = ""
        # Where redirections sent us: being tried, still to be tried (best first), and all there ever were.
        self.target: Uri | None = None
        self._targets: list[Uri] = []
        self._known_targets: set[str] = set()
        # What is to be added to the called number, and the fields of what goes from end to end.
        self._isub = isub = ""
        self._conveyed: list[tuple[str, str]] = []
        conveyed = setup.conveyed
        if conveyed is not None:
            if conveyed.called_subaddress is not None and peer.kind is PeerKind.TRUNK and not peer.user:
                self._isub = isub_of(conveyed.called_subaddress)
            if conveyed.calling_subaddress is not None:
                isub = isub_of(conveyed.calling_subaddress)
            if conveyed.user_user:
                self._conveyed.append(user_to_user_field(conveyed.user_user))
        sender, fields = caller_fields(setup.caller, self.rules, isub)
        if peer.fromuser:
            sender = NameAddr(Uri("sip", peer.fromuser, self.rules.host), sender.display_name)
        self._sender = f"{sender};tag={self.tag}"
        user = sender.uri.user or ""
        self.contact = host.outbound.contact(flow, user if user != "anonymous" else "")
        self._identity = list(fields)
        self._to_host = bracketed(address) if peer.dynamic else peer.uri_host
        hops = setup.hops
        self._max_forwards = str(MAX_FORWARDS if hops is None else min(hops - 1, MAX_FORWARDS))

    def _called(self) -> str:
        peer = self._peer
        user = peer.user or (peer.name if peer.kind is PeerKind.PHONE else user_of(self.setup.called, peer.style))
        return f"sip:{user}{self._isub}@" if user else "sip:"

    def _uri(self, called: str, flow: Flow) -> str:
        if self.target is not None:
            return str(self.target.without_headers())
        if self._way is not None:
            return self._way.request_uri(called if self._peer.kind is PeerKind.TRUNK else "")
        word = TLS if flow.secure else self._peer.transport
        transport = "" if word == UDP else f";transport={word.lower()}"
        if self._isub:
            transport = f";user=phone{transport}"
        return f"{called}{self._leg.remote_host}{transport}"

    def compose(self, via: OwnVia, flow: Flow, body: bytes) -> ComposedRequest:
        """The next INVITE."""
        self.cseq += 1
        peer, setup, host = self._peer, self.setup, self._host
        called = self._called()
        uri = self._sent_uri = self._uri(called, flow)
        fields: list[tuple[str, str]] = []
        if self._way is not None and self._way.routes and self.target is None:
            fields.extend([("Route", route) for route in self._way.routes])
        elif self._way is None and self.target is None:
            fields.extend([("Route", route) for route in host.far_ends.routes(peer.name, flow)])
        if peer.reliable is Reliability.REQUIRED:
            fields.append(("Require", "100rel"))
        fields.extend(self.timer.request_fields())
        fields.extend(self._identity)
        if setup.referred_by:
            fields.append(("Referred-By", f"<{setup.referred_by}>"))
        if self._conveyed:
            fields.extend(self._conveyed)
        if setup.redirection is not None:
            if peer.redirection in (RedirectionHeader.DIVERSION, RedirectionHeader.BOTH):
                fields.extend(diversion_fields(setup.redirection, self.rules))
            if peer.redirection in (RedirectionHeader.HISTORY_INFO, RedirectionHeader.BOTH):
                fields.extend(history_fields(setup.redirection, Uri.parse(uri), self.rules))
        if self.digest is not None and self._rounds:
            fields.extend(self.digest.fields("INVITE", uri, body))
        if body:
            fields.append(SDP_TYPE)
        text = (
            f"Via: {via.text}\r\nMax-Forwards: {self._max_forwards}\r\nFrom: {self._sender}\r\n"
            # 19.1.1: no port and no transport here; after a redirection it is as before (8.1.3.4).
            f"To: <{called}{self._to_host}>\r\nCall-ID: {self.call_id}\r\nCSeq: {self.cseq} INVITE\r\n"
            f"Contact: {self.contact}\r\nAllow: {ALLOW}\r\nSupported: {supported_by(peer)}\r\n"
            f"User-Agent: {host.settings.user_agent}\r\n{field_lines(fields)}"
        )
        return ComposedRequest(
            "INVITE", uri, self.cseq, self.call_id, self._sender, text, _OWN_FIELDS + len(fields), body
        )

    def resume(self, request: Request) -> None:
        """Go on after ``request``, which the program before this one sent; raises SipError."""
        self.tag, self.call_id, self.cseq = request.from_.tag or "", request.call_id, request.cseq.number
        contact = request.headers.get("Contact")
        if contact is not None:
            self.contact = contact

    # -- refusals --

    def heed(self, response: Response, flow: Flow) -> Remedy:
        """Learn from ``response``, which refuses the last INVITE; the next one would go over ``flow``."""
        status = response.status
        if status in CHALLENGES:
            return self._prove(response)
        if status == 422:
            return Remedy.AGAIN if self.timer.take_too_small(response) else Remedy.NONE
        if status == 484 and not self.setup.complete:
            return Remedy.DIGITS if self._uri(self._called(), flow) == self._sent_uri else Remedy.AGAIN
        if status in REDIRECTIONS and self._peer.follow_redirects:
            self._redirect(response)
        return Remedy.ELSEWHERE if status < 600 else Remedy.NONE

    def _prove(self, response: Response) -> Remedy:
        # Who is called after a redirection learns nothing of a password that is not for it.
        digest = self.digest
        if digest is None or self.target is not None or not digest.take(response, self._rounds):
            why = "wants a password" if digest is None else "does not take our user or password"
            log.warning("%s %s: %d to INVITE", self._peer.name, why, response.status)
            return Remedy.NONE
        self._rounds += 1
        return Remedy.AGAIN

    def _redirect(self, response: Response) -> None:
        """Keep where ``response``, a 3xx, sends us: no URI is tried twice, new ones before those left (8.1.3.4)."""
        found = [target for target in _targets_of(response) if str(target) not in self._known_targets]
        self._known_targets.update(map(str, found))
        self._targets = found + self._targets

    def next_target(self) -> Uri | None:
        """The best of the addresses that redirections named and that were not tried yet, which is tried now."""
        if not self._targets:
            return None
        self.target = self._targets.pop(0)
        return self.target


def _targets_of(response: Response) -> list[Uri]:
    """The SIP URIs of the Contacts of a 3xx, the best q first (20.10)."""
    found: list[tuple[float, Uri]] = []
    for contact in response.contacts:
        try:
            target = contact.uri
            quality = float(contact.params.get("q") or "1")
        except (SipError, ValueError):
            continue
        if target.scheme == "sip":
            found.append((quality, target))
    found.sort(key=lambda each: -each[0])
    return [target for _, target in found]
