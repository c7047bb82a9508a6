"""What tests against real peers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.pri.lapd import Side
from tests.interop.libpri_lines import Wire
from tests.interop.wire_check import lapd_problems


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    gathered = Wire()
    yield gathered
    directory = tmp_path_factory.mktemp("wire")
    for side, frames in gathered.frames.items():
        if frames:
            path = directory / f"{side.value}.pcap"
            assert lapd_problems(path, frames, network=side is Side.NETWORK) == []
