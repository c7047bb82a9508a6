"""Every message that an endpoint sends names the one address that was decided: in Via, Contact, Record-Route and SDP.

Reads the octets on the wire, not what they were composed of, so that no way of composing can forget the address.
"""

from __future__ import annotations

import re
from weakref import WeakKeyDictionary

from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.flow import Flow, bracketed

_VIA = re.compile(rb"^Via: SIP/2\.0/(\w+) ([^;\r\n]+)", re.MULTILINE)
_CONTACT = re.compile(rb"^Contact: [^<\r\n]*<sips?:(?:[^@>\r\n]*@)?([^;>\r\n]+)([^\r\n]*)", re.MULTILINE)
_RECORD_ROUTE = re.compile(rb"^Record-Route: <sips?:([^;>\r\n]+)", re.MULTILINE)
_BRANCH = re.compile(rb"^Via: SIP/2\.0/\w+ [^,\r\n]*;branch=([^;,\r\n]+)", re.MULTILINE)
_CSEQ = re.compile(rb"^CSeq: \d+ (\w+)", re.MULTILINE)
_ORIGIN = re.compile(rb"^o=\S+ \d+ \d+ IN IP[46] (\S+)", re.MULTILINE)
_CONNECTION = re.compile(rb"^c=IN IP[46] (\S+)", re.MULTILINE)


def _listener(endpoint: SipEndpoint, flow: Flow) -> int:
    listeners = endpoint.settings.listeners
    if flow.listener < len(listeners) and listeners[flow.listener].transport == flow.transport:
        return flow.listener
    for number, listener in enumerate(listeners):
        if listener.transport == flow.transport and listener.reaches(flow.address):
            return number
    return 0


def wrong_addresses(endpoint: SipEndpoint, flow: Flow, data: bytes) -> list[str]:
    """What in ``data``, sent on ``flow``, is not as ``AdvertisedAddress`` decides; empty if all is right."""
    if not data.strip() or data[:1] < b"A":
        return []
    advertised = endpoint.outbound.advertised
    number = _listener(endpoint, flow)
    host, port = advertised.signalling(flow.address, number)
    expected = f"{bracketed(host)}:{port}"
    response = data.startswith(b"SIP/2.0 ")
    found: list[tuple[str, str, str]] = []
    method = _CSEQ.search(data)
    if not response:
        via = _VIA.search(data)
        if via is None:
            return [f"no Via in {data[:60]!r}"]
        found.append(("Via", via[2].decode(), expected))
    # Contacts of a 3xx are other places, those of an answer to REGISTER the phone's.
    ours = not response or (data[8:9] in b"12" and method is not None and method[1] != b"REGISTER")
    if ours:
        # A Contact that is taken back is the one of before.
        found += [
            ("Contact", contact.decode(), expected)
            for contact, rest in _CONTACT.findall(data)
            if b";expires=0" not in rest
        ]
    head, _, body = data.partition(b"\r\n\r\n")
    if not response:
        found += [("Record-Route", route.decode(), expected) for route in _RECORD_ROUTE.findall(head)]
    if body.startswith(b"v=0"):
        media = advertised.media_of(flow.address, number)
        found += [("o=", address.decode(), media) for address in _ORIGIN.findall(body)]
        if not endpoint_gives_voice_away(endpoint):
            found += [("c=", address.decode(), media) for address in _CONNECTION.findall(body)]
    first = data.split(b"\r\n", 1)[0].decode("utf-8", "replace")
    return [f"{first} to {flow}: {what} is {is_}, not {should}" for what, is_, should in found if is_ != should]


def endpoint_gives_voice_away(endpoint: SipEndpoint) -> bool:
    """True if voice may go around us (``directmedia``): then c= is the other far end's."""
    peers = endpoint.settings.peers
    return any(peer.direct.allowed for peer in peers)


_sent: WeakKeyDictionary[SipEndpoint, tuple[set[bytes], set[bytes]]] = WeakKeyDictionary()
"""What was sent by each endpoint, and its branches: of messages that are sent again the address may be history."""


def check(endpoint: SipEndpoint, flow: Flow, data: bytes) -> None:
    """AssertionError if ``data`` names another address of ours than was decided."""
    wrong = breach(endpoint, flow, data)
    assert wrong is None, wrong


def breach(endpoint: SipEndpoint, flow: Flow, data: bytes) -> str | None:
    """What is wrong with the addresses in ``data``, if anything."""
    whole, branches = _sent.setdefault(endpoint, (set(), set()))
    if data in whole:
        return None
    whole.add(data)
    wrong = wrong_addresses(endpoint, flow, data)
    branch = _BRANCH.search(data)
    if branch is not None and branch[1] in branches:
        # CANCEL and the ACK of a refusal have the Via of their INVITE (RFC 3261 9.1, 17.1.1.3).
        wrong = [each for each in wrong if ": Via is" not in each]
    elif branch is not None:
        branches.add(branch[1])
    body = data.partition(b"\r\n\r\n")[2]
    if branch is not None and body:
        # 13.2.1: responses to one INVITE all have the same answer; what moved is told by a request of our own.
        answer = branch[1] + body
        if answer in whole:
            wrong = [each for each in wrong if ": o= is" not in each and ": c= is" not in each]
        whole.add(answer)
    return "; ".join(wrong) or None
