"""Numbers of an Asterisk whose calls end, ring, or say something: the last two digits tell what. Both technologies."""

from __future__ import annotations

CAUSES_OUT = {"01": 1, "17": 17, "21": 21, "34": 34, "38": 38}
"""What a caller through us hears of them."""
EXTENSIONS = """\
exten => 01,1,Hangup(1)
exten => 17,1,Busy(1)
exten => 18,1,Hangup(18)
exten => 21,1,Hangup(21)
exten => 34,1,Congestion(1)
exten => 38,1,Hangup(38)
exten => 50,1,Ringing()
same => n,Wait(20)
exten => 51,1,Progress()
same => n,Playtones(1004)
same => n,Wait(20)
exten => 52,1,Ringing()
same => n,Wait(1)
same => n,Answer()
same => n,Milliwatt()
exten => 70,1,Answer()
same => n,Echo()
"""
