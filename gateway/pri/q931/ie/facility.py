"""Facility (Q.932 8.2.3): a protocol profile and, behind it, components kept as octets; names are in ``rose``."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.pri.q931.ie.element import ElementId, InformationElement, group

ROSE = 0x11
"""Protocol profile (octet 3 bits 5-1): remote operations."""
NETWORKING_EXTENSIONS = 0x1F
"""Protocol profile: networking extensions (QSIG, NI-2), then remote operations."""

MAX_COMPONENTS = 250


@dataclass(frozen=True, slots=True)
class Facility(InformationElement):
    """Supplementary service operations. ``header`` is octet 3 with its extensions, ``components`` BER as octets."""

    components: bytes
    header: bytes = b"\x91"
    identifier = ElementId.FACILITY

    @property
    def profile(self) -> int:
        """The protocol profile: ROSE, NETWORKING_EXTENSIONS or another of five bits."""
        return self.header[0] & 0x1F

    @classmethod
    def parse(cls, contents: bytes) -> Facility:
        """Octets 3 and 4*."""
        header, at = group(contents, 0)
        return cls(contents[at:], header)

    def build(self) -> bytes:
        """Octets 3 and 4*."""
        if not self.header or not self.header[-1] & 0x80:
            raise ValueError(f"Facility header {self.header!r} does not end with an extension bit")
        if len(self.components) > MAX_COMPONENTS:
            raise ValueError(f"Facility components of {len(self.components)} octets, expected {MAX_COMPONENTS}")
        return self.header + self.components
