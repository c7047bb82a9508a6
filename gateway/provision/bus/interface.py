"""What stands on the bus, as data: interfaces, their members with types, and who may use them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import Enum, IntEnum
from functools import cached_property
from typing import Any
from xml.sax.saxutils import quoteattr

from gateway.provision.bus.marshal import split

BUS_NAME = "org.branchgateway.Gateway1"
ROOT = "/org/branchgateway/Gateway1"
EMITS_CHANGED = "org.freedesktop.DBus.Property.EmitsChangedSignal"
ROLE = "org.branchgateway.Role"


class Role(IntEnum):
    """What somebody may do; each includes those before it."""

    NONE = 0
    VIEWER = 1
    ADMIN = 2


class Changes(Enum):
    """What is told of a property that changes; the values are those of the annotation EmitsChangedSignal."""

    TOLD = "true"
    CONST = "const"
    UNTOLD = "false"


@dataclass(frozen=True, slots=True)
class Argument:
    """One value that a method takes or gives, or a signal has."""

    name: str
    signature: str


@dataclass(frozen=True, slots=True)
class Method:
    """A method and the least role that may call it."""

    name: str
    takes: tuple[Argument, ...] = ()
    gives: tuple[Argument, ...] = ()
    role: Role = Role.ADMIN

    @property
    def signature(self) -> str:
        """Of what it takes."""
        return "".join(each.signature for each in self.takes)

    @property
    def gives_signature(self) -> str:
        """Of what it gives."""
        return "".join(each.signature for each in self.gives)


@dataclass(frozen=True, slots=True)
class Property:
    """A property; all of ours are read-only, as what changes something is a method."""

    name: str
    signature: str
    changes: Changes = Changes.TOLD


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal."""

    name: str
    has: tuple[Argument, ...] = ()

    @property
    def signature(self) -> str:
        """Of what it has."""
        return "".join(each.signature for each in self.has)


@dataclass(frozen=True)
class Interface:
    """A named set of members."""

    name: str
    methods: tuple[Method, ...] = ()
    properties: tuple[Property, ...] = ()
    signals: tuple[Signal, ...] = ()

    @cached_property
    def method(self) -> Mapping[str, Method]:
        """Methods by name."""
        return {each.name: each for each in self.methods}

    @cached_property
    def property_of(self) -> Mapping[str, Property]:
        """Properties by name."""
        return {each.name: each for each in self.properties}


def arguments(text: str) -> tuple[Argument, ...]:
    """``"timeslot:u on:b"`` as arguments."""
    found = []
    for each in text.split():
        name, _, signature = each.partition(":")
        if len(split(signature)) != 1:
            raise ValueError(f"argument {each!r}, expected name:type")
        found.append(Argument(name, signature))
    return tuple(found)


def method(name: str, takes: str = "", gives: str = "", role: Role = Role.ADMIN) -> Method:
    """A method; see ``arguments``."""
    return Method(name, arguments(takes), arguments(gives), role)


def signal(name: str, has: str = "") -> Signal:
    """A signal; see ``arguments``."""
    return Signal(name, arguments(has))


# -- states: dataclasses whose fields are properties --


def shown(signature: str, changes: Changes = Changes.TOLD) -> Any:
    """A field that is a property: ``round_trip`` is RoundTrip on the bus."""
    return field(metadata={"signature": signature, "changes": changes})


def camel(name: str) -> str:
    """``round_trip`` as ``RoundTrip``."""
    return "".join(word.capitalize() for word in name.split("_"))


def properties_of(state: type) -> tuple[Property, ...]:
    """The properties that the fields of a state are."""
    return tuple(
        Property(camel(each.name), each.metadata["signature"], each.metadata["changes"]) for each in fields(state)
    )


def reader_of(state: type) -> Callable[[Any], dict[str, object]]:
    """What reads the properties' values, by name, from an instance."""
    names = tuple((camel(each.name), each.name) for each in fields(state))

    def read(instance: Any) -> dict[str, object]:
        return {name: getattr(instance, own) for name, own in names}

    return read


# -- introspection --

_DOCTYPE = (
    '<!DOCTYPE node PUBLIC "-//freedesktop//DTD D-BUS Object Introspection 1.0//EN"\n'
    ' "http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd">\n'
)


def interface_xml(interface: Interface, indent: str = "  ") -> str:
    """The element ``interface`` of introspection data."""
    lines = [f"<interface name={quoteattr(interface.name)}>"]
    for each in interface.methods:
        lines.append(f"  <method name={quoteattr(each.name)}>")
        lines += [_argument(argument, "in") for argument in each.takes]
        lines += [_argument(argument, "out") for argument in each.gives]
        lines.append(f"    <annotation name={quoteattr(ROLE)} value={quoteattr(each.role.name.lower())}/>")
        lines.append("  </method>")
    for one in interface.properties:
        lines.append(f'  <property name={quoteattr(one.name)} type={quoteattr(one.signature)} access="read">')
        lines.append(f"    <annotation name={quoteattr(EMITS_CHANGED)} value={quoteattr(one.changes.value)}/>")
        lines.append("  </property>")
    for every in interface.signals:
        lines.append(f"  <signal name={quoteattr(every.name)}>")
        lines += [_argument(argument, "") for argument in every.has]
        lines.append("  </signal>")
    lines.append("</interface>")
    return "".join(f"{indent}{line}\n" for line in lines)


def _argument(argument: Argument, direction: str) -> str:
    way = f' direction="{direction}"' if direction else ""
    return f"    <arg name={quoteattr(argument.name)} type={quoteattr(argument.signature)}{way}/>"


def node_xml(interfaces: tuple[Interface, ...], children: tuple[str, ...] = ()) -> str:
    """A whole document of introspection data."""
    body = "".join(interface_xml(each) for each in interfaces)
    below = "".join(f"  <node name={quoteattr(each)}/>\n" for each in children)
    return f"{_DOCTYPE}<node>\n{body}{below}</node>\n"


def file_xml(interface: Interface) -> str:
    """The file of one interface that is kept beside this module."""
    return node_xml((interface,))


PROPERTIES = Interface(
    "org.freedesktop.DBus.Properties",
    (
        method("Get", "interface_name:s property_name:s", "value:v", Role.VIEWER),
        method("GetAll", "interface_name:s", "properties:a{sv}", Role.VIEWER),
        method("Set", "interface_name:s property_name:s value:v", "", Role.ADMIN),
    ),
    (),
    (signal("PropertiesChanged", "interface_name:s changed_properties:a{sv} invalidated_properties:as"),),
)
INTROSPECTABLE = Interface("org.freedesktop.DBus.Introspectable", (method("Introspect", "", "xml_data:s", Role.NONE),))
PEER = Interface(
    "org.freedesktop.DBus.Peer",
    (method("Ping", "", "", Role.NONE), method("GetMachineId", "", "machine_uuid:s", Role.NONE)),
)
OBJECT_MANAGER = Interface(
    "org.freedesktop.DBus.ObjectManager",
    (method("GetManagedObjects", "", "objects:a{oa{sa{sv}}}", Role.VIEWER),),
    (),
    (
        signal("InterfacesAdded", "object_path:o interfaces_and_properties:a{sa{sv}}"),
        signal("InterfacesRemoved", "object_path:o interfaces:as"),
    ),
)
STANDARD = (PROPERTIES, INTROSPECTABLE, PEER)


# -- paths --

_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")


def element_of(name: str) -> str:
    """``name`` as one element of a path, as systemd does: what is no letter or digit is ``_2d``."""
    if not name:
        return "_"
    return "".join(each if each in _PLAIN else "".join(f"_{octet:02x}" for octet in each.encode()) for each in name)


def name_of(element: str) -> str | None:
    """The name that ``element`` stands for; None if it is no such element."""
    if element == "_":
        return ""
    head, *rest = element.split("_")
    data = bytearray(head.encode())
    try:
        for each in rest:
            data.append(int(each[:2], 16))
            data += each[2:].encode()
        name = data.decode()
    except (ValueError, UnicodeDecodeError):
        return None
    return name if element_of(name) == element else None
