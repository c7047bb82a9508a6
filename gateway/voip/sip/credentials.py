"""Digest as a client (RFC 7616, RFC 8760 2.4, RFC 3261 22): answers 401 and 407, and says so beforehand from then on.

One ``DigestClient`` per usage: a call with all that is sent in its dialogs, a registration, the OPTIONS to one peer.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from gateway.voip.sip.digest import AUTHORIZATION, STRENGTH, Challenge, Credentials, challenges_of
from gateway.voip.sip.message import Response
from gateway.voip.sip.peers import PeerSettings

CHALLENGES = frozenset(AUTHORIZATION)
"""Statuses that ask for credentials."""
MAX_REALMS = 4
"""Realms answered at a time: proxies on the way, and the far end."""
MAX_ROUNDS = 5
"""Challenges to one request that are answered; each realm takes one, a stale nonce one more."""
_PREFERRED_QOP = ("auth", "auth-int")


@dataclass(slots=True)
class _Answer:
    """A challenge that is answered, and how often it was."""

    challenge: Challenge
    cnonce: str
    count: int = 0


def client_for(peer: PeerSettings, rng: random.Random) -> DigestClient | None:
    """Who we are to ``peer``; None without a password."""
    if not peer.secret:
        return None
    return DigestClient(peer.auth_user or peer.fromuser or peer.name, peer.secret, rng)


class DigestClient:
    """Proves to be ``user``. A request asks ``fields`` for what to add; its 401 or 407 goes to ``take``."""

    __slots__ = ("_answers", "_invite", "_rng", "_secret", "_user")

    def __init__(self, user: str, secret: str, rng: random.Random) -> None:
        self._user = user
        self._secret = secret
        self._rng = rng
        # By status (who asks: the far end or a proxy) and realm, oldest first.
        self._answers: dict[tuple[int, str], _Answer] = {}
        self._invite: list[tuple[str, str]] = []

    def __repr__(self) -> str:
        return f"<DigestClient {self._user}>"

    @property
    def active(self) -> bool:
        """True once there was a challenge, so that ``fields`` has something to add."""
        return bool(self._answers)

    def take(self, response: Response, rounds: int) -> bool:
        """Take the challenges of a 401 or 407 to a request that was challenged ``rounds`` times before this one.

        True: send it again, with a new CSeq and new ``fields``. False: we were refused, or can answer none.
        """
        if not self._secret or rounds >= MAX_ROUNDS or response.status not in CHALLENGES:
            return False
        best: dict[str, Challenge] = {}
        for challenge in challenges_of(response, response.status):
            known = best.get(challenge.realm)
            if known is None or STRENGTH[challenge.algorithm] < STRENGTH[known.algorithm]:
                best[challenge.realm] = challenge
        if not best:
            return False
        for realm, challenge in best.items():
            # What we said of our own accord may have been too old; what we said when asked was wrong.
            if rounds and (response.status, realm) in self._answers and not challenge.stale:
                return False
        for realm, challenge in best.items():
            key = (response.status, realm)
            self._answers.pop(key, None)
            while len(self._answers) >= MAX_REALMS:
                del self._answers[next(iter(self._answers))]
            self._answers[key] = _Answer(challenge, f"{self._rng.getrandbits(64):016x}")
        return True

    def fields(self, method: str, uri: str, body: bytes = b"") -> list[tuple[str, str]]:
        """The header fields for a request of ``method`` to the Request-URI ``uri``; [] before any challenge.

        An ACK gets those of its INVITE (RFC 3261 22.1). A CANCEL needs none.
        """
        if not self._answers:
            return []
        if method == "ACK":
            return self._invite
        fields = [
            (AUTHORIZATION[status], str(self._credentials(answer, method, uri, body)))
            for (status, _), answer in self._answers.items()
        ]
        if method == "INVITE":
            self._invite = fields
        return fields

    def _credentials(self, answer: _Answer, method: str, uri: str, body: bytes) -> Credentials:
        challenge = answer.challenge
        qop, nc = None, ""
        if challenge.qop:
            qop = next(word for word in _PREFERRED_QOP if word in challenge.qop)
            answer.count += 1
            nc = f"{answer.count:08x}"
        unsigned = Credentials(
            username=self._user,
            realm=challenge.realm,
            nonce=challenge.nonce,
            uri=uri,
            response="",
            algorithm=challenge.algorithm,
            session=challenge.session,
            qop=qop,
            cnonce=answer.cnonce if qop is not None or challenge.session else "",
            nc=nc,
            opaque=challenge.opaque,
        )
        return unsigned.answered(method, self._secret, body)
