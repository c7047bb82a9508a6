"""Files of TLS that are replaced while the gateway runs, and certificates that near their end."""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import os
from pathlib import Path

import pytest

from gateway import tls_watch as module
from gateway.tls_watch import TlsWatch
from tests.unit.voip.sip.tls_files import NOW, Authority

DAY = datetime.timedelta(days=1)


class Clock:
    """A time of day that tests set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime.datetime:
        return self.now


def replaced(authority: Authority) -> None:
    """New files of box, with another time whatever the file system's clock does."""
    authority.issue("box")
    for end in ("crt", "key"):
        path = authority.directory / f"box.{end}"
        os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))


def shown(watch: TlsWatch) -> object:
    return watch._chain[0].serial_number


def test_new_files_are_taken_up_once(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    watch = TlsWatch(authority.tls("box"))
    before = shown(watch)
    watch.look()
    assert (watch.reloads, shown(watch)) == (0, before)
    replaced(authority)
    watch.look()
    watch.look()
    assert watch.reloads == 1
    assert shown(watch) != before


def test_files_that_come_one_by_one_are_not_complained_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    watch = TlsWatch(authority.tls("box"))
    key = (tmp_path / "box.key").read_bytes()
    authority.issue("box")
    new_key = (tmp_path / "box.key").read_bytes()
    (tmp_path / "box.key").write_bytes(key)
    watch.look()
    assert (watch.reloads, caplog.text) == (0, "")
    (tmp_path / "box.key").write_bytes(new_key)
    watch.look()
    assert watch.reloads == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_files_that_never_fit_are_complained_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    watch = TlsWatch(authority.tls("box"))
    key = (tmp_path / "box.key").read_bytes()
    authority.issue("box")
    (tmp_path / "box.key").write_bytes(key)
    for _ in range(5):
        watch.look()
    assert [record.getMessage() for record in caplog.records] == [
        "sip.tls_key: expected the private key of tls_certificate; this is another's; "
        "TLS goes on with what there was before"
    ]
    (tmp_path / "box.crt").unlink()
    for _ in range(3):
        watch.look()
    assert len(caplog.records) == 2
    replaced(authority)
    watch.look()
    assert watch.reloads == 1


def test_reload_that_is_asked_for_looks_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    watch = TlsWatch(authority.tls("box"))
    watch.reload()
    assert watch.reloads == 1
    (tmp_path / "box.key").write_text("")
    watch.reload()
    assert watch.reloads == 1
    assert "TLS goes on with what there was before" in caplog.text


def test_end_of_a_certificate_is_told_at_each_step_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    authority = Authority(tmp_path)
    authority.issue("box", days=29)
    clock = Clock()
    watch = TlsWatch(authority.tls("box"), clock)
    told = []
    for day in range(-5, 32):
        clock.now = NOW + day * DAY + datetime.timedelta(hours=1)
        caplog.clear()
        watch.check_expiry()
        watch.check_expiry()
        told += [(day, record.getMessage()) for record in caplog.records if "of box" in record.getMessage()]
    assert [day for day, _ in told] == [-1, 15, 22, 28, 29]
    assert told[1][1] == "sip.tls_certificate: the certificate of box ends in 14 days; make a new one in time"
    assert told[-1][1].startswith("sip.tls_certificate: the certificate of box has ended; far ends refuse TLS")


def test_end_of_a_list_of_revoked_certificates_is_told_a_day_before_and_when_it_has_come(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority, clock = Authority(tmp_path), Clock()
    watch = TlsWatch(authority.tls("box", crl=authority.revoke()), clock)
    told = []
    for days in (28, 29.5, 29.6, 31, 32):
        clock.now = NOW + days * DAY
        caplog.clear()
        watch.check_expiry()
        told.append([record.levelname for record in caplog.records if "tls_crl" in record.message])
    assert told == [[], ["WARNING"], [], ["ERROR"], []]
    authority.revoke("box")
    os.utime(authority.file.with_suffix(".crl"), ns=(1, 1))
    watch.look()
    assert watch.reloads == 1


def test_clock_of_a_box_that_starts_in_1970_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    clock.now = datetime.datetime.fromtimestamp(1000, datetime.UTC)
    TlsWatch(Authority(tmp_path).tls("box"), clock).check_expiry()
    assert "it is 1970-01-01 00:16 here; expected a clock that is right" in caplog.text


def test_status_is_json(tmp_path: Path) -> None:
    clock = Clock()
    status = json.loads(json.dumps(TlsWatch(Authority(tmp_path).tls("box"), clock).status()))
    assert status["certificate"]["subject"] == "box"
    assert status["certificate"]["issuer"] == "Test ca"
    assert status["certificate"]["for"] == ["ip:127.0.0.1"]
    assert status["certificate"]["days_left"] == pytest.approx(20, abs=0.1)
    assert len(status["cas"]) == 1
    assert status["reloads"] == 0


def test_it_looks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    authority = Authority(tmp_path)
    watch = TlsWatch(authority.tls("box"))

    async def scenario() -> None:
        taken = asyncio.Event()
        monkeypatch.setattr(watch, "_read", taken.set)
        watch.start()
        replaced(authority)
        await asyncio.wait_for(taken.wait(), 5)
        watch.close()

    asyncio.run(scenario())
    assert watch.reloads >= 1
