"""An IAX2 far end of its own making: it goes on with another one, without the gateway between them (RFC 5456 6.5)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core import SECOND
from tests.simulation import iax_rfc as rfc
from tests.simulation.iax_proving import ProvingEnd
from tests.simulation.iax_rfc import Full, MalformedError, Numbers
from tests.simulation.iax_talk import LINGER, Talk
from tests.simulation.world import Address

REACHED_BY = 10 * SECOND
_CONTENTS = frozenset({rfc.DTMF_BEGIN, rfc.DTMF_END, rfc.CONTROL, rfc.TEXT})


@dataclass(slots=True, eq=False)
class Elsewhere:
    """Whom a call is to go on with. ``reached``: that one answered."""

    address: Address
    number: int
    identifier: bytes
    until: int
    reached: bool = False


class LeavingEnd(ProvingEnd):
    """One far end, as far as it lets the gateway go. ``joined``: calls that went on with another."""

    joined = 0
    stayed = 0
    """Those in which it or the other did not reach the other one."""

    def _txreq(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        said = frame.elements
        talk.elsewhere = None
        try:
            address = rfc.read_place(said.get(rfc.IE_APPARENT, b""))
            number = int.from_bytes(said[rfc.IE_CALLNO], "big")
        except (MalformedError, KeyError):
            if self.fair:
                self.breaches.append(f"{self.name}: {frame} names nobody")
            return
        if not self.terms.transfer and self.fair:
            self.breaches.append(f"{self.name}: {frame} where no transfer is agreed")
        if talk.send_key and self.fair:
            self.breaches.append(f"{self.name}: {frame} in an encrypted call")
        if not self.terms.transfer or talk.send_key or talk.hung_up is not None:
            self._say(talk, rfc.IAX, rfc.TXREJ)
            return
        identifier = said.get(rfc.IE_TRANSFERID, b"")
        talk.elsewhere = Elsewhere(address, number, identifier, self.world.now + REACHED_BY)
        self._reach(talk)

    def _reach(self, talk: Talk) -> None:
        there = talk.elsewhere
        if there is None or there.reached:
            return
        if self.world.now >= there.until:
            talk.elsewhere = None
            self.stayed += 1
            self._say(talk, rfc.IAX, rfc.TXREJ)
            return
        body = rfc.element(rfc.IE_TRANSFERID, there.identifier) if there.identifier else b""
        self._beside(talk, there, rfc.TXCNT, body)
        self._later(rfc.RETRY_AFTER, self._reach, talk)

    def _beside(self, talk: Talk, there: Elsewhere, sub: int, body: bytes = b"") -> None:
        """A frame past the gateway; the numbers in it are of the call with that, and mean nothing there."""
        numbers = talk.numbers
        frame = Full(talk.number, there.number, self._stamp(talk), numbers.out, numbers.expected, rfc.IAX, sub, body)
        self._bare(there.address, frame)

    def _aside(self, talk: Talk, data: bytes, source: Address, sender: int) -> bool:
        """Whether a frame is not of the call with the gateway: of whom it is to go on with, or of the way there."""
        there = talk.elsewhere
        from_there = there is not None and (source, sender) == (there.address, there.number)
        frame = rfc.read_full(data)
        if frame.kind != rfc.IAX or frame.sub not in (rfc.TXCNT, rfc.TXACC):
            # That one was told before us, and will say it again.
            return from_there
        if there is None or not from_there:
            return True
        if frame.sub == rfc.TXCNT:
            self._beside(talk, there, rfc.TXACC)
        elif not there.reached:
            there.reached = True
            self._say(talk, rfc.IAX, rfc.TXREADY, rfc.element(rfc.IE_CALLNO, talk.number, 2))
        return True

    def _txrel(self, talk: Talk, frame: Full) -> None:
        """From now on without the gateway: numbers and stamps begin anew, what it has not heard is said again."""
        there = talk.elsewhere
        self._ack(talk, frame)
        if there is None or not there.reached:
            if self.fair:
                self.breaches.append(f"{self.name}: {frame} before anybody was reached")
            return
        talk.elsewhere = None
        self.joined += 1
        self._left[talk.address, talk.other] = self.world.now + LINGER
        unheard = [each.frame for each in talk.numbers.waiting]
        talk.address = there.address
        talk.other = int.from_bytes(frame.elements.get(rfc.IE_CALLNO, b""), "big") or there.number
        talk.numbers = Numbers()
        talk.early.clear()
        talk.joined, talk.begun = True, False
        talk.began, talk.last_stamp, talk.spoken = self.world.now, -1, -1
        for each in unheard:
            if each.kind in _CONTENTS or (each.kind, each.sub) == (rfc.IAX, rfc.HANGUP):
                self._say(talk, each.kind, each.sub, each.body)
        self._talk(talk)

    def _txrej(self, talk: Talk, frame: Full) -> None:
        self._ack(talk, frame)
        talk.elsewhere = None
