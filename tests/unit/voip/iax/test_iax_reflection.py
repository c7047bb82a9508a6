"""Whoever stands in between may hand our own challenge back to us: our answer to it must not be had by that."""

from __future__ import annotations

import logging

import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import MILLISECOND
from gateway.identity import Number
from gateway.leg import Setup
from gateway.voip.iax.crypt import AES_128
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType, FullFrame
from gateway.voip.iax.peers import CallTokens, Encryption, PeerSettings
from tests.unit.voip.iax.iax_wire import PEER, WORD, FarEnd, Wire, new_elements

BRANCH = PeerSettings(name="branch", host=PEER, user="us", secret=WORD)


def call(wire: Wire) -> FullFrame:
    """A call of ours, its NEW."""
    leg = wire.endpoint.new_leg("branch", wire.now)
    assert not isinstance(leg, Cause)
    leg.place(Setup(Number("100")), wire.now)
    return wire.sent_to(PEER)[-1]


def handed_back(wire: Wire, asked: FullFrame, command: Command, challenge: FullFrame) -> list[FullFrame]:
    """What is said to ``challenge``, ours, as an answer to ``asked``, ours as well."""
    elements = Elements([item for item in challenge.elements if item[0] != Ie.USERNAME])
    frame = FullFrame(300, asked.source, 5, 0, 1, FrameType.IAX, command, bytes(elements))
    return wire.datagram(bytes(frame))


def challenged(wire: Wire, elements: Elements) -> tuple[FarEnd, FullFrame]:
    """Somebody where the branch is says to be it."""
    false = wire.far_end()
    (challenge,) = false.open(Command.NEW, elements)
    assert challenge.subclass == Command.AUTHREQ
    return false, challenge


@pytest.mark.parametrize("encryption", [Encryption.NO, Encryption.REQUIRED])
def test_our_own_challenge_is_not_answered_by_a_call_of_ours(
    encryption: Encryption, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire(replace(BRANCH, encryption=encryption))
    asked = call(wire)
    assert asked.subclass == Command.NEW
    wanted = new_elements("branch", "900")
    if encryption is not Encryption.NO:
        wanted.add_number(Ie.ENCRYPTION, AES_128, 2)
    _, challenge = challenged(wire, wanted)
    said = handed_back(wire, asked, Command.AUTHREQ, challenge)
    assert [each.subclass for each in said] == [Command.HANGUP]
    assert any("our challenge" in record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert not wire.offered


def test_our_own_challenge_is_not_answered_by_a_registration_of_ours() -> None:
    wire = Wire(replace(BRANCH, register=True, calltokens=CallTokens.NO))
    wire.advance(10 * MILLISECOND)
    (asked,) = wire.sent_to(PEER)
    assert asked.subclass == Command.REGREQ
    _, challenge = challenged(wire, new_elements("branch", "900"))
    said = handed_back(wire, asked, Command.REGAUTH, challenge)
    assert Command.REGREQ not in [each.subclass for each in said]
    assert wire.endpoint.peers["branch"].registration is not None
    assert "our challenge" in wire.endpoint.peers["branch"].registration.error


def test_a_challenge_of_the_far_ends_own_is_answered_meanwhile() -> None:
    wire = Wire(BRANCH)
    asked = call(wire)
    challenged(wire, new_elements("branch", "900"))
    own = Elements().add_number(Ie.AUTHMETHODS, 2, 2).add(Ie.CHALLENGE, b"4711")
    frame = FullFrame(300, asked.source, 5, 0, 1, FrameType.IAX, Command.AUTHREQ, bytes(own))
    assert [each.subclass for each in wire.datagram(bytes(frame))] == [Command.AUTHREP]
