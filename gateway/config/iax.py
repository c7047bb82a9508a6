"""Checks of what the file says about IAX2: who proves what with which keys, what is encrypted, where trunks are.

Errors are what would be less safe than it reads or can never work; what costs something unexpected is a warning.
"""

from __future__ import annotations

from pathlib import Path

from gateway.config.draft import Draft
from gateway.config.fields import Reader
from gateway.config.model import IaxAuth, IaxSection, IaxTrunk, Insecure, Technology
from gateway.config.private_keys import fault_of_mode
from gateway.config.problems import KeyPath
from gateway.config.values import is_file
from gateway.voip.iax.peers import DEFAULT_PORT, MAX_LISTENERS, CallTokens, Encryption

MAX_KEY_FILE = 64 * 1024


def encryption_of(trunk: IaxTrunk, section: IaxSection) -> Encryption:
    """What is asked of the trunk's calls: its own keys go before those of ``[iax]``, and force before all."""
    force = section.forceencryption if trunk.forceencryption is None else trunk.forceencryption
    if force:
        return Encryption.REQUIRED
    encrypts = section.encryption if trunk.encryption is None else trunk.encryption
    return Encryption.OPTIONAL if encrypts else Encryption.NO


def asked_of(draft: Draft, trunk: IaxTrunk) -> Encryption:
    """As ``encryption_of``, of a draft."""
    return encryption_of(trunk, draft.iax or IaxSection())


def methods_of(trunk: IaxTrunk) -> tuple[IaxAuth, ...]:
    """How a side of the trunk may prove who it is: as ``auth`` says, else by what there is to prove it with."""
    if trunk.auth:
        return trunk.auth
    keys = (IaxAuth.RSA,) if trunk.inkeys or trunk.outkey else ()
    return keys + ((IaxAuth.MD5,) if trunk.secret is not None or not keys else ())


def taken_unproven(trunk: IaxTrunk) -> bool:
    """Whether calls from its address need no proof: it is told so, or has nothing to prove it with."""
    return Insecure.INVITE in trunk.insecure or (trunk.secret is None and not trunk.inkeys)


def check_iax(reader: Reader, draft: Draft) -> None:
    """Note everything that is wrong with ``[iax]`` and the trunks of technology iax2."""
    _section(reader, draft)
    for path, trunk in draft.iax_trunks:
        checks = _TrunkChecks(reader, draft, path, trunk)
        checks.proofs()
        checks.keys()
        checks.encryption()
        checks.trunking()
        checks.transfer()
        checks.registration()
        checks.reach()
    _once(reader, draft)


def _section(reader: Reader, draft: Draft) -> None:
    iax = draft.iax
    if iax is None:
        return
    if not iax.listen:
        reader.error(("iax", "listen"), "expected at least one udp:ADDRESS:PORT", [])
    if len(iax.listen) > MAX_LISTENERS:
        reader.error(
            ("iax", "listen", MAX_LISTENERS), f"expected at most {MAX_LISTENERS}", str(iax.listen[MAX_LISTENERS])
        )
    written = draft.written("iax")
    if not isinstance(written, dict):
        return
    if not draft.iax_trunks and iax.context is None and not draft.trunk_names(Technology.IAX2):
        text = "nobody can call by it, nor be called: expected a [[trunk]] of technology iax2, or context here"
        reader.warning(("iax",), text)
    if iax.forceencryption and written.get("encryption") is False:
        text = "expected true, or none of it, as forceencryption asks for it"
        reader.error(("iax", "encryption"), text, False)
    if iax.forceencryption and iax.context is not None:
        text = "expected none beside forceencryption: who is no trunk has no secret to encrypt with"
        reader.error(("iax", "context"), text, iax.context)
    if iax.minexpiry > iax.maxexpiry:
        text = f"expected at least minexpiry, which is {iax.minexpiry}"
        reader.error(("iax", "maxexpiry"), text, draft.written("iax", "maxexpiry"))


def _once(reader: Reader, draft: Draft) -> None:
    """Accounts with others are one trunk's each, and so are addresses by which a trunk is known."""
    accounts: dict[tuple[str, int, str], KeyPath] = {}
    places: dict[tuple[str, int], KeyPath] = {}
    for path, trunk in draft.iax_trunks:
        if trunk.host.dynamic:
            continue
        place = (trunk.host.host.lower(), trunk.host.port or DEFAULT_PORT)
        if trunk.register and trunk.defaultuser is not None:
            first = accounts.setdefault((*place, trunk.defaultuser), path)
            if first is not path:
                text = f"expected an account of its own; that of line {reader.line(first)} is the same"
                reader.error((*path, "defaultuser"), text, trunk.defaultuser)
        if taken_unproven(trunk):
            first = places.setdefault(place, path)
            if first is not path:
                text = (
                    f"expected an address of its own, as calls from it without proof belong to one trunk; line "
                    f"{reader.line(first)} has it"
                )
                reader.error((*path, "host"), text, draft.written(*path, "host"))


class _TrunkChecks:
    def __init__(self, reader: Reader, draft: Draft, path: KeyPath, trunk: IaxTrunk) -> None:
        self._reader = reader
        self._draft = draft
        self._path = path
        self._trunk = trunk
        self._methods = methods_of(trunk)

    def _error(self, key: str, text: str) -> None:
        path = (*self._path, key)
        self._reader.error(path, text, self._draft.written(*path))

    def _warning(self, key: str, text: str) -> None:
        path = (*self._path, key)
        self._reader.warning(path, text, self._draft.written(*path))

    def proofs(self) -> None:
        """There is what ``auth`` is about, and nobody is let in by it whom one would not."""
        trunk = self._trunk
        secret = self._draft.written(*self._path, "secret") is not None
        written = bool(trunk.auth)
        if not written and self._draft.written(*self._path, "auth") == []:
            self._error("auth", "expected one of md5, rsa, plaintext, or none of it")
        if trunk.host.dynamic and not secret and not trunk.inkeys:
            text = "expected a secret or inkeys, as anybody could register as this trunk; or its fixed address as host"
            self._error("secret", text)
        if IaxAuth.RSA in self._methods:
            if not trunk.inkeys and trunk.outkey is None:
                self._error("auth", 'expected inkeys, outkey or both beside "rsa"; they are what it proves with')
        elif trunk.inkeys or trunk.outkey is not None:
            self._error("inkeys" if trunk.inkeys else "outkey", 'expected "rsa" in auth, or it is never used')
        if IaxAuth.PLAINTEXT in self._methods:
            text = "the password goes over the wire for anybody to read; expected md5 alone, if the far end has it"
            self._warning("auth", text)
        if written and not secret:
            needy = [each.value for each in self._methods if each is not IaxAuth.RSA]
            if needy:
                self._error("auth", f"expected a secret beside {' and '.join(needy)}")
        elif written and secret and self._methods == (IaxAuth.RSA,) and self._asked is Encryption.NO:
            self._warning("secret", 'of no use with auth = ["rsa"] and no encryption')
        spoofed = trunk.requirecalltoken is CallTokens.NO and taken_unproven(trunk) and not trunk.host.dynamic
        if spoofed:
            text = (
                "anybody can write its address on a datagram and call as this trunk, which needs no proof; expected "
                '"yes", or a secret'
            )
            self._warning("requirecalltoken", text)

    @property
    def _asked(self) -> Encryption:
        return asked_of(self._draft, self._trunk)

    def keys(self) -> None:
        """The files of keys are what they should be."""
        trunk = self._trunk
        if trunk.outkey is not None:
            self._key((*self._path, "outkey"), trunk.outkey, private=True)
        for index, file in enumerate(trunk.inkeys):
            self._key((*self._path, "inkeys", index), file, private=False)

    def _key(self, path: KeyPath, file: Path, *, private: bool) -> None:
        fault = key_fault(file, private=private)
        if fault:
            self._reader.error(path, fault, self._draft.written(*path))

    def encryption(self) -> None:
        """Who asks for encryption gets it, or is told why not."""
        trunk = self._trunk
        asked = self._asked
        if trunk.encryption is False and asked is Encryption.REQUIRED:
            where = "" if trunk.forceencryption else " of [iax]"
            text = f"expected true, or none of it, as forceencryption{where} asks for it"
            if not trunk.forceencryption:
                text += "; or forceencryption = false beside it"
            self._error("encryption", text)
        if asked is Encryption.NO:
            return
        forced = asked is Encryption.REQUIRED
        key = self._key_of_encryption(forced)
        fault = self._no_key(forced)
        if fault and forced:
            self._error(key, fault)
        elif fault:
            self._warning(key, f"nothing of it is encrypted: {fault}")

    def _key_of_encryption(self, forced: bool) -> str:
        """The key that asks for it, if the trunk itself has it; else where its absence is to be told."""
        own = self._trunk.forceencryption if forced else self._trunk.encryption
        if own:
            return "forceencryption" if forced else "encryption"
        return "secret"

    def _no_key(self, forced: bool) -> str:
        """Why there will be no key to encrypt with, or none that is secret."""
        trunk = self._trunk
        if self._draft.written(*self._path, "secret") is None:
            return "expected a secret: the key is made of it"
        if not {IaxAuth.MD5, IaxAuth.RSA} & set(self._methods):
            return "expected md5 in auth: the key is made of its challenge"
        if Insecure.INVITE in trunk.insecure and not forced:
            return ""
        if Insecure.INVITE in trunk.insecure:
            return 'expected insecure without "invite": who is not asked for a proof gets no challenge to make a key of'
        if IaxAuth.PLAINTEXT in self._methods and forced:
            return "expected auth without plaintext: the key is made of the password, which would be there to read"
        return ""

    def trunking(self) -> None:
        """Trunk frames cannot be encrypted."""
        trunk = self._trunk
        if not trunk.trunk:
            if trunk.trunktimestamps is not None:
                self._warning("trunktimestamps", "of use with trunk = true only")
            if self._draft.written(*self._path, "trunkmtu") is not None:
                self._warning("trunkmtu", "of use with trunk = true only")
            return
        asked = self._asked
        if asked is Encryption.NO:
            return
        which = "all its calls" if asked is Encryption.REQUIRED else "calls that are encrypted"
        text = (
            f"of no effect for {which}: trunk frames cannot be encrypted, so voice goes in encrypted mini frames, at "
            "89 kbit/s a call one way instead of 66 to 80 (G.711)"
        )
        self._warning("trunk", text)

    def transfer(self) -> None:
        """Calls that leave the gateway leave its encryption."""
        trunk = self._trunk
        for key in ("directmediapermit", "directmediadeny"):
            if getattr(trunk, key) and not trunk.transfer:
                self._warning(key, "of use with transfer = true only")
        if trunk.transfer and self._asked is Encryption.REQUIRED:
            text = "of no effect: encrypted calls stay here, as their far ends have no key between them"
            self._warning("transfer", text)

    def registration(self) -> None:
        """Who registers has an account and somebody to register with."""
        trunk = self._trunk
        if not trunk.register:
            if self._draft.written(*self._path, "registerexpiry") is not None:
                self._warning("registerexpiry", "of use with register = true only")
            return
        if trunk.host.dynamic:
            text = "expected the address or name of the registrar as host; with dynamic the far end registers with us"
            self._error("register", text)
        if trunk.defaultuser is None:
            self._error("defaultuser", "expected the user name of the account, as register is true")
        if self._draft.written(*self._path, "secret") is None and trunk.outkey is None:
            self._warning("secret", "expected the password of the account, as nearly all registrars ask for it")

    def reach(self) -> None:
        """There must be a socket of ours from which its address can be reached."""
        host = self._trunk.host
        address = host.address
        listens = self._draft.iax.listen if self._draft.iax is not None else ()
        if host.dynamic or address is None or not listens:
            return
        if address.is_unspecified or address.is_multicast:
            self._error("host", "expected an address that calls can go to")
            return
        if address.version == 6 and address.is_link_local:
            text = (
                "expected a global or unique local address: a link-local one is on every link, and no key says on which"
            )
            self._error("host", text)
            return
        if not any(listen.reaches(address) for listen in listens):
            text = f'expected "udp:[::]:4569", say, among listen of [iax]: {listens[0]} does not reach '
            self._error("host", f"{text}IPv{address.version}")
        for listen in listens:
            if listen.address == address and listen.port == (host.port or DEFAULT_PORT):
                self._warning("host", f"is our own address, {listen} in listen: calls to it would come back")


def key_fault(file: Path, *, private: bool) -> str:
    """What is wrong with a file of a key in PEM, and what to do about it; nothing if it can be used."""
    if not is_file(file):
        return f"expected a file; there is none at {file}"
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_KEY_FILE + 1)
    except OSError as error:
        return f"cannot be read: {error.strerror}; expected a file that the gateway's user may read"
    if len(data) > MAX_KEY_FILE:
        return f"expected at most {MAX_KEY_FILE} bytes"
    if private and b"-----BEGIN PUBLIC KEY" in data:
        return "expected our private key; this is a public one, which belongs into inkeys of the far end"
    if not private and b"PRIVATE KEY-----" in data:
        return "expected the far end's public key; this is a private one, which only its owner should have"
    if b"-----BEGIN CERTIFICATE" in data:
        return f"expected a key, not a certificate; openssl x509 -pubkey -noout -in {file} takes the public one out"
    # Late, as most files have no keys and cryptography takes long to load.
    from gateway.voip.iax.auth import private_key, public_key

    try:
        if private:
            private_key(data)
        else:
            public_key(data)
    except ValueError as error:
        return f"{error}; openssl genrsa -traditional 1024 makes one" if private else str(error)
    return fault_of_mode(file) if private else ""
