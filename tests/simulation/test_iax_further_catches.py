"""The simulation notices what is broken in transfers, loops, guests, holds, sockets and other proofs of IAX2."""

from __future__ import annotations

import pytest

from gateway.leg import Setup
from gateway.voip.iax import auth, gatekeeper, transfer
from gateway.voip.iax.auth import Proof
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType
from gateway.voip.iax.host import Path
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.lifetime import LivingSession
from gateway.voip.iax.peers import AuthMethod, PeerSettings
from gateway.voip.iax.rounds import Rounds
from gateway.voip.iax.session import Session
from gateway.voip.iax.sockets import Sockets
from gateway.voip.iax.transfer import PathChange, PathRelease
from tests.simulation.iax_catching import told
from tests.simulation.iax_shape import IaxShape
from tests.simulation.load import Load
from tests.simulation.shape import Shape
from tests.simulation.story import Answering


def all_leave(trunks: list[IaxShape]) -> bool:
    """Whether calls may leave the gateway's path on the two good trunks, and nothing hinders them."""
    return all(each.transfer and each.nat is None and each.encryption[0].value == "no" for each in trunks[:2])


def one_leaves(trunks: list[IaxShape]) -> bool:
    """Whether only those of the far end may that is not ours."""
    return trunks[0].transfer and trunks[0].nat is None and trunks[0].encryption[0].value == "no"


def test_a_leg_that_stays_when_its_call_has_left_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IaxLeg, "leave", lambda *_: None)
    assert told("gateway: leg iax2/", one_leaves)


def test_a_call_that_leaves_with_another_number_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Session.command

    def command(self: Session, which: Command, now: int, elements: Elements | None = None) -> None:
        if which is Command.TXREL:
            elements = Elements().add_number(Ie.CALLNO, 1 + (self.destination + 1) % 0x7FFE, 2)
        original(self, which, now, elements)

    monkeypatch.setattr(Session, "command", command)
    assert told("without anybody's hanging up", one_leaves)


def test_an_encrypted_call_that_is_sent_elsewhere_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def hindrance(self: PathRelease, one: IaxLeg, other: IaxLeg) -> str:
        return ""

    monkeypatch.setattr(PathRelease, "_hindrance", hindrance)
    assert told("in an encrypted call", lambda trunks: trunks[0].transfer and trunks[0].encrypted)


def test_a_call_that_leaves_where_it_may_not_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_may_transfer", lambda _: True)
    assert told("where no transfer is agreed", lambda trunks: not trunks[0].transfer and not trunks[0].encrypted)


def test_a_path_that_is_released_before_anybody_is_reached_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = transfer._ask

    def ask(leg: IaxLeg, far: IaxLeg, identifier: int, now: int) -> None:
        original(leg, far, identifier, now)
        if leg.session is not None and far.session is not None:
            leg.session.command(Command.TXREL, now, Elements().add_number(Ie.CALLNO, far.session.destination, 2))

    monkeypatch.setattr(transfer, "_ask", ask)
    assert told("before anybody was reached", one_leaves)


def test_an_end_that_does_not_go_where_it_said_to_be_ready_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LivingSession, "join", lambda *_: None)
    assert told("heard", all_leave)


def test_an_end_that_answers_nobody_beside_the_path_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls then end as others do: nothing is told, and nothing is left."""
    monkeypatch.setattr(PathChange, "tried", lambda *_: None)
    assert not told(" ", all_leave, tries=2)


def test_a_call_that_goes_round_and_round_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rounds, "had", lambda *_: 0)
    assert told("it went round")


def test_a_pass_of_a_call_that_is_remembered_for_ever_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Rounds, "leave", lambda *_: None)
    assert told("passes of calls")


def test_a_guest_who_is_asked_for_a_proof_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "_GUESTS", frozenset[str]())
    assert told("a guest is asked who he is", lambda trunks: trunks[-1].guest)


def test_any_password_in_the_clear_that_is_taken_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = auth.verify

    def verify(settings: PeerSettings, challenge: bytes, elements: Elements) -> Proof | None:
        if AuthMethod.PLAINTEXT in settings.methods and elements.raw(Ie.PASSWORD) is not None:
            return Proof(AuthMethod.PLAINTEXT, Elements())
        return original(settings, challenge, elements)

    monkeypatch.setattr(gatekeeper, "verify", verify)
    assert told("with a wrong password", lambda trunks: sum(each.plaintext for each in trunks) > 1)


def test_a_far_end_that_is_called_from_another_port_than_it_knows_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sockets, "listener_of", lambda *_: 0)
    assert told(
        "and was called from", lambda trunks: trunks[0].dynamic and not trunks[0].of_six and trunks[0].port != 4569
    )


def test_a_socket_that_is_opened_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Sockets.open

    def opened(self: Sockets) -> None:
        original(self)
        self._endpoint.media.open_iax_socket("10.0.0.1", 4571, "one too many", lambda _: None)

    monkeypatch.setattr(Sockets, "open", opened)
    assert told("4 IAX2 sockets")


def test_a_hold_that_nobody_is_told_of_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Load._answering

    def answering(self: Load, name: str, patience: int) -> Answering:
        found = original(self, name, patience)
        return Answering(name, ring_after=5, answer_after=20, hold=None, cause=found.cause)

    monkeypatch.setattr(IaxLeg, "hold", lambda *_: None)
    monkeypatch.setattr(Load, "_acts", lambda _: ((600, "hold"), (2_600, "resume")))
    monkeypatch.setattr(Load, "_answering", answering)
    monkeypatch.setattr(Shape, "music", property(lambda _: "none", lambda *_: None))
    assert told("put on hold 0 times")


def test_a_text_that_is_not_acknowledged_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Session.receive

    def receive(self: Session, data: bytes, path: Path, now: int) -> None:
        if data[10] != FrameType.TEXT:
            original(self, data, path, now)

    monkeypatch.setattr(Session, "receive", receive)
    assert told("ended", lambda trunks: trunks[0].encryption[0].value == "no")


def test_a_far_end_of_ipv6_that_is_called_over_ipv4_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Sockets.to

    def to(self: Sockets, address: str, listener: int | None = None) -> int | None:
        return original(self, "10.0.0.1" if ":" in address else address, None)

    monkeypatch.setattr(Sockets, "to", to)
    assert told("the engine refused SEND_IAX", lambda trunks: trunks[0].of_six)


def test_hops_that_are_not_counted_still_end_a_call_that_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name on the way is enough."""

    def hindrance(self: IaxLeg, setup: Setup, now: int) -> None:
        return None

    monkeypatch.setattr(IaxLeg, "_hindrance", hindrance)
    assert not told("it went round", tries=3)
