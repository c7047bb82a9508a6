"""The service on a real dbus-daemon: objects, properties, methods, errors and jobs."""

from __future__ import annotations

import asyncio
import os
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from gateway.provision.bus.adapter import Bus, Incoming
from gateway.provision.bus.errors import not_possible
from gateway.provision.bus.interface import (
    BUS_NAME,
    OBJECT_MANAGER,
    PROPERTIES,
    ROOT,
    STANDARD,
    element_of,
    file_xml,
    name_of,
)
from gateway.provision.bus.introspect import DIRECTORY
from gateway.provision.bus.marshal import Variant
from gateway.provision.bus.model import STAGED, TraceWanted
from gateway.provision.bus.objects import CALL, CONFIGURATION, DIAGNOSTICS, INTERFACES, JOB, MANAGER, PHONE, SPAN
from gateway.provision.bus.service import Service
from tests.unit.provision.bus_client import (
    CALL_PATH,
    OURS,
    SPAN_PATH,
    THEIRS,
    call,
    error_of,
    get_all,
    on_bus,
    over,
)
from tests.unit.provision.bus_scene import Model, a_phone, until

# -- objects --


def test_all_objects_are_handed_out_with_their_properties(tmp_path: Path) -> None:
    async def test(_: Service, model: Model, bus: Bus) -> None:
        (objects,) = await call(bus, ROOT, OBJECT_MANAGER, "GetManagedObjects")
        fixed = {ROOT, *(f"{ROOT}/{each}" for each in ("configuration", "network", "diagnostics"))}
        things = {SPAN_PATH, f"{ROOT}/trunks/hq", f"{ROOT}/phones/101", CALL_PATH}
        assert set(objects) == fixed | things
        for path, members in objects.items():
            ((name, properties),) = members.items()
            interface = next(each for each in INTERFACES if each.name == name)
            assert set(properties) == set(interface.property_of)
            assert properties == await get_all(bus, path, interface)
        assert objects[SPAN_PATH][SPAN.name]["Channels"] == [[1, "idle", []], [2, "blocked", ["local"]]]
        assert model.done == []

    on_bus(tmp_path, test)


def test_objects_are_handed_out_at_the_root_alone(tmp_path: Path) -> None:
    async def test(_: Service, __: Model, bus: Bus) -> None:
        for path in ("/", CALL_PATH):
            name, _text = await error_of(call(bus, path, OBJECT_MANAGER, "GetManagedObjects"))
            assert name in (f"{THEIRS}.UnknownInterface", f"{THEIRS}.UnknownObject")

    on_bus(tmp_path, test)


def test_names_of_any_kind_are_elements_of_paths() -> None:
    for name in ("", "pstn", "0000FFFF0001", "a-b.c_d", "_", "_2d", "ä"):
        assert name_of(element_of(name)) == name
    assert element_of("a-1") == "a_2d1"
    for element in ("a-1", "_2", "_zz", "_61", "__", "a_"):
        assert name_of(element) is None


def test_the_live_bus_has_exactly_what_the_files_say(tmp_path: Path) -> None:
    paths = {
        ROOT: MANAGER,
        f"{ROOT}/configuration": CONFIGURATION,
        SPAN_PATH: SPAN,
        f"{ROOT}/trunks/hq": INTERFACES[3],
        f"{ROOT}/phones/101": PHONE,
        CALL_PATH: CALL,
        f"{ROOT}/network": INTERFACES[6],
        f"{ROOT}/diagnostics": DIAGNOSTICS,
        f"{ROOT}/jobs/1": JOB,
    }
    assert set(paths.values()) == set(INTERFACES)
    assert {each.name for each in DIRECTORY.iterdir()} == {f"{each.name}.xml" for each in INTERFACES}

    async def test(_: Service, __: Model, bus: Bus) -> None:
        await call(bus, f"{ROOT}/diagnostics", DIAGNOSTICS, "TestCall", "internal", "600", 1)
        for path, interface in paths.items():
            (text,) = await call(bus, path, STANDARD[1], "Introspect")
            # Of bus and repository, both ours.
            live = {str(each.get("name")): each for each in ET.fromstring(text).iter("interface")}  # noqa: S314
            (kept,) = ET.parse(DIRECTORY / f"{interface.name}.xml").iter("interface")  # noqa: S314
            assert ET.tostring(live[interface.name]).split() == ET.tostring(kept).split(), "run make generate"
            names = {each.name for each in STANDARD} | {interface.name}
            assert set(live) == (names | {OBJECT_MANAGER.name} if path == ROOT else names)

    on_bus(tmp_path, test)


def test_introspection_leads_from_the_root_to_every_object_and_no_further(tmp_path: Path) -> None:
    async def children(bus: Bus, path: str) -> set[str]:
        (text,) = await call(bus, path, STANDARD[1], "Introspect")
        return {str(each.get("name")) for each in ET.fromstring(text).findall("node")}  # noqa: S314

    async def test(_: Service, model: Model, bus: Bus) -> None:
        model.phones["1010"] = a_phone("1010")
        assert await children(bus, "/") == {"org"}
        assert await children(bus, "/org/branchgateway") == {"Gateway1"}
        assert "calls" in await children(bus, ROOT)
        assert await children(bus, f"{ROOT}/phones") == {"101", "1010"}
        # A name that another begins with has nothing of it below.
        assert await children(bus, f"{ROOT}/phones/101") == set()
        for path in (f"{ROOT}/phones/10", f"{ROOT}/nothing", "/or", f"{ROOT}/phones/101/x"):
            name, _text = await error_of(call(bus, path, STANDARD[1], "Introspect"))
            assert name == f"{THEIRS}.UnknownObject"

    on_bus(tmp_path, test)


def test_a_property_is_got_alone_and_none_can_be_set(tmp_path: Path) -> None:
    async def test(_: Service, __: Model, bus: Bus) -> None:
        assert await call(bus, ROOT, PROPERTIES, "Get", MANAGER.name, "Name") == ["branch-042"]
        assert await call(bus, ROOT, PROPERTIES, "Get", "", "ChannelsIdle") == [29]
        assert await get_all(bus, ROOT, PROPERTIES) == {}
        name, _text = await error_of(call(bus, ROOT, PROPERTIES, "Get", MANAGER.name, "Nothing"))
        assert name == f"{THEIRS}.UnknownProperty"
        name, _text = await error_of(call(bus, ROOT, PROPERTIES, "Get", PEER_NAME, "Nothing"))
        assert name == f"{THEIRS}.UnknownProperty"
        name, _text = await error_of(call(bus, ROOT, PROPERTIES, "GetAll", "a.b"))
        assert name == f"{THEIRS}.UnknownInterface"
        name, _text = await error_of(call(bus, ROOT, PROPERTIES, "Set", MANAGER.name, "Name", Variant("s", "x")))
        assert name == f"{THEIRS}.PropertyReadOnly"

    on_bus(tmp_path, test)


PEER_NAME = "org.freedesktop.DBus.Peer"


@pytest.mark.parametrize(
    ("path", "interface", "member", "signature", "error"),
    [
        (f"{ROOT}/calls/none", CALL.name, "Hangup", "", f"{THEIRS}.UnknownObject"),
        ("/elsewhere", CALL.name, "Hangup", "", f"{THEIRS}.UnknownObject"),
        (CALL_PATH, "a.b", "Hangup", "", f"{THEIRS}.UnknownInterface"),
        (CALL_PATH, CALL.name, "Nothing", "", f"{THEIRS}.UnknownMethod"),
        (CALL_PATH, SPAN.name, "Block", "", f"{THEIRS}.UnknownInterface"),
        (CALL_PATH, CALL.name, "Hangup", "s", f"{THEIRS}.InvalidArgs"),
        (SPAN_PATH, SPAN.name, "Block", "i", f"{THEIRS}.InvalidArgs"),
        (ROOT, PEER_NAME, "Nothing", "", f"{THEIRS}.UnknownMethod"),
        (ROOT, PROPERTIES.name, "Get", "s", f"{THEIRS}.InvalidArgs"),
    ],
)
def test_what_is_not_there_has_an_error_that_says_so(
    tmp_path: Path, path: str, interface: str, member: str, signature: str, error: str
) -> None:
    async def test(_: Service, model: Model, bus: Bus) -> None:
        values: list[object] = {"": [], "s": ["x"], "i": [1]}[signature]  # type: ignore[assignment]
        name, text = await error_of(bus.ask(BUS_NAME, path, interface, member, signature, values))
        assert name == error
        assert text
        assert model.done == []

    on_bus(tmp_path, test)


def test_a_call_may_leave_the_interface_out(tmp_path: Path) -> None:
    async def test(service: Service, model: Model, bus: Bus) -> None:
        incoming = Incoming(1, 9, True, str(bus.unique_name), CALL_PATH, "", "Hangup", "", [], 0, "", [])
        service.on_call(incoming)
        await until(lambda: model.done == [("hangup", "0a0b-1")])

    on_bus(tmp_path, test)


def test_ping_and_the_machine_s_identity(tmp_path: Path) -> None:
    async def test(_: Service, __: Model, bus: Bus) -> None:
        for _turn in range(2):
            assert await call(bus, "/any", STANDARD[2], "Ping") == []
            (identity,) = await call(bus, "/any", STANDARD[2], "GetMachineId")
            assert len(identity) == 32

    on_bus(tmp_path, test)


# -- what each object does --


def test_spans_and_calls_and_the_gateway_do_what_they_are_told(tmp_path: Path) -> None:
    async def test(_: Service, model: Model, bus: Bus) -> None:
        await call(bus, SPAN_PATH, SPAN, "Block", 2)
        await call(bus, SPAN_PATH, SPAN, "Loop", 2, True)
        await call(bus, SPAN_PATH, SPAN, "Unblock", 2)
        await call(bus, SPAN_PATH, SPAN, "Restart", 0)
        await call(bus, ROOT, MANAGER, "Pardon", "203.0.113.9")
        await call(bus, ROOT, MANAGER, "SetLogLevel", "debug")
        (sides,) = await call(bus, CALL_PATH, CALL, "Quality")
        assert sides == [["incoming", 100, 99, 1, 0, 2.5, -1.0, 40.0, 4.2, "192.0.2.7:4000"]]
        await call(bus, CALL_PATH, CALL, "Hangup")
        assert model.level == "debug"
        assert model.done == [
            ("block", "pstn", 2),
            ("loop", "pstn", 2, True),
            ("unblock", "pstn", 2),
            ("restart", "pstn", 0),
            ("pardon", "203.0.113.9"),
            ("hangup", "0a0b-1"),
        ]
        assert (await error_of(call(bus, ROOT, MANAGER, "Pardon", "192.0.2.1")))[0] == f"{OURS}.NotFound"
        assert (await error_of(call(bus, ROOT, MANAGER, "Pardon", "x" * 300)))[0] == f"{OURS}.InvalidArgument"
        (steps,) = await call(bus, f"{ROOT}/diagnostics", DIAGNOSTICS, "Explain", "internal", "911")
        assert steps == ["internal: 911", "goes nowhere"]

    on_bus(tmp_path, test)


def test_the_configuration_is_staged_planned_committed_and_rolled_back(tmp_path: Path) -> None:
    path = f"{ROOT}/configuration"

    async def test(_: Service, model: Model, bus: Bus) -> None:
        own = model.configuration
        assert await call(bus, path, CONFIGURATION, "Get", 0) == ["schema = 1\n"]
        assert await call(bus, path, CONFIGURATION, "GetValue", "gateway.name", 0) == ['"branch-042"']
        (problems,) = await call(bus, path, CONFIGURATION, "Stage", "schema = 1\n# new\n")
        assert problems == [["gateway.toml", 3, "warning", "sip.x", "of use with y only"]]
        assert (await get_all(bus, path, CONFIGURATION))["State"] == "staged"
        assert await call(bus, path, CONFIGURATION, "Get", STAGED) == ["schema = 1\n# new\n"]
        entries, service = await call(bus, path, CONFIGURATION, "Plan", STAGED)
        differences = [["host", '"a"', '"b"']]
        assert entries == [["trunk", "hq", "restarted", differences, ["0a0b-1"], "its host is another"]]
        assert service == ""
        assert await call(bus, path, CONFIGURATION, "Diff", 0, STAGED) == [f"--- 0\n+++ {STAGED}\n"]
        assert await call(bus, path, CONFIGURATION, "Commit", "why", 300) == [2]
        shown = await get_all(bus, path, CONFIGURATION)
        assert (shown["State"], shown["Active"]) == ("unconfirmed", 2)
        assert shown["ConfirmUntil"] % 1_000_000 == 0
        await call(bus, path, CONFIGURATION, "Confirm")
        assert (await error_of(call(bus, path, CONFIGURATION, "Confirm")))[0] == f"{OURS}.NotPossible"
        await call(bus, path, CONFIGURATION, "Set", "trunk.hq.host", "b.example.org")
        await call(bus, path, CONFIGURATION, "Discard")
        await call(bus, path, CONFIGURATION, "Unset", "trunk.hq")
        await call(bus, path, CONFIGURATION, "Discard")
        assert (await error_of(call(bus, path, CONFIGURATION, "Plan", STAGED)))[0] == f"{OURS}.NotPossible"
        assert await call(bus, path, CONFIGURATION, "Rollback", 0, 60) == [3]
        (history,) = await call(bus, path, CONFIGURATION, "History")
        assert [row[0] for row in history] == [3, 2, 1]
        name, _text = await error_of(call(bus, path, CONFIGURATION, "Stage", "bad"))
        assert name == f"{OURS}.InvalidConfiguration"
        assert await call(bus, path, CONFIGURATION, "CheckDocument", "bad") == [
            [["gateway.toml", 1, "error", "", "not TOML"]]
        ]
        assert (await error_of(call(bus, path, CONFIGURATION, "Get", 99)))[0] == f"{OURS}.NotFound"
        late = call(bus, path, CONFIGURATION, "Commit", "", 90_000)
        assert (await error_of(late))[0] == f"{OURS}.InvalidArgument"
        wordy = call(bus, path, CONFIGURATION, "Commit", "x" * 501, 0)
        assert (await error_of(wordy))[0] == f"{OURS}.InvalidArgument"
        # The history says who it was.
        assert {each[-1] for each in own.done if each[0] in ("stage", "confirm")} == {_me()}

    on_bus(tmp_path, test)


def test_a_commit_that_lets_calls_end_first_is_a_job(tmp_path: Path) -> None:
    path = f"{ROOT}/configuration"

    async def test(_: Service, model: Model, bus: Bus) -> None:
        own = model.configuration
        await call(bus, path, CONFIGURATION, "Stage", "schema = 1\n# new\n")
        (job,) = await call(bus, path, CONFIGURATION, "CommitWhenDrained", "why", 0, 600)
        done = await over(bus, job)
        assert (done["Kind"], done["State"], done["Result"]) == ("commit", "done", {"version": "2"})
        assert own.done[-1] == ("commit", "why", _me(), 0, 600)
        await call(bus, path, CONFIGURATION, "Stage", "schema = 1\n# newer\n")
        own.hold = asyncio.Event()
        (job,) = await call(bus, path, CONFIGURATION, "CommitWhenDrained", "why", 0, 600)
        assert (await get_all(bus, job, JOB))["Text"] == "waiting for calls to end"
        await call(bus, job, JOB, "Cancel")
        assert (await over(bus, job))["State"] == "cancelled"
        assert own.waiting == ""
        late = call(bus, path, CONFIGURATION, "CommitWhenDrained", "", 0, 90_000)
        assert (await error_of(late))[0] == f"{OURS}.InvalidArgument"

    on_bus(tmp_path, test)


def _me() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def test_a_trace_comes_as_a_descriptor(tmp_path: Path) -> None:
    async def test(_: Service, model: Model, bus: Bus) -> None:
        path, interface = f"{ROOT}/diagnostics", DIAGNOSTICS.name
        word = bus.ask(BUS_NAME, path, interface, "Trace", "ssbbb", ["", "", False, True, False])
        assert (await error_of(word))[0] == f"{OURS}.NotSupported"

        def pipe() -> int:
            read, write = os.pipe()
            os.write(write, b"\x0a\x0d\x0d\x0a")
            os.close(write)
            return read

        model.pipe = pipe
        reply = await bus.ask(BUS_NAME, path, interface, "Trace", "ssbbb", ["", "pstn", True, False, True])
        with os.fdopen(reply.fds[reply.body[0]], "rb") as file:
            assert file.read() == b"\x0a\x0d\x0d\x0a"
        assert model.done == [("trace", TraceWanted("", "pstn", secrets=True, past=False, voice=True))]

    on_bus(tmp_path, test)


# -- jobs --


def test_a_test_call_is_a_job_that_shows_how_far_it_is(tmp_path: Path) -> None:
    async def test(_: Service, model: Model, bus: Bus) -> None:
        model.hold = asyncio.Event()
        (path,) = await call(bus, f"{ROOT}/diagnostics", DIAGNOSTICS, "TestCall", "internal", "600", 5)
        await asyncio.sleep(0)
        job = await get_all(bus, path, JOB)
        assert (job["Kind"], job["State"], job["Progress"], job["Text"]) == ("test call", "running", 0.5, "ringing")
        assert job["Owner"] == str(os.getuid())
        model.hold.set()
        job = await over(bus, path)
        assert (job["State"], job["Progress"], job["Result"]) == ("done", 1.0, {"two_way": "yes"})
        assert job["Ended"] >= job["Started"] > 0
        assert (await error_of(call(bus, path, JOB, "Cancel")))[0] == f"{OURS}.NotPossible"

    on_bus(tmp_path, test)


def test_a_job_can_be_cancelled_and_there_are_so_many_at_a_time(tmp_path: Path) -> None:
    async def test(service: Service, model: Model, bus: Bus) -> None:
        path = f"{ROOT}/diagnostics"
        model.hold = asyncio.Event()
        jobs = [(await call(bus, path, DIAGNOSTICS, "TestCall", "internal", "600", 5))[0] for _ in range(4)]
        name, _text = await error_of(call(bus, path, DIAGNOSTICS, "TestCall", "internal", "600", 5))
        assert name == f"{OURS}.LimitsExceeded"
        await call(bus, jobs[0], JOB, "Cancel")
        job = await over(bus, jobs[0])
        assert job["State"] == "cancelled"
        await call(bus, path, DIAGNOSTICS, "TestCall", "internal", "600", 5)
        assert (await error_of(call(bus, path, DIAGNOSTICS, "TestCall", "a", "6", 61)))[0] == f"{OURS}.InvalidArgument"
        assert len(service.jobs) == 5

    on_bus(tmp_path, test)


def test_a_job_that_fails_says_why_and_a_fault_of_ours_says_nothing(tmp_path: Path) -> None:
    async def test(service: Service, _: Model, bus: Bus) -> None:
        async def refused(_tell: object) -> dict[str, str]:
            raise not_possible("no engine")

        async def broken(_tell: object) -> dict[str, str]:
            raise RuntimeError("inside")

        names = [service.jobs.begin("x", "0", work).name for work in (refused, broken)]
        texts = []
        for name in names:
            job = await over(bus, f"{ROOT}/jobs/{name}")
            assert job["State"] == "failed"
            texts.append(job["Text"])
        assert texts == ["no engine", "a fault of the gateway; its log says more"]

    on_bus(tmp_path, test)


def test_jobs_that_ended_are_forgotten_after_a_while(tmp_path: Path) -> None:
    async def test(service: Service, _: Model, __: Bus) -> None:
        async def nothing(_tell: object) -> dict[str, str]:
            return {}

        job = service.jobs.begin("x", "0", nothing)
        await until(lambda: job.state == "done")
        service.jobs.tidy()
        assert len(service.jobs) == 1
        job.ended -= 601 * 1_000_000
        service.jobs.tidy()
        assert len(service.jobs) == 0
        for _turn in range(40):
            await until(lambda: service.jobs.begin("x", "0", nothing).state == "running")
            await asyncio.sleep(0.001)
        assert len(service.jobs) <= 16

    on_bus(tmp_path, test)


def test_files_of_introspection_are_those_of_the_interfaces() -> None:
    for each in INTERFACES:
        assert (DIRECTORY / f"{each.name}.xml").read_text() == file_xml(each), "run make generate"
