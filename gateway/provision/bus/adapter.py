"""The connection to a message bus: dbus-next, whose defects are mended here and nowhere else, as nobody maintains it.

Its dispatch, its high-level service and its writer are not used: they send tracebacks to callers, do not say who
called, emit InterfacesAdded from the object's own path, answer GetManagedObjects and Introspect at paths that are not,
end the connection when the bus is busy for a moment, and hold replies without bound. docs/dbus.md has the whole list.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dbus_next._private.unmarshaller import MarshallerStreamEndError, Unmarshaller
from dbus_next.aio.message_bus import MessageBus
from dbus_next.auth import AuthExternal
from dbus_next.errors import AuthError
from dbus_next.signature import SignatureTree
from dbus_next.signature import Variant as TheirVariant

from gateway.provision.bus.marshal import MarshalError, Variant, body_of, message
from gateway.provision.bus.outbox import Outbox, close_all

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
ASK_SECONDS = 25.0
MAX_AUTH_LINE = 4096
MAX_HEADER = 16 * 1024
"""Octets of a header; an object's path may be as long as a message, ours are not."""
MAX_PLAIN = 5 * 1024 * 1024
"""Octets of a body that is read where it has numbers and texts only: a configuration is one text."""
MAX_NESTED = 16 * 1024
"""Octets of a body with arrays or variants, each element of which takes time to read."""
MAX_AT_ONCE = 16
"""Messages read until other work has its turn …"""
PAUSE_SECONDS = 0.01
"""… for this long: who floods us is held up by the bus, and calls are not."""
MAX_SIGNATURES = 1024
_PLAIN = frozenset("ybnqiuxtdsog")
_NO_REPLY = 1
_BUS = "org.freedesktop.DBus"
_BUS_PATH = "/org/freedesktop/DBus"
_DO_NOT_QUEUE = 4
_PRIMARY_OWNER = 1
_ALREADY_OWNER = 4

METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SENDER, _SIGNATURE, _FDS = range(1, 10)
_HEAD = {"l": struct.Struct("<II"), "B": struct.Struct(">II")}


class BusError(Exception):
    """The bus cannot be had, or answered with an error, whose name this has."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text


@dataclass(slots=True)
class Incoming:
    """A message that came in. ``body`` has plain values; ``too_long``: it was not read, as it has more than it may.

    ``fds`` are closed by whoever handed this out unless taken out of the list.
    """

    kind: int
    serial: int
    expects_reply: bool
    sender: str
    path: str
    interface: str
    member: str
    signature: str
    body: list[Any]
    reply_serial: int
    error_name: str
    fds: list[int]
    too_long: bool = False


def plain(value: Any) -> Any:
    """``value`` as it was read, without the types of its variants."""
    if isinstance(value, TheirVariant):
        return plain(value.value)
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value


class _Receiving:
    """The socket as the reader sees it: descriptors that come in are not inherited by the programs that we start.

    ``whole``: what is being read is here already, and nothing of what comes after is part of it.
    """

    __slots__ = ("_socket", "whole")

    def __init__(self, own: socket.socket) -> None:
        self._socket = own
        self.whole = False

    def recvmsg(self, size: int, ancillary: int) -> Any:
        if self.whole:
            raise ValueError("a value that is longer than its message")
        return self._socket.recvmsg(size, ancillary, socket.MSG_CMSG_CLOEXEC)


class _Reader(Unmarshaller):  # type: ignore[misc]
    """Reads one message. What is too long is read over, what is unknown in a header is ignored (as the specification
    wants), and nothing of a body is taken apart before its length and types are known to be such as we take.
    """

    def __init__(self, own: socket.socket, bounded: bool) -> None:
        self._receiving = _Receiving(own)
        super().__init__(None, self._receiving)
        self._bounded = bounded
        self._skip = 0
        self._header: Incoming | None = None
        self._body_at = self._length = 0

    def next(self) -> Incoming | None:
        """The message, or None while it is not all here. EOFError at the end; ValueError if it is no message."""
        try:
            if self._header is None and not self._skip:
                self._read_header()
            return self._rest()
        except MarshallerStreamEndError:
            return None
        except (EOFError, OSError, ValueError):
            raise
        except Exception as error:
            # The library raises whatever comes to it.
            raise ValueError(f"not a message of D-Bus: {type(error).__name__}") from error

    def _read_header(self) -> None:
        self.offset = 0
        self.read(16, prefetch=True)
        first = chr(self.buf[0])
        layout = _HEAD.get(first)
        if layout is None or self.buf[3] != 1:
            raise ValueError("not a message of D-Bus")
        self.endian = self.buf[0]
        length, serial = layout.unpack_from(self.buf, 4)
        (fields_length,) = struct.unpack_from(layout.format[0] + "I", self.buf, 12)
        end = 16 + fields_length + (-fields_length & 7)
        if fields_length > MAX_HEADER and self._bounded:
            self._skip = end + length - len(self.buf)
            return
        self.read(end, prefetch=True)
        self.offset = 12
        self._receiving.whole = True
        found: dict[int, Any] = {}
        for code, value in self.read_argument(SignatureTree._get("a(yv)").types[0]):
            found[code] = value.value
        self._receiving.whole = False
        signature = str(found.get(_SIGNATURE, ""))
        self._header = Incoming(
            self.buf[1],
            serial,
            not self.buf[2] & _NO_REPLY,
            str(found.get(_SENDER, "")),
            str(found.get(_PATH, "")),
            str(found.get(_INTERFACE, "")),
            str(found.get(_MEMBER, "")),
            signature,
            [],
            int(found.get(_REPLY_SERIAL, 0)),
            str(found.get(_ERROR_NAME, "")),
            self.unix_fds,
        )
        self._body_at, self._length = end, length
        if self._bounded and length > (MAX_PLAIN if _PLAIN.issuperset(signature) else MAX_NESTED):
            self._header.too_long = True
            self._skip = end + length - len(self.buf)

    def _rest(self) -> Incoming | None:
        for _ in range(MAX_AT_ONCE):
            if self._skip <= 0:
                break
            del self.buf[:]
            self.offset = 0
            size = min(self._skip, 65_536)
            try:
                self.read(size)
            finally:
                self._skip -= len(self.buf)
        if self._skip > 0:
            return None
        header = self._header
        if header is None or header.too_long:
            return header or _nothing(self.unix_fds)
        self.offset = 0
        self.read(self._body_at + self._length, prefetch=True)
        self.offset = self._body_at
        self._receiving.whole = True
        header.body = [plain(self.read_argument(each)) for each in SignatureTree._get(header.signature).types]
        if self.offset != self._body_at + self._length:
            raise ValueError("a message with more in it than its signature says")
        return header


def _nothing(fds: list[int]) -> Incoming:
    """A message of which nothing is known but that it was too long."""
    return Incoming(0, 0, False, "", "", "", "", "", [], 0, "", fds, too_long=True)


class _Authenticator(AuthExternal):  # type: ignore[misc]
    """EXTERNAL; a bus that passes no descriptors is taken as it is."""

    def _receive_line(self, line: str) -> str:
        if self.negotiating_fds and line.startswith("ERROR"):
            return "BEGIN"
        try:
            return str(super()._receive_line(line))
        except ValueError as error:
            raise AuthError(f"the bus says {line[:80]!r}") from error


Handle = Callable[[Incoming], None]


class Bus(MessageBus):  # type: ignore[misc]
    """A connection. ``on_call`` and ``on_signal`` get what comes in, ``on_lost`` that it ended by itself."""

    _disconnected: bool
    _serial: int

    def __init__(
        self,
        address: str,
        on_call: Handle | None = None,
        on_signal: Handle | None = None,
        on_lost: Callable[[str], None] | None = None,
        *,
        bounded: bool = True,
    ) -> None:
        """``bounded`` False is for a client, which reads what it asked for, whatever its length."""
        self._on_call = on_call
        self._on_signal = on_signal
        self._on_lost = on_lost
        self._bounded = bounded
        self._asked: dict[int, asyncio.Future[Incoming]] = {}
        self._resume: asyncio.TimerHandle | None = None
        super().__init__(bus_address=address, auth=_Authenticator(), negotiate_unix_fd=True)
        self._reader = _Reader(self._sock, bounded)
        self._writer = Outbox(self)

    # -- beginning --

    @classmethod
    async def open(
        cls,
        address: str,
        on_call: Handle | None = None,
        on_signal: Handle | None = None,
        on_lost: Callable[[str], None] | None = None,
        *,
        bounded: bool = True,
    ) -> Bus:
        """Connect; BusError if that cannot be."""
        try:
            bus = cls(address, on_call, on_signal, on_lost, bounded=bounded)
        except (OSError, ValueError, KeyError) as error:
            raise BusError("", f"{address}: {error}") from error
        told, bus._on_lost = bus._on_lost, None
        try:
            await asyncio.wait_for(bus.connect(), CONNECT_SECONDS)
            if not str(bus.unique_name).startswith(":"):
                # An ERROR in answer to Hello is taken for a name.
                raise AuthError(str(bus.unique_name))
        except (OSError, AuthError, EOFError, UnicodeDecodeError, TimeoutError, AttributeError, TypeError) as error:
            bus.close()
            raise BusError("", f"{address}: {str(error) or 'no answer'}") from error
        except BaseException:
            bus.close()
            raise
        if bus._disconnected:
            raise BusError("", f"{address}: the connection ended at once")
        bus._on_lost = told
        return bus

    def _setup_socket(self) -> None:
        """Connect to the first address that takes us, without blocking, and leave nothing open of the others."""
        error: OSError | None = None
        for transport, options in self._bus_address:
            if transport != "unix" or not ("path" in options or "abstract" in options):
                error = error or OSError(errno.EAFNOSUPPORT, f"{transport}: expected unix:path= or unix:abstract=")
                continue
            own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                own.setblocking(False)
                own.connect(options["path"] if "path" in options else f"\0{options['abstract']}")
            except OSError as failed:
                own.close()
                error = failed
                continue
            self._sock = own
            self._fd = own.fileno()
            self._stream = own.makefile("rwb")
            return
        raise error or OSError(errno.ENOENT, "no address")

    async def _auth_readline(self) -> str:
        line = bytearray()
        while not line.endswith(b"\r\n"):
            octet = await self._loop.sock_recv(self._sock, 1)
            if not octet:
                raise AuthError("the bus closed the connection")
            line += octet
            if len(line) > MAX_AUTH_LINE:
                raise AuthError("the bus does not speak D-Bus")
        return line[:-2].decode()

    # -- for the writer --

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where it runs."""
        loop: asyncio.AbstractEventLoop = self._loop
        return loop

    @property
    def socket(self) -> socket.socket:
        """Its socket."""
        own: socket.socket = self._sock
        return own

    @property
    def descriptor(self) -> int:
        """Its socket's."""
        return int(self._fd)

    @property
    def unsent(self) -> int:
        """Octets that wait."""
        return int(self._writer.unsent)

    # -- end --

    def close(self) -> None:
        """End the connection; nobody is told."""
        self._on_lost = None
        self.fail(None)

    def fail(self, error: Exception | None) -> None:
        """The connection is over."""
        self._finalize(error)

    def _finalize(self, err: Exception | None = None) -> None:
        if self._disconnected:
            return
        self._disconnected = True
        if self._resume is not None:
            self._resume.cancel()
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._writer.close()
        with contextlib.suppress(OSError):
            self._stream.close()
        self._sock.close()
        # Of a message of which a part has come.
        close_all(self._reader.unix_fds)
        text = "the bus closed the connection" if isinstance(err, EOFError) else str(err or "closed")
        for future in self._asked.values():
            if not future.done():
                future.set_exception(BusError("", text))
                # Whoever waited may have gone; then nobody asks for it.
                future.exception()
        self._asked.clear()
        for handler in tuple(self._method_return_handlers.values()):
            handler(None, err or BusError("", text))
        self._method_return_handlers.clear()
        if self._on_lost is not None:
            self._on_lost(text)

    def disconnect(self) -> None:
        """What the library calls after a failure of its own."""
        self.fail(None)

    # -- in --

    def _create_unmarshaller(self) -> Any:
        return None

    def _message_reader(self) -> None:
        try:
            for _ in range(MAX_AT_ONCE):
                incoming = self._reader.next()
                if incoming is None:
                    return
                self._reader = _Reader(self._sock, self._bounded)
                try:
                    self._take(incoming)
                finally:
                    close_all(incoming.fds)
                if self._disconnected:
                    return
        except Exception as error:
            # The bus looks at messages before we do.
            self.fail(error)
            return
        if len(SignatureTree._cache) > MAX_SIGNATURES:
            SignatureTree._cache.clear()
        if self._bounded:
            self._loop.remove_reader(self._fd)
            self._resume = self._loop.call_later(PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        self._resume = None
        if not self._disconnected:
            self._loop.add_reader(self._fd, self._message_reader)

    def _take(self, incoming: Incoming) -> None:
        if incoming.kind in (METHOD_RETURN, ERROR):
            future = self._asked.pop(incoming.reply_serial, None)
            if future is not None:
                if not future.done():
                    future.set_result(replace(incoming))
                    incoming.fds = []
                return
            handler = self._method_return_handlers.pop(incoming.reply_serial, None)
            if handler is not None:
                handler(incoming, None)
            return
        handle = {METHOD_CALL: self._on_call, SIGNAL: self._on_signal}.get(incoming.kind)
        if handle is None:
            return
        try:
            handle(incoming)
        except Exception:
            # A fault of ours: the connection and all other callers are not to suffer from it.
            log.exception("%s of %s: a fault of ours", incoming.member, incoming.sender)

    # -- out --

    def next_serial(self) -> int:
        """Serial numbers have 32 bits and are never 0; at a hundred signals a second they go round within two years."""
        self._serial = self._serial % 0xFFFF_FFFF + 1
        return int(self._serial)

    def _send(
        self,
        kind: int,
        fields: Sequence[tuple[int, Variant]],
        signature: str,
        body: bytes | bytearray,
        *,
        flags: int = 0,
        fds: Sequence[int] = (),
        urgent: bool = False,
    ) -> int:
        """The serial number; 0 if too much waits to be sent, or the connection is gone."""
        if self._disconnected:
            return 0
        every = list(fields)
        if signature:
            every.append((_SIGNATURE, Variant("g", signature)))
        if fds:
            every.append((_FDS, Variant("u", len(fds))))
        serial = self.next_serial()
        data = message(kind, flags, serial, every, body)
        return serial if self._writer.put(data, fds, urgent=urgent) else 0

    def reply(self, call: Incoming, signature: str, body: bytes | bytearray, fds: Sequence[int] = ()) -> bool:
        """Answer ``call``; False if that cannot be sent."""
        if not call.expects_reply:
            return True
        fields = ((_REPLY_SERIAL, Variant("u", call.serial)), (_DESTINATION, Variant("s", call.sender)))
        return self._send(METHOD_RETURN, fields, signature, body, fds=fds) != 0

    def refuse(self, call: Incoming, name: str, text: str) -> None:
        """Answer ``call`` with an error."""
        if not call.expects_reply:
            return
        fields = (
            (_ERROR_NAME, Variant("s", name)),
            (_REPLY_SERIAL, Variant("u", call.serial)),
            (_DESTINATION, Variant("s", call.sender)),
        )
        self._send(ERROR, fields, "s", body_of("s", [text]), urgent=True)

    def emit(self, path: str, interface: str, member: str, signature: str, body: bytes | bytearray) -> bool:
        """Send a signal to whoever asked the bus for it; False if too much waits to be sent."""
        fields = (
            (_PATH, Variant("o", path)),
            (_INTERFACE, Variant("s", interface)),
            (_MEMBER, Variant("s", member)),
        )
        return self._send(SIGNAL, fields, signature, body, flags=_NO_REPLY) != 0

    async def ask(
        self,
        destination: str,
        path: str,
        interface: str,
        member: str,
        signature: str = "",
        values: Sequence[object] = (),
        *,
        seconds: float | None = ASK_SECONDS,
    ) -> Incoming:
        """Call a method; its reply, whose descriptors are the caller's. BusError with the error that came, or none."""
        if self._disconnected:
            raise BusError("", "the connection to the bus is closed")
        fields = (
            (_PATH, Variant("o", path)),
            (_INTERFACE, Variant("s", interface)),
            (_MEMBER, Variant("s", member)),
            (_DESTINATION, Variant("s", destination)),
        )
        try:
            serial = self._send(METHOD_CALL, fields, signature, body_of(signature, values), urgent=True)
        except MarshalError as error:
            raise BusError("", f"{member}: {error}") from error
        if not serial:
            raise BusError("", "the connection to the bus is closed")
        future = self._asked[serial] = self._loop.create_future()
        try:
            reply: Incoming = await asyncio.wait_for(future, seconds)
        except TimeoutError:
            raise BusError("", f"{member}: no answer within {seconds:.0f} s") from None
        finally:
            self._asked.pop(serial, None)
        if reply.kind == ERROR:
            close_all(reply.fds)
            raise BusError(reply.error_name, str(reply.body[0]) if reply.body else reply.error_name)
        return reply

    async def ask_bus(self, member: str, signature: str = "", values: Sequence[object] = ()) -> list[Any]:
        """Call a method of the bus itself."""
        reply = await self.ask(_BUS, _BUS_PATH, _BUS, member, signature, values)
        return reply.body

    async def own(self, name: str) -> None:
        """Have ``name`` on the bus; BusError if somebody else has it, or we may not."""
        (result,) = await self.ask_bus("RequestName", "su", [name, _DO_NOT_QUEUE])
        if result not in (_PRIMARY_OWNER, _ALREADY_OWNER):
            raise BusError("", f"another program has the name {name}")

    async def listen(self, rule: str) -> None:
        """Have signals that match ``rule``."""
        await self.ask_bus("AddMatch", "s", [rule])


__all__ = ["Bus", "BusError", "Incoming", "plain"]
