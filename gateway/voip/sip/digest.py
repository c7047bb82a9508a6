"""Digest authentication on paper (RFC 7616, RFC 8760, RFC 3261 22): challenges, credentials, and what is computed.

No nonce is made or judged here: see ``authenticator.py`` (server) and ``credentials.py`` (client).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from urllib.parse import unquote_to_bytes

from gateway.voip.sip.errors import SipError
from gateway.voip.sip.message import Message
from gateway.voip.sip.syntax import MAX_PARAMETERS, is_token, quote, split_list, unquote

MAX_FIELDS = 8
"""Challenges, or credentials, looked at in one message."""
MAX_VALUE = 512
"""Characters of one parameter: a nonce, a realm, a user name, a URI."""

AUTHORIZATION = {401: "Authorization", 407: "Proxy-Authorization"}
"""The field that answers a challenge, by the status it came with (RFC 3261 22.2, 22.3)."""
_CHALLENGE_FIELDS = {401: "www-authenticate", 407: "proxy-authenticate"}


class Algorithm(Enum):
    """RFC 8760 2.1, the strongest first."""

    SHA_512_256 = "SHA-512-256"
    SHA_256 = "SHA-256"
    MD5 = "MD5"

    @property
    def digits(self) -> int:
        """The length of a digest in hexadecimal digits."""
        return 32 if self is Algorithm.MD5 else 64

    def digest(self, *parts: str) -> str:
        """H(parts joined by colons), RFC 7616 3.3, in hexadecimal digits."""
        return _HASHES[self](":".join(parts).encode("utf-8", "surrogateescape"))


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha512_256(data: bytes) -> str:
    return hashlib.new("sha512_256", data).hexdigest()


_HASHES: dict[Algorithm, Callable[[bytes], str]] = {
    Algorithm.MD5: _md5,
    Algorithm.SHA_256: _sha256,
    Algorithm.SHA_512_256: _sha512_256,
}
STRENGTH = {algorithm: rank for rank, algorithm in enumerate(Algorithm)}
"""0 is the strongest."""
_BY_TOKEN = {algorithm.value.lower(): algorithm for algorithm in Algorithm}
_SESSION = "-sess"
_PARAMETER = r"""[ \t]*([A-Za-z]+)=(?:"([^"\\]*)"|([A-Za-z0-9\-.!%*_+`'~]+))[ \t]*"""
_is_usual = re.compile(f"{_PARAMETER}(?:,{_PARAMETER})*\\Z").match
_find_usual = re.compile(_PARAMETER).findall
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Challenge:
    """A WWW-Authenticate or Proxy-Authenticate. ``qop`` in lower case, () for one of RFC 2069's time.

    ``session``: the algorithm is a "-sess" one (RFC 7616 3.4.2).
    """

    realm: str
    nonce: str
    algorithm: Algorithm = Algorithm.MD5
    session: bool = False
    qop: tuple[str, ...] = ("auth",)
    opaque: str | None = None
    stale: bool = False

    def __str__(self) -> str:
        """The field's value. Of RFC 3261 20.44's parameters those that we have a use for."""
        parts = [f"realm={quote(self.realm)}", f"nonce={quote(self.nonce)}"]
        if self.opaque is not None:
            parts.append(f"opaque={quote(self.opaque)}")
        parts.append(f"algorithm={_token(self.algorithm, self.session)}")
        if self.qop:
            parts.append(f'qop="{",".join(self.qop)}"')
        if self.stale:
            parts.append("stale=true")
        return f"Digest {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An Authorization or Proxy-Authorization. ``nc`` (eight digits) and ``cnonce`` count only with a ``qop``.

    ``response`` is in lower case.
    """

    username: str
    realm: str
    nonce: str
    uri: str
    response: str
    algorithm: Algorithm = Algorithm.MD5
    session: bool = False
    qop: str | None = None
    cnonce: str = ""
    nc: str = ""
    opaque: str | None = None

    @property
    def count(self) -> int:
        """``nc`` as a number; 0 without qop."""
        return int(self.nc, 16) if self.nc else 0

    def __str__(self) -> str:
        """The field's value."""
        parts = [
            f"username={quote(self.username)}",
            f"realm={quote(self.realm)}",
            f"nonce={quote(self.nonce)}",
            f"uri={quote(self.uri)}",
            f'response="{self.response}"',
            f"algorithm={_token(self.algorithm, self.session)}",
        ]
        if self.qop is None and self.cnonce:
            parts.append(f"cnonce={quote(self.cnonce)}")
        if self.qop is not None:
            # RFC 7616 3.4: neither qop nor nc is quoted here.
            parts.append(f"qop={self.qop}, nc={self.nc}, cnonce={quote(self.cnonce)}")
        if self.opaque is not None:
            parts.append(f"opaque={quote(self.opaque)}")
        return f"Digest {', '.join(parts)}"

    def expected(self, method: str, secret: str, body: bytes = b"") -> str:
        """The response that who knows ``secret`` sends with a ``method`` request like this."""
        ha1 = secret_digest(self.algorithm, self.username, self.realm, secret)
        return self.expected_of(method, ha1, body)

    def expected_of(self, method: str, ha1: str, body: bytes = b"") -> str:
        """As ``expected``, for who keeps no secret but ``secret_digest`` of it."""
        algorithm = self.algorithm
        if self.session:
            ha1 = algorithm.digest(ha1, self.nonce, self.cnonce)
        if self.qop is not None and self.qop.lower() == "auth-int":
            ha2 = algorithm.digest(method, self.uri, _HASHES[algorithm](body))
        else:
            ha2 = algorithm.digest(method, self.uri)
        if self.qop is None:
            return algorithm.digest(ha1, self.nonce, ha2)
        return algorithm.digest(ha1, self.nonce, self.nc, self.cnonce, self.qop, ha2)

    def answered(self, method: str, secret: str, body: bytes = b"") -> Credentials:
        """This with the response of who knows ``secret``."""
        return replace(self, response=self.expected(method, secret, body))

    def matches(self, method: str, secret: str, body: bytes = b"") -> bool:
        """True if who sent this knows ``secret``; takes the same time whether so or not."""
        return hmac.compare_digest(self.expected(method, secret, body), self.response)


def secret_digest(algorithm: Algorithm, username: str, realm: str, secret: str) -> str:
    """H(A1) of RFC 7616 3.4.2 without session."""
    return algorithm.digest(username, realm, secret)


def _token(algorithm: Algorithm, session: bool) -> str:
    return f"{algorithm.value}{_SESSION}" if session else algorithm.value


def parse_digest(text: str) -> dict[str, str] | None:
    """The parameters of a Digest challenge or credentials, names in lower case; None for another scheme.

    Raises SipError(400) for what is not of that form, for one parameter twice, and for values beyond ``MAX_VALUE``.
    """
    scheme, _, rest = text.strip().partition(" ")
    if scheme.lower() != "digest":
        return None
    parameters: dict[str, str] = {}
    if len(rest) <= MAX_VALUE and _is_usual(rest):
        # Nearly all are written so, and then not to be read value by value.
        pairs = _find_usual(rest)
        parameters = {name.lower(): quoted or plain for name, quoted, plain in pairs}
        if len(parameters) == len(pairs) <= MAX_PARAMETERS:
            return parameters
        parameters = {}
    for part in split_list(rest):
        name, equals, value = part.partition("=")
        name, value = name.strip().lower(), value.strip()
        if not equals or not is_token(name):
            raise SipError(400, f"Digest has {part[:40]!r}, expected name=value")
        if name in parameters:
            raise SipError(400, f"Digest has two of {name[:40]}")
        if len(value) > MAX_VALUE:
            raise SipError(400, f"{name[:40]} has {len(value)} characters, at most {MAX_VALUE} expected")
        if len(parameters) >= MAX_PARAMETERS:
            raise SipError(400, f"Digest with more than {MAX_PARAMETERS} parameters")
        parameters[name] = unquote(value)
    return parameters


def _algorithm(parameters: dict[str, str]) -> tuple[Algorithm, bool] | None:
    # RFC 7616 3.3: MD5 if left out.
    token = parameters.get("algorithm", "MD5").lower()
    session = token.endswith(_SESSION)
    algorithm = _BY_TOKEN.get(token.removesuffix(_SESSION))
    return None if algorithm is None else (algorithm, session)


def _need(parameters: dict[str, str], name: str) -> str:
    value = parameters.get(name)
    if value is None:
        raise SipError(400, f"Digest without {name}")
    return value


def parse_challenge(text: str) -> Challenge | None:
    """One field's value; None for a scheme, algorithm or qop that we do not have (RFC 8760 2.4: to be skipped)."""
    parameters = parse_digest(text)
    if parameters is None:
        return None
    algorithm = _algorithm(parameters)
    if algorithm is None:
        return None
    qop: tuple[str, ...] = ()
    if "qop" in parameters:
        qop = tuple(word.strip().lower() for word in parameters["qop"].split(",")[:MAX_FIELDS] if word.strip())
        if qop and "auth" not in qop and "auth-int" not in qop:
            return None
    return Challenge(
        realm=_need(parameters, "realm"),
        nonce=_need(parameters, "nonce"),
        algorithm=algorithm[0],
        session=algorithm[1],
        qop=qop,
        opaque=parameters.get("opaque"),
        stale=parameters.get("stale", "").lower() == "true",
    )


def parse_credentials(text: str) -> Credentials | None:
    """One field's value; None for another scheme or an unknown algorithm. Raises SipError(400)."""
    parameters = parse_digest(text)
    if parameters is None:
        return None
    algorithm = _algorithm(parameters)
    if algorithm is None:
        return None
    qop = parameters.get("qop")
    nc = ""
    if qop is not None:
        if qop.lower() not in ("auth", "auth-int"):
            raise SipError(400, f"qop is {qop[:40]!r}, expected auth or auth-int")
        nc = _nonce_count(_need(parameters, "nc"))
    elif algorithm[1]:
        _need(parameters, "cnonce")
    response = _need(parameters, "response").lower()
    if not response.isascii():
        raise SipError(400, "response of Digest is no hexadecimal number")
    username = parameters.get("username")
    if username is None:
        username = _extended(_need(parameters, "username*"))
    return Credentials(
        username=username,
        realm=_need(parameters, "realm"),
        nonce=_need(parameters, "nonce"),
        uri=_need(parameters, "uri"),
        response=response,
        algorithm=algorithm[0],
        session=algorithm[1],
        qop=qop,
        cnonce=_need(parameters, "cnonce") if qop is not None else parameters.get("cnonce", ""),
        nc=nc,
        opaque=parameters.get("opaque"),
    )


def _nonce_count(text: str) -> str:
    # RFC 7616 3.4: eight hexadecimal digits.
    if len(text) != 8 or not _HEXADECIMAL.issuperset(text):
        raise SipError(400, f"nc is {text[:40]!r}, expected 8 hexadecimal digits")
    return text


def _extended(text: str) -> str:
    """``username*`` (RFC 7616 3.4, RFC 5987 3.2): UTF-8 in per cent."""
    charset, _, rest = text.partition("'")
    _, quoted, value = rest.partition("'")
    if charset.lower() != "utf-8" or not quoted:
        raise SipError(400, f"username* is {text[:40]!r}, expected UTF-8''...")
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeError:
        raise SipError(400, "username* is no UTF-8") from None


def challenges_of(response: Message, status: int) -> list[Challenge]:
    """The challenges of a 401 or 407 that can be answered, in their order; what makes no sense is left out."""
    found: list[Challenge] = []
    for text in response.headers.get_all(_CHALLENGE_FIELDS[status])[:MAX_FIELDS]:
        try:
            challenge = parse_challenge(text)
        except SipError:
            continue
        if challenge is not None:
            found.append(challenge)
    return found


def credentials_of(request: Message, realm: str, names: Iterable[str] = ("authorization",)) -> Credentials | None:
    """The credentials of ``request`` for ``realm``, or None. Raises SipError(400) for such that cannot be read."""
    for name in names:
        for text in request.headers.get_all(name)[:MAX_FIELDS]:
            credentials = parse_credentials(text)
            if credentials is not None and credentials.realm == realm:
                return credentials
    return None
