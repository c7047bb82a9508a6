"""Test tones as WAV files: made with one frequency, and measured without any numerical library."""

from __future__ import annotations

import array
import math
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

RATE = 8000
FULL_SCALE_DBM0 = 3.14  # a sine that just reaches full scale, G.711 table 5 (A-law; mu-law has 3.17)
WINDOW_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class HeardTone:
    """The steadiest half second of a recording: hertz, dBm0, and the share of its power in that frequency (0 to 1).

    ``seconds`` is the length of the recording, ``audible`` how much of it was above -50 dBm0.
    """

    frequency: float
    level: float
    purity: float
    seconds: float
    audible: float


def write_tone(path: Path, frequency: float, *, seconds: float = 60.0, level: float = -10.0) -> Path:
    """Write 16 bit mono at 8 kHz; ``level`` in dBm0. One period pattern is repeated, so long files cost little."""
    amplitude = 32767 * 10 ** ((level - FULL_SCALE_DBM0) / 20)
    pattern = array.array("h", (round(amplitude * math.sin(2 * math.pi * frequency * n / RATE)) for n in range(RATE)))
    if sys.byteorder == "big":
        pattern.byteswap()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        whole, rest = divmod(round(seconds * RATE), RATE)
        file.writeframes(pattern.tobytes() * whole + pattern[:rest].tobytes())
    return path


def read_samples(path: Path) -> tuple[array.array[int], int]:
    """The samples (first channel) and the rate of a 16 bit WAV; one still being written is read to its end."""
    raw = path.read_bytes()
    channels, rate, offset = 1, RATE, 12
    samples = array.array("h")
    while offset + 8 <= len(raw):
        kind, size = raw[offset : offset + 4], int.from_bytes(raw[offset + 4 : offset + 8], "little")
        body = raw[offset + 8 :] if kind == b"data" and not size else raw[offset + 8 : offset + 8 + size]
        if kind == b"fmt ":
            channels = int.from_bytes(body[2:4], "little")
            rate = int.from_bytes(body[4:8], "little")
        elif kind == b"data":
            samples.frombytes(body[: len(body) // 2 * 2])
        offset += 8 + size + size % 2
        if kind == b"data":
            break
    if sys.byteorder == "big":
        samples.byteswap()
    return (samples[::channels] if channels > 1 else samples), rate


def goertzel(samples: array.array[int], rate: int, frequency: float) -> float:
    """Mean power of ``samples`` at ``frequency``, in squared sample units."""
    step = 2 * math.cos(2 * math.pi * frequency / rate)
    before = last = 0.0
    for sample in samples:
        before, last = last, sample + step * last - before
    return 2 * (last * last + before * before - step * last * before) / len(samples) ** 2


def _crossings(samples: array.array[int], rate: int) -> float:
    first = final = 0.0
    count = 0
    for index in range(1, len(samples)):
        low, high = samples[index - 1], samples[index]
        if low < 0 <= high:
            at = index - high / (high - low)
            if not count:
                first = at
            final = at
            count += 1
    return (count - 1) * rate / (final - first) if count > 2 else 0.0


def _level(power: float) -> float:
    if power < 1:
        return -99.0
    return 10 * math.log10(power / (32767**2 / 2)) + FULL_SCALE_DBM0


def measure_tone(path: Path, last: float = 0.0) -> HeardTone:
    """What tone a recording holds, or its ``last`` seconds. Without sound that is frequency 0 and level -99."""
    samples, rate = read_samples(path)
    if last:
        samples = samples[-int(rate * last) :]
    window = int(rate * WINDOW_SECONDS)
    best: tuple[float, float, float] = (0.0, 0.0, 0.0)
    audible = 0
    for start in range(0, len(samples) - window + 1, window):
        part = samples[start : start + window]
        power = sum(sample * sample for sample in part) / window
        if _level(power) < -50:
            continue
        audible += 1
        frequency = _crossings(part, rate)
        share = min(goertzel(part, rate, frequency) / power, 1.0) if frequency else 0.0
        if share > best[0]:
            best = (share, frequency, power)
    purity, frequency, power = best
    return HeardTone(frequency, _level(power), purity, len(samples) / rate, audible * WINDOW_SECONDS)
