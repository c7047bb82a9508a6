"""The objects on the bus: each is a path, an interface, the values of its properties and what its methods do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.provision.bus.errors import invalid
from gateway.provision.bus.interface import (
    BUS_NAME,
    ROOT,
    Interface,
    Role,
    element_of,
    method,
    name_of,
    properties_of,
    reader_of,
    signal,
)
from gateway.provision.bus.jobs import Jobs
from gateway.provision.bus.model import HISTORY_ROW, PLAN_ROW, PROBLEM_ROW, GatewayModel, Progress, TraceWanted
from gateway.provision.bus.roles import Caller
from gateway.provision.bus.states import (
    CallState,
    ConfigurationState,
    DiagnosticsState,
    JobState,
    ManagerState,
    NetworkState,
    PhoneState,
    Quality,
    SpanState,
    TrunkState,
)

VIEWER, ADMIN = Role.VIEWER, Role.ADMIN
MAX_NAME = 200
MAX_TEXT = 500
LONGEST_TEST_CALL = 60
LONGEST_WAIT = 86_400
COMMIT_SECONDS = 60
"""How long a version may take to be taken up."""

MANAGER = Interface(
    f"{BUS_NAME}.Manager",
    (method("Pardon", "address:s"), method("SetLogLevel", "level:s")),
    properties_of(ManagerState),
    (
        signal("Event", "time:t severity:s kind:s subject:s text:s"),
        signal("CallEnded", "id:s cause:u released_by:s talk_seconds:d"),
        signal("LineChanged", "span:s alarm:s reason:s"),
        signal("SignalsLost", "count:u"),
    ),
)
CONFIGURATION = Interface(
    f"{BUS_NAME}.Configuration",
    (
        method("Get", "version:u", "document:s", VIEWER),
        method("GetValue", "key:s version:u", "value:s", VIEWER),
        method("History", "", f"versions:a({HISTORY_ROW})", VIEWER),
        method("Diff", "old:u new:u", "diff:s", VIEWER),
        method("Check", "", f"problems:a({PROBLEM_ROW})", VIEWER),
        method("CheckDocument", "document:s", f"problems:a({PROBLEM_ROW})", VIEWER),
        method("Plan", "version:u", f"entries:a({PLAN_ROW}) service:s", VIEWER),
        method("Stage", "document:s", f"problems:a({PROBLEM_ROW})"),
        method("Set", "key:s value:s"),
        method("Unset", "key:s"),
        method("Discard"),
        method("Commit", "comment:s confirm_seconds:u", "version:u"),
        method("CommitWhenDrained", "comment:s confirm_seconds:u drain_seconds:u", "job:o"),
        method("Confirm"),
        method("Rollback", "version:u confirm_seconds:u", "active:u"),
    ),
    properties_of(ConfigurationState),
)
SPAN = Interface(
    f"{BUS_NAME}.Span",
    (
        method("Block", "timeslot:u"),
        method("Unblock", "timeslot:u"),
        method("Restart", "timeslot:u"),
        method("Loop", "timeslot:u on:b"),
    ),
    properties_of(SpanState),
)
TRUNK = Interface(f"{BUS_NAME}.Trunk", (), properties_of(TrunkState))
PHONE = Interface(f"{BUS_NAME}.Phone", (), properties_of(PhoneState))
CALL = Interface(
    f"{BUS_NAME}.Call",
    (method("Quality", "", f"sides:{Quality.SIGNATURE}", VIEWER), method("Hangup")),
    properties_of(CallState),
)
NETWORK = Interface(f"{BUS_NAME}.Network", (), properties_of(NetworkState))
DIAGNOSTICS = Interface(
    f"{BUS_NAME}.Diagnostics",
    (
        method("Explain", "context:s number:s", "steps:as", VIEWER),
        method("TestCall", "context:s number:s seconds:u", "job:o"),
        method("Trace", "call:s span:s secrets:b past:b voice:b", "pcapng:h"),
    ),
    properties_of(DiagnosticsState),
)
JOB = Interface(f"{BUS_NAME}.Job", (method("Cancel"),), properties_of(JobState))

INTERFACES = (MANAGER, CONFIGURATION, SPAN, TRUNK, PHONE, CALL, NETWORK, DIAGNOSTICS, JOB)

_READ = {
    state: reader_of(state)
    for state in (
        ManagerState,
        ConfigurationState,
        SpanState,
        TrunkState,
        PhoneState,
        CallState,
        NetworkState,
        DiagnosticsState,
        JobState,
    )
}


def values_of(state: Any) -> dict[str, object]:
    """The values of the properties that ``state`` has, by name."""
    return _READ[type(state)](state)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor that a method gives; it is closed here as soon as it is sent."""

    fd: int


Result = Sequence[object] | None
Handler = Callable[..., "Result | Awaitable[Result]"]


@dataclass(frozen=True, slots=True)
class BusObject:
    """One object; made when it is asked for and thrown away again."""

    path: str
    interface: Interface
    state: Any
    handlers: Mapping[str, Handler]

    def values(self) -> dict[str, object]:
        """The values of its properties."""
        return values_of(self.state)


class Fixed(NamedTuple):
    """What an object is made of that stands always."""

    interface: Interface
    state: Callable[[], Any]
    handlers: Mapping[str, Handler]


class Kind:
    """Objects of one kind below ``element``: ``calls`` has ``/org/branchgateway/Gateway1/calls/…``."""

    __slots__ = ("_handlers", "_names", "_state", "element", "interface", "mark", "prefix")

    def __init__(
        self,
        element: str,
        interface: Interface,
        names: Callable[[], Any],
        state: Callable[[str], Any],
        handlers: Callable[[str], Mapping[str, Handler]] = lambda _: {},
        mark: Callable[[str], object] | None = None,
    ) -> None:
        """``mark`` differs when a state does that is to be told, and costs less to have."""
        self.element = element
        self.interface = interface
        self.prefix = f"{ROOT}/{element}/"
        self._names = names
        self._state = state
        self._handlers = handlers
        self.mark = mark or state

    def names(self) -> tuple[str, ...]:
        """All there are now."""
        return tuple(self._names())

    def path_of(self, name: str) -> str:
        """Where it is."""
        return self.prefix + element_of(name)

    def state(self, name: str) -> Any:
        """What it is like; None if it is gone."""
        return self._state(name)

    def get(self, name: str) -> BusObject | None:
        """One by its name."""
        state = self._state(name)
        if state is None:
            return None
        return BusObject(self.path_of(name), self.interface, state, self._handlers(name))


class Tree:
    """All objects: some stand always, others come and go with what they show."""

    def __init__(self, model: GatewayModel, jobs: Jobs, wall: Callable[[], int]) -> None:
        self.model = model
        self.jobs = jobs
        self._wall = wall
        self.fixed: Mapping[str, Fixed] = {
            ROOT: Fixed(MANAGER, model.manager, self._manager_handlers()),
            f"{ROOT}/configuration": Fixed(CONFIGURATION, self._configuration_state, self._configuration_handlers()),
            f"{ROOT}/network": Fixed(NETWORK, model.network, {}),
            f"{ROOT}/diagnostics": Fixed(DIAGNOSTICS, self._diagnostics_state, self._diagnostics_handlers()),
        }
        self.kinds = (
            Kind("spans", SPAN, model.span_names, model.span, self._span_handlers),
            Kind("trunks", TRUNK, model.trunk_names, model.trunk),
            Kind("phones", PHONE, model.phone_names, model.phone),
            Kind("calls", CALL, model.call_names, model.call, self._call_handlers, model.call_mark),
            Kind("jobs", JOB, lambda: jobs, self._job_state, self._job_handlers),
        )
        self._kind = {kind.element: kind for kind in self.kinds}

    # -- finding --

    def find(self, path: str) -> BusObject | None:
        """The object at ``path``."""
        fixed = self.fixed.get(path)
        if fixed is not None:
            return BusObject(path, fixed.interface, fixed.state(), fixed.handlers)
        if not path.startswith(ROOT + "/"):
            return None
        element, _, rest = path[len(ROOT) + 1 :].partition("/")
        kind = self._kind.get(element)
        name = name_of(rest) if rest else None
        return None if kind is None or name is None else kind.get(name)

    def children(self, path: str) -> tuple[str, ...] | None:
        """The next elements below ``path``; None if nothing is there or below it."""
        if path == "/" or ROOT.startswith(path + "/"):
            return (ROOT[1 if path == "/" else len(path) + 1 :].split("/")[0],)
        if path == ROOT:
            own = [each[len(ROOT) + 1 :] for each in self.fixed if each != ROOT]
            return (*own, *(kind.element for kind in self.kinds))
        for kind in self.kinds:
            if path == kind.prefix[:-1]:
                return tuple(element_of(name) for name in kind.names())
        return () if self.find(path) is not None else None

    def every(self) -> Iterator[BusObject | None]:
        """All objects, each made as it is asked for; None where one went meanwhile."""
        for path in self.fixed:
            yield self.find(path)
        for kind in self.kinds:
            for name in kind.names():
                yield kind.get(name)

    # -- objects that stand always --

    def _manager_handlers(self) -> Mapping[str, Handler]:
        model = self.model
        return {
            "Pardon": lambda _, address: model.pardon(_short(address)),
            "SetLogLevel": lambda _, level: model.set_log_level(_short(level)),
        }

    def _configuration_state(self) -> ConfigurationState:
        """Where the configuration stands."""
        standing = self.model.configuration.standing()
        seconds = standing.seconds_to_confirm
        until = 0
        if seconds is not None:
            # To the second, so that it does not look like another deadline each time it is read.
            until = round((self._wall() + seconds * 1e6) / 1e6) * 1_000_000
        return ConfigurationState(
            state=standing.state.value,
            active=standing.active,
            running=standing.running,
            previous=standing.previous,
            confirm_until=until,
            staged_by=standing.staged_by,
            staged_problems=standing.staged_problems,
            degraded=standing.degraded,
            restart=standing.restart,
        )

    def _configuration_handlers(self) -> Mapping[str, Handler]:
        own = self.model.configuration

        async def get(_: Caller, version: int) -> Result:
            return [await own.text(version)]

        async def get_value(_: Caller, key: str, version: int) -> Result:
            return [await own.value(_short(key), version)]

        async def history(_: Caller) -> Result:
            return [await own.history()]

        async def diff(_: Caller, old: int, new: int) -> Result:
            return [await own.diff(old, new)]

        async def check(_: Caller) -> Result:
            return [await own.problems()]

        async def check_document(_: Caller, document: str) -> Result:
            return [await own.problems(document)]

        async def plan(_: Caller, version: int) -> Result:
            view = await own.plan(version)
            return [[entry.as_row() for entry in view.entries], view.service]

        async def stage(caller: Caller, document: str) -> Result:
            await own.stage(document, caller.author)
            return [await own.problems()]

        async def set_key(caller: Caller, key: str, value: str) -> Result:
            await own.set_key(_short(key), value, caller.author)
            return None

        async def unset_key(caller: Caller, key: str) -> Result:
            await own.unset_key(_short(key), caller.author)
            return None

        async def discard(_: Caller) -> Result:
            await own.discard()
            return None

        async def commit(caller: Caller, comment: str, confirm_seconds: int) -> Result:
            _terms(comment, confirm_seconds=confirm_seconds)
            return [await own.commit(comment, caller.author, confirm_seconds, 0)]

        def commit_when_drained(caller: Caller, comment: str, confirm_seconds: int, drain_seconds: int) -> Result:
            _terms(comment, confirm_seconds=confirm_seconds, drain_seconds=drain_seconds)

            async def work(tell: Progress) -> Mapping[str, str]:
                tell(0.0, "waiting for calls to end")
                try:
                    version = await own.commit(comment, caller.author, confirm_seconds, drain_seconds)
                except asyncio.CancelledError:
                    await own.discard()
                    raise
                return {"version": str(version)}

            job = self.jobs.begin("commit", str(caller.uid), work, drain_seconds + COMMIT_SECONDS)
            return [self._kind["jobs"].path_of(job.name)]

        async def confirm(caller: Caller) -> Result:
            await own.confirm(caller.author)
            return None

        async def rollback(caller: Caller, version: int, confirm_seconds: int) -> Result:
            _terms("", confirm_seconds=confirm_seconds)
            return [await own.rollback(version, caller.author, confirm_seconds)]

        return {
            "Get": get,
            "GetValue": get_value,
            "History": history,
            "Diff": diff,
            "Check": check,
            "CheckDocument": check_document,
            "Plan": plan,
            "Stage": stage,
            "Set": set_key,
            "Unset": unset_key,
            "Discard": discard,
            "Commit": commit,
            "CommitWhenDrained": commit_when_drained,
            "Confirm": confirm,
            "Rollback": rollback,
        }

    def _diagnostics_state(self) -> DiagnosticsState:
        """What can be looked into."""
        tracing, held = self.model.trace_state()
        return DiagnosticsState(tracing=tracing, held=held, jobs=len(self.jobs))

    def _diagnostics_handlers(self) -> Mapping[str, Handler]:
        model, jobs = self.model, self.jobs

        def explain(_: Caller, context: str, number: str) -> Result:
            return [list(model.explain(_short(context), _short(number)))]

        def test_call(caller: Caller, context: str, number: str, seconds: int) -> Result:
            if not 1 <= seconds <= LONGEST_TEST_CALL:
                raise invalid(f"seconds: {seconds}, expected 1 to {LONGEST_TEST_CALL}")
            context, number = _short(context), _short(number)
            job = jobs.begin("test call", str(caller.uid), lambda tell: model.test_call(context, number, seconds, tell))
            return [self._kind["jobs"].path_of(job.name)]

        def trace(_: Caller, call: str, span: str, secrets: bool, past: bool, voice: bool) -> Result:
            return [Descriptor(model.trace(TraceWanted(_short(call), _short(span), secrets, past, voice)))]

        return {"Explain": explain, "TestCall": test_call, "Trace": trace}

    # -- objects that come and go --

    def _span_handlers(self, name: str) -> Mapping[str, Handler]:
        model = self.model

        async def loop(_: Caller, timeslot: int, on: bool) -> Result:
            await model.loop(name, timeslot, on)
            return None

        return {
            "Block": lambda _, timeslot: model.block(name, timeslot),
            "Unblock": lambda _, timeslot: model.unblock(name, timeslot),
            "Restart": lambda _, timeslot: model.restart(name, timeslot),
            "Loop": loop,
        }

    def _call_handlers(self, name: str) -> Mapping[str, Handler]:
        model = self.model

        async def quality(_: Caller) -> Result:
            return [[each.as_row() for each in await model.quality(name)]]

        return {"Quality": quality, "Hangup": lambda _: model.hang_up(name)}

    def _job_state(self, name: str) -> JobState | None:
        job = self.jobs.get(name)
        return None if job is None else job.shown()

    def _job_handlers(self, name: str) -> Mapping[str, Handler]:
        return {"Cancel": lambda _: self.jobs.cancel(name)}


def _short(text: str) -> str:
    if len(text) > MAX_NAME:
        raise invalid(f"text of {len(text)} characters, expected at most {MAX_NAME}")
    return text


def _terms(comment: str, **durations: int) -> None:
    if len(comment) > MAX_TEXT:
        raise invalid(f"comment: {len(comment)} characters, expected at most {MAX_TEXT}")
    for name, seconds in durations.items():
        if seconds > LONGEST_WAIT:
            raise invalid(f"{name}: {seconds}, expected 0 to {LONGEST_WAIT}")
