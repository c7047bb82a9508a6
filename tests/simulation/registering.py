"""A phone that registers: with a password, again and again, after a restart, and from elsewhere when it was moved.

One of several that share an account, perhaps, and behind a NAT, perhaps. It makes its requests itself.
"""

from __future__ import annotations

from gateway.core import MILLISECOND, SECOND
from gateway.voip.sip.credentials import DigestClient
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import Flow
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.transaction import ClientTransaction, Trouble
from gateway.voip.sip.transactions import TableFull
from tests.simulation.nat import Nat, NatKind
from tests.simulation.sip_node import PORT, SipNode

ACCOUNT = "7001"
MAX_CONTACTS = 3
SECRET = "apples"  # noqa: S105 - of a phone in a simulation
ASKED = 60
"""Seconds it wants to be registered for; what it is given may be less."""
AGAIN = 15 * SECOND
ON_ITS_WAY = 45 * SECOND
"""How late a REGISTER may still arrive: repeated for 64*T1, on a slow network, or a stalled connection."""


class RegisteringPhone(SipNode):
    """``begin_registering`` comes first. ``until``: for each address it ever had, when it may be called there last."""

    serial = 0
    stopped = False
    vanished = False
    nat: Nat | None = None
    _due: int | None = None

    def begin_registering(self, until: dict[str, int], number: int, kind: NatKind | None) -> None:
        """Register from now on, until ``stop_registering``; as telephone ``number``, behind a NAT of that ``kind``."""
        self.until = until
        self.number = number
        self.registrations = 0
        if kind is not None:
            self.nat = Nat(kind, self.address, f"198.51.{number}.1")
            self.network.put_behind(self.nat)
        self._afresh()

    def restart(self) -> None:
        """Forget everything, the registration too."""
        super().restart()
        if not self.stopped and not self.vanished:
            self._afresh()

    def move(self) -> None:
        """Go to another address, without a word to anybody."""
        self._unplug()
        self.serial += 1
        self.network.take_away(self.address)
        self.address = f"10.0.{20 + self.number}.{self.serial % 250 + 1}"
        if self.nat is not None:
            self.nat = Nat(self.nat.kind, self.address, f"198.51.{self.number}.{self.serial % 250 + 2}")
            self.network.put_behind(self.nat)
        self.network.join(self.address, self.name, self._receive)
        self.restart()

    def rebind(self) -> None:
        """The NAT in front of it has another address from now on, and has forgotten all; the phone does not notice."""
        nat = self.nat
        assert nat is not None
        self.serial += 1
        self.nat = Nat(nat.kind, self.address, f"198.51.{self.number}.{self.serial % 250 + 2}")
        self.network.put_behind(self.nat)
        if self.streams is not None:
            self.streams.break_all()

    def vanish(self) -> None:
        """Be pulled out of the wall."""
        self.vanished = True
        self._unplug()
        self._due = None
        self.restart()

    def _unplug(self) -> None:
        self.network.leave(self.address)
        if self.streams is not None:
            self.streams.vanish()
            self.streams = None

    def come_back(self) -> None:
        """Be plugged in again, at another address as like as not."""
        if self.vanished:
            self.vanished = False
            self.move()

    def stop_registering(self) -> None:
        """Take the registration back."""
        self.stopped = True
        self._register(0)

    @property
    def seen_at(self) -> str:
        """The address that the gateway sees."""
        return self.network.outside(self.address)

    def _afresh(self) -> None:
        rng = self.world.rng
        self._client = DigestClient(ACCOUNT, self.peer.secret, rng)
        self._call_id = f"{rng.getrandbits(64):x}"
        self._cseq = 0
        self._round = 0
        self._again(rng.randrange(200) * MILLISECOND)

    def _again(self, after: int) -> None:
        self._due = due = self.world.now + after
        self.world.at(due, self._register_if, due)

    def _register_if(self, due: int) -> None:
        if due == self._due and not self.stopped:
            self._round = 0
            self._register(ASKED)

    @property
    def _contact(self) -> str:
        return f"sip:{ACCOUNT}@{self.address}:{PORT};transport={self.peer.transport.lower()}"

    def _register(self, seconds: int) -> None:
        outbound = self.endpoint.outbound
        flow = Flow(self.peer.transport, self.peer.host, self.peer.port)
        via = outbound.via(flow)
        self._cseq += 1
        at = f"sip:{ACCOUNT}@{self.peer.host}"
        uri = f"sip:{self.peer.host}"
        # Several telephones have the one account: it is its own Contact alone that each takes back.
        fields = [
            ("Via", via.text),
            ("Max-Forwards", "70"),
            ("From", f"<{at}>;tag={self._call_id}"),
            ("To", f"<{at}>"),
            ("Call-ID", self._call_id),
            ("CSeq", f"{self._cseq} REGISTER"),
            ("Contact", f"<{self._contact}>;expires={seconds}" if seconds or self.number else "*"),
            *([] if seconds else [("Expires", "0")]),
            *self._client.fields("REGISTER", uri),
        ]
        if seconds:
            self.until[self.seen_at] = self.world.now + ON_ITS_WAY + seconds * SECOND
        try:
            outbound.request(
                Request("REGISTER", uri, fields), via, flow, _Answers(self, self._call_id, seconds), self.world.now
            )
        except TableFull:
            self._again(AGAIN)
        self.settle()

    def answered(self, call_id: str, seconds: int, response: Response) -> None:
        """The gateway's final response."""
        if call_id != self._call_id:
            return
        if response.status == 401 and self._client.take(response, self._round):
            self._round += 1
            self._register(seconds)
            return
        if response.status == 200 and seconds:
            granted = self._granted(response)
            self.registrations += 1
            # Whatever was on its way before is there, or was refused.
            self.until[self.seen_at] = self.world.now + granted * SECOND
            self._again(granted * SECOND * self.world.rng.randint(40, 85) // 100)
        else:
            self._again(AGAIN)

    def _granted(self, response: Response) -> int:
        try:
            found = [each for each in response.contacts if each.uri_text == self._contact]
            return int(found[0].params.get("expires") or 0) if found else 0
        except (SipError, ValueError):
            # Bytes suffer on the way.
            return 0

    def unanswered(self, call_id: str) -> None:
        """No response came."""
        if call_id == self._call_id:
            self._again(AGAIN)


class _Answers:
    def __init__(self, phone: RegisteringPhone, call_id: str, seconds: int) -> None:
        self._phone = phone
        self._call_id = call_id
        self._seconds = seconds

    def on_response(self, transaction: ClientTransaction, response: Response, now: int) -> None:
        if response.status >= 200:
            self._phone.answered(self._call_id, self._seconds, response)

    def on_trouble(self, transaction: ClientTransaction, trouble: Trouble, now: int) -> None:
        self._phone.unanswered(self._call_id)
