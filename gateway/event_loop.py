"""An asyncio event loop that calls readers straight from the kernel's list of who may read.

asyncio makes a callback with a context of every descriptor that may be read and goes once round its queues for it,
which costs about as much as reading and answering the message. ``add_reader`` and ``remove_reader`` mean what they
always do, except that the reader runs in no context of its own; everything else goes on as in asyncio.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import selectors
import time
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")

READY_AT_ONCE = 64
"""Descriptors whose readers are called before others get their turn."""


class ReaderSelector(selectors.BaseSelector):
    """Serves readers within ``select``; what asyncio itself waits for is in a selector behind one descriptor.

    ``select`` comes back for what asyncio waits for, at its timeout, and once somebody has set ``wanted``.
    """

    def __init__(self, failed: Callable[[Callable[[], object], BaseException], None]) -> None:
        """``failed`` is told of a reader that raised."""
        self.wanted = False
        """asyncio has something to do that it did not know of when it asked."""
        self._failed = failed
        self._others = selectors.EpollSelector()
        self._epoll = select.epoll()
        self._epoll.register(self._others.fileno(), select.EPOLLIN)
        self._readers: dict[int, Callable[[], object]] = {}

    # -- readers --

    def add(self, descriptor: int, reader: Callable[[], object]) -> None:
        """Call ``reader`` whenever ``descriptor`` can be read."""
        # It is there already if its reader is another from now on.
        with contextlib.suppress(FileExistsError):
            self._epoll.register(descriptor, select.EPOLLIN)
        self._readers[descriptor] = reader

    def remove(self, descriptor: int) -> bool:
        """No more of that; False if it had no reader."""
        if self._readers.pop(descriptor, None) is None:
            return False
        # Closed already, it is gone.
        with contextlib.suppress(OSError):
            self._epoll.unregister(descriptor)
        return True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Call readers until there is something for asyncio, or ``timeout`` seconds are over."""
        self.wanted = False
        deadline = None if timeout is None else time.monotonic() + timeout
        poll, readers = self._epoll.poll, self._readers
        while True:
            found = False
            for descriptor, _ in poll(timeout, READY_AT_ONCE):
                reader = readers.get(descriptor)
                if reader is not None:
                    try:
                        reader()
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as error:
                        self._failed(reader, error)
                elif descriptor == self._others.fileno():
                    found = True
            if found:
                return self._others.select(0)
            if self.wanted:
                return []
            if deadline is not None:
                timeout = deadline - time.monotonic()
                if timeout <= 0:
                    return []

    # -- what asyncio waits for --

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See selectors."""
        return self._others.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See selectors."""
        return self._others.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See selectors."""
        return self._others.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See selectors."""
        return self._others.get_map()

    def close(self) -> None:
        """See selectors."""
        self._readers.clear()
        self._epoll.close()
        self._others.close()


class ReaderLoop(asyncio.SelectorEventLoop):
    """The event loop of the daemon: see ``run``.

    Whatever a reader may ask of asyncio (a task, a future, a timer, the end) comes down to ``call_soon``, ``call_at``
    or ``stop``, and ends the selector's stay with the readers; what another thread asks writes to a descriptor.
    """

    def __init__(self) -> None:
        self._served = ReaderSelector(self._reader_failed)
        super().__init__(self._served)

    def _reader_failed(self, reader: Callable[[], object], error: BaseException) -> None:
        self.call_exception_handler({"message": f"Exception in reader {reader!r}", "exception": error})

    def add_reader(self, fd: FileDescriptorLike, callback: Callable[[*Arguments], Any], *args: *Arguments) -> None:
        """See asyncio."""
        self._served.add(_descriptor(fd), partial(callback, *args) if args else callback)

    def remove_reader(self, fd: FileDescriptorLike) -> bool:
        """See asyncio."""
        return self._served.remove(_descriptor(fd))

    def call_soon(
        self, callback: Callable[[*Arguments], object], *args: *Arguments, context: Context | None = None
    ) -> asyncio.Handle:
        """See asyncio."""
        self._served.wanted = True
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Arguments], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        self._served.wanted = True
        return super().call_at(when, callback, *args, context=context)

    def stop(self) -> None:
        """See asyncio."""
        self._served.wanted = True
        super().stop()


def _descriptor(fd: FileDescriptorLike) -> int:
    return fd if isinstance(fd, int) else fd.fileno()


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """As ``asyncio.run``, on a ReaderLoop."""
    with asyncio.Runner(loop_factory=ReaderLoop) as runner:
        return runner.run(main)
