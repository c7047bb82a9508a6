"""What is heard with Asterisk's chan_iax2 where several things meet: trunks with comings and goings, keys, codecs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.interop.held_up import Watch
from tests.interop.program import PATIENCE, PeerError
from tests.interop.scenario import lasting
from tests.interop.tone import goertzel, read_samples
from tests.outside.asterisk import Asterisk
from tests.outside.iax_scene import PURE, Scene
from tests.outside.iax_site import MILLIWATT_HZ, NEW_KEY, WAV_HEADER, hang_up, heard, recorded, talk
from tests.outside.iax_wire import Datagram, trunk_blocks
from tests.outside.test_asterisk_iax import ENCRYPTION, ROTATION
from tests.simulation import iax_rfc as rfc

ECHO = "95550106"
WINDOW_SECONDS = 0.25
STEP_SECONDS = 0.2
WAY_SECONDS = 1.0
"""The recording is written now and then."""
SPOILT_MOST = 1
"""Windows: others use the machine as well, and a stalled one tears voice; a trunk that loses a call's share spoils all
that follows, one that pauses for the others spoils one for each of them."""


class Listener:
    """Of the call ``name`` that the site makes, from the first tone on."""

    def __init__(self, scene: Scene, name: str) -> None:
        self._path = scene.far.directory / f"heard-{name}.wav"
        self.watch = Watch((*scene.product.voice_pids, scene.far.pid), self._samples)

    def _samples(self) -> int:
        return max(self._path.stat().st_size - WAV_HEADER, 0) // 2 if self._path.exists() else 0

    def spoilt(self) -> tuple[list[str], int]:
        """The windows that are not the tone, less those in which a program waited for its turn; how many there are."""
        samples, rate = read_samples(self._path)
        window = int(rate * WINDOW_SECONDS)
        found: list[str] = []
        windows = 0
        for start in range(0, len(samples) - window + 1, window):
            part = samples[start : start + window]
            power = sum(sample * sample for sample in part) / window
            share = goertzel(part, rate, MILLIWATT_HZ) / power if power else 0.0
            windows += windows > 0 or share > PURE
            if windows and share < PURE and not self.watch.held_up(start, start + window, WAY_SECONDS):
                found.append(f"{start / rate:.2f} s: {share:.2f}")
        return found, windows


@pytest.mark.parametrize("stamps", ["false", "true"])
@lasting(90.0)
async def test_a_call_in_a_trunk_is_unbroken_while_others_come_and_go(tmp_path: Path, stamps: str) -> None:
    trunk = f"trunk = true\ntrunktimestamps = {stamps}\n"
    general = f"trunktimestamps = {'yes' if stamps == 'true' else 'no'}\n"
    async with Scene(tmp_path, trunk=trunk, general=general, peer="trunk = yes\n") as scene:
        exchange = scene.product.exchange
        # Both ways at once: what the site hears is its own tone, which comes back from the line's echo.
        await talk(scene.far, ECHO)
        await scene.product.until_answered()
        listener = Listener(scene, "11")
        listener.watch.start()
        for _ in range(3):
            calls = []
            for count in range(2, 6):
                reply = await exchange.command("call", called="4165550670", hold=-1, voice="milliwatt")
                calls.append(reply["call"])
                await scene.product.until_answered(count)
                await asyncio.sleep(STEP_SECONDS)
            for call in calls:
                await exchange.command("hangup", call=call)
                await exchange.event("ended", PATIENCE, _of(call))
                await asyncio.sleep(STEP_SECONDS)
            await scene.product.until_answered(1)
        await asyncio.sleep(1.0)
        await hang_up(scene.far)
        await listener.watch.stop()
        await scene.product.until_idle()
        shared = {len(trunk_blocks(each.data)) for each in scene.wire.sent(near=True) if each.trunk}
        assert shared >= {1, 2, 3, 4, 5}
        bad, windows = listener.spoilt()
        assert windows > 12, windows
        assert len(bad) <= SPOILT_MOST, f"of {windows} windows these are not the tone: {bad}"


@lasting(90.0)
async def test_between_sip_and_an_encrypted_trunk_whose_keys_change_both_ways(tmp_path: Path) -> None:
    async with Scene(
        tmp_path,
        sip=True,
        trunk="forceencryption = true\n",
        more=ROTATION,
        general=ENCRYPTION,
        peer="encryption = yes\n",
        quick_rotation=True,
    ) as scene:
        await scene.far.console("iax2 set debug on")
        await talk(scene.far, "84165550170", "11")
        await scene.product.until_answered()
        await scene.far.until_logged(f"(?s:{NEW_KEY}.*{NEW_KEY})")
        await _until_pure(scene.far, "11")
        await hang_up(scene.far)
        await scene.product.until_idle()
        assert scene.session()["keys_sent"] >= 2
        call = {"Channel": "SIP/74170@branch", "Context": "talk", "Exten": "12", "Priority": "1"}
        await scene.far.manager.action("Originate", Async="true", **call)
        await scene.product.until_answered()
        await scene.far.until_logged("(?s:Sending IAX_COMMAND_RTKEY.*){2}")
        await _until_pure(scene.far, "12")
        await hang_up(scene.far)
        await scene.product.until_idle()
        assert scene.session()["keys_received"] >= 2
        for name in ("11", "12"):
            assert heard(scene.far, name).frequency == pytest.approx(MILLIWATT_HZ, abs=5)
        assert all(not each.trunk for each in scene.wire.datagrams)


async def _until_pure(far: Asterisk, name: str) -> None:
    """Wait until a second of the tone was heard in one piece, after whatever happened."""
    for _ in range(int(PATIENCE)):
        await asyncio.sleep(1.0)
        if recorded(far, name) and heard(far, name, last=1.5).purity > PURE:
            return
    raise PeerError(f"the site does not hear the tone in call {name}: {heard(far, name)}")


def _of(call: int) -> Callable[[Mapping[str, Any]], bool]:
    return lambda event: event["call"] == call


def _is_digit(each: Datagram) -> bool:
    return each.full and each.data[10] == rfc.DTMF_END


def preferred(data: bytes) -> str:
    """CODEC_PREFS of a NEW, as letters: B is the first format."""
    return rfc.read_full(data).elements.get(0x2D, b"").decode()


PREFERENCES = {
    # Ours, Asterisk's and whose order counts there; what a call of ours talks and what one of Asterisk's.
    "ours first": ('["g722", "ulaw", "alaw"]', "alaw,ulaw,g722", "caller", "g722", "alaw"),
    "theirs first": ('["g722", "ulaw", "alaw"]', "ulaw,g722", "host", "ulaw", "ulaw"),
    "what both have": ('["slin16", "alaw"]', "g722,alaw,gsm", "caller", "alaw", "alaw"),
}


@pytest.mark.parametrize("which", PREFERENCES)
@lasting(60.0)
async def test_of_several_codecs_the_one_is_talked_that_the_caller_prefers(tmp_path: Path, which: str) -> None:
    ours, theirs, whose, out, back = PREFERENCES[which]
    peer = f"disallow = all\nallow = {theirs}\ncodecpriority = {whose}\n"
    async with Scene(tmp_path, trunk=f"allow = {ours}\n", peer=peer) as scene:
        await scene.call_out()
        assert scene.leg()["codec"] == out
        await scene.call_in(ECHO)
        assert scene.leg()["codec"] == back
        news = [each for each in scene.wire.datagrams if each.full and each.data[10:12] == bytes((rfc.IAX, rfc.NEW))]
        told = {each.near: preferred(each.data) for each in news}
        # The letters stand for formats in the order of their bits; ours begin with what we like best.
        assert len(told[True]) == len(ours.split(",")), told


@lasting(60.0)
async def test_digits_of_the_site_are_tones_on_the_line_and_those_of_the_line_digits(tmp_path: Path) -> None:
    async with Scene(tmp_path) as scene:
        manager = scene.far.manager
        # The line's echo makes each digit that we play there one that we hear there.
        call = {"Channel": f"IAX2/branch/{ECHO}", "Context": "digits", "Exten": "11", "Priority": "1"}
        await manager.action("Originate", Async="true", **call)
        deadline = asyncio.get_running_loop().time() + PATIENCE
        came = ""
        while came != "1550*":
            received = [each for each in manager.events if each.get("Event") == "DTMFEnd"]
            came = "".join(each["Digit"] for each in received if each.get("Direction") == "Received")
            assert asyncio.get_running_loop().time() < deadline, (came, scene.product.log[-2000:])
            await asyncio.sleep(0.1)
        await hang_up(scene.far)
        await scene.product.until_idle()
        sent = {(each.data[8], chr(each.data[11])) for each in scene.wire.sent(near=True) if _is_digit(each)}
        # Each once, by its number in the sequence; what was sent again has the same.
        assert len(sent) == len(came), sent
