"""The errors of ``org.branchgateway.Gateway1``; each says in its text what was wrong with which value."""

from __future__ import annotations

from enum import Enum

PREFIX = "org.branchgateway.Gateway1.Error"
FREEDESKTOP = "org.freedesktop.DBus.Error"


class Name(Enum):
    """Names of errors on the bus: ours, and those of D-Bus itself that tools know."""

    ACCESS_DENIED = f"{PREFIX}.AccessDenied"
    """The caller is in no group that may call this member."""
    INVALID_ARGUMENT = f"{PREFIX}.InvalidArgument"
    """A value is out of range or makes no sense."""
    NOT_FOUND = f"{PREFIX}.NotFound"
    """There is no such thing (call, version, channel …) (any more)."""
    NOT_POSSIBLE = f"{PREFIX}.NotPossible"
    """It cannot be done in the present state; the text says what is in the way."""
    INVALID_CONFIGURATION = f"{PREFIX}.InvalidConfiguration"
    """A configuration has errors; the text names them as ``gateway --check`` does."""
    NOT_SUPPORTED = f"{PREFIX}.NotSupported"
    """This gateway does not have it, or it was not started with what it needs."""
    LIMITS_EXCEEDED = f"{PREFIX}.LimitsExceeded"
    """Too many callers, calls at a time, jobs, or octets."""
    TIMEOUT = f"{PREFIX}.Timeout"
    """It took too long, and was given up."""
    INTERNAL = f"{PREFIX}.Internal"
    """A fault of the gateway; its log says more, the caller is told no details."""
    UNKNOWN_METHOD = f"{FREEDESKTOP}.UnknownMethod"
    UNKNOWN_OBJECT = f"{FREEDESKTOP}.UnknownObject"
    UNKNOWN_INTERFACE = f"{FREEDESKTOP}.UnknownInterface"
    UNKNOWN_PROPERTY = f"{FREEDESKTOP}.UnknownProperty"
    PROPERTY_READ_ONLY = f"{FREEDESKTOP}.PropertyReadOnly"
    INVALID_ARGS = f"{FREEDESKTOP}.InvalidArgs"


class ServiceError(Exception):
    """Something a caller asked for cannot be had; goes to it as an error of D-Bus, without a traceback."""

    def __init__(self, name: Name, text: str) -> None:
        super().__init__(text)
        self.name = name
        self.text = text


def not_found(what: str) -> ServiceError:
    """There is no ``what``."""
    return ServiceError(Name.NOT_FOUND, f"there is no {what}")


def not_possible(text: str) -> ServiceError:
    """It cannot be done now."""
    return ServiceError(Name.NOT_POSSIBLE, text)


def invalid(text: str) -> ServiceError:
    """A value that cannot be."""
    return ServiceError(Name.INVALID_ARGUMENT, text)


def not_supported(text: str) -> ServiceError:
    """It is not had here."""
    return ServiceError(Name.NOT_SUPPORTED, text)
