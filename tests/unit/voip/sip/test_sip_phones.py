"""Phones at the endpoint: REGISTER with a password, ends, lost connections, restarts, and calls that move along."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.media.api import Media
from gateway.voip.sip.binding_store import StoreBindings
from gateway.voip.sip.credentials import DigestClient
from gateway.voip.sip.endpoint import SipEndpoint
from gateway.voip.sip.far_end_settings import FarEndSettings
from gateway.voip.sip.flow import TCP, TLS, UDP, Flow, Send
from gateway.voip.sip.hop import Listener
from gateway.voip.sip.leg import SipLeg
from gateway.voip.sip.message import Request, Response
from gateway.voip.sip.parser import parse
from gateway.voip.sip.peers import PeerKind, PeerSettings, SipSettings
from tests.unit.voip.sip.sip_far_end import sdp
from tests.unit.voip.sip.sip_pair import FakeMedia, Notes, simple_setup

GATEWAY = "192.0.2.1"
HOME = Flow(UDP, "192.0.2.20", 5060)
SECRET = "apples"  # noqa: S105 - of a phone in a test
DESK = PeerSettings("desk", "", kind=PeerKind.PHONE, dynamic=True, secret=SECRET, context="internal")
SAFE = replace(DESK, name="safe", transport=TLS)
FIXED = PeerSettings("fixed", "192.0.2.30", kind=PeerKind.PHONE)
PORT_OF = {UDP: 5060, TCP: 5060, TLS: 5061}


class Branch:
    """A gateway with phones, played message by message."""

    def __init__(self, wall: float = 1_800_000_000.0, stored: bytes | None = None, *, qualify: bool = False) -> None:
        desk = replace(DESK, far_end=FarEndSettings(qualify=2 * SECOND, qualifyfreq=300 * SECOND)) if qualify else DESK
        self.now = SECOND
        self.wall = wall
        media = FakeMedia()
        typed: Media = media
        self.endpoint = SipEndpoint(
            SipSettings(
                listeners=tuple(Listener(transport, GATEWAY, port) for transport, port in PORT_OF.items()),
                peers=(desk, SAFE, FIXED),
                context=None,
            ),
            typed,
            random.Random(3),
            lambda leg, offered, now: None,
            local_for=lambda remote: GATEWAY,
            wall_clock=lambda: self.wall,
        )
        self.sent: list[tuple[Flow, Request | Response]] = []
        self.stored = stored
        self.rng = random.Random(4)
        self.cseq = 0
        if stored is not None:
            self.endpoint.phones.restore(stored, self.now)
        self.drain()

    def drain(self) -> None:
        while (output := self.endpoint.poll()) is not None:
            if isinstance(output, Send) and output.data.strip():
                self.sent.append((output.flow, parse(output.data)))
            elif isinstance(output, StoreBindings):
                self.stored = output.data

    def run(self, seconds: float) -> None:
        end = self.now + int(seconds * SECOND)
        self.drain()
        while (due := self.endpoint.next_timer()) is not None and due <= end:
            self.now = max(self.now, due)
            self.endpoint.handle_timer(self.now)
            self.drain()
        self.now = end

    def options(self) -> list[Request]:
        """The OPTIONS that were sent since something was given last."""
        self.run(1.5)
        return [each for _, each in self.sent if isinstance(each, Request) and each.method == "OPTIONS"]

    def answer(self, request: Request, flow: Flow) -> None:
        self.endpoint.receive(request.response(200, None, "t").to_bytes(), flow, self.now)
        self.drain()

    def give(self, request: Request, flow: Flow) -> Response:
        self.sent.clear()
        self.endpoint.receive(request.to_bytes(), flow, self.now)
        self.drain()
        where, response = next(each for each in self.sent if isinstance(each[1], Response))
        assert where == flow and isinstance(response, Response)
        return response

    def request(
        self, flow: Flow, user: str, contact: str, client: DigestClient, call_id: str, fields: list[tuple[str, str]]
    ) -> Request:
        self.cseq += 1
        return Request(
            "REGISTER",
            f"sip:{GATEWAY}",
            [
                ("Via", f"SIP/2.0/{flow.transport} {flow.address}:{flow.port};branch=z9hG4bK{self.cseq}x;rport"),
                ("Max-Forwards", "70"),
                ("From", f"<sip:{user}@{GATEWAY}>;tag=a"),
                ("To", f"<sip:{user}@{GATEWAY}>"),
                ("Call-ID", call_id),
                ("CSeq", f"{self.cseq} REGISTER"),
                *([("Contact", contact)] if contact else []),
                *client.fields("REGISTER", f"sip:{GATEWAY}"),
                *fields,
            ],
        )

    def register(
        self,
        contact: str = "<sip:desk@192.0.2.20:5060>;expires=600",
        *,
        flow: Flow = HOME,
        user: str = "desk",
        secret: str = SECRET,
        name: str = "",
        call_id: str = "c1",
        fields: list[tuple[str, str]] | None = None,
    ) -> Response:
        """Register as a phone does: without a proof first, then with it."""
        client = DigestClient(name or user, secret, self.rng)
        response = self.give(self.request(flow, user, contact, client, call_id, fields or []), flow)
        if response.status != 401:
            return response
        assert client.take(response, 0)
        return self.give(self.request(flow, user, contact, client, call_id, fields or []), flow)

    def call(self) -> tuple[SipLeg, Request]:
        self.sent.clear()
        leg = self.endpoint.new_leg("desk", self.now)
        assert isinstance(leg, SipLeg), leg
        leg.listener = Notes()
        leg.place(simple_setup(), self.now)
        self.drain()
        _, invite = self.sent[-1]
        assert isinstance(invite, Request)
        return leg, invite


def test_a_phone_registers_with_its_password_and_is_called() -> None:
    branch = Branch()
    response = branch.register()
    assert response.status == 200
    assert response.headers.get("contact") == "<sip:desk@192.0.2.20:5060>;expires=600"
    assert response.headers.get("date") == "Fri, 15 Jan 2027 08:00:00 GMT"
    _, invite = branch.call()
    assert invite.uri_text == "sip:desk@192.0.2.20:5060"


def test_nobody_registers_without_the_password_or_as_somebody_else() -> None:
    branch = Branch()
    unknown = branch.register(user="nobody")
    wrong = branch.register(secret="pears")  # noqa: S106
    other = branch.register(user="safe", name="desk")
    assert [unknown.status, wrong.status, other.status] == [403, 403, 403]
    kept = ("via", "to", "call-id", "cseq", "from")
    told = [[each for each in response.headers.entries if each[0] not in kept] for response in (unknown, wrong)]
    assert told[0] == told[1], "the answer tells who exists"
    assert not len(branch.endpoint.phones.location)


def test_a_phone_with_a_fixed_host_does_not_register() -> None:
    branch = Branch()
    assert branch.register(user="fixed", flow=Flow(UDP, "192.0.2.30", 5060)).status == 403


def test_a_phone_whose_transport_is_tls_registers_over_nothing_else() -> None:
    branch = Branch()
    assert branch.register(user="safe").status == 403
    tls = Flow(TLS, "192.0.2.20", 40_000, 9, 2)
    assert branch.register("<sips:safe@192.0.2.20:40000>", user="safe", flow=tls).status == 200


def test_expiry_ends_a_registration_with_nothing_left(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    branch = Branch()
    branch.register("<sip:desk@192.0.2.20:5060>;expires=60")
    branch.run(59)
    assert branch.endpoint.phones.ways(DESK, branch.now)
    branch.run(1)
    assert branch.endpoint.new_leg("desk", branch.now) is Cause.SUBSCRIBER_ABSENT
    assert "did not refresh" in caplog.text
    branch.run(60)
    assert branch.endpoint.idle
    assert branch.endpoint.next_timer() is None


def test_a_registration_that_stands_does_not_keep_the_endpoint_from_being_idle() -> None:
    branch = Branch()
    branch.register()
    branch.run(120)
    assert branch.endpoint.phones.running and branch.endpoint.idle


def test_a_change_is_stored_soon_and_a_refresh_a_little_later() -> None:
    branch = Branch()
    branch.register()
    assert branch.stored is None
    branch.run(0.5)
    first = branch.stored
    assert first is not None
    branch.run(10)
    assert branch.stored == first, "nothing happened"
    branch.register()
    branch.run(0.5)
    assert branch.stored == first
    branch.run(5)
    assert branch.stored != first


def test_registrations_outlive_a_restart_but_no_longer_than_they_were_given() -> None:
    branch = Branch()
    branch.register()
    branch.endpoint.phones.store_now(branch.now)
    branch.drain()
    again = Branch(wall=1_800_000_100.0, stored=branch.stored)
    assert again.endpoint.phones.ways(DESK, again.now)
    _, invite = again.call()
    assert invite.uri_text == "sip:desk@192.0.2.20:5060"
    again.run(499)
    assert again.endpoint.phones.ways(DESK, again.now)
    again.run(2)
    assert not again.endpoint.phones.ways(DESK, again.now)


def test_phones_that_are_no_longer_configured_are_not_restored() -> None:
    branch = Branch()
    branch.register()
    branch.run(1)
    assert branch.stored is not None
    renamed = branch.stored.replace(b'"name":"desk"', b'"name":"gone"')
    assert not len(Branch(stored=renamed).endpoint.phones.location)
    fixed = branch.stored.replace(b'"name":"desk"', b'"name":"fixed"')
    assert not len(Branch(stored=fixed).endpoint.phones.location)


def test_a_phone_over_tcp_is_called_on_its_connection_and_after_that_broke_dialled() -> None:
    branch = Branch()
    connection = Flow(TCP, "192.0.2.20", 40_000, 5, 1)
    branch.register("<sip:desk@192.0.2.20:5070;transport=tcp>", flow=connection)
    branch.call()
    assert branch.sent[-1][0] == connection
    branch.endpoint.connection_lost(connection, branch.now)
    branch.call()
    assert branch.sent[-1][0] == Flow(TCP, "192.0.2.20", 5070)


def test_a_phone_behind_nat_whose_connection_broke_is_absent_until_it_is_back() -> None:
    branch = Branch()
    branch.register("<sip:desk@10.0.0.5;transport=tcp>", flow=Flow(TCP, "198.51.100.7", 40_000, 5, 1))
    branch.endpoint.connection_lost(Flow(TCP, "198.51.100.7", 40_000, 5, 1), branch.now)
    assert branch.endpoint.new_leg("desk", branch.now) is Cause.SUBSCRIBER_ABSENT
    (row,) = branch.endpoint.phones.status(branch.now)["desk"]
    assert row["reachable"] is False and row["behind_nat"] is True
    branch.register("<sip:desk@10.0.0.5;transport=tcp>", flow=Flow(TCP, "198.51.100.7", 40_001, 6, 1))
    branch.call()
    assert branch.sent[-1][0].connection == 6


def test_a_call_goes_on_over_the_connection_that_a_phone_behind_nat_comes_back_by() -> None:
    branch = Branch()
    before, after = Flow(TCP, "198.51.100.7", 40_000, 5, 1), Flow(TCP, "203.0.113.9", 50_000, 6, 1)
    branch.register("<sip:desk@10.0.0.5;transport=tcp>", flow=before)
    leg, invite = branch.call()
    answer = invite.response(200, None, "far")
    answer.headers.add("Contact", "<sip:desk@10.0.0.5;transport=tcp>")
    answer.headers.add("Content-Type", "application/sdp")
    answer.body = sdp()
    branch.endpoint.receive(answer.to_bytes(), before, branch.now)
    branch.drain()
    assert branch.sent[-1][0] == before and isinstance(branch.sent[-1][1], Request)
    branch.endpoint.connection_lost(before, branch.now)
    branch.register("<sip:desk@10.0.0.5;transport=tcp>", flow=after)
    leg.release(Cause.NORMAL_CALL_CLEARING, branch.now)
    branch.drain()
    flow, bye = branch.sent[-1]
    assert isinstance(bye, Request) and bye.method == "BYE"
    assert flow == after


def test_status_tells_where_and_how_long() -> None:
    branch = Branch()
    branch.register(fields=[("User-Agent", "Phone 1.0")])
    branch.now += 100 * SECOND
    assert branch.endpoint.phones.status(branch.now) == {
        "desk": [
            {
                "contact": "sip:desk@192.0.2.20:5060",
                "address": "udp:192.0.2.20:5060",
                "seconds_left": 500,
                "behind_nat": False,
                "reachable": True,
                "qualify": "unknown",
                "user_agent": "Phone 1.0",
            }
        ]
    }


def test_registering_needs_no_names_and_sends_nothing_but_answers() -> None:
    """The WAN is down: nobody is asked for anything, and the phones of the branch call each other."""
    branch = Branch()
    branch.register("<sip:desk@phone.example:5060>;expires=600")
    assert len(branch.sent) == 1
    branch.call()
    assert branch.sent[-1][0] == HOME


@pytest.mark.parametrize("junk", ["<>", "<sip:>", "sip:a@b;expires=", '"', "<sip:desk@192.0.2.20>;q=x", "*;expires=0"])
def test_contacts_that_make_no_sense_are_refused_and_leave_nothing(junk: str) -> None:
    branch = Branch()
    assert branch.register(junk).status in (200, 400, 401)
    assert len(branch.endpoint.phones.location) <= 1


def test_a_place_that_leaves_options_unanswered_is_called_only_if_there_is_no_other() -> None:
    branch = Branch(qualify=True)
    near, far = HOME, Flow(UDP, "192.0.2.21", 5060)
    branch.register(flow=near)
    for request in branch.options():
        branch.answer(request, near)
    branch.register("<sip:desk@192.0.2.21>;expires=600", flow=far, call_id="c2")
    branch.run(15)
    reach = {str(row["address"]): row["qualify"] for row in branch.endpoint.phones.status(branch.now)["desk"]}
    assert reach == {"udp:192.0.2.20:5060": "reachable", "udp:192.0.2.21:5060": "unreachable"}
    assert [way.flow for way in branch.endpoint.phones.ways(DESK, branch.now)] == [near]
    branch.register("*", flow=near, fields=[("Expires", "0")])
    branch.register("<sip:desk@192.0.2.21>;expires=600", flow=far, call_id="c2")
    branch.run(15)
    assert [way.flow for way in branch.endpoint.phones.ways(DESK, branch.now)] == [far]


def test_a_phone_that_was_restored_is_asked_whether_it_is_still_there() -> None:
    branch = Branch(qualify=True)
    branch.register()
    branch.run(3)
    again = Branch(stored=branch.stored, qualify=True)
    assert [str(each.uri) for each in again.options()][:1] == ["sip:desk@192.0.2.20:5060"]


def test_path_may_be_required_of_the_registrar_and_what_is_unknown_may_not() -> None:
    branch = Branch()
    path = [("Path", "<sip:edge.example;lr>"), ("Supported", "path")]
    response = branch.register(fields=[*path, ("Require", "path")])
    assert (response.status, response.headers.get("path")) == (200, "<sip:edge.example;lr>")
    _, invite = branch.call()
    assert [str(route) for route in invite.routes] == ["<sip:edge.example;lr>"]
    refused = branch.register(fields=[("Require", "gruu")])
    assert (refused.status, refused.headers.get("unsupported")) == (420, "gruu")
