"""Calls that come in: who they are of, what proves it, and what becomes of those that may not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.voip.iax.auth import md5_result
from gateway.voip.iax.crypt import AES_128, Cipher, key_of
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType, FullFrame
from gateway.voip.iax.peers import AuthMethod, CallTokens, Encryption, PeerSettings
from tests.unit.voip.iax.iax_wire import PEER, STRANGER, WORD, FarEnd, Wire, new_elements

BRANCH = PeerSettings(name="branch", host=PEER, secret=WORD, context="inside")


def call_words(wire: Wire) -> list[tuple[str, str, str]]:
    """Of each call that was offered: its peer, context and number."""
    return [(offered.source, offered.context, offered.setup.called.digits) for _, offered in wire.offered]


def test_call_with_the_right_password_is_offered() -> None:
    wire = Wire(BRANCH)
    far_end = wire.far_end()
    answers = far_end.open(Command.NEW, new_elements("branch", "4711"))
    challenge = answers[0].elements.raw(Ie.CHALLENGE) or b""
    assert answers[0].elements.number(Ie.AUTHMETHODS) == AuthMethod.MD5
    assert answers[0].elements.text(Ie.USERNAME) == "branch"
    far_end.send(Command.AUTHREP, Elements([(Ie.MD5_RESULT, md5_result(challenge, WORD))]))
    assert call_words(wire) == [("branch", "inside", "4711")]
    assert len(wire.endpoint.gatekeeper) == 0
    assert wire.endpoint.shares.of("branch") == 1


def prove(
    far_end: FarEnd, user: str, secret: str = WORD, number: str = "100", *, token: bool = True
) -> list[FullFrame]:
    """A call, and what comes on its proof."""
    elements = new_elements(user, number)
    answers = far_end.open(Command.NEW, elements) if token else far_end.send(Command.NEW, elements)
    (challenge,) = answers
    assert challenge.subclass == Command.AUTHREQ
    asked = challenge.elements.raw(Ie.CHALLENGE) or b""
    return far_end.send(Command.AUTHREP, Elements([(Ie.MD5_RESULT, md5_result(asked, secret))]))


def test_right_password_is_enough_from_another_address_than_the_peers() -> None:
    wire = Wire(BRANCH)
    prove(wire.far_end(STRANGER), "branch")
    assert call_words(wire) == [("branch", "inside", "100")]


@pytest.mark.parametrize(("user", "secret"), [("branch", "wrong"), ("nobody", WORD), ("", WORD)])
def test_wrong_password_and_unknown_user_are_rejected_alike(user: str, secret: str) -> None:
    wire = Wire(BRANCH)
    (answer,) = prove(wire.far_end(STRANGER), user, secret)
    assert answer.subclass == Command.REJECT
    assert answer.elements.items == [(Ie.CAUSE, b"authentication failed"), (Ie.CAUSECODE, bytes([21]))]
    assert not wire.offered
    wire.advance(60 * SECOND)
    assert wire.endpoint.idle
    assert not wire.refused


def test_call_without_a_name_from_where_a_peer_lives_is_its_to_prove() -> None:
    wire = Wire(BRANCH)
    prove(wire.far_end(), "")
    assert call_words(wire) == [("branch", "inside", "100")]


def test_insecure_invite_takes_no_proof_from_the_peers_address_and_one_from_elsewhere() -> None:
    peer = replace(BRANCH, insecure_invite=True)
    wire = Wire(peer)
    wire.far_end().open(Command.NEW, new_elements("whoever", "12"))
    assert call_words(wire) == [("branch", "inside", "12")]
    (answer,) = wire.far_end(STRANGER).open(Command.NEW, new_elements("branch", "12"))
    assert answer.subclass == Command.AUTHREQ


def test_insecure_invite_looks_at_the_port_unless_told_not_to() -> None:
    strict = Wire(replace(BRANCH, insecure_invite=True))
    strict.far_end(PEER, 50_000).open(Command.NEW, new_elements("", "12"))
    assert not strict.offered
    lenient = Wire(replace(BRANCH, insecure_invite=True, match_port=False))
    lenient.far_end(PEER, 50_000).open(Command.NEW, new_elements("", "12"))
    assert len(lenient.offered) == 1


def test_peer_without_a_password_is_taken_for_itself_where_it_lives_only() -> None:
    wire = Wire(PeerSettings(name="branch", host=PEER))
    wire.far_end().open(Command.NEW, new_elements("branch"))
    assert len(wire.offered) == 1
    (answer,) = prove(wire.far_end(STRANGER), "branch", "")
    assert answer.subclass == Command.REJECT


def test_guest_may_say_to_be_one() -> None:
    wire = Wire(BRANCH, context="lobby")
    wire.far_end(STRANGER).open(Command.NEW, new_elements("guest", "9"))
    assert call_words(wire) == [("", "lobby", "9")]
    named = Wire(PeerSettings(name="guest", dynamic=True, secret=WORD), context="lobby")
    (answer,) = named.far_end(STRANGER).open(Command.NEW, new_elements("guest", "9"))
    assert answer.subclass == Command.AUTHREQ


def test_guests_call_into_their_context_and_nowhere_without_one() -> None:
    open_wire = Wire(BRANCH, context="lobby")
    open_wire.far_end(STRANGER).open(Command.NEW, new_elements("", "9"))
    assert call_words(open_wire) == [("", "lobby", "9")]
    shut = Wire(BRANCH)
    (answer,) = prove(shut.far_end(STRANGER), "", "anything")
    assert answer.subclass == Command.REJECT


def test_guests_at_one_address_have_a_share_of_the_calls() -> None:
    wire = Wire(BRANCH, context="lobby")
    for _ in range(40):
        wire.far_end(STRANGER).open(Command.NEW, new_elements())
        wire.advance(50 * MILLISECOND)
    most = len(wire.offered)
    assert 20 < most < 40
    wire.far_end("203.0.113.1").open(Command.NEW, new_elements())
    assert len(wire.offered) == most + 1


def test_guest_who_says_to_be_a_peer_has_to_prove_it() -> None:
    wire = Wire(BRANCH, context="lobby")
    for name in ("branch", "nobody"):
        (answer,) = wire.far_end(STRANGER).open(Command.NEW, new_elements(name))
        assert answer.subclass == Command.AUTHREQ


def test_registered_peer_with_insecure_invite_calls_from_where_it_registered() -> None:
    wire = Wire(PeerSettings(name="branch", dynamic=True, secret=WORD, insecure_invite=True))
    wire.far_end(PEER, 7000).register("branch", WORD)
    wire.far_end(PEER, 7000).open(Command.NEW, new_elements("branch"))
    assert len(wire.offered) == 1
    (answer,) = wire.far_end(PEER, 7001).open(Command.NEW, new_elements("branch"))
    assert answer.subclass == Command.AUTHREQ


def test_peer_that_knows_no_tokens_calls_only_where_that_is_allowed(caplog: pytest.LogCaptureFixture) -> None:
    strict = Wire(BRANCH)
    for _ in range(20):
        (answer,) = strict.far_end().send(Command.NEW, new_elements("branch"))
        assert (answer.source, answer.subclass) == (1, Command.REJECT)
    assert len([each for each in caplog.records if "call tokens" in each.message]) == 1
    lenient = Wire(replace(BRANCH, calltokens=CallTokens.NO))
    prove(lenient.far_end(), "branch", token=False)
    assert len(lenient.offered) == 1


def test_whether_tokens_are_needed_is_not_told_by_the_name() -> None:
    wire = Wire(
        PeerSettings(name="old", dynamic=True, secret=WORD, calltokens=CallTokens.NO),
        PeerSettings(name="new", dynamic=True, secret=WORD),
    )
    for name in ("old", "new", "nobody"):
        (answer,) = wire.far_end(STRANGER).send(Command.NEW, new_elements(name))
        assert answer.subclass == Command.AUTHREQ
    # Who needs one learns so when its password was right.
    (answer,) = prove(wire.far_end(STRANGER), "new", token=False)
    assert answer.subclass == Command.REJECT
    assert not wire.offered


def test_challenge_that_nobody_answers_is_forgotten() -> None:
    wire = Wire(BRANCH)
    wire.far_end().open(Command.NEW, new_elements("branch"))
    assert len(wire.endpoint.gatekeeper) == 1
    wire.advance(31 * SECOND)
    assert len(wire.endpoint.gatekeeper) == 0
    wire.advance(15 * SECOND)
    assert wire.endpoint.idle
    assert len(wire.endpoint.numbers) == 0


def test_challenge_that_is_acknowledged_and_never_answered_is_forgotten() -> None:
    wire = Wire(BRANCH)
    far_end = wire.far_end()
    far_end.open(Command.NEW, new_elements("branch"))
    far_end.send(Command.ACK)
    wire.advance(29 * SECOND)
    assert len(wire.endpoint.gatekeeper) == 1
    wire.advance(2 * SECOND)
    assert len(wire.endpoint.gatekeeper) == 0
    assert wire.endpoint.idle


def test_call_that_is_given_up_before_its_proof_is_over() -> None:
    wire = Wire(BRANCH)
    far_end = wire.far_end()
    far_end.open(Command.NEW, new_elements("branch"))
    answers = far_end.send(Command.HANGUP)
    assert [each.subclass for each in answers] == [Command.ACK]
    assert len(wire.endpoint.gatekeeper) == 0
    wire.advance(15 * SECOND)
    assert wire.endpoint.idle


def test_guest_who_gives_up_before_our_number_has_come_is_gone() -> None:
    wire = Wire(BRANCH, context="lobby")
    far_end = wire.far_end(STRANGER)
    far_end.open(Command.NEW, new_elements("guest", "9"))
    (leg, _) = wire.offered[0]
    for oseqno, subclass, ended in ((2, Command.HANGUP, False), (1, Command.ACCEPT, False), (1, Command.HANGUP, True)):
        wire.datagram(bytes(FullFrame(far_end.number, 0, 30, oseqno, 0, FrameType.IAX, subclass)), STRANGER)
        assert (leg.name not in wire.endpoint.legs) is ended
    wire.advance(15 * SECOND)
    assert wire.endpoint.idle


def test_repeated_new_begins_no_second_session() -> None:
    wire = Wire(BRANCH)
    far_end = wire.far_end()
    elements = new_elements("branch")
    opening: list[bytes] = []
    far_end.open(Command.NEW, elements, change=lambda token: opening.append(token) or token)  # type: ignore[func-returns-value]
    data = bytes(Elements([*elements.items, (Ie.CALLTOKEN, opening[0])]))
    again = FullFrame(far_end.number, 0, 5, 0, 0, FrameType.IAX, Command.NEW, data, retransmitted=True)
    (answer,) = wire.datagram(bytes(again))
    assert (answer.subclass, answer.source) == (Command.ACK, far_end.destination)
    assert wire.endpoint.statistics()["sessions"] == 1


def test_far_end_that_was_started_again_and_uses_its_number_anew_gets_through() -> None:
    wire = Wire(BRANCH)
    far_end = wire.far_end()
    prove(far_end, "branch")
    assert len(wire.offered) == 1
    anew = FarEnd(wire, PEER, 4569, far_end.number)
    wire.advance(11 * SECOND)
    prove(anew, "branch", number="200")
    assert [words[2] for words in call_words(wire)] == ["100", "200"]
    wire.advance(SECOND)
    assert wire.endpoint.shares.of("branch") == 1


def test_far_end_without_tokens_that_was_started_again_gets_through() -> None:
    wire = Wire(replace(BRANCH, calltokens=CallTokens.NO))
    far_end = wire.far_end()
    prove(far_end, "branch", token=False)
    anew = FarEnd(wire, PEER, 4569, far_end.number)
    assert [each.subclass for each in anew.send(Command.NEW, new_elements("branch"))] == [Command.ACK]
    wire.advance(6 * SECOND)
    anew = FarEnd(wire, PEER, 4569, far_end.number)
    prove(anew, "branch", token=False)
    assert len(wire.offered) == 2


def test_calls_at_once_are_limited_but_not_those_for_help() -> None:
    wire = Wire(replace(BRANCH, max_call_numbers=2), emergency=frozenset({"112"}))
    for _ in range(2):
        prove(wire.far_end(), "branch")
    (answer,) = prove(wire.far_end(), "branch")
    assert (answer.subclass, answer.elements.number(Ie.CAUSECODE)) == (
        Command.REJECT,
        Cause.SWITCHING_EQUIPMENT_CONGESTION,
    )
    assert [(each.source, each.technology, each.cause) for each in wire.refused] == [
        ("branch", "iax2", Cause.SWITCHING_EQUIPMENT_CONGESTION)
    ]
    prove(wire.far_end(), "branch", number="112")
    assert len(wire.offered) == 3
    assert wire.offered[-1][1].setup.emergency


@pytest.mark.parametrize("number", ["9-1-1", "9 1 1", "(911)"])
def test_call_for_help_is_known_however_its_number_is_written(number: str) -> None:
    wire = Wire(replace(BRANCH, max_call_numbers=1, calls_per_hour=1), emergency=frozenset({"911"}))
    prove(wire.far_end(), "branch")
    prove(wire.far_end(), "branch", number=number)
    assert [(each.setup.called.digits, each.setup.emergency) for _, each in wire.offered] == [
        ("100", False),
        ("911", True),
    ]


def test_brakes_stop_calls_but_not_those_for_help() -> None:
    wire = Wire(replace(BRANCH, calls_per_hour=2), emergency=frozenset({"112"}))
    for _ in range(2):
        prove(wire.far_end(), "branch")
    (answer,) = prove(wire.far_end(), "branch")
    assert answer.elements.number(Ie.CAUSECODE) == Cause.CALL_REJECTED
    prove(wire.far_end(), "branch", number="112")
    assert [words[2] for words in call_words(wire)] == ["100", "100", "112"]


def test_call_that_nobody_takes_is_rejected() -> None:
    wire = Wire(BRANCH)
    wire.take_offers = False
    far_end = wire.far_end()
    prove(far_end, "branch")
    reject = [each for each in wire.sent_to(PEER) if each.subclass == Command.REJECT]
    assert [each.elements.number(Ie.CAUSECODE) for each in reject] == [Cause.SWITCHING_EQUIPMENT_CONGESTION]


# -- encryption --

SECURE = replace(BRANCH, encryption=Encryption.REQUIRED)


class EncryptedCall:
    """A call as chan_iax2 makes it: AUTHREP is the first frame that is encrypted."""

    def __init__(self, wire: Wire, secret: str = WORD) -> None:
        self.wire = wire
        self.far_end = far_end = wire.far_end()
        elements = new_elements("branch").add_number(Ie.ENCRYPTION, AES_128, 2)
        tokens: list[bytes] = []

        def seen(token: bytes) -> bytes:
            tokens.append(token)
            return token

        (challenge,) = far_end.open(Command.NEW, elements, change=seen)
        assert challenge.elements.number(Ie.ENCRYPTION) == AES_128
        asked = challenge.elements.raw(Ie.CHALLENGE) or b""
        self.opening = bytes(Elements([*elements.items, (Ie.CALLTOKEN, tokens[0])]))
        data = bytes(Elements([(Ie.MD5_RESULT, md5_result(asked, secret))]))
        self.proof = FullFrame(far_end.number, far_end.destination, 9, 1, 1, FrameType.IAX, Command.AUTHREP, data)
        self.cipher = Cipher(key_of(asked, secret), wire.endpoint.rng)

    def prove(self) -> None:
        self.wire.datagram(self.cipher.encrypt(bytes(self.proof)))


def test_encrypted_call_is_offered() -> None:
    wire = Wire(SECURE)
    EncryptedCall(wire).prove()
    assert len(wire.offered) == 1
    assert "secure_media" in wire.offered[0][1].setup.facts


def test_repetitions_in_clear_before_the_proof_do_no_harm_to_an_encrypted_call() -> None:
    wire = Wire(SECURE)
    call = EncryptedCall(wire)
    number, ours = call.far_end.number, call.far_end.destination
    for _ in range(10):
        wire.datagram(bytes(FullFrame(number, 0, 5, 0, 0, FrameType.IAX, Command.NEW, call.opening, True)))
    for _ in range(2):
        wire.datagram(bytes(FullFrame(number, ours, 0, 1, 1, FrameType.IAX, Command.ACK)))
    call.prove()
    assert len(wire.offered) == 1


def test_encrypted_call_with_another_password_is_a_guess_like_any_other(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(SECURE)
    call = EncryptedCall(wire, "wrong")
    for _ in range(5):
        call.prove()
    assert not wire.offered
    assert wire.endpoint.counters.failed == 1
    assert len(wire.endpoint.gatekeeper) == 0
    assert "has another password" in caplog.text


def test_encrypted_guess_that_is_tried_once_counts_when_its_time_is_over() -> None:
    wire = Wire(SECURE)
    EncryptedCall(wire, "wrong").prove()
    assert wire.endpoint.counters.failed == 0
    # When the challenge was repeated often enough without being acknowledged.
    wire.advance(17 * SECOND)
    assert wire.endpoint.counters.failed == 1


def test_proof_in_clear_where_encryption_was_agreed_upon_is_none() -> None:
    wire = Wire(SECURE)
    call = EncryptedCall(wire)
    for _ in range(3):
        wire.datagram(bytes(call.proof))
    assert not wire.offered
    assert wire.endpoint.counters.failed == 1


def test_call_in_clear_is_released_where_encryption_is_required(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(SECURE)
    answers = prove(wire.far_end(), "branch")
    assert [each.subclass for each in answers if each.subclass != Command.ACK] == [Command.REJECT]
    assert not wire.offered
    assert "encryption is required" in caplog.text


def test_encryption_is_not_offered_to_who_does_not_ask_for_it() -> None:
    wire = Wire(replace(BRANCH, encryption=Encryption.OPTIONAL))
    (challenge,) = wire.far_end().open(Command.NEW, new_elements("branch"))
    assert challenge.elements.raw(Ie.ENCRYPTION) is None


@pytest.mark.parametrize("name", ["branch", ""])
def test_challenge_says_the_name_that_was_given_and_no_other(name: str) -> None:
    (challenge,) = Wire(BRANCH).far_end().open(Command.NEW, new_elements(name))
    assert challenge.subclass == Command.AUTHREQ
    assert challenge.elements.text(Ie.USERNAME) == name


@pytest.mark.parametrize("command", [Command.HANGUP, Command.REJECT])
def test_caller_who_hangs_up_before_it_hears_the_challenge_is_waited_for_no_longer(command: Command) -> None:
    wire = Wire(BRANCH)
    far_end = wire.far_end()
    (challenge,) = far_end.open(Command.NEW, new_elements("branch"))
    assert len(wire.endpoint.gatekeeper) == 1
    # The challenge was lost: it knows no call number of ours.
    far_end.destination = 0
    (heard,) = far_end.send(command)
    assert (heard.subclass, heard.source, heard.iseqno) == (Command.ACK, challenge.source, 2)
    assert len(wire.endpoint.gatekeeper) == 0
    assert wire.endpoint.idle


def test_hangup_without_our_call_number_ends_nothing_that_was_proven() -> None:
    wire = Wire(BRANCH)
    far_end = wire.far_end()
    far_end.call("branch", WORD)
    destination, far_end.destination = far_end.destination, 0
    far_end.send(Command.HANGUP)
    assert wire.endpoint.shares.of("branch") == 1
    far_end.destination = destination


def test_hangup_of_another_call_number_ends_no_challenge() -> None:
    wire = Wire(BRANCH)
    wire.far_end().open(Command.NEW, new_elements("branch"))
    wire.far_end().send(Command.HANGUP)
    assert len(wire.endpoint.gatekeeper) == 1
