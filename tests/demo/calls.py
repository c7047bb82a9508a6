"""The two calls of the demonstration, one each way, and what must be true: encrypted, a tone heard at both ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.demo.scene import DID, Scene
from tests.interop.program import PeerError
from tests.interop.tone import HeardTone

PHONE_TONE = 800.0
EXCHANGE_TONE = 1004.0
HERTZ = 15.0
"""How far a heard tone may be from the one sent."""
LOUDNESS = 3.0
"""dB by which a level may differ from end to end; G.711 itself costs hundredths."""
TALK_SECONDS = 2.0
PHONE_LEVEL = -10.0
EXCHANGE_LEVEL = 0.0


@dataclass(slots=True)
class Outcome:
    """One call and its checks: each a text and whether it holds."""

    title: str
    trace: Sequence[Mapping[str, Any]]
    checks: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether all that must be true is."""
        return all(good for _, good in self.checks)

    def check(self, text: str, good: bool) -> None:
        """Note one thing that must be true."""
        self.checks.append((text, good))


def _heard(who: str, frequency: float, level: float, sent: float, sent_level: float) -> tuple[str, bool]:
    good = abs(frequency - sent) <= HERTZ and abs(level - sent_level) <= LOUDNESS
    return f"{who} heard {frequency:.0f} Hz at {level:.1f} dBm0 ({sent:.0f} Hz at {sent_level:.0f} sent)", good


def _judge(outcome: Outcome, report: Mapping[str, Any], phone: HeardTone | None, record: Mapping[str, Any]) -> None:
    heard = report.get("heard")
    outcome.check("answered", report["answered"] is not None)
    if heard is None:
        outcome.check("the exchange heard nothing", False)
    else:
        outcome.check(
            *_heard("exchange", heard["frequency"], heard["receive_level"], PHONE_TONE, PHONE_LEVEL),
        )
    if phone is None:
        outcome.check("the phone heard nothing", False)
    else:
        outcome.check(*_heard("phone", phone.frequency, phone.level, EXCHANGE_TONE, EXCHANGE_LEVEL))
    sip = next((leg for leg in _legs(record) if leg.get("technology") == "sip"), {})
    secure = set(sip.get("facts", ())) == {"secure_signalling", "secure_media"}
    outcome.check(f"SIP over TLS, voice as SRTP: {sip.get('srtp') or 'no'}", secure and bool(sip.get("srtp")))
    outcome.check(f"both sides ended with cause {report['cause']}", report["cause"] == record["cause"] == 16)
    media = next((leg["media"] for leg in _legs(record) if leg.get("technology") == "sip" and "media" in leg), None)
    if media is None:
        outcome.check("the gateway has no figures of the voice", False)
        return
    lost = media["lost"]
    outcome.check(
        f"RTP: {media['packets_sent']} sent, {media['packets_received']} received, {lost} lost, "
        f"jitter {media['jitter']:.1f} ms, MOS {media['mos']:.2f}",
        lost == 0 and media["packets_received"] > 50 and media["packets_sent"] > 50,
    )


def _legs(record: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [record["incoming"], *(attempt["leg"] for attempt in record["attempts"])]


async def from_exchange(scene: Scene) -> Outcome:
    """The exchange calls the branch's number; the phone answers by itself; the exchange hangs up."""
    traced, recorded = len(scene.trace()), len(scene.records())
    call = (await scene.exchange.command("call", called=DID, hold=3_000))["call"]
    report = await scene.exchange.event("ended", 20, lambda event: event["call"] == call)
    record = await scene.record_after(recorded)
    outcome = Outcome(f"exchange calls {DID}, the gateway rings the phone", scene.trace()[traced:])
    heard: HeardTone | None
    try:
        heard = scene.phone.heard()
    except PeerError:
        heard = None
    _judge(outcome, report, heard, record)
    return outcome


async def from_phone(scene: Scene) -> Outcome:
    """The phone dials out over the line, hears the exchange's milliwatt, and hangs up."""
    traced, recorded = len(scene.trace()), len(scene.records())
    before = {event.get("call") for event in scene.exchange.events}
    await scene.phone.dial(f"sip:95550100@127.0.0.1:{scene.tls_port};transport=tls")
    answered = await scene.exchange.event("answered", 15, lambda event: event["call"] not in before)
    heard: HeardTone | None
    try:
        heard = await scene.phone.hears(EXCHANGE_TONE, within=8)
        await asyncio.sleep(TALK_SECONDS)
        heard = scene.phone.heard()
    except PeerError:
        heard = None
    await scene.phone.hang_up()
    report = await scene.exchange.event("ended", 15, lambda event: event["call"] == answered["call"])
    record = await scene.record_after(recorded)
    outcome = Outcome("phone dials 9-5550100, the gateway calls the exchange", scene.trace()[traced:])
    _judge(outcome, report, heard, record)
    return outcome
