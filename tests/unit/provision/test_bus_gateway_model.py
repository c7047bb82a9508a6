"""What the bus shows of a running daemon, without line and engine, and what it has the daemon do."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from gateway.call import State
from gateway.capture.captures import MAX_AT_ONCE
from gateway.cause import Cause
from gateway.config import Configuration, parse
from gateway.config.change import ChangeError, ChangeState, ChangeStatus, Refusal
from gateway.config.plan import Action, Difference, Entry, Plan
from gateway.config.plan_rules import Kind
from gateway.config.problems import Problem, Severity
from gateway.config.store_records import Origin, Version
from gateway.daemon import Daemon
from gateway.identity import Number
from gateway.leg import Offered, Setup
from gateway.media.api import EngineReady, Failure, Opened, Statistics
from gateway.pri.channels import Block
from gateway.provision.bus import states
from gateway.provision.bus.configuration_model import FileConfiguration, KeptConfiguration
from gateway.provision.bus.errors import Name, ServiceError
from gateway.provision.bus.gateway_model import DaemonModel, serial_number
from gateway.provision.bus.jobs import Jobs
from gateway.provision.bus.marshal import body_of
from gateway.provision.bus.model import STAGED, TraceWanted
from gateway.provision.bus.objects import INTERFACES, Tree
from gateway.provision.bus.trial_call import TrialLeg
from gateway.voip.sip.defence import Offence
from tests.unit.provision.bus_scene import until

BOUND = 10.0
_TEXT = """
schema = 1
[gateway]
name = "branch-042"
run_dir = "{path}"
bus = "none"
[media]
rtp_ports = [2000, 2999]
[sip]
listen = ["udp:127.0.0.1:5060"]
[iax]
listen = ["udp:127.0.0.1:4569"]
[[span]]
name = "pstn"
channels = "virtual:{path}/pstn"
line = "e1"
context = "from-pstn"
group = ["g0", "g1"]
[[trunk]]
name = "hq"
technology = "sip"
host = "192.0.2.10:5070"
transport = "tcp"
defaultuser = "branch-042"
secret = "swordfish-swordfish"
nat = ["force_rport"]
directmediadeny = ["192.0.2.0/24"]
qualify = true
context = "from-hq"
[[trunk]]
name = "other"
technology = "iax2"
host = "192.0.2.11"
secret = "swordfish-swordfish"
context = "from-hq"
[[phone]]
name = "101"
secret = "swordfish-swordfish"
context = "internal"
[[phone]]
name = "102"
host = "192.0.2.12"
context = "internal"
[[route]]
context = "internal"
match = "600"
to = ["echo"]
[[route]]
context = "from-pstn"
match = "_X."
to = ["sip:101"]
[[route]]
context = "from-hq"
match = "_X."
to = ["sip:101"]
"""


def configured(path: Path) -> Configuration:
    text = _TEXT.format(path=path)
    (path / "gateway.toml").write_text(text)
    return parse(text, path / "gateway.toml")


class Engine:
    """Takes the place of the media engine's client, and answers at once."""

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []
        self.fails = ""
        self.told = Statistics(packets_received=100, packets_sent=100, receive_level=-10.0, send_level=0.0, mos=4.2)
        self.streams: set[int] = set()
        self._last = 0

    def _open(self, what: str, on_reply: Any) -> int:
        self._last += 1
        self.done.append((what, self._last))
        on_reply(Failure(5, self.fails) if self.fails else Opened(self._last))
        return self._last

    def open_tdm(self, path: str, law: object, label: str, on_reply: Any, *, listen: bool = False) -> int:
        return self._open(f"tdm {Path(path).name}", on_reply)

    def open_echo(self, label: str, on_reply: Any) -> int:
        return self._open("echo", on_reply)

    def open_tone(self, tone: object, label: str, on_reply: Any) -> int:
        return self._open("tone", on_reply)

    def connect(self, first: int, second: int) -> None:
        self.done.append(("connect", first, second))

    def close(self, stream: int, on_reply: Any = None) -> None:
        self.done.append(("close", stream))

    def statistics(self, stream: int, on_reply: Any) -> None:
        self.told = replace_statistics(self.told)
        on_reply(self.told)

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: 0


def replace_statistics(told: Statistics) -> Statistics:
    import msgspec

    return msgspec.structs.replace(
        told, packets_received=told.packets_received + 10, packets_sent=told.packets_sent + 10
    )


def with_daemon(path: Path, test: Callable[[Daemon, DaemonModel, Engine], Awaitable[None]], *, up: bool = True) -> None:
    async def run() -> None:
        # Nothing is opened: what is shown comes from what would be there.
        daemon = Daemon(configured(path), rng=random.Random(1))
        engine = Engine()
        daemon.media = engine  # type: ignore[assignment]
        daemon.switch._media = engine
        if up:
            daemon.switch.media_event(EngineReady(fresh=True), daemon.clock())
        wall = 1_700_000_000_000_000
        model = DaemonModel(daemon, FileConfiguration(path / "gateway.toml"), lambda: wall, serial="SN1")
        try:
            await asyncio.wait_for(test(daemon, model, engine), BOUND)
        finally:
            await model.close()
            await daemon.close()

    asyncio.run(run())


# -- what is shown --


def test_every_state_has_values_of_its_types(tmp_path: Path) -> None:
    async def test(daemon: Daemon, model: DaemonModel, _: Engine) -> None:
        offer(daemon)
        tree = Tree(model, Jobs(lambda: 0), lambda: 0)
        seen = set()
        for thing in tree.every():
            assert thing is not None
            values = thing.values()
            for each in thing.interface.properties:
                body_of(each.signature, [values[each.name]])
            seen.add(thing.interface)
        assert {each.name for each in set(INTERFACES) - seen} == {"org.branchgateway.Gateway1.Job"}

    with_daemon(tmp_path, test)


def test_states_have_no_passwords() -> None:
    for each in vars(states).values():
        if isinstance(each, type) and each.__module__ == states.__name__:
            assert not {"secret", "password"} & set(get_type_hints(each))


def test_the_whole_is_degraded_without_line_and_engine(tmp_path: Path) -> None:
    async def test(daemon: Daemon, model: DaemonModel, _: Engine) -> None:
        shown = model.manager()
        assert (shown.name, shown.serial_number, shown.state) == ("branch-042", "SN1", "degraded")
        assert shown.health["lines"] == "down: pstn"
        assert shown.health["engine"].startswith("the media engine does not answer")
        assert (shown.channels, shown.channels_idle, shown.calls) == (30, 0, 0)
        for _turn in range(21):
            daemon.switch.sip.defence.offended("203.0.113.9", Offence.GUESSED, daemon.clock())
        assert model.manager().shut_out == {"203.0.113.9": 60}
        model.pardon("203.0.113.9")
        assert model.manager().shut_out == {}
        with pytest.raises(ServiceError, match=r"no address 203\.0\.113\.9"):
            model.pardon("203.0.113.9")

    with_daemon(tmp_path, test, up=False)


def test_peers_are_shown_in_the_words_of_their_configuration(tmp_path: Path) -> None:
    async def test(_: Daemon, model: DaemonModel, __: Engine) -> None:
        assert list(model.trunk_names()) == ["hq", "other"]
        hq, other = model.trunk("hq"), model.trunk("other")
        assert hq is not None
        assert other is not None
        assert (hq.username, hq.host, hq.port, hq.transport) == ("branch-042", "192.0.2.10", 5070, "tcp")
        assert (hq.forcerport, hq.acl, hq.status, hq.round_trip) == (True, True, "UNKNOWN", -1.0)
        assert (other.technology, other.port, other.status) == ("iax2", 4569, "Unmonitored")
        dynamic, fixed = model.phone("101"), model.phone("102")
        assert dynamic is not None
        assert fixed is not None
        assert (dynamic.host, dynamic.registered, dynamic.port, dynamic.contacts) == ("dynamic", False, 0, ())
        assert (fixed.host, fixed.registered, fixed.port) == ("192.0.2.12", True, 5060)
        assert model.phone("hq") is None
        assert model.trunk("101") is None
        assert model.trunk("nobody") is None

    with_daemon(tmp_path, test)


def test_where_we_are_and_where_that_came_from(tmp_path: Path) -> None:
    async def test(_: Daemon, model: DaemonModel, __: Engine) -> None:
        shown = model.network()
        assert (shown.externip, shown.localnet, shown.listeners) == ("auto", ("auto",), ("iax2 127.0.0.1:4569",))

    with_daemon(tmp_path, test)


def test_the_serial_number_is_the_box_s_or_else_the_machine_s(tmp_path: Path) -> None:
    box, machine = tmp_path / "box", tmp_path / "machine"
    assert serial_number((box, machine)) == ""
    machine.write_text("abc123\n")
    assert serial_number((box, machine)) == "abc123"
    box.write_text("Not Specified\n")
    assert serial_number((box, machine)) == "abc123"
    box.write_text(" SN-7 \n")
    assert serial_number((box, machine)) == "SN-7"


# -- spans --


def test_channels_are_blocked_and_put_back(tmp_path: Path) -> None:
    async def test(daemon: Daemon, model: DaemonModel, _: Engine) -> None:
        table = daemon.switch.trunks["pstn"].channels
        table.unblock(Block.LAYER1)
        model.block("pstn", 3)
        span = model.span("pstn")
        assert span is not None
        assert span.channels[2] == (3, "blocked", ("local",))
        assert (span.groups, span.alarm, span.data_link) == (("g0", "g1"), "red", False)
        assert span.findings
        model.unblock("pstn", 3)
        assert table.get(3).state.value == "idle"  # type: ignore[union-attr]
        model.block("pstn", 0)
        assert {channel.state.value for channel in table} == {"blocked"}
        model.unblock("pstn", 0)
        assert {channel.state.value for channel in table} == {"idle"}
        for name, timeslot in (("pstn", 16), ("none", 1)):
            with pytest.raises(ServiceError, match="there is no"):
                model.block(name, timeslot)
        with pytest.raises(ServiceError, match="no data link"):
            model.restart("pstn", 3)

    with_daemon(tmp_path, test)


def test_a_blocked_channel_is_looped_until_it_is_put_back(tmp_path: Path) -> None:
    async def test(daemon: Daemon, model: DaemonModel, engine: Engine) -> None:
        daemon.switch.trunks["pstn"].channels.unblock(Block.LAYER1)
        with pytest.raises(ServiceError, match="has to be blocked"):
            await model.loop("pstn", 3, True)
        model.block("pstn", 3)
        await model.loop("pstn", 3, True)
        assert engine.done == [("tdm 3", 1), ("echo", 2), ("connect", 1, 2)]
        span = model.span("pstn")
        assert span is not None
        assert span.channels[2] == (3, "blocked", ("local", "loop"))
        with pytest.raises(ServiceError, match="looped already"):
            await model.loop("pstn", 3, True)
        await model.loop("pstn", 3, False)
        assert engine.done[3:] == [("close", 1), ("close", 2)]
        with pytest.raises(ServiceError, match="not looped"):
            await model.loop("pstn", 3, False)
        await model.loop("pstn", 3, True)
        model.unblock("pstn", 3)
        assert engine.done[-2:] == [("close", 3), ("close", 4)]
        with pytest.raises(ServiceError, match="expected one B channel"):
            await model.loop("pstn", 0, True)

    with_daemon(tmp_path, test)


def test_a_loop_that_the_engine_refuses_leaves_nothing(tmp_path: Path) -> None:
    async def test(daemon: Daemon, model: DaemonModel, engine: Engine) -> None:
        daemon.switch.trunks["pstn"].channels.unblock(Block.LAYER1)
        model.block("pstn", 3)
        engine.fails = "no such device"
        with pytest.raises(ServiceError, match="no such device"):
            await model.loop("pstn", 3, True)
        assert engine.done[-2:] == [("close", 1), ("close", 2)]
        span = model.span("pstn")
        assert span is not None
        assert span.channels[2] == (3, "blocked", ("local",))

    with_daemon(tmp_path, test)


# -- calls --


def offer(daemon: Daemon, number: str = "600") -> str:
    leg = TrialLeg(1, asyncio.Event())
    return daemon.switch.offer(leg, Offered(Setup(Number(number)), "internal", "101"), daemon.clock())


def test_a_call_is_shown_measured_and_hung_up(tmp_path: Path) -> None:
    async def test(daemon: Daemon, model: DaemonModel, _: Engine) -> None:
        identity = offer(daemon)
        assert list(model.call_names()) == [identity]
        call = model.call(identity)
        assert call is not None
        assert (call.state, call.called, call.source) == ("answered", "600", "101")
        assert call.hops == (("incoming", "test", "test call", "", "", False, "no"),)
        assert call.answered >= call.started > 0
        phone = model.phone("101")
        assert phone is not None
        (side,) = await model.quality(identity)
        assert (side.side, side.received, side.mos) == ("incoming", 110, 4.2)
        mark = model.call_mark(identity)
        model.hang_up(identity)
        assert model.call_mark(identity) != mark
        assert daemon.switch.calls[identity].state is State.RELEASING
        with pytest.raises(ServiceError, match="no call none"):
            model.hang_up("none")
        with pytest.raises(ServiceError, match="no call none"):
            await model.quality("none")
        assert model.call("none") is None
        assert model.call_mark("none") is None

    with_daemon(tmp_path, test)


def test_calls_are_counted_by_peer(tmp_path: Path) -> None:
    async def test(daemon: Daemon, model: DaemonModel, _: Engine) -> None:
        offer(daemon)
        phone = model.phone("101")
        assert phone is not None
        assert phone.calls == 1

    with_daemon(tmp_path, test)


def test_a_trial_call_says_what_it_heard_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.provision.bus import trial_call

    monkeypatch.setattr(trial_call, "LOOK_SECONDS", 0.01)
    told: list[tuple[float, str]] = []

    async def test(daemon: Daemon, model: DaemonModel, engine: Engine) -> None:
        result = await model.test_call("internal", "600", 1, lambda *each: told.append(each))
        assert (result["answered"], result["heard"], result["two_way"]) == ("yes", "yes", "yes")
        assert "cause" not in result
        assert daemon.switch.calls == {}
        opened = [each[1] for each in engine.done if each[0] in ("tone", "echo")]
        assert {each[1] for each in engine.done if each[0] == "close"} >= set(opened)
        assert told[0] == (0.0, "calling")
        assert told[-1][1] == "listening"
        result = await model.test_call("internal", "999999", 1, lambda *_: None)
        assert (result["answered"], result["two_way"]) == ("no", "no")
        assert result["cause"].startswith(str(int(Cause.UNALLOCATED_NUMBER)))
        assert daemon.switch.calls == {}

    with_daemon(tmp_path, test)


def test_nobody_calls_for_help_to_try_it(tmp_path: Path) -> None:
    async def test(daemon: Daemon, model: DaemonModel, _: Engine) -> None:
        for number in ("911", "9911"):
            with pytest.raises(ServiceError, match="emergency number"):
                await model.test_call("internal", number, 1, lambda *_: None)
        assert daemon.switch.calls == {}

    with_daemon(tmp_path, test)


def test_a_trial_call_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    async def test(daemon: Daemon, model: DaemonModel, engine: Engine) -> None:
        task = asyncio.create_task(model.test_call("internal", "600", 5, lambda *_: None))
        await asyncio.sleep(0.05)
        assert len(daemon.switch.calls) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert daemon.switch.calls == {}
        assert engine.done[-1] == ("close", 1)

    with_daemon(tmp_path, test)


def test_without_an_engine_there_is_no_trial_call_and_no_loop(tmp_path: Path) -> None:
    async def test(daemon: Daemon, model: DaemonModel, _: Engine) -> None:
        with pytest.raises(ServiceError, match="engine does not answer"):
            await model.test_call("internal", "600", 1, lambda *_: None)
        model.block("pstn", 3)
        with pytest.raises(ServiceError, match="engine does not answer"):
            await model.loop("pstn", 3, True)
        assert await model.statistics(1) is None

    with_daemon(tmp_path, test, up=False)


# -- diagnostics --


def test_a_trace_is_read_from_a_pipe_and_its_wishes_are_checked_first(tmp_path: Path) -> None:
    async def test(daemon: Daemon, model: DaemonModel, _: Engine) -> None:
        assert daemon.captures is not None
        fd = model.trace(TraceWanted(past=True))
        assert model.trace_state()[0] == 1
        data = await asyncio.to_thread(os.read, fd, 65_536)
        assert data[:4] == b"\x0a\x0d\x0d\x0a"
        await until(lambda: not model.trace_state()[0])
        os.close(fd)
        for wanted in (TraceWanted(call="none"), TraceWanted(span="none")):
            with pytest.raises(ServiceError, match="none") as error:
                model.trace(wanted)
            assert error.value.name is Name.NOT_FOUND
        # Those that go on end with their readers, and there are so many at a time.
        fds = [model.trace(TraceWanted()) for _ in range(MAX_AT_ONCE)]
        with pytest.raises(ServiceError, match="traces are handed out already"):
            model.trace(TraceWanted())
        await asyncio.sleep(0.01)
        for each in fds:
            os.close(each)
        await until(lambda: not model.trace_state()[0])
        daemon.captures = None
        with pytest.raises(ServiceError, match="capture_megabytes = 0"):
            model.trace(TraceWanted())

    with_daemon(tmp_path, test)


def test_a_number_is_explained_and_the_log_s_level_set(tmp_path: Path) -> None:
    async def test(_: Daemon, model: DaemonModel, __: Engine) -> None:
        assert "echo" in "\n".join(model.explain("internal", "600"))
        before = logging.getLogger().level
        try:
            model.set_log_level("error")
            assert model.manager().log_level == "error"
        finally:
            logging.getLogger().setLevel(before)
        with pytest.raises(ServiceError, match="expected debug, info, warning, error"):
            model.set_log_level("loud")

    with_daemon(tmp_path, test)


# -- configuration --


def test_a_file_is_shown_without_its_passwords_and_cannot_be_changed(tmp_path: Path) -> None:
    async def test(_: Daemon, model: DaemonModel, __: Engine) -> None:
        own = model.configuration
        text = await own.text(0)
        assert 'name = "branch-042"' in text
        assert "swordfish" not in text
        assert own.standing().state is ChangeState.IDLE
        assert await own.history() == []
        for word in (
            own.text(1),
            own.value("a", 0),
            own.stage("x", "me"),
            own.set_key("a", "b", "me"),
            own.unset_key("a", "me"),
            own.discard(),
            own.problems(),
            own.plan(STAGED),
            own.commit("", "me", 0, 0),
            own.confirm("me"),
            own.rollback(0, "me", 0),
            own.diff(0, 0),
        ):
            with pytest.raises(ServiceError) as error:
                await word
            assert error.value.name is Name.NOT_SUPPORTED
        (tmp_path / "gateway.toml").write_text("[[")
        with pytest.raises(ServiceError):
            await own.text(0)

    with_daemon(tmp_path, test)


class Keeper:
    """A keeper that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []
        self.refusal: Refusal | None = None

    def status(self) -> ChangeStatus:
        return ChangeStatus(ChangeState.UNCONFIRMED, 3, 3, 2, 4.5, "", 0, "", "listen")

    def history(self) -> tuple[Version, ...]:
        return (Version(3, 1.5, "ann", "why", 1, "", 2, Origin.ROLLBACK, restores=1, undone="not confirmed"),)

    def __getattr__(self, name: str) -> Any:
        async def word(*arguments: object, **named: object) -> Any:
            self.asked.append((name, *arguments, *named.values()))
            if self.refusal is not None:
                raise ChangeError(self.refusal, "no", (Problem("x.toml", 3, "a", "1", "expected 2"),))
            if name == "plan":
                differences = (Difference("host", "1", "2"), Difference("secret", "", "", secret=True))
                same = Entry(Kind.SIP, "", Action.UNCHANGED)
                return Plan((Entry(Kind.TRUNK, "hq", Action.UPDATED, differences, ("0a",), "so"), same), "anew")
            if name == "check":
                return (Problem("/etc/x.toml", 3, "a", "1", "expected 2", Severity.WARNING),)
            return self.history()[0] if name in ("commit", "confirm", "roll_back") else "text"

        return word


def test_the_keeper_s_words_are_the_bus_s(tmp_path: Path) -> None:
    async def test() -> None:
        keeper = Keeper()
        own = KeptConfiguration(keeper)  # type: ignore[arg-type]
        standing = own.standing()
        assert (standing.state, standing.active, standing.seconds_to_confirm) == (ChangeState.UNCONFIRMED, 3, 4.5)
        assert await own.history() == [(3, 1_500_000, "ann", "why", "rollback", 2, 1, "not confirmed")]
        assert await own.text(0) == await own.text(7) == await own.text(STAGED) == "text"
        view = await own.plan(STAGED)
        assert view.service == "anew"
        assert [each.as_row() for each in view.entries] == [
            ("trunk", "hq", "updated", (("host", "1", "2"), ("secret", "", "")), ("0a",), "so")
        ]
        assert await own.problems() == [("x.toml", 3, "warning", "a", "1: expected 2")]
        assert await own.commit("why", "ann", 60, 30) == 3
        assert await own.rollback(0, "ann", 5) == 3
        assert keeper.asked[:3] == [("text", "active"), ("text", 7), ("text", "staged")]
        assert ("commit", "ann", "why", 60, 30) in keeper.asked
        assert ("roll_back", "ann", None, 5) in keeper.asked
        for refusal in Refusal:
            keeper.refusal = refusal
            with pytest.raises(ServiceError) as error:
                await own.stage("x", "ann")
            assert "x.toml:3: a = 1: expected 2" in error.value.text
            assert error.value.name is not Name.INTERNAL

    asyncio.run(test())
