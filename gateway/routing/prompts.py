"""Where the WAV file of a prompt is."""

from __future__ import annotations

from pathlib import Path

EXTENSION = ".wav"


def prompt_path(directory: Path, prompt: str) -> Path:
    """The file of ``prompt`` in ``directory``; ``.wav`` is added to a name without it."""
    return directory / (prompt if prompt.endswith(EXTENSION) else prompt + EXTENSION)
