"""Where the WAV file of a prompt is."""

from __future__ import annotations

from pathlib import Path

EXTENSION = ".wav"


_HEAD = 12


def prompt_fault(file: Path) -> str | None:
    """Why ``file`` cannot be a prompt, or None. Whether its format can be played the media engine finds out."""
    try:
        with file.open("rb") as opened:
            head = opened.read(_HEAD)
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    return None if head[:4] == b"RIFF" and head[8:] == b"WAVE" else f"{file} is no WAV file"


def prompt_path(directory: Path, prompt: str) -> Path:
    """The file of ``prompt`` in ``directory``; ``.wav`` is added to a name without it."""
    return directory / (prompt if prompt.endswith(EXTENSION) else prompt + EXTENSION)
