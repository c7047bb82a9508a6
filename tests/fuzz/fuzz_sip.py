"""Coverage-guided fuzzing of the SIP codecs: ``python tests/fuzz/fuzz_sip.py [corpus directory]``. Needs atheris.

Anything but SipError that comes out of what the gateway does with a message stops the run.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "voip" / "sip"))


def main() -> None:
    """Run until stopped."""
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports():
        target = importlib.import_module("test_sip_random")

    def one_input(data: bytes) -> None:
        target.use(data)
        target.attempt(lambda: target.use_sdp(data))

    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
