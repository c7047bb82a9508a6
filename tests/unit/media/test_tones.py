"""Call-progress tones: the figures of some countries, completeness of all, and what a cause sounds like."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.cause_map import CauseRules
from gateway.media.api import Tone, ToneStep
from gateway.media.tones import COUNTRIES, MILLIWATT, TONE_NAMES, parse_tone, tone_for_cause, tones_for


def steps(tone: Tone) -> list[tuple[tuple[int, ...], int]]:
    return [(step.frequencies, step.milliseconds) for step in tone.steps]


def test_figures_of_north_america() -> None:
    tones = tones_for("us")
    assert steps(tones.dial) == [((350, 440), 0)]
    assert steps(tones.ringback) == [((440, 480), 2000), ((), 4000)]
    assert steps(tones.busy) == [((480, 620), 500), ((), 500)]
    assert steps(tones.congestion) == [((480, 620), 250), ((), 250)]
    assert steps(tones.special_information) == [((950,), 330), ((1400,), 330), ((1800,), 330), ((), 1000)]
    assert tones == tones_for("ca")


def test_figures_of_britain_and_germany() -> None:
    assert steps(tones_for("gb").ringback) == [((400, 450), 400), ((), 200), ((400, 450), 400), ((), 2000)]
    assert steps(tones_for("gb").unobtainable) == [((400,), 0)]
    assert steps(tones_for("de").busy) == [((425,), 480), ((), 480)]
    assert steps(tones_for("de").unobtainable) == steps(tones_for("de").special_information)


def test_modulation_is_given_by_its_side_frequencies() -> None:
    assert parse_tone("400*25:400 0:200") == Tone((ToneStep((375, 425), 400), ToneStep((), 200)))


@pytest.mark.parametrize("country", sorted(COUNTRIES))
def test_every_country_has_every_tone_in_the_engine_s_limits(country: str) -> None:
    tones = tones_for(country)
    for name in TONE_NAMES:
        tone = tones.named(name)
        assert 1 <= len(tone.steps) <= 16
        assert tone.repeat_from == 0
        assert any(step.frequencies for step in tone.steps)
        for step in tone.steps:
            assert len(step.frequencies) <= 4
            assert all(300 <= frequency <= 3400 for frequency in step.frequencies)
            assert 10 <= step.milliseconds <= 20_000 or (step.milliseconds == 0 and len(tone.steps) == 1)


@pytest.mark.parametrize("country", sorted(COUNTRIES))
def test_a_tone_that_tells_an_end_has_a_rhythm_of_its_own_against_ringing(country: str) -> None:
    tones = tones_for(country)
    assert tones.ringback not in (tones.busy, tones.congestion, tones.special_information, tones.unobtainable)


def test_there_are_about_twenty_countries_or_more() -> None:
    assert len(COUNTRIES) >= 20
    assert {"us", "ca", "gb", "de", "fr", "it", "es", "nl", "au", "in", "jp"} <= COUNTRIES


def test_unknown_country_and_unknown_tone_are_key_errors() -> None:
    with pytest.raises(KeyError):
        tones_for("xx")
    with pytest.raises(KeyError):
        tones_for("us").named("for_cause")


@pytest.mark.parametrize("cause", Cause)
def test_busy_tone_is_for_a_busy_user_and_a_normal_end_only(cause: Cause) -> None:
    assert (tone_for_cause(cause) == "busy") is (cause in (Cause.USER_BUSY, Cause.NORMAL_CALL_CLEARING))
    assert tone_for_cause(cause) in TONE_NAMES


def test_cause_to_tone() -> None:
    tones = tones_for("gb")
    assert tones.for_cause(Cause.USER_BUSY) == tones.busy
    assert tones.for_cause(Cause.NO_CIRCUIT_AVAILABLE) == tones.congestion
    assert tones.for_cause(Cause.UNALLOCATED_NUMBER) == tones.unobtainable
    assert tones.for_cause(Cause.NUMBER_CHANGED) == tones.special_information


def test_operator_can_change_a_tone() -> None:
    rules = CauseRules(tone={Cause.CALL_REJECTED: "busy"})
    assert tone_for_cause(Cause.CALL_REJECTED, rules) == "busy"
    assert tone_for_cause(Cause.CALL_REJECTED) == "congestion"


def test_milliwatt_is_one_milliwatt_at_1004_hertz_for_ever() -> None:
    assert Tone((ToneStep((1004,), 0, 0.0),)) == MILLIWATT
