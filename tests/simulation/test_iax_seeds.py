"""A branch with IAX2 trunks on many seeds: mangled frames, bad weather and restarts harm nobody else's calls.

``SIM_IAX_SEEDS`` and ``SIM_IAX_MANGLED`` set how much; ``python -m tests.simulation.run --iax`` runs as many as wanted.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from gateway.voip.iax.crypt import Cipher
from gateway.voip.iax.errors import IaxError
from gateway.voip.iax.frame import FullFrame, MiniFrame, TrunkFrame, parse
from tests.simulation import iax_rfc as rfc
from tests.simulation.iax_mangler import Mangler
from tests.simulation.verdict import IAX_KINDS, run_seed

SEEDS = int(os.environ.get("SIM_IAX_SEEDS", "16"))
MANGLED = int(os.environ.get("SIM_IAX_MANGLED", "400"))
CALLS = 25


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_branch_with_iax2_comes_to_rest_with_every_call_accounted_for(seed: int) -> None:
    verdict = run_seed(seed, CALLS, iax=True, mangled=MANGLED)
    assert not verdict.breaches, "\n".join([*verdict.story, str(verdict)])


def test_thousands_of_mangled_frames_leave_other_calls_alone() -> None:
    verdict = run_seed(4, CALLS, faults=False, iax=True, mangled=10 * MANGLED)
    assert not verdict.breaches, "\n".join([*verdict.story, str(verdict)])
    assert verdict.seen["mangled IAX2 frames"] > 10 * MANGLED
    assert verdict.answered > 0


def test_all_that_iax2_must_get_over_happens_in_sixty_runs() -> None:
    """It takes about twenty."""
    seen: Counter[str] = Counter()
    for seed in range(1000, 1060):
        verdict = run_seed(seed, CALLS, faults=None if seed % 2 else True, iax=True)
        assert not verdict.breaches, str(verdict)
        seen.update(verdict.seen)
        if all(seen[kind] for kind in IAX_KINDS):
            break
    assert [kind for kind in IAX_KINDS if not seen[kind]] == []


def test_a_seed_with_iax2_always_gives_the_same_run() -> None:
    first, second = (run_seed(7, CALLS, faults=True, iax=True) for _ in range(2))
    assert (first.events, first.digest) == (second.events, second.digest)


def test_mangled_frames_are_read_alike_by_both_codecs_or_refused() -> None:
    rng = random.Random(11)
    mangler = Mangler(rng)
    body = rfc.element(rfc.IE_VERSION, 2, 2) + rfc.element(rfc.IE_CALLED, "123") + rfc.element(rfc.IE_CAPABILITY, 12, 4)
    for number in range(1, 41):
        kind = rng.choice((rfc.IAX, rfc.CONTROL, rfc.VOICE, rfc.DTMF_END))
        mangler.remember(rfc.Full(number, 0, number, number, 0, kind, number, body if number % 2 else b"").octets())
    mangler.remember(rfc.mini(3, 4, b"voice"))
    mangler.remember(rfc.trunk(4, [(1, 2, b"one"), (4, 5, b"two")], stamps=True))
    read: Counter[type] = Counter()
    for _ in range(20_000):
        data = mangler.any()
        try:
            frame = parse(data)
        except IaxError:
            read[IaxError] += 1
            continue
        read[type(frame)] += 1
        if isinstance(frame, FullFrame):
            theirs = rfc.read_full(data)
            ours = (frame.source, frame.destination, frame.stamp, frame.oseqno, frame.iseqno, frame.type, frame.data)
            assert ours == (
                theirs.source,
                theirs.target,
                theirs.stamp,
                theirs.out,
                theirs.expected,
                theirs.kind,
                theirs.body,
            )
            assert str(frame)
        elif isinstance(frame, TrunkFrame):
            shares = [(entry.source, entry.stamp, entry.data) for entry in frame.entries]
            assert shares == [(share.source, share.stamp, share.voice) for share in rfc.read_voice(data)]
    assert min(read[kind] for kind in (FullFrame, MiniFrame, TrunkFrame, IaxError)) > 100


def test_what_either_encrypts_the_other_decrypts() -> None:
    rng = random.Random(12)
    key = rng.randbytes(16)
    cipher = Cipher(key, rng)
    for length in range(60):
        full = rfc.Full(5, 6, 7, 8, 9, rfc.IAX, rfc.PING, rng.randbytes(length)).octets()
        for data in (full, rfc.mini(5, 7, rng.randbytes(length))):
            assert rfc.unsealed(cipher.encrypt(data), key) == data
            assert cipher.decrypt(rfc.sealed(data, key, rng)) == data
