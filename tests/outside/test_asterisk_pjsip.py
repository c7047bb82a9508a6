"""Asterisk's PJSIP at the other site: encryption, registration both ways, and what it does in the middle of a call."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.interop.openssl import Certificates
from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.scenario import lasting
from tests.interop.tone import write_tone
from tests.outside.asterisk import Asterisk

MILLIWATT_HZ, HOLD_HZ = 1004, 500
REFRESHES_AFTER = 52.0
"""Half of 90 s, the least that RFC 4028 has, and a little more."""
CONFIGURATION = """\
[wire]
type = transport
protocol = udp
bind = 127.0.0.1:{port}
TRANSPORT
[branch]
type = endpoint
transport = wire
context = incoming
disallow = all
allow = alaw,ulaw
aors = branch
outbound_auth = secret
direct_media = no
rtp_symmetric = yes
force_rport = yes
rewrite_contact = yes
ENDPOINT
[branch]
type = aor
AOR
[secret]
type = auth
auth_type = userpass
username = branch
password = apples
MORE
"""
AOR = "contact = sip:127.0.0.1:GATEWAY\n"
IDENTIFY = "[branch]\ntype = identify\nendpoint = branch\nmatch = 127.0.0.1\n"
DIALPLAN = """\
[incoming]
exten => _X.,1,UserEvent(offered,Number: ${EXTEN})
same => n,Goto(${EXTEN:-2},1)
exten => 01,1,Answer()
same => n,UserEvent(hop,Signalling: ${CHANNEL(secure)},Srtp: ${CHANNEL(rtp,secure)})
same => n,Echo()
exten => 02,1,Answer()
same => n,BridgeWait(waiting,participant,e(h)S(6))
exten => 03,1,Answer()
same => n,BridgeWait(waiting,participant,e(h)S(1))
same => n,Echo()
exten => 04,1,Dial(PJSIP/95550107@branch,10)
[out]
exten => _X.,1,Dial(PJSIP/9${EXTEN}@branch,10)
same => n,UserEvent(dialled,Status: ${DIALSTATUS},Cause: ${HANGUPCAUSE})
"""
TRUNK = 'defaultuser = "branch"\nsecret = "apples"\n'


def far_site(
    product: Product, port: int, *, endpoint: str = "", aor: str = AOR, transport: str = "", more: str = IDENTIFY
) -> Asterisk:
    """Asterisk at ``port``."""
    text = CONFIGURATION
    for word, said in (("ENDPOINT", endpoint), ("AOR", aor), ("TRANSPORT", transport), ("MORE", more)):
        text = text.replace(word, said)
    text = text.replace("GATEWAY", str(product.sip_port))
    return Asterisk({"pjsip.conf": text, "extensions.conf": DIALPLAN}, port=port)


async def call_out(product: Product, number: str = "4165550101", hertz: float = MILLIWATT_HZ, hold: int = 1500) -> None:
    """A call of the telephone company through to Asterisk."""
    report = await product.pstn_call(number, hold=hold, voice="milliwatt")
    assert report["cause"] == 16, product.log
    assert report["heard"]["frequency"] == pytest.approx(hertz, abs=10), report


async def call_in(product: Product, far: Asterisk) -> None:
    """A call of Asterisk's through to the telephone company, where its echo is heard."""
    await far.manager.originate("Local/5550107@out", "Echo")
    await product.until_answered()
    await asyncio.sleep(1.5)
    await far.manager.action("Hangup", Channel="/^Local/")
    ended = await product.exchange.event("ended", 10, lambda event: event["direction"] == "from gateway")
    assert ended["heard"]["frequency"] == pytest.approx(MILLIWATT_HZ, abs=10), ended
    await product.until_idle()


async def encrypted(directory: Path, ours: str, theirs: str) -> tuple[Product, Asterisk]:
    """Both over TLS with certificates of our CA; ``ours`` and ``theirs`` are what they say about SRTP."""
    certificates = await Certificates(directory).make()
    port, tls = free_port(), free_port()
    product = Product(
        directory,
        sip=certificates.sip,
        listen=[f"tls:127.0.0.1:{tls}"],
        trunk=f'{TRUNK}transport = "tls"\nmedia_encryption = "{ours}"\n',
        far_port=port,
    )
    transport = (
        "cert_file = {inside}/lib/keys/phone.pem\npriv_key_file = {inside}/lib/keys/phone.pem\n"
        "ca_list_file = {inside}/lib/keys/ca.crt\nverify_server = yes\nmethod = tlsv1_2\n"
    )
    aor = f"contact = sip:127.0.0.1:{tls}\\;transport=tls\n"
    far = far_site(product, port, endpoint=theirs, aor=aor, transport=transport)
    far.files["pjsip.conf"] = far.files["pjsip.conf"].replace("protocol = udp", "protocol = tls")
    keys = far.directory / "lib" / "keys"
    keys.mkdir(parents=True)
    for name in ("phone.pem", "ca.crt"):
        shutil.copy(certificates.directory / name, keys)
    return product, far


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("required", "media_encryption = sdes\n"),
        ("required", "media_encryption = sdes\nmedia_encryption_optimistic = yes\n"),
        ("optional", "media_encryption = sdes\nmedia_encryption_optimistic = yes\n"),
    ],
    ids=["required", "optimistic", "both optional"],
)
@lasting(60.0)
async def test_voice_is_encrypted_with_keys_in_sdp(tmp_path: Path, ours: str, theirs: str) -> None:
    product, far = await encrypted(tmp_path, ours, theirs)
    async with far, product:
        await call_out(product)
        await call_in(product, far)
        out, into = product.records()
        assert out["attempts"][0]["leg"]["srtp"] and into["incoming"]["srtp"]
        assert into["facts"] == ["secure_media", "secure_signalling"]


@lasting(60.0)
async def test_sides_that_cannot_agree_on_encryption_have_no_call(tmp_path: Path) -> None:
    product, far = await encrypted(tmp_path, "required", "media_encryption = no\n")
    async with far, product:
        report = await product.pstn_call()
        assert (report["answered"], report["cause"]) == (None, 65)
        await far.manager.originate("Local/5550107@out", "Echo")
        assert (await far.manager.told("dialled"))["Status"] != "ANSWER"


REGISTRATION = """\
[register]
type = registration
transport = wire
outbound_auth = secret
server_uri = sip:127.0.0.1:GATEWAY
client_uri = sip:branch@127.0.0.1:GATEWAY
contact_user = branch
expiration = 60
"""
SITE = """
[[trunk]]
name = "branch"
technology = "sip"
host = "dynamic"
secret = "apples"
context = "from-hq"
[[route]]
context = "from-pstn"
match = "_41655504XX"
to = ["sip:branch/{number}"]
"""


@lasting(60.0)
async def test_a_site_that_registers_with_us_is_found_again_after_our_restart(tmp_path: Path) -> None:
    product = Product(tmp_path, extra=SITE)
    port = free_port()
    far = far_site(product, port, endpoint="from_user = branch", more=IDENTIFY + REGISTRATION)
    async with product, far:
        await far.until("pjsip show registrations", "Registered")
        await call_out(product, "4165550401")
        await call_in(product, far)
        await product.stop_gateway()
        await product.start_gateway()
        await product.until_up()
        await call_out(product, "4165550401")


@lasting(60.0)
async def test_we_register_and_do_so_again_when_the_site_has_forgotten_us(tmp_path: Path) -> None:
    port = free_port()
    registering = 'register = true\nregisterexpiry = 60\ninsecure = ["invite"]\n'
    trunk = f"{TRUNK}{registering}qualify = true\nqualifyfreq = 1\nrtptimeout = 2\n"
    product = Product(tmp_path, trunk=trunk, far_port=port)

    def made() -> Asterisk:
        return far_site(product, port, endpoint="auth = secret", aor="max_contacts = 1\nremove_existing = yes\n")

    async with product:
        async with made() as far:
            await far.until("pjsip show aors", "Contact: +branch/")
            await call_out(product)
            await call_in(product, far)
            call = (await product.exchange.command("call", called="4165550101", hold=-1))["call"]
            await product.until_answered()
        # It went in the middle of a call, which ends all the same.
        ended = await product.exchange.event("ended", 15, lambda event: event["call"] == call)
        assert ended["answered"] is not None
        await product.until_idle()
        async with made() as far:
            await call_out(product)


@pytest.mark.parametrize("theirs", ["100rel = required\n", "100rel = yes\n", "100rel = no\n"])
@lasting(60.0)
async def test_reliable_provisional_responses(tmp_path: Path, theirs: str) -> None:
    port = free_port()
    required = "required" in theirs
    product = Product(tmp_path, trunk=TRUNK + ('prack = "required"\n' if required else ""), far_port=port)
    async with far_site(product, port, endpoint=theirs) as far, product:
        await call_out(product)
        await call_in(product, far)


@lasting(60.0)
async def test_who_is_put_on_hold_by_asterisk_hears_our_music_and_then_asterisk_again(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "prompts").mkdir()
    write_tone(tmp_path / "prompts" / "tune.wav", HOLD_HZ, seconds=2)
    product = Product(tmp_path, trunk=TRUNK, far_port=port, media='musiconhold = "tune"')
    async with far_site(product, port, endpoint="moh_passthrough = yes\n"), product:
        await call_out(product, "4165550102", HOLD_HZ, hold=2000)
        await product.until_idle()
        await call_out(product, "4165550103", MILLIWATT_HZ, hold=3000)


@lasting(60.0)
async def test_asterisk_joins_two_of_our_own_legs_directly(tmp_path: Path) -> None:
    port = free_port()
    product = Product(tmp_path, trunk=TRUNK, far_port=port)
    async with far_site(product, port, endpoint="direct_media = yes\n"), product:
        await call_out(product, "4165550104", hold=3000)
        await product.until_idle()


@lasting(REFRESHES_AFTER + 40.0)
async def test_sessions_are_refreshed_by_either_side(tmp_path: Path) -> None:
    port = free_port()
    product = Product(tmp_path, trunk=TRUNK, far_port=port, sip="session_expires = 90")
    endpoint = "timers = always\ntimers_min_se = 90\ntimers_sess_expires = 90\n"
    async with far_site(product, port, endpoint=endpoint) as far, product:
        call = (await product.exchange.command("call", called="4165550101", hold=-1, voice="milliwatt"))["call"]
        await far.manager.originate("Local/5550107@out", "Echo")
        await product.until_answered(2)
        await asyncio.sleep(REFRESHES_AFTER)
        assert len((await product.gateway.command("status"))["calls"]) == 2
        await product.exchange.command("hangup", call=call)
        ended = await product.exchange.event("ended", 10, lambda event: event["call"] == call)
        assert ended["heard"]["frequency"] == pytest.approx(MILLIWATT_HZ, abs=10)
        await far.manager.action("Hangup", Channel="/^Local/")
        await product.until_idle()
        assert all(record["talk_seconds"] > REFRESHES_AFTER - 2 for record in product.records())
