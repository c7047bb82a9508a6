"""What the file may say and the gateway cannot do yet: an error where going on would be dangerous, else a warning.

Dangerous is what an operator would believe in: encryption, authentication, an address given out that is not used.
"""

from __future__ import annotations

from gateway.config.draft import Draft
from gateway.config.fields import Reader
from gateway.config.model import (
    MEDIA_CODECS,
    CodecName,
    DirectMedia,
    MediaEncryption,
    Nat,
    Phone,
    PhoneLocation,
    SwitchType,
    Technology,
    Trunk,
)
from gateway.config.problems import KeyPath
from gateway.config.values import DahdiChannels, Transport
from gateway.pri.settings import VARIANTS

SWITCH_TYPES = tuple(kind for kind in SwitchType if kind.value in VARIANTS)
"""The switch types whose variant exists."""


def check_unfinished(reader: Reader, draft: Draft) -> None:
    """Note every use of what is not there yet."""
    unfinished = _Unfinished(reader, draft)
    unfinished.network()
    unfinished.media()
    unfinished.sip()
    unfinished.iax()
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

    def network(self) -> None:
        network = self._draft.network
        if not isinstance(network.externip, str):
            self._error(
                ("network", "externip"),
                'peers would not be told this address and would send their voice astray; expected "auto" or "none"',
            )
        if network.externhost is not None:
            self._error(("network", "externhost"), "peers would not be told this address; leave it out")
        for key, usual in (("wan", "auto"), ("localnet", ("auto",))):
            if getattr(network, key) != usual:
                self._warning(("network", key), "it changes nothing")

    def media(self) -> None:
        if self._draft.media.media_address is not None:
            self._error(("media", "media_address"), "peers would be told another address; leave it out")

    def sip(self) -> None:
        for index, listen in enumerate(self._draft.sip.listen):
            if listen.transport is Transport.TLS:
                self._error(("sip", "listen", index), "SIP over TLS; expected udp: or tcp:")

    def iax(self) -> None:
        iax = self._draft.iax
        if iax is None:
            return
        if iax.encryption or iax.forceencryption:
            key = "forceencryption" if iax.forceencryption else "encryption"
            self._error(("iax", key), "IAX2, and so nothing of it is encrypted; leave it out")
        self._warning(("iax",), "IAX2; nothing listens for it")

    def spans(self) -> None:
        for path, span in self._draft.spans:
            if isinstance(span.channels, DahdiChannels):
                self._error((*path, "channels"), "cards; expected virtual:DIRECTORY")
            if span.switch_type not in SWITCH_TYPES:
                usable = " or ".join(kind.value for kind in SWITCH_TYPES)
                self._error((*path, "switch_type"), f"this switch type; expected {usable}")

    def peers(self) -> None:
        for path, peer in self._draft.peers():
            self._security(path, peer)
            self._harmless(path, peer)
            if isinstance(peer, Trunk):
                self._trunk(path, peer)
            else:
                self._phone(path, peer)

    def _security(self, path: KeyPath, peer: Trunk | Phone) -> None:
        if peer.transport is Transport.TLS:
            self._error((*path, "transport"), "SIP over TLS; expected udp or tcp")
        if peer.media_encryption is MediaEncryption.REQUIRED:
            self._error((*path, "media_encryption"), "SRTP; the voice would be in the clear")
        elif peer.media_encryption is MediaEncryption.OPTIONAL:
            self._warning((*path, "media_encryption"), "SRTP; the voice is in the clear")
        if peer.secret is not None:
            self._error(
                (*path, "secret"), "digest authentication; calls would be taken without it. Peers are known by address"
            )

    def _harmless(self, path: KeyPath, peer: Trunk | Phone) -> None:
        if peer.qualify.milliseconds is not None:
            self._warning((*path, "qualify"), "the peer is not watched")
        if peer.directmedia is not DirectMedia.NO:
            self._warning((*path, "directmedia"), "all voice goes through the gateway")
        if self._draft.written(*path, "allow") is None:
            return
        for index, name in enumerate(peer.allow):
            if name is not CodecName.ALL and name not in MEDIA_CODECS:
                self._warning((*path, "allow", index), "this codec; it is not offered")

    def _trunk(self, path: KeyPath, trunk: Trunk) -> None:
        if trunk.technology is Technology.IAX2:
            self._error((*path, "technology"), "IAX2; expected sip")
        if trunk.register:
            self._error((*path, "register"), "registration; the far end would not know where to send calls")
        if trunk.host.dynamic:
            self._error((*path, "host"), "registration of the far end; expected its address or name")

    def _phone(self, path: KeyPath, phone: Phone) -> None:
        if phone.host.dynamic:
            self._error((*path, "host"), "registration of phones; expected the phone's fixed address")
        if any(nat is not Nat.NO for nat in phone.nat):
            self._error((*path, "nat"), 'NAT in front of phones; its voice would be one-way. Expected ["no"] or none')
        if phone.location is PhoneLocation.REMOTE:
            self._error((*path, "location"), "refusing local emergency calls of remote phones; expected site")
