"""What a message takes along for the ends of a call: no more than fits, and nothing that the switch type has not."""

from __future__ import annotations

import msgspec
import pytest

from gateway.identity import Number, Party
from gateway.leg import Conveyed, Interworking, Met
from gateway.pri.q931.ie import (
    ChannelIdentification,
    ConnectedSubaddress,
    HighLayerCompatibility,
    LowLayerCompatibility,
    UserUser,
)
from gateway.pri.q931.message import MAX_MESSAGE, Message, MessageType, encode
from gateway.pri.trunk import PriSettings
from tests.unit.pri.pri_pair import E1_EURO, T1_NI2, Pair, placed

# 16 octets, as long as it may be (Q.931 4.5.19).
LOW_LAYER = bytes.fromhex("08809021000000804200806600000080")
ACCESS = Conveyed(
    subaddress=b"\x80\x50" + b"1" * 19, low_layer=LOW_LAYER, high_layer=b"\x91\x81", user_user=b"\x04hello"
)


def answer(settings: PriSettings, conveyed: Conveyed, *, proceed: bool, party: Party | None = None) -> Message:
    """The CONNECT that the network side sends."""
    pair = Pair(settings)
    placed(pair, pair.user)
    leg = pair.network.legs[0]
    if proceed:
        leg.proceed(pair.now)
    leg.answer(party, pair.now, conveyed)
    pair.settle()
    assert pair.network.sent[-1].message_type is MessageType.CONNECT
    return pair.network.sent[-1]


@pytest.mark.parametrize("octets", range(100, 130))
def test_connect_as_the_first_answer_has_room_for_the_channel_too(octets: int) -> None:
    full = msgspec.structs.replace(
        ACCESS,
        progress=(Met(Interworking.DESTINATION_NOT_ISDN), Met(Interworking.NOT_END_TO_END)),
        user_user=b"\x04" + bytes(octets - 1),
    )
    party = Party(Number("1" * 32), "N" * 32)
    message = answer(E1_EURO, full, proceed=False, party=party)
    assert message.first(ChannelIdentification) is not None
    assert len(encode(message)) <= MAX_MESSAGE


def test_an_answer_in_north_america_has_no_connected_subaddress_and_no_high_layer() -> None:
    back = (ConnectedSubaddress, HighLayerCompatibility, LowLayerCompatibility, UserUser)
    for settings, kinds in ((E1_EURO, back), (T1_NI2, back[2:])):
        message = answer(settings, ACCESS, proceed=True)
        assert {kind for kind in back if message.first(kind) is not None} == set(kinds)
