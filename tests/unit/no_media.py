"""A media engine of which nothing may be asked: what a test's own media is not for stays an error."""

from __future__ import annotations

from gateway.media.api import Codec, IaxVoiceSettings, Law, OnOpened, OnStatistics, RtpSettings, Tone


class NoMedia:
    """Raises at every request."""

    def open_rtp(self, address: str, label: str, on_reply: OnOpened) -> int:
        raise NotImplementedError

    def set_rtp(self, stream: int, settings: RtpSettings) -> None:
        raise NotImplementedError

    def open_iax_socket(self, address: str, port: int, label: str, on_reply: OnOpened) -> int:
        raise NotImplementedError

    def send_iax(self, socket: int, address: str, port: int, data: bytes) -> None:
        raise NotImplementedError

    def open_iax(self, socket: int, label: str, on_reply: OnOpened) -> int:
        raise NotImplementedError

    def set_iax(self, stream: int, settings: IaxVoiceSettings) -> None:
        raise NotImplementedError

    def iax_voice(self, stream: int, stamp: int, codec: Codec, data: bytes) -> None:
        raise NotImplementedError

    def open_tdm(self, path: str, law: Law, label: str, on_reply: OnOpened, *, listen: bool = False) -> int:
        raise NotImplementedError

    def open_tone(self, tone: Tone, label: str, on_reply: OnOpened) -> int:
        raise NotImplementedError

    def open_prompt(self, path: str, label: str, on_reply: OnOpened, *, repeat: bool = False) -> int:
        raise NotImplementedError

    def open_echo(self, label: str, on_reply: OnOpened) -> int:
        raise NotImplementedError

    def open_recorder(self, path: str, label: str, on_reply: OnOpened, *, seconds: int = 3600) -> int:
        raise NotImplementedError

    def connect(self, first: int, second: int) -> None:
        raise NotImplementedError

    def disconnect(self, stream: int) -> None:
        raise NotImplementedError

    def send_digits(self, stream: int, digits: str, milliseconds: int = 100) -> None:
        raise NotImplementedError

    def statistics(self, stream: int, on_reply: OnStatistics) -> None:
        raise NotImplementedError

    def close(self, stream: int, on_reply: OnStatistics | None = None) -> None:
        raise NotImplementedError
