"""REGISTER to bindings, clause by clause of RFC 3261 10.3, and what RFC 3327, RFC 5626 and NAT add."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core import SECOND
from gateway.voip.sip.flow import TCP, TLS, UDP, Flow
from gateway.voip.sip.location import Binding, Location
from gateway.voip.sip.message import Request
from gateway.voip.sip.nat import NatMode
from gateway.voip.sip.parser import parse
from gateway.voip.sip.peers import PeerKind, PeerSettings, RegistrarSettings
from gateway.voip.sip.registrar import MAX_CONTACT, MAX_PATHS, Answer, Registrar

HOME = Flow(UDP, "192.0.2.20", 5060)
USUAL = RegistrarSettings()
PHONE = PeerSettings("desk", "", kind=PeerKind.PHONE, dynamic=True, max_contacts=3)


class Desk:
    """A registrar and what a phone says to it."""

    def __init__(self, settings: RegistrarSettings = USUAL, wall: float | None = None) -> None:
        self.location = Location()
        self.registrar = Registrar(self.location, settings, None if wall is None else lambda: wall)
        self.now = SECOND
        self.cseq = 0

    def register(
        self,
        *contacts: str,
        flow: Flow = HOME,
        call_id: str = "c1",
        cseq: int | None = None,
        to: str = "sip:desk@branch.example",
        peer: PeerSettings = PHONE,
        fields: str = "",
    ) -> Answer:
        self.cseq = self.cseq + 1 if cseq is None else cseq
        lines = "".join(f"Contact: {contact}\r\n" for contact in contacts)
        request = parse(
            f"REGISTER sip:branch.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.20;branch=z9hG4bK{self.cseq}\r\n"
            f"Max-Forwards: 70\r\nFrom: <sip:desk@branch.example>;tag=f\r\nTo: <{to}>\r\nCall-ID: {call_id}\r\n"
            f"CSeq: {self.cseq} REGISTER\r\n{lines}{fields}Content-Length: 0\r\n\r\n".encode()
        )
        assert isinstance(request, Request)
        return self.registrar.register(request, peer, flow, self.now)

    def bindings(self) -> tuple[Binding, ...]:
        return self.location.bindings("desk", self.now)

    def contacts(self) -> list[str]:
        return sorted(binding.contact for binding in self.bindings())


def listed(answer: Answer, name: str = "Contact") -> list[str]:
    return [value for field, value in answer.fields if field == name]


def test_a_contact_is_bound_and_told_with_its_expiry() -> None:
    desk = Desk()
    answer = desk.register("<sip:desk@192.0.2.20:5060>", fields="Expires: 600\r\n")
    assert (answer.status, answer.changed) == (200, True)
    assert listed(answer) == ["<sip:desk@192.0.2.20:5060>;expires=600"]
    (binding,) = desk.bindings()
    assert binding.flow == HOME and not binding.behind_nat
    desk.now += 599 * SECOND
    assert desk.bindings()
    desk.now += SECOND
    assert not desk.bindings(), "a binding outlived its expiry"


def test_without_contact_the_bindings_are_listed_and_stay() -> None:
    desk = Desk()
    desk.register("<sip:desk@192.0.2.20>;expires=100")
    desk.now += 40 * SECOND
    answer = desk.register()
    assert listed(answer) == ["<sip:desk@192.0.2.20>;expires=60"]
    assert not answer.changed


@pytest.mark.parametrize(
    ("contact", "fields", "seconds"),
    [
        ("<sip:desk@192.0.2.20>", "", 120),
        ("<sip:desk@192.0.2.20>;expires=90", "Expires: 600\r\n", 90),
        ("<sip:desk@192.0.2.20>;expires=100000", "", 3600),
        ("<sip:desk@192.0.2.20>;expires=soon", "", 3600),
        ("<sip:desk@192.0.2.20>", "Expires: soon\r\n", 3600),
        ("sip:desk@192.0.2.20;expires=77", "", 77),
    ],
)
def test_expiry_is_the_contacts_then_the_requests_then_ours(contact: str, fields: str, seconds: int) -> None:
    desk = Desk()
    assert listed(desk.register(contact, fields=fields))[0].endswith(f"expires={seconds}")


def test_too_short_an_expiry_gets_423_with_the_least() -> None:
    desk = Desk()
    answer = desk.register("<sip:desk@192.0.2.20>;expires=59")
    assert (answer.status, answer.fields) == (423, (("Min-Expires", "60"),))
    assert not desk.bindings()
    assert desk.register("<sip:desk@192.0.2.20>;expires=60").status == 200


def test_an_hour_is_never_too_short() -> None:
    desk = Desk(RegistrarSettings(minexpiry=7200, maxexpiry=10_000, defaultexpiry=7200))
    assert desk.register("<sip:desk@192.0.2.20>;expires=3599").status == 423
    assert listed(desk.register("<sip:desk@192.0.2.20>;expires=3600"))[0].endswith("expires=7200")


def test_zero_removes_one_contact_and_a_star_all() -> None:
    desk = Desk()
    desk.register("<sip:desk@192.0.2.20:5060>", "<sip:desk@192.0.2.20:5070>")
    assert len(desk.bindings()) == 2
    answer = desk.register("<sip:desk@192.0.2.20:5070>;expires=0")
    assert desk.contacts() == ["sip:desk@192.0.2.20:5060"] and answer.changed
    answer = desk.register("*", fields="Expires: 0\r\n")
    assert (answer.status, answer.fields) == (200, ())
    assert not len(desk.location)


@pytest.mark.parametrize(
    ("contacts", "fields"),
    [
        (("*",), ""),
        (("*",), "Expires: 60\r\n"),
        (("*", "<sip:desk@192.0.2.20>"), "Expires: 0\r\n"),
        (("*",), "Expires: zero\r\n"),
    ],
)
def test_a_star_that_is_not_alone_or_not_zero_is_refused(contacts: tuple[str, ...], fields: str) -> None:
    desk = Desk()
    desk.register("<sip:desk@192.0.2.20>")
    assert desk.register(*contacts, fields=fields).status == 400
    assert desk.bindings()


def test_an_older_request_of_the_same_call_id_changes_nothing() -> None:
    desk = Desk()
    desk.register("<sip:desk@192.0.2.20>;expires=600", cseq=5)
    for cseq in (4, 5):
        assert desk.register("<sip:desk@192.0.2.20>;expires=0", cseq=cseq).status == 500
        assert desk.register("*", cseq=cseq, fields="Expires: 0\r\n").status == 500
    assert desk.contacts() == ["sip:desk@192.0.2.20"]
    assert desk.register("<sip:desk@192.0.2.20>;expires=0", cseq=1, call_id="c2").status == 200
    assert not desk.bindings()


def test_all_is_done_or_nothing() -> None:
    desk = Desk()
    desk.register("<sip:desk@192.0.2.20:5080>")
    before = desk.bindings()
    assert desk.register("<sip:desk@192.0.2.20:5090>", "<sip:desk@192.0.2.20:5091>;expires=1").status == 423
    assert desk.register("<sip:desk@192.0.2.20:5090>", "<mailto:desk@192.0.2.20>").status == 400
    assert desk.register("<sip:desk@192.0.2.20:5090>;q=2").status == 400
    assert desk.bindings() == before


def test_contacts_are_the_same_by_the_rules_of_uris() -> None:
    desk = Desk()
    desk.register("<sip:desk@192.0.2.20;line=1>")
    desk.register("<sip:%64esk@192.0.2.20>", call_id="c2")
    assert desk.contacts() == ["sip:%64esk@192.0.2.20"]


def test_another_address_of_record_is_refused() -> None:
    desk = Desk()
    assert desk.register("<sip:other@192.0.2.20>", to="sip:other@branch.example").status == 403
    assert desk.register("<sip:desk@192.0.2.20>", to="sip:d%65sk@elsewhere.example").status == 200


def test_best_q_is_first_and_told() -> None:
    desk = Desk()
    answer = desk.register("<sip:a@192.0.2.20>;q=0.25", "<sip:b@192.0.2.20>;q=0.7")
    assert [binding.uri.user for binding in desk.bindings()] == ["b", "a"]
    assert listed(answer) == ["<sip:b@192.0.2.20>;expires=120;q=0.7", "<sip:a@192.0.2.20>;expires=120;q=0.25"]


def test_one_contact_too_many_takes_the_place_of_the_longest_unheard(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    for port in (5061, 5062, 5063):
        desk.register(f"<sip:desk@192.0.2.20:{port}>")
    desk.register("<sip:desk@192.0.2.20:5061>")
    desk.register("<sip:desk@192.0.2.20:5064>")
    assert [binding.uri.port for binding in desk.bindings()] == [5064, 5061, 5063]
    assert "max_contacts" in caplog.text
    assert desk.register(*[f"<sip:desk@192.0.2.20:{port}>" for port in range(4)]).status == 403


def test_the_same_instance_replaces_what_it_had() -> None:
    desk = Desk()
    instance = '+sip.instance="<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"'
    desk.register(f"<sip:desk@192.0.2.20:5060>;{instance};reg-id=1")
    answer = desk.register(
        f"<sip:desk@192.0.2.21:5060>;{instance};reg-id=1", flow=Flow(UDP, "192.0.2.21", 5060), call_id="c9", cseq=1
    )
    assert desk.contacts() == ["sip:desk@192.0.2.21:5060"]
    assert instance in listed(answer)[0]
    assert [(move.old.address, move.new.address) for move in answer.moved] == [("192.0.2.20", "192.0.2.21")]


def test_behind_nat_calls_go_to_the_source_and_expiry_is_short() -> None:
    desk = Desk()
    source = Flow(UDP, "198.51.100.7", 40_000)
    answer = desk.register("<sip:desk@192.168.1.5:5060>;expires=3600", flow=source)
    (binding,) = desk.bindings()
    assert binding.behind_nat and binding.flow == source
    assert listed(answer)[0].endswith("expires=60")
    assert desk.register("<sip:desk@192.168.1.5:5060>;expires=30", flow=source).status == 423


def test_a_short_natexpiry_may_be_asked_for_and_only_behind_nat() -> None:
    desk = Desk(RegistrarSettings(natexpiry=30))
    source = Flow(UDP, "198.51.100.7", 40_000)
    assert desk.register("<sip:desk@192.168.1.5:5060>;expires=30", flow=source).status == 200
    assert desk.register("<sip:desk@192.0.2.20>;expires=30").status == 423


def test_two_phones_with_one_inner_address_behind_two_nats_are_two() -> None:
    desk = Desk()
    desk.register("<sip:desk@192.168.1.5>", flow=Flow(UDP, "198.51.100.7", 40_000), call_id="a")
    desk.register("<sip:desk@192.168.1.5>", flow=Flow(UDP, "203.0.113.9", 40_000), call_id="b")
    assert len(desk.bindings()) == 2


def test_a_nat_that_took_another_port_or_address_moves_the_binding() -> None:
    desk = Desk()
    desk.register("<sip:desk@192.168.1.5>", flow=Flow(UDP, "198.51.100.7", 40_000))
    desk.register("<sip:desk@192.168.1.5>", flow=Flow(UDP, "198.51.100.7", 40_001), call_id="reboot")
    answer = desk.register("<sip:desk@192.168.1.5>", flow=Flow(UDP, "203.0.113.9", 50_000), call_id="reboot")
    (binding,) = desk.bindings()
    assert binding.flow == Flow(UDP, "203.0.113.9", 50_000)
    assert [move.new for move in answer.moved] == [binding.flow]


def test_a_contact_never_leads_to_a_third_party() -> None:
    """Else a phone's password would let calls out over any trunk that knows us by our address."""
    desk = Desk()
    for contact in ("sip:19005551234@203.0.113.10", "sip:1@trunk.example", "sip:1@192.0.2.20;maddr=203.0.113.10"):
        desk.register("*", fields="Expires: 0\r\n")
        desk.register(f"<{contact}>")
        (binding,) = desk.bindings()
        assert binding.flow == HOME, contact


@pytest.mark.parametrize(
    ("source", "contact", "flow"),
    [
        (Flow(UDP, "192.0.2.20", 40_000), "sip:d@192.0.2.20:5070", Flow(UDP, "192.0.2.20", 5070)),
        (Flow(UDP, "192.0.2.20", 5060), "sip:d@192.0.2.20", Flow(UDP, "192.0.2.20", 5060)),
        (Flow(UDP, "192.0.2.20", 5060), "sip:d@192.0.2.20;transport=tcp", Flow(TCP, "192.0.2.20", 5060)),
        (Flow(TCP, "192.0.2.20", 40_000, 7), "sip:d@192.0.2.20:5060", Flow(TCP, "192.0.2.20", 40_000, 7)),
        (Flow(UDP, "2001:db8::5", 5062), "sip:d@[2001:db8:0::5]:5062", Flow(UDP, "2001:db8::5", 5062)),
    ],
)
def test_without_nat_the_contact_says_the_port_and_a_connection_is_kept(source: Flow, contact: str, flow: Flow) -> None:
    desk = Desk()
    desk.register(f"<{contact}>", flow=source)
    (binding,) = desk.bindings()
    assert binding.flow == flow and not binding.behind_nat


def test_force_rport_is_the_sources_port_whatever_the_contact_says() -> None:
    desk = Desk()
    source = Flow(UDP, "192.0.2.20", 40_000)
    forced = replace(PHONE, nat=frozenset({NatMode.FORCE_RPORT}))
    desk.register("<sip:d@192.0.2.20:5070>", flow=source, peer=forced)
    (binding,) = desk.bindings()
    assert binding.flow == source and not binding.behind_nat


def test_a_lost_connection_is_dialled_again_or_passed_over() -> None:
    desk = Desk()
    near, far, safe = (
        Flow(TCP, "192.0.2.20", 40_000, 1),
        Flow(TCP, "198.51.100.7", 40_000, 2),
        Flow(TLS, "192.0.2.20", 40_001, 3),
    )
    desk.register("<sip:near@192.0.2.20:5070;transport=tcp>", flow=near, call_id="a")
    desk.register("<sip:far@10.0.0.1;transport=tcp>", flow=far, call_id="b")
    desk.register("<sips:safe@192.0.2.20>", flow=safe, call_id="c")
    for flow in (near, far, safe):
        assert desk.location.owner(flow) == "desk"
        assert desk.location.lost(flow, desk.now)
        assert desk.location.owner(flow) is None
    (reachable,) = desk.location.reachable("desk", desk.now)
    assert reachable.flow == Flow(TCP, "192.0.2.20", 5070)
    assert len(desk.bindings()) == 3, "they are still registered"
    desk.register("<sip:far@10.0.0.1;transport=tcp>", flow=Flow(TCP, "198.51.100.7", 40_002, 4), call_id="b")
    assert len(desk.location.reachable("desk", desk.now)) == 2


def test_path_is_kept_and_told_back_to_who_knows_of_it() -> None:
    desk = Desk()
    edge = Flow(UDP, "203.0.113.1", 5060)
    path = "Path: <sip:edge.example;lr;ob>, <sip:inner.example;lr>\r\n"
    answer = desk.register("<sip:desk@192.0.2.20>", flow=edge, fields=f"{path}Supported: path\r\n")
    (binding,) = desk.bindings()
    assert binding.path == ("<sip:edge.example;lr;ob>", "<sip:inner.example;lr>")
    assert binding.flow == edge
    assert listed(answer, "Path") == ["<sip:edge.example;lr;ob>, <sip:inner.example;lr>"]
    assert not listed(desk.register("<sip:desk@192.0.2.20>", flow=edge, fields=path), "Path")
    many = "".join(f"Path: <sip:p{number}.example;lr>\r\n" for number in range(MAX_PATHS + 1))
    assert desk.register("<sip:desk@192.0.2.20>", flow=edge, fields=many).status == 400


def test_date_is_told_once_the_clock_was_set() -> None:
    assert listed(Desk(wall=1_790_000_000.0).register(), "Date") == ["Mon, 21 Sep 2026 14:13:20 GMT"]
    assert listed(Desk(wall=3600.0).register(), "Date") == []


def test_an_overlong_contact_is_refused() -> None:
    desk = Desk()
    assert desk.register(f"<sip:{'x' * MAX_CONTACT}@192.0.2.20>").status == 400
    assert desk.register(f'<sip:desk@192.0.2.20>;+sip.instance="<{"x" * 200}>"').status == 400


def test_a_full_location_refuses_new_bindings_and_keeps_the_old() -> None:
    desk = Desk()
    desk.location = Location(limit=1)
    desk.registrar = Registrar(desk.location, RegistrarSettings())
    assert desk.register("<sip:desk@192.0.2.20>").status == 200
    assert desk.register("<sip:desk@192.0.2.20:5070>").status == 503
    assert desk.register("<sip:desk@192.0.2.20>").status == 200
    assert desk.contacts() == ["sip:desk@192.0.2.20"]
