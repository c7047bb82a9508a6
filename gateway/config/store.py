"""Every version of the configuration on disk: written whole or not at all, whatever power does, and bounded in number.

What is to run is decided here when the store is opened: the active version, or the one before if the trial of the
active one is over, or the last good one if it cannot be used. All methods block; whoever owns the store uses a thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from gateway.config import store_staged, unconfigured
from gateway.config.disk import TEMPORARY, Disk, put
from gateway.config.migrations import Release, SchemaError, migrated, schema_of
from gateway.config.model import Configuration
from gateway.config.problems import Problem, Severity
from gateway.config.store_passwords import Passwords, named_secrets
from gateway.config.store_records import (
    MAX_DOCUMENT,
    MAX_RECORD,
    Origin,
    RecordError,
    State,
    Trial,
    Version,
    read_state,
    read_version,
    sha256,
    state_record,
    version_record,
)
from gateway.config.store_secrets import DIRECTORY as SECRETS
from gateway.config.store_secrets import take_secrets
from gateway.config.store_staged import Staged

log = logging.getLogger(__name__)

KEPT = 100
"""Versions kept; the active and the previous one are always among them."""
MAX_NUMBER = 999_999_999
VERSIONS = "versions"
STATE = "state.json"
DOCUMENT = "configuration.toml"
"""What the document is called in messages; relative paths in it start at the store's directory."""
_FILE = re.compile(r"([0-9]{6,9})\.(toml|json)\Z")


class StoreError(Exception):
    """The store cannot do what it was asked; the text says why."""


class NoSuchVersionError(StoreError):
    """There is no version of that number."""


class UnusableError(StoreError):
    """A version that cannot be run. ``problems`` are those of its document, if it could be read."""

    def __init__(self, text: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(text)


class Store:
    """The store in ``directory``. ``boot`` names this start of the host, ``kept`` bounds the versions.

    ``running`` is the number of the version to run, 0 if there is none, and ``configuration`` what it says.
    ``degraded`` says what is wrong with the store, or is empty. ``staged`` is what was staged before the start.
    """

    def __init__(
        self, disk: Disk, directory: Path, *, boot: str, release: Release | None = None, kept: int = KEPT
    ) -> None:
        self.directory = directory
        self.running = 0
        self.configuration: Configuration | None = None
        self.degraded = ""
        self.state = State()
        self.staged: Staged | None = None
        self._disk = disk
        self._boot = boot
        self._release = release or Release()
        self._kept = kept
        self._versions: dict[int, Version] = {}
        self._passwords = Passwords(disk)
        # Files that a document names which is no version yet.
        self._held: tuple[str, ...] = ()
        self._state_bytes: bytes | None = None

    # -- opening --

    def open(self, now: int, wall: float) -> None:
        """Take possession, mend what a power cut left, and find what is to run.

        ``now`` is in microseconds since the host started, ``wall`` in seconds since 1970. StoreError if another
        process has the store, or it cannot be read. If no version can be used nothing is to run until ``stand_by``.
        """
        try:
            if not self._disk.lock():
                raise StoreError(f"{self.directory}: another gateway uses this store")
        except OSError as error:
            raise StoreError(f"{self.directory}: {error.strerror or error}") from None
        try:
            self._open(now, wall)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the store."""
        self._disk.release()

    def _open(self, now: int, wall: float) -> None:
        try:
            self._make_directories()
            names = self._disk.names(VERSIONS)
            self._passwords.read()
        except OSError as error:
            raise StoreError(f"{self.directory}: {error.strerror or error}") from None
        fault = self._read_state()
        self._read_versions(names)
        if not self._versions and self._state_bytes is None:
            self._tidy(names)
            return
        if not self.state.last:
            self.state = State(last=max(self._versions, default=0))
        elif not fault:
            # What a commit wrote that was never made active is none.
            for number in [number for number in self._versions if number > self.state.last]:
                del self._versions[number]
        self._judge_trial(now)
        if not self._choose(fault):
            return
        if self._state_bytes is None:
            self._found_state()
        self._migrate(wall)
        self._find_staged()
        if not fault:
            self._tidy(names)

    def stand_by(self) -> None:
        """With no version to run, let what is not configured run; nothing is written before the first commit."""
        configuration, problems = self.examined(unconfigured.DOCUMENT)
        if configuration is None:
            raise UnusableError("what runs while nothing is configured has errors", problems)
        self.configuration = configuration

    @property
    def unconfigured(self) -> bool:
        """Whether what runs is that nothing is configured."""
        return self.configuration is not None and self.version(self.running).origin is Origin.DEFAULT

    @property
    def virgin(self) -> bool:
        """Whether nobody ever configured anything here."""
        return all(version.origin is Origin.DEFAULT for version in self._versions.values()) and not self.degraded

    def _make_directories(self) -> None:
        there = self._disk.names("")
        missing = [name for name in (VERSIONS, SECRETS) if name not in there]
        for name in missing:
            self._disk.make_directory(name)
        if missing:
            self._disk.sync_directory("")

    def _read_state(self) -> str:
        """Read which version is to run; what is wrong with that record, or nothing. There is none in an empty store."""
        try:
            data = self._disk.read(STATE, MAX_RECORD)
        except FileNotFoundError:
            return ""
        except OSError as error:
            return f"{STATE} cannot be read: {error.strerror or error}"
        self._state_bytes = data
        try:
            self.state = read_state(data)
        except RecordError as error:
            return f"{STATE} makes no sense: {error}"
        return ""

    def _read_versions(self, names: Sequence[str]) -> None:
        found: dict[int, set[str]] = {}
        for name in names:
            matched = _FILE.match(name)
            if matched is not None:
                found.setdefault(int(matched[1]), set()).add(matched[2])
        for number, parts in found.items():
            if len(parts) == 2:
                self._versions[number] = self._read_version(number)

    def _read_version(self, number: int) -> Version:
        try:
            version = read_version(self._disk.read(_path(number, "json"), MAX_RECORD))
            if version.number != number:
                raise RecordError(f"it is that of version {version.number}")
        except (OSError, RecordError) as error:
            fault = f"its record cannot be used: {_plainly(error)}"
            return Version(number, 0.0, "", "", 0, "", 0, Origin.COMMIT, fault=fault)
        return version

    def _judge_trial(self, now: int) -> None:
        trial = self.state.trial
        if trial is None or not self.state.previous:
            return
        if not self._boot or trial.boot != self._boot:
            # Unknown, it may be another one, whose time began anew.
            why = "the host started anew before it was confirmed"
        elif now >= trial.until:
            why = "it was not confirmed in time"
        else:
            return
        log.warning("version %d of the configuration is undone: %s", self.state.active, why)
        self._set_active_back(why)

    def _choose(self, fault: str) -> bool:
        """Find the version to run: the active one, or else the last good one; False if none can be used."""
        state = self.state
        others = sorted((number for number in self._versions if number not in state.undone), reverse=True)
        faults: list[str] = []
        for number in dict.fromkeys((state.active, state.previous, *others)):
            if not number:
                continue
            try:
                self.configuration = self.usable(number)
            except StoreError as error:
                faults.append(str(error))
                log.error("%s", error)
                continue
            self.running = number
            break
        else:
            # All stays as it is, for a release that can.
            self._degrade(f"no version can be used: {'; '.join(faults) or fault or 'there is none'}")
            return False
        if fault:
            self._degrade(f"{fault}; version {self.running} runs, the last good one")
        elif state.active and state.active != self.running:
            self._degrade(f"{faults[0]}; version {self.running} runs")
        if not state.active:
            self.state = dataclasses.replace(
                state, active=self.running, previous=self._before(self.running), last=max(state.last, self.running)
            )
        return True

    def _found_state(self) -> None:
        """Power failed during the very first commit: what it wrote is whole, and is the active version from now on."""
        try:
            self._write_state(self.state)
        except OSError as error:
            self._degrade(f"{STATE} is missing and cannot be written: {_plainly(error)}")

    def _migrate(self, wall: float) -> None:
        """Let the version to run be one of our schema, as a version of its own: the older release keeps its own."""
        version = self._versions[self.running]
        if version.schema == self._release.schema or self.running != self.state.active:
            return
        text = self.text_of_ours(self.running)
        comment = f"schema {version.schema} to {self._release.schema}"
        previous = self.state.previous if self.state.trial is not None else None
        try:
            self.add(
                text,
                Origin.MIGRATION,
                author="gateway",
                comment=comment,
                wall=wall,
                trial=self.state.trial,
                previous=previous,
            )
        except StoreError as error:
            self._degrade(f"version {self.running} runs as migrated from {comment}, and cannot be kept so: {error}")

    def _tidy(self, names: Sequence[str]) -> None:
        """Remove what a power cut left; that it cannot be is no reason not to start."""
        gone = [f"{VERSIONS}/{name}" for name in names if not self._belongs(name)]
        with contextlib.suppress(OSError):
            half = {STATE + TEMPORARY, store_staged.FILE + TEMPORARY}
            gone += [name for name in self._disk.names("") if name in half]
        for name in gone:
            with contextlib.suppress(OSError):
                self._disk.unlink(name)
        self._prune()

    def _belongs(self, name: str) -> bool:
        matched = _FILE.match(name)
        return matched is not None and int(matched[1]) in self._versions

    # -- to look at --

    @property
    def versions(self) -> tuple[Version, ...]:
        """The versions kept, the newest first."""
        undone = self.state.undone
        return tuple(
            dataclasses.replace(version, undone=undone.get(number, ""))
            for number, version in sorted(self._versions.items(), reverse=True)
        )

    def version(self, number: int) -> Version:
        """One version; NoSuchVersionError. There is a version 0 while nothing is configured."""
        version = self._versions.get(number)
        if version is None:
            if not number and not self.running and self.configuration is not None:
                digest = sha256(unconfigured.DOCUMENT.encode())
                return Version(0, 0.0, "gateway", "", self._release.schema, digest, 0, Origin.DEFAULT)
            raise NoSuchVersionError(f"there is no version {number} of the configuration")
        return dataclasses.replace(version, undone=self.state.undone.get(number, ""))

    def text(self, number: int) -> str:
        """The document of a version as it was written; UnusableError if it is damaged."""
        return self._document(number)

    def text_of_ours(self, number: int) -> str:
        """The document of a version in our schema; UnusableError if it is damaged or there is no way to it."""
        try:
            return migrated(self._document(number), self._release)
        except SchemaError as error:
            raise self._unusable(number, str(error)) from None

    def usable(self, number: int) -> Configuration:
        """The configuration of a version, in our schema; UnusableError if it cannot be run."""
        text = self.text_of_ours(number)
        for reference in self.version(number).secrets:
            fault = self._passwords.fault(reference)
            if fault:
                raise self._unusable(number, fault)
        configuration, problems = self.examined(text)
        if configuration is None:
            errors = [problem for problem in problems if problem.severity is Severity.ERROR]
            raise UnusableError(f"version {number} cannot be used: {errors[0] if errors else 'it has errors'}", errors)
        return configuration

    def examined(self, text: str) -> tuple[Configuration | None, list[Problem]]:
        """What a document says, or None, and all that is to be said about it."""
        return self._release.examine(text, self.directory / DOCUMENT)

    def _document(self, number: int) -> str:
        version = self.version(number)
        if not number:
            return unconfigured.DOCUMENT
        if version.fault:
            raise self._unusable(number, version.fault)
        try:
            data = self._disk.read(_path(number, "toml"), MAX_DOCUMENT)
        except OSError as error:
            raise self._unusable(number, f"it cannot be read: {_plainly(error)}") from None
        if sha256(data) != version.sha256:
            raise self._unusable(number, "it is not what was written: its checksum is wrong")
        return data.decode()

    def _unusable(self, number: int, why: str) -> UnusableError:
        return UnusableError(f"version {number} cannot be used: {why}")

    def _before(self, number: int) -> int:
        """The version that a roll-back from ``number`` leads to, 0 if there is none."""
        while number:
            version = self._versions.get(number)
            number = 0 if version is None else version.parent
            if number in self._versions and number not in self.state.undone:
                return number
        return 0

    # -- passwords --

    def take_passwords(self, text: str) -> str:
        """``text``, which must be TOML, with references to files that have its passwords. StoreError, SecretsError."""
        try:
            fresh = take_secrets(text, self._passwords.place)
            self._passwords.sync()
        except OSError as error:
            raise StoreError(f"the passwords cannot be written: {_plainly(error)}") from None
        return fresh

    # -- what is staged --

    def stage(self, staged: Staged) -> None:
        """Keep what is staged, and its passwords, in place of what was; StoreError, and what was kept is."""
        try:
            store_staged.write_staged(self._disk, staged)
        except OSError as error:
            raise StoreError(f"what is staged cannot be kept: {_plainly(error)}") from None
        self.staged = staged
        self._hold(staged.text)

    def unstage(self) -> None:
        """Nothing is staged any more."""
        self.staged = None
        store_staged.forget(self._disk)
        self._hold("")

    def _find_staged(self) -> None:
        """What was staged before the start; also if it is of no use any more, as that is to be told."""
        self.staged = store_staged.read(self._disk)
        if self.staged is not None:
            self._held = named_secrets(self.staged.text)

    def _hold(self, text: str) -> None:
        """Let the passwords that ``text`` names stay, and remove those that neither it nor a version names."""
        self._held = named_secrets(text)
        self._collect()

    def _collect(self) -> None:
        # What a damaged record named is not known.
        if any(version.fault for version in self._versions.values()):
            return
        named = {reference for version in self._versions.values() for reference in version.secrets}.union(self._held)
        if not self._passwords.superfluous(named):
            return
        # A version that a power cut brought back would not find them any more.
        with contextlib.suppress(OSError):
            self._disk.sync_directory(VERSIONS)
            self._passwords.remove_but(named)

    # -- to change --

    def add(
        self,
        text: str,
        origin: Origin,
        *,
        author: str,
        comment: str,
        wall: float,
        restores: int = 0,
        trial: Trial | None = None,
        previous: int | None = None,
        configuration: Configuration | None = None,
    ) -> Version:
        """Write ``text`` as a new version and make it the active one; StoreError, and all is as before.

        Its passwords must be references. ``configuration`` is what it says, if known. ``previous`` is what a roll-back
        leads to, the version that runs unless said otherwise.
        """
        if not self.running and self.configuration is not None and origin in (Origin.COMMIT, Origin.ROLLBACK):
            self.add(unconfigured.DOCUMENT, Origin.DEFAULT, author="gateway", comment="nothing configured", wall=wall)
        number = self.state.last + 1
        data = text.encode()
        if len(data) > MAX_DOCUMENT:
            raise StoreError(f"the document has {len(data)} octets; expected at most {MAX_DOCUMENT}")
        if number > MAX_NUMBER:
            raise StoreError(f"there are no numbers above {MAX_NUMBER}")
        if configuration is None:
            configuration, problems = self.examined(text)
            if configuration is None:
                raise UnusableError("the document has errors", problems)
        version = Version(
            number,
            wall,
            author,
            comment,
            schema_of(text),
            sha256(data),
            self.running,
            origin,
            named_secrets(text),
            restores,
        )
        undone = {each: why for each, why in self.state.undone.items() if each in self._versions}
        state = State(number, self.running if previous is None else previous, number, trial, undone)
        try:
            put(self._disk, _path(number, "toml"), data)
            put(self._disk, _path(number, "json"), version_record(version))
            self._disk.sync_directory(VERSIONS)
            self._write_state(state)
        except OSError as error:
            self._remove(number)
            raise StoreError(f"version {number} cannot be written: {_plainly(error)}") from None
        # Others look at it meanwhile.
        self._versions = {**self._versions, number: version}
        self.state = state
        self.running = number
        self.configuration = configuration
        self.degraded = ""
        self._prune()
        return version

    def confirm(self) -> Version:
        """Let the active version stay; StoreError, and it is still on trial."""
        state = dataclasses.replace(self.state, trial=None)
        try:
            self._write_state(state)
        except OSError as error:
            raise StoreError(f"that cannot be written: {_plainly(error)}") from None
        self.state = state
        return self.version(state.active)

    def undo(self, why: str) -> Version:
        """Let the version before the active one be active again, come what may; raises UnusableError if it cannot run.

        If it cannot be written, ``degraded`` says so: then it holds until the next start.
        """
        configuration = self.usable(self.state.previous)
        self.degraded = ""
        self._set_active_back(why)
        self.running = self.state.active
        self.configuration = configuration
        return self.version(self.running)

    def _set_active_back(self, why: str) -> None:
        state = self.state
        self.state = State(state.previous, 0, state.last, None, {**state.undone, state.active: why})
        self.state = dataclasses.replace(self.state, previous=self._before(state.previous))
        try:
            self._write_state(self.state)
        except OSError as error:
            self._degrade(f"that version {state.active} is undone cannot be written: {_plainly(error)}")

    def _write_state(self, state: State) -> None:
        """Replace the record of what is to run; OSError, and it is as before as far as the disk allows."""
        data = state_record(state)
        put(self._disk, STATE, data)
        try:
            self._disk.sync_directory("")
        except OSError:
            with contextlib.suppress(OSError):
                if self._state_bytes is None:
                    self._disk.unlink(STATE)
                else:
                    put(self._disk, STATE, self._state_bytes)
            raise
        self._state_bytes = data

    def _remove(self, number: int) -> None:
        """Remove what there is of a version; the record first, without which it is none."""
        with contextlib.suppress(OSError):
            if self._named_on_disk() == number:
                log.error("version %d could not be made active, and the disk has it as the active one", number)
                return
        for part in ("json", "toml"):
            with contextlib.suppress(OSError):
                self._disk.unlink(_path(number, part))

    def _named_on_disk(self) -> int:
        with contextlib.suppress(FileNotFoundError, RecordError):
            return read_state(self._disk.read(STATE, MAX_RECORD)).active
        return 0

    def _prune(self) -> None:
        wanted = {self.state.active, self.state.previous, self.running}
        oldest = [number for number in sorted(self._versions) if number not in wanted]
        gone = oldest[: max(len(self._versions) - self._kept, 0)]
        self._versions = {number: version for number, version in self._versions.items() if number not in gone}
        for number in gone:
            self._remove(number)
        self._collect()

    def _degrade(self, text: str) -> None:
        log.error("configuration: %s", text)
        self.degraded = f"{self.degraded}; {text}" if self.degraded else text


def _path(number: int, part: str) -> str:
    return f"{VERSIONS}/{number:06}.{part}"


def _plainly(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
