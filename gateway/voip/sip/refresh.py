"""Session timers (RFC 4028): what is asked and granted, and who refreshes. Times in whole seconds; sends nothing."""

from __future__ import annotations

from gateway.core import SECOND
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.peers import SessionTimers
from gateway.voip.sip.values import SessionExpires

LEAST_MIN_SE = 90
"""RFC 4028 5: Min-SE is never below 90 s."""
MAX_INTERVAL = 86_400


class SessionTimer:
    """The session timer of one dialog. ``interval`` 0: the session does not expire."""

    __slots__ = ("_asked", "_mode", "interval", "min_se", "we_refresh")

    def __init__(self, mode: SessionTimers, offered: int, min_se: int) -> None:
        self._mode = mode
        self.min_se = max(min_se, LEAST_MIN_SE)
        self._asked = max(offered, self.min_se)
        self.interval = 0
        self.we_refresh = False

    def copy(self) -> SessionTimer:
        """A timer with the same terms for another early dialog."""
        other = SessionTimer(self._mode, self._asked, self.min_se)
        other.interval, other.we_refresh = self.interval, self.we_refresh
        return other

    def request_fields(self) -> list[tuple[str, str]]:
        """Header fields of an INVITE or UPDATE of ours."""
        if self._mode is SessionTimers.REFUSE:
            return []
        if self.interval:
            refresher = "uac" if self.we_refresh else "uas"
            fields = [("Session-Expires", f"{self.interval};refresher={refresher}")]
        elif self._mode is SessionTimers.ORIGINATE:
            fields = [("Session-Expires", f"{self._asked};refresher=uac")]
        else:
            return []
        if self.min_se > LEAST_MIN_SE:
            fields.append(("Min-SE", str(self.min_se)))
        return fields

    def too_small(self, request: Request) -> bool:
        """True if the far end asks for a shorter interval than we take and understands a 422 (RFC 4028 9).

        Raises SipError for values that ``take_request`` could not use.
        """
        first = request.headers.first
        if "session-expires" not in first and "min-se" not in first:
            return False
        asked, _ = request.session_expires, request.min_se
        if asked is None or self._mode is SessionTimers.REFUSE:
            return False
        return asked.seconds < self.min_se and "timer" in request.supported

    def refusal_fields(self) -> list[tuple[str, str]]:
        """Header fields of our 422."""
        return [("Min-SE", str(self.min_se))]

    def take_request(self, request: Request) -> list[tuple[str, str]]:
        """Settle terms from the far end's INVITE or UPDATE; returns the header fields of our 2xx (RFC 4028 9)."""
        if self._mode is SessionTimers.REFUSE:
            return []
        asked = request.session_expires
        theirs = "timer" in request.supported
        if asked is None:
            if self._mode is not SessionTimers.ORIGINATE:
                self.interval = 0
                return []
            asked = SessionExpires(max(self._asked, request.min_se or 0), "uac" if theirs else "uas")
        self.interval = min(max(asked.seconds, self.min_se, request.min_se or 0), MAX_INTERVAL)
        refresher = asked.refresher or ("uac" if theirs else "uas")
        if not theirs:
            refresher = "uas"
        self.we_refresh = refresher == "uas"
        fields = [("Session-Expires", f"{self.interval};refresher={refresher}")]
        if refresher == "uac":
            fields.append(("Require", "timer"))
        return fields

    def take_success(self, response: Response) -> None:
        """Settle terms from the 2xx to our INVITE or UPDATE (RFC 4028 7.2)."""
        if self._mode is SessionTimers.REFUSE:
            return
        try:
            granted = response.session_expires
        except SipError:
            # A value that makes no sense is as none: the call stands.
            granted = None
        if granted is not None:
            self.interval = min(max(granted.seconds, LEAST_MIN_SE), MAX_INTERVAL)
            self.we_refresh = granted.refresher != "uas"
        elif self._mode is SessionTimers.ORIGINATE:
            # 7.2: the far end knows no session timer; we may refresh by ourselves.
            self.interval, self.we_refresh = self.interval or self._asked, True
        else:
            self.interval = 0

    def take_too_small(self, response: Response) -> bool:
        """Raise our interval as a 422 wants (RFC 4028 7.4). False if it says nothing of use."""
        try:
            wanted = response.min_se
        except SipError:
            return False
        if wanted is None or not self.min_se < wanted <= MAX_INTERVAL:
            return False
        self.min_se = wanted
        self._asked = max(self._asked, wanted)
        if self.interval:
            self.interval = max(self.interval, wanted)
        return True

    @property
    def refresh_after(self) -> int:
        """Microseconds until we are to refresh: half the interval (RFC 4028 7.2)."""
        return self.interval * SECOND // 2

    @property
    def expire_after(self) -> int:
        """Microseconds until an unrefreshed session gets BYE: min(32 s, a third) before its end (clause 10)."""
        return (self.interval - min(32, self.interval // 3)) * SECOND
