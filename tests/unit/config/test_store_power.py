"""Power cuts at any step of any change: the store has a whole old or a whole new configuration, and all of its history.

GATEWAY_POWER_CUTS says how many.
"""

from __future__ import annotations

import contextlib
import os
import random

from gateway.config.store import Store
from gateway.config.store_passwords import named_secrets
from gateway.config.store_records import Origin, Trial
from tests.unit.config.forgetful_disk import ForgetfulDisk, PowerCutError
from tests.unit.config.store_scene import document, opened

CUTS = int(os.environ.get("GATEWAY_POWER_CUTS", "1000"))
KEPT = 4


class Life:
    """A store that is changed at random until the power fails, again and again."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.disk = ForgetfulDisk(self.rng)
        self.boots = 0
        # What is to run after a cut now, and what would be if the change at hand were done.
        self.allowed = {""}
        self.passwords: dict[str, dict[str, str]] = {"": {}}
        self.newest = 0
        self.kept_for_sure = 0
        self.serial = 0

    def run(self) -> None:
        """One life between two cuts."""
        self.boots += 1
        store = opened(self.disk, boot=str(self.boots), kept=KEPT)
        self.judge(store)
        running = store.text(store.running) if store.running else ""
        self.allowed = {running}
        self.kept_for_sure = store.running
        # Most cuts come in the midst of the first change, some in the mending of the next start.
        self.disk.cut_after = self.rng.randrange(60)
        try:
            while True:
                self.change(store)
        except PowerCutError:
            self.disk.cut()
        while self.rng.random() < 0.2:
            self.boots += 1
            self.disk.cut_after = self.rng.randrange(6)
            with contextlib.suppress(PowerCutError):
                self.judge(opened(self.disk, boot=str(self.boots), kept=KEPT))
            self.disk.cut()

    def change(self, store: Store) -> None:
        before = store.text(store.running) if store.running else ""
        word = self.rng.choice(("commit", "commit", "trial", "undo", "back")) if store.running else "commit"
        if word == "back":
            old = self.rng.choice(store.versions).number
            self.commit(store, before, store.text(old), None, restores=old)
            return
        self.serial += 1
        passwords = {f"t{n}": f"password {self.rng.randrange(3)}" for n in range(self.rng.randrange(3))}
        text = store.take_passwords(document(f"g{self.serial}", passwords))
        self.passwords[text] = dict(zip(named_secrets(text), passwords.values(), strict=True))
        trial = Trial(str(self.boots), 1000, 0.0) if word in ("trial", "undo") else None
        self.commit(store, before, text, trial)
        if word == "trial":
            self.allowed = {before, text}
            store.confirm()
            self.sure()
            self.allowed = {text}
        elif word == "undo":
            store.undo("a whim")
            assert store.text(store.running) == before

    def commit(self, store: Store, before: str, text: str, trial: Trial | None, restores: int = 0) -> None:
        self.allowed = {before} if trial else {before, text}
        version = store.add(text, Origin.COMMIT, author="test", comment="", wall=0.0, trial=trial, restores=restores)
        self.newest = version.number
        if trial is None:
            self.sure()
        self.allowed = {before} if trial else {text}

    def sure(self) -> None:
        """The newest version is there to stay."""
        self.kept_for_sure = self.newest

    def judge(self, store: Store) -> None:
        running = store.text(store.running) if store.running else ""
        assert running in self.allowed
        assert not store.degraded
        assert store.running == store.state.active
        numbers = [version.number for version in store.versions]
        assert numbers == sorted(numbers, reverse=True)
        assert len(numbers) <= KEPT + 2
        assert self.kept_for_sure in numbers or not self.kept_for_sure
        assert all(number <= store.state.last for number in numbers)
        contents = self.disk.contents()
        for version in store.versions:
            text = store.text(version.number)
            for reference, password in self.passwords[text].items():
                assert contents[reference].split(b"\n")[0].decode() == password
                assert named_secrets(text).count(reference) == 1


def test_power_cuts_leave_a_whole_configuration() -> None:
    seeds = range(max(CUTS // 50, 1))
    for seed in seeds:
        life = Life(seed)
        for _ in range(CUTS // len(seeds)):
            life.run()
