"""What we encode, as tshark reads it: nothing malformed, no expert complaint, and the values we meant.

Every message type and every element of the codec is in one capture of LAPD frames, which tshark dissects once.
"""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path

import pytest

from gateway.cause import Cause, Location
from gateway.identity import NumberingPlan, Presentation, RedirectionReason, Screening, TypeOfNumber
from gateway.pri.q931 import ie
from gateway.pri.q931.ie.rose import NameOperation, PartyName, information_following, name_facility
from gateway.pri.q931.message import CallReference, Message, MessageType, encode
from tests.interop.wire_check import lapd_problems, tshark, write_lapd

NATIONAL = TypeOfNumber.NATIONAL
ISDN = NumberingPlan.ISDN
CAUSE = ie.CauseElement(Cause.NORMAL_CALL_CLEARING, Location.PRIVATE_LOCAL)
CHANNEL = ie.ChannelIdentification((7,))
NAME = PartyName(NameOperation.CALLING, "Ann Example")
T = MessageType

MESSAGES: dict[str, tuple[MessageType, list[ie.InformationElement]]] = {
    "setup of a EuroISDN call": (
        T.SETUP,
        [
            ie.SendingComplete(),
            ie.SPEECH_A_LAW,
            ie.ChannelIdentification((1,), exclusive=False),
            ie.ProgressIndicator(ie.ProgressDescription.ORIGINATION_NOT_ISDN, Location.PRIVATE_LOCAL),
            ie.Display("Ann Example"),
            ie.CallingPartyNumber("2125550100", NATIONAL, ISDN, Presentation.RESTRICTED, Screening.NETWORK),
            ie.CallingPartySubaddress(b"\x50\x12\x34"),
            ie.CalledPartyNumber("5550001", NATIONAL),
            ie.CalledPartySubaddress(b"77", ie.SubaddressType.USER),
            ie.RedirectingNumber(
                "5550000", NATIONAL, ISDN, Presentation.ALLOWED, Screening.NETWORK, RedirectionReason.NO_REPLY
            ),
            ie.LowLayerCompatibility(0, layer1=ie.Layer1.G711_A_LAW),
            ie.HighLayerCompatibility(ie.HighLayer.TELEPHONY),
            ie.UserUser(b"hello"),
        ],
    ),
    "setup of an NI-2 call with name": (
        T.SETUP,
        [
            ie.AUDIO_MU_LAW,
            ie.ChannelIdentification((23,), interface=1),
            name_facility(NAME, 1, network_extension=False),
            ie.CallingPartyNumber("2125550100", NATIONAL, ISDN, Presentation.ALLOWED, Screening.NETWORK),
            ie.CalledPartyNumber("5550001", NATIONAL),
            ie.OriginalCalledNumber("5550009", NATIONAL, ISDN, Presentation.ALLOWED, reason=RedirectionReason.BUSY),
        ],
    ),
    "setup that announces a name": (T.SETUP, [ie.AUDIO_MU_LAW, CHANNEL, information_following(2)]),
    "setup of a QSIG call with name": (
        T.SETUP,
        [ie.SPEECH_A_LAW, CHANNEL, name_facility(NAME, 300, network_extension=True)],
    ),
    "setup of a data call by a carrier": (
        T.SETUP,
        [
            ie.UNRESTRICTED_64,
            ie.ChannelIdentification(selection=ie.ChannelSelection.ANY),
            ie.NetworkSpecificFacilities(b"\xe1"),
            ie.KeypadFacility("*21"),
            ie.Signal(ie.SignalValue.ALERTING_PATTERN_0),
            ie.TransitNetworkSelection("288"),
            ie.RepeatIndicator(),
            ie.LowLayerCompatibility(8, layer1=1, layer1_parameters=b"\x0f"),
            ie.LowLayerCompatibility(8),
        ],
    ),
    "setup of a packet call": (
        T.SETUP,
        [
            ie.BearerCapability(8, ie.TransferMode.PACKET, ie.TransferRate.PACKET, layer2=6, layer3=6),
            ie.InformationRate(bytes.fromhex("8a8a8a8a")),
            ie.EndToEndTransitDelay(bytes.fromhex("000081")),
            ie.TransitDelaySelection(bytes.fromhex("000081")),
            ie.PacketLayerBinaryParameters(b"\x8a"),
            ie.PacketLayerWindowSize(b"\x82\x82"),
            ie.PacketSize(b"\x87\x87"),
            ie.ReverseChargeIndication(b"\x81"),
        ],
    ),
    "setup with another codeset": (T.SETUP, [ie.SPEECH_MU_LAW, CHANNEL, ie.UnknownElement(0x01, b"\x81", 6)]),
    "setup acknowledge": (T.SETUP_ACKNOWLEDGE, [CHANNEL, ie.ProgressIndicator(8)]),
    "call proceeding": (T.CALL_PROCEEDING, [CHANNEL]),
    "progress": (T.PROGRESS, [ie.CauseElement(Cause.USER_BUSY), ie.ProgressIndicator(8, Location.PRIVATE_LOCAL)]),
    "alerting": (T.ALERTING, [ie.ProgressIndicator(8), ie.RedirectionNumber("5", NATIONAL)]),
    "connect": (
        T.CONNECT,
        [
            CHANNEL,
            ie.DateTime(26, 11, 23, 2, 40),
            ie.ConnectedNumber("5550001", NATIONAL, ISDN, Presentation.ALLOWED, Screening.NETWORK),
            ie.ConnectedSubaddress(b"77", ie.SubaddressType.USER),
        ],
    ),
    "connect acknowledge": (T.CONNECT_ACKNOWLEDGE, []),
    "user information": (T.USER_INFORMATION, [ie.MoreData(), ie.UserUser(b"more")]),
    "congestion control": (
        T.CONGESTION_CONTROL,
        [
            ie.CongestionLevel(ie.Congestion.RECEIVER_NOT_READY),
            ie.CauseElement(Cause.ACCESS_INFORMATION_DISCARDED),
        ],
    ),
    "suspend": (T.SUSPEND, [ie.CallIdentity(b"1")]),
    "suspend acknowledge": (T.SUSPEND_ACKNOWLEDGE, []),
    "suspend reject": (T.SUSPEND_REJECT, [ie.CauseElement(Cause.CALL_IDENTITY_IN_USE)]),
    "resume": (T.RESUME, [ie.CallIdentity(b"1")]),
    "resume acknowledge": (T.RESUME_ACKNOWLEDGE, [CHANNEL]),
    "resume reject": (T.RESUME_REJECT, [ie.CauseElement(Cause.NO_CALL_SUSPENDED)]),
    "hold": (T.HOLD, []),
    "hold acknowledge": (T.HOLD_ACKNOWLEDGE, []),
    "hold reject": (T.HOLD_REJECT, [ie.CauseElement(Cause.FACILITY_REJECTED)]),
    "retrieve": (T.RETRIEVE, [CHANNEL]),
    "retrieve acknowledge": (T.RETRIEVE_ACKNOWLEDGE, [CHANNEL]),
    "retrieve reject": (T.RETRIEVE_REJECT, [ie.CauseElement(Cause.REQUESTED_CIRCUIT_NOT_AVAILABLE)]),
    "information": (T.INFORMATION, [ie.SendingComplete(), ie.CalledPartyNumber("9")]),
    "notify": (T.NOTIFY, [ie.NotificationIndicator(ie.Notification.REMOTE_HOLD)]),
    "facility": (T.FACILITY, [name_facility(NAME, 2, network_extension=False)]),
    "disconnect": (T.DISCONNECT, [CAUSE, ie.ProgressIndicator(8)]),
    "release": (T.RELEASE, [CAUSE, ie.Display("bye", charset=0x31)]),
    "release complete": (
        T.RELEASE_COMPLETE,
        [ie.CauseElement(Cause.MANDATORY_ELEMENT_MISSING, Location.PRIVATE_LOCAL, diagnostics=b"\x04")],
    ),
    "status": (T.STATUS, [ie.CauseElement(Cause.RESPONSE_TO_STATUS_ENQUIRY), ie.CallState(10)]),
    "status enquiry": (T.STATUS_ENQUIRY, []),
    "restart of channels": (T.RESTART, [ie.ChannelIdentification((1, 2, 3)), ie.RestartIndicator()]),
    "restart of a slot map": (T.RESTART, [ie.ChannelIdentification((1, 31), map_octets=4), ie.RestartIndicator()]),
    "restart of the interface": (T.RESTART_ACKNOWLEDGE, [ie.RestartIndicator(ie.RestartClass.SINGLE_INTERFACE)]),
    "service": (T.SERVICE, [ie.ChangeStatus(ie.ServiceStatus.OUT_OF_SERVICE), CHANNEL]),
    "service acknowledge": (T.SERVICE_ACKNOWLEDGE, [ie.ChangeStatus(ie.ServiceStatus.IN_SERVICE), CHANNEL]),
    "register": (T.REGISTER, [name_facility(NAME, 3, network_extension=True)]),
}
"""One of each, with elements that clause 3 or the supplementary services put there."""


def test_every_message_and_element_is_among_the_samples() -> None:
    # SEGMENT is put together again by tshark, which needs whole messages; the rest it has no dissection for.
    assert {kind for kind, _ in MESSAGES.values()} == set(MessageType) - {MessageType.SEGMENT}
    sent = {type(element) for _, elements in MESSAGES.values() for element in elements}
    assert set(ie.VARIABLE_LENGTH) - sent == {
        ie.SegmentedMessage,
        ie.ConnectedAddress,
        ie.ExtendedFacility,
        ie.EndpointIdentifier,
        ie.InformationRequest,
        ie.Switchhook,
        ie.FeatureActivation,
        ie.FeatureIndication,
        ie.ServiceProfileIdentification,
        ie.ClosedUserGroup,
    }


UNDECODED = {"setup that announces a name"}
"""tshark knows the object identifier of NI-2's informationFollowing but not its argument, and warns of that."""


def frames() -> list[bytes]:
    """The samples as I frames of the network (SAPI 0, TEI 0, C/R 1), each with the next N(S)."""
    return [
        bytes((0x02, 0x01, number << 1, 0)) + encode(Message(kind, CallReference(number + 1), elements))
        for number, (kind, elements) in enumerate(MESSAGES.values())
    ]


EXPECTED: list[tuple[str, str, str]] = [
    ("setup of a EuroISDN call", "q931.calling_party_number.digits", "2125550100"),
    # Calling, then redirecting number.
    ("setup of a EuroISDN call", "q931.presentation_ind", "0x01,0x00"),
    ("setup of a EuroISDN call", "q931.screening_ind", "0x03,0x03"),
    ("setup of a EuroISDN call", "q931.called_party_number.digits", "5550001"),
    ("setup of a EuroISDN call", "q931.redirecting_number.digits", "5550000"),
    ("setup of a EuroISDN call", "q931.extension.reason", "0x02"),
    ("setup of a EuroISDN call", "q931.display_information", "Ann Example"),
    ("setup of a EuroISDN call", "q931.channel.number", "1"),
    ("setup of a EuroISDN call", "q931.channel.exclusive", "0"),
    # Bearer capability, then low layer compatibility.
    ("setup of a EuroISDN call", "q931.uil1", "0x03,0x03"),
    ("setup of an NI-2 call with name", "q931.channel.interface_id", "1"),
    ("setup of an NI-2 call with name", "qsig.na.namePresentationAllowedSimple", "Ann Example"),
    ("setup of a QSIG call with name", "qsig.na.namePresentationAllowedSimple", "Ann Example"),
    ("connect", "q931.connected_number.digits", "5550001"),
    ("connect", "q931.date_time", "1a0b170228"),
    ("disconnect", "q931.cause_value", "16"),
    ("disconnect", "q931.cause_location", "1"),
    ("progress", "q931.progress_indicator.description", "0x08"),
    ("progress", "q931.progress_indicator.location", "0x01"),
    ("status", "q931.call_state", "0x0a"),
    ("restart of channels", "q931.channel.number", "1,2,3"),
    ("restart of channels", "q931.restart_indicator", "0x00"),
    ("restart of a slot map", "q931.channel.slot_map", "0x80,0x00,0x00,0x02"),
    ("restart of the interface", "q931.restart_indicator", "0x06"),
]
FIELDS = ("q931.message_type", "q931.call_ref", *dict.fromkeys(field for _, field, _ in EXPECTED))


@pytest.fixture(scope="module")
def dissections(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What tshark reads in each sample, field by field; several values of a field have commas between them."""
    capture = write_lapd(tmp_path_factory.mktemp("q931") / "messages.pcap", frames(), network=True)
    read = tshark(capture, *(word for field in FIELDS for word in ("-e", field)))
    return {name: dict(zip_longest(FIELDS, row, fillvalue="")) for name, row in zip(MESSAGES, read, strict=True)}


def test_tshark_finds_nothing_wrong_with_any_message_or_element(tmp_path: Path) -> None:
    names = list(MESSAGES)
    problems = lapd_problems(tmp_path / "messages.pcap", frames(), network=True)
    assert [str(problem) for problem in problems if names[problem.number - 1] not in UNDECODED] == []


def test_tshark_reads_the_message_types_and_references_we_meant(dissections: dict[str, dict[str, str]]) -> None:
    for number, (name, (kind, _)) in enumerate(MESSAGES.items()):
        # tshark knows maintenance messages by their discriminator and has another field for their type.
        if kind < 0x100:
            assert int(dissections[name]["q931.message_type"], 16) == kind, name
        assert int(dissections[name]["q931.call_ref"], 16) == number + 1, name


@pytest.mark.parametrize(("name", "field", "value"), EXPECTED)
def test_tshark_reads_the_values_we_meant(
    dissections: dict[str, dict[str, str]], name: str, field: str, value: str
) -> None:
    assert dissections[name][field] == value
