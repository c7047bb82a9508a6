"""What strangers can do: cause next to no traffic, learn nothing, take little memory, and keep nobody else out."""

from __future__ import annotations

import logging
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core import MILLISECOND, SECOND
from gateway.voip.iax import auth
from gateway.voip.iax.auth import md5_result
from gateway.voip.iax.bursts import MAX_KINDS, QUIET, Bursts
from gateway.voip.iax.callnumbers import MOST_IN_USE
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, FrameType, FullFrame
from gateway.voip.iax.peers import AuthMethod, CallTokens, Encryption, PeerSettings
from gateway.voip.iax.reception import CHALLENGE_ROOM, STRANGERS_RATE, Meter
from tests.unit.voip.iax.iax_wire import PEER, STRANGER, WORD, FarEnd, Wire, new_elements

BRANCH = PeerSettings(name="branch", host=PEER, secret=WORD)
PHONE = PeerSettings(name="phone", dynamic=True, secret=WORD)


def opener(command: int, elements: Elements, source: int = 77) -> bytes:
    return bytes(FullFrame(source, 0, 3, 0, 0, FrameType.IAX, command, bytes(elements)))


def stranger(number: int) -> str:
    return f"198.18.{number >> 8 & 255}.{number & 255}"


# -- amplification --


def test_poke_is_answered_by_one_frame_of_its_size_and_nothing_is_kept() -> None:
    wire = Wire(BRANCH)
    (answer,) = wire.datagram(opener(Command.POKE, Elements()), STRANGER)
    assert (answer.subclass, answer.source, answer.stamp, bytes(answer)[12:]) == (Command.PONG, 1, 3, b"")
    assert wire.endpoint.statistics()["sessions"] == 0
    wire.advance(60 * SECOND)
    assert len(wire.media.sent) == 1


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([*Command, 0, 99]),
    st.lists(st.tuples(st.sampled_from([*Ie]), st.binary(max_size=30)), max_size=8),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_stranger_never_gets_more_or_longer_than_it_sends(
    command: int, items: list[tuple[int, bytes]], asks: bool, seed: int
) -> None:
    wire = Wire(BRANCH, PHONE, seed=seed, context="lobby")
    elements = Elements([*items, *([(Ie.CALLTOKEN, b"")] if asks else [])])
    data = opener(command, elements)
    wire.datagram(data, STRANGER)
    wire.advance(90 * SECOND)
    assert len(wire.media.sent) <= 1
    assert all(len(sent) <= len(data) and to == STRANGER for _, to, _, sent in wire.media.sent)


@pytest.mark.parametrize("command", [Command.NEW, Command.REGREQ])
def test_who_knows_no_tokens_gets_one_small_frame_for_each_of_its_own_where_that_is_allowed(command: Command) -> None:
    wire = Wire(replace(PHONE, calltokens=CallTokens.NO))
    data = opener(command, new_elements("phone"))
    for count in range(1, 5):
        wire.datagram(data, STRANGER)
        wire.advance(60 * MILLISECOND)
        assert len(wire.sent_to(STRANGER)) <= count
    wire.advance(90 * SECOND)
    assert 1 <= len(wire.sent_to(STRANGER)) <= 4
    assert not wire.endpoint.reception.meters
    assert all(len(sent) <= len(data) + CHALLENGE_ROOM for _, _, _, sent in wire.media.sent)


def test_who_needs_no_proof_and_no_token_is_sent_no_voice_before_it_answers() -> None:
    wire = Wire(replace(BRANCH, insecure_invite=True, calltokens=CallTokens.NO))
    far_end = wire.far_end()
    far_end.send(Command.NEW, new_elements("branch"))
    (leg, _), *_ = wire.offered
    leg.proceed(wire.now)
    leg.answer(None, wire.now)
    wire.advance(SECOND)
    assert [frame.subclass for frame in wire.sent_to(PEER)] == [Command.ACCEPT]
    assert not wire.media.aimed
    far_end.take(wire.sent_to(PEER)[-1])
    far_end.send(Command.ACK)
    assert [(each.address, each.far_call) for each in wire.media.aimed.values()] == [(PEER, far_end.number)]
    wire.advance(15 * SECOND)
    assert len(wire.sent_to(PEER)) > 1


def test_meter_lets_one_datagram_pass_for_each_that_came_and_none_that_is_much_longer() -> None:
    meter = Meter(60)
    assert not meter.lets_pass(bytes(61 + CHALLENGE_ROOM))
    assert not meter.lets_pass(bytes(FullFrame(2, 3, 0, 0, 1, FrameType.IAX, Command.ACK)))
    assert meter.lets_pass(bytes(60 + CHALLENGE_ROOM))
    assert not meter.lets_pass(bytes(12))
    meter.came(20)
    assert meter.lets_pass(bytes(12))
    assert not meter.lets_pass(bytes(12))


def test_who_answers_what_it_was_sent_is_metered_no_longer() -> None:
    wire = Wire(replace(PHONE, calltokens=CallTokens.NO))
    far_end = wire.far_end(STRANGER)
    (challenge,) = far_end.send(Command.NEW, new_elements("phone"))
    assert wire.endpoint.reception.meters
    asked = challenge.elements.raw(Ie.CHALLENGE) or b""
    far_end.send(Command.AUTHREP, Elements([(Ie.MD5_RESULT, md5_result(asked, WORD))]))
    assert not wire.endpoint.reception.meters
    assert len(wire.offered) == 1


# -- call numbers, memory --


def test_flood_of_openers_from_everywhere_takes_no_session_and_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(BRANCH, PHONE)
    caplog.set_level(logging.INFO)
    tokens: list[list[tuple[int, bytes]]] = [[], [(Ie.CALLTOKEN, b"")], [(Ie.CALLTOKEN, b"x" * 20)]]
    for number in range(3000):
        elements = Elements([*new_elements("phone"), *tokens[number % 3]])
        wire.datagram(opener(Command.NEW, elements), stranger(number))
    assert len(caplog.records) == 2
    statistics = wire.endpoint.statistics()
    assert [statistics[name] for name in ("sessions", "call_numbers", "unproven")] == [0, 0, 0]
    assert len(wire.media.sent) <= STRANGERS_RATE + 1


def test_flood_is_told_once_in_a_while_with_who_it_is(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(BRANCH)
    caplog.set_level(logging.WARNING)
    for address in (STRANGER, PEER):
        for _ in range(1500):
            wire.datagram(opener(Command.POKE, Elements()), address)
    assert [record.getMessage() for record in caplog.records] == [
        f"more comes from strangers than is read: some of it is dropped, this from {STRANGER}:4569",
        f"more comes from {PEER}, where a trunk is, than is read: what is new there may be dropped",
    ]


def test_one_source_has_only_a_share_of_the_challenges() -> None:
    wire = Wire(BRANCH, max_unproven=64)
    for _ in range(40):
        far_end = wire.far_end(STRANGER)
        far_end.send(Command.NEW, Elements([*new_elements("branch"), (Ie.CALLTOKEN, b"")]))
        token = wire.sent_to(STRANGER)[-1].elements.raw(Ie.CALLTOKEN)
        far_end.oseqno = 0
        if token:
            far_end.send(Command.NEW, Elements([*new_elements("branch"), (Ie.CALLTOKEN, token)]))
        wire.advance(100 * MILLISECOND)
    assert len(wire.endpoint.gatekeeper) == 8


def test_many_sources_with_tokens_take_no_more_than_so_many_and_keep_nobody_out() -> None:
    wire = Wire(BRANCH, max_unproven=32)
    for number in range(200):
        FarEnd(wire, stranger(number), 4569, 9).open(Command.NEW, new_elements("branch"))
        wire.advance(10 * MILLISECOND)
    assert len(wire.endpoint.gatekeeper) == 32
    assert wire.endpoint.statistics()["sessions"] == 32
    # The far end answers within its round trip, in which some more come.
    far_end = wire.far_end()
    (challenge,) = far_end.open(Command.NEW, new_elements("branch"))
    for number in range(200, 220):
        FarEnd(wire, stranger(number), 4569, 9).open(Command.NEW, new_elements("branch"))
    asked = challenge.elements.raw(Ie.CHALLENGE) or b""
    far_end.send(Command.AUTHREP, Elements([(Ie.MD5_RESULT, md5_result(asked, WORD))]))
    assert len(wire.offered) == 1


def test_those_that_showed_where_they_are_do_not_go_for_those_that_did_not() -> None:
    wire = Wire(BRANCH, replace(PHONE, calltokens=CallTokens.NO), max_unproven=32)
    far_end = wire.far_end()
    (challenge,) = far_end.open(Command.NEW, new_elements("branch"))
    for number in range(200):
        wire.datagram(opener(Command.NEW, new_elements("phone")), stranger(number))
    assert len(wire.endpoint.gatekeeper) == 32
    asked = challenge.elements.raw(Ie.CHALLENGE) or b""
    far_end.send(Command.AUTHREP, Elements([(Ie.MD5_RESULT, md5_result(asked, WORD))]))
    assert len(wire.offered) == 1


def test_call_for_help_gets_through_when_all_call_numbers_are_taken(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(BRANCH, emergency=frozenset({"112"}))
    while wire.endpoint.numbers.take(STRANGER, wire.now) is not None:
        pass
    assert len(wire.endpoint.numbers) == MOST_IN_USE
    for _ in range(10):
        assert wire.far_end().open(Command.NEW, new_elements("branch")) == []
    assert len([each for each in caplog.records if "no call number is left" in each.message]) == 1
    assert Command.REJECT not in wire.far_end().call("branch", WORD, "112")
    assert [offered.setup.called.digits for _, offered in wire.offered] == ["112"]


def test_flood_of_strangers_leaves_peers_their_calls() -> None:
    wire = Wire(BRANCH)
    for number in range(2000):
        wire.datagram(opener(Command.NEW, Elements([*new_elements("x"), (Ie.CALLTOKEN, b"")])), stranger(number))
    assert wire.endpoint.counters.overload > 1000
    wire.far_end().call("branch", WORD)
    assert len(wire.offered) == 1


def test_source_that_others_write_on_their_datagrams_is_still_heard_with_its_token() -> None:
    wire = Wire(PHONE)
    far_end = wire.far_end(STRANGER)
    elements = Elements().add_text(Ie.USERNAME, "phone")
    far_end.send(Command.REGREQ, Elements([*elements.items, (Ie.CALLTOKEN, b"")]))
    token = wire.sent_to(STRANGER)[-1].elements.raw(Ie.CALLTOKEN) or b""
    for number in range(3000):
        wire.datagram(opener(Command.NEW, Elements(), 2 + number), STRANGER)
        wire.datagram(b"\x80\x01rubbish", STRANGER)
    assert wire.datagram(opener(Command.POKE, Elements()), STRANGER) == []
    far_end.oseqno = 0
    answers = far_end.send(Command.REGREQ, Elements([*elements.items, (Ie.CALLTOKEN, token)]))
    assert far_end.prove(Command.REGREQ, answers, elements, WORD).subclass == Command.REGACK


def test_nothing_is_remembered_of_a_flood_for_long() -> None:
    wire = Wire(BRANCH, PHONE)
    for number in range(6000):
        wire.datagram(opener(Command.NEW, Elements([(Ie.USERNAME, b"%d" % number)])), stranger(number))
        if number % 100 == 0:
            wire.advance(SECOND)
    wire.advance(100 * SECOND)
    assert wire.endpoint.idle
    assert len(wire.endpoint.numbers) == 0
    assert len(wire.endpoint.bursts) <= MAX_KINDS
    assert len(wire.endpoint.reception._free_at_peer) == 0


# -- what strangers can learn --


def conversation(wire: Wire, user: str, secret: str, command: Command = Command.NEW) -> list[tuple[int, int, int]]:
    """Type, subclass and length of all that a stranger gets who says to be ``user``."""
    far_end = wire.far_end(STRANGER)
    elements = new_elements(user).add_number(Ie.ENCRYPTION, 1, 2) if command == Command.NEW else Elements()
    if command != Command.NEW:
        elements.add_text(Ie.USERNAME, user)
    (challenge,) = far_end.open(command, elements)
    asked = challenge.elements.raw(Ie.CHALLENGE) or b""
    proof = Elements([*([] if command == Command.NEW else elements.items), (Ie.MD5_RESULT, md5_result(asked, secret))])
    answers = far_end.send(Command.AUTHREP if command == Command.NEW else command, proof)
    return [(each.type, each.subclass, len(each.data)) for each in [challenge, *answers]]


@pytest.mark.parametrize("command", [Command.NEW, Command.REGREQ, Command.REGREL])
@pytest.mark.parametrize("encryption", [Encryption.NO, Encryption.REQUIRED])
def test_unknown_user_and_wrong_password_get_the_same_frames(command: Command, encryption: Encryption) -> None:
    peer = replace(PHONE, encryption=encryption)
    known = conversation(Wire(peer), "phone", "wrong", command)
    unknown = conversation(Wire(peer), "enohp", "wrong", command)
    assert known == unknown
    assert len(known) >= 1


@pytest.mark.parametrize("command", [Command.NEW, Command.REGREQ])
def test_digest_of_an_unknown_user_is_computed_all_the_same(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[str] = Counter()
    compute = auth.md5_matches

    def counting(challenge: bytes, secret: str, result: bytes) -> bool:
        counted["digests"] += 1
        return compute(challenge, secret, result)

    monkeypatch.setattr(auth, "md5_matches", counting)
    for user in ("phone", "nobody"):
        counted.clear()
        conversation(Wire(PHONE), user, "wrong", command)
        assert counted["digests"] == 1


def test_methods_asked_of_an_unknown_user_are_those_of_some_peer_and_always_the_same() -> None:
    peers = [
        replace(PHONE, name="md5"),
        replace(PHONE, name="all", methods=AuthMethod.MD5 | AuthMethod.PLAINTEXT),
    ]
    wire = Wire(*peers)
    found: dict[str, set[int | None]] = {}
    for _ in range(2):
        for number in range(20):
            user = f"nobody{number}"
            (challenge,) = wire.far_end(stranger(number)).open(Command.NEW, new_elements(user))
            found.setdefault(user, set()).add(challenge.elements.number(Ie.AUTHMETHODS))
            wire.advance(100 * MILLISECOND)
    assert all(len(each) == 1 for each in found.values())
    assert {next(iter(each)) for each in found.values()} == {AuthMethod.MD5, AuthMethod.MD5 | AuthMethod.PLAINTEXT}


def test_proof_with_the_password_of_nobody_is_never_right() -> None:
    wire = Wire(PHONE)
    shadow = wire.endpoint.identities.caller("nobody")
    assert shadow.peer is None
    assert conversation(wire, "nobody", shadow.settings.secret)[-1][1] == Command.REJECT
    assert not wire.offered


# -- guesses --


def guess(wire: Wire, address: str, user: str = "phone", secret: str = "wrong") -> list[FullFrame]:  # noqa: S107
    far_end = wire.far_end(address)
    elements = Elements().add_text(Ie.USERNAME, user)
    answers = far_end.send(Command.REGREQ, Elements([*elements.items, (Ie.CALLTOKEN, b"")]))
    if not answers or answers[0].subclass != Command.CALLTOKEN:
        return answers
    far_end.oseqno = 0
    token = answers[0].elements.raw(Ie.CALLTOKEN) or b""
    answers = far_end.send(Command.REGREQ, Elements([*elements.items, (Ie.CALLTOKEN, token)]))
    if not answers or answers[0].subclass != Command.REGAUTH:
        return answers
    asked = answers[0].elements.raw(Ie.CHALLENGE) or b""
    return far_end.send(Command.REGREQ, Elements([*elements.items, (Ie.MD5_RESULT, md5_result(asked, secret))]))


@pytest.mark.parametrize("user", ["phone", "nobody"])
def test_who_guesses_passwords_is_shut_out(user: str, caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(PHONE)
    for _ in range(60):
        guess(wire, STRANGER, user)
        wire.advance(SECOND)
    assert wire.endpoint.defence.shut_out(wire.now)
    assert wire.datagram(opener(Command.POKE, Elements()), STRANGER) == []
    assert guess(wire, STRANGER, "phone", WORD) == []
    assert len(caplog.records) < 6
    wire.advance(61 * SECOND)
    (answer,) = guess(wire, STRANGER, "phone", WORD)
    assert answer.subclass == Command.REGACK


def test_guesses_from_many_addresses_make_each_wait_after_one_and_the_owner_gets_in() -> None:
    wire = Wire(PHONE)
    for number in range(40):
        guess(wire, stranger(number))
        wire.advance(SECOND)
    # Nothing is forgiven now: whoever guessed wrongly is refused before it can guess again.
    guess(wire, STRANGER)
    (answer,) = guess(wire, STRANGER, "phone", WORD)
    assert (answer.source, answer.subclass) == (1, Command.REGREJ)
    (answer,) = guess(wire, PEER, "phone", WORD)
    assert answer.subclass == Command.REGACK


def test_peers_address_is_never_shut_out_but_slowed_down() -> None:
    wire = Wire(BRANCH, PHONE)
    for _ in range(100):
        guess(wire, PEER)
        wire.advance(100 * MILLISECOND)
    assert not wire.endpoint.defence.shut_out(wire.now)
    wire.advance(20 * SECOND)
    wire.far_end().call("branch", WORD)
    assert len(wire.offered) == 1


def test_call_for_help_from_a_peers_address_is_not_slowed_down_by_guesses() -> None:
    wire = Wire(BRANCH, PHONE, emergency=frozenset({"112"}))
    for _ in range(60):
        guess(wire, PEER, "branch")
    (answer,) = wire.far_end().open(Command.NEW, new_elements("branch"))
    assert answer.subclass == Command.REJECT
    assert wire.far_end().call("branch", WORD, "112")
    assert [offered.setup.called.digits for _, offered in wire.offered] == ["112"]
    refused = [wire.far_end().open(Command.NEW, new_elements("branch", "112"))[0].subclass for _ in range(30)]
    assert refused.count(Command.REJECT) > 15


def test_guesses_at_names_from_many_addresses_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(PHONE)
    caplog.set_level(logging.INFO)
    for number in range(50):
        guess(wire, stranger(number), f"nobody{number}")
        wire.advance(100 * MILLISECOND)
    assert len(caplog.records) == 1


# -- rubbish --


@pytest.mark.parametrize("address", [PEER, STRANGER])
def test_rubbish_raises_nothing_tells_little_and_changes_nothing(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire(BRANCH, PHONE, context="lobby")
    rng = random.Random(4)
    valid = opener(Command.NEW, Elements([*new_elements("branch"), (Ie.CALLTOKEN, b"")]))
    for turn in range(5000):
        data = bytearray(valid if turn % 2 else rng.randbytes(rng.randrange(80)))
        for _ in range(rng.randrange(4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        wire.datagram(bytes(data[: rng.randrange(len(data) + 1)]), address)
        if turn % 50 == 0:
            wire.advance(SECOND)
    wire.advance(100 * SECOND)
    assert wire.endpoint.idle
    assert not wire.offered
    assert len(caplog.records) < 20
    assert not wire.endpoint.defence.shut_out(wire.now)


def test_rubbish_into_a_standing_call_ends_it_not() -> None:
    wire = Wire(BRANCH)
    far_end = wire.far_end()
    far_end.call("branch", WORD)
    rng = random.Random(8)
    for _ in range(3000):
        header = (far_end.number | 0x8000).to_bytes(2, "big") + far_end.destination.to_bytes(2, "big")
        # From elsewhere, where its numbers were seen or guessed.
        wire.datagram(header + rng.randbytes(rng.randrange(8, 60)), STRANGER)
    assert wire.endpoint.shares.of("branch") == 1


def test_frame_for_a_call_that_is_no_more_gets_inval_and_inval_gets_nothing() -> None:
    wire = Wire(BRANCH)
    frame = FullFrame(30, 4000, 3, 5, 5, FrameType.IAX, Command.PING)
    (answer,) = wire.datagram(bytes(frame))
    assert (answer.subclass, answer.source, answer.destination) == (Command.INVAL, 4000, 30)
    for command in (Command.INVAL, Command.ACK, Command.VNAK, Command.UNSUPPORT, Command.CALLTOKEN):
        assert wire.datagram(bytes(FullFrame(30, 4000, 3, 5, 5, FrameType.IAX, command))) == []


@pytest.mark.parametrize("command", [Command.PONG, Command.LAGRP])
def test_answer_in_a_call_that_is_no_more_gets_inval_too(command: Command) -> None:
    # RFC 5456 6.9.2: any message on a call that was hung up here. It is no longer than what came.
    wire = Wire(BRANCH)
    frame = FullFrame(30, 4000, 3, 5, 5, FrameType.IAX, command)
    assert [each.subclass for each in wire.datagram(bytes(frame))] == [Command.INVAL]
    assert len(wire.media.sent[-1][3]) <= len(bytes(frame))
    late_answer_to_a_poke = FullFrame(1, 4000, 3, 0, 1, FrameType.IAX, command)
    if command is Command.PONG:
        assert wire.datagram(bytes(late_answer_to_a_poke)) == []


def test_frame_for_who_answers_without_a_session_is_dropped() -> None:
    wire = Wire(BRANCH)
    for command in Command:
        assert wire.datagram(bytes(FullFrame(30, 1, 3, 1, 1, FrameType.IAX, command))) == []


def test_two_endpoints_never_answer_each_others_answers_for_ever() -> None:
    first, second = Wire(BRANCH), Wire(BRANCH)
    for command in [*Command, 99]:
        for number in (0, 1, 4000):
            data = [bytes(FullFrame(30, number, 3, 0, 0, FrameType.IAX, command))]
            for turn in range(10):
                wire = (first, second)[turn % 2]
                before = len(wire.media.sent)
                for each in data:
                    wire.datagram(each)
                data = [sent for _, _, _, sent in wire.media.sent[before:]]
            assert not data
        first.advance(SECOND)
        second.advance(SECOND)


# -- the log --


def test_burst_is_one_line_and_the_next_says_how_many(caplog: pytest.LogCaptureFixture) -> None:
    bursts = Bursts(logging.getLogger("bursts"))
    for now in range(1000):
        bursts.tell("a", now, logging.WARNING, "it was %s", "so")
    bursts.tell("b", 0, logging.WARNING, "another")
    assert [each.message for each in caplog.records] == ["it was so", "another"]
    bursts.tell("a", QUIET, logging.WARNING, "it was %s", "so")
    assert caplog.records[-1].message == "it was so (and 999 times in the last minutes)"


def test_kinds_of_events_are_bounded() -> None:
    bursts = Bursts(logging.getLogger("bursts"))
    for number in range(MAX_KINDS + 100):
        bursts.tell(str(number), 0, logging.DEBUG, "x")
    assert len(bursts) == MAX_KINDS
