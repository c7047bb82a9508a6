"""Which address of ours a far end is told: externip, localnet, media_address, and what is found out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from ipaddress import ip_network

import pytest

from gateway.voip.sip.address import AdvertisedAddress, NetworkFacts
from gateway.voip.sip.addresses import is_private, is_public
from gateway.voip.sip.externip import Addressing, ExternIp, Source
from gateway.voip.sip.flow import TCP, TLS, UDP
from gateway.voip.sip.hop import Listener

ANY = (Listener(UDP, "::", 5060), Listener(TCP, "::", 5061), Listener(TLS, "::", 5062))
OWN = "192.168.1.10"
LAN = ip_network("192.168.1.0/24")
FAR = "198.51.100.9"
OUTSIDE = "203.0.113.7"


def advertised(
    addressing: Addressing | None = None,
    listeners: tuple[Listener, ...] = ANY,
    ways: Mapping[str, str] | None = None,
) -> AdvertisedAddress:
    """``ways``: which of our addresses leads to a far one, where it is not OWN."""
    known = ways or {}
    return AdvertisedAddress(listeners, lambda remote: known.get(remote, "::1" if ":" in remote else OWN), addressing)


def test_externip_is_told_outside_and_our_own_inside() -> None:
    told = advertised(Addressing(externip=OUTSIDE))
    told.update(NetworkFacts("eth0", (OWN,), (LAN,)))
    assert told.signalling(FAR) == (OUTSIDE, 5060)
    assert told.signalling("192.168.1.77") == (OWN, 5060)
    assert told.signalling("127.0.0.1") == (OWN, 5060)


def test_port_of_externip_is_for_udp_and_tcp_and_tls_have_their_own() -> None:
    plain = advertised(Addressing(externip=OUTSIDE, externport=9999))
    assert [plain.signalling(FAR, number)[1] for number in range(3)] == [9999, 9999, 5062]
    apart = advertised(Addressing(externip=OUTSIDE, externport=9999, externtcpport=7001, externtlsport=7002))
    assert [apart.signalling(FAR, number)[1] for number in range(3)] == [9999, 7001, 7002]
    without = advertised(Addressing(externip=OUTSIDE))
    assert [without.signalling(FAR, number)[1] for number in range(3)] == [5060, 5061, 5062]


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("172.16.0.200", OWN),
        ("192.168.100.1", OWN),
        # A written list is the whole list, as Asterisk has it.
        ("172.16.1.1", OUTSIDE),
        ("192.168.1.77", OUTSIDE),
        ("127.0.0.1", OWN),
        ("169.254.3.4", OWN),
    ],
)
def test_localnet_as_written(remote: str, expected: str) -> None:
    networks = (ip_network("172.16.0.0/24"), ip_network("192.168.100.0/255.255.255.0"))
    told = advertised(Addressing(externip=OUTSIDE, localnet=networks, localnet_auto=False))
    told.update(NetworkFacts("eth0", (OWN,), (LAN,)))
    assert told.of(remote) == expected


def test_auto_adds_private_networks_neighbours_and_what_does_not_leave_by_the_wan() -> None:
    ways = {"198.51.100.200": "203.0.113.77", "100.64.0.9": OWN}
    told = advertised(Addressing(externip=OUTSIDE, localnet=(ip_network("192.0.2.0/24"),)), ways=ways)
    told.update(NetworkFacts("eth0", (OWN,), (LAN, ip_network("198.18.0.0/15"))))
    local = ["192.0.2.8", "10.99.0.1", "172.31.0.1", "198.18.7.7"]
    assert [told.of(remote) for remote in local] == [OWN] * 4
    # By another interface than the WAN.
    assert told.of("198.51.100.200") == "203.0.113.77"
    # A carrier's NAT is still ahead.
    assert told.of("100.64.0.9") == OUTSIDE


def test_neighbours_behind_the_carriers_nat_are_told_our_own() -> None:
    told = advertised(Addressing(externip=OUTSIDE), ways={"100.64.0.9": "100.100.1.1", FAR: "100.100.1.1"})
    assert told.of("100.64.0.9") == "100.100.1.1"
    assert told.of(FAR) == OUTSIDE


def test_external_address_is_for_its_family_only() -> None:
    told = advertised(Addressing(externip=OUTSIDE), ways={"2001:db8::9": "2001:db8::1"})
    assert told.of("2001:db8::9") == "2001:db8::1"


def test_socket_with_an_address_tells_that_one_or_the_external_one() -> None:
    listeners = (Listener(UDP, "10.0.0.5", 5060),)
    assert advertised(None, listeners).of(FAR) == "10.0.0.5"
    assert advertised(Addressing(externip=OUTSIDE), listeners).of(FAR) == OUTSIDE
    assert advertised(Addressing(externip=OUTSIDE), listeners).bind_of(FAR) == "10.0.0.5"


def test_media_address_is_told_to_all_of_its_family_and_bound_if_it_is_ours() -> None:
    told = advertised(
        Addressing(media_address="203.0.113.50"), ways={"2001:db8::9": "2001:db8::1", "203.0.113.50": OWN}
    )
    assert (told.media_of(FAR), told.of(FAR)) == ("203.0.113.50", OWN)
    assert told.media_of("192.168.1.77") == "203.0.113.50"
    assert told.media_of("2001:db8::9") == "2001:db8::1"
    assert told.bind_of(FAR) == "0.0.0.0"
    ours = advertised(Addressing(media_address="192.168.2.10"), ways={"192.168.2.10": "192.168.2.10"})
    assert ours.bind_of(FAR) == "192.168.2.10"


def test_media_is_received_on_any_address_where_sip_is() -> None:
    told = advertised(ways={"2001:db8::9": "2001:db8::1"})
    assert told.bind_of(FAR) == "0.0.0.0"
    assert told.bind_of("2001:db8::9") == "::"


def test_addresses_of_media_are_those_of_now_after_a_change() -> None:
    ways = {FAR: OWN, "203.0.113.8": OWN}
    told = AdvertisedAddress(ANY, lambda remote: ways[remote], Addressing(media_address="203.0.113.8"))
    assert [(told.media_of(FAR), told.bind_of(FAR)) for _ in range(2)] == [("203.0.113.8", "0.0.0.0")] * 2
    # From now on the address of media is one of this host.
    ways |= {"203.0.113.8": "203.0.113.8"}
    told.forget()
    assert (told.media_of(FAR), told.bind_of(FAR)) == ("203.0.113.8", "203.0.113.8")


def test_public_address_of_ours_needs_no_other_unless_one_is_written() -> None:
    ways = {FAR: "203.0.113.20"}
    found = advertised(Addressing(automatic=True), ways=ways)
    found.update(NetworkFacts("eth0", ("203.0.113.20",)))
    found.external.seen(Source.STUN, "198.51.100.3", OUTSIDE, 0)
    found.forget()
    assert found.of(FAR) == "203.0.113.20"
    assert advertised(Addressing(externip=OUTSIDE), ways=ways).of(FAR) == OUTSIDE


def test_behind_nat_what_a_registrar_sees_is_told_and_forgotten_when_we_move() -> None:
    told = advertised(Addressing(automatic=True))
    told.update(NetworkFacts("eth0", (OWN,), (LAN,)))
    assert told.of(FAR) == OWN
    assert told.external.seen(Source.REGISTRAR, "provider", OUTSIDE, 61000)
    told.forget()
    assert told.signalling(FAR) == (OUTSIDE, 61000)
    assert told.of("192.168.1.77") == OWN
    told.update(NetworkFacts("ppp0", ("10.9.9.9",), ()))
    assert told.of(FAR) == OWN


def test_no_way_to_the_far_end_is_not_kept() -> None:
    ways: dict[str, str] = {FAR: "127.0.0.1"}
    told = advertised(ways=ways)
    assert not told.reachable(FAR)
    assert told.of(FAR) == "127.0.0.1"
    ways[FAR] = "203.0.113.20"
    assert told.reachable(FAR)
    assert told.of(FAR) == "203.0.113.20"


def test_same_facts_again_change_nothing() -> None:
    told = advertised(Addressing(automatic=True))
    forgotten: list[int] = []
    told.when_forgotten(lambda: forgotten.append(1))
    facts = NetworkFacts("eth0", ("203.0.113.20",))
    assert told.update(facts)
    assert not told.update(NetworkFacts("eth0", ("203.0.113.20",)))
    assert forgotten == [1]


# -- sources --


def test_sources_are_believed_in_their_order(caplog: pytest.LogCaptureFixture) -> None:
    known = ExternIp(Addressing(automatic=True))
    assert known.seen(Source.STUN, "198.51.100.3", "203.0.113.1", 5060)
    assert known.seen(Source.REGISTRAR, "provider", "203.0.113.2", 5060)
    assert known.on_interface("eth0", ["192.168.1.10", "203.0.113.3"])
    chosen = known.of(4)
    assert chosen is not None and (chosen.address, chosen.source) == ("203.0.113.3", Source.INTERFACE)
    assert not known.seen(Source.STUN, "198.51.100.3", "203.0.113.9", 5060)
    assert caplog.text.count("our external address is 203.0.113.2 by registrar provider, but 203.0.113.1 by stun") == 1
    assert known.as_json()["ipv4"] == {"address": "203.0.113.3", "from": "interface eth0"}


def test_disagreement_is_told_once_and_does_not_flap(caplog: pytest.LogCaptureFixture) -> None:
    known = ExternIp(Addressing(automatic=True))
    known.seen(Source.REGISTRAR, "one", "203.0.113.1", 5060)
    for _ in range(3):
        assert not known.seen(Source.REGISTRAR, "two", "203.0.113.2", 5060)
        assert not known.seen(Source.REGISTRAR, "one", "203.0.113.1", 5060)
    chosen = known.of(4)
    assert chosen is not None and chosen.by == "one"
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert known.as_json()["ipv4_disagreeing"] == {"registrar two": "203.0.113.2:5060"}


def test_a_symmetric_nat_has_no_port_for_all() -> None:
    known = ExternIp(Addressing(automatic=True))
    known.seen(Source.REGISTRAR, "one", OUTSIDE, 40001)
    assert known.seen(Source.REGISTRAR, "two", OUTSIDE, 40002)
    chosen = known.of(4)
    assert chosen is not None and (chosen.address, chosen.port) == (OUTSIDE, 0)


def test_who_moves_is_followed() -> None:
    known = ExternIp(Addressing(automatic=True))
    known.seen(Source.REGISTRAR, "one", "203.0.113.1", 0)
    assert known.seen(Source.REGISTRAR, "one", "203.0.113.2", 0)
    known.on_interface("eth0", ["203.0.113.5"])
    assert known.on_interface("eth0", ["203.0.113.6"])
    assert known.on_interface("", [])
    chosen = known.of(4)
    assert chosen is not None and chosen.address == "203.0.113.2"


@pytest.mark.parametrize("address", ["10.0.0.1", "100.64.3.3", "host", "224.0.0.1", "169.254.0.9"])
def test_nobody_can_talk_us_into_an_address_that_leads_nowhere(address: str) -> None:
    known = ExternIp(Addressing(automatic=True))
    assert not known.seen(Source.REGISTRAR, "liar", address, 5060)
    assert known.of(4) is None


def test_a_written_address_is_not_found_out_otherwise() -> None:
    known = ExternIp(Addressing(externip=OUTSIDE, externport=9999))
    assert not known.seen(Source.REGISTRAR, "provider", "203.0.113.2", 5060)
    assert not known.on_interface("eth0", ["203.0.113.3"])
    assert str(known.of(4)) == f"{OUTSIDE}:9999"


def test_name_that_stops_resolving_keeps_its_address_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    known = ExternIp(Addressing(externhost="pbx.example.org", externport=5062))
    for _ in range(2):
        assert not known.resolved(())
    assert caplog.text.count("externhost pbx.example.org does not resolve; peers are told our own address") == 1
    assert known.resolved(("2001:db8::7", OUTSIDE, "203.0.113.8"))
    assert not known.resolved(())
    assert "203.0.113.7:5062 and [2001:db8::7]:5062 is kept" in caplog.text
    assert (str(known.of(4)), str(known.of(6))) == ("203.0.113.7:5062", "[2001:db8::7]:5062")
    assert str(known) == (
        "203.0.113.7:5062 by externhost pbx.example.org, [2001:db8::7]:5062 by externhost pbx.example.org"
    )
    assert known.resolved(("203.0.113.8",))
    assert (str(known.of(4)), known.of(6)) == ("203.0.113.8:5062", None)


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("10.1.2.3", True),
        ("172.32.0.1", False),
        ("100.127.255.255", True),
        ("100.128.0.0", False),
        ("203.0.113.1", False),
        ("fd00::1", True),
        ("fe80::1", True),
        ("2001:db8::1", False),
        ("::1", True),
    ],
)
def test_private_addresses(address: str, private: bool) -> None:
    assert is_private(address) is private
    assert is_public(address) is not private
