"""Asterisk 16 as the far site: its configuration files as a test writes them, its programs in a root of their own.

It runs in a mount namespace (and a user namespace where we are not root), so that nothing is left when it ends. It
hears on loopback; what it does with calls is its dial plan's, what it thought of them is asked by its
manager interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.interop.program import PeerError, Program, free_port
from tests.interop.tone import write_tone
from tests.outside.bullseye import unpacked
from tests.outside.manager import SECRET, USER, Manager

START_SECONDS = 30.0
MUSIC_HERTZ = 440.0
"""Its music on hold."""
_SERIAL = itertools.count()
_MODULES = """\
res_timing_timerfd res_crypto res_sorcery_config res_sorcery_memory res_sorcery_astdb res_pjproject
res_rtp_asterisk res_srtp res_musiconhold
res_http_websocket pbx_config
bridge_simple bridge_native_rtp bridge_holding bridge_builtin_features
codec_ulaw codec_alaw codec_a_mu codec_g722 codec_gsm codec_resample
format_pcm format_wav format_gsm format_sln
app_dial app_echo app_milliwatt app_playback app_playtones app_verbose app_read app_senddtmf app_transfer app_stack
app_userevent app_bridgewait app_record app_mixmonitor app_waitforsilence
func_channel func_callerid func_hangupcause func_strings func_logic func_global func_timeout
""".split()  # noqa: SIM905 - read as words
_CHAN_SIP = ("chan_sip",)
_IAX2 = ("chan_iax2",)
_PJSIP = """\
res_pjsip res_pjsip_session res_pjsip_sdp_rtp
res_pjsip_authenticator_digest res_pjsip_outbound_authenticator_digest res_pjsip_endpoint_identifier_ip
res_pjsip_endpoint_identifier_user res_pjsip_outbound_registration res_pjsip_registrar res_pjsip_caller_id
res_pjsip_dtmf_info res_pjsip_nat res_pjsip_refer res_pjsip_rfc3326 res_pjsip_diversion res_pjsip_path
res_pjsip_header_funcs res_pjsip_sips_contact res_pjsip_acl res_pjsip_empty_info res_pjsip_dlg_options
res_pjsip_pubsub res_pjsip_logger res_statsd func_pjsip_endpoint func_pjsip_aor func_pjsip_contact chan_pjsip
""".split()  # noqa: SIM905 - read as words
_MODULE_DIRECTORY = "usr/lib/asterisk/modules"
_ROTATION = re.compile(
    # q * 180001, then the random number less that, then 120000 more: imul, sub, lea, add.
    rb"\x48\x69(?P<whole>.)(?P<most>\x21\xbf\x02\x00)(?P<rest>\x48\x29.)(?P<lea>\x48\x8d\x15....)\x81\xc6\xc0\xd4\x01\x00",
    re.DOTALL,
)
"""Where chan_iax2 of Debian 11 works out when it makes its next key: in 120 s and up to 180 s more."""
ROTATION_MILLISECONDS = 1500
_DIRECTORIES = """\
[directories]
astetcdir => {inside}
astmoddir => {modules}
astvarlibdir => {inside}/lib
astdbdir => {inside}/lib
astkeydir => {inside}/lib
astdatadir => /usr/share/asterisk
astagidir => {inside}/lib
astspooldir => {inside}/spool
astrundir => {inside}
astlogdir => {inside}
astsbindir => /usr/sbin
[options]
verbose = 4
debug = 0
nofork = yes
"""


_MANAGER = f"""\
[general]
enabled = yes
bindaddr = 127.0.0.1
port = {{port}}
[{USER}]
secret = {SECRET}
read = call,dtmf,user,dialplan,reporting
write = all
"""


def asterisk_root() -> Path:
    """The root directory that Asterisk lives in; made on first use."""
    return unpacked("asterisk", ("asterisk", "asterisk-modules", "asterisk-core-sounds-en-gsm"), "usr/sbin/asterisk")


def with_quick_rotation(module: bytes) -> bytes:
    """chan_iax2 with a new key every ROTATION_MILLISECONDS, for which it has no setting; PeerError if it is another."""
    found = _ROTATION.search(module)
    if found is None or _ROTATION.search(module, found.end()) is not None:
        raise PeerError("chan_iax2 of Debian 11 works out when to make its next key in another way than it did")
    # xor esi,esi; nop instead of the subtraction.
    changed = found.group(0).replace(found["rest"], b"\x31\xf6\x90")
    changed = changed[:-4] + ROTATION_MILLISECONDS.to_bytes(4, "little")
    return module[: found.start()] + changed + module[found.end() :]


class Asterisk:
    """One running Asterisk. ``files`` are its configuration files by name (``sip.conf``), in which ``{inside}`` is the
    directory of this instance as it sees it, and ``{port}``, ``{tls}``, ``{iax}`` are its free ports. ``without``:
    modules that it is not to load. It has chan_sip where there is a ``sip.conf``, PJSIP where there is a
    ``pjsip.conf``, chan_iax2 where there is an ``iax.conf``; that with ``quick_rotation`` makes a new key every
    ROTATION_MILLISECONDS.
    """

    manager: Manager

    def __init__(
        self,
        files: Mapping[str, str],
        *,
        port: int = 0,
        tls: int = 0,
        iax: int = 0,
        quick_rotation: bool = False,
    ) -> None:
        self.root = asterisk_root()
        self.port, self.tls, self.iax = port or free_port(), tls or free_port(), iax or free_port()
        self._quick_rotation = quick_rotation
        self._manager_port = 0
        self.inside = f"/run/gateway-test-{os.getpid()}-{next(_SERIAL)}"
        self.directory = self.root / self.inside.lstrip("/")
        self.files = dict(files)
        self.without: tuple[str, ...] = ()
        self._program: Program | None = None

    async def __aenter__(self) -> Asterisk:
        for name in ("lib", "spool", "lib/keys", "moh"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self._manager_port = free_port()
        wanted = [*_MODULES, *(_CHAN_SIP if "sip.conf" in self.files else ())]
        wanted += _PJSIP if "pjsip.conf" in self.files else ()
        wanted += _IAX2 if "iax.conf" in self.files else ()
        write_tone(self.directory / "moh" / "tune.wav", MUSIC_HERTZ, seconds=2)
        first = 40_000 + os.getpid() % 10 * 1000
        usual = {
            "asterisk.conf": _DIRECTORIES,
            "modules.conf": "[modules]\nautoload = no\n"
            + "".join(f"load = {name}.so\n" for name in wanted if f"{name}.so" not in self.without),
            "rtp.conf": f"[general]\nrtpstart={first}\nrtpend={first + 998}\n",
            "logger.conf": "[general]\n[logfiles]\nfull => notice,warning,error,verbose(4)\n",
            "manager.conf": _MANAGER.format(port=self._manager_port),
            "http.conf": "[general]\nenabled = no\n",
            "features.conf": "[general]\n",
            "musiconhold.conf": f"[default]\nmode = files\ndirectory = {self.inside}/moh\n",
        }
        for name, text in {**usual, **self.files}.items():
            for word, value in (
                ("inside", self.inside),
                ("modules", self._modules()),
                ("port", str(self.port)),
                ("tls", str(self.tls)),
                ("iax", str(self.iax)),
            ):
                text = text.replace("{" + word + "}", value)
            (self.directory / name).write_text(text)
        root = str(self.root)
        script = (
            f'mount --rbind /dev "{root}/dev" && mount --rbind /proc "{root}/proc" && '
            f'exec chroot "{root}" /usr/sbin/asterisk -f -C {self.inside}/asterisk.conf'
        )
        spaces = ["--mount"] if os.geteuid() == 0 else ["--mount", "--user", "--map-root-user"]
        words = ["unshare", *spaces, "sh", "-c", script]
        self._program = Program("asterisk", await Program.spawn(words))
        try:
            await self._until_booted()
        except BaseException:
            await self._stop()
            raise
        return self

    def _modules(self) -> str:
        """The directory of its modules as it sees it."""
        if not self._quick_rotation:
            return f"/{_MODULE_DIRECTORY}"
        own = self.directory / "modules"
        if not own.exists():
            own.mkdir()
            for module in (self.root / _MODULE_DIRECTORY).iterdir():
                if module.name == "chan_iax2.so":
                    (own / module.name).write_bytes(with_quick_rotation(module.read_bytes()))
                else:
                    (own / module.name).symlink_to(f"/{_MODULE_DIRECTORY}/{module.name}")
        return f"{self.inside}/modules"

    async def _until_booted(self) -> None:
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while True:
            assert self._program is not None
            if self._program.process.returncode is not None:
                raise PeerError(f"asterisk ended: {self._program.errors[-5:]} {self.log[-2000:]}")
            with contextlib.suppress(PeerError, OSError):
                self.manager = await Manager.connect(self._manager_port)
                await self.console("core waitfullybooted")
                return
            if asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"asterisk is not up after {START_SECONDS:.0f} s: {self.log[-2000:]}")
            await asyncio.sleep(0.05)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        if hasattr(self, "manager"):
            await self.manager.close()
        if self._program is not None:
            await self._program.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The process that became Asterisk; it must run."""
        assert self._program is not None
        return self._program.process.pid

    @property
    def log(self) -> str:
        """All that it logged."""
        path = self.directory / "full"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    async def console(self, command: str, within: float = 10.0) -> str:
        """What its console answers to ``command``."""
        return (await self.manager.action("Command", within, Command=command)).get("Output", "")

    async def until(self, command: str, pattern: str, within: float = 15.0) -> str:
        """Ask ``command`` until what it answers matches ``pattern``."""
        deadline = asyncio.get_running_loop().time() + within
        while True:
            text = await self.console(command)
            if re.search(pattern, text):
                return text
            if asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"{command}: no {pattern!r} in {within:.0f} s: {text}\n{self.log[-3000:]}")
            await asyncio.sleep(0.1)

    async def until_logged(self, pattern: str, within: float = 15.0) -> str:
        """Wait for a line of its log."""
        deadline = asyncio.get_running_loop().time() + within
        while not (found := re.search(pattern, self.log)):
            if asyncio.get_running_loop().time() > deadline:
                raise PeerError(f"asterisk did not log {pattern!r} in {within:.0f} s: {self.log[-3000:]}")
            await asyncio.sleep(0.05)
        return found.group(0)
