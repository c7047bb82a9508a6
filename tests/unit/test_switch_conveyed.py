"""What ends and networks tell each other goes through the product: PRI to PRI, PRI to SIP and SIP to PRI."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.cause import Cause, Location
from gateway.identity import Number, NumberingPlan, Party, Presentation, Screening, TypeOfNumber
from gateway.leg import Alerting, Answered, Bearer, Conveyed, Interworking, Met, Notified, Progress, Setup
from gateway.pri.leg import PriLeg
from gateway.pri.q931.ie import (
    CalledPartySubaddress,
    CallingPartyNumber,
    HighLayerCompatibility,
    ProgressIndicator,
    UserUser,
)
from gateway.pri.q931.message import Message, MessageType
from gateway.voip.sip.message import Request
from tests.unit.branch_scene import ROUTES, Ear, Scene

TANDEM = """
[[route]]
context = "from-pstn"
match = "_8."
to = ["pri:g1/{number:1}"]

[[route]]
context = "from-pbx"
match = "_9."
to = ["pri:g0/{number:1}"]
"""
PBX = {"side": "network", "group": "g1", "context": "from-pbx"}
SUBADDRESS = b"\x80\x50" + b"4711"
ACCESS = Conveyed(
    calling_subaddress=b"\x80\x5012",
    called_subaddress=SUBADDRESS,
    low_layer=b"\x88\x90",
    high_layer=b"\x91\x81",
    user_user=b"\x04hello",
)


def tandem(**pbx: object) -> Scene:
    return Scene({"pstn": {}, "pbx": {**PBX, **pbx}}, routes=ROUTES + TANDEM)


def listen(scene: Scene, span: str) -> list[Message]:
    """The messages that the exchange of ``span`` gets from the gateway."""
    heard: list[Message] = []

    def trace(sent: bool, message: Message) -> None:
        if not sent:
            heard.append(message)

    scene.exchanges[span].trunk.trace(trace)
    return heard


def of_kind(messages: list[Message], kind: MessageType) -> Message:
    return next(message for message in messages if message.message_type is kind)


def indicators(message: Message) -> list[int]:
    return [int(element.description) for element in message.all(ProgressIndicator)]


# -- PRI to PRI --


@pytest.mark.parametrize("bearer", list(Bearer))
@pytest.mark.parametrize("line", [("e1", "euroisdn"), ("t1", "ni2")])
def test_bearer_goes_from_line_to_line_in_the_law_of_the_second(bearer: Bearer, line: tuple[str, str]) -> None:
    scene = tandem(line=line[0], switch_type=line[1])
    taken = scene.take_calls("pbx")
    scene.at_pstn(Setup(Number("8200"), bearer=bearer))
    scene.run(1)
    offered = taken[0].offered
    assert offered is not None
    assert offered.setup.bearer is bearer


def test_access_information_of_a_call_goes_from_line_to_line_to_the_octet() -> None:
    scene = tandem()
    taken = scene.take_calls("pbx")
    caller = scene.at_pstn(Setup(Number("8200"), conveyed=ACCESS))
    scene.run(1)
    offered = taken[0].offered
    assert offered is not None
    assert offered.setup.conveyed == ACCESS
    answer = Conveyed(subaddress=SUBADDRESS, low_layer=b"\x88\x90", high_layer=b"\x91\x81", user_user=b"\x04ok")
    taken[0].leg.alert(False, scene.now, Conveyed(high_layer=b"\x91\x81", user_user=b"\x04ring"))
    scene.run(0.1)
    taken[0].leg.answer(Party(Number("200")), scene.now, answer)
    scene.run(1)
    (alerting,) = caller.of(Alerting)
    assert alerting.conveyed == Conveyed(high_layer=b"\x91\x81", user_user=b"\x04ring")
    (answered,) = caller.of(Answered)
    assert answered.conveyed == answer


@pytest.mark.parametrize(("side", "numbers"), [("network", 2), ("user", 1)])
def test_both_calling_numbers_go_to_a_user_and_only_the_callers_own_to_a_network(side: str, numbers: int) -> None:
    scene = tandem(side=side)
    heard = listen(scene, "pbx")
    scene.at_pstn(Setup(Number("8200"), TWO_NUMBERS))
    scene.run(1)
    found = of_kind(heard, MessageType.SETUP).all(CallingPartyNumber)
    assert [one.digits for one in found] == ["4165550199", "4165550100"][:numbers]


OWN = Number("4165550199", TypeOfNumber.NATIONAL, NumberingPlan.ISDN)
NETWORK = Number("4165550100", TypeOfNumber.NATIONAL, NumberingPlan.ISDN, screening=Screening.NETWORK)
TWO_NUMBERS = Party(OWN, network=NETWORK)


@pytest.mark.parametrize("interworking", [Interworking.NOT_END_TO_END, Interworking.DESTINATION_NOT_ISDN])
@pytest.mark.parametrize("moment", ["proceeding", "progress", "alert", "answer"])
def test_what_a_call_met_on_its_way_goes_back_to_the_calling_line(interworking: Interworking, moment: str) -> None:
    scene = tandem()
    taken = scene.take_calls("pbx")
    heard = listen(scene, "pstn")
    scene.at_pstn(Setup(Number("8200")))
    scene.run(0.1)
    told = Conveyed((Met(interworking, Location.PUBLIC_REMOTE),))
    leg = taken[0].leg
    assert isinstance(leg, PriLeg)
    speak: dict[str, Callable[[], object]] = {
        "proceeding": lambda: leg.call.proceeding((ProgressIndicator(interworking, Location.PUBLIC_REMOTE),)),
        "progress": lambda: taken[0].leg.progress(False, scene.now, None, told),
        "alert": lambda: taken[0].leg.alert(False, scene.now, told),
        "answer": lambda: taken[0].leg.answer(None, scene.now, told),
    }
    speak[moment]()
    scene.run(0.1)
    # CALL PROCEEDING went out before: what comes with the other line's is PROGRESS here.
    kind = {"alert": MessageType.ALERTING, "answer": MessageType.CONNECT}.get(moment, MessageType.PROGRESS)
    found = [one for one in of_kind(heard, kind).all(ProgressIndicator) if one.description == interworking]
    assert [one.location for one in found] == [Location.PUBLIC_REMOTE]


def test_origin_outside_isdn_is_told_to_the_called_line() -> None:
    scene = tandem()
    taken = scene.take_calls("pbx")
    met = (Met(Interworking.ORIGINATION_NOT_ISDN, Location.PUBLIC_REMOTE),)
    scene.at_pstn(Setup(Number("8200"), conveyed=Conveyed(met)))
    scene.run(0.1)
    offered = taken[0].offered
    assert offered is not None
    assert offered.setup.conveyed == Conveyed(met)


def test_notifications_go_from_line_to_line_and_end_at_sip() -> None:
    scene = tandem()
    taken = scene.take_calls("pbx")
    caller = scene.at_pstn(Setup(Number("8200")))
    scene.run(0.1)
    taken[0].leg.answer(None, scene.now)
    scene.run(0.1)
    taken[0].leg.notify(0x42, scene.now)
    scene.run(0.1)
    assert caller.of(Notified) == [Notified(0x42)]
    ear = scene.at_pstn(Setup(Number("4165550101")))
    scene.run(0.1)
    before = len(scene.sip_wire)
    ear.leg.notify(0x42, scene.now)
    scene.run(0.1)
    assert len(scene.sip_wire) == before
    assert ear.released is None


# -- PRI to SIP --


def invite_of(scene: Scene) -> Request:
    (invite,) = scene.sent("INVITE")
    assert isinstance(invite, Request)
    return invite


def test_of_two_calling_numbers_the_callers_is_from_and_the_networks_is_asserted() -> None:
    scene = Scene()
    scene.at_pstn(Setup(Number("4165550101"), TWO_NUMBERS))
    scene.run(0.1)
    invite = invite_of(scene)
    assert invite.from_.uri.user == "4165550199"
    assert [address.uri.user for address in invite.addresses("p-asserted-identity")] == ["4165550100"]
    assert "privacy" not in invite.headers
    scene.ears[-1].leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.run(1)
    caller = scene.records[0].caller
    assert (caller["number"], caller["network_number"]) == ("4165550199", "4165550100")


def test_a_caller_who_hides_one_number_hides_both() -> None:
    scene = Scene()
    own = Number("4165550199", presentation=Presentation.RESTRICTED)
    scene.at_pstn(Setup(Number("4165550101"), Party(own, network=NETWORK)))
    scene.run(0.1)
    invite = invite_of(scene)
    assert invite.from_.uri.host == "anonymous.invalid"
    assert invite.headers.get("privacy") == "id"


def test_a_peer_that_is_not_trusted_gets_no_asserted_number() -> None:
    scene = Scene(trunk={"trustrpid": False})
    scene.at_pstn(Setup(Number("4165550101"), TWO_NUMBERS))
    scene.run(0.1)
    invite = invite_of(scene)
    assert invite.from_.uri.user == "4165550199"
    assert "p-asserted-identity" not in invite.headers


def test_user_information_and_subaddresses_go_to_sip_and_compatibilities_end_there() -> None:
    scene = Scene()
    scene.at_pstn(Setup(Number("4165550101"), Party(NETWORK), conveyed=ACCESS))
    scene.run(0.1)
    invite = invite_of(scene)
    assert invite.headers.get("User-to-User") == "0468656c6c6f;encoding=hex;purpose=isdn-uui"
    assert invite.uri_text == "sip:4165550101;isub=4711@10.0.0.2;user=phone"
    asserted = invite.headers.get("P-Asserted-Identity")
    assert asserted == "<sip:4165550100;isub=12@10.0.0.1;user=phone>"
    # The far end reads the same out of it again.
    offered = scene.ears[-1].offered
    assert offered is not None
    assert offered.setup.called.digits == "4165550101"
    assert offered.setup.conveyed == Conveyed(
        (Met(Interworking.NOT_END_TO_END),), ACCESS.calling_subaddress, SUBADDRESS, user_user=b"\x04hello"
    )


@pytest.mark.parametrize("rings", [True, False])
def test_a_caller_on_the_line_hears_once_that_the_call_has_left_isdn(rings: bool) -> None:
    scene = Scene()
    if rings:
        scene.on_call = lambda leg, setup: leg.alert(False, scene.now)
    heard = listen(scene, "pstn")
    scene.at_pstn(Setup(Number("4165550101")))
    scene.run(0.1)
    if rings:
        assert indicators(of_kind(heard, MessageType.ALERTING)) == [1, 8]
        scene.ears[-1].leg.answer(None, scene.now)
        scene.run(0.1)
    assert indicators(of_kind(heard, MessageType.CONNECT)) == ([] if rings else [1])


def test_user_information_of_a_sip_answer_goes_to_the_calling_line() -> None:
    scene = Scene()

    def answer(leg: object, setup: Setup) -> None:
        ear = scene.ears[-1]
        ear.leg.alert(False, scene.now, Conveyed(user_user=b"\x04ring"))
        ear.leg.answer(Party(Number("77")), scene.now, Conveyed(subaddress=SUBADDRESS, user_user=b"\x04here"))

    scene.on_call = answer
    caller = scene.at_pstn(Setup(Number("4165550101")))
    scene.run(0.5)
    (alerting,), (answered,) = caller.of(Alerting), caller.of(Answered)
    assert alerting.conveyed is not None
    assert alerting.conveyed.user_user == b"\x04ring"
    assert answered.conveyed is not None
    assert (answered.conveyed.subaddress, answered.conveyed.user_user) == (SUBADDRESS, b"\x04here")


# -- SIP to PRI --


def test_a_call_from_sip_says_that_it_is_not_isdn_and_brings_its_subaddress_and_user_information() -> None:
    scene = Scene()
    heard = listen(scene, "pstn")
    scene.from_sip("95550101", conveyed=ACCESS)
    scene.run(0.5)
    setup = of_kind(heard, MessageType.SETUP)
    assert [(one.description, one.location) for one in setup.all(ProgressIndicator)] == [(1, Location.PRIVATE_LOCAL)]
    called, user_user = setup.first(CalledPartySubaddress), setup.first(UserUser)
    assert called is not None
    assert called.octets() == SUBADDRESS
    assert user_user is not None
    assert (user_user.protocol, user_user.information) == (4, b"hello")
    assert setup.first(HighLayerCompatibility) is None


# -- a callee that only tries --


def trying_only(scene: Scene) -> Ear:
    scene.on_call = lambda leg, setup: None
    caller = scene.at_pstn(Setup(Number("4165550101")))
    scene.run(0.1)
    return caller


def test_a_callee_that_only_tries_does_not_cost_the_call_at_t310_of_the_exchange() -> None:
    scene = Scene()
    heard = listen(scene, "pstn")
    caller = trying_only(scene)
    scene.run(6)
    assert MessageType.PROGRESS not in {message.message_type for message in heard}
    # T310 of the exchange is 10 s.
    scene.run(30)
    assert indicators(of_kind(heard, MessageType.PROGRESS)) == [1]
    assert caller.released is None
    assert len(caller.of(Progress)) == 1
    scene.ears[-1].leg.answer(None, scene.now)
    scene.run(0.5)
    assert len(caller.of(Answered)) == 1


def test_a_call_that_goes_on_in_time_gets_no_progress_of_ours() -> None:
    scene = Scene()
    heard = listen(scene, "pstn")
    trying_only(scene)
    scene.ears[-1].leg.alert(False, scene.now)
    scene.run(30)
    assert MessageType.PROGRESS not in {message.message_type for message in heard}


def test_a_caller_who_gives_up_while_a_callee_tries_leaves_nothing() -> None:
    scene = Scene()
    caller = trying_only(scene)
    caller.leg.release(Cause.NORMAL_CALL_CLEARING, scene.now)
    scene.assert_clean()
