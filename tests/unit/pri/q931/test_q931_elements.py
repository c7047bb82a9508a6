"""Each element against octets written by hand from its figure and table: Q.931 4.5, Q.932, Q.951, Q.952."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.cause import Cause, Location
from gateway.identity import Number, NumberingPlan, Presentation, RedirectionReason, Screening, TypeOfNumber
from gateway.pri.q931 import ie
from gateway.pri.q931.errors import ContentError
from gateway.pri.q931.ie.bearer import BearerCapability, LowLayerCompatibility
from gateway.pri.q931.message import decode

NATIONAL = TypeOfNumber.NATIONAL
ISDN = NumberingPlan.ISDN

OCTETS: list[tuple[str, ie.InformationElement]] = [
    # Bearer capability: octet 3 coding and capability, 4 mode and rate, 5 layer 1 (table 4-6).
    ("8090a2", ie.SPEECH_MU_LAW),
    ("8090a3", ie.SPEECH_A_LAW),
    ("9090a2", ie.AUDIO_MU_LAW),
    ("9090a3", ie.AUDIO_A_LAW),
    ("8890", ie.UNRESTRICTED_64),
    # V.110 rate adaption of 56 kbit/s: octet 5 continues in 5a (synchronous, no negotiation, user rate 01111).
    ("8890218f", BearerCapability(ie.TransferCapability.UNRESTRICTED_DIGITAL, layer1=1, layer1_parameters=b"\x0f")),
    # Multirate: rate 11000, octet 4.1 the multiplier 6.
    (
        "889886",
        BearerCapability(ie.TransferCapability.UNRESTRICTED_DIGITAL, rate=ie.TransferRate.MULTIRATE, multiplier=6),
    ),
    # X.25 packet mode: layer 2 is 00110, layer 3 is 00110.
    (
        "88c0c6e6",
        BearerCapability(
            ie.TransferCapability.UNRESTRICTED_DIGITAL,
            ie.TransferMode.PACKET,
            ie.TransferRate.PACKET,
            layer2=6,
            layer3=6,
        ),
    ),
    # Low layer compatibility with octet 3a (out-band negotiation not possible).
    (
        "188090a3",
        LowLayerCompatibility(0x18, layer1=ie.Layer1.G711_A_LAW, octet3a=b"\x00"),
    ),
    # High layer compatibility: telephony; videotelephony with extended characteristics 01.
    ("9181", ie.HighLayerCompatibility(ie.HighLayer.TELEPHONY)),
    ("916081", ie.HighLayerCompatibility(ie.HighLayer.VIDEOTELEPHONY, extended=1)),
    # Cause: octet 3 location, 3a recommendation, 4 value, 5 diagnostics (Q.850).
    ("8090", ie.CauseElement(Cause.NORMAL_CALL_CLEARING)),
    ("8281", ie.CauseElement(Cause.UNALLOCATED_NUMBER, Location.PUBLIC_LOCAL)),
    ("81e018", ie.CauseElement(Cause.MANDATORY_ELEMENT_MISSING, Location.PRIVATE_LOCAL, diagnostics=b"\x18")),
    ("008091", ie.CauseElement(Cause.USER_BUSY, recommendation=0)),
    ("e5fe", ie.CauseElement(126, Location.PRIVATE_REMOTE, ie.CodingStandard.NETWORK)),
    ("0a", ie.CallState(10)),
    ("fd", ie.CallState(61, ie.CodingStandard.NETWORK)),
    # Channel identification: octet 3, 3.1 interface, 3.2 number or map of B channels, 3.3 (figures 4-18, 4-19).
    ("a98381", ie.ChannelIdentification((1,))),
    ("a18391", ie.ChannelIdentification((17,), exclusive=False)),
    ("e9818397", ie.ChannelIdentification((23,), interface=1)),
    ("e901808385", ie.ChannelIdentification((5,), interface=128)),
    ("a983010283", ie.ChannelIdentification((1, 2, 3))),
    ("a993800001", ie.ChannelIdentification((1, 24), map_octets=3)),
    ("a99380010002", ie.ChannelIdentification((1, 16, 31), map_octets=4)),
    ("a993ffffffff", ie.ChannelIdentification(tuple(range(32)), map_octets=4)),
    ("ac", ie.ChannelIdentification(selection=ie.ChannelSelection.NONE, d_channel=True)),
    ("ab", ie.ChannelIdentification(selection=ie.ChannelSelection.ANY)),
    ("a9", ie.ChannelIdentification()),
    ("89", ie.ChannelIdentification(primary=False)),
    ("a98881", ie.ChannelIdentification((1,), channel_type=ie.ChannelType.H11)),
    # Progress indicator: octet 3 location, 4 description (table 4-18).
    ("8188", ie.ProgressIndicator(ie.ProgressDescription.INBAND_INFORMATION, Location.PRIVATE_LOCAL)),
    ("8283", ie.ProgressIndicator(ie.ProgressDescription.ORIGINATION_NOT_ISDN, Location.PUBLIC_LOCAL)),
    ("f9", ie.NotificationIndicator(ie.Notification.REMOTE_HOLD)),
    ("84a00102", ie.NotificationIndicator(ie.Notification.CALL_COMPLETION_DELAY, b"\xa0\x01\x02")),
    ("40", ie.Signal(ie.SignalValue.ALERTING_PATTERN_0)),
    ("3f", ie.Signal(ie.SignalValue.TONES_OFF)),
    ("81", ie.Switchhook(off_hook=True)),
    ("85", ie.FeatureActivation(5)),
    ("0181", ie.FeatureActivation(129)),
    ("8581", ie.FeatureIndication(5, 1)),
    # Numbers: octet 3 type and plan, 3a presentation and screening, IA5 digits.
    ("a135353530303031", ie.CalledPartyNumber("5550001", NATIONAL)),
    ("8031", ie.CalledPartyNumber("1", plan=NumberingPlan.UNKNOWN)),
    ("c134", ie.CalledPartyNumber("4", TypeOfNumber.SUBSCRIBER)),
    (
        "2183323132",
        ie.CallingPartyNumber("212", NATIONAL, ISDN, Presentation.ALLOWED, Screening.NETWORK),
    ),
    ("a1323132", ie.CallingPartyNumber("212", NATIONAL)),
    (
        "00a1",
        ie.CallingPartyNumber(
            "", plan=NumberingPlan.UNKNOWN, presentation=Presentation.RESTRICTED, screening=Screening.USER_PASSED
        ),
    ),
    (
        "00c3",
        ie.ConnectedNumber(
            "", plan=NumberingPlan.UNKNOWN, presentation=Presentation.NOT_AVAILABLE, screening=Screening.NETWORK
        ),
    ),
    (
        "118131",
        ie.RedirectionNumber("1", TypeOfNumber.INTERNATIONAL, ISDN, Presentation.ALLOWED, Screening.USER_PASSED),
    ),
    (
        "21008f35353530303030",
        ie.RedirectingNumber("5550000", NATIONAL, ISDN, Presentation.ALLOWED, reason=RedirectionReason.UNCONDITIONAL),
    ),
    ("21a135", ie.RedirectingNumber("5", NATIONAL, ISDN, Presentation.RESTRICTED, Screening.USER_PASSED)),
    ("a135", ie.RedirectingNumber("5", NATIONAL)),
    (
        "21038136",
        ie.OriginalCalledNumber("6", NATIONAL, ISDN, Presentation.ALLOWED, Screening.NETWORK, RedirectionReason.BUSY),
    ),
    # Subaddresses: octet 3 type and odd or even.
    ("a03838", ie.CallingPartySubaddress(b"88", ie.SubaddressType.USER)),
    ("8050", ie.CalledPartySubaddress(b"P")),
    ("a81f", ie.ConnectedSubaddress(b"\x1f", ie.SubaddressType.USER, odd=True)),
    # Text and octets.
    ("4a6f", ie.Display("Jo")),
    ("b14a6f", ie.Display("Jo", charset=0x31)),
    ("2a3231", ie.KeypadFacility("*21")),
    ("0468656c6c6f", ie.UserUser(b"hello")),
    ("00ff00", ie.UserUser(b"\xff\x00", protocol=0)),
    ("1a0b170228", ie.DateTime(26, 11, 23, 2, 40)),
    ("1a0b17", ie.DateTime(26, 11, 23)),
    ("6331", ie.CallIdentity(b"c1")),
    ("8205", ie.SegmentedMessage(first=True, remaining=2, message_type=5)),
    # Networks: transit network by carrier code 288; a facility of the network at hand, and of carrier 288.
    ("a1323838", ie.TransitNetworkSelection("288")),
    ("00e1", ie.NetworkSpecificFacilities(b"\xe1")),
    ("04a1323838e1", ie.NetworkSpecificFacilities(b"\xe1", "288")),
    ("80", ie.RestartIndicator()),
    ("86", ie.RestartIndicator(ie.RestartClass.SINGLE_INTERFACE)),
    ("87", ie.RestartIndicator(ie.RestartClass.ALL_INTERFACES)),
    ("c0", ie.ChangeStatus(ie.ServiceStatus.IN_SERVICE)),
    ("c2", ie.ChangeStatus(ie.ServiceStatus.OUT_OF_SERVICE)),
    ("91a106020101020101", ie.Facility(bytes.fromhex("a106020101020101"))),
    ("11bea106020101020101", ie.Facility(bytes.fromhex("a106020101020101"), header=b"\x11\xbe")),
    # Packet mode and terminal management are octets.
    ("8a8b8c8d", ie.InformationRate(bytes.fromhex("8a8b8c8d"))),
    ("8783", ie.PacketLayerWindowSize(b"\x87\x83")),
    ("81", ie.ReverseChargeIndication(b"\x81")),
]


# Not canonical, but read all the same: what it means, and that it goes on as it came.
OTHER_WAYS: list[tuple[str, ie.InformationElement]] = [
    # Channel number without the extension bit: some exchanges leave it out.
    ("a98305", ie.ChannelIdentification((5,))),
    # An octet beyond those of the figure.
    ("818800", ie.ProgressIndicator(ie.ProgressDescription.INBAND_INFORMATION, Location.PRIVATE_LOCAL)),
    # Spare bits set.
    ("f0", ie.RestartIndicator()),
    # A location that Q.850 reserves.
    ("8c90", ie.CauseElement(Cause.NORMAL_CALL_CLEARING, Location.BEYOND_INTERWORKING)),
    # Type of number 5 and numbering plan 5 are reserved.
    ("d531", ie.CalledPartyNumber("1", plan=NumberingPlan.UNKNOWN)),
    # A calling number with octets 3b and 3c that no table has.
    ("2103018035", ie.CallingPartyNumber("5", NATIONAL, ISDN, Presentation.ALLOWED, Screening.NETWORK)),
    # Display in UTF-8 and in Latin 1.
    ("4ac3b6", ie.Display("J\u00f6")),
    ("4af6", ie.Display("J\u00f6")),
    # Control characters in a text are not for showing.
    ("4a0d0a6f", ie.Display("Jo")),
    # Bearer capability of another coding standard: octets 4 and on are not looked at.
    ("c8012345", BearerCapability(8, coding=ie.CodingStandard.NATIONAL)),
]

BROKEN: list[tuple[type[ie.InformationElement], str]] = [
    (BearerCapability, "80"),
    (BearerCapability, "0080"),  # octet 3a ends the contents
    (BearerCapability, "8098"),  # multirate without multiplier
    (BearerCapability, "8090a3a2"),  # layer 1 again
    (BearerCapability, "809023"),  # octet 5a announced and missing
    (ie.LowLayerCompatibility, "10"),
    (ie.HighLayerCompatibility, "91"),
    (ie.HighLayerCompatibility, "9160"),
    (ie.CauseElement, "80"),
    (ie.CauseElement, "0080"),
    (ie.CallState, ""),
    (ie.ChannelIdentification, ""),
    (ie.ChannelIdentification, "a983"),
    (ie.ChannelIdentification, "e9"),
    (ie.ChannelIdentification, "e90101010181"),  # interface identifier of five octets
    (ie.ChannelIdentification, "a9938001"),  # slot map of two octets
    (ie.ChannelIdentification, "a983" + "01" * 31 + "82"),
    (ie.RestartIndicator, "81"),
    (ie.RestartIndicator, ""),
    (ie.ChangeStatus, ""),
    (ie.ProgressIndicator, "81"),
    (ie.NotificationIndicator, "79"),
    (ie.Signal, ""),
    (ie.Switchhook, ""),
    (ie.FeatureActivation, "000081"),
    (ie.FeatureIndication, "85"),
    (ie.FeatureIndication, "00008580"),
    (ie.CalledPartyNumber, ""),
    (ie.CalledPartyNumber, "a1" + "31" * 33),
    (ie.CalledPartyNumber, "a1b1"),  # bit 8 of a digit
    (ie.CalledPartyNumber, "a10a"),  # a control character
    (ie.CallingPartyNumber, ""),
    (ie.CallingPartyNumber, "21"),
    (ie.CallingPartyNumber, "2100313233"),
    (ie.RedirectingNumber, ""),
    (ie.RedirectingNumber, "210005"),
    (ie.CallingPartySubaddress, ""),
    (ie.CalledPartySubaddress, "80" + "50" * 21),
    (ie.Display, "41" * 83),
    (ie.KeypadFacility, "31" * 33),
    (ie.KeypadFacility, "ff"),
    (ie.KeypadFacility, "0d"),
    (ie.UserUser, ""),
    (ie.DateTime, "1a0b"),
    (ie.DateTime, "1a0d17"),  # month 13
    (ie.DateTime, "1a0b171800"),  # hour 24
    (ie.CallIdentity, "31" * 9),
    (ie.SegmentedMessage, "80"),
    (ie.TransitNetworkSelection, "a1"),
    (ie.TransitNetworkSelection, "a1ff"),
    (ie.TransitNetworkSelection, "a1" + "31" * 33),
    (ie.NetworkSpecificFacilities, ""),
    (ie.NetworkSpecificFacilities, "04a132"),
    (ie.Facility, ""),
    (ie.Facility, "11"),
    (ie.Facility, "00" * 9),
    (ie.InformationRate, "8a"),
    (ie.ClosedUserGroup, "80"),
]

OUT_OF_RANGE: list[ie.InformationElement] = [
    ie.CauseElement(128),
    ie.CauseElement(16, diagnostics=b"\x00" * 28),
    ie.CauseElement(16, recommendation=128),
    ie.CallState(64),
    ie.ChannelIdentification((128,)),
    ie.ChannelIdentification(tuple(range(1, 33))),
    ie.ChannelIdentification((0,), map_octets=3),
    ie.ChannelIdentification((25,), map_octets=3),
    ie.ChannelIdentification((1,), map_octets=2),
    ie.ChannelIdentification((), map_octets=3),
    ie.ChannelIdentification((1,), interface=1 << 28),
    ie.ChannelIdentification((1,), interface=-1),
    ie.RestartIndicator(8),
    ie.ChangeStatus(8),
    ie.ProgressIndicator(128),
    ie.NotificationIndicator(128),
    ie.NotificationIndicator(0, b"\x00" * 251),
    ie.Signal(256),
    ie.FeatureActivation(1 << 14),
    ie.FeatureIndication(1, 16),
    ie.CalledPartyNumber("1" * 33),
    ie.CalledPartyNumber("\u0661"),
    ie.CallingPartyNumber("1\n"),
    ie.RedirectingNumber("1", reason=RedirectionReason.BUSY),
    ie.CallingPartySubaddress(b"\x00" * 21),
    ie.Display("x" * 81),
    ie.Display("x" * 80, charset=0x31),
    ie.KeypadFacility(""),
    ie.KeypadFacility("1" * 33),
    ie.UserUser(b"\x00" * 129),
    ie.UserUser(b"", protocol=256),
    ie.DateTime(26, 0, 1),
    ie.CallIdentity(b""),
    ie.CallIdentity(b"\x00" * 9),
    ie.SegmentedMessage(first=True, remaining=128, message_type=5),
    ie.TransitNetworkSelection(""),
    ie.TransitNetworkSelection("1" * 33),
    ie.NetworkSpecificFacilities(b"\x00" * 33),
    ie.Facility(b"\x00" * 251),
    ie.Facility(b"", header=b"\x11"),
    ie.PacketSize(b""),
    ie.PacketSize(b"\x00" * 254),
    ie.HighLayerCompatibility(128),
    BearerCapability(32),
    BearerCapability(0, rate=ie.TransferRate.MULTIRATE),
    BearerCapability(0, multiplier=2),
    BearerCapability(0, layer1_parameters=b"\x00"),
    ie.CongestionLevel(16),
    ie.RepeatIndicator(16),
    ie.Shift(8),
]


def name(value: object) -> str:
    if isinstance(value, str):
        return value or "empty"
    return value.__name__ if isinstance(value, type) else type(value).__name__


@pytest.mark.parametrize(("octets", "element"), OCTETS, ids=name)
def test_octets_read_as_the_element_and_the_element_builds_the_octets(
    octets: str, element: ie.InformationElement
) -> None:
    assert type(element).parse(bytes.fromhex(octets)) == element
    assert dataclasses.replace(element).build().hex() == octets


@pytest.mark.parametrize(("octets", "element"), OTHER_WAYS, ids=name)
def test_octets_that_we_would_write_otherwise_are_understood(octets: str, element: ie.InformationElement) -> None:
    assert type(element).parse(bytes.fromhex(octets)) == element
    assert element.build().hex() != octets


@pytest.mark.parametrize(("kind", "octets"), BROKEN, ids=name)
def test_broken_contents_are_a_content_error(kind: type[ie.InformationElement], octets: str) -> None:
    with pytest.raises(ContentError):
        kind.parse(bytes.fromhex(octets))


@pytest.mark.parametrize("element", OUT_OF_RANGE, ids=name)
def test_fields_out_of_range_are_never_sent(element: ie.InformationElement) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        element.build()


@pytest.mark.parametrize(
    ("octet", "element"),
    [
        (0xA0, ie.MoreData()),
        (0xA1, ie.SendingComplete()),
        (0xB0, ie.CongestionLevel(ie.Congestion.RECEIVER_READY)),
        (0xBF, ie.CongestionLevel(ie.Congestion.RECEIVER_NOT_READY)),
        (0xD2, ie.RepeatIndicator()),
        (0x96, ie.Shift(6)),
        (0x9D, ie.Shift(5, locking=False)),
    ],
)
def test_single_octet_elements(octet: int, element: ie.SingleOctetElement) -> None:
    assert ie.parse_single_octet(octet) == element
    assert element.octets() == bytes((octet,))


@pytest.mark.parametrize("octet", [0x80, 0xA2, 0xC0, 0xE1, 0xFF])
def test_reserved_single_octets_are_no_element(octet: int) -> None:
    assert ie.parse_single_octet(octet) is None


LONGEST: list[ie.InformationElement] = [
    ie.CauseElement(16, diagnostics=b"x" * 27),
    ie.ChannelIdentification(tuple(range(1, 32))),
    ie.CalledPartyNumber("1" * 32),
    ie.CallingPartySubaddress(b"x" * 20),
    ie.Display("x" * 80),
    ie.Display("x" * 79, charset=0x31),
    ie.KeypadFacility("1" * 32),
    ie.UserUser(b"x" * 128),
    ie.CallIdentity(b"x" * 8),
    ie.TransitNetworkSelection("1" * 32),
    ie.NetworkSpecificFacilities(b"x" * 32, "1" * 32),
    ie.NotificationIndicator(0, b"x" * 250),
    ie.Facility(b"x" * 250),
    ie.ServiceProfileIdentification(b"x" * 253),
]


@pytest.mark.parametrize("element", LONGEST, ids=name)
def test_elements_as_long_as_they_may_be_are_built_and_read(element: ie.InformationElement) -> None:
    contents = element.build()
    assert len(contents) <= ie.CATALOGUE[element.identifier].longest
    assert type(element).parse(contents) == element


def test_every_element_of_the_catalogue_has_a_fixture() -> None:
    octets_only = {
        ie.ConnectedAddress,
        ie.ExtendedFacility,
        ie.EndpointIdentifier,
        ie.InformationRequest,
        ie.ServiceProfileIdentification,
        ie.EndToEndTransitDelay,
        ie.TransitDelaySelection,
        ie.PacketLayerBinaryParameters,
        ie.PacketSize,
        ie.ClosedUserGroup,
    }
    assert {type(element) for _, element in OCTETS} | octets_only == set(ie.VARIABLE_LENGTH)


def test_numbers_of_both_kinds_carry_an_identity_there_and_back() -> None:
    number = Number("2125550100", NATIONAL, ISDN, Presentation.RESTRICTED, Screening.NETWORK)
    assert ie.CallingPartyNumber.from_number(number).to_number() == number
    assert ie.ConnectedNumber.from_number(number).to_number() == number
    assert ie.RedirectionNumber.from_number(number).to_number() == number
    redirecting = ie.RedirectingNumber.from_number(number, RedirectionReason.NO_REPLY)
    assert redirecting.to_number() == number
    assert redirecting.reason is RedirectionReason.NO_REPLY
    assert type(ie.OriginalCalledNumber.from_number(number)) is ie.OriginalCalledNumber
    # Called party number has no octet 3a: presentation and screening do not travel.
    assert ie.CalledPartyNumber.from_number(number).to_number() == Number("2125550100", NATIONAL)


def test_without_octet_3a_a_number_is_allowed_and_not_screened() -> None:
    number = ie.CallingPartyNumber("212", NATIONAL).to_number()
    assert (number.presentation, number.screening) == (Presentation.ALLOWED, Screening.USER_NOT_SCREENED)


def test_an_identity_holds_dialled_digits_only() -> None:
    assert ie.CalledPartyNumber("+1 (212) 5*#a").to_number().digits == "12125*#A"
    assert ie.CalledPartyNumber("+1 (212) 5*#a").digits == "+1 (212) 5*#a"


def test_a_display_of_any_name_fits_and_is_ia5() -> None:
    assert ie.Display.of("J\u00f6rg \u4e2d").build() == b"Jorg ?"
    assert ie.Display.of("x" * 100, charset=0x31, limit=15).build() == b"\xb1" + b"x" * 14


def test_what_was_received_is_sent_on_as_it_came_until_it_is_changed() -> None:
    # CONNECT ACKNOWLEDGE with a channel number that lacks its extension bit.
    message = decode(bytes.fromhex("080280010f" + "1803a98305"))
    element = message.first(ie.ChannelIdentification)
    assert element is not None
    assert element.octets().hex() == "a98305"
    assert dataclasses.replace(element, exclusive=False).octets().hex() == "a18385"


def test_a_cause_that_no_table_has_is_taken_as_its_class() -> None:
    element = ie.CauseElement.parse(bytes.fromhex("80b3"))
    assert (element.value, element.cause) == (51, Cause.SERVICE_NOT_AVAILABLE)


def test_speech_and_audio_are_voice_and_data_is_not() -> None:
    assert ie.SPEECH_A_LAW.voice
    assert ie.AUDIO_MU_LAW.voice
    assert not ie.UNRESTRICTED_64.voice
