"""What the file may say and the gateway cannot do yet: an error where going on would be dangerous, else a warning.

Dangerous is what an operator would believe in: encryption, authentication, an address given out that is not used.
"""

from __future__ import annotations

from gateway.config.draft import Draft
from gateway.config.fields import Reader
from gateway.config.model import (
    MEDIA_CODECS,
    CodecName,
    Peer,
    Phone,
    PhoneLocation,
    SwitchType,
)
from gateway.config.problems import KeyPath
from gateway.config.values import DahdiChannels
from gateway.pri.settings import VARIANTS

SWITCH_TYPES = tuple(kind for kind in SwitchType if kind.value in VARIANTS)
"""The switch types whose variant exists."""


def check_unfinished(reader: Reader, draft: Draft) -> None:
    """Note every use of what is not there yet."""
    unfinished = _Unfinished(reader, draft)
    unfinished.spans()
    unfinished.peers()


class _Unfinished:
    def __init__(self, reader: Reader, draft: Draft) -> None:
        self._reader = reader
        self._draft = draft

    def _error(self, path: KeyPath, why: str) -> None:
        self._reader.error(path, f"not yet: {why}", self._draft.written(*path))

    def _warning(self, path: KeyPath, why: str) -> None:
        self._reader.warning(path, f"not yet: {why}", self._draft.written(*path))

    def spans(self) -> None:
        for path, span in self._draft.spans:
            if isinstance(span.channels, DahdiChannels):
                self._error((*path, "channels"), "cards; expected virtual:DIRECTORY")
            if span.switch_type not in SWITCH_TYPES:
                usable = " or ".join(kind.value for kind in SWITCH_TYPES)
                self._error((*path, "switch_type"), f"this switch type; expected {usable}")

    def peers(self) -> None:
        for path, peer in self._draft.all_peers():
            self._harmless(path, peer)
            if isinstance(peer, Phone):
                self._phone(path, peer)

    def _harmless(self, path: KeyPath, peer: Peer) -> None:
        if self._draft.written(*path, "allow") is None:
            return
        for index, name in enumerate(peer.allow):
            if name is not CodecName.ALL and name not in MEDIA_CODECS:
                self._warning((*path, "allow", index), "this codec; it is not offered")

    def _phone(self, path: KeyPath, phone: Phone) -> None:
        if phone.location is PhoneLocation.REMOTE:
            self._error((*path, "location"), "refusing local emergency calls of remote phones; expected site")
