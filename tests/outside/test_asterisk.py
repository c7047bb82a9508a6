"""Asterisk 16 at the other site, with the configurations that operators know: calls both ways, by ear."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from tests.interop.openssl import Certificates
from tests.interop.product import Product
from tests.interop.program import free_port
from tests.interop.scenario import scenario
from tests.outside.asterisk import Asterisk

MILLIWATT_HZ = 1004
MILLIWATT = "5550107"
CODECS = "disallow = all\nallow = ulaw,alaw\n"
PEER = """\
[branch]
type = peer
host = 127.0.0.1
port = GATEWAY
defaultuser = hq
secret = apples
context = incoming
directmedia = no
"""
GENERAL = "[general]\nbindaddr = 127.0.0.1\nbindport = {port}\nallowguest = no\n"
DIALPLAN = """\
[incoming]
exten => _X.,1,Answer()
same => n,Set(SAID=${CHANNEL(secure_signaling)}${CHANNEL(secure_media)})
same => n,Verbose(1,hop of ${EXTEN}: ${SAID})
same => n,Echo()
[out]
exten => _X.,1,Set(CHANNEL(secure_bridge_signaling)=SIGNALLING)
same => n,Set(CHANNEL(secure_bridge_media)=MEDIA)
same => n,Dial(SIP/9${EXTEN}@branch,20)
same => n,Verbose(1,dialled: ${DIALSTATUS} ${HANGUPCAUSE})
"""
TRUNK = 'defaultuser = "branch"\nsecret = "apples"\n'


def dialplan(signalling: int = 0, media: int = 0) -> str:
    return DIALPLAN.replace("=SIGNALLING", f"={signalling}").replace("=MEDIA", f"={media}")


def sip_conf(product: Product, peer: str = PEER, general: str = "", port: int = 0, terms: str = "") -> dict[str, str]:
    text = GENERAL + general + "\n" + peer.replace("GATEWAY", str(port or product.sip_port)) + CODECS + terms
    return {"sip.conf": text, "extensions.conf": dialplan()}


async def heard_calling_out(product: Product) -> None:
    """A call of the telephone company through to Asterisk, which echoes: it hears its own tone."""
    report = await product.pstn_call(hold=1500, voice="milliwatt")
    assert report["cause"] == 16, product.log
    assert abs(report["heard"]["frequency"] - MILLIWATT_HZ) < 10, report


async def heard_calling_in(product: Product, far: Asterisk) -> None:
    """A call of Asterisk's through to a subscriber of the telephone company, whose tone comes back as an echo."""
    await far.manager.originate(f"Local/{MILLIWATT}@out", "Echo")
    await product.until_answered()
    await asyncio.sleep(1.5)
    await far.console("channel request hangup all")
    report = await product.exchange.event("ended", 10, lambda event: event["direction"] == "from gateway")
    assert abs(report["heard"]["frequency"] - MILLIWATT_HZ) < 10, report
    await product.until_idle()


@scenario
async def test_two_sites_with_a_secret_call_each_other_and_are_heard(tmp_path: Path) -> None:
    port = free_port()
    product = Product(tmp_path, trunk=TRUNK, far_port=port)
    async with Asterisk(sip_conf(product), port=port) as far, product:
        await heard_calling_out(product)
        await heard_calling_in(product, far)


@scenario
async def test_a_wrong_secret_is_refused_by_either_side(tmp_path: Path) -> None:
    port = free_port()
    product = Product(tmp_path, trunk=TRUNK.replace("apples", "pears"), far_port=port)
    async with Asterisk(sip_conf(product), port=port) as far, product:
        report = await product.pstn_call()
        assert (report["cause"], report["answered"]) == (21, None), product.log
        await far.manager.originate(f"Local/{MILLIWATT}@out", "Echo")
        await far.until_logged("dialled: CONGESTION|dialled: CHANUNAVAIL")
        await product.until_idle()
        assert not any(record["source"] == "hq" and record["answer"] for record in product.records())


PROVIDER = """\
[branch]
type = friend
host = dynamic
defaultuser = branch
secret = apples
context = incoming
directmedia = no
qualify = yes
insecure = invite
"""


@scenario
async def test_a_provider_that_we_register_with_calls_and_is_called(tmp_path: Path) -> None:
    port = free_port()
    trunk = TRUNK + 'register = true\ninsecure = ["invite"]\nqualify = true\n'
    product = Product(tmp_path, trunk=trunk, far_port=port)
    async with Asterisk(sip_conf(product, PROVIDER), port=port) as far, product:
        await far.until("sip show peers", r"branch.*OK \(")
        await heard_calling_out(product)
        await heard_calling_in(product, far)
    # Unregistered when it ended.


@scenario
async def test_an_asterisk_that_registers_with_us_calls_and_is_called(tmp_path: Path) -> None:
    port = free_port()
    extra = """
[[trunk]]
name = "site"
technology = "sip"
host = "dynamic"
defaultuser = "branch"
secret = "apples"
context = "from-hq"
[[route]]
context = "from-pstn"
match = "_41655504XX"
to = ["sip:site/{number}"]
"""
    product = Product(tmp_path, extra=extra)
    peer = PEER.replace("defaultuser = hq", "defaultuser = site\nfromuser = site\nremotesecret = apples")
    register = f"register => site:apples@127.0.0.1:{product.sip_port}\n"
    async with product, Asterisk(sip_conf(product, peer, register), port=port) as far:
        await far.until("sip show registry", "Registered")
        report = await product.pstn_call("4165550401", hold=1500, voice="milliwatt")
        assert report["cause"] == 16, product.log
        assert abs(report["heard"]["frequency"] - MILLIWATT_HZ) < 10, report
        await heard_calling_in(product, far)


PJSIP = """\
[transport]
type = transport
protocol = udp
bind = 127.0.0.1:{port}
[branch]
type = endpoint
context = incoming
disallow = all
allow = ulaw,alaw
aors = branch
auth = branch
outbound_auth = ours
direct_media = no
[branch]
type = aor
contact = sip:127.0.0.1:GATEWAY
qualify_frequency = 1
[branch]
type = auth
auth_type = userpass
username = branch
password = apples
[ours]
type = auth
auth_type = userpass
username = branch
password = apples
[branch]
type = identify
endpoint = branch
match = 127.0.0.1
"""


@scenario
async def test_pjsip_with_a_secret_calls_and_is_called(tmp_path: Path) -> None:
    port = free_port()
    product = Product(tmp_path, trunk=TRUNK + "qualify = true\n", far_port=port)
    plan = dialplan().replace("SIP/9${EXTEN}@branch", "PJSIP/9${EXTEN}@branch")
    files = {"pjsip.conf": PJSIP.replace("GATEWAY", str(product.sip_port)), "extensions.conf": plan}
    async with Asterisk(files, port=port) as far, product:
        await far.until("pjsip show contacts", r"branch.*Avail")
        await heard_calling_out(product)
        await heard_calling_in(product, far)


TLS = """\
tlsenable = yes
tlsbindaddr = 127.0.0.1:{tls}
tlscertfile = {inside}/lib/keys/phone.pem
tlscafile = {inside}/lib/keys/ca.crt
tlsclientmethod = tlsv1_2
"""


async def encrypted(tmp_path: Path, trunk: str, terms: str) -> tuple[Product, Asterisk]:
    """The gateway and Asterisk over TLS, certificates from one CA."""
    certificates = await Certificates(tmp_path).make()
    port, tls, ours = free_port(), free_port(), free_port()
    product = Product(
        tmp_path,
        sip=certificates.sip,
        listen=[f"tls:127.0.0.1:{ours}"],
        trunk=f'{TRUNK}transport = "tls"\n{trunk}',
        far_port=tls,
    )
    # Asterisk 16 compares the host it calls with names only, not with addresses.
    peer = PEER.replace("host = 127.0.0.1", "host = localhost") + "transport = tls\n"
    files = sip_conf(product, peer, TLS, ours, terms)
    far = Asterisk(files, port=port, tls=tls)
    keys = far.directory / "lib" / "keys"
    keys.mkdir(parents=True)
    for name in ("phone.pem", "ca.crt"):
        shutil.copy(certificates.directory / name, keys)
    return product, far


@scenario
async def test_signalling_over_tls(tmp_path: Path) -> None:
    product, far = await encrypted(tmp_path, "", "")
    far.files["extensions.conf"] = dialplan(signalling=1)
    async with far, product:
        await heard_calling_out(product)
        await far.until_logged("hop of .*: 1")
        await heard_calling_in(product, far)
        assert product.records()[-1]["facts"] == ["secure_signalling"]


@scenario
async def test_signalling_over_tls_and_voice_over_srtp(tmp_path: Path) -> None:
    product, far = await encrypted(tmp_path, 'media_encryption = "required"\n', "encryption = yes\n")
    far.files["extensions.conf"] = dialplan(signalling=1, media=1)
    async with far, product:
        await heard_calling_out(product)
        await far.until_logged("hop of .*: 11")
        await heard_calling_in(product, far)
        assert product.records()[-1]["facts"] == ["secure_media", "secure_signalling"]


@scenario
async def test_an_asterisk_that_wants_srtp_refuses_us_without_and_is_refused(tmp_path: Path) -> None:
    product, far = await encrypted(tmp_path, 'media_encryption = "no"\n', "encryption = yes\n")
    # secure_bridge_media=0 would turn encryption=yes off.
    far.files["extensions.conf"] = dialplan(signalling=1, media=1)
    async with far, product:
        report = await product.pstn_call()
        assert (report["answered"], report["cause"]) == (None, 65), report
        await far.manager.originate(f"Local/{MILLIWATT}@out", "Echo")
        await far.until_logged("dialled: (?!ANSWER)")
        await product.until_idle()
        assert not any(record["answer"] for record in product.records())


@scenario
async def test_an_asterisk_without_srtp_is_not_called_in_the_clear(tmp_path: Path) -> None:
    product, far = await encrypted(tmp_path, 'media_encryption = "required"\n', "encryption = no\n")
    far.without = ("res_srtp.so",)
    async with far, product:
        report = await product.pstn_call()
        assert (report["answered"], report["cause"]) == (None, 65), report
        await far.manager.originate(f"Local/{MILLIWATT}@out", "Echo")
        await far.until_logged("dialled: (?!ANSWER)")
        await product.until_idle()
        assert not any(record["answer"] for record in product.records())
