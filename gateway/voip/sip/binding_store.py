"""Bindings as the bytes of a file that outlives the program: JSON, each end as what was left of it when written.

The wall clock may be wrong or set back in between: then what was left is what is left. Opens no file.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import msgspec

from gateway.core import SECOND
from gateway.voip.sip.errors import SipError
from gateway.voip.sip.flow import RELIABLE, UDP, Flow, literal_address
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.location import WHOLE_Q, Binding
from gateway.voip.sip.registrar import MAX_INSTANCE, MAX_PATHS
from gateway.voip.sip.uri import Uri
from gateway.voip.sip.values import NameAddr
from gateway.voip.stored_bindings import MAX_LEFT, VERSION, opened, passed

log = logging.getLogger(__name__)

MAX_STORE = 32 << 20
"""Octets of a file that are read at all."""


class StoreBindings(msgspec.Struct, frozen=True):
    """``data`` is to be kept, in place of what was kept before: ``SipEndpoint.restore`` takes it after a restart."""

    data: bytes


class _Stored(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    contact: str
    transport: str
    address: str
    port: int
    call_id: str
    cseq: int
    left: int
    granted: int
    q: int = WHOLE_Q
    instance: str = ""
    path: tuple[str, ...] = ()
    user_agent: str = ""
    behind_nat: bool = False
    listener: str = ""
    connected: bool = False
    gone: bool = False


class _File(msgspec.Struct, frozen=True):
    version: int
    written: float
    bindings: tuple[_Stored, ...]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_File)


def stored(bindings: Iterable[Binding], listeners: Sequence[Listener], wall: float, now: int) -> bytes:
    """The file's content; ``wall`` is seconds since 1970."""
    names = [_name(listener) for listener in listeners]
    rows = tuple([_row(binding, names, now) for binding in bindings if binding.expires > now])
    return _encoder.encode(_File(VERSION, wall, rows))


def _name(listener: Listener) -> str:
    return f"{listener.address} {listener.port}"


def _row(binding: Binding, names: list[str], now: int) -> _Stored:
    flow = binding.flow
    return _Stored(
        binding.name,
        _clean(binding.contact),
        flow.transport,
        flow.address,
        flow.port,
        _clean(binding.call_id),
        binding.cseq,
        binding.seconds_left(now),
        binding.granted,
        binding.q,
        _clean(binding.instance),
        tuple([_clean(path) for path in binding.path]),
        _clean(binding.user_agent),
        binding.behind_nat,
        names[flow.listener] if flow.transport == UDP and flow.listener < len(names) else "",
        flow.connection != 0,
        binding.gone,
    )


def _clean(text: str) -> str:
    """``text`` without the octets that were no UTF-8, which JSON cannot hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def restored(data: bytes, listeners: Sequence[Listener], wall: float, now: int) -> list[Binding]:
    """The bindings of ``data`` that still stand, the longest known first; raises ValueError if it is no such file."""
    file = opened(data, _decoder, MAX_STORE)
    since = passed(file, wall)
    found = []
    for serial, row in enumerate(file.bindings):
        if not 0 < row.left <= MAX_LEFT or not 0 <= row.q <= WHOLE_Q:
            raise ValueError(f"binding {serial} of {row.name!r} has {row.left} seconds left and q {row.q}")
        expires = now + row.left * SECOND - since
        if expires <= now:
            continue
        binding = _binding(row, serial, listeners, expires)
        if binding is not None:
            found.append(binding)
    return found


def _listener(row: _Stored, address: str, listeners: Sequence[Listener]) -> int | None:
    """The socket that the phone knows, if it is still there, else one that reaches it."""
    fit = [number for number, each in enumerate(listeners) if each.transport == UDP and each.reaches(address)]
    same = [number for number in fit if _name(listeners[number]) == row.listener]
    return next(iter(same or fit), None)


def _uri(row: _Stored) -> Uri | None:
    """The Contact of ``row``; None if it, or what else is sent to others, is none that a registrar ever took."""
    # No header fields of their own.
    sent = (row.contact, row.instance, *row.path)
    if not all(map(str.isprintable, sent)) or len(row.path) > MAX_PATHS or len(row.instance) > MAX_INSTANCE:
        return None
    try:
        uri = Uri.parse(row.contact)
        schemes = {uri.scheme, *(NameAddr.parse(path).uri.scheme for path in row.path)}
    except SipError:
        return None
    return uri if schemes <= {"sip", "sips"} else None


def _binding(row: _Stored, serial: int, listeners: Sequence[Listener], expires: int) -> Binding | None:
    address = literal_address(row.address)
    if address is None or not 0 < row.port < 65536 or row.transport not in (UDP, *RELIABLE):
        raise ValueError(f"binding {serial} of {row.name!r} is at {row.transport}:{row.address}:{row.port}")
    uri = _uri(row)
    if uri is None:
        # One phone that calls itself something strange must not cost the others theirs.
        log.warning("%r cannot be called any more where it was: not restored", row.name[:40])
        return None
    listener = _listener(row, address, listeners) if row.transport == UDP else 0
    if listener is None:
        # The sockets are others now: the phone will have to find them.
        log.warning("%s cannot be reached over %s any more: not restored", row.name, row.transport)
        return None
    binding = Binding(
        row.name,
        row.contact,
        uri,
        Flow(row.transport, address, row.port, 0, listener),
        row.call_id,
        row.cseq,
        expires,
        row.granted,
        row.q,
        row.instance,
        row.path,
        row.user_agent,
        row.behind_nat,
        row.gone,
        serial,
    )
    return binding.without_connection() if row.connected else binding
