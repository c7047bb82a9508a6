"""Registration with a far end (RFC 5456 6.1): one client per peer, that keeps us known there for years.

Whoever refuses is asked ever more seldom; whoever is silent is tried again soon, at random, so that not all its
customers come at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from gateway.core import SECOND
from gateway.voip.iax.auth import OWN_CHALLENGE, answer
from gateway.voip.iax.elements import ApparentAddress, Elements, Ie
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import Command, FrameType, FullFrame, name_of
from gateway.voip.iax.host import Ended, Host, Path
from gateway.voip.iax.peer import Peer
from gateway.voip.iax.session import Session
from gateway.voip.iax.timers import IaxTimer
from gateway.voip.registering import AGAIN_AT_ONCE, RegistrationState, back_off, refresh_after

log = logging.getLogger(__name__)

USUAL_REFRESH = 60
"""Seconds, where the registrar says nothing (8.6.18)."""
LEAST_REFRESH = 5
"""Seconds; a registrar that wants us more often has to live without."""
MOST_REFRESH = 65_535
MAX_CHALLENGES = 2
"""In one round; who asks more often goes round in circles."""
TIMEOUT = 20
"""Seconds in which a registrar that is silent is known to be, with some to spare: 4 repetitions take 15.5."""
_TRY = IaxTimer.REGISTER_RETRY
_EXPIRED = IaxTimer.REFUSED
_ANSWER = IaxTimer.AUTH


class Registration:
    """``seen_as`` is where the registrar says that it sees us. ``changed`` is told when we are registered or not."""

    def __init__(self, host: Host, peer: Peer, changed: Callable[[Registration, int], None]) -> None:
        self.peer = peer
        self.state = RegistrationState.UNREGISTERED
        self.user = peer.settings.user or peer.name
        self.path: Path | None = None
        self.seen_as: ApparentAddress | None = None
        self.expires_at = 0
        self.next_try: int | None = None
        self.error = ""
        self._host = host
        self._changed = changed
        self._session: Session | None = None
        self._challenges = 0
        self._failures = 0
        self._began: int | None = None

    # -- what the endpoint calls --

    def begin(self, now: int) -> None:
        """Register, or refresh what stands."""
        if self.state in (RegistrationState.LEAVING, RegistrationState.ENDED):
            return
        self._drop(now)
        self._host.stop(self, _TRY)
        self.next_try = None
        path = self.peer.path(now)
        if path is None:
            self.error = "its host does not resolve, or no socket of ours leads there"
            self._failed(RegistrationState.FAILED, now, IaxTimer.REGISTER_RETRY, IaxTimer.REGISTER_RETRY_MOST)
            return
        self._challenges = 0
        self._began = now
        self._ask(Command.REGREQ, path, now)

    def soon(self, now: int) -> None:
        """Our address, or the far end's, may be another: register again, but not more than once a second."""
        if self.state in (RegistrationState.LEAVING, RegistrationState.ENDED):
            return
        at = now if self._began is None else max(now, self._began + AGAIN_AT_ONCE)
        self.wait_until(at)

    def leave(self, now: int) -> None:
        """Take our registration back; ``over`` when that is done or cannot be done."""
        if self.state in (RegistrationState.LEAVING, RegistrationState.ENDED):
            return
        self._drop(now)
        self._host.stop(self, _TRY)
        self._host.stop(self, _EXPIRED)
        self.next_try = None
        path = self.path
        if self.state is not RegistrationState.REGISTERED or path is None:
            self._set_state(RegistrationState.ENDED)
            return
        self._set_state(RegistrationState.LEAVING)
        self._challenges = 0
        self._ask(Command.REGREL, path, now)

    def abandon(self, now: int) -> None:
        """Say and hear nothing more: another takes the place of this one."""
        self._drop(now)
        self._host.stop(self, _TRY)
        self._host.stop(self, _EXPIRED)
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

    # -- one round --

    def _ask(self, command: Command, path: Path, now: int) -> None:
        session = self._host.open_session(path, self, now)
        if session is None:
            self.error = "no call number is left"
            if self.state is RegistrationState.LEAVING:
                self._set_state(RegistrationState.ENDED)
            else:
                self._failed(RegistrationState.FAILED, now, IaxTimer.REGISTER_RETRY, IaxTimer.REGISTER_RETRY_MOST)
            return
        self._session = session
        self._host.start(self, _ANSWER, now + self._host.durations[IaxTimer.AUTH])
        session.command(command, now, self._request(Elements()))

    def _request(self, proof: Elements) -> Elements:
        elements = Elements().add_text(Ie.USERNAME, self.user)
        if self.state is RegistrationState.LEAVING:
            # RFC 5456 6.1.6. It is also as long as the token that is asked for with it, which no answer may exceed.
            elements.add_text(Ie.CAUSE, "unregistered")
        else:
            elements.add_number(Ie.REFRESH, min(self.peer.settings.registerexpiry, MOST_REFRESH), 2)
        elements.items.extend(proof.items)
        return elements

    def on_frame(self, session: Session, frame: FullFrame, now: int) -> None:
        """What the registrar says."""
        if session is not self._session or frame.type != FrameType.IAX:
            return
        try:
            self._take(session, frame, now)
        except IaxError as error:
            self._refused(f"{name_of(frame.type, frame.subclass)}: {error}", now)

    def _take(self, session: Session, frame: FullFrame, now: int) -> None:
        elements = frame.elements
        match frame.subclass:
            case Command.REGAUTH:
                self._challenged(session, elements, now)
            case Command.REGACK:
                self._done(elements, session.path, now)
            case Command.REGREJ | Command.REJECT | Command.HANGUP:
                text = elements.text(Ie.CAUSE) or "without a reason"
                code = elements.raw(Ie.CAUSECODE)
                self._refused(f"{text} ({code[0]})" if code else text, now)

    def _challenged(self, session: Session, elements: Elements, now: int) -> None:
        self._challenges += 1
        if self._challenges > MAX_CHALLENGES:
            self._refused("it asks for a proof again and again", now)
            return
        if self._host.has_asked(elements.raw(Ie.CHALLENGE) or b""):
            self._refused(f"it {OWN_CHALLENGE}", now)
            return
        proof = answer(self.peer.settings, elements)
        if proof is None:
            offered = elements.number(Ie.AUTHMETHODS) or 0
            self._refused(f"it wants a proof that we do not give (methods {offered:#x})", now)
            return
        command = Command.REGREL if self.state is RegistrationState.LEAVING else Command.REGREQ
        session.command(command, now, self._request(proof.elements))

    def on_session_end(self, session: Session, ended: Ended, now: int) -> None:
        """Nothing comes any more."""
        if session is not self._session:
            return
        self._session = None
        self._host.stop(self, _ANSWER)
        self._silent(f"{session.path}: {ended.text}", now)

    def expire(self, timer: IaxTimer, now: int) -> None:
        """It is time to register or refresh, or too late for an answer, or the registration has run out."""
        if timer is _TRY:
            self.begin(now)
        elif timer is _ANSWER:
            self._drop(now)
            self._silent("no answer", now)
        elif self.in_force:
            log.warning("trunk %s: its registration with %s has run out", self.peer.name, self.path)
            self._lost(RegistrationState.FAILED, now)

    # -- what came of it --

    def _done(self, elements: Elements, path: Path, now: int) -> None:
        granted = elements.number(Ie.REFRESH) or USUAL_REFRESH
        apparent = elements.apparent_address()
        self._drop(now)
        if self.state is RegistrationState.LEAVING:
            self._set_state(RegistrationState.ENDED)
            return
        granted = max(LEAST_REFRESH, min(granted, MOST_REFRESH))
        fresh = not self.in_force or path != self.path
        moved = apparent != self.seen_as
        self._failures = 0
        self.error = ""
        self.path = path
        self.seen_as = apparent
        self.expires_at = now + granted * SECOND
        self._set_state(RegistrationState.REGISTERED)
        self.wait_until(now + refresh_after(granted, TIMEOUT, self._host.rng))
        self._host.start(self, _EXPIRED, self.expires_at)
        if fresh or moved:
            where = "" if apparent is None else f", which sees us at {apparent.address}:{apparent.port}"
            log.info("trunk %s: registered with %s as %s for %d s%s", self.peer.name, path, self.user, granted, where)
        if fresh:
            self._changed(self, now)

    def _silent(self, error: str, now: int) -> None:
        if self.state is RegistrationState.LEAVING:
            self._set_state(RegistrationState.ENDED)
            return
        self.error = error
        self.peer.try_next()
        self._failed(RegistrationState.FAILED, now, IaxTimer.REGISTER_RETRY, IaxTimer.REGISTER_RETRY_MOST)

    def _refused(self, text: str, now: int) -> None:
        self._drop(now)
        if self.state is RegistrationState.LEAVING:
            self._set_state(RegistrationState.ENDED)
            return
        self.error = f"refused: {text}"
        self._failed(RegistrationState.REFUSED, now, IaxTimer.REFUSED, IaxTimer.REFUSED_MOST)

    def _failed(self, state: RegistrationState, now: int, first: IaxTimer, most: IaxTimer) -> None:
        durations = self._host.durations
        wait = back_off(durations[first], durations[most], self._failures, self._host.rng)
        self._failures += 1
        log.warning(
            "trunk %s: %s as %s: %s; next try in %d s",
            self.peer.name,
            "not refreshed, registered" if self.in_force else "not registered",
            self.user,
            self.error,
            wait // SECOND,
        )
        self.wait_until(now + wait)
        if self.in_force and state is RegistrationState.FAILED:
            # It stands until it runs out, and calls still come.
            return
        self._lost(state, now)

    def _lost(self, state: RegistrationState, now: int) -> None:
        was = self.in_force
        self._set_state(state)
        self._host.stop(self, _EXPIRED)
        self.expires_at = 0
        if was:
            self._changed(self, now)

    def _drop(self, now: int) -> None:
        self._host.stop(self, _ANSWER)
        session, self._session = self._session, None
        if session is not None:
            session.close(now)

    def wait_until(self, at: int) -> None:
        """Begin a round then."""
        self.next_try = at
        self._host.start(self, _TRY, at)

    def _set_state(self, state: RegistrationState) -> None:
        if log.isEnabledFor(logging.DEBUG):
            log.debug("registration of %s: %s -> %s", self.peer.name, self.state.value, state.value)
        self.state = state

    def as_json(self, now: int) -> dict[str, object]:
        """What an operator is shown."""
        seen = self.seen_as
        return {
            "state": self.state.value,
            "user": self.user,
            "server": str(self.path) if self.in_force and self.path is not None else "",
            "seen_as": "" if seen is None else f"{seen.address}:{seen.port}",
            "expires_seconds": (self.expires_at - now) / SECOND if self.in_force else None,
            "next_try_seconds": None if self.next_try is None else max(self.next_try - now, 0) / SECOND,
            "error": self.error,
        }
