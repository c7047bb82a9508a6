"""Peers with host = "dynamic": registered, refreshed, moved, ended, taken back, and kept over a restart."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from gateway.core import SECOND
from gateway.voip.iax.auth import md5_result
from gateway.voip.iax.binding_store import MAX_STORE
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command
from gateway.voip.iax.host import Path
from gateway.voip.iax.peers import CallTokens, IaxListener, PeerSettings
from gateway.voip.iax.registrar import GRACE, packed
from tests.unit.voip.iax.iax_wire import PEER, STRANGER, WALL, WORD, Wire

BRANCH = PeerSettings(name="branch", dynamic=True, secret=WORD)


def where(wire: Wire, name: str = "branch") -> tuple[str, int] | None:
    path = wire.endpoint.peers[name].path(wire.now)
    return None if path is None else (path.address, path.port)


def test_registration_tells_how_long_and_from_where_it_was_seen() -> None:
    wire = Wire(BRANCH, minexpiry=60, maxexpiry=3600)
    answer = wire.far_end(PEER, 31_000).register("branch", WORD, 300)
    assert answer.subclass == Command.REGACK
    assert answer.elements.number(Ie.REFRESH) == 300
    assert answer.elements.apparent_address() == (PEER, 31_000)
    assert answer.elements.text(Ie.USERNAME) == "branch"
    assert where(wire) == (PEER, 31_000)


@pytest.mark.parametrize(("asked", "granted"), [(5, 60), (0, 60), (300, 300), (9999, 600)])
def test_expiry_stays_within_what_is_set(asked: int, granted: int) -> None:
    wire = Wire(BRANCH, minexpiry=60, maxexpiry=600)
    answer = wire.far_end().register("branch", WORD, asked)
    assert answer.elements.number(Ie.REFRESH) == granted


def test_registration_that_is_not_refreshed_ends_after_a_grace() -> None:
    wire = Wire(BRANCH, minexpiry=60)
    wire.far_end().register("branch", WORD, 60)
    wire.advance(60 * SECOND + GRACE - 1)
    assert where(wire) is not None
    wire.advance(1)
    assert where(wire) is None
    assert wire.endpoint.peers["branch"].binding is None
    assert not wire.endpoint.registrar.running or wire.stored


def test_short_registration_ends_in_time_though_a_long_one_was_there_first() -> None:
    wire = Wire(replace(BRANCH, name="shop"), BRANCH, minexpiry=60, maxexpiry=3600)
    wire.far_end().register("shop", WORD, 3600)
    wire.far_end(STRANGER).register("branch", WORD, 60)
    wire.advance(60 * SECOND + GRACE)
    assert wire.endpoint.peers["branch"].binding is None
    assert wire.endpoint.peers["shop"].binding is not None
    assert not wire.endpoint.identities.is_registered(STRANGER)


def test_refreshed_registration_stays() -> None:
    wire = Wire(BRANCH, minexpiry=60)
    for _ in range(5):
        assert wire.far_end().register("branch", WORD, 60).subclass == Command.REGACK
        wire.advance(50 * SECOND)
    assert where(wire) == (PEER, 4569)


def test_peer_that_registers_from_elsewhere_is_there_from_then_on() -> None:
    wire = Wire(BRANCH)
    wire.far_end(PEER).register("branch", WORD)
    wire.far_end(STRANGER, 5000).register("branch", WORD)
    assert where(wire) == (STRANGER, 5000)
    assert not wire.endpoint.identities.is_registered(PEER)
    assert wire.endpoint.identities.is_registered(STRANGER)


def test_peer_that_leaves_a_place_where_another_is_now_takes_it_not_from_that() -> None:
    other = PeerSettings(name="other", dynamic=True, secret=WORD)
    wire = Wire(BRANCH, other)
    wire.far_end(PEER, 7000).register("branch", WORD)
    wire.far_end(PEER, 7000).register("other", WORD)
    wire.far_end(STRANGER).register("branch", WORD)
    found = wire.endpoint.identities.at(Path(1, PEER, 7000), wire.now)
    assert found is wire.endpoint.peers["other"]


def test_registration_taken_back_takes_a_proof() -> None:
    wire = Wire(BRANCH)
    wire.far_end().register("branch", WORD)
    assert wire.far_end().register("branch", "wrong", command=Command.REGREL).subclass == Command.REGREJ
    assert where(wire) is not None
    assert wire.far_end().register("branch", WORD, command=Command.REGREL).subclass == Command.REGACK
    assert where(wire) is None


@pytest.mark.parametrize(("user", "secret"), [("branch", "wrong"), ("nobody", WORD), ("fixed", WORD)])
def test_wrong_password_unknown_user_and_peer_with_a_host_are_refused_alike(user: str, secret: str) -> None:
    wire = Wire(BRANCH, PeerSettings(name="fixed", host=PEER, secret=WORD))
    answer = wire.far_end(STRANGER).register(user, secret)
    assert answer.subclass == Command.REGREJ
    assert answer.elements.number(Ie.CAUSECODE) == 21
    assert not wire.endpoint.registrar.bindings


def test_answer_to_another_challenge_is_worth_nothing() -> None:
    wire = Wire(BRANCH)
    first, second = wire.far_end(), wire.far_end()
    elements = Elements().add_text(Ie.USERNAME, "branch")
    (challenge,) = first.open(Command.REGREQ, elements)
    second.open(Command.REGREQ, elements)
    result = md5_result(challenge.elements.raw(Ie.CHALLENGE) or b"", WORD)
    answers = second.send(Command.REGREQ, Elements([*elements.items, (Ie.MD5_RESULT, result)]))
    assert [each.subclass for each in answers] == [Command.REGREJ]


def test_far_end_without_tokens_registers_only_where_that_is_allowed() -> None:
    elements = Elements().add_text(Ie.USERNAME, "branch")
    strict = Wire(BRANCH)
    (answer,) = strict.far_end().send(Command.REGREQ, elements)
    assert (answer.source, answer.subclass) == (1, Command.REGREJ)
    lenient = Wire(PeerSettings(name="branch", dynamic=True, secret=WORD, calltokens=CallTokens.NO))
    far_end = lenient.far_end()
    answer = far_end.prove(Command.REGREQ, far_end.send(Command.REGREQ, elements), elements, WORD)
    assert answer.subclass == Command.REGACK


def test_peer_that_showed_a_token_once_has_to_show_one_for_ever_if_auto() -> None:
    wire = Wire(PeerSettings(name="branch", dynamic=True, secret=WORD, calltokens=CallTokens.AUTO))
    elements = Elements().add_text(Ie.USERNAME, "branch")
    far_end = wire.far_end()
    answer = far_end.prove(Command.REGREQ, far_end.send(Command.REGREQ, elements), elements, WORD)
    assert answer.subclass == Command.REGACK
    assert wire.far_end().register("branch", WORD).subclass == Command.REGACK
    far_end = wire.far_end()
    answer = far_end.prove(Command.REGREQ, far_end.send(Command.REGREQ, elements), elements, WORD)
    assert answer.subclass == Command.REGREJ


def test_bindings_outlive_a_restart_for_what_was_left_of_them() -> None:
    wire = Wire(BRANCH, minexpiry=60)
    wire.far_end(PEER, 31_000).register("branch", WORD, 100)
    wire.advance(SECOND)
    assert len(wire.stored) == 1
    again = Wire(BRANCH, minexpiry=60)
    again.now += 30 * SECOND
    assert again.endpoint.restore(wire.stored[-1], again.now) == 1
    assert where(again) == (PEER, 31_000)
    assert again.endpoint.identities.is_registered(PEER)
    again.advance(75 * SECOND)
    assert where(again) is not None
    again.advance(10 * SECOND)
    assert where(again) is None
    assert again.endpoint.peers["branch"].binding is None
    again.advance(SECOND)
    assert again.endpoint.next_timer() is None


def row(**changes: object) -> bytes:
    """A file with one binding, that was written just now."""
    binding: dict[str, object] = {
        "name": "branch",
        "address": PEER,
        "port": 31_000,
        "left": 50,
        "granted": 60,
        "listener": "0.0.0.0 4569",
    }
    return json.dumps({"version": 1, "written": WALL, "bindings": [{**binding, **changes}]}).encode()


def test_binding_of_a_file_stands() -> None:
    wire = Wire(BRANCH)
    assert wire.endpoint.restore(row(), wire.now) == 1
    assert where(wire) == (PEER, 31_000)


@pytest.mark.parametrize(
    "changes",
    [
        {"address": "pbx.example"},
        {"port": 0},
        {"port": 65_536},
        {"left": 0},
        {"left": 86_401},
        {"granted": 0},
    ],
)
def test_binding_that_makes_no_sense_spoils_the_file(changes: dict[str, object]) -> None:
    wire = Wire(BRANCH)
    with pytest.raises(ValueError, match="binding 0 of 'branch'"):
        wire.endpoint.restore(row(**changes), wire.now)
    assert wire.endpoint.restore(row(left=86_400, port=65_535, granted=1), wire.now) == 1


@pytest.mark.parametrize(("listener", "socket"), [("192.0.2.1 4569", 1), ("192.0.2.2 4570", 2), ("gone 1", 1)])
def test_restored_binding_is_reached_by_the_socket_that_it_knows(listener: str, socket: int) -> None:
    wire = Wire(BRANCH, listeners=(IaxListener("192.0.2.1"), IaxListener("192.0.2.2", 4570)))
    wire.endpoint.restore(row(listener=listener), wire.now)
    path = wire.endpoint.peers["branch"].path(wire.now)
    assert path is not None
    assert path.socket == socket


def test_binding_that_no_socket_reaches_any_more_is_not_restored() -> None:
    wire = Wire(BRANCH, listeners=(IaxListener("2001:db8::1"),))
    assert wire.endpoint.restore(row(), wire.now) == 0


@pytest.mark.parametrize(("clock", "stands"), [(-3600, True), (49, True), (51, False), (10**7, False)])
def test_clock_that_was_set_back_takes_nothing_from_a_binding(clock: int, stands: bool) -> None:
    wire = Wire(BRANCH)
    data = json.loads(row())
    data["written"] -= clock
    assert wire.endpoint.restore(json.dumps(data).encode(), wire.now) == stands


def test_binding_of_a_peer_that_registered_since_is_not_taken_from_the_file() -> None:
    wire = Wire(BRANCH)
    wire.far_end(STRANGER, 5000).register("branch", WORD)
    assert wire.endpoint.restore(row(), wire.now) == 0
    assert where(wire) == (STRANGER, 5000)


def test_date_is_packed_as_far_ends_read_it() -> None:
    date = packed(datetime(2026, 11, 23, 15, 46, 31, tzinfo=UTC))
    assert (date >> 25, date >> 21 & 15, date >> 16 & 31) == (26, 11, 23)
    assert (date >> 11 & 31, date >> 5 & 63, (date & 31) * 2) == (15, 46, 30)


def test_binding_of_a_peer_that_is_no_more_is_not_restored() -> None:
    wire = Wire(BRANCH)
    wire.far_end().register("branch", WORD)
    wire.advance(SECOND)
    assert Wire(PeerSettings(name="other", dynamic=True, secret=WORD)).endpoint.restore(wire.stored[-1], wire.now) == 0


@pytest.mark.parametrize(
    "data", [b"", b"[]", b'{"version":2,"written":0,"bindings":[]}', b"{" * 100, b" " * (MAX_STORE + 1), b"\xff\xfe"]
)
def test_senseless_file_of_bindings_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Wire(BRANCH).endpoint.restore(data, 0)


def test_what_is_not_stored_yet_is_stored_when_the_program_ends() -> None:
    wire = Wire(BRANCH)
    wire.far_end().register("branch", WORD)
    assert not wire.stored
    wire.endpoint.leave(wire.now)
    wire.drain()
    assert len(wire.stored) == 1


def test_binding_of_a_nat_is_kept_alive_while_somebody_is_registered() -> None:
    wire = Wire(BRANCH, minexpiry=60)
    wire.far_end(PEER, 31_000).register("branch", WORD, 60)
    wire.advance(60 * SECOND)
    assert len([each for each in wire.sent_to(PEER) if each.subclass == Command.POKE]) == 2
    assert all(at == 31_000 for _, _, at, _ in wire.media.sent)
    wire.advance(11 * SECOND)
    before = len(wire.media.sent)
    wire.advance(100 * SECOND)
    assert len(wire.media.sent) == before
    assert wire.endpoint.next_timer() is None


def test_peer_with_a_host_that_wants_to_register_is_told_of_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    wire = Wire(PeerSettings(name="fixed", host=PEER, secret=WORD))
    for _ in range(3):
        wire.far_end().register("fixed", WORD)
    assert ['host = "dynamic"' in each.message for each in caplog.records] == [True]
