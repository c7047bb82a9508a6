"""What is said where a far end does not take us for who we are, or says nothing: log, status, cause."""

from __future__ import annotations

import logging

import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.routing.failover import goes_on
from gateway.voip.iax.causes import add_cause
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.frame import Command, parse_full
from gateway.voip.iax.peers import Encryption, PeerSettings
from tests.unit.voip.iax.iax_scene import Notes, Scene, simple_setup

ANOTHER = "an0ther"


def wrong_secret(owner: str, settings: PeerSettings) -> PeerSettings:
    return replace(settings, secret=ANOTHER) if owner == "a" else settings


def told(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if words in record.getMessage()]


def refuses_us(scene: Scene) -> object:
    return scene["a"].endpoint.peers["b"].as_json(scene.now)["refuses_us"]


def test_wrong_secret_is_told_plainly_and_leaves_the_caller_another_way(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(peer=wrong_secret)
    every = []
    for _ in range(3):
        _, notes = scene.place()
        scene.run(5, until=lambda notes=notes: notes.released is not None)  # type: ignore[misc]
        every.append(notes)
    for notes in every:
        assert notes.released is not None
        assert notes.released.cause is Cause.BEARER_CAPABILITY_NOT_AUTHORIZED
        assert goes_on(notes.released.cause)
    lines = told(caplog, "refuses our user name")
    assert len(lines) == 1
    assert lines[0].startswith(
        "trunk b refuses our user name (a) or secret: authentication failed (21); see defaultuser"
    )
    assert ANOTHER not in caplog.text
    assert refuses_us(scene) == "authentication failed (21)"


def rejected(scene: Scene, text: str, cause: Cause) -> Notes:
    """A call of a's that b's far end rejects in these words once it has the proof."""
    _, notes = scene.place()
    scene.run(5, until=lambda: bool(scene["b"].offers))
    leg = scene["b"].offers[-1][0]
    assert leg.session is not None
    leg.session.command(Command.REJECT, scene.now, add_cause(Elements(), cause, text))
    leg.session.close(scene.now)
    scene.run(5, until=lambda: notes.released is not None)
    return notes


def test_cause_50_of_asterisk_is_a_wrong_secret() -> None:
    scene = Scene()
    notes = rejected(scene, "No authority found", Cause.FACILITY_NOT_SUBSCRIBED)
    assert notes.released is not None
    assert notes.released.cause is Cause.BEARER_CAPABILITY_NOT_AUTHORIZED
    assert refuses_us(scene) == "No authority found (50)"


@pytest.mark.parametrize(
    ("text", "cause"), [("Call rejected", Cause.CALL_REJECTED), ("no such service", Cause.FACILITY_NOT_SUBSCRIBED)]
)
def test_call_that_is_rejected_for_its_number_is_no_fault_of_the_secret(
    text: str, cause: Cause, caplog: pytest.LogCaptureFixture
) -> None:
    scene = Scene()
    notes = rejected(scene, text, cause)
    assert notes.released is not None
    assert notes.released.cause is cause
    assert refuses_us(scene) == ""
    assert told(caplog, "refuses our user name") == []


def test_status_forgets_a_refusal_with_the_next_call_that_is_accepted(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    rejected(scene, "No authority found", Cause.FACILITY_NOT_SUBSCRIBED)
    scene.answered()
    assert refuses_us(scene) == ""
    assert len(told(caplog, "trunk b takes our user name and secret again")) == 1


# -- silence --


def is_command(data: bytes, command: Command) -> bool:
    frame = parse_full(data)
    return frame.type == 6 and frame.subclass == command


def test_far_end_that_never_answers_new_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.drop = lambda sender, to, data: True
    for _ in range(3):
        _, notes = scene.place()
    scene.run(40, until=lambda: notes.released is not None)
    assert notes.released is not None
    assert notes.released.cause is Cause.DESTINATION_OUT_OF_ORDER
    lines = told(caplog, "does not answer NEW")
    assert lines == ["trunk b at 192.0.2.2:4569 does not answer NEW: the call is given up after 15500 ms"]


def test_far_end_that_is_given_up_for_another_way_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.drop = lambda sender, to, data: True
    _, notes = scene.place(replace(simple_setup(), alternatives=True))
    scene.run(40, until=lambda: notes.released is not None)
    assert told(caplog, "does not answer NEW: the call is given up after 4000 ms")


@pytest.mark.parametrize("encryption", [Encryption.NO, Encryption.OPTIONAL])
def test_far_end_that_never_answers_our_proof_is_told(encryption: Encryption, caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(peer=lambda owner, settings: replace(settings, encryption=encryption))
    scene.place()
    scene.run(1, until=lambda: bool(scene.sent("b", Command.AUTHREQ)))
    scene.drop = lambda sender, to, data: sender == "b" and not is_command(data, Command.AUTHREQ)
    scene.run(40)
    (line,) = told(caplog, "trunk b at 192.0.2.2:4569 does not answer")
    assert "AUTHREP, our proof" in line
    assert ("it may have another secret" in line) is (encryption is Encryption.OPTIONAL)


def test_caller_who_never_answers_our_challenge_is_told(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.drop = lambda sender, to, data: sender == "a" and is_command(data, Command.AUTHREP)
    scene.place()
    scene.run(40)
    (line,) = told(caplog, "was asked to prove it")
    assert line.startswith("somebody at 192.0.2.1:4569 who says to be a was asked to prove it (AUTHREQ) and does not")
    assert [record.levelno for record in caplog.records if record.getMessage() == line] == [logging.WARNING]


def test_registrar_that_is_silent_or_refuses_us_stands_in_status(caplog: pytest.LogCaptureFixture) -> None:
    def peer(owner: str, settings: PeerSettings) -> PeerSettings:
        if owner == "a":
            return replace(settings, register=True, secret=ANOTHER)
        return replace(settings, host="", dynamic=True)

    scene = Scene(peer=peer)
    scene.run(5)
    shown = scene["a"].endpoint.peers["b"].as_json(scene.now)["registration"]
    assert isinstance(shown, dict)
    assert shown["error"] == "refused: authentication failed (21)"
    assert told(caplog, "trunk b: not registered as a: refused: authentication failed (21)")
    assert Ie.USERNAME in [number for number, _ in scene.sent("a", Command.REGREQ)[0].elements]
