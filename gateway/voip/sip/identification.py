"""Who a request is from, and whether that is so: by its address, its registered flow, or what it proves (RFC 3261 22).

Everybody without proof gets the same challenge, and everybody with a wrong one the same refusal: whether a user exists
is nobody's business. Nothing here takes memory for those who prove nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from gateway.voip.sip.authenticator import Authenticator, Verdict
from gateway.voip.sip.defence import Defence, Offence
from gateway.voip.sip.digest import Credentials
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import TLS, Flow
from gateway.voip.sip.guesses import Guesses
from gateway.voip.sip.host import Fields
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import PeerSettings, PeerTable, SipSettings
from gateway.voip.sip.session import Session
from gateway.voip.sip.uri import Uri

log = logging.getLogger(__name__)

RETRY_AFTER_GUESSES = "5"
ASKED_IN_VAIN = 3
"""Calls of a trunk that ended with our question until it is reported."""


@dataclass(frozen=True, slots=True)
class Passed:
    """The request may go on as ``peer``'s; None: as a stranger's. ``found``: in a dialog, that is where ``peer`` is."""

    peer: PeerSettings | None
    found: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    """The request gets this response."""

    status: int
    fields: Fields = ()


_FORBIDDEN = Stopped(403)
_BAD_REQUEST = Stopped(400)


class Identification:
    """``owner``: the name of the one peer that registered from a flow, or None (``location.Location.owner``).

    ``account``: the trunk that we registered with as a user, of those that a flow may come from (``far_ends``).
    ``unproven``: as whom an INVITE may go on all the same that was stopped (``unproven``), or None.
    """

    def __init__(
        self,
        settings: SipSettings,
        peers: PeerTable,
        authenticator: Authenticator,
        defence: Defence,
        owner: Callable[[Flow], str | None],
    ) -> None:
        self.owner = owner
        self.account: Callable[[str, Flow], PeerSettings | None] | None = None
        self.unproven: Callable[[Request, Credentials | None, Flow], PeerSettings | None] | None = None
        self._peers = peers
        self._authenticator = authenticator
        self._defence = defence
        self._guesses = Guesses()
        # Of peers: how often each was asked in vain, and who was reported.
        self._asked: dict[str, int] = {}
        self._reported: set[str] = set()
        self._registering: dict[str, PeerSettings] = {}
        self._read(settings)

    def take_up(self, settings: SipSettings, changed: frozenset[str]) -> None:
        """The peers are others now; those of the names ``changed`` are gone, or other than before."""
        self._authenticator.take_up(settings.realm, settings.algorithms)
        for name in changed:
            self._asked.pop(name, None)
            self._reported.discard(name)
        self._registering.clear()
        self._read(settings)

    def _read(self, settings: SipSettings) -> None:
        self._guests = settings.context is not None
        dynamic = [peer for peer in self._peers if peer.dynamic and peer.secret]
        for peer in dynamic:
            self._registering[peer.name] = peer
        for peer in dynamic:
            if peer.auth_user:
                self._registering.setdefault(peer.auth_user, peer)

    def identify(self, flow: Flow) -> PeerSettings | None:
        """The peer that lives, or is registered, where ``flow`` comes from.

        What a request says that takes no proof is not looked at: nobody is to see whom we know.
        """
        return self._claimed(None, flow)

    def _claimed(self, credentials: Credentials | None, flow: Flow) -> PeerSettings | None:
        fixed = self._peers.match(flow)
        if credentials is not None:
            user = credentials.username
            if fixed is not None and user in (fixed.name, fixed.auth_user):
                return fixed
            peer = self._registering.get(user)
            if peer is not None:
                # Who has transport TLS is nobody in the clear, whatever it proves.
                return peer if peer.transport != TLS or flow.secure else None
        if fixed is not None and (flow.port == fixed.port or not self._registering):
            return fixed
        name = self.owner(flow)
        return self._registering.get(name, fixed) if name is not None else fixed

    def admit(self, request: Request, flow: Flow, now: int) -> Passed | Stopped:
        """What becomes of an INVITE or REGISTER out of the blue. Raises SipError for credentials that make no sense."""
        if request.method == "REGISTER":
            credentials = self._authenticator.credentials(request)
            if not self._registering:
                return _FORBIDDEN
            peer = self._registering.get(credentials.username) if credentials is not None else None
            return self._prove(request, credentials, peer, flow, now)
        credentials = None
        try:
            credentials = self._authenticator.credentials(request)
            outcome = self._admit_call(request, credentials, flow, now)
        except SipError:
            helped = self._helped(request, None, flow)
            if helped is None:
                raise
            return helped
        if isinstance(outcome, Passed) and outcome.peer is not None:
            return outcome
        return self._helped(request, credentials, flow) or outcome

    def _helped(self, request: Request, credentials: Credentials | None, flow: Flow) -> Passed | None:
        peer = None if self.unproven is None else self.unproven(request, credentials, flow)
        return None if peer is None else Passed(peer)

    def _admit_call(self, request: Request, credentials: Credentials | None, flow: Flow, now: int) -> Passed | Stopped:
        peer = self._claimed(credentials, flow)
        if peer is not None:
            if self.account is not None and peer.far_end.registration is not None:
                # Several accounts with one provider: it calls the Contact of one of them.
                peer = self.account(request.uri.user or "", flow) or peer
            if not peer.secret or (peer.insecure_invite and self._is_at(peer, flow)):
                return Passed(peer)
            return self._prove(request, credentials, peer, flow, now)
        if self._guests and not (self._registering and _claims_to_be_ours(request, credentials)):
            return Passed(None)
        if not self._registering:
            return _FORBIDDEN
        return self._prove(request, credentials, None, flow, now)

    def _is_at(self, peer: PeerSettings, flow: Flow) -> bool:
        """Whether ``flow`` is from where ``peer`` lives or is registered: a name that anybody may say is no proof."""
        return not peer.dynamic or self.owner(flow) == peer.name

    def admit_in_dialog(self, request: Request, session: Session, flow: Flow, now: int) -> Passed | Stopped:
        """What becomes of a request in ``session``'s dialog: from elsewhere than its far end it takes a proof."""
        peer = session.peer
        # What holds for it now is what it has to prove.
        known = peer if peer.unproven else self._peers.get(peer.name) or peer
        if flow.address in session.addresses:
            return Passed(peer)
        if self.owner(flow) == peer.name:
            return Passed(peer, found=True)
        if (
            (not known.secret and not known.unproven)
            or (known.insecure_invite and not known.dynamic)
            or self._peers.match(flow) is known
        ):
            return Passed(peer)
        outcome = self._prove(request, self._authenticator.credentials(request), known, flow, now)
        return Passed(peer, found=True) if isinstance(outcome, Passed) else outcome

    def _prove(
        self, request: Request, credentials: Credentials | None, peer: PeerSettings | None, flow: Flow, now: int
    ) -> Passed | Stopped:
        address = flow.address
        defence = self._defence
        if credentials is not None and not self._may_try(credentials.username, address, now):
            return Stopped(503, (("Retry-After", RETRY_AFTER_GUESSES),))
        secret = None
        if peer is not None and credentials is not None and credentials.username in (peer.name, peer.auth_user):
            secret = peer.secret
        verdict = self._judge(request, credentials, secret, address, now)
        if verdict is Verdict.RIGHT:
            defence.redeemed(address, now)
            if peer is not None and (self._asked or self._reported):
                self._asked.pop(peer.name, None)
                self._reported.discard(peer.name)
            if credentials is not None and not _is_what_was_proven(request, credentials):
                log.info("%s calls another number than it gave its password for", flow)
                return _BAD_REQUEST
            return Passed(peer)
        if verdict is Verdict.WRONG and credentials is not None and secret is None and self._peers.unresolved():
            # It may well be one whose name the DNS has not told the address of yet: after a start, say. Who overheard
            # it must not come with it when that is known.
            self._authenticator.spend(credentials, address, now)
            return Stopped(503, (("Retry-After", RETRY_AFTER_GUESSES),))
        if verdict is Verdict.WRONG:
            defence.offended(address, Offence.GUESSED, now)
            if secret is not None and peer is not None:
                self._report(peer, "somebody at %s says to be %s and has another password", flow, peer.name)
            return _FORBIDDEN
        # A guess with a nonce that was never ours is one too: a stale nonce would tell who is right.
        defence.offended(address, Offence.GUESSED if verdict is Verdict.BLIND else Offence.CHALLENGED, now)
        if peer is not None and credentials is None and not peer.dynamic:
            self._asked_in_vain(peer, flow)
        stale = verdict is Verdict.STALE
        agent = request.headers.first.get("user-agent", "")
        challenges = self._authenticator.challenge(address, now, stale=stale, credentials=credentials, agent=agent)
        return Stopped(401, challenges)

    def _may_try(self, user: str, address: str, now: int) -> bool:
        guesses = self._guesses
        if guesses.guarded(user, address, now) and guesses.waits(address, now):
            return False
        return self._defence.may_try(address, now)

    def _judge(
        self, request: Request, credentials: Credentials | None, secret: str | None, address: str, now: int
    ) -> Verdict:
        authenticator, guesses = self._authenticator, self._guesses
        if credentials is None:
            return Verdict.ABSENT
        user = credentials.username
        if guesses.guarded(user, address, now) and not authenticator.is_ours(credentials.nonce, address):
            # Whether it would have been right is told to those alone who receive our answers.
            return Verdict.STALE
        verdict = authenticator.verify(request, credentials, secret, address, now)
        if verdict is Verdict.RIGHT:
            guesses.proved(user, address, now)
        elif verdict is Verdict.WRONG or verdict is Verdict.BLIND:
            since = guesses.guessed(user, address, now, blind=verdict is Verdict.BLIND)
            if since and secret is not None:
                text = (
                    "passwords of %s are guessed at, from %s and other addresses: none is forgiven a wrong one by now"
                )
                log.warning(text, user, address)
        return verdict

    def _asked_in_vain(self, peer: PeerSettings, flow: Flow) -> None:
        count = self._asked[peer.name] = self._asked.get(peer.name, 0) + 1
        if count == ASKED_IN_VAIN:
            text = '%s at %s never answers when its calls are asked for a password; insecure = ["invite"] asks for none'
            self._report(peer, text, peer.name, flow)

    def _report(self, peer: PeerSettings, text: str, *values: object) -> None:
        """Tell of ``peer``'s trouble once until it has proved itself: whoever causes it may do so often."""
        if peer.name not in self._reported:
            self._reported.add(peer.name)
            log.warning(text, *values)


def _is_what_was_proven(request: Request, credentials: Credentials) -> bool:
    """False if a call is for another number than its credentials (RFC 7616 3.4.6).

    Hosts and parameters change on the way, and many a program signs a URI without a user.
    """
    if request.method != "INVITE" or request.to.tag is not None or credentials.uri == request.uri_text:
        return True
    try:
        signed = Uri.parse(credentials.uri).user_decoded
    except SipError:
        return True
    return not signed or signed == request.uri.user_decoded


def _claims_to_be_ours(request: Request, credentials: Credentials | None) -> bool:
    """True if the caller says to be a user of the place it calls, as our phones do: that takes a proof."""
    if credentials is not None:
        return True
    try:
        return request.from_.uri.host.lower() == request.uri.host.lower()
    except SipError:
        return False
