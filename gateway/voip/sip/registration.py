"""Registration with a provider (RFC 3261 10.2): one client per trunk, that keeps its binding alive for years.

With Service-Route (RFC 3608), Path (RFC 3327: supported, nothing to do for a user agent), the keep parameter (RFC 6223)
and all servers of RFC 3263. Whoever refuses is asked ever more seldom; whoever is silent or busy is left for another.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Protocol

from gateway.core import SECOND
from gateway.voip.registering import AGAIN_AT_ONCE, RegistrationState, back_off, refresh_after
from gateway.voip.sip.composed import ComposedRequest, field_lines
from gateway.voip.sip.credentials import CHALLENGES, DigestClient
from gateway.voip.sip.dialog import check_routes, new_call
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.far_end_settings import RegistrationSettings
from gateway.voip.sip.far_end_timers import FarEndTimer
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.message import Response
from gateway.voip.sip.outbound import Outbound
from gateway.voip.sip.peers import PeerSettings
from gateway.voip.sip.transaction import ClientTransaction, Trouble
from gateway.voip.sip.transactions import TableFull
from gateway.voip.sip.uri import Uri

log = logging.getLogger(__name__)

MAX_INTERVALS = 3
"""Longer intervals asked for in a row because of 423."""
MAX_REDIRECTIONS = 4
MOST_EXPIRES = 7 * 86_400
"""Seconds; what a registrar grants or asks for beyond it is taken as this."""
MOST_RETRY_AFTER = 3600
"""Seconds; a registrar that wants us gone for longer is asked all the same."""
TIMEOUT = 40
"""Seconds in which a registrar that is silent is known to be (timer F, 32 s), with some to spare."""
_OWN_FIELDS = 10
_NEXT_SERVER = frozenset({408, 430, 480, 500, 502, 503, 504})
_REDIRECTIONS = frozenset({300, 301, 302, 305})


class Surroundings(Protocol):
    """What a registration needs of where it lives."""

    rng: random.Random
    user_agent: str
    outbound: Outbound
    durations: dict[FarEndTimer, int]

    def flows(self, peer: PeerSettings, now: int) -> Sequence[Flow]:
        """The servers of ``peer``, best first."""

    def looking_up(self, peer: PeerSettings) -> bool:
        """True while the DNS has not said all about them."""

    def failed(self, flow: Flow, now: int, microseconds: int = 0) -> None:
        """A server did not do its duty: for so long (0: as usual) the others go first."""

    def dead(self, flow: Flow, now: int) -> None:
        """A server was found not to answer: as ``failed``, and who is registered with it moves."""

    def works(self, flow: Flow) -> None:
        """A server answers."""

    def start(self, owner: Timed, timer: FarEndTimer, at: int) -> None:
        """Let ``owner.expire(timer)`` be called at ``at``."""

    def stop(self, owner: Timed, timer: FarEndTimer) -> None:
        """Do not."""

    def registered(self, registration: Registration, response: Response, now: int) -> None:
        """A registration was made, refreshed or moved."""

    def unregistered(self, registration: Registration, now: int) -> None:
        """A registration is no longer in force."""


class Timed(Protocol):
    """Something with timers of FarEndTimer."""

    def expire(self, timer: FarEndTimer, now: int) -> None:
        """``timer`` of this object ran out."""


class Registration:
    """The binding of one trunk. ``flow`` is the server that holds it, ``routes`` the Service-Route it gave."""

    def __init__(self, where: Surroundings, peer: PeerSettings, settings: RegistrationSettings) -> None:
        self.peer = peer
        self.settings = settings
        self.state = RegistrationState.UNREGISTERED
        self.flow: Flow | None = None
        self.routes: tuple[str, ...] = ()
        self.expires_at = 0
        self.next_try: int | None = None
        self.error = ""
        self.contact = ""
        self.keep_seconds = 0
        self._where = where
        self._tag, self._call_id, self._cseq = new_call(where.rng)
        self._uri = f"sip:{peer.host_port}"
        self._aor = f"<sip:{settings.user}@{settings.domain or peer.uri_host}>"
        self._expiry = settings.expiry
        self._failures = 0
        self._transaction: ClientTransaction | None = None
        # The servers of this round, and whether there were any.
        self._tried: set[Flow] = set()
        self._reached = False
        self._digest = self._new_digest()
        self._challenges = 0
        self._intervals = 0
        self._redirections = 0
        self._retry_after = 0
        self._began = -AGAIN_AT_ONCE

    def _new_digest(self) -> DigestClient:
        return DigestClient(self.peer.auth_user or self.settings.user, self.peer.secret, self._where.rng)

    # -- what others want --

    def begin(self, now: int) -> None:
        """Register, or refresh, with the best server that there is."""
        if self.state in (RegistrationState.LEAVING, RegistrationState.ENDED):
            return
        self._began = now
        self.next_try = None
        self._where.stop(self, FarEndTimer.REGISTER)
        self._tried.clear()
        self._reached = False
        self._challenges = self._intervals = self._redirections = self._retry_after = 0
        self._next_server(now)

    def renew(self, now: int) -> None:
        """Our address, our connection or its servers changed: register anew at once (but not all the time)."""
        if self.state in (RegistrationState.LEAVING, RegistrationState.ENDED):
            return
        self._failures = 0
        self._drop()
        self._wait_until(max(now, self._began + AGAIN_AT_ONCE))

    def located(self, now: int) -> None:
        """The servers of the trunk are known, or others than before."""
        if self._transaction is not None or self.state in (RegistrationState.LEAVING, RegistrationState.ENDED):
            return
        if self._where.looking_up(self.peer):
            # The best of them may still be missing.
            return
        if self.state is RegistrationState.REGISTERED:
            flows = self._where.flows(self.peer, now)
            if flows and self.flow not in flows:
                # RFC 3263 4: its server is no longer one of the domain's.
                self.renew(now)
        elif not self._reached and self._where.flows(self.peer, now):
            self.begin(now)

    def server_back(self, now: int) -> None:
        """A server of the trunk answers again: what failed for want of one is tried at once."""
        if self._transaction is None and self.state in (RegistrationState.FAILED, RegistrationState.UNREGISTERED):
            self.renew(now)

    def server_died(self, now: int) -> None:
        """The server that holds the binding does not answer: move to another, unless that is under way."""
        if self.in_force and self._transaction is None:
            self.renew(now)

    def leave(self, now: int) -> None:
        """Take the binding back; ``over`` when that is done or cannot be done."""
        if self.state in (RegistrationState.LEAVING, RegistrationState.ENDED):
            return
        self._drop()
        self._where.stop(self, FarEndTimer.REGISTER)
        self._where.stop(self, FarEndTimer.EXPIRED)
        self.next_try = None
        if self.state is not RegistrationState.REGISTERED or self.flow is None:
            self._set_state(RegistrationState.ENDED)
            return
        self._set_state(RegistrationState.LEAVING)
        self._challenges = 0
        self._send(self.flow, now)

    def abandon(self) -> None:
        """Say and hear nothing more: another takes the place of this one."""
        self._drop()
        self._where.stop(self, FarEndTimer.REGISTER)
        self._where.stop(self, FarEndTimer.EXPIRED)
        self.next_try = None
        self._set_state(RegistrationState.ENDED)

    @property
    def over(self) -> bool:
        """True when there is nothing more to be done after ``leave``."""
        return self.state is RegistrationState.ENDED

    @property
    def in_force(self) -> bool:
        """True while the registrar knows where we are."""
        return self.state is RegistrationState.REGISTERED

    # -- timers --

    def expire(self, timer: FarEndTimer, now: int) -> None:
        """It is time to register or refresh, or the binding has run out."""
        if timer is FarEndTimer.REGISTER:
            self.begin(now)
        elif timer is FarEndTimer.ANSWER:
            transaction = self._transaction
            if transaction is not None:
                self._drop()
                self._server_failed(transaction.flow, "no answer", 0, now)
        elif self.state is RegistrationState.REGISTERED:
            log.warning("trunk %s: its registration with %s has run out", self.peer.name, self.flow)
            self._lost(RegistrationState.FAILED, now)

    def _wait_until(self, at: int) -> None:
        self.next_try = at
        self._where.start(self, FarEndTimer.REGISTER, at)

    def _back_off(self, first: FarEndTimer, most: FarEndTimer) -> int:
        """How long to wait after this failure."""
        durations = self._where.durations
        wait = back_off(durations[first], durations[most], self._failures, self._where.rng)
        self._failures += 1
        return wait

    # -- one round --

    def _next_server(self, now: int) -> None:
        flows = self._where.flows(self.peer, now)
        left = [flow for flow in flows if flow not in self._tried]
        if left:
            # In front is the one that holds the binding, unless it failed.
            self._send(left[0], now)
            if len(left) > 1:
                self._where.start(self, FarEndTimer.ANSWER, now + self._where.durations[FarEndTimer.ANSWER])
        elif not flows and self._where.looking_up(self.peer):
            # ``located`` goes on; should the DNS be silent, so does the timer.
            self._wait_until(now + self._back_off(FarEndTimer.RETRY, FarEndTimer.RETRY_MOST))
        else:
            if not flows:
                self.error = "its host does not resolve"
            wait = self._back_off(FarEndTimer.RETRY, FarEndTimer.RETRY_MOST)
            wait = max(wait, min(self._retry_after, MOST_RETRY_AFTER) * SECOND)
            self._failed(RegistrationState.FAILED, now, wait)

    def _send(self, flow: Flow, now: int) -> None:
        self._tried.add(flow)
        self._reached = True
        self._cseq += 1
        outbound = self._where.outbound
        via = outbound.via(flow)
        # RFC 6223 4.3: whoever can will say how often the flow is to be kept alive.
        via = via._replace(text=f"{via.text};keep")
        leaving = self.state is RegistrationState.LEAVING
        # Who leaves may have asked for another binding just before.
        contact = outbound.contact(flow, self.settings.user)
        fields: list[tuple[str, str]] = []
        if self.contact and contact != self.contact and (self.in_force or leaving):
            # Where we no longer are nobody is to call (10.2.2).
            fields.append(("Contact", f"{self.contact};expires=0"))
        fields.extend(self._digest.fields("REGISTER", self._uri))
        text = (
            f"Via: {via.text}\r\nMax-Forwards: 70\r\nFrom: {self._aor};tag={self._tag}\r\nTo: {self._aor}\r\n"
            f"Call-ID: {self._call_id}\r\nCSeq: {self._cseq} REGISTER\r\nContact: {contact}\r\n"
            f"Expires: {0 if leaving else self._expiry}\r\nSupported: path\r\n"
            f"User-Agent: {self._where.user_agent}\r\n{field_lines(fields)}"
        )
        sender = f"{self._aor};tag={self._tag}"
        count = _OWN_FIELDS + len(fields)
        request = ComposedRequest("REGISTER", self._uri, self._cseq, self._call_id, sender, text, count)
        try:
            self._transaction = outbound.request(request, via, flow, self, now)
        except TableFull:
            self.error = "the transaction table is full"
            wait = self._back_off(FarEndTimer.RETRY, FarEndTimer.RETRY_MOST)
            self._failed(RegistrationState.FAILED, now, wait)

    def _drop(self) -> None:
        """Whatever is still answered is not heard."""
        self._transaction = None
        self._where.stop(self, FarEndTimer.ANSWER)

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        """A response to REGISTER."""
        if transaction.number != self._cseq or response.status < 200 or self._is_stale(transaction):
            return
        self._drop()
        status = response.status
        if self.state is RegistrationState.LEAVING:
            if status in CHALLENGES and self._answer_challenge(transaction, response, now):
                return
            self._set_state(RegistrationState.ENDED)
        elif status < 300:
            self._accepted(transaction.flow, response, now)
        elif status in CHALLENGES:
            if not self._answer_challenge(transaction, response, now):
                given = (
                    "user name or secret is wrong" if self.peer.secret else "it wants a secret, and none is configured"
                )
                self._refused(f"{given} ({status} {response.reason})", response, now)
        elif status == 423:
            self._interval_too_brief(transaction.flow, response, now)
        elif status in _REDIRECTIONS and self._redirected(transaction.flow, response, now):
            pass
        elif status in _NEXT_SERVER:
            self._server_failed(transaction.flow, f"{status} {response.reason}", _retry_after(response), now)
        else:
            self._refused(f"{status} {response.reason}", response, now)

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:
        """No response, or no way there."""
        if transaction.number != self._cseq or self._is_stale(transaction):
            return
        self._drop()
        if self.state is RegistrationState.LEAVING:
            self._set_state(RegistrationState.ENDED)
            return
        text = "no answer" if trouble is Trouble.TIMEOUT else "no connection"
        self._server_failed(transaction.flow, text, 0, now)

    def _is_stale(self, transaction: ClientTransaction) -> bool:
        # Outbound may have put another in its place (TCP that could not be had, now UDP): the number tells.
        current = self._transaction
        return current is None or current.number != transaction.number

    # -- what came of it --

    def _accepted(self, flow: Flow, response: Response, now: int) -> None:
        granted = self._granted(flow, response)
        if granted <= 0:
            self._refused(f"{response.status} with no binding of ours", response, now)
            return
        fresh = not self.in_force or flow != self.flow
        self._failures = 0
        self.error = ""
        self.flow = flow
        self._where.works(flow)
        self.contact = self._where.outbound.contact(flow, self.settings.user)
        self.routes = _service_routes(response)
        self.keep_seconds = _keep_of(response)
        self.expires_at = now + granted * SECOND
        self._set_state(RegistrationState.REGISTERED)
        self._wait_until(now + refresh_after(granted, TIMEOUT, self._where.rng))
        self._where.start(self, FarEndTimer.EXPIRED, self.expires_at)
        if fresh:
            log.info("trunk %s: registered with %s as %s for %d s", self.peer.name, flow, self.settings.user, granted)
        self._where.registered(self, response, now)

    def _granted(self, flow: Flow, response: Response) -> int:
        """Seconds that the registrar keeps our binding: of our Contact, else of Expires, else what we asked for."""
        general = response.expires
        usual = self._expiry if general is None else general
        try:
            contacts = response.contacts
        except SipError:
            contacts = ()
        if not contacts:
            return min(usual, MOST_EXPIRES)
        ours = self._where.outbound.contact(flow, self.settings.user)[1:-1]
        for contact in contacts:
            if _same(contact.uri_text, ours):
                break
        else:
            # Between us and the registrar somebody may have written another address there; the user is ours still.
            likely = [each for each in contacts if f"{self.settings.user}@" in each.uri_text]
            if not likely:
                return min(usual, MOST_EXPIRES)
            contact = likely[0]
        text = contact.params.get("expires") or ""
        return min(int(text) if text.isascii() and text.isdecimal() and len(text) < 11 else usual, MOST_EXPIRES)

    def _answer_challenge(self, transaction: ClientTransaction, response: Response, now: int) -> bool:
        if not self._digest.take(response, self._challenges):
            return False
        self._challenges += 1
        self._send(transaction.flow, now)
        return True

    def _interval_too_brief(self, flow: Flow, response: Response, now: int) -> None:
        self._intervals += 1
        try:
            least = response.min_expires or 0
        except SipError:
            least = 0
        # 10.2.8; a registrar that does not say what it wants gets twice as much.
        expiry = least if least > self._expiry else 2 * self._expiry
        if self._intervals > MAX_INTERVALS or expiry > MOST_EXPIRES:
            self._refused(f"423 {response.reason}", response, now)
            return
        self._expiry = expiry
        self._send(flow, now)

    def _redirected(self, flow: Flow, response: Response, now: int) -> bool:
        """8.1.3.4: where the first of the Contacts leads; False if that is nowhere new."""
        self._redirections += 1
        if self._redirections > MAX_REDIRECTIONS:
            return False
        try:
            for contact in response.contacts:
                there = self._where.outbound.flow_to(contact.uri, flow)
                if there not in self._tried:
                    self._send(there, now)
                    return True
        except SipError:
            pass
        return False

    def _server_failed(self, flow: Flow, text: str, retry_after: int, now: int) -> None:
        self.error = f"{flow}: {text}"
        seconds = min(retry_after, MOST_RETRY_AFTER)
        self._retry_after = min(self._retry_after, seconds) if self._retry_after else seconds
        self._where.failed(flow, now, seconds * SECOND)
        self._next_server(now)

    def _refused(self, text: str, response: Response, now: int) -> None:
        self.error = f"refused: {text}"
        self._digest = self._new_digest()
        retry_after = min(_retry_after(response), MOST_RETRY_AFTER)
        if retry_after:
            self._failures += 1
            wait = retry_after * SECOND + self._where.rng.randrange(SECOND)
        else:
            wait = self._back_off(FarEndTimer.REFUSED, FarEndTimer.REFUSED_MOST)
        self._failed(RegistrationState.REFUSED, now, wait)

    def _failed(self, state: RegistrationState, now: int, wait: int) -> None:
        log.warning(
            "trunk %s: %s as %s: %s; next try in %d s",
            self.peer.name,
            "not refreshed, registered" if self.in_force else "not registered",
            self.settings.user,
            self.error,
            wait // SECOND,
        )
        self._wait_until(now + wait)
        if self.in_force and state is RegistrationState.FAILED:
            # The binding stands until it runs out, and calls still come.
            return
        self._lost(state, now)

    def _lost(self, state: RegistrationState, now: int) -> None:
        was = self.in_force
        self._set_state(state)
        self._where.stop(self, FarEndTimer.EXPIRED)
        self.routes = ()
        self.expires_at = 0
        if was:
            self._where.unregistered(self, now)

    def _set_state(self, state: RegistrationState) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("registration of %s: %s -> %s", self.peer.name, self.state.value, state.value)
        self.state = state

    def as_json(self, now: int) -> dict[str, object]:
        """What an operator is shown."""
        return {
            "state": self.state.value,
            "user": self.settings.user,
            "server": str(self.flow) if self.in_force and self.flow is not None else "",
            "expires_seconds": (self.expires_at - now) / SECOND if self.in_force else None,
            "next_try_seconds": None if self.next_try is None else max(self.next_try - now, 0) / SECOND,
            "error": self.error,
        }


def _same(theirs: str, ours: str) -> bool:
    if theirs == ours:
        return True
    try:
        return Uri.parse(theirs).matches(Uri.parse(ours))
    except SipError:
        return False


def _service_routes(response: Response) -> tuple[str, ...]:
    """RFC 3608 5: what requests outside of dialogs are to be routed by; none if it makes no sense."""
    try:
        return tuple([str(route) for route in check_routes(response.addresses("service-route"))])
    except SipError as error:
        log.warning("Service-Route of a registrar is ignored: %s", error)
        return ()


def _keep_of(response: Response) -> int:
    """Seconds between keep-alives that the far end asks for (RFC 6223 keep=, RFC 5626 Flow-Timer), or 0."""
    try:
        text = response.via.params.get("keep") or response.headers.get("flow-timer") or ""
    except SipError:
        return 0
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


def _retry_after(response: Response) -> int:
    try:
        return response.retry_after or 0
    except SipError:
        return 0
