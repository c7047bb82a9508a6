"""Who may do what: every member of every interface with each role, by the service and by the policy of the bus."""

from __future__ import annotations

import asyncio
import grp
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import pytest

from gateway.provision.bus.adapter import Bus, BusError
from gateway.provision.bus.interface import (
    BUS_NAME,
    OBJECT_MANAGER,
    PROPERTIES,
    ROOT,
    STANDARD,
    Interface,
    Method,
    Role,
)
from gateway.provision.bus.marshal import Variant
from gateway.provision.bus.objects import INTERFACES
from gateway.provision.bus.policy import policy
from gateway.provision.bus.roles import MAX_CALLERS, Callers, groups_of
from tests.unit.provision.bus_scene import BOUND, Model, bus_daemon, client, served

POLICY = Path(__file__).parents[3] / "overlay/usr/share/dbus-1/system.d/org.branchgateway.Gateway1.conf"
PATHS = {
    "Manager": ROOT,
    "Configuration": f"{ROOT}/configuration",
    "Span": f"{ROOT}/spans/pstn",
    "Trunk": f"{ROOT}/trunks/hq",
    "Phone": f"{ROOT}/phones/101",
    "Call": f"{ROOT}/calls/0a0b_2d1",
    "Network": f"{ROOT}/network",
    "Diagnostics": f"{ROOT}/diagnostics",
    "Job": f"{ROOT}/jobs/1",
}
VALUES: dict[str, object] = {"s": "x", "u": 1, "b": True, "v": Variant("s", "x")}
MEMBERS = [(interface, each) for interface in (*STANDARD, OBJECT_MANAGER, *INTERFACES) for each in interface.methods]
CHANGING = {
    "Pardon",
    "SetLogLevel",
    "Stage",
    "Set",
    "Unset",
    "Discard",
    "Commit",
    "CommitWhenDrained",
    "Confirm",
    "Rollback",
    "Block",
    "Unblock",
    "Restart",
    "Loop",
    "Hangup",
    "TestCall",
    "Trace",
    "Cancel",
}


def groups(*names: str) -> Callable[[int], Collection[str]]:
    return lambda _: names


def path_of(interface: Interface) -> str:
    return PATHS.get(interface.name.removeprefix(f"{BUS_NAME}."), ROOT)


async def try_member(bus: Bus, interface: Interface, method: Method) -> str:
    """The error that a call of the member gave, or nothing."""
    values = [VALUES[each.signature] for each in method.takes]
    try:
        await bus.ask(BUS_NAME, path_of(interface), interface.name, method.name, method.signature, values)
    except BusError as error:
        return error.name
    return ""


def with_groups(
    path: Path, look_up: Callable[[int], Collection[str]], test: Callable[[Bus, Model], Awaitable[None]]
) -> None:
    async def run(address: str) -> None:
        async with served(address, groups=look_up) as (service, model):
            # There has to be a job for its members to be tried.
            model.hold = asyncio.Event()
            service.jobs.begin("test call", "0", lambda tell: model.test_call("a", "1", 1, tell))
            async with client(address) as bus:
                await asyncio.wait_for(test(bus, model), BOUND)

    with bus_daemon(path) as address:
        asyncio.run(run(address))


def test_what_changes_something_is_for_admins_and_all_else_for_viewers() -> None:
    told = {each.name for interface in INTERFACES for each in interface.methods if each.role is Role.ADMIN}
    assert told == CHANGING
    assert all(each.role is Role.VIEWER for one in INTERFACES for each in one.methods if each.name not in CHANGING)
    assert PROPERTIES.method["Set"].role is Role.ADMIN


@pytest.mark.parametrize(
    ("names", "role"),
    [((), Role.NONE), (("gateway-viewer", "staff"), Role.VIEWER), (("gateway-viewer", "gateway-admin"), Role.ADMIN)],
)
def test_every_member_with_each_role(tmp_path: Path, names: tuple[str, ...], role: Role) -> None:
    async def test(bus: Bus, model: Model) -> None:
        assert model.hold is not None
        denied = {}
        for interface, method in MEMBERS:
            if method.name == "Quality":
                model.hold.set()
            error = await try_member(bus, interface, method)
            denied[interface.name, method.name] = error == f"{BUS_NAME}.Error.AccessDenied"
        assert denied == {(interface.name, each.name): role < each.role for interface, each in MEMBERS}
        if role < Role.ADMIN:
            assert model.done in ([], [("test call", "a", "1", 1)])
            assert model.configuration.done == []

    with_groups(tmp_path, lambda _: names, test)


def test_a_denial_says_which_group_is_missing_and_is_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(bus: Bus, _: Model) -> None:
        with pytest.raises(BusError, match="Hangup: only who is in group gateway-admin may do that"):
            await bus.ask(BUS_NAME, PATHS["Call"], f"{BUS_NAME}.Call", "Hangup")
        with pytest.raises(BusError, match="only who is in group gateway-viewer"):
            await bus.ask(BUS_NAME, "/", "org.freedesktop.DBus.Properties", "GetAll", "s", ["x"])

    with_groups(tmp_path, groups(), test)
    assert f"user {os.getuid()} may not call Hangup" in caplog.text


def test_who_runs_the_gateway_and_root_need_no_group() -> None:
    async def test() -> None:
        uids = {":1.1": 0, ":1.2": 1000, ":1.3": 1001}

        async def uid_of(sender: str) -> int:
            return uids[sender]

        callers = Callers(uid_of, groups(), (0, 1000))
        assert [(await callers.of(each)).role for each in uids] == [Role.ADMIN, Role.ADMIN, Role.NONE]

    asyncio.run(test())


def test_a_caller_is_looked_up_once_until_it_leaves_and_so_many_are_known() -> None:
    async def test() -> None:
        asked: list[str] = []

        async def uid_of(sender: str) -> int:
            asked.append(sender)
            return 5

        callers = Callers(uid_of, groups("gateway-viewer"), ())
        for _ in range(3):
            assert (await callers.of(":1.1")).role is Role.VIEWER
        assert asked == [":1.1"]
        callers.forget(":1.1")
        await callers.of(":1.1")
        assert asked == [":1.1", ":1.1"]
        for number in range(MAX_CALLERS + 10):
            await callers.of(f":2.{number}")
        assert len(callers) == MAX_CALLERS

    asyncio.run(test())


def test_a_name_of_a_bus_that_was_started_anew_is_not_taken_for_who_had_it_before() -> None:
    async def test() -> None:
        answer = asyncio.Event()
        uids = [5, 6]

        async def uid_of(_: str) -> int:
            uid = uids.pop(0)
            if uid == 5:
                await answer.wait()
            return uid

        callers = Callers(uid_of, lambda uid: ("gateway-admin",) if uid == 5 else (), ())
        early = asyncio.create_task(callers.of(":1.1"))
        await asyncio.sleep(0)
        callers.clear()
        answer.set()
        assert (await early).role is Role.ADMIN
        assert (await callers.of(":1.1")).role is Role.NONE

    asyncio.run(test())


def test_groups_are_those_of_the_system() -> None:
    assert "root" in groups_of(0)
    assert list(groups_of(4_000_000_000)) == []


# -- the policy of the bus --


def test_the_file_is_that_of_the_interfaces() -> None:
    assert POLICY.read_text() == policy(), "run make generate"


def test_the_policy_denies_all_by_default_and_gives_each_group_its_members() -> None:
    # A file of ours.
    root = ET.fromstring(POLICY.read_text().split("-->", 1)[1])  # noqa: S314
    by = {(each.get("context") or each.get("group") or each.get("user")): each for each in root.findall("policy")}
    assert {each.tag for each in by["default"]} == {"deny"}
    allowed = {
        (each.get("send_interface"), each.get("send_member"))
        for each in by["gateway-viewer"]
        if each.get("send_destination")
    }
    assert None not in {member for _, member in allowed}
    assert allowed == {(one.name, each.name) for one, each in MEMBERS if each.role <= Role.VIEWER}
    admin = [each for each in by["gateway-admin"] if each.get("send_destination")]
    assert [sorted(each.keys()) for each in admin] == [["send_destination"]]
    assert {name for name, each in by.items() if any(rule.get("own") for rule in each)} == {
        "default",
        "root",
        "gateway",
    }


DENIED_BY_BUS = "org.freedesktop.DBus.Error.AccessDenied"
_TRY = """
import asyncio, json, os, sys
from tests.unit.provision.test_bus_roles import MEMBERS, try_member
from tests.unit.provision.bus_scene import client

async def main():
    async with client(sys.argv[1]) as bus:
        print(json.dumps([await try_member(bus, *each) for each in MEMBERS]))

if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
asyncio.run(main())
"""


async def errors_of_another(address: str) -> dict[tuple[str, str], str]:
    """What every member gives to another user; to our own where we are not root."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _TRY, address, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    )
    out, _err = await asyncio.wait_for(process.communicate(), BOUND)
    names = [(interface.name, method.name) for interface, method in MEMBERS]
    return dict(zip(names, json.loads(out), strict=True))


def by_policy(text: str) -> tuple[dict[tuple[str, str], str], Model]:
    """The errors that another user gets under the policy ``text``, by a service that would let anybody do anything."""
    own_user = "" if os.getuid() == 0 else f'<policy user="{os.getuid()}"><allow own="{BUS_NAME}"/></policy>'

    async def run(address: str) -> tuple[dict[tuple[str, str], str], Model]:
        async with served(address, groups=groups("gateway-admin")) as (_, model):
            return await errors_of_another(address), model

    # Not below pytest's directory, which others may not enter.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "policy.conf").write_text(text)
        (directory / "policy.conf").chmod(0o644)
        with bus_daemon(directory, f"<include>{directory}/policy.conf</include>{own_user}") as address:
            return asyncio.run(run(address))


def test_dbus_daemon_itself_keeps_others_out_by_that_policy() -> None:
    errors, model = by_policy(POLICY.read_text())
    assert set(errors.values()) == {DENIED_BY_BUS}
    assert model.done == []


@pytest.mark.parametrize(("group", "role"), [("gateway-viewer", Role.VIEWER), ("gateway-admin", Role.ADMIN)])
def test_dbus_daemon_lets_groups_through_by_that_policy(group: str, role: Role) -> None:
    """A group that another user is in takes the place of ours, which this machine has not."""
    gid = 65534 if os.getuid() == 0 else os.getgid()
    errors, _ = by_policy(POLICY.read_text().replace(f'group="{group}"', f'group="{grp.getgrgid(gid).gr_name}"'))
    denied = {member: error == DENIED_BY_BUS for member, error in errors.items()}
    assert denied == {(interface.name, each.name): role < each.role for interface, each in MEMBERS}
