"""The simulation notices what is broken in IAX2: each test breaks one thing and expects to be told."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from gateway.media.api import ClearVoice, IaxVoiceDue, IaxVoiceSettings
from gateway.media.client import MediaClient
from gateway.voip.iax import gatekeeper, leg_voice
from gateway.voip.iax.auth import Proof
from gateway.voip.iax.callnumbers import CallNumbers
from gateway.voip.iax.calltokens import TokenMint
from gateway.voip.iax.elements import Elements, Ie
from gateway.voip.iax.endpoint import IaxEndpoint
from gateway.voip.iax.frame import FullFrame
from gateway.voip.iax.host import Path
from gateway.voip.iax.leg import IaxLeg
from gateway.voip.iax.peers import AuthMethod
from gateway.voip.iax.protection import Protection
from gateway.voip.iax.reception import Reception
from gateway.voip.iax.registrar import Registrar
from gateway.voip.iax.registration import Registration
from gateway.voip.iax.sending import SendingSession
from gateway.voip.iax.session import Session
from gateway.voip.sip.defence import Defence
from tests.simulation.iax_catching import CALLS, all_press, told, weather
from tests.simulation.iax_shape import IaxShape
from tests.simulation.misfortune import Misfortunes
from tests.simulation.verdict import run_seed


def test_a_session_that_is_not_forgotten_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IaxEndpoint, "forget", lambda *_: None)
    assert told("<Session")


def test_a_call_number_that_is_not_given_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CallNumbers, "release", lambda *_: None)
    assert told("call numbers in use")


def test_a_leg_that_is_kept_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IaxEndpoint, "forget_leg", lambda *_: None)
    assert told("gateway: leg iax2/")


def test_frames_that_are_not_repeated_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    weather(monkeypatch, loss=0.1)
    monkeypatch.setattr(SendingSession, "_retransmit", lambda *_: None)
    assert told("<Session", faults=True)


def test_a_digit_that_is_taken_twice_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    weather(monkeypatch, duplicate=0.5)
    original = IaxLeg._on_digit

    def on_digit(self: IaxLeg, frame: FullFrame) -> None:
        original(self, frame)
        original(self, frame)

    monkeypatch.setattr(IaxLeg, "_on_digit", on_digit)
    all_press(monkeypatch)
    assert told("digits were pressed", faults=True)


def test_a_digit_that_is_lost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IaxLeg, "_on_digit", lambda *_: None)
    all_press(monkeypatch)
    assert told("pressed 7")


def test_a_wrong_cause_in_a_hangup_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def add_cause(elements: Elements, *_: object) -> Elements:
        return elements.add_number(Ie.CAUSECODE, 31, 1)

    monkeypatch.setattr(leg_voice, "add_cause", add_cause)
    assert told("heard NORMAL_UNSPECIFIED")


def test_voice_that_goes_to_another_call_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = MediaClient.set_iax

    def set_iax(self: MediaClient, stream: int, settings: IaxVoiceSettings) -> None:
        original(self, stream, replace(settings, source_call=settings.source_call ^ 1))

    monkeypatch.setattr(MediaClient, "set_iax", set_iax)
    assert told("is wired to")


def test_words_that_do_not_arrive_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IaxLeg, "on_media", lambda *_: None)
    assert told("heard ''")


def test_voice_in_the_clear_where_a_trunk_must_be_encrypted_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = MediaClient.set_iax

    def set_iax(self: MediaClient, stream: int, settings: IaxVoiceSettings) -> None:
        original(self, stream, replace(settings, send_key=b""))

    monkeypatch.setattr(MediaClient, "set_iax", set_iax)
    assert told("is not encrypted", lambda trunks: any(each.encrypted for each in trunks[:2]))


def test_frames_in_the_clear_of_an_encrypted_call_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "encrypt", lambda *_, **__: None)
    assert told("pbx: a frame in the clear", lambda trunks: trunks[0].encrypted)


def test_a_key_that_is_not_changed_with_the_far_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protection, "received_new_key", lambda *_: None)

    def rotates(trunks: list[IaxShape]) -> bool:
        return trunks[0].encrypted and trunks[0].rotates

    assert told("from pbx", rotates)


def test_a_proof_that_is_not_looked_at_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "verify", lambda *_: Proof(AuthMethod.MD5, Elements(), b""))
    assert told("with a wrong password")


def test_more_than_one_answer_to_a_stranger_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Reception._unknown

    def unknown(self: Reception, frame: FullFrame, path: Path) -> None:
        for _ in range(5):
            original(self, frame, path)

    monkeypatch.setattr(Reception, "_unknown", unknown)
    assert told("more than came", lambda trunks: all(each.calltokens == "yes" for each in trunks))


def test_a_token_that_is_longer_than_what_asked_for_it_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = TokenMint.answer

    def answer(self: TokenMint, asked: FullFrame, octets: int, path: Path, now: int) -> bytes | None:
        data = original(self, asked, octets, path, now)
        return None if data is None else data + bytes(200)

    monkeypatch.setattr(TokenMint, "answer", answer)
    assert told("octets more than came", lambda trunks: all(each.calltokens == "yes" for each in trunks))


def test_a_far_end_that_is_shut_out_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Defence, "shut_out", lambda *_: ["10.0.2.1"])
    assert told("10.0.2.1 is one of us and is shut out", lambda trunks: trunks[0].nat is None)


def test_a_registration_that_is_not_refreshed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registration, "expire", lambda *_: None)
    assert told("not registered with", lambda trunks: any(each.registers for each in trunks[:2]), calls=60)


def test_registrations_that_a_restart_loses_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registrar, "restore", lambda *_: 0)

    def plan(self: Misfortunes, end: int) -> None:
        self.world.at(max(self.world.now, end - 1), self._gateway_restarts)

    monkeypatch.setattr(Misfortunes, "plan", plan)
    assert told("the restart lost where", lambda trunks: trunks[0].dynamic, faults=True, calls=60)


def test_a_leak_that_nobody_minds_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = IaxLeg.on_media

    def on_media(self: IaxLeg, event: IaxVoiceDue | ClearVoice, now: int) -> None:
        if isinstance(event, IaxVoiceDue):
            original(self, event, now)

    def plan(self: Misfortunes, end: int) -> None:
        for part in range(1, 10):
            self.world.at(self.world.now + (end - self.world.now) * part // 10, self._iax_leaks)

    monkeypatch.setattr(IaxLeg, "on_media", on_media)
    monkeypatch.setattr(Misfortunes, "plan", plan)
    assert told("which goes on", lambda trunks: trunks[0].encrypted, faults=True)


def test_far_ends_that_do_not_hear_of_another_address_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(IaxEndpoint, "network", lambda *_: None)

    def plan(self: Misfortunes, end: int) -> None:
        self.world.at((self.world.now + end) // 2, self._seen_elsewhere)

    monkeypatch.setattr(Misfortunes, "plan", plan)
    word = "is to call the gateway at"
    assert told(word, lambda trunks: trunks[0].registers, faults=True, calls=60, behind_nat=True)


def test_an_exception_out_of_iax2_is_told_with_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Reception, data: bytes, path: Path, now: int) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(Reception, "receive", fail)
    verdict = str(run_seed(3, CALLS, iax=True))
    assert "RuntimeError: broken on purpose" in verdict
    assert "--seed 3 --calls 25 --story --iax --mangled 400" in verdict
