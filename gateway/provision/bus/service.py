"""``org.branchgateway.Gateway1`` on a bus: answers callers by their role, and tells what changes.

Everything that takes longer than SLICE gives way to calls in between. What is told is bounded: changes of properties by
the pace at which they are looked for, events by a bucket, what waits to be sent by the adapter.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from gateway.provision.bus.adapter import Bus, BusError, Incoming
from gateway.provision.bus.errors import Name, ServiceError
from gateway.provision.bus.interface import (
    BUS_NAME,
    INTROSPECTABLE,
    OBJECT_MANAGER,
    PEER,
    PROPERTIES,
    ROOT,
    STANDARD,
    Changes,
    Interface,
    Method,
    Role,
    node_xml,
)
from gateway.provision.bus.jobs import Jobs
from gateway.provision.bus.marshal import MarshalError, Variant, body_of, dictionary, single
from gateway.provision.bus.model import GatewayModel
from gateway.provision.bus.objects import BusObject, Descriptor, Fixed, Kind, Tree, values_of
from gateway.provision.bus.roles import Caller, Callers, GroupsOf, groups_of

log = logging.getLogger(__name__)

MAX_PENDING = 64
"""Calls that are being answered at a time …"""
MAX_PENDING_OF_ONE = 16
"""… and of one caller."""
SLICE = 0.002
"""Seconds of work until other work has its turn."""
LOOK_SECONDS = 0.5
"""How often what changes is looked for while there is anybody who asked us something …"""
LOOK_SELDOM_SECONDS = 5.0
"""… and else."""
MAX_TOLD_AT_ONCE = 200
"""Signals of one look; what is left is told by the next one."""
EVENTS_BURST = 100
EVENTS_A_SECOND = 50.0
_MANAGER_INTERFACE = f"{BUS_NAME}.Manager"
_NAME_LOST = (
    "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''"
)
_PATH = single("o")

Write = Callable[[bytearray, Mapping[str, object]], None]


@lru_cache(maxsize=64)
def _writer_of(interface: Interface) -> Write:
    return dictionary([(each.name, each.signature) for each in interface.properties])


@lru_cache(maxsize=64)
def _told_of(interface: Interface) -> frozenset[str]:
    return frozenset(each.name for each in interface.properties if each.changes is Changes.TOLD)


def _interfaces_and_properties(out: bytearray, interface: Interface, state: Any) -> None:
    """Append ``a{sa{sv}}``: the object's own interface; the standard ones have no properties."""
    out += bytes(-len(out) % 4)
    at = len(out)
    out += bytes(4)
    out += bytes(-len(out) % 8)
    begin = len(out)
    single("s")(out, interface.name)
    _writer_of(interface)(out, values_of(state))
    out[at : at + 4] = (len(out) - begin).to_bytes(4, "little")


class Service:
    """Serves ``model`` on a bus that is connected. ``serve`` first; then it goes on by itself until ``close``."""

    def __init__(
        self,
        model: GatewayModel,
        *,
        look_up: GroupsOf = groups_of,
        trusted: Collection[int] | None = None,
        wall: Callable[[], int] = lambda: time.time_ns() // 1000,
        look_seconds: float = LOOK_SECONDS,
        look_seldom_seconds: float = LOOK_SELDOM_SECONDS,
    ) -> None:
        self.jobs = Jobs(wall)
        self.tree = Tree(model, self.jobs, wall)
        self.callers = Callers(self._uid_of, look_up, trusted)
        self.lost = 0
        self._wall = wall
        self._look_seconds = (look_seconds, look_seldom_seconds)
        self._bus: Bus | None = None
        self._pending: set[asyncio.Task[None]] = set()
        self._pending_of: Counter[str] = Counter()
        self._watch: asyncio.Task[None] | None = None
        self._seen: dict[str, tuple[Kind | Fixed, Any, object]] = {}
        self._tokens = float(EVENTS_BURST)
        self._filled = time.monotonic()

    # -- beginning and end --

    async def serve(self, bus: Bus) -> None:
        """Take the name and answer on ``bus``, whose calls come to ``on_call``. BusError if the name cannot be had."""
        # A bus that was started anew gives the same names to others.
        self.callers.clear()
        self._bus = bus
        await bus.listen(_NAME_LOST)
        await bus.own(BUS_NAME)
        self._seen.clear()
        self._watch = asyncio.create_task(self._watch_changes(), name="what changes on the bus")

    def stop(self) -> None:
        """The bus is gone; jobs go on."""
        self._bus = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        for task in self._pending:
            task.cancel()
        self.callers.clear()

    async def close(self) -> None:
        """End all of it."""
        watch = self._watch
        self.stop()
        await self.jobs.close()
        left = [*self._pending] if watch is None else [*self._pending, watch]
        if left:
            await asyncio.wait(left, timeout=5)

    # -- calls --

    def on_signal(self, signal: Incoming) -> None:
        """Callers leave the bus."""
        if signal.member == "NameOwnerChanged" and signal.sender == "org.freedesktop.DBus" and signal.body:
            self.callers.forget(str(signal.body[0]))

    def on_call(self, call: Incoming) -> None:
        """Somebody calls a method."""
        bus = self._bus
        if bus is None:
            return
        if len(self._pending) >= MAX_PENDING or self._pending_of[call.sender] >= MAX_PENDING_OF_ONE:
            bus.refuse(call, Name.LIMITS_EXCEEDED.value, f"more than {MAX_PENDING_OF_ONE} calls at a time")
            return
        if call.too_long:
            bus.refuse(call, Name.LIMITS_EXCEEDED.value, f"{call.member}: more octets than are taken")
            return
        task = asyncio.create_task(self._answer(bus, call))
        self._pending.add(task)
        self._pending_of[call.sender] += 1
        task.add_done_callback(lambda done: self._answered(done, call.sender))

    def _answered(self, task: asyncio.Task[None], sender: str) -> None:
        self._pending.discard(task)
        self._pending_of[sender] -= 1
        if not self._pending_of[sender]:
            del self._pending_of[sender]

    async def _answer(self, bus: Bus, call: Incoming) -> None:
        fds: list[int] = []
        try:
            caller = self.callers.known(call.sender) or await self.callers.of(call.sender)
            signature, body = await self._carry_out(call, caller, fds)
            if not bus.reply(call, signature, body, fds):
                bus.refuse(call, Name.LIMITS_EXCEEDED.value, "too much waits to be sent")
        except ServiceError as error:
            bus.refuse(call, error.name.value, error.text)
        except BusError as error:
            log.info("%s calls %s and is gone: %s", call.sender, call.member, error)
        except Exception:
            log.exception("%s.%s at %s: a fault of ours", call.interface, call.member, call.path)
            bus.refuse(call, Name.INTERNAL.value, "a fault of the gateway; its log says more")
        finally:
            for fd in fds:
                with contextlib.suppress(OSError):
                    os.close(fd)

    async def _carry_out(self, call: Incoming, caller: Caller, fds: list[int]) -> tuple[str, bytes | bytearray]:
        interface, method, thing = self._method_of(call)
        if caller.role < method.role:
            log.warning("user %d may not call %s of %s", caller.uid, method.name, interface.name)
            wanted = f"gateway-{method.role.name.lower()}"
            raise ServiceError(Name.ACCESS_DENIED, f"{method.name}: only who is in group {wanted} may do that")
        if call.signature != method.signature:
            text = f"{method.name} takes {method.signature!r}, not {call.signature!r}"
            raise ServiceError(Name.INVALID_ARGS, text)
        if interface is PROPERTIES:
            return self._properties(call)
        if interface is INTROSPECTABLE:
            return "s", body_of("s", [self._introspect(call.path)])
        if interface is PEER:
            return ("", b"") if method.name == "Ping" else ("s", body_of("s", [_machine_id()]))
        if interface is OBJECT_MANAGER:
            return method.gives_signature, await self._managed_objects()
        if caller.role >= Role.ADMIN and method.role >= Role.ADMIN:
            log.info("%s (%s) calls %s at %s", caller.author, caller.sender, method.name, call.path)
        result = (thing or self._object(call.path)).handlers[method.name](caller, *call.body)
        if inspect.isawaitable(result):
            result = await result
        return method.gives_signature, _results(method, result, fds)

    def _method_of(self, call: Incoming) -> tuple[Interface, Method, BusObject | None]:
        """The method that is meant, of whichever interface of the object if the call names none; with its object
        unless it is a method that every path has.
        """
        for interface in STANDARD if call.path != ROOT else (*STANDARD, OBJECT_MANAGER):
            if call.interface in (interface.name, "") and call.member in interface.method:
                return interface, interface.method[call.member], None
        thing = self._object(call.path)
        if call.interface in (thing.interface.name, ""):
            method = thing.interface.method.get(call.member)
            if method is not None:
                return thing.interface, method, thing
        elif all(call.interface != each.name for each in STANDARD):
            raise ServiceError(Name.UNKNOWN_INTERFACE, f"{call.path} has no interface {call.interface}")
        raise ServiceError(Name.UNKNOWN_METHOD, f"{call.path} has no method {call.member}")

    def _object(self, path: str) -> BusObject:
        thing = self.tree.find(path)
        if thing is None:
            raise ServiceError(Name.UNKNOWN_OBJECT, f"there is no object {path}")
        return thing

    def _properties(self, call: Incoming) -> tuple[str, bytes | bytearray]:
        thing = self._object(call.path)
        wanted = str(call.body[0])
        if wanted not in (thing.interface.name, ""):
            standard = {each.name for each in (*STANDARD, OBJECT_MANAGER)}
            if wanted not in standard:
                raise ServiceError(Name.UNKNOWN_INTERFACE, f"{call.path} has no interface {wanted}")
            if call.member == "GetAll":
                return "a{sv}", body_of("a{sv}", [{}])
            raise ServiceError(Name.UNKNOWN_PROPERTY, f"{wanted} has no property {call.body[1]}")
        if call.member == "GetAll":
            out = bytearray()
            _writer_of(thing.interface)(out, thing.values())
            return "a{sv}", out
        name = str(call.body[1])
        own = thing.interface.property_of.get(name)
        if own is None:
            raise ServiceError(Name.UNKNOWN_PROPERTY, f"{thing.interface.name} has no property {name}")
        if call.member == "Set":
            raise ServiceError(Name.PROPERTY_READ_ONLY, f"{name} cannot be set; methods change what can be changed")
        return "v", body_of("v", [Variant(own.signature, thing.values()[name])])

    def _introspect(self, path: str) -> str:
        children = self.tree.children(path)
        if children is None:
            raise ServiceError(Name.UNKNOWN_OBJECT, f"there is no object {path}")
        thing = self.tree.find(path)
        interfaces: tuple[Interface, ...] = STANDARD[1:]
        if thing is not None:
            interfaces = (thing.interface, *STANDARD)
        if path == ROOT:
            interfaces = (*interfaces, OBJECT_MANAGER)
        return node_xml(interfaces, children)

    async def _managed_objects(self) -> bytearray:
        """``a{oa{sa{sv}}}`` of all objects, made in slices; each entry begins at a multiple of 8."""
        out = bytearray(8)
        begun = time.perf_counter()
        for thing in self.tree.every():
            if thing is None:
                continue
            out += bytes(-len(out) % 8)
            _PATH(out, thing.path)
            _interfaces_and_properties(out, thing.interface, thing.state)
            if time.perf_counter() - begun > SLICE:
                await asyncio.sleep(0)
                begun = time.perf_counter()
        out[0:4] = (len(out) - 8).to_bytes(4, "little")
        return out

    async def _uid_of(self, sender: str) -> int:
        if self._bus is None:
            raise BusError("", "the bus is gone")
        (uid,) = await self._bus.ask_bus("GetConnectionUnixUser", "s", [sender])
        return int(uid)

    # -- what is told --

    def event(self, severity: str, kind: str, subject: str, text: str) -> None:
        """Tell whoever listens that something happened."""
        self.tell("Event", "tssss", [self._wall(), severity, kind, subject, text])

    def tell(self, name: str, signature: str, values: Sequence[object]) -> None:
        """Emit a signal of the manager, unless there were too many of late."""
        bus = self._bus
        if bus is None:
            return
        now = time.monotonic()
        self._tokens = min(self._tokens + (now - self._filled) * EVENTS_A_SECOND, EVENTS_BURST)
        self._filled = now
        if self._tokens < 1 or not bus.emit(ROOT, _MANAGER_INTERFACE, name, signature, body_of(signature, values)):
            self.lost += 1
            return
        self._tokens -= 1

    async def _watch_changes(self) -> None:
        first = True
        while True:
            bus = self._bus
            if bus is None:
                return
            try:
                await self._look(bus, tell=not first)
            except (MarshalError, ServiceError):
                log.exception("looking for changes: a fault of ours")
            first = False
            await asyncio.sleep(self._look_seconds[0 if len(self.callers) else 1])

    async def _look(self, bus: Bus, *, tell: bool) -> None:
        """Compare everything with what it was, and tell what differs."""
        left = MAX_TOLD_AT_ONCE if tell else 0
        if self.lost and tell:
            lost, self.lost = self.lost, 0
            bus.emit(ROOT, _MANAGER_INTERFACE, "SignalsLost", "u", body_of("u", [min(lost, 0xFFFF_FFFF)]))
        seen = self._seen
        gone = dict.fromkeys(seen)
        begun = time.perf_counter()
        for path, kind, name in self._paths():
            if time.perf_counter() - begun > SLICE:
                await asyncio.sleep(SLICE)
                begun = time.perf_counter()
            before = seen.get(path)
            mark: object = None
            if isinstance(kind, Kind):
                mark = kind.mark(name)
                if before is not None and mark == before[2]:
                    gone.pop(path, None)
                    continue
                state = kind.state(name)
                if state is None:
                    continue
            else:
                state = kind.state()
            gone.pop(path, None)
            if tell and before is not None:
                if not left:
                    continue
                left -= self._tell_changed(bus, path, kind.interface, before[1], state)
            elif tell and isinstance(kind, Kind):
                if not left:
                    continue
                left -= 1
                self._tell_added(bus, path, kind.interface, state)
            seen[path] = (kind, state, mark)
        for path in gone:
            if not left and tell:
                break
            kind = seen.pop(path)[0]
            if tell:
                left -= 1
                body = body_of("oas", [path, [kind.interface.name]])
                if not bus.emit(ROOT, OBJECT_MANAGER.name, "InterfacesRemoved", "oas", body):
                    self.lost += 1

    def _paths(self) -> Iterator[tuple[str, Kind | Fixed, str]]:
        """Every path with what stands there, and its name if that is one of a kind."""
        tree = self.tree
        for path, fixed in tree.fixed.items():
            yield path, fixed, ""
        for kind in tree.kinds:
            for name in kind.names():
                yield kind.path_of(name), kind, name

    def _tell_added(self, bus: Bus, path: str, interface: Interface, state: Any) -> None:
        out = bytearray()
        _PATH(out, path)
        _interfaces_and_properties(out, interface, state)
        if not bus.emit(ROOT, OBJECT_MANAGER.name, "InterfacesAdded", "oa{sa{sv}}", out):
            self.lost += 1

    def _tell_changed(self, bus: Bus, path: str, interface: Interface, before: Any, state: Any) -> int:
        """1 if there was anything to tell."""
        was, told = values_of(before), _told_of(interface)
        changed = {name: value for name, value in values_of(state).items() if name in told and value != was[name]}
        if not changed:
            return 0
        out = bytearray()
        single("s")(out, interface.name)
        _writer_of(interface)(out, changed)
        single("as")(out, ())
        if not bus.emit(path, PROPERTIES.name, "PropertiesChanged", "sa{sv}as", out):
            self.lost += 1
        return 1


def _results(method: Method, result: Any, fds: list[int]) -> bytes:
    """What a method gave as octets; descriptors go to ``fds``, and their numbers in it take their place."""
    values = [] if result is None else list(result)
    for at, value in enumerate(values):
        if isinstance(value, Descriptor):
            fds.append(value.fd)
            values[at] = len(fds) - 1
    return body_of(method.gives_signature, values)


def _machine_id() -> str:
    for place in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            return Path(place).read_text("ascii").strip()
    raise ServiceError(Name.NOT_SUPPORTED, "this machine has no id")
