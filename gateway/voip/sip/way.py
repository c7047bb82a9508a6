"""One way to a registered phone or trunk: where its INVITE goes and what stands on it (RFC 3261 16.6, RFC 3327)."""

from __future__ import annotations

from typing import NamedTuple

from gateway.voip.sip.flow import Flow
from gateway.voip.sip.location import Binding
from gateway.voip.sip.syntax import format_params
from gateway.voip.sip.uri import Uri


class Way(NamedTuple):
    """``target`` is the registered Contact; ``routes`` the Path it was registered by."""

    flow: Flow
    target: Uri
    routes: tuple[str, ...] = ()
    behind_nat: bool = False

    @classmethod
    def of(cls, binding: Binding) -> Way:
        """The way that ``binding`` is."""
        return cls(binding.flow, binding.uri.without_headers(), binding.path, binding.behind_nat)

    def request_uri(self, called: str) -> str:
        """The Request-URI: the Contact; of a trunk with ``called`` (``sip:NUMBER@``) in place of its user part."""
        if not called:
            return str(self.target)
        return f"{called}{self.target.host_port}{format_params(self.target.params)}"
