"""Asterisk's chan_iax2 at the other site: who proves what, trunks, encryption, and calls both ways, by ear."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.interop.program import PATIENCE
from tests.interop.scenario import lasting
from tests.outside.ended_calls import CAUSES_OUT
from tests.outside.iax_scene import DIALLED, Scene
from tests.outside.iax_site import MILLIWATT_HZ, NEW_KEY, hang_up, heard, talk
from tests.outside.iax_wire import Datagram, kilobits_a_call, trunk_blocks

CALLTOKEN = 0x28
IAX = 6


def commands(datagrams: list[Datagram]) -> set[int]:
    """The subclasses of IAX frames among them."""
    return {each.data[11] for each in datagrams if each.full and each.data[10] == IAX}


@lasting(60.0)
async def test_md5_and_call_tokens_both_ways(tmp_path: Path) -> None:
    async with Scene(tmp_path) as scene:
        await scene.both_ways()
        assert CALLTOKEN in commands(scene.wire.sent(near=True))
        assert CALLTOKEN in commands(scene.wire.sent(near=False))


@lasting(60.0)
async def test_over_ipv6(tmp_path: Path) -> None:
    async with Scene(tmp_path, direct=True, loopback="[::1]", trunk="qualify = true\n") as scene:
        await scene.reach("reachable")
        await scene.both_ways()
        assert str(scene.leg()["far_address"]).startswith("[::1]:")


def write_keys(ours: Path, theirs: Path) -> None:
    """A pair of each side; Asterisk 16 knows RSA keys of 1024 bits only."""
    for name in ("branch", "site"):
        key = rsa.generate_private_key(65537, 1024)  # noqa: S505 - all that chan_iax2 takes
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        holder, other = (ours, theirs) if name == "branch" else (theirs, ours)
        holder.mkdir(parents=True, exist_ok=True)
        other.mkdir(parents=True, exist_ok=True)
        (holder / f"{name}.key").write_bytes(private)
        (holder / f"{name}.key").chmod(0o600)
        (other / f"{name}.pub").write_bytes(public)


@lasting(60.0)
async def test_rsa_both_ways(tmp_path: Path) -> None:
    trunk = 'auth = ["rsa"]\ninkeys = ["keys/site.pub"]\noutkey = "keys/branch.key"\n'
    scene = Scene(tmp_path, secret="", trunk=trunk, peer="auth = rsa\ninkeys = branch\noutkey = site\n")
    write_keys(tmp_path / "keys", scene.far.directory / "lib" / "keys")
    async with scene:
        await scene.both_ways()


@lasting(60.0)
async def test_we_register_with_asterisk(tmp_path: Path) -> None:
    trunk = "register = true\nqualify = true\n"
    async with Scene(tmp_path, trunk=trunk, peer="host = dynamic\nqualify = yes\n") as scene:
        await scene.far.until("iax2 show peers", rf"branch/.*{scene.wire.far_port} .*OK \(")
        await scene.both_ways()
        await scene.product.stop_gateway()
        # Unregistered when it ended.
        await scene.far.until("iax2 show peers", r"branch/\S+ +\(null\)|branch/\S+ .*UNKNOWN")
        await scene.product.start_gateway()
        await scene.product.until_up()
        await scene.far.until("iax2 show peers", rf"branch/.*{scene.wire.far_port} .*OK \(")
        await scene.call_in()


@lasting(60.0)
async def test_asterisk_registers_with_us(tmp_path: Path) -> None:
    scene = Scene(tmp_path, host="dynamic", trunk="qualify = true\n", far_last=True)
    register = f"register => site:apples@127.0.0.1:{scene.wire.far_port}\n"
    conf = scene.far.files["iax.conf"]
    scene.far.files["iax.conf"] = conf.replace("autokill = yes\n", f"autokill = yes\n{register}")
    async with scene:
        await scene.far.until("iax2 show registry", "Registered")
        await scene.reach("reachable")
        await scene.both_ways()
        # It is found again after our restart, without its having registered again.
        await scene.product.stop_gateway()
        await scene.product.start_gateway()
        await scene.product.until_up()
        await scene.call_out()


GOALS = {1: 80.0, 5: 68.5, 30: 66.1}
"""Kilobits a second of a call one way, by the number of calls in the trunk."""
READ = 4096
"""Octets that chan_iax2 reads of a datagram."""


async def all_heard(scene: Scene) -> None:
    """Wait until each caller hears its tone, back from the site's echo."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        heard_by = [each.get("heard", {}) for each in (await scene.product.exchange.command("calls"))["calls"]]
        if all(each.get("frequency") == pytest.approx(MILLIWATT_HZ, abs=10) for each in heard_by):
            return
        assert asyncio.get_running_loop().time() < deadline, heard_by
        await asyncio.sleep(0.2)


async def trunked_calls(scene: Scene, stamps: bool, hearing: int, *counts: int) -> dict[int, float]:
    """Let so many calls stand; what each takes of the wire, by their number. Up to ``hearing`` are heard both ways."""
    exchange = scene.product.exchange
    entry = 166 if stamps else 164
    measured = {}
    calls: list[int] = []
    for count in counts:
        while len(calls) < count:
            reply = await exchange.command("call", called="4165550670", hold=-1, voice="milliwatt")
            calls.append(reply["call"])
        await scene.product.until_answered(count)
        if count <= hearing:
            await all_heard(scene)
        else:
            await asyncio.sleep(1.0)
        since = asyncio.get_running_loop().time()
        await asyncio.sleep(2.0)
        voice = [each for each in scene.wire.sent(near=True, since=since) if not each.full]
        assert all(each.trunk and each.data[3] & 1 == stamps for each in voice)
        each_frame = [len(trunk_blocks(each.data)) for each in voice]
        # A frame more or less for a tick that was chosen anew, and at the ends of the time that was looked at.
        frames = len(each_frame) / (sum(each_frame) / count)
        room = count if hearing < count else (READ - 8) // entry
        assert frames == pytest.approx(-(-count // room), rel=0.15), each_frame
        full = [each for each, calls_in in zip(voice, each_frame, strict=True) if calls_in in (count, room)]
        measured[count] = kilobits_a_call(full if room >= count else voice)
    for call in calls:
        await exchange.command("hangup", call=call)
    await scene.product.until_idle()
    return measured


@lasting(60.0)
async def test_trunk_of_one_five_and_thirty_calls_takes_no_more_than_it_should(tmp_path: Path) -> None:
    trunk = "trunk = true\ntrunktimestamps = false\ntrunkmtu = 8000\n"
    async with Scene(tmp_path, trunk=trunk, peer="trunk = yes\n") as scene:
        await scene.both_ways()
        # Of thirty in one packet Asterisk hears twenty-four.
        measured = await trunked_calls(scene, False, 5, *GOALS)
    assert {count: kilobits <= GOALS[count] for count, kilobits in measured.items()} == dict.fromkeys(GOALS, True)
    print(f"kbit/s a call one way: {measured}")


@pytest.mark.parametrize("stamps", [False, True], ids=["plain", "time stamps"])
@lasting(60.0)
async def test_all_calls_of_a_long_trunk_are_heard_both_ways(tmp_path: Path, stamps: bool) -> None:
    trunk = f"trunk = true\ntrunktimestamps = {'true' if stamps else 'false'}\n"
    general = f"trunktimestamps = {'yes' if stamps else 'no'}\n"
    async with Scene(tmp_path, trunk=trunk, peer="trunk = yes\n", general=general) as scene:
        await trunked_calls(scene, stamps, 30, 30)


ENCRYPTION = "encryption = yes\nforceencryption = yes\n"
ROTATION = "[timers.iax]\nkey_least_ms = 1000\nkey_most_ms = 2000\n"


@lasting(60.0)
async def test_voice_is_encrypted_and_the_keys_change(tmp_path: Path) -> None:
    scene = Scene(
        tmp_path,
        trunk="forceencryption = true\n",
        more=ROTATION,
        general=ENCRYPTION,
        peer="encryption = yes\n",
        quick_rotation=True,
    )
    async with scene:
        # The called side makes the keys: Asterisk's of a call out, ours of a call in.
        await scene.far.console("iax2 set debug on")
        call = (await scene.product.exchange.command("call", called="4165550670", hold=-1, voice="milliwatt"))["call"]
        await scene.product.until_answered()
        await scene.far.until_logged("(?s:Sending IAX_COMMAND_RTKEY.*){3}")
        await asyncio.sleep(1.0)
        await scene.product.exchange.command("hangup", call=call)
        ended = await scene.product.exchange.event("ended", 10, lambda event: event["call"] == call)
        assert ended["heard"]["frequency"] == pytest.approx(MILLIWATT_HZ, abs=10), ended
        await scene.product.until_idle()
        assert scene.session()["keys_received"] >= 3
        await talk(scene.far, "95550106", "11")
        await scene.product.until_answered()
        await scene.far.until_logged(f"(?s:{NEW_KEY}.*{NEW_KEY})")
        await asyncio.sleep(1.5)
        await hang_up(scene.far)
        await scene.product.until_idle()
        assert heard(scene.far, "11").frequency == pytest.approx(MILLIWATT_HZ, abs=5)
        assert scene.session()["keys_sent"] >= 2
        voice = [each for each in scene.wire.datagrams if not each.full]
        assert voice
        assert not any(each.trunk for each in voice)
        # 160 octets of voice, and 16 to 31 of padding.
        assert all(len(each.data) > 4 + 160 for each in voice)
        assert all(record["facts"] in ([], ["secure_media"]) for record in scene.product.records())
        assert scene.product.records()[-1]["facts"] == ["secure_media"]


@pytest.mark.parametrize("far", ["no", "yes"])
@lasting(60.0)
async def test_without_encryption_at_the_other_site_there_is_no_call_that_must_have_it(
    tmp_path: Path, far: str
) -> None:
    trunk = "forceencryption = true\n" if far == "no" else ""
    peer = "" if far == "no" else "forceencryption = yes\n"
    async with Scene(tmp_path, trunk=trunk, general=ENCRYPTION if far == "yes" else "", peer=peer) as scene:
        report = await scene.product.pstn_call("4165550670")
        assert report["answered"] is None, report
        assert await dialled(scene, DIALLED) != "ANSWER"
        await scene.product.until_idle()
        assert not any(record["answer"] for record in scene.product.records())


@pytest.mark.parametrize("ours", ["trunk = true\n", ""])
@lasting(60.0)
async def test_clear_trunk_voice_of_asterisk_ends_a_call_that_must_be_encrypted(tmp_path: Path, ours: str) -> None:
    scene = Scene(
        tmp_path, trunk=f"forceencryption = true\n{ours}", general=ENCRYPTION, peer="trunk = yes\nencryption = yes\n"
    )
    async with scene:
        report = await scene.product.pstn_call("4165550670", hold=8000, voice="milliwatt")
        assert report["cause"] not in (16, None), report
        await scene.product.until_idle()
        assert "clear" in scene.product.log
        voice = [each for each in scene.wire.sent(near=True) if not each.full]
        # Ours was never in the clear, though it has trunk = true.
        assert voice
        assert not any(each.trunk for each in voice)
        assert all(len(each.data) > 4 + 160 for each in voice)


async def dialled(scene: Scene, number: str, presentation: str = "allowed") -> str:
    """Let the site call; what came of it."""
    await scene.far.manager.originate(f"Local/{number}@out", "Wait", "1", Variable=f"PRES={presentation}")
    return (await scene.far.manager.told("dialled", 15, Number=number))["Status"]


CAUSES_IN = {
    "95550102": ("BUSY", "17"),
    "95550103": ("CHANUNAVAIL", "1"),
    "95550109": ("CHANUNAVAIL", "42"),
    "95550110": ("CHANUNAVAIL", "21"),
}


@lasting(90.0)
async def test_why_a_call_failed_is_the_same_on_either_side(tmp_path: Path) -> None:
    async with Scene(tmp_path) as scene:
        causes = {}
        for last in CAUSES_OUT:
            report = await scene.product.pstn_call(f"41655506{last}")
            assert report["answered"] is None
            causes[last] = report["cause"]
        assert causes == CAUSES_OUT
        # One that ends after it was answered.
        report = await scene.product.pstn_call("4165550661", hold=-1)
        assert report["cause"] == 27
        found = {}
        for number in CAUSES_IN:
            await dialled(scene, number)
            told = await scene.far.manager.told("dialled", Number=number)
            found[number] = (told["Status"], told["Cause"])
        assert found == CAUSES_IN
        await scene.product.until_idle()


@lasting(60.0)
async def test_ringing_early_media_names_and_numbers(tmp_path: Path) -> None:
    async with Scene(tmp_path) as scene:
        product, far = scene.product, scene.far
        call = (await product.exchange.command("call", called="4165550650", hold=300))["call"]
        ringing = await product.exchange.event("alerting", 5, lambda event: event["call"] == call)
        assert ringing["answered"] is None
        await product.exchange.command("hangup", call=call)
        await product.until_idle()
        report = await product.pstn_call("4165550652", hold=1200)
        assert report["alerting"] < report["answered"]
        assert report["heard"]["frequency"] == pytest.approx(MILLIWATT_HZ, abs=10)
        for presentation, word in (("allowed", "allowed"), ("restricted", "prohib")):
            await product.pstn_call("4165550617", caller="4165553333", presentation=presentation)
            offered = [event for event in far.manager.events if event.get("Number") == "4165550617"][-1]
            assert (offered["Caller"], offered["Pres"][:6]) == ("4165553333", word[:6])
        for presentation, word in (("allowed", "allowed"), ("prohib", "restricted")):
            before = len(product.exchange.events)
            assert await dialled(scene, "95550102" if word == "allowed" else "95550110", presentation) != "ANSWER"
            ended = [event for event in product.exchange.events[before:] if event["event"] == "ended"]
            assert (ended[-1]["caller"], ended[-1]["caller_presentation"]) == ("4165557777", word)


CODECS = ("alaw", "ulaw", "g722", "slin16")
RECORDED = {"slin16": "l16"}
CODEC_TRUNK = """
[[trunk]]
name = "{codec}"
technology = "iax2"
host = "127.0.0.1:{port}"
defaultuser = "{codec}"
secret = "apples"
context = "from-site"
allow = ["{codec}"]
[[route]]
context = "from-pstn"
match = "416555{number}70"
to = ["iax2:{codec}/{{number}}"]
"""
CODEC_PEER = """
[{codec}]
type = friend
host = 127.0.0.1
port = GATEWAY
username = {codec}
secret = apples
context = incoming
requirecalltoken = yes
disallow = all
allow = {codec}
"""


@lasting(60.0)
async def test_codecs_both_ways(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    numbers = {codec: f"{number:02}" for number, codec in enumerate(CODECS, 20)}
    extra = "".join(
        CODEC_TRUNK.format(codec=codec, port=scene.wire.near_port, number=numbers[codec]) for codec in CODECS
    )
    scene.product.add(extra)
    peers = "".join(CODEC_PEER.format(codec=codec) for codec in CODECS).replace("GATEWAY", str(scene.wire.far_port))
    scene.far.files["iax.conf"] += peers
    async with scene:
        for name, codec in enumerate(CODECS, 21):
            await scene.call_out(f"416555{numbers[codec]}70")
            assert scene.leg()["codec"] == RECORDED.get(codec, codec)
            await scene.call_in("95550106", str(name), peer=codec)
            assert scene.leg()["codec"] == RECORDED.get(codec, codec)


@lasting(60.0)
async def test_calls_between_iax2_and_sip_both_ways(tmp_path: Path) -> None:
    async with Scene(tmp_path, sip=True) as scene:
        await scene.call_in("84165550170")
        files = {"Channel": "SIP/74170@branch", "Context": "talk", "Exten": "12", "Priority": "1"}
        await scene.far.manager.action("Originate", Async="true", **files)
        await scene.product.until_answered()
        await asyncio.sleep(1.5)
        await hang_up(scene.far)
        await scene.product.until_idle()
        assert heard(scene.far, "12").frequency == pytest.approx(MILLIWATT_HZ, abs=5)


@pytest.mark.parametrize("calling", ["IAX2/branch/84160", "SIP/74160@branch"], ids=["from IAX2", "from SIP"])
@lasting(60.0)
async def test_digits_both_ways_between_iax2_and_sip(tmp_path: Path, calling: str) -> None:
    async with Scene(tmp_path, sip=True) as scene:
        await scene.far.manager.action(
            "Originate", Async="true", Channel=calling, Context="digits", Exten="11", Priority="1"
        )
        await scene.far.manager.told("digits", 20, Got="1550*")
        await scene.far.manager.told("digits", 20, Got="93*3")
        await scene.product.until_idle()


@lasting(90.0)
async def test_a_site_that_does_not_answer_is_noticed_and_found_again(tmp_path: Path) -> None:
    timers = "[timers.iax]\nqualify_first_ms = 100\nqualify_unreachable_ms = 1000\nretransmit_ms = 100\nretries = 2\n"
    async with Scene(tmp_path, trunk="qualify = true\nqualifyfreq = 1\n", more=timers) as scene:
        await scene.reach("reachable")
        os.kill(scene.far.pid, signal.SIGSTOP)
        try:
            await scene.reach("unreachable")
            report = await scene.product.pstn_call("4165550670")
            assert (report["answered"], report["cause"]) == (None, 27), report
        finally:
            os.kill(scene.far.pid, signal.SIGCONT)
        await scene.reach("reachable")
        await scene.call_out()


STRANGERS = """
[wrong]
type = peer
host = 127.0.0.1
port = GATEWAY
username = site
secret = pears
[nobody]
type = peer
host = 127.0.0.1
port = GATEWAY
username = nope
secret = pears
"""


@lasting(60.0)
async def test_unknown_users_and_wrong_passwords_are_refused_alike(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.far.files["iax.conf"] += STRANGERS.replace("GATEWAY", str(scene.wire.far_port))
    plan = scene.far.files["extensions.conf"]
    scene.far.files["extensions.conf"] = plan + (
        "[try]\nexten => _X.,1,Dial(IAX2/${WHO}/${EXTEN},10)\n"
        "same => n,UserEvent(tried,Who: ${WHO},Status: ${DIALSTATUS},Cause: ${HANGUPCAUSE})\n"
    )
    async with scene:
        seen = {}
        for who in ("wrong", "nobody"):
            since = asyncio.get_running_loop().time()
            await scene.far.manager.originate(f"Local/{DIALLED}@try", "Wait", "1", Variable=f"WHO={who}")
            told = await scene.far.manager.told("tried", 15, Who=who)
            ours = scene.wire.sent(near=True, since=since)
            seen[who] = (told["Status"], told["Cause"], [(each.data[10:12], len(each.data)) for each in ours])
        assert seen["wrong"] == seen["nobody"]
        assert seen["wrong"][0] != "ANSWER"
        await scene.product.until_idle()
        assert not any(record["answer"] for record in scene.product.records())


@lasting(60.0)
async def test_a_wrong_password_of_ours_is_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    # A second line would be a second secret.
    scene.far.files["iax.conf"] = scene.far.files["iax.conf"].replace("apples", "pears")
    async with scene:
        report = await scene.product.pstn_call("4165550670")
        # Asterisk says so with cause 50, after which a caller would look for a fault of his own.
        assert (report["answered"], report["cause"]) == (None, 57), scene.product.log
        told = "trunk site refuses our user name (branch) or secret: No authority found (50)"
        assert told in scene.product.log
        status = await scene.product.gateway.command("status")
        assert status["iax"]["peers"]["site"]["refuses_us"] == "No authority found (50)"


@lasting(60.0)
async def test_calls_that_begin_at_once_all_get_through_where_the_site_takes_three_at_a_time(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.far.files["iax.conf"] = scene.far.files["iax.conf"].replace("maxauthreq = 100", "maxauthreq = 3")

    def later(datagram: Datagram) -> None:
        # A way of 30 ms, as between sites: on loopback each has proven itself before the next one comes.
        again = functools.partial(scene.wire.inject, datagram.data, near=datagram.near)
        asyncio.get_running_loop().call_later(0.03, again)

    async with scene:
        scene.wire.change = later
        exchange = scene.product.exchange
        begin = [exchange.command("call", called="4165550670", hold=-1) for _ in range(20)]
        calls = [reply["call"] for reply in await asyncio.gather(*begin)]
        await scene.product.until_answered(len(calls))
        for call in calls:
            await exchange.command("hangup", call=call)
        await scene.product.until_idle()
    assert any(b"Unauthenticated call limit reached" in each.data for each in scene.wire.sent(near=False))


ROUND = """\
exten => 63,1,Dial(IAX2/branch/641655506${EXTEN},10)
same => n,Hangup(${HANGUPCAUSE})
exten => 70,1,Answer()
"""


@lasting(60.0)
async def test_call_that_the_site_sends_back_to_us_again_and_again_ends_with_cause_25(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    plan = scene.far.files["extensions.conf"]
    scene.far.files["extensions.conf"] = plan.replace("exten => 70,1,Answer()\n", ROUND)
    async with scene:
        report = await scene.product.pstn_call("4165550663")
        assert (report["answered"], report["cause"]) == (None, 25), scene.product.log
        assert "a call to 64165550663 of 4165550199 goes round between trunk site and us" in scene.product.log
        await scene.product.until_idle()
        assert len(scene.product.records()) <= 4
