"""The configuration of a running gateway, changed as people do it, on a real disk and with an applier of our own."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config import Configuration
from gateway.config.change import ChangeError, ChangeState, Happening, Refusal, Told
from gateway.config.disk import DirectoryDisk
from gateway.config.edit import written
from gateway.config.keeper import ApplyError, ConfigurationKeeper, Which
from gateway.config.plan import CallUse, Plan, Use
from gateway.config.plan_rules import Kind
from gateway.config.store import Store
from gateway.config.store_import import open_store
from gateway.config.store_records import MAX_DOCUMENT, Origin
from gateway.core import SECOND

FIRST = """schema = 1
[gateway]
run_dir = "/run/nowhere"

# The head office.
[[trunk]]
name = "hq"
technology = "sip"
host = "192.0.2.10"
secret = "correct horse battery"
qualify = 2000  # ms
"""


class Applier:
    """Takes up whatever it gets, and writes down what that was."""

    def __init__(self) -> None:
        self.took: list[tuple[Configuration, Configuration, Plan]] = []
        self.standing: list[CallUse] = []
        self.closed: list[frozenset[Use]] = []
        self.refuses = ""
        self.restart = ""
        self.heard: Callable[[], None] = lambda: None

    def calls(self) -> Iterable[CallUse]:
        return list(self.standing)

    def drain(self, parts: frozenset[Use]) -> None:
        self.closed.append(parts)
        self.heard()

    async def apply(self, old: Configuration, new: Configuration, plan: Plan) -> str:
        if self.refuses:
            raise ApplyError(self.refuses)
        self.took.append((old, new, plan))
        return self.restart


class Scene:
    """A keeper in ``directory``, a clock that only we move, and all that was told."""

    def __init__(self, directory: Path, text: str = FIRST, boot: str = "first") -> None:
        self.now = 1000 * SECOND
        file = directory / "gateway.toml"
        file.write_text(text)
        self.store = Store(DirectoryDisk(directory / "store"), directory / "store", boot=boot)
        self.store.open(self.now, 1e9)
        if not self.store.running:
            self.store.close()
            self.store = open_store(directory / "store", self.now, 1e9, first=file)
        self.applier = Applier()
        self.keeper = ConfigurationKeeper(
            self.store, self.applier, lambda: self.now, boot=boot, wall_clock=lambda: self.now / SECOND
        )
        self.told: list[Told] = []
        self.changed = asyncio.Event()
        self.applier.heard = self.changed.set
        self.keeper.listen(self.hear)

    def hear(self, told: Told) -> None:
        self.told.append(told)
        self.changed.set()

    async def until(self, fits: Callable[[], bool]) -> None:
        """Wait for something to happen after which it ``fits``."""
        while not fits():
            self.changed.clear()
            await self.changed.wait()

    @property
    def happenings(self) -> list[Happening]:
        return [told.happening for told in self.told]


@asynccontextmanager
async def scene(directory: Path, text: str = FIRST) -> AsyncIterator[Scene]:
    made = Scene(directory, text)
    made.keeper.start()
    try:
        yield made
    finally:
        await made.keeper.close()


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(work(), 30)

    asyncio.run(bounded())


async def refused(word: Awaitable[object]) -> Refusal:
    with pytest.raises(ChangeError) as caught:
        await word
    return caught.value.refusal


def test_stage_check_plan_commit_and_roll_back(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            keeper = at.keeper
            document = await keeper.set("trunk.hq.qualify", "4000", "anna")
            assert document.valid and "qualify = 4000  # ms\n" in document.text
            assert keeper.status().state is ChangeState.STAGED and keeper.status().staged_by == "anna"
            assert await keeper.value("trunk.hq.qualify", "staged") == "4000"
            assert await keeper.value("trunk.hq.qualify") == "2000"
            assert await keeper.value("trunk.hq.qualifyfreq") == "60"
            difference = await keeper.difference()
            assert "-qualify = 2000  # ms\n+qualify = 4000  # ms\n" in difference
            assert difference.startswith("--- version 1\n+++ staged\n")
            (change,) = (await keeper.plan()).changes
            assert (change.kind, change.name) == (Kind.TRUNK, "hq")
            version = await keeper.commit("anna", "slower\nnetwork")
            assert (version.number, version.author, version.comment) == (2, "anna", "slower network")
            assert len(at.applier.took) == 1
            assert keeper.configuration.trunks[0].qualify.milliseconds == 4000
            version = await keeper.roll_back("bert")
            assert (version.number, version.origin, version.restores) == (3, Origin.ROLLBACK, 1)
            assert keeper.configuration.trunks[0].qualify.milliseconds == 2000
            assert at.happenings == [Happening.STAGED, Happening.COMMITTED, Happening.ROLLED_BACK]
            assert [each.number for each in keeper.history()] == [3, 2, 1]
            assert await keeper.difference(1, 3) == ""

    run(work)


def test_without_confirmation_all_is_as_before(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            await at.keeper.commit("anna", confirm_seconds=60)
            status = at.keeper.status()
            assert (status.state, status.seconds_to_confirm, status.active) == (ChangeState.UNCONFIRMED, 60.0, 2)
            at.now += 60 * SECOND
            # The loop's own clock did not move with ours.
            at.keeper._expire()
            await at.until(lambda: at.keeper.status().state is ChangeState.IDLE)
            assert at.keeper.configuration.trunks[0].qualify.milliseconds == 2000
            assert at.keeper.status().active == 1
            assert at.told[-1].happening is Happening.ROLLED_BACK
            assert at.keeper.history()[0].undone == "it was not confirmed in time"

    run(work)


def test_the_timer_of_a_trial_is_set(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            loop = asyncio.get_running_loop()
            begun, real = at.now, loop.time()
            at.keeper._clock = lambda: begun + round((loop.time() - real) * SECOND)
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            undone = asyncio.Event()
            at.keeper.listen(lambda told: undone.set() if told.happening is Happening.ROLLED_BACK else None)
            await at.keeper.commit("anna", confirm_seconds=1)
            await undone.wait()
            assert at.keeper.status().active == 1

    run(work)


def test_a_confirmed_version_stays_over_a_restart(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            await at.keeper.commit("anna", confirm_seconds=60)
            await at.keeper.confirm("anna")
            assert await refused(at.keeper.confirm("anna")) is Refusal.NOTHING_UNCONFIRMED
        async with scene(tmp_path) as at:
            assert at.keeper.configuration.trunks[0].qualify.milliseconds == 4000

    run(work)


def test_what_is_staged_outlives_a_restart(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            await at.keeper.set("trunk.hq.secret", '"another one"', "anna")
            kept = tmp_path / "store/staged"
            assert kept.stat().st_mode & 0o777 == 0o600 and b"another one" not in kept.read_bytes()
        async with scene(tmp_path) as at:
            status = at.keeper.status()
            assert (status.state, status.staged_by, status.staged_problems) == (ChangeState.STAGED, "anna", 0)
            assert at.keeper._staged_document().wall == 1000.0
            version = await at.keeper.commit("anna")
            assert version.secrets == ("secrets/hq.2",) and not kept.exists()
            assert (tmp_path / "store/secrets/hq.2").read_text().startswith("another one\n")
        async with scene(tmp_path) as at:
            assert at.keeper.status().state is ChangeState.IDLE and at.told == []

    run(work)


def test_what_was_staged_upon_another_version_is_dropped_at_the_start_and_that_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            await at.keeper.commit("anna", confirm_seconds=60)
            await at.keeper.set("trunk.hq.qualify", "5000", "bert")
        made = Scene(tmp_path, boot="second")
        made.store.close()
        assert made.store.running == 1
        made = Scene(tmp_path, boot="second")
        made.keeper.start()
        assert [told.happening for told in made.told] == [Happening.DISCARDED]
        assert made.told[0].text == "what bert staged upon version 2, as version 1 is active now"
        assert made.keeper.status().state is ChangeState.IDLE
        await made.keeper.close()
        assert not (tmp_path / "store/staged").exists()

    run(work)


def test_what_was_committed_already_is_not_staged_after_a_power_cut(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            kept = (tmp_path / "store/staged").read_bytes()
            await at.keeper.commit("anna")
        (tmp_path / "store/staged").write_bytes(kept)
        async with scene(tmp_path) as at:
            assert at.keeper.status().state is ChangeState.IDLE and at.told == []
            assert not (tmp_path / "store/staged").exists()

    run(work)


def test_what_cannot_be_kept_is_not_staged(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            (tmp_path / "store/staged.new").mkdir()
            assert await refused(at.keeper.set("trunk.hq.qualify", "4000", "anna")) is Refusal.DISK
            assert at.keeper.status().state is ChangeState.IDLE

    run(work)


def test_what_is_not_configured_is_configured_and_gone_back_to(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "store", 0, 1e9)
        applier = Applier()
        keeper = ConfigurationKeeper(store, applier, lambda: 0, boot="first", wall_clock=lambda: 1e9)
        keeper.start()
        status = keeper.status()
        assert (status.active, status.running, status.previous) == (0, 0, 0)
        assert status.degraded.startswith("nothing is configured")
        assert "listen = []" in await keeper.text()
        assert await refused(keeper.roll_back("anna")) is Refusal.NO_SUCH_VERSION
        await keeper.set("gateway.name", '"branch-042"', "anna")
        assert [entry.kind for entry in (await keeper.plan()).changes] == [Kind.GATEWAY]
        await keeper.stage(FIRST, "anna")
        version = await keeper.commit("anna", confirm_seconds=60)
        assert (version.number, keeper.status().previous, keeper.status().degraded) == (2, 1, "")
        await keeper.roll_back("anna")
        status = keeper.status()
        assert status.degraded.startswith("nothing is configured") and (status.active, status.running) == (1, 1)
        assert not keeper.configuration.trunks and not keeper.configuration.sip.listen
        await keeper.close()

    run(work)


def test_what_is_on_trial_is_rolled_back_at_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            await at.keeper.commit("anna", confirm_seconds=60)
            await at.keeper.set("trunk.hq.qualify", "5000", "anna")
            assert await refused(at.keeper.commit("anna")) is Refusal.UNCONFIRMED
            assert await refused(at.keeper.roll_back("anna", 1)) is Refusal.UNCONFIRMED
            assert (await at.keeper.roll_back("anna")).number == 1
            # What was staged upon the version that is gone is no change of the one that runs.
            assert await refused(at.keeper.commit("anna")) is Refusal.STALE

    run(work)


def test_an_applier_that_cannot_leaves_the_old_version(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            at.applier.refuses = "port 5061 is taken"
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            assert await refused(at.keeper.commit("anna", confirm_seconds=9)) is Refusal.NOT_APPLIED
            status = at.keeper.status()
            assert (status.state, status.active, status.running) == (ChangeState.STAGED, 1, 1)
            assert status.degraded == ""
            at.applier.refuses = ""
            assert (await at.keeper.commit("anna")).number == 3

    run(work)


def test_an_applier_that_fails_is_an_error_and_no_more(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            at.applier.took = None  # type: ignore[assignment]
            assert await refused(at.keeper.commit("anna")) is Refusal.NOT_APPLIED
            assert at.keeper.status().state is ChangeState.STAGED

    run(work)


def test_what_needs_a_restart_is_told(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            at.applier.restart = "gateway: run_dir"
            await at.keeper.set("gateway.run_dir", "/run/elsewhere", "anna")
            await at.keeper.commit("anna")
            assert at.keeper.status().restart == "gateway: run_dir"

    run(work)


def test_a_drain_lets_calls_end_first(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            at.applier.standing = [CallUse("one", "hq", "", frozenset({(Kind.TRUNK, "hq")}))]
            await at.keeper.unset("trunk.hq", "anna")
            assert (await at.keeper.plan()).dropped == ("one",)
            commit = asyncio.create_task(at.keeper.commit("anna", drain_seconds=60))
            await at.until(lambda: bool(at.applier.closed))
            assert at.applier.closed == [frozenset({(Kind.TRUNK, "hq")})]
            assert at.applier.took == [] and at.keeper.status().state is ChangeState.DRAINING
            assert await refused(at.keeper.stage(FIRST, "bert")) is Refusal.BUSY
            at.applier.standing = []
            assert (await commit).number == 2
            assert at.applier.took[0][2].dropped == ()
            assert at.applier.closed[-1] == frozenset()

    run(work)


def test_a_drain_is_over_in_time_or_given_up(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            at.applier.standing = [CallUse("one", "hq", "", frozenset({(Kind.TRUNK, "hq")}))]
            await at.keeper.unset("trunk.hq", "anna")
            commit = asyncio.create_task(at.keeper.commit("anna", drain_seconds=60))
            await at.until(lambda: bool(at.applier.closed))
            await at.keeper.discard()
            assert await refused(commit) is Refusal.NOTHING_STAGED
            assert at.applier.closed[-1] == frozenset() and at.keeper.status().state is ChangeState.IDLE
            await at.keeper.unset("trunk.hq", "anna")
            commit = asyncio.create_task(at.keeper.commit("anna", drain_seconds=60))
            await at.until(lambda: at.keeper.status().state is ChangeState.DRAINING)
            at.now += 60 * SECOND
            await commit
            assert at.applier.took[0][2].dropped == ("one",)

    run(work)


def test_words_are_refused_for_their_reasons(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            keeper = at.keeper
            assert await refused(keeper.commit("anna")) is Refusal.NOTHING_STAGED
            assert await refused(keeper.discard()) is Refusal.NOTHING_STAGED
            assert await refused(keeper.text("staged")) is Refusal.NOTHING_STAGED
            assert await refused(keeper.check()) is Refusal.NOTHING_STAGED
            assert await refused(keeper.roll_back("anna")) is Refusal.NO_SUCH_VERSION
            assert await refused(keeper.roll_back("anna", 7)) is Refusal.NO_SUCH_VERSION
            assert await refused(keeper.text(7)) is Refusal.NO_SUCH_VERSION
            assert await refused(keeper.plan("previous")) is Refusal.NO_SUCH_VERSION
            assert await refused(keeper.stage("a b", "anna")) is Refusal.NOT_TOML
            assert await refused(keeper.stage("\udcff", "anna")) is Refusal.NOT_TOML
            assert await refused(keeper.stage("#" * (MAX_DOCUMENT + 1), "anna")) is Refusal.TOO_LONG
            assert await refused(keeper.check("ä" * (MAX_DOCUMENT // 2 + 1))) is Refusal.TOO_LONG
            assert await refused(keeper.set("trunk.hq.nonsense", "1", "anna")) is Refusal.NO_SUCH_KEY
            assert await refused(keeper.set("trunk.hq.qualify", "[", "anna")) is Refusal.BAD_VALUE
            assert await refused(keeper.unset("trunk.hq.context", "anna")) is Refusal.NO_SUCH_KEY
            assert await refused(keeper.value("trunk.xx")) is Refusal.NO_SUCH_KEY
            await keeper.set("trunk.hq.qualify", "soon", "anna")
            assert await refused(keeper.commit("anna")) is Refusal.INVALID
            assert await refused(keeper.plan()) is Refusal.INVALID
            assert [problem.key for problem in await keeper.check()] == ["trunk[hq].qualify"]
            await keeper.stage(await keeper.text(), "anna")
            assert await refused(keeper.commit("anna")) is Refusal.UNCHANGED
            assert keeper.status().active == 1

    run(work)


def test_of_two_changes_at_a_time_one_is_made(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            keeper = at.keeper
            # Of edits none is lost.
            await asyncio.gather(
                *(keeper.set(f"trunk.hq.{key}", "5", "anna") for key in ("ptime", "call_limit", "max_contacts"))
            )
            text = await keeper.text("staged")
            assert all(f"{key} = 5\n" in text for key in ("ptime", "call_limit", "max_contacts"))
            await keeper.set("trunk.hq.ptime", "30", "anna")
            results = await asyncio.gather(
                keeper.commit("anna"), keeper.commit("bert"), keeper.roll_back("carl", 1), return_exceptions=True
            )
            assert [isinstance(result, ChangeError) for result in results] == [False, True, True]
            assert keeper.status().active == 2

    run(work)


def test_who_asks_may_go_away(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            commit = asyncio.create_task(at.keeper.commit("anna"))
            await asyncio.sleep(0)
            commit.cancel()
            await at.until(lambda: at.keeper.status().state is ChangeState.IDLE)
            assert at.keeper.status().running == 2

    run(work)


def test_a_listener_that_fails_harms_nobody(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            end = at.keeper.listen(lambda told: 1 // 0)  # type: ignore[arg-type]
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            end()
            end()
            assert at.happenings == [Happening.STAGED]

    run(work)


def test_a_file_in_the_way_is_an_error_of_the_disk(tmp_path: Path) -> None:
    async def work() -> None:
        async with scene(tmp_path) as at:
            (tmp_path / "store/versions/000002.toml.new").mkdir()
            await at.keeper.set("trunk.hq.qualify", "4000", "anna")
            assert await refused(at.keeper.commit("anna")) is Refusal.DISK
            assert at.keeper.status().running == 1
            (tmp_path / "store/versions/000002.toml.new").rmdir()
            assert (await at.keeper.commit("anna")).number == 2

    run(work)


_SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=12, max_size=30).map(
    lambda text: f"Xq{text}"
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    passwords=st.lists(_SECRETS, min_size=3, max_size=3, unique=True),
    places=st.lists(
        st.sampled_from(
            [
                'sercet = "{}"',
                "# secret = {}",
                '# "{}" was the password',
                'callerid = "password: {}"',
                "secret = {{ text = '{}' }}",
                '[sip]\npassword = "{}"',
                '[[phone]]\nname = "p"\nsecret = "{}"',
                '[[phone]]\nname = "bad name"\nsecret = "{}"',
                'secret = "{}" "{}"',
            ]
        ),
        max_size=3,
    ),
)
def test_no_interface_ever_gives_a_password_back(
    tmp_path_factory: pytest.TempPathFactory, passwords: list[str], places: list[str]
) -> None:
    said: list[str] = []

    async def hear(word: Awaitable[object]) -> None:
        try:
            said.append(repr(await word))
        except ChangeError as error:
            said.append(f"{error} {error.problems!r} {[str(problem) for problem in error.problems]}")

    async def work() -> None:
        first, second, third = passwords
        directory = tmp_path_factory.mktemp("store")
        async with scene(directory, FIRST.replace("correct horse battery", first)) as at:
            keeper = at.keeper
            extra = "\n".join(place.format(third, third) for place in places if "callerid" not in place)
            text = FIRST.replace("correct horse battery", second) + extra + "\n"
            await hear(keeper.check(text))
            await hear(keeper.stage(text, "anna"))
            every: tuple[Which, ...] = ("active", "staged", 1)
            for which in every:
                await hear(keeper.text(which))
                for path in ("trunk.hq", "trunk.hq.secret", "trunk", "phone", "sip", "trunk.hq.secret.file"):
                    await hear(keeper.value(path, which))
            await hear(keeper.difference())
            await hear(keeper.check())
            await hear(keeper.plan())
            await hear(keeper.stage(FIRST.replace("correct horse battery", second), "anna"))
            await hear(keeper.commit("anna"))
            await hear(keeper.difference(1, 2))
            await hear(keeper.set("trunk.hq.secret", written(third), "anna"))
            await hear(keeper.text("staged"))
            await hear(keeper.plan())
            await hear(keeper.commit("anna", confirm_seconds=5))
            await hear(keeper.roll_back("anna"))
            said.append(repr([dataclasses.asdict(version) for version in keeper.history()]))
            said.append(repr((keeper.status(), at.told, keeper.configuration)))
            files = [file for file in (directory / "store").rglob("*") if file.is_file()]
            said.extend(file.read_text() for file in files if file.parent.name != "secrets")

    run(work)
    for text in said:
        for password in passwords:
            assert password not in text
    assert any("secrets/hq." in text for text in said)
