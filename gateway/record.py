"""The call record: one JSON object a line for every call, those that never got anywhere included, and the file of them.

Times are wall-clock microseconds since 1970 inside, ISO 8601 with milliseconds in UTC in the file. Nothing here decides
anything about calls; a record that cannot be written is counted and the calls go on.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
from pathlib import Path

import msgspec
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.identity import Number, Party, Redirection
from gateway.media.api import Statistics

log = logging.getLogger(__name__)

MAX_LINE = 64 * 1024
VERSION = 1
RECENT = 1 << 20
"""Octets of the file that are looked through for calls which have their record."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES = ("start", "routed", "ringing", "answer", "end")
_ROUNDED = tuple(field.name for field in msgspec.structs.fields(Statistics) if field.type is float)
_to_round = itemgetter(*_ROUNDED)
_encoder = msgspec.json.Encoder()


class _Identified(msgspec.Struct, frozen=True):
    id: str


_identify = msgspec.json.Decoder(_Identified).decode


class RecordError(ValueError):
    """A line that is no call record."""


@dataclass(frozen=True, slots=True)
class WallClock:
    """The wall clock against the monotonic one, both microseconds: read both at once, then map."""

    wall: int
    monotonic: int

    def at(self, now: int | None) -> int | None:
        """The wall-clock time of the monotonic ``now``."""
        return None if now is None else self.wall + now - self.monotonic


class AttemptRecord(msgspec.Struct, frozen=True):
    """One destination that was tried: as the dial plan wrote it, the number sent, how it ended, what its leg says.

    ``text`` says more of how it ended: the far end's words, or our timer that ran out.
    """

    destination: str
    number: str = ""
    cause: int | None = None
    leg: Mapping[str, object] = {}
    text: str = ""


class TransferRecord(AttemptRecord, frozen=True):
    """A leg that came into the call later, or was tried for that: ``by`` transferred it ``at`` that time.

    ``kind``: blind, attended (out of the call that ``text`` names) or replaces (by an INVITE of its own).
    """

    at: int | None = None
    kind: str = "blind"
    by: str = ""


class CallRecord(msgspec.Struct, frozen=True):
    """Everything about one call that is over. Times are wall-clock microseconds since 1970; None is "never came to it".

    ``caller``, ``connected`` and ``redirection`` are as ``party_record`` and ``redirection_record`` give them;
    ``incoming`` and each attempt's ``leg`` are what the leg's ``record()`` said. ``released_by`` is a word: caller,
    called, dial plan, gateway, operator or far end.
    """

    id: str
    start: int
    source: str
    context: str
    dialled: str
    cause: int
    released_by: str
    end: int
    routed: int | None = None
    ringing: int | None = None
    answer: int | None = None
    sent: str = ""
    caller: Mapping[str, object] = {}
    connected: Mapping[str, object] | None = None
    redirection: Mapping[str, object] | None = None
    incoming: Mapping[str, object] = {}
    attempts: tuple[AttemptRecord, ...] = ()
    transfers: tuple[TransferRecord, ...] = ()
    facts: tuple[str, ...] = ()
    emergency: bool = False
    one_way: bool = False
    notes: tuple[str, ...] = ()

    @property
    def talk_seconds(self) -> float:
        """From answer to end."""
        return 0.0 if self.answer is None else (self.end - self.answer) / 1e6

    @property
    def outgoing(self) -> Mapping[str, object]:
        """What the leg of the last attempt said; empty if none got so far."""
        return self.attempts[-1].leg if self.attempts else {}

    @property
    def sip_status(self) -> int | None:
        """The final SIP status of the outgoing leg, else of the incoming one, if either is SIP."""
        for leg in (self.outgoing, self.incoming):
            status = leg.get("sip_status")
            if isinstance(status, int):
                return status
        return None

    def to_json(self) -> bytes:
        """One line without its end. A record too long for MAX_LINE loses its legs' details and notes, and says so."""
        line = _encode(self._document())
        if len(line) < MAX_LINE:
            return line
        cut = replace(
            self,
            incoming={},
            attempts=(),
            transfers=(),
            caller={},
            connected=None,
            redirection=None,
            notes=("cut short",),
        )
        return _encode(cut._document())

    def _document(self) -> dict[str, object]:
        return {
            "v": VERSION,
            "id": self.id,
            "start": iso(self.start),
            "routed": iso(self.routed),
            "ringing": iso(self.ringing),
            "answer": iso(self.answer),
            "end": iso(self.end),
            "talk_seconds": round(self.talk_seconds, 3),
            "source": self.source,
            "context": self.context,
            "caller": self.caller,
            "dialled": self.dialled,
            "sent": self.sent,
            "connected": self.connected,
            "redirection": self.redirection,
            "cause": self.cause,
            "cause_name": _cause_name(self.cause),
            "released_by": self.released_by,
            "sip_status": self.sip_status,
            "one_way": self.one_way,
            "emergency": self.emergency,
            "facts": self.facts,
            "incoming": leg_document(self.incoming),
            "attempts": [_attempt_document(attempt) for attempt in self.attempts],
            "transfers": [_transfer_document(transfer) for transfer in self.transfers],
            "notes": self.notes,
        }

    @classmethod
    def from_json(cls, line: bytes | str) -> CallRecord:
        """Read one line; RecordError if it is none of ours. Keys that this version does not know are ignored."""
        try:
            document = msgspec.json.decode(line)
            if not isinstance(document, dict) or document.get("v") != VERSION:
                raise RecordError("not a call record of a version we know")
            for name in _TIMES:
                document[name] = from_iso(document.get(name))
            for transfer in document.get("transfers", ()):
                transfer["at"] = from_iso(transfer.get("at"))
            return msgspec.convert(document, cls)
        except (msgspec.DecodeError, UnicodeDecodeError, OverflowError, AttributeError, TypeError) as error:
            raise RecordError(f"not a call record: {error}") from None


def iso(time: int | None) -> str | None:
    """Wall-clock microseconds as ``2026-11-23T08:05:01.250Z``, rounded down to the millisecond."""
    if time is None:
        return None
    return f"{_iso_second(time // 1_000_000)}.{time // 1000 % 1000:03d}Z"


@lru_cache(maxsize=256)
def _iso_second(second: int) -> str:
    """The times of a record, and of those that end about then, fall into few seconds; formatting one costs most."""
    return (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")


def from_iso(text: object) -> int | None:
    """The reverse of ``iso``; RecordError if it is neither such a time nor None."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(str(text))
        return (moment - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, TypeError) as error:
        raise RecordError(f"not a time: {error}") from None


def _attempt_document(attempt: AttemptRecord) -> dict[str, object]:
    result: dict[str, object] = {
        "destination": attempt.destination,
        "number": attempt.number,
        "cause": attempt.cause,
        "leg": leg_document(attempt.leg),
    }
    if attempt.text:
        result["text"] = attempt.text
    return result


def _transfer_document(transfer: TransferRecord) -> dict[str, object]:
    return {"at": iso(transfer.at), "kind": transfer.kind, "by": transfer.by, **_attempt_document(transfer)}


@lru_cache(maxsize=128)
def _cause_name(cause: int) -> str:
    return Cause.of(cause).name.lower()


@lru_cache(maxsize=256, typed=True)
def _word(member: Enum) -> str:
    """The name of ``member`` as records write it. Members of two tables may be equal as numbers, hence ``typed``."""
    return member.name.lower()


def _encode(document: dict[str, object]) -> bytes:
    try:
        return _encoder.encode(document)
    except UnicodeEncodeError:
        # Octets of the far end that are no UTF-8: a Call-ID, a reason phrase, a name.
        return _encoder.encode(_writable(document))


def _writable(value: object) -> object:
    """``value`` with what UTF-8 cannot express in its texts escaped by backslashes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, Mapping):
        return {_writable(key): _writable(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_writable(each) for each in value]
    return value


# -- identities and legs as JSON types --


def number_record(number: Number) -> dict[str, object]:
    """A number with what the networks say of it, by the names of their tables."""
    return {
        "number": number.digits,
        "type": _word(number.type),
        "plan": _word(number.plan),
        "presentation": _word(number.presentation),
        "screening": _word(number.screening),
    }


def party_record(party: Party | None) -> dict[str, object]:
    """A party's number and name, as far as known; empty if nothing is."""
    if party is None:
        return {}
    result = number_record(party.number) if party.number is not None else {}
    if party.network is not None:
        result["network_number"] = party.network.digits
    if party.name is not None:
        result["name"] = party.name
    return result


def redirection_record(redirection: Redirection | None) -> dict[str, object] | None:
    """The last diversion, or None."""
    if redirection is None:
        return None
    result = number_record(redirection.number)
    result["reason"] = redirection.reason.name.lower()
    result["count"] = redirection.count
    if redirection.original is not None:
        result["original"] = redirection.original.digits
    return result


def leg_document(leg: Mapping[str, object]) -> Mapping[str, object]:
    """What a leg said, with its stream's counters (``media``) rounded, and the loss in percent beside them."""
    media = leg.get("media")
    if not isinstance(media, Mapping):
        return leg
    rounded = dict(media)
    try:
        # Without a loop of our own: there are nine of them on each side of every call.
        rounded.update(zip(_ROUNDED, map(round, _to_round(media), repeat(2)), strict=True))
        lost, received = media["lost"], media["packets_received"]
        rounded["loss_percent"] = round(100 * lost / (lost + received), 2) if lost + received > 0 else 0.0
    except (KeyError, TypeError):
        # A record read from a file that somebody else wrote.
        return leg
    return {**leg, "media": rounded}


# -- the file --


class RecordWriter:
    """Appends records to a file, each with one write, and starts a new file when it would grow past its limit.

    ``errors`` counts records that could not be written; the first of a row is logged, and so is the recovery.
    """

    def __init__(self, path: Path, max_bytes: int = 10 * 1024 * 1024, files: int = 5) -> None:
        """``files`` old ones are kept as ``NAME.1`` (the youngest) and so on. Nothing is opened before a write."""
        self.path = path
        self.written = 0
        self.errors = 0
        self._max_bytes = max_bytes
        self._files = files
        self._name = str(path)
        self._descriptor: int | None = None
        self._identity = (0, 0)
        self._size = 0
        self._failing = False
        self._torn = False

    def prepare(self) -> bool:
        """Open the file, so that the operator hears now and not after the first call if it cannot be; False then."""
        try:
            self._open()
        except OSError as error:
            self._failed(error)
            return False
        return True

    def write(self, record: CallRecord) -> bool:
        """Append ``record``; False if it could not be."""
        line = record.to_json() + b"\n"
        try:
            self._append(line)
        except OSError as error:
            self.errors += 1
            self._failed(error)
            return False
        if self._failing:
            self._failing = False
            log.warning("call records are written to %s again; %d were lost so far", self.path, self.errors)
        self.written += 1
        return True

    def recent(self) -> frozenset[str]:
        """The identities in the last records of the file, about a thousand; none if it cannot be read."""
        if not self.path.is_file():
            return frozenset()
        try:
            with self.path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - RECENT))
                lines = file.read(RECENT).splitlines()
        except OSError:
            return frozenset()
        found = set()
        for line in lines:
            with contextlib.suppress(msgspec.DecodeError):
                found.add(_identify(line).id)
        return frozenset(found)

    def close(self) -> None:
        """Close the file; a further write opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _failed(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            log.error("call records cannot be written to %s: %s; calls go on", self.path, error.strerror or error)
        self.close()

    def _append(self, line: bytes) -> None:
        if self._descriptor is not None and self._moved():
            self.close()
        descriptor = self._open()
        if self._size and self._size + len(line) > self._max_bytes:
            self.close()
            self._rotate()
            descriptor = self._open()
        if self._torn:
            # What a full disk or a crash left of an earlier line must not swallow this one.
            line = b"\n" + line
        count = os.write(descriptor, line)
        self._size += count
        self._torn = count < len(line)
        if self._torn:
            raise OSError("disk full: only a part was written")

    def _open(self) -> int:
        if self._descriptor is None:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self.path, flags, 0o640)
            status = os.fstat(self._descriptor)
            self._identity = status.st_dev, status.st_ino
            self._size = status.st_size
            self._torn = self._size > 0 and os.pread(self._descriptor, 1, self._size - 1) != b"\n"
        return self._descriptor

    def _moved(self) -> bool:
        """Whether others (logrotate) have moved or removed the file that is open."""
        try:
            status = os.stat(self._name)  # noqa: PTH116 - after every call; a Path takes twice as long
        except FileNotFoundError:
            return True
        return (status.st_dev, status.st_ino) != self._identity

    def _rotate(self) -> None:
        for number in range(self._files, 0, -1):
            source = self.path if number == 1 else self._old(number - 1)
            if source.exists():
                source.replace(self._old(number))

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def read_records(path: Path) -> Iterator[CallRecord]:
    """The records of one file in the order they were written; lines that are no whole record are passed over."""
    with path.open("rb") as file:
        for line in file:
            try:
                yield CallRecord.from_json(line)
            except RecordError as error:
                if line.strip():
                    log.warning("%s: %s", path, error)
