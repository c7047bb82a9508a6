"""``python -m gateway.provision.bus.introspect`` writes ``introspection/``, a file for each interface.

They are for whoever reads, and for programs that are made from such files; a test compares them with the live bus.
"""

from __future__ import annotations

from pathlib import Path

from gateway.provision.bus.interface import file_xml
from gateway.provision.bus.objects import INTERFACES

DIRECTORY = Path(__file__).parent / "introspection"

if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    for each in INTERFACES:
        (DIRECTORY / f"{each.name}.xml").write_text(file_xml(each), "utf-8")
