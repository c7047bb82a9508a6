"""What another configuration is for all that the daemon has beside the switch: sockets, records, metrics, engine, TLS.

Whatever can fail is opened beside what there is before anything is touched; what is not needed any more goes after.
"""

from __future__ import annotations

import asyncio
import logging
from importlib import import_module
from typing import TYPE_CHECKING

from gateway.config.model import Configuration
from gateway.media.client import EngineSettings
from gateway.prepared import Prepared
from gateway.record import RecordWriter
from gateway.voip.sip.tls import Tls

if TYPE_CHECKING:
    from gateway.daemon import Daemon
    from gateway.metrics_server import ServedMetrics
    from gateway.tls_watch import TlsWatch

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often it is looked whether the last call over a socket that is to be closed has ended."""
BINDINGS_FILE = "bindings.json"
IAX_BINDINGS_FILE = "iax-bindings.json"


def engine_settings(configuration: Configuration) -> EngineSettings:
    """What the media engine is told."""
    media = configuration.media
    return EngineSettings(
        rtp_ports=(media.rtp_ports.first, media.rtp_ports.last),
        silence_milliseconds=media.silence_ms,
        grace_seconds=media.grace_seconds,
    )


def record_writer(configuration: Configuration) -> RecordWriter:
    """Who writes the call records."""
    gateway = configuration.gateway
    return RecordWriter(gateway.records_path, gateway.records_megabytes * 1024 * 1024, gateway.records_files)


class Renewal:
    """One for ``daemon``. For each configuration ``open``, then ``take_up`` and ``settle``, or ``give_up``."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._records: RecordWriter | None = None
        self._metrics: ServedMetrics | None = None
        self._old_metrics: ServedMetrics | None = None
        self._tls: TlsWatch | None = None
        self._sockets = False
        self._handle: asyncio.TimerHandle | None = None

    async def open(self, fresh: Prepared) -> None:
        """Open what ``fresh`` needs beside what is open. ListenError, TlsFileError, OSError: all is as before."""
        daemon = self._daemon
        old, new = daemon.configuration, fresh.configuration
        try:
            if _records(old) != _records(new):
                self._records = record_writer(new)
                if not await asyncio.to_thread(self._records.prepare):
                    raise OSError(f"{self._records.path}: the call records cannot be written there")
            if new.gateway.metrics is not None and new.gateway.metrics != old.gateway.metrics:
                await asyncio.to_thread(import_module, "gateway.metrics_server")
                from gateway.metrics_server import ServedMetrics

                before = daemon.metrics
                metrics = ServedMetrics(new.gateway.metrics, daemon, None if before is None else before.metrics)
                await metrics.start()
                self._metrics = metrics
            if fresh.tls is not None and daemon.tls is None:
                await asyncio.to_thread(import_module, "gateway.tls_watch")
                from gateway.tls_watch import TlsWatch

                self._tls = TlsWatch(await asyncio.to_thread(Tls, fresh.tls))
                daemon.sip.tls = self._tls.tls
            if old.sip.listen != new.sip.listen:
                await daemon.sip.open_more(fresh.sip.listeners)
                self._sockets = True
        except BaseException:
            await self.give_up()
            raise

    async def give_up(self) -> None:
        """What was opened is not needed."""
        daemon = self._daemon
        records, self._records = self._records, None
        metrics, self._metrics = self._metrics, None
        if records is not None:
            records.close()
        if metrics is not None:
            await metrics.close()
        if self._tls is not None:
            self._tls = None
            daemon.sip.tls = None
        if self._sockets:
            self._sockets = False
            await daemon.sip.go_back(daemon.switch.sip.settings.listeners)
            self._shut_idle()

    def take_up(self, fresh: Prepared) -> None:
        """The switch has taken ``fresh`` up."""
        daemon = self._daemon
        old, new = daemon.configuration, fresh.configuration
        daemon.configuration = new
        records, self._records = self._records, None
        if records is not None:
            daemon.records.close()
            daemon.records = records
        if old.gateway.metrics != new.gateway.metrics:
            self._old_metrics, daemon.metrics, self._metrics = daemon.metrics, self._metrics, None
        if old.gateway.state_path != new.gateway.state_path and new.gateway.state_dir is not None:
            daemon.bindings.path = new.gateway.state_path / BINDINGS_FILE
            daemon.iax_bindings.path = new.gateway.state_path / IAX_BINDINGS_FILE
            daemon.switch.sip.phones.stored_elsewhere(daemon.clock())
            if daemon.switch.iax is not None:
                daemon.switch.iax.registrar.changed(daemon.clock())
        daemon.media.configure(engine_settings(new))
        daemon.wan.look_at(new.network.wan)
        tls, self._tls = self._tls, None
        if tls is not None:
            daemon.tls = tls
            tls.start()
        elif fresh.tls is not None and daemon.tls is not None:
            daemon.tls.take_up(fresh.tls)
        if self._sockets:
            daemon.listeners = daemon.sip.bound
            if daemon.captures is not None:
                daemon.captures.listeners = daemon.listeners

    async def settle(self) -> None:
        """Read from what was opened, and close what nobody needs any more."""
        metrics, self._old_metrics = self._old_metrics, None
        if metrics is not None:
            await metrics.close()
        if self._sockets:
            self._sockets = False
            await self._daemon.sip.serve()
            self._shut_idle()

    def close(self) -> None:
        """The daemon ends."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _shut_idle(self) -> None:
        """Close sockets that are to be closed and that no call needs any more; look again if one is left."""
        self.close()
        sip, core = self._daemon.sip, self._daemon.switch.sip
        busy = [number for number in core.retired if core.uses(number)]
        needed = {flow.connection for flow in core.flows}
        for number in core.retired:
            sip.shut(number, needed, listens=number in busy)
        if busy:
            self._handle = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._shut_idle)


def _records(configuration: Configuration) -> tuple[object, ...]:
    gateway = configuration.gateway
    return gateway.records, gateway.records_megabytes, gateway.records_files
