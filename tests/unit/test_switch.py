"""The whole product as a core, between an exchange and a SIP far end in virtual time."""

from __future__ import annotations

import pytest

from gateway.cause import Cause
from gateway.core import MILLISECOND, SECOND
from gateway.identity import (
    Number,
    NumberingPlan,
    Party,
    Presentation,
    Redirection,
    RedirectionReason,
    Screening,
    TypeOfNumber,
)
from gateway.leg import Answered, Progress
from gateway.media import api
from gateway.media.wire import Kind
from gateway.pri.channels import Block
from gateway.pri.span.layer1 import Alarm
from gateway.switchboard import ENGINE_WAIT
from tests.unit.branch_scene import ROUTES, Scene

CALLER = Number("2125551234", TypeOfNumber.NATIONAL, NumberingPlan.ISDN, screening=Screening.NETWORK)
TWO_SPANS = {"one": {"timeslots": "1-2"}, "two": {"timeslots": "1-2"}}


def heard_by(scene: Scene, kind: Kind) -> str:
    """What the gateway's only stream of ``kind`` is wired to."""
    wiring = scene.media.wiring
    stream = next(stream for stream in wiring.streams.values() if stream.kind is kind)
    peer = wiring.peer_of(stream)
    return "silence" if peer is None else peer.kind.name


# -- both ways, from beginning to end --


def test_a_call_from_the_pstn_is_wired_recorded_and_leaves_nothing() -> None:
    scene = Scene()
    report = scene.from_pstn()
    scene.run(1)
    assert heard_by(scene, Kind.TDM) == "RTP"
    scene.exchanges["pstn"].hang_up(report.call, scene.now)
    scene.run(1)
    record = scene.records[0]
    assert (record.dialled, record.cause, record.released_by) == ("4165550101", 16, "caller")
    assert "media" in record.incoming
    assert "media" in record.attempts[0].leg
    scene.assert_clean()
    assert len(scene.records) == 1


@pytest.mark.parametrize("switch_type", ["euroisdn", "ni2"])
@pytest.mark.parametrize("side", ["user", "network"])
def test_calls_go_both_ways_on_either_side_of_either_line(switch_type: str, side: str) -> None:
    line = "e1" if switch_type == "euroisdn" else "t1"
    scene = Scene({"pstn": {"line": line, "switch_type": switch_type, "side": side}})
    scene.from_pstn(hold=500)
    scene.run(2)
    assert scene.ended.answered is not None
    ear = scene.from_sip("95550106")
    scene.run(1)
    assert len(ear.of(Answered)) == 1
    ear.leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(1)
    assert [record.cause for record in scene.records] == [16, 16]
    scene.assert_clean()


def test_an_unknown_number_from_the_pstn_gets_cause_1_at_once_and_a_record() -> None:
    scene = Scene()
    begun = scene.now
    scene.from_pstn("4169999999")
    scene.run(0.1)
    report = scene.ended
    assert report.cause is Cause.UNALLOCATED_NUMBER
    assert report.ended is not None and report.ended - begun < 10 * MILLISECOND
    scene.run(1)
    assert [(record.dialled, record.cause) for record in scene.records] == [("4169999999", 1)]
    scene.assert_clean()


def test_an_unknown_number_from_sip_gets_404() -> None:
    scene = Scene()
    ear = scene.from_sip("123")
    scene.run(1)
    assert ear.released is not None and ear.released.cause is Cause.UNALLOCATED_NUMBER
    assert scene.sent(404)
    scene.assert_clean()


# -- identities --


def test_calling_number_name_and_redirection_reach_sip() -> None:
    scene = Scene()
    redirection = Redirection(Number("4165550777", TypeOfNumber.NATIONAL), RedirectionReason.BUSY)
    scene.from_pstn(caller=Party(CALLER, "JANE DOE"), redirection=redirection)
    scene.run(1)
    invite = scene.sent("INVITE")[0]
    asserted = invite.headers.get("p-asserted-identity") or ""
    assert "JANE DOE" in asserted and "2125551234" in asserted
    diversion = invite.headers.get("diversion") or ""
    assert "4165550777" in diversion and "reason=user-busy" in diversion
    setup = scene.ears[0].offered
    assert setup is not None and setup.setup.caller.name == "JANE DOE"


def test_a_restricted_caller_stays_unknown_to_sip_but_for_the_trusted() -> None:
    caller = Party(Number("2125551234", presentation=Presentation.RESTRICTED, screening=Screening.NETWORK), None)
    for trusted in (True, False):
        scene = Scene(trunk={"trustrpid": trusted})
        scene.from_pstn(caller=caller)
        scene.run(1)
        invite = scene.sent("INVITE")[0]
        assert "anonymous" in (invite.headers.get("from") or "")
        assert ("2125551234" in invite.to_bytes().decode()) is trusted
        if trusted:
            assert "id" in (invite.headers.get("privacy") or "")


def test_caller_type_of_number_and_presentation_reach_the_pstn() -> None:
    scene = Scene()
    number = Number("12125551234", TypeOfNumber.INTERNATIONAL, presentation=Presentation.RESTRICTED)
    scene.from_sip("95550106", Party(number, "Jane"))
    scene.run(1)
    caller = scene.reports["pstn"][0].report.caller_party.number
    assert caller is not None
    assert (caller.digits, caller.type) == ("12125551234", TypeOfNumber.INTERNATIONAL)
    assert caller.presentation is Presentation.RESTRICTED


def test_a_redirecting_number_of_sip_reaches_the_pstn() -> None:
    scene = Scene()
    scene.from_sip("95550106", redirection=Redirection(Number("4165550777"), RedirectionReason.NO_REPLY))
    scene.run(1)
    redirection = scene.reports["pstn"][0].report.redirection
    assert redirection is not None
    assert (redirection.number.digits, redirection.reason) == ("4165550777", RedirectionReason.NO_REPLY)


def test_the_connected_number_goes_both_ways() -> None:
    scene = Scene()
    scene.on_call = lambda leg, setup: leg.answer(Party(Number("4165550188"), "Reception"), scene.now)
    report = scene.from_pstn()
    scene.run(1)
    assert report.connected is not None and report.connected.number is not None
    assert report.connected.number.digits == "4165550188"
    ear = scene.from_sip("95550106")
    scene.run(1)
    connected = ear.of(Answered)[0].connected
    assert connected is not None and connected.number is not None
    assert connected.number.digits == "5550106"


def test_callerid_of_a_trunk_stands_before_what_it_says() -> None:
    scene = Scene(trunk={"callerid": "Head office <4165550000>"})
    scene.from_sip("95550106")
    scene.run(1)
    assert scene.reports["pstn"][0].report.caller == "4165550000"
    assert next(iter(scene.switch.calls.values())).setup.caller.name == "Head office"


def test_prefixes_stand_for_types_of_number() -> None:
    scene = Scene({"pstn": {"internationalprefix": "011", "nationalprefix": "1"}})
    scene.from_pstn("4165550101", caller=Party(Number("442071234567", TypeOfNumber.INTERNATIONAL)))
    scene.run(1)
    offered = scene.ears[0].offered
    assert offered is not None and offered.setup.caller.number is not None
    assert offered.setup.caller.number.digits == "011442071234567"


# -- causes --


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (404, 1), (410, 22), (480, 18), (486, 17), (484, 28), (408, 102), (403, 21), (603, 21), (600, 17), (604, 1),
        (503, 41), (500, 41), (502, 38), (504, 102), (400, 41),
    ],
)  # fmt: skip
def test_sip_failures_reach_the_pstn_as_rfc_3398_says(status: int, cause: int) -> None:
    scene = Scene()

    def refuse(leg: object, setup: object) -> None:
        leg.incoming.refuse_with(status, scene.now)  # type: ignore[attr-defined]

    scene.on_call = refuse
    scene.from_pstn()
    scene.run(1)
    assert int(scene.ended.cause or 0) == cause


def test_a_reason_goes_before_the_status() -> None:
    scene = Scene()
    scene.on_call = lambda leg, setup: leg.release(Cause.NUMBER_CHANGED, scene.now)
    scene.from_pstn()
    scene.run(1)
    assert scene.ended.cause is Cause.NUMBER_CHANGED


def test_an_operators_cause_rules_hold_both_ways() -> None:
    rules = '[[cause]]\ncause = 17\nto_sip = 600\n[[cause]]\ncause = "call_rejected"\nfrom_sip = [480]\n'
    scene = Scene(extra=rules)
    scene.from_sip("95550102")
    scene.run(1)
    assert scene.sent(600)


def test_a_tone_set_for_a_cause_is_heard_by_the_caller_before_the_end() -> None:
    scene = Scene(extra='[[cause]]\ncause = 1\ntone = "special_information"\n')
    report = scene.from_pstn("4169999999")
    scene.run(1)
    assert heard_by(scene, Kind.TDM) == "TONE"
    assert "progress in-band" in report.progress
    scene.run(25)
    assert scene.ended.cause is Cause.UNALLOCATED_NUMBER
    scene.assert_clean()
    assert [record.cause for record in scene.records] == [1]


# -- who hears what before the answer --


def test_a_pstn_caller_hears_our_ringing_tone_and_is_told_so() -> None:
    scene = Scene()
    scene.on_call = lambda leg, setup: leg.alert(False, scene.now)
    report = scene.from_pstn()
    scene.run(1)
    assert report.progress[-1] == "alerting in-band"
    assert heard_by(scene, Kind.TDM) == "TONE"


def test_early_media_of_sip_is_heard_and_our_tone_makes_way() -> None:
    scene = Scene()
    scene.on_call = lambda leg, setup: leg.progress(True, scene.now)
    report = scene.from_pstn()
    scene.run(1)
    assert report.progress[-1] == "progress in-band"
    assert heard_by(scene, Kind.TDM) == "RTP"


def test_ringing_after_early_media_without_voice_is_not_silence() -> None:
    scene = Scene()

    def early_then_ring(leg: object, setup: object) -> None:
        leg.progress(True, scene.now)  # type: ignore[attr-defined]
        leg.alert(False, scene.now)  # type: ignore[attr-defined]

    scene.on_call = early_then_ring
    scene.from_pstn()
    scene.run(1)
    assert heard_by(scene, Kind.TDM) in ("TONE", "RTP")
    stream = next(s.number for s in scene.media.wiring.streams.values() if s.kind is Kind.RTP)
    scene.switch.media_event(api.FirstPacket(stream), scene.now)
    scene.settle()
    assert heard_by(scene, Kind.TDM) == "RTP"


def test_an_announcement_of_the_pstn_reaches_sip_as_early_media() -> None:
    scene = Scene()
    ear = scene.from_sip("95550105")
    scene.run(1)
    assert [event.inband for event in ear.of(Progress)] == [True]
    assert scene.sent(183)[0].body
    assert heard_by(scene, Kind.TDM) == "RTP"


def test_an_answer_without_ringing_is_wired() -> None:
    scene = Scene()
    scene.from_sip("95550112")
    scene.run(1)
    assert heard_by(scene, Kind.TDM) == "RTP"


# -- ways, groups, limits --


def channels_used(hunt: str, count: int) -> list[tuple[object, object]]:
    routes = f'[[route]]\ncontext = "from-hq"\nmatch = "_9."\nto = ["pri:{hunt}0/{{number:1}}"]\n'
    scene = Scene(TWO_SPANS, routes=routes + ROUTES.split('[[route]]\ncontext = "from-hq"')[0])
    for _ in range(count):
        scene.from_sip("95550106")
        scene.run(0.2)
    calls = scene.switch.calls.values()
    records = [call.outgoing.record() for call in calls if call.outgoing is not None]
    return [(record["trunk"], record["channel"]) for record in records]


@pytest.mark.parametrize(
    ("hunt", "expected"),
    [
        ("g", [("one", 1), ("one", 2), ("two", 1), ("two", 2)]),
        ("G", [("two", 2), ("two", 1), ("one", 2), ("one", 1)]),
        ("r", [("one", 1), ("one", 2), ("two", 1), ("two", 2)]),
        ("R", [("two", 2), ("two", 1), ("one", 2), ("one", 1)]),
    ],
)
def test_a_group_is_hunted_over_all_its_spans(hunt: str, expected: list[tuple[str, int]]) -> None:
    assert channels_used(hunt, 4) == expected


def test_round_robin_goes_on_where_it_was_although_channels_are_free_again() -> None:
    routes = ROUTES.replace("pri:g0", "pri:r0")
    scene = Scene(TWO_SPANS, routes=routes)
    used = []
    for _ in range(5):
        ear = scene.from_sip("95550106")
        scene.run(0.2)
        outgoing = next(iter(scene.switch.calls.values())).outgoing
        assert outgoing is not None
        used.append((outgoing.record()["trunk"], outgoing.record()["channel"]))
        ear.leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
        scene.run(1)
    assert used == [("one", 1), ("one", 2), ("two", 1), ("two", 2), ("one", 1)]


def test_a_span_that_is_down_is_passed_over_and_a_group_that_is_down_is_cause_38() -> None:
    scene = Scene(TWO_SPANS)
    scene.alarm("one", Alarm.RED)
    scene.from_sip("95550106")
    scene.run(0.5)
    assert (scene.moments("one"), scene.moments("two")) == ([], ["offered", "answered"])
    scene.alarm("two", Alarm.RED)
    scene.run(200)
    ear = scene.from_sip("95550106")
    scene.run(0.5)
    assert ear.released is not None and ear.released.cause is Cause.NETWORK_OUT_OF_ORDER
    assert scene.records[-1].cause == 38


def test_a_group_whose_channels_are_all_taken_is_cause_34() -> None:
    scene = Scene({"pstn": {"timeslots": "1"}})
    scene.from_sip("95550106")
    scene.run(0.5)
    ear = scene.from_sip("95550106")
    scene.run(0.5)
    assert ear.released is not None and ear.released.cause is Cause.NO_CIRCUIT_AVAILABLE


def test_a_failed_way_gives_place_to_the_next_but_busy_does_not() -> None:
    routes = ROUTES.replace('["sip:hq/{number}"]', '["sip:hq/{number}", "pri:g1/5550106"]')
    spans = {"pstn": {}, "other": {"group": "g1"}}
    for cause, goes_on in ((Cause.TEMPORARY_FAILURE, True), (Cause.USER_BUSY, False)):
        scene = Scene(spans, routes=routes)
        scene.on_call = lambda leg, setup, cause=cause, scene=scene: leg.release(cause, scene.now)  # type: ignore[misc]
        scene.from_pstn()
        scene.run(1)
        assert ("offered" in scene.moments("other")) is goes_on
        if not goes_on:
            assert scene.ended.cause is Cause.USER_BUSY


def test_a_call_beyond_the_limit_is_refused_and_recorded() -> None:
    scene = Scene(max_calls=1)
    scene.from_pstn()
    scene.run(1)
    ear = scene.from_sip("95550106")
    scene.run(1)
    assert ear.released is not None and ear.released.cause is Cause.SWITCHING_EQUIPMENT_CONGESTION
    assert [(record.cause, record.released_by) for record in scene.records] == [(42, "gateway")]
    assert len(scene.switch.calls) == 1


def test_emergency_call_is_taken_beyond_all_limits() -> None:
    scene = Scene(max_calls=1)
    scene.from_pstn()
    scene.run(1)
    ear = scene.from_sip("9911")
    scene.run(1)
    assert ear.released is None
    assert len(scene.switch.calls) == 2


# -- the engine and the line fail --


def test_calls_end_when_the_engine_comes_back_without_their_voice() -> None:
    scene = Scene()
    scene.from_pstn()
    scene.run(1)
    scene.switch.media_event(api.EngineLost(), scene.now)
    scene.run(1)
    assert not scene.records
    scene.media.wiring.clear()
    scene.switch.media_event(api.EngineReady(fresh=True), scene.now)
    scene.run(1)
    assert [record.cause for record in scene.records] == [int(Cause.TEMPORARY_FAILURE)]
    assert scene.records[0].notes == ("the media engine failed",)
    assert scene.ended.cause is Cause.TEMPORARY_FAILURE
    scene.from_pstn()
    scene.run(1)
    assert scene.moments().count("answered") == 2


def test_calls_go_on_when_the_engine_kept_their_streams() -> None:
    scene = Scene()
    scene.from_pstn()
    scene.run(1)
    scene.switch.media_event(api.EngineLost(), scene.now)
    scene.run(5)
    scene.switch.media_event(api.EngineReady(fresh=False), scene.now)
    scene.run(30)
    assert len(scene.switch.calls) == 1


def test_calls_do_not_wait_for_an_engine_for_ever() -> None:
    scene = Scene()
    scene.from_pstn()
    scene.run(1)
    scene.switch.media_event(api.EngineLost(), scene.now)
    scene.run(ENGINE_WAIT / SECOND + 2)
    assert [record.cause for record in scene.records] == [int(Cause.TEMPORARY_FAILURE)]


def test_a_line_that_stays_cut_clears_its_calls_with_both_sides_told() -> None:
    scene = Scene()
    scene.from_pstn()
    scene.run(1)
    scene.frames_lost = True
    scene.alarm("pstn", Alarm.RED)
    scene.run(120)
    assert len(scene.records) == 1
    assert scene.sent("BYE")
    scene.frames_lost = False
    scene.alarm("pstn", Alarm.NONE)
    scene.run(5)
    scene.assert_clean()
    scene.from_pstn()
    scene.run(1)
    assert scene.moments().count("answered") == 2


def test_the_end_of_the_program_ends_the_calls_with_both_sides_told_and_a_record_each() -> None:
    scene = Scene()
    scene.from_pstn()
    scene.run(1)
    scene.on_call = lambda _leg, _setup: None  # rings for ever
    scene.from_pstn("4165550101")
    scene.run(1)
    assert not scene.switch.quiet
    scene.switch.shut_down(scene.now)
    scene.run(until=lambda: scene.switch.quiet)
    assert scene.sent("BYE") or scene.sent("CANCEL")
    assert scene.moments().count("ended") == 2
    assert [(one.cause, one.released_by) for one in scene.records] == [(41, "gateway")] * 2
    late = scene.from_sip("95550106")
    scene.run(1)
    assert late.released is not None
    assert scene.records[-1].cause == 42


def test_a_call_whose_far_end_says_nothing_at_the_end_has_its_record_all_the_same() -> None:
    scene = Scene()
    scene.from_pstn()
    scene.run(1)
    scene.frames_lost = True
    scene.switch.shut_down(scene.now)
    scene.run(1)
    assert not scene.records
    assert not scene.switch.quiet
    scene.switch.abandon_calls(scene.now)
    scene.settle()
    assert [one.cause for one in scene.records] == [41]
    assert scene.records[0].incoming["trunk"] == "pstn"
    assert scene.records[0].incoming["channel"] == 31


def test_a_call_to_a_far_end_that_says_nothing_at_the_end_says_where_it_went() -> None:
    scene = Scene()
    scene.from_sip("95550106")
    scene.run(1)
    scene.frames_lost = True
    scene.switch.shut_down(scene.now)
    scene.run(1)
    scene.switch.abandon_calls(scene.now)
    scene.settle()
    (attempt,) = scene.records[0].attempts
    assert (attempt.cause, attempt.leg["trunk"], attempt.leg["channel"]) == (41, "pstn", 1)


def test_one_way_audio_is_noted_in_the_record() -> None:
    scene = Scene()
    report = scene.from_pstn()
    scene.run(1)
    stream = next(s.number for s in scene.media.wiring.streams.values() if s.kind is Kind.RTP)
    scene.switch.media_event(api.WentSilent(stream, 2000), scene.now)
    scene.exchanges["pstn"].hang_up(report.call, scene.now)
    scene.run(1)
    assert scene.records[0].one_way


@pytest.mark.parametrize("side", ["user", "network"])
def test_a_call_made_while_the_channels_are_still_being_restarted_goes_on(side: str) -> None:
    scene = Scene({"pstn": {"line": "t1", "switch_type": "ni2", "side": side}}, up=False)
    scene.alarm("pstn", Alarm.NONE)
    scene.run(5, until=lambda: scene.switch.trunks["pstn"].up and scene.exchanges["pstn"].trunk.up)
    report = scene.from_pstn()
    scene.run(10)
    assert report.answered is not None and report.ended is None
    assert len(scene.switch.calls) == 1


def test_what_a_media_reply_sets_off_happens_when_it_came() -> None:
    scene = Scene()
    report = scene.from_pstn()
    scene.run(5)
    scene.exchanges["pstn"].hang_up(report.call, scene.now)
    begun = scene.now
    scene.run(1)
    assert scene.ended_at >= begun


# -- calls that never got anywhere have a record too --


def test_a_pstn_call_without_a_channel_for_it_is_recorded_with_its_numbers_and_cause() -> None:
    scene = Scene()
    scene.switch.trunks["pstn"].channels.block(Block.LOCAL)
    scene.from_pstn("4165550102")
    scene.run(1)
    (record,) = scene.records
    assert (record.dialled, record.cause, record.released_by) == ("4165550102", 44, "gateway")
    assert record.caller["number"] == "4165550199"
    assert record.incoming == {"technology": "pri", "trunk": "pstn", "direction": "in"}


def test_an_invite_for_no_number_is_recorded_and_answered_404() -> None:
    scene = Scene()
    ear = scene.from_sip("not-a-number")
    scene.run(1)
    assert ear.released is not None
    (record,) = scene.records
    assert record.cause == Cause.UNALLOCATED_NUMBER
    assert record.notes == ("INVITE for sip:not-a-number@10.0.0.1 refused: 404",)


# -- when the switch wants to be called --


def test_a_frame_that_is_lost_amid_traffic_is_repeated_after_t200_and_not_later() -> None:
    scene = Scene()
    for _ in range(3):
        scene.from_pstn()
        scene.run(0.1)
    link = scene.switch.trunks["pstn"].lapd
    scene.frames_lost = True
    sent = scene.now
    scene.from_sip("9" + "5550112")
    scene.run(2, until=lambda: link.t200_at is not None)
    due = link.t200_at
    assert due is not None
    assert sent < due <= scene.now + SECOND
    scene.run(2, until=lambda: link.statistics.t200_expiries > 0)
    assert scene.now == due


def test_an_idle_switch_is_called_for_the_timers_of_its_idle_links_only() -> None:
    scene = Scene()
    report = scene.from_pstn()
    scene.run(1)
    scene.exchanges["pstn"].hang_up(report.call, scene.now)
    scene.run(120)
    times = []
    end = scene.now + 60 * SECOND
    while (at := scene.switch.next_timer()) is not None and at < end:
        times.append(at)
        scene.run((at - scene.now) / SECOND)
    # T203 of 10 s, or the exchange's enquiry before it, and one audit a minute.
    assert 1 <= len(times) <= 16


def test_a_channel_without_voice_ends_its_call_at_once() -> None:
    scene = Scene()
    scene.from_pstn()
    scene.run(0.15)
    leg = next(iter(scene.switch.trunks["pstn"].legs.values()))
    leg._opened(api.Failure(2, "no such channel"))
    scene.settle()
    # Before the switch would look after a trunk with traffic anyway.
    scene.run(0.1)
    assert scene.records[0].cause == Cause.TEMPORARY_FAILURE
