"""What alarms, error counters and link statistics say about who is at fault: cable, clock, carrier or a setting.

Rules for people who have to decide whom to call; every finding names the figures it rests on.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gateway.core import SECOND
from gateway.pri.channels import Line
from gateway.pri.lapd.link import Statistics
from gateway.pri.span.layer1 import Alarm, Counters

BOUNCES_WORTH_A_WORD = 3
CRC_BLOCKS = {Line.E1: 1000, Line.T1: 333}
"""CRC blocks a second: G.704 2.3.3 (CRC-4, two an E1 multiframe of 2 ms), T1.403 (ESF, one in 3 ms)."""


class Fault(Enum):
    """Where to look."""

    CABLE = "cable"
    CLOCK = "clock"
    CARRIER = "carrier"
    FAR_END = "far end"
    SETTING = "setting"


class Clock(Enum):
    """Where the span's transmit clock comes from."""

    LINE = "line"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Finding:
    """One likely fault and the sentence that explains it."""

    fault: Fault
    text: str


def explain_alarm(alarm: Alarm, connected: bool, bounces: int = 0) -> tuple[Finding, ...]:
    """What the present alarm means; ``bounces`` is how many alarms there were of late."""
    findings: list[Finding] = []
    if not connected:
        findings.append(
            Finding(Fault.CABLE, "nobody answers at the other end: it is switched off, or the cable is out")
        )
    elif alarm is Alarm.RED:
        findings.append(
            Finding(
                Fault.CABLE, "no valid signal comes in: cable, connector or receive pair, or the carrier's unit is off"
            )
        )
    elif alarm is Alarm.YELLOW:
        findings.append(
            Finding(Fault.CABLE, "we receive well, but the far end does not hear us: look at our transmit pair")
        )
    elif alarm is Alarm.BLUE:
        findings.append(
            Finding(Fault.CARRIER, "all ones come in: the line is broken further inside the carrier's network")
        )
    if bounces >= BOUNCES_WORTH_A_WORD:
        findings.append(
            Finding(
                Fault.CABLE, f"the line went down {bounces} times of late: a loose connector, or the carrier at work"
            )
        )
    return tuple(findings)


def explain_counters(errors: Counters, duration: int, line: Line, clock: Clock = Clock.LINE) -> tuple[Finding, ...]:
    """What ``errors``, counted over ``duration`` microseconds, mean; empty if all is well."""
    seconds = max(duration / SECOND, 1.0)
    findings: list[Finding] = []
    noisy = errors.code_violations > 0
    if noisy:
        findings.append(
            Finding(
                Fault.CABLE,
                f"{errors.code_violations} code violations: noise or attenuation on the cable to us, "
                "or one end codes AMI and the other HDB3/B8ZS",
            )
        )
    elif errors.crc_errors >= 0.9 * CRC_BLOCKS[line] * seconds:
        findings.append(
            Finding(Fault.SETTING, f"{errors.crc_errors} CRC errors, about every block: only one end has the CRC on")
        )
    elif errors.crc_errors:
        findings.append(
            Finding(
                Fault.CARRIER,
                f"{errors.crc_errors} CRC errors without code violations: the damage is done before our own cable",
            )
        )
    elif errors.framing_errors:
        findings.append(
            Finding(
                Fault.SETTING,
                f"{errors.framing_errors} framing errors and nothing else: the two ends frame differently "
                "(ESF or D4, CRC-4 or not)",
            )
        )
    if errors.far_crc_errors and not errors.crc_errors:
        findings.append(
            Finding(
                Fault.CABLE,
                f"{errors.far_crc_errors} CRC errors at the far end and none here: our transmit pair, or its receiver",
            )
        )
    if errors.slips:
        findings.append(_slips(errors, seconds, noisy, clock))
    if errors.hdlc_errors and not (noisy or errors.slips or errors.crc_errors):
        findings.append(
            Finding(
                Fault.SETTING,
                f"{errors.hdlc_errors} bad D-channel frames on a clean line: wrong D-channel timeslot, "
                "an inverted D channel, or a driver that loses samples",
            )
        )
    return tuple(findings)


def _slips(errors: Counters, seconds: float, noisy: bool, clock: Clock) -> Finding:
    said = f"{errors.slips} slips in {seconds:.0f} s"
    if noisy:
        return Finding(
            Fault.CABLE, f"{said}, with code violations: the clock is lost with the signal, mend the cable first"
        )
    # One slip is one frame of 125 microseconds gained or lost.
    ppm = errors.slips * 125.0 / seconds
    if clock is Clock.INTERNAL:
        return Finding(
            Fault.CLOCK,
            f"{said} ({ppm:.2f} ppm): both ends use a clock of their own; take this span's clock from the line",
        )
    return Finding(
        Fault.CLOCK,
        f"{said} ({ppm:.2f} ppm) although we follow the line: another span leads our card's clock, "
        "or the carrier's clock wanders",
    )


def explain_link(errors: Statistics, established: bool) -> tuple[Finding, ...]:
    """What the D channel's statistics (of some stretch of time) mean while layer 1 has no alarm."""
    findings: list[Finding] = []
    if errors.wrong_side:
        findings.append(
            Finding(
                Fault.SETTING,
                f"{errors.wrong_side} frames came as if from our own side: the line is looped, "
                "or both ends are set to the same side (user or network)",
            )
        )
    elif not established and errors.sabme_out and not errors.frames_in:
        findings.append(
            Finding(
                Fault.FAR_END,
                f"{errors.sabme_out} SABME and no frame came back: the D channel is not switched on at the far end, "
                "or is in another timeslot",
            )
        )
    elif not established and errors.sabme_out and errors.frames_in == errors.other_address:
        findings.append(
            Finding(Fault.SETTING, "frames come in, but for another SAPI or TEI than ours: no primary rate D channel")
        )
    elif not established and errors.sabme_out:
        findings.append(Finding(Fault.FAR_END, "the far end is there, but refuses or ignores SABME"))
    if errors.invalid:
        findings.append(
            Finding(Fault.CABLE, f"{errors.invalid} frames too short or broken: bit errors or lost samples")
        )
    lost = errors.retransmissions + errors.out_of_sequence
    if lost and lost * 100 > errors.frames_in + errors.frames_out:
        findings.append(
            Finding(Fault.CABLE, f"{lost} frames lost of {errors.frames_in + errors.frames_out}: bit errors or slips")
        )
    return tuple(findings)
