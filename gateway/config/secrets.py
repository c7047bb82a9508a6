"""Passwords of trunks and phones: written in the configuration, or in a file that nobody else may read."""

from __future__ import annotations

import stat
from pathlib import Path

from gateway.config.values import Secret

MAX_SECRET = 256
"""Longest password, in characters."""
MAX_FILE = 4096
LEAST = 8
LEAST_DIGITS = 12
"""Shorter ones are warned of: what is recorded of one proof is guessed at offline, by the million a second."""
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def secret_text(secret: Secret, directory: Path) -> str:
    """The password; a relative path is taken from ``directory``. Raises ValueError that says what was expected.

    Of a file it is the first line.
    """
    if secret.file is None:
        return _checked(secret.text or "", "a password")
    path = directory / secret.file
    try:
        with path.open("rb") as file:
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):
                raise ValueError(f"expected a file; {path} is none")
            if mode & _OTHERS:
                raise ValueError(f"expected a file that only its owner may read (chmod 600 {path})")
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise ValueError(f"expected a file that can be read; {path}: {error.strerror or error}") from None
    if len(data) > MAX_FILE:
        raise ValueError(f"expected a file of at most {MAX_FILE} octets with a password in its first line")
    try:
        line = data.decode("utf-8").partition("\n")[0].strip("\r")
    except UnicodeDecodeError:
        raise ValueError(f"expected text in {path}") from None
    return _checked(line, f"a password in the first line of {path}")


def is_guessable(text: str, name: str) -> bool:
    """True for what scanners try first: short ones, the peer's own name in them, digits alone."""
    low, own = text.lower(), name.lower()
    digits = text.isdecimal() and len(text) < LEAST_DIGITS
    return len(text) < LEAST or digits or low == own or low == own[::-1] or low in (f"{own}{own}", f"{own}123")


def _checked(text: str, what: str) -> str:
    if not text or len(text) > MAX_SECRET or not text.isprintable():
        raise ValueError(f"expected {what}, 1 to {MAX_SECRET} printable characters")
    return text
