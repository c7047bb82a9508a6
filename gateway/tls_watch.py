"""Keeps an eye on the files of TLS: new ones are taken up while calls go on, and who nears its end is told of in time.

Files are looked at every few seconds, and at once on SIGHUP; connections that are open keep what they began with.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from gateway.provision.certificates import (
    CertificateError,
    days_left,
    describe_key,
    describe_name,
    names_of,
    read_certificates,
    validity_fault,
)
from gateway.provision.revocation import Crl, list_fault, read_crls
from gateway.voip.sip.tls import Tls, TlsFileError, TlsSettings

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""So often the files are looked at; as they come one by one, they are complained of when they make no sense twice."""
EXPIRY_SECONDS = 3600.0
WARN_DAYS = (1, 7, 14, 30)
"""Days before its end at which a certificate is told of, each once."""
LIST_WARNING = datetime.timedelta(days=1)
"""Before its end at which a list of revoked certificates is told of: many are good for a week only."""
MAX_WATCHED_CAS = 5
"""Of a file with more CAs, a list of public ones, some have always ended."""

Stamp = tuple[tuple[int, int, int] | None, ...]


def _utc_now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


class TlsWatch:
    """Watches the files of ``tls``. ``now`` is the time of day, which may be wrong until the box's clock is set."""

    def __init__(self, tls: Tls, now: Callable[[], datetime.datetime] = _utc_now) -> None:
        self.tls = tls
        self._now = now
        self._stamp = self._look()
        self._doubtful: Stamp | None = None
        self._told: dict[int, int] = {}
        self._chain: list[x509.Certificate] = []
        self._cas: list[x509.Certificate] = []
        self._lists: list[Crl] = []
        self._lists_told: set[tuple[bytes, bool]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._expiry_at = 0.0
        self.reloads = 0
        self._read()

    def start(self) -> None:
        """Begin to look, on the running loop."""
        self._tick()

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.look()
        if loop.time() >= self._expiry_at:
            self._expiry_at = loop.time() + EXPIRY_SECONDS
            self.check_expiry()
        self._timer = loop.call_later(LOOK_SECONDS, self._tick)

    def _look(self) -> Stamp:
        return tuple(_stamp(path) for path in self.tls.settings.files)

    def look(self) -> None:
        """Take up the files if they are not those of before."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        try:
            self._take(stamp)
        except TlsFileError as error:
            if stamp == self._doubtful:
                self._stamp = stamp
                log.error("%s; TLS goes on with what there was before", error)
            self._doubtful = stamp

    def reload(self) -> None:
        """Take up the files now, whether they changed or not (SIGHUP)."""
        try:
            self._take(self._look())
        except TlsFileError as error:
            log.error("%s; TLS goes on with what there was before", error)

    def take_up(self, settings: TlsSettings) -> None:
        """Let ``settings`` hold for connections from now on; their files were found to be good a moment ago."""
        same = settings.loads_as(self.tls.settings)
        self.tls.settings = settings
        if not same:
            self.reload()

    def _take(self, stamp: Stamp) -> None:
        self.tls.reload()
        self._stamp = stamp
        self._doubtful = None
        self.reloads += 1
        self._read()
        ends = f", ends on {self._chain[0].not_valid_after_utc:%Y-%m-%d}" if self._chain else ""
        log.info("TLS: the files are taken up for new connections%s", ends)
        self.check_expiry()

    def _read(self) -> None:
        settings = self.tls.settings
        self._chain = _certificates(settings.certificate)
        self._cas = _certificates(settings.ca)
        self._lists = _lists(settings.crl)

    def check_expiry(self) -> None:
        """Warn of certificates that end soon, or have; of each step once."""
        watched = [("tls_certificate", one) for one in self._chain[:1]]
        if len(self._cas) <= MAX_WATCHED_CAS:
            watched += [("tls_ca", one) for one in self._cas]
        now = self._now()
        for key, one in watched:
            left = days_left(one, now)
            step = 0 if left < 0 else next((days for days in WARN_DAYS if left <= days), None)
            if step is None or self._told.get(one.serial_number) == step:
                continue
            self._told[one.serial_number] = step
            who = describe_name(one.subject)
            if left < 0:
                log.error(
                    "sip.%s: the certificate of %s has ended; far ends refuse TLS until there is another", key, who
                )
            else:
                log.warning("sip.%s: the certificate of %s ends in %.0f days; make a new one in time", key, who, left)
        self._check_lists(now)
        fault = validity_fault(self._chain[0], now) if self._chain else ""
        if "begins" in fault:
            log.warning("sip.tls_certificate: %s", fault)

    def _check_lists(self, now: datetime.datetime) -> None:
        for one in self._lists:
            end, fault = one.next_update_utc, list_fault(one, now)
            key = one.signature, bool(fault)
            if key in self._lists_told or (not fault and (end is None or end - now > LIST_WARNING)):
                continue
            self._lists_told.add(key)
            if fault:
                log.error("sip.tls_crl: %s; until then all certificates of that CA are refused", fault)
            else:
                log.warning("sip.tls_crl: the list of %s ends on %s", describe_name(one.issuer), end)

    def status(self) -> dict[str, object]:
        """What an operator wants to know, as JSON types."""
        now = self._now()
        return {
            "certificate": _shown(self._chain[0], now) if self._chain else None,
            "cas": [_shown(one, now) for one in self._cas[:MAX_WATCHED_CAS]],
            "reloads": self.reloads,
        }


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _certificates(path: Path | None) -> list[x509.Certificate]:
    if path is None:
        return []
    try:
        return read_certificates(path.read_bytes())
    except (OSError, CertificateError):
        return []


def _lists(path: Path | None) -> list[Crl]:
    if path is None:
        return []
    try:
        return read_crls(path.read_bytes())
    except (OSError, CertificateError):
        return []


def _shown(one: x509.Certificate, now: datetime.datetime) -> dict[str, object]:
    return {
        "subject": describe_name(one.subject),
        "issuer": describe_name(one.issuer),
        "for": names_of(one),
        "key": describe_key(one),
        "ends": one.not_valid_after_utc.isoformat(),
        "days_left": round(days_left(one, now), 1),
    }
