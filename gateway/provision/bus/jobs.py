"""Long work asked for over the bus: it goes on without whoever asked, shows how far it is, and can be ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping

from gateway.provision.bus.errors import Name, ServiceError, not_possible
from gateway.provision.bus.model import Progress
from gateway.provision.bus.states import JobState

log = logging.getLogger(__name__)

MAX_JOBS = 16
MAX_RUNNING = 4
KEPT = 600_000_000
"""Microseconds that one which is over can still be read."""
MAX_SECONDS = 3600.0

Work = Callable[[Progress], Awaitable[Mapping[str, str]]]


class Job:
    """One piece of work."""

    def __init__(self, name: str, kind: str, owner: str, wall: Callable[[], int]) -> None:
        self.name = name
        self.kind = kind
        self.owner = owner
        self.state = "running"
        self.progress = 0.0
        self.text = ""
        self.result: Mapping[str, str] = {}
        self.started = wall()
        self.ended = 0
        self._wall = wall
        self.task: asyncio.Task[None] | None = None

    def tell(self, progress: float, text: str) -> None:
        """How far it is."""
        self.progress = min(max(progress, 0.0), 1.0)
        self.text = text

    def finish(self, state: str, text: str = "", result: Mapping[str, str] | None = None) -> None:
        """It is over."""
        self.state = state
        self.text = text or self.text
        self.result = result or {}
        self.progress = 1.0 if state == "done" else self.progress
        self.ended = self._wall()

    def shown(self) -> JobState:
        """For the bus."""
        return JobState(
            kind=self.kind,
            started=self.started,
            owner=self.owner,
            state=self.state,
            progress=self.progress,
            text=self.text,
            ended=self.ended,
            result=self.result,
        )


class Jobs:
    """All there are; those that are over are kept a while, so that whoever asked can read what came out."""

    def __init__(self, wall: Callable[[], int]) -> None:
        self._wall = wall
        self._jobs: dict[str, Job] = {}
        self._serial = 0

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._jobs))

    def __len__(self) -> int:
        return len(self._jobs)

    def get(self, name: str) -> Job | None:
        """One by its name."""
        return self._jobs.get(name)

    def begin(self, kind: str, owner: str, work: Work, seconds: float = MAX_SECONDS) -> Job:
        """Begin what may take ``seconds`` at most; ServiceError if there are too many."""
        self.tidy()
        running = sum(job.state == "running" for job in self._jobs.values())
        if running >= MAX_RUNNING:
            raise ServiceError(Name.LIMITS_EXCEEDED, f"{running} jobs run already")
        while len(self._jobs) >= MAX_JOBS:
            oldest = next(name for name, job in self._jobs.items() if job.state != "running")
            del self._jobs[oldest]
        self._serial += 1
        job = self._jobs[str(self._serial)] = Job(str(self._serial), kind, owner, self._wall)
        job.task = asyncio.create_task(self._run(job, work, seconds), name=f"job {kind}")
        return job

    async def _run(self, job: Job, work: Work, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                result = await work(job.tell)
        except ServiceError as error:
            job.finish("failed", error.text)
        except TimeoutError:
            job.finish("failed", "it took too long")
        except asyncio.CancelledError:
            job.finish("cancelled", "cancelled")
        except Exception:
            log.exception("job %s (%s): a fault of ours", job.name, job.kind)
            job.finish("failed", "a fault of the gateway; its log says more")
        else:
            job.finish("done", job.text, result)

    def cancel(self, name: str) -> None:
        """End one that runs."""
        job = self._jobs[name]
        if job.state != "running" or job.task is None:
            raise not_possible(f"job {name} is over")
        job.task.cancel()

    def tidy(self) -> None:
        """Forget those that ended long ago."""
        now = self._wall()
        for name, job in tuple(self._jobs.items()):
            if job.ended and now - job.ended > KEPT:
                del self._jobs[name]

    async def close(self) -> None:
        """End all."""
        tasks = [job.task for job in self._jobs.values() if job.task is not None and not job.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
