"""Transfer, hold and direct media through the whole switch: between SIP and telephone lines, and each among itself."""

from __future__ import annotations

from gateway import leg as words
from gateway.cause import Cause
from gateway.identity import Number, Party
from gateway.media.api import Direction
from gateway.media.wire import Kind
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request
from gateway.voip.sip.peers import DtmfMode
from tests.simulation.voice import Stream
from tests.unit.branch_scene import Ear, Scene

ROUTES = """
[[route]]
context = "from-pstn"
match = "_4X."
to = ["sip:hq/{number}"]

[[route]]
context = "from-hq"
match = "_9."
to = ["pri:g0/{number:1}"]

[[route]]
context = "from-hq"
match = "_7X."
to = ["sip:hq/{number}"]
"""


def scene(**trunk: object) -> Scene:
    return Scene(routes=ROUTES, trunk={"allowtransfer": True, **trunk})


def far_leg(ear: Ear) -> SipLeg:
    assert isinstance(ear.leg, SipLeg)
    return ear.leg


def refer(scene: Scene, ear: Ear, to: str) -> None:
    session = far_leg(ear).session
    assert session is not None
    assert session.send("REFER", scene.now, [("Refer-To", f"<{to}>"), ("Contact", session.contact)]) is not None
    scene.settle()


def partner(scene: Scene, kind: Kind) -> list[Kind]:
    """What the gateway's streams of ``kind`` are wired to."""
    streams = scene.media.wiring.streams.values()
    found: list[Stream | None] = [scene.media.wiring.peer_of(each) for each in streams if each.kind is kind]
    return [each.kind for each in found if each is not None]


def connected_to_pstn(scene: Scene) -> tuple[Ear, Ear]:
    """The PSTN called the SIP side: the ears of both."""
    caller = scene.at_pstn(words.Setup(Number("4165550101"), Party(Number("2125550001"))))
    scene.run(1)
    return caller, scene.ears[-1]


def test_a_call_from_the_line_is_sent_to_another_number_of_the_line() -> None:
    branch = scene()
    taken = branch.take_calls("pstn")
    caller, phone = connected_to_pstn(branch)
    refer(branch, phone, "sip:95551234@10.0.0.1")
    branch.run(1)
    (target,) = taken
    assert target.offered is not None
    assert target.offered.setup.called.digits == "5551234"
    assert target.offered.setup.caller.number is not None
    assert target.offered.setup.caller.number.digits == "2125550001"
    target.leg.alert(False, branch.now)
    branch.run(1)
    # Whoever waits hears it ring.
    assert partner(branch, Kind.TDM) == [Kind.TONE]
    target.leg.answer(None, branch.now)
    branch.run(1)
    assert phone.released is not None
    assert partner(branch, Kind.TDM) == [Kind.TDM, Kind.TDM]
    assert caller.released is None
    target.leg.release(Cause.NORMAL_CALL_CLEARING, branch.now)
    branch.run(2)
    assert caller.released is not None
    (record,) = branch.records
    (transfer,) = record.transfers
    assert (transfer.kind, transfer.by, transfer.number) == ("blind", "hq", "5551234")
    assert transfer.leg["technology"] == "pri"
    assert record.attempts[0].leg["technology"] == "sip"
    assert [body.partition(b"\r\n")[0] for body in notified(branch)] == [
        b"SIP/2.0 100 Trying",
    ]
    branch.assert_clean()


def test_a_call_that_was_sent_out_again_is_one_of_the_peers_at_once() -> None:
    branch = scene(call_limit=1)
    taken = branch.take_calls("pstn")
    caller, phone = connected_to_pstn(branch)
    refer(branch, phone, "sip:95551234@10.0.0.1")
    branch.run(1)
    (target,) = taken
    target.leg.answer(None, branch.now)
    branch.run(1)
    assert phone.released is not None
    # Nobody of its own is in that call any more, but it goes on, from line to line.
    again = branch.from_sip("95551235")
    branch.run(1)
    assert again.released is not None
    assert again.released.cause is Cause.CALL_REJECTED
    caller.leg.release(Cause.NORMAL_CALL_CLEARING, branch.now)
    branch.run(2)
    assert branch.from_sip("95551235").released is None
    branch.run(1)
    assert len(taken) == 2


def notified(branch: Scene) -> list[bytes]:
    return [notify.body for notify in branch.sent("NOTIFY")]


def test_who_may_not_transfer_is_declined_and_nothing_happens() -> None:
    branch = scene(allowtransfer=False)
    taken = branch.take_calls("pstn")
    caller, phone = connected_to_pstn(branch)
    refer(branch, phone, "sip:95551234@10.0.0.1")
    branch.run(1)
    assert branch.sent(603)
    assert not taken
    assert caller.released is None and phone.released is None


def test_a_trunk_sends_nobody_where_its_context_does_not_lead() -> None:
    branch = scene()
    taken = branch.take_calls("pstn")
    caller, phone = connected_to_pstn(branch)
    refer(branch, phone, "sip:0115551234@10.0.0.1")
    branch.run(1)
    assert not taken
    assert caller.released is None and phone.released is None
    assert partner(branch, Kind.TDM) == [Kind.RTP]
    assert notified(branch)[-1].startswith(b"SIP/2.0 404")


def test_a_call_from_the_line_is_joined_with_the_phones_other_call() -> None:
    branch = scene()
    taken = branch.take_calls("pstn")
    caller, phone = connected_to_pstn(branch)
    consultation = branch.from_sip("95551234")
    branch.run(1)
    (target,) = taken
    target.leg.answer(None, branch.now)
    branch.run(1)
    dialog = far_leg(consultation).session
    assert dialog is not None
    key = dialog.dialog
    replaces = f"{key.call_id}%3Bto-tag%3D{key.remote_tag}%3Bfrom-tag%3D{key.local_tag}"
    refer(branch, phone, f"sip:95551234@10.0.0.1?Replaces={replaces}")
    branch.run(2)
    assert phone.released is not None and consultation.released is not None
    assert caller.released is None and target.released is None
    assert partner(branch, Kind.TDM) == [Kind.TDM, Kind.TDM]
    # Each is told to whom it talks now.
    assert any(isinstance(event, words.Identified) for event in caller.events)
    assert [record.released_by for record in branch.records] == ["transfer"]
    caller.leg.release(Cause.NORMAL_CALL_CLEARING, branch.now)
    branch.run(2)
    assert target.released is not None
    assert len(branch.records) == 2
    assert branch.records[1].transfers[0].kind == "attended"
    branch.assert_clean()


def test_an_invite_with_replaces_takes_the_call_over() -> None:
    branch = scene()
    caller, phone = connected_to_pstn(branch)
    session = far_leg(phone).session
    assert session is not None
    key = session.dialog
    replaces = f"{key.call_id};to-tag={key.remote_tag};from-tag={key.local_tag}"
    leg = branch.far.new_leg("gateway", branch.now)
    assert isinstance(leg, SipLeg)
    ear = Ear(leg)
    leg.listener = ear
    leg.place(words.Setup(Number("4165550101")), branch.now)
    invite = leg.outgoing
    assert invite is not None
    send = branch.far.outbound.request

    def replacing(request: Request, *rest: object, **named: object) -> object:
        # Our own calling side asks for no place: here it does.
        request.headers.add("Replaces", replaces)
        return send(request, *rest, **named)  # type: ignore[arg-type]

    branch.far.outbound.request = replacing  # type: ignore[assignment,method-assign]
    branch.settle()
    branch.far.outbound.request = send  # type: ignore[method-assign]
    branch.run(2)
    assert any(isinstance(event, words.Answered) for event in ear.events)
    assert phone.released is not None
    assert caller.released is None
    ear.leg.release(Cause.NORMAL_CALL_CLEARING, branch.now)
    branch.run(2)
    assert caller.released is not None
    (record,) = branch.records
    assert record.transfers[0].kind == "replaces"
    branch.assert_clean()


def test_the_line_hears_the_hold_tone_and_is_told() -> None:
    branch = scene()
    caller, phone = connected_to_pstn(branch)
    phone.leg.hold(branch.now)
    branch.run(1)
    assert any(isinstance(event, words.Held) for event in caller.events)
    assert partner(branch, Kind.TDM) == [Kind.TONE]
    phone.leg.resume(branch.now)
    branch.run(1)
    assert any(isinstance(event, words.Resumed) for event in caller.events)
    assert partner(branch, Kind.TDM) == [Kind.RTP]
    phone.leg.release(Cause.NORMAL_CALL_CLEARING, branch.now)
    branch.assert_clean()


def remote_ends(branch: Scene) -> set[tuple[str, int]]:
    """Where the far end sends its voice to."""
    streams = branch.far_media.wiring.streams.values()
    return {each.remote for each in streams if each.remote is not None}


def direct_call(branch: Scene) -> tuple[Ear, Ear]:
    one = branch.from_sip("7001")
    branch.run(3)
    other = branch.ears[-1]
    assert other is not one
    return one, other


def test_voice_of_two_sip_sides_goes_around_the_gateway_until_one_holds() -> None:
    branch = scene(directmedia="yes")
    one, other = direct_call(branch)
    assert {address for address, _ in remote_ends(branch)} == {"10.0.0.2"}
    settings = [each.settings for each in branch.media.wiring.streams.values()]
    assert [each.direction for each in settings if each is not None] == [Direction.INACTIVE] * 2
    one.leg.hold(branch.now)
    branch.run(3)
    assert {address for address, _ in remote_ends(branch)} == {"10.0.0.1"}
    assert Kind.TONE in [each.kind for each in branch.media.wiring.streams.values()]
    one.leg.resume(branch.now)
    branch.run(6)
    assert {address for address, _ in remote_ends(branch)} == {"10.0.0.2"}
    other.leg.release(Cause.NORMAL_CALL_CLEARING, branch.now)
    branch.run(2)
    (record,) = branch.records
    assert record.incoming["direct_media"] is True
    branch.assert_clean()


def test_a_call_that_went_directly_is_transferred_to_the_line() -> None:
    branch = scene(directmedia="yes")
    taken = branch.take_calls("pstn")
    one, other = direct_call(branch)
    refer(branch, other, "sip:95551234@10.0.0.1")
    branch.run(3)
    (target,) = taken
    target.leg.answer(None, branch.now)
    branch.run(3)
    assert other.released is not None
    assert partner(branch, Kind.TDM) == [Kind.RTP]
    assert {address for address, _ in remote_ends(branch)} == {"10.0.0.1"}
    one.leg.release(Cause.NORMAL_CALL_CLEARING, branch.now)
    branch.run(2)
    assert target.released is not None
    branch.assert_clean()


def test_with_directrtpsetup_nobody_is_told_twice() -> None:
    branch = Scene(routes=ROUTES, trunk={"directmedia": "yes"}, sip="directrtpsetup = true")
    one, other = direct_call(branch)
    assert {address for address, _ in remote_ends(branch)} == {"10.0.0.2"}
    assert len(branch.sent("INVITE")) == 1
    other.leg.hold(branch.now)
    branch.run(3)
    assert {address for address, _ in remote_ends(branch)} == {"10.0.0.1"}
    one.leg.release(Cause.NORMAL_CALL_CLEARING, branch.now)
    branch.run(2)
    assert branch.records[0].incoming["direct_media"] is True
    branch.assert_clean()


def test_with_directrtpsetup_a_called_side_with_another_codec_is_told_again() -> None:
    branch = Scene(
        routes=ROUTES,
        trunk={"directmedia": "yes"},
        sip="directrtpsetup = true",
        far={"dtmfmode": DtmfMode.INBAND},
    )
    one, _ = direct_call(branch)
    assert len({address for address, _ in remote_ends(branch)}) == 1
    one.leg.release(Cause.NORMAL_CALL_CLEARING, branch.now)
    branch.assert_clean()
