"""Our registration with a far end: proofs, refreshes, refusals, silence, other networks, and the end."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.core import MILLISECOND, SECOND
from gateway.voip.iax.auth import md5_result
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType, FullFrame
from gateway.voip.iax.peers import AuthMethod, PeerSettings
from gateway.voip.iax.registration import Registration
from gateway.voip.registering import RegistrationState
from gateway.voip.sip.address import NetworkFacts
from gateway.voip.sip.names import FAILED, Answer
from tests.unit.voip.iax.iax_wire import PEER, WORD, Wire

PROVIDER = PeerSettings(name="provider", host=PEER, user="us", secret=WORD, register=True)
CHALLENGE = b"0815"


class Registrar:
    """A far end that answers what we ask."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.seen = 0
        self.number = 200

    def next(self, seconds: int = 400) -> FullFrame:
        """The next frame that is no acknowledgement, however long it takes."""
        for _ in range(seconds * 20):
            frames = [each for each in self.wire.sent_to(PEER) if each.subclass not in (Command.ACK, Command.POKE)]
            if len(frames) > self.seen:
                self.seen += 1
                return frames[self.seen - 1]
            self.wire.advance(50 * MILLISECOND)
        raise AssertionError(f"nothing came in {seconds} s")

    def answer(self, frame: FullFrame, command: Command, elements: Elements, oseqno: int = 0) -> None:
        iseqno = (frame.oseqno + 1) & 0xFF
        data = FullFrame(
            self.number, frame.source, frame.stamp + 1, oseqno, iseqno, FrameType.IAX, command, bytes(elements)
        )
        self.wire.datagram(bytes(data))

    def challenge(self, frame: FullFrame, methods: int = 2) -> FullFrame:
        elements = Elements().add_number(Ie.AUTHMETHODS, methods, 2).add(Ie.CHALLENGE, CHALLENGE)
        self.answer(frame, Command.REGAUTH, elements.add_text(Ie.USERNAME, "us"))
        return self.next()

    def accept(self, frame: FullFrame, refresh: int = 60, oseqno: int = 1) -> None:
        elements = Elements().add_number(Ie.REFRESH, refresh, 2).add_address("203.0.113.5", 1234)
        self.answer(frame, Command.REGACK, elements, oseqno)

    def register(self, refresh: int = 60) -> None:
        self.number += 1
        self.accept(self.challenge(self.next()), refresh)


def registration_of(wire: Wire) -> Registration:
    registration = wire.endpoint.peers["provider"].registration
    assert registration is not None
    return registration


def test_registration_is_proven_and_stands() -> None:
    wire = Wire(PROVIDER)
    registrar = Registrar(wire)
    first = registrar.next()
    assert (first.subclass, first.elements.text(Ie.USERNAME), first.elements.number(Ie.REFRESH)) == (
        Command.REGREQ,
        "us",
        60,
    )
    proof = registrar.challenge(first)
    assert proof.elements.raw(Ie.MD5_RESULT) == md5_result(CHALLENGE, WORD)
    assert proof.destination == registrar.number
    registrar.accept(proof)
    registration = registration_of(wire)
    assert registration.state is RegistrationState.REGISTERED
    assert registration.seen_as == ("203.0.113.5", 1234)
    assert wire.sent_to(PEER)[-1].subclass == Command.ACK
    assert wire.endpoint.statistics()["sessions"] == 0


def test_registration_without_a_challenge_stands_too() -> None:
    wire = Wire(PROVIDER)
    registrar = Registrar(wire)
    registrar.accept(registrar.next(), oseqno=0)
    assert registration_of(wire).in_force


def test_it_is_refreshed_before_it_ends_for_ever() -> None:
    wire = Wire(PROVIDER)
    registrar = Registrar(wire)
    registrar.register()
    for _ in range(20):
        before = wire.now
        registrar.register()
        assert 30 * SECOND < wire.now - before < 50 * SECOND
        assert registration_of(wire).in_force


def test_what_the_registrar_grants_counts_not_what_was_asked_for() -> None:
    wire = Wire(PROVIDER)
    registrar = Registrar(wire)
    registrar.register(3600)
    before = wire.now
    registrar.next(3700)
    assert wire.now - before > 2000 * SECOND


def test_wrong_password_is_told_and_tried_ever_more_seldom(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(PROVIDER)
    registrar = Registrar(wire)
    waits = []
    for _ in range(5):
        proof = registrar.challenge(registrar.next(4000))
        before = wire.now
        registrar.answer(proof, Command.REGREJ, Elements().add_text(Ie.CAUSE, "Registration Refused"), 1)
        assert registration_of(wire).state is RegistrationState.REFUSED
        registration = registration_of(wire)
        assert registration.next_try is not None
        waits.append(registration.next_try - before)
        registrar.number += 1
    assert "refused: Registration Refused" in caplog.text
    assert waits[0] >= 30 * SECOND
    assert waits[3] > 2 * waits[0]
    assert max(waits) <= 1800 * SECOND


def test_silence_is_tried_again_soon_and_with_jitter() -> None:
    found = set()
    for seed in range(5):
        wire = Wire(PROVIDER, seed=seed)
        wire.advance(40 * SECOND)
        registration = registration_of(wire)
        assert registration.state is RegistrationState.FAILED
        found.add(registration.next_try)
    assert len(found) > 1


def test_silence_for_a_day_stays_quiet_on_the_wire_and_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(PROVIDER)
    wire.advance(86_400 * SECOND)
    assert len(wire.sent_to(PEER)) < 5 * 86_400 // 120
    assert len(caplog.records) < 86_400 // 120


def test_failed_refresh_leaves_the_registration_until_it_runs_out(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(PROVIDER)
    Registrar(wire).register(120)
    wire.advance(110 * SECOND)
    assert registration_of(wire).in_force
    assert "not refreshed, registered" in caplog.text
    wire.advance(30 * SECOND)
    assert not registration_of(wire).in_force
    assert "has run out" in caplog.text


def test_method_that_we_do_not_have_is_refused_by_us() -> None:
    wire = Wire(PROVIDER)
    registrar = Registrar(wire)
    elements = Elements().add_number(Ie.AUTHMETHODS, AuthMethod.PLAINTEXT, 2)
    registrar.answer(registrar.next(), Command.REGAUTH, elements)
    assert registration_of(wire).state is RegistrationState.REFUSED
    assert all(each.elements.raw(Ie.PASSWORD) is None for each in wire.sent_to(PEER) if each.data)


def test_far_end_that_challenges_for_ever_is_left() -> None:
    wire = Wire(PROVIDER)
    registrar = Registrar(wire)
    frame = registrar.next()
    for oseqno in range(3):
        elements = Elements().add_number(Ie.AUTHMETHODS, 2, 2).add(Ie.CHALLENGE, b"%d" % oseqno)
        registrar.answer(frame, Command.REGAUTH, elements, oseqno)
        if oseqno < 2:
            frame = registrar.next()
    assert registration_of(wire).state is RegistrationState.REFUSED


@pytest.mark.parametrize("data", [b"\x0f", b"\x0e\x03\0\0\0", b"\x12\x05abc"])
def test_senseless_elements_are_a_refusal_and_nothing_worse(data: bytes) -> None:
    wire = Wire(PROVIDER)
    registrar = Registrar(wire)
    first = registrar.next()
    frame = FullFrame(registrar.number, first.source, 9, 0, 1, FrameType.IAX, Command.REGAUTH, data)
    wire.datagram(bytes(frame))
    assert registration_of(wire).state is RegistrationState.REFUSED


def test_other_network_is_told_at_once_but_not_more_than_once_a_second() -> None:
    wire = Wire(PROVIDER)
    registrar = Registrar(wire)
    registrar.register(3600)
    for _ in range(20):
        wire.endpoint.network(NetworkFacts(), wire.now)
        wire.advance(10 * MILLISECOND)
    wire.advance(SECOND)
    assert len([each for each in wire.sent_to(PEER) if each.subclass == Command.REGREQ]) <= 2 + 2


def test_end_of_the_program_takes_the_registration_back_with_a_proof() -> None:
    wire = Wire(PROVIDER)
    registrar = Registrar(wire)
    registrar.register()
    wire.endpoint.leave(wire.now)
    assert not wire.endpoint.quiet
    registrar.number += 1
    release = registrar.next()
    assert release.subclass == Command.REGREL
    assert release.elements.raw(Ie.REFRESH) is None
    proof = registrar.challenge(release)
    assert (proof.subclass, proof.elements.raw(Ie.MD5_RESULT)) == (Command.REGREL, md5_result(CHALLENGE, WORD))
    registrar.answer(proof, Command.REGACK, Elements(), 1)
    assert registration_of(wire).over
    assert wire.endpoint.quiet


def test_end_of_the_program_does_not_wait_for_a_silent_registrar() -> None:
    wire = Wire(PROVIDER)
    Registrar(wire).register()
    wire.endpoint.leave(wire.now)
    wire.advance(40 * SECOND)
    assert wire.endpoint.quiet


def test_name_is_asked_for_and_registered_with_when_it_is_known() -> None:
    wire = Wire(replace(PROVIDER, host="iax.example"))
    (question,) = wire.asked
    assert (question.host, question.kind) == ("iax.example", "address")
    wire.advance(SECOND)
    assert registration_of(wire).state is RegistrationState.FAILED
    wire.endpoint.looked_up(question, FAILED, wire.now)
    wire.advance(SECOND)
    assert not wire.media.sent
    wire.endpoint.looked_up(question, Answer((PEER,)), wire.now)
    wire.advance(2 * SECOND)
    Registrar(wire).register()
    assert registration_of(wire).in_force


def test_binding_of_a_nat_is_kept_alive_while_we_are_registered() -> None:
    wire = Wire(PROVIDER)
    registrar = Registrar(wire)
    registrar.register(3600)

    def pokes() -> list[FullFrame]:
        return [each for each in wire.sent_to(PEER) if each.subclass == Command.POKE]

    for count in range(1, 5):
        wire.advance(25 * SECOND)
        assert len(pokes()) >= count
    assert len(pokes()) <= 5
    poke = pokes()[-1]
    assert len(bytes(poke)) == 12
    assert wire.datagram(bytes(FullFrame(1, poke.source, 0, 0, 1, FrameType.IAX, Command.PONG))) == []
    wire.endpoint.leave(wire.now)
    before = len(pokes())
    wire.advance(100 * SECOND)
    assert len(pokes()) == before


def test_what_an_operator_is_shown() -> None:
    wire = Wire(PROVIDER)
    Registrar(wire).register()
    shown = registration_of(wire).as_json(wire.now)
    assert shown["state"] == "registered"
    assert shown["server"] == f"{PEER}:4569"
    assert shown["seen_as"] == "203.0.113.5:1234"
    assert shown["expires_seconds"] == 60.0
