"""The real engine: tones with their cadence, prompts from files, recordings into files."""

from __future__ import annotations

import errno
import math
import wave
from pathlib import Path
from struct import pack, unpack_from

import pytest

from gateway.media.api import (
    Failure,
    PromptEnded,
    Tone,
    ToneStep,
)
from tests.interop.program import PATIENCE
from tests.unit.media.engine_harness import (
    FRAME,
    SILENCE_ULAW,
    Harness,
    Sine,
    strength,
    ulaw_encode,
)

pytestmark = pytest.mark.realtime


def test_tone_plays_its_cadence_to_the_caller(harness: Harness) -> None:
    _, line, _, tdm = harness.call()
    ring = Tone((ToneStep((440, 480), 200, -19.0), ToneStep((), 200)))
    stream = harness.client.open_tone(ring, "ringback", harness.on_opened)
    harness.client.connect(tdm, stream)
    harness.run(0.1)
    line.received.clear()
    harness.run(1.2)
    audio = line.audio()
    loud = sum(code not in (0xFF, 0x7F) for code in audio) / len(audio)
    assert 0.3 <= loud <= 0.7
    once = Tone((ToneStep((1000,), 60),), None)
    stream = harness.client.open_tone(once, "beep", harness.on_opened)
    harness.client.connect(tdm, stream)
    assert harness.run(PATIENCE, lambda: PromptEnded(stream) in harness.events)


def write_wav(path: Path, *, rate: int = 8000, seconds: float = 0.4) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        samples = (round(8000 * math.sin(2 * math.pi * 800 * i / 8000)) for i in range(int(rate * seconds)))
        file.writeframes(b"".join(pack("<h", sample) for sample in samples))


def test_prompt_is_played_once_and_its_end_told(harness: Harness, tmp_path: Path) -> None:
    _, line, _, tdm = harness.call()
    write_wav(tmp_path / "prompt.wav")
    prompt = harness.client.open_prompt(str(tmp_path / "prompt.wav"), "welcome", harness.on_opened)
    harness.client.connect(tdm, prompt)
    assert harness.run(PATIENCE, lambda: PromptEnded(prompt) in harness.events)
    loud = b"".join(block for _, block in line.received if block != SILENCE_ULAW)
    assert len(loud) == pytest.approx(3200, abs=FRAME)
    assert strength(loud[FRAME : FRAME * 18], 800) > 0.98
    assert sum(event == PromptEnded(prompt) for event in harness.events) == 1


@pytest.mark.parametrize(
    ("name", "code", "text"),
    [
        ("missing.wav", errno.ENOENT, "No such file"),
        ("fast.wav", errno.EINVAL, "16000 Hz"),
        ("x" * 1100, errno.ENAMETOOLONG, ""),
    ],
)
def test_a_bad_prompt_is_a_clear_failure(harness: Harness, tmp_path: Path, name: str, code: int, text: str) -> None:
    write_wav(tmp_path / "fast.wav", rate=16000)
    harness.client.open_prompt(str(tmp_path / name), "welcome", harness.on_opened)
    assert harness.run(PATIENCE, lambda: bool(harness.opened))
    failure = next(iter(harness.opened.values()))
    assert isinstance(failure, Failure)
    assert failure.code == code
    assert text in failure.text


def test_recorder_writes_what_it_hears(harness: Harness, tmp_path: Path) -> None:
    _, line, _, tdm = harness.call()
    path = tmp_path / "record.wav"
    recorder = harness.client.open_recorder(str(path), "record", harness.on_opened)
    harness.client.connect(tdm, recorder)
    tone = Sine(600)
    harness.each_frame.append(lambda: line.send(tone.frame()))
    harness.run(1.0)
    harness.client.close(recorder)
    assert harness.run(PATIENCE, lambda: not_open(path))
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (1, 8000, 2)
        data = file.readframes(file.getnframes())
    assert len(data) // 2 >= 5000
    codes = bytes(ulaw_encode(value) for (value,) in zip(unpack_from(f"<{len(data) // 2}h", data), strict=True))
    assert strength(codes[-3200:], 600) > 0.98


def not_open(path: Path) -> bool:
    with wave.open(str(path), "rb") as file:
        return file.getnframes() >= 5000


def test_a_disk_that_is_full_fails_the_recorder(harness: Harness) -> None:
    harness.client.open_recorder("/dev/full", "record", harness.on_opened)
    assert harness.run(PATIENCE, lambda: bool(harness.opened))
    failure = next(iter(harness.opened.values()))
    assert isinstance(failure, Failure)
    assert failure.code == errno.ENOSPC
