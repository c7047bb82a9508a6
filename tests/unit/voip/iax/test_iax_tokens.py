"""Call tokens, both of the endpoint and by themselves: no memory, no amplification, no use to anybody else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import SECOND
from gateway.voip.iax.calltokens import LEAST_TOKEN, MOST_TOKEN, STATELESS_NUMBER, TokenMint, reply
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType, FullFrame, parse_full
from gateway.voip.iax.host import Path
from gateway.voip.iax.peers import PeerSettings
from tests.unit.voip.iax.iax_wire import PEER, STRANGER, WORD, Wire, new_elements

LIFE = 10 * SECOND
MINT = TokenMint(bytes(range(32)), LIFE)
HERE = Path(1, "192.0.2.1", 4569)


def test_token_holds_for_its_life_and_at_most_twice_that() -> None:
    token = MINT.token(HERE, 20, 25 * SECOND)
    assert MINT.holds(token, HERE, 25 * SECOND)
    assert MINT.holds(token, HERE, 35 * SECOND)
    assert not MINT.holds(token, HERE, 40 * SECOND)
    assert not MINT.holds(token, HERE, 15 * SECOND)


@pytest.mark.parametrize("there", [Path(1, "192.0.2.2", 4569), Path(1, "192.0.2.1", 4570), Path(2, "192.0.2.1", 4569)])
def test_token_is_of_no_use_elsewhere(there: Path) -> None:
    assert not MINT.holds(MINT.token(HERE, 20, 0), there, 0)


def test_token_of_another_key_does_not_hold() -> None:
    assert not MINT.holds(TokenMint(bytes(32), LIFE).token(HERE, 20, 0), HERE, 0)


@given(st.binary(max_size=40))
def test_no_octets_hold_by_chance(token: bytes) -> None:
    assert not MINT.holds(token, HERE, 0)


@given(st.integers(0, 10**9), st.integers(LEAST_TOKEN, MOST_TOKEN), st.integers(0, 65_535))
def test_no_token_has_an_octet_of_zero(now: int, octets: int, port: int) -> None:
    token = MINT.token(HERE._replace(port=port), octets, now * SECOND)
    assert len(token) == octets
    assert 0 not in token


def test_key_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="16 octets"):
        TokenMint(bytes(16), LIFE)


@given(st.integers(0, 200))
def test_answer_is_never_longer_than_the_question(octets: int) -> None:
    asked = FullFrame(7, 0, 3, 0, 0, FrameType.IAX, Command.NEW)
    data = MINT.answer(asked, octets, HERE, 0)
    if data is None:
        assert octets < 12 + 2 + LEAST_TOKEN
        return
    assert len(data) <= octets
    frame = parse_full(data)
    assert (frame.source, frame.destination, frame.subclass) == (STATELESS_NUMBER, 7, Command.CALLTOKEN)
    assert MINT.holds(frame.elements.raw(Ie.CALLTOKEN) or b"", HERE, 0)


def test_answer_without_a_session_says_what_far_ends_expect() -> None:
    frame = reply(FullFrame(9, 0, 77, 0, 0, FrameType.IAX, Command.NEW), Command.REJECT)
    assert frame == FullFrame(1, 9, 77, 0, 1, FrameType.IAX, Command.REJECT)


# -- the endpoint --

BRANCH = PeerSettings(name="branch", host=PEER, secret=WORD)


def test_asking_for_tokens_takes_no_memory() -> None:
    wire = Wire(BRANCH)
    before = wire.endpoint.statistics()
    for source in range(2, 202):
        data = bytes(Elements([*new_elements("branch"), (Ie.CALLTOKEN, b"")]))
        (answer,) = wire.datagram(bytes(FullFrame(source, 0, 3, 0, 0, FrameType.IAX, Command.NEW, data)))
        assert answer.subclass == Command.CALLTOKEN
    after = wire.endpoint.statistics()
    assert [after[name] for name in ("sessions", "call_numbers", "unproven")] == [0, 0, 0]
    assert after["tokens"] - before["tokens"] == 200


def test_call_with_a_token_is_challenged() -> None:
    (answer,) = Wire(BRANCH).far_end().open(Command.NEW, new_elements("branch"))
    assert answer.subclass == Command.AUTHREQ
    assert answer.source > STATELESS_NUMBER


def test_call_with_a_token_that_is_not_ours_is_refused_without_a_session() -> None:
    wire = Wire(BRANCH)
    (answer,) = wire.far_end().open(Command.NEW, new_elements("branch"), change=lambda token: token[::-1])
    assert (answer.source, answer.subclass) == (STATELESS_NUMBER, Command.REJECT)
    assert wire.endpoint.statistics()["sessions"] == 0


def test_token_of_one_far_end_is_of_no_use_to_another() -> None:
    wire = Wire(BRANCH)
    elements = new_elements("branch")
    (answer,) = wire.far_end().send(Command.NEW, Elements([*elements.items, (Ie.CALLTOKEN, b"")]))
    stolen = answer.elements.raw(Ie.CALLTOKEN) or b""
    far_end = wire.far_end(STRANGER)
    (answer,) = far_end.send(Command.NEW, Elements([*elements.items, (Ie.CALLTOKEN, stolen)]))
    assert answer.subclass == Command.REJECT


def test_token_that_is_too_old_is_refused() -> None:
    wire = Wire(BRANCH)
    far_end = wire.far_end()
    elements = new_elements("branch")
    (answer,) = far_end.send(Command.NEW, Elements([*elements.items, (Ie.CALLTOKEN, b"")]))
    token = answer.elements.raw(Ie.CALLTOKEN) or b""
    wire.advance(20 * SECOND)
    far_end.oseqno = 0
    (answer,) = far_end.send(Command.NEW, Elements([*elements.items, (Ie.CALLTOKEN, token)]))
    assert answer.subclass == Command.REJECT


def test_our_own_request_goes_again_with_the_token_that_it_is_given() -> None:
    wire = Wire(PeerSettings(name="provider", host=PEER, secret=WORD, register=True))
    wire.advance(SECOND)
    first = wire.sent_to(PEER)[0]
    assert (first.subclass, first.elements.items[-1]) == (Command.REGREQ, (Ie.CALLTOKEN, b""))
    token = FullFrame(
        1,
        first.source,
        first.stamp,
        0,
        1,
        FrameType.IAX,
        Command.CALLTOKEN,
        bytes(Elements().add(Ie.CALLTOKEN, b"abc")),
    )
    (again,) = wire.datagram(bytes(token))
    assert (again.subclass, again.oseqno, again.destination) == (Command.REGREQ, 0, 0)
    assert again.elements.items[-1] == (Ie.CALLTOKEN, b"abc")
