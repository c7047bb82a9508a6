"""What a call may ask of any leg, chosen by a script: commands in the right and in the wrong state."""

from __future__ import annotations

from gateway.cause import Cause, Location
from gateway.identity import Number, Party, Redirection
from gateway.leg import Bearer, Conveyed, Interworking, Leg, Met, Setup
from tests.fuzz.script import Script

SETUPS = (
    Setup(Number("4165551234")),
    Setup(Number("41"), complete=False),
    Setup(Number("911"), Party(Number("2125550100"), "Ann"), Redirection(Number("5"))),
    Setup(
        Number("1"),
        bearer=Bearer.UNRESTRICTED,
        hops=5,
        alternatives=True,
        conveyed=Conveyed(
            (Met(Interworking.ORIGINATION_NOT_ISDN), Met(Interworking.RETURNED_TO_ISDN, Location.PUBLIC_LOCAL)),
            *(b"\x80\x50", b"\xa0\x11", b"\x80", b"\x88\x90", b"\x91\x81", b"\x04hello"),
        ),
    ),
)
CONVEYED = (None, None, SETUPS[-1].conveyed)
CAUSES = tuple(Cause)


def command(leg: Leg, script: Script, now: int) -> None:
    """One of a leg's commands; in the wrong state it is to be ignored."""
    match script.octet() % 11:
        case 0:
            leg.proceed(now)
        case 1:
            leg.progress(script.flag(), now, script.choose((None, Cause.USER_BUSY)), script.choose(CONVEYED))
        case 2:
            leg.alert(script.flag(), now, script.choose(CONVEYED))
        case 3 | 4:
            connected = script.choose((None, Party(Number("4165550000"), "Bob"), Party()))
            leg.answer(connected, now, script.choose(CONVEYED))
        case 5:
            leg.digits(script.choose(("1", "23", "")), script.flag(), now)
        case 6:
            leg.keypad("5", 100, now)
        case 7:
            leg.hold(now)
        case 8:
            leg.resume(now)
        case 9:
            leg.identify(Party(Number("9"), "é"), now)
        case _:
            leg.release(script.choose(CAUSES), now)
    leg.record()
