"""Where a peer is that has a name: by its SRV records, or at its addresses."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from msgspec.structs import replace

from gateway.cause import Cause
from gateway.core import SECOND
from gateway.voip.iax.frame import Command
from gateway.voip.iax.peers import PeerSettings
from gateway.voip.iax.whereabouts import Place, Whereabouts
from gateway.voip.sip.flow import SRV, Resolve
from gateway.voip.sip.names import FAILED, Answer, Names, Srv
from tests.unit.voip.iax.iax_wire import Wire, new_elements

NAMED = PeerSettings(name="hq", host="Hq.Example.org.", srv=True, insecure_invite=True)
SERVICE = Resolve("_iax._udp.hq.example.org", SRV)
HOST = Resolve("hq.example.org")
START = 1000 * SECOND


class Directory:
    def __init__(self, seed: int = 1) -> None:
        self.names = Names()
        self.rng = random.Random(seed)

    def tell(self, question: Resolve, *records: str | Srv) -> None:
        self.names.answered(question, Answer(records), START)

    def asked(self) -> list[Resolve]:
        return list(iter(self.names.poll, None))


def of(directory: Directory, settings: PeerSettings = NAMED) -> Whereabouts:
    return Whereabouts(settings, directory)


def test_service_is_asked_for_first_and_nobody_is_called_before_that_is_known() -> None:
    directory = Directory()
    where = of(directory)
    assert where.places(START) == ()
    assert directory.asked() == [SERVICE]
    assert where.asks(SERVICE)
    assert not where.asks(HOST)


@pytest.mark.parametrize("answer", [Answer(), FAILED])
def test_name_without_a_service_is_at_its_addresses_and_the_usual_port(answer: Answer) -> None:
    directory = Directory()
    where = of(directory)
    where.places(START)
    directory.names.answered(SERVICE, answer, START)
    directory.tell(HOST, "192.0.2.1", "2001:db8::1")
    assert where.places(START) == (Place("192.0.2.1", 4569), Place("2001:db8::1", 4569))
    assert where.asks(HOST)


def test_service_says_which_hosts_and_ports_by_priority() -> None:
    directory = Directory()
    directory.tell(SERVICE, Srv(20, 0, 4570, "b.example.org"), Srv(10, 0, 4571, "a.example.org."))
    directory.tell(Resolve("a.example.org"), "192.0.2.1")
    directory.tell(Resolve("b.example.org"), "192.0.2.2")
    where = of(directory)
    assert where.places(START) == (Place("192.0.2.1", 4571), Place("192.0.2.2", 4570))
    assert where.asks(Resolve("b.example.org"))
    assert not where.asks(HOST)


def test_service_that_is_decidedly_not_there_is_not_looked_for_elsewhere() -> None:
    directory = Directory()
    directory.tell(SERVICE, Srv(0, 0, 0, ""))
    directory.tell(HOST, "192.0.2.1")
    assert of(directory).places(START) == ()
    assert directory.asked() == []


def test_weights_share_calls_among_gateways_and_each_stays_where_it_is() -> None:
    first: Counter[int] = Counter()
    for seed in range(400):
        directory = Directory(seed)
        directory.tell(SERVICE, Srv(0, 30, 1, "192.0.2.1"), Srv(0, 10, 2, "192.0.2.2"), Srv(0, 0, 3, "192.0.2.3"))
        where = of(directory)
        places = where.places(START)
        first[places[0].port] += 1
        assert where.places(START) == places
        # One that is new moves nobody between the others.
        directory.tell(SERVICE, Srv(0, 10, 2, "192.0.2.2"), Srv(5, 0, 9, "192.0.2.9"), Srv(0, 30, 1, "192.0.2.1"))
        assert where.places(START)[:2] == tuple(place for place in places if place.port < 3)
    assert 260 < first[1] < 340
    assert first[3] < 10


def test_name_with_a_port_and_an_address_need_no_service() -> None:
    directory = Directory()
    of(directory, replace(NAMED, srv=False)).places(START)
    assert directory.asked() == [HOST]
    assert of(directory, replace(NAMED, host="192.0.2.1")).places(START) == (Place("192.0.2.1", 4569),)
    assert of(directory, replace(NAMED, host="", dynamic=True)).places(START) == ()
    assert directory.asked() == []


def test_peer_is_called_and_known_at_the_port_of_its_service() -> None:
    wire = Wire(NAMED)
    assert wire.asked == [SERVICE]
    assert wire.endpoint.new_leg("hq", wire.now) is Cause.DESTINATION_OUT_OF_ORDER
    wire.endpoint.looked_up(SERVICE, Answer((Srv(0, 0, 4999, "a.example.org"),)), wire.now)
    wire.drain()
    assert wire.asked[-1] == Resolve("a.example.org")
    wire.endpoint.looked_up(wire.asked[-1], Answer(("203.0.113.5",)), wire.now)
    assert not isinstance(wire.endpoint.new_leg("hq", wire.now), Cause)
    assert wire.endpoint.peers["hq"].as_json(wire.now)["address"] == "203.0.113.5:4999"
    wire.far_end("203.0.113.5", 4999).open(Command.NEW, new_elements())
    assert [offered.source for _, offered in wire.offered] == ["hq"]


def test_peer_that_is_silent_is_tried_at_its_next_place() -> None:
    wire = Wire(replace(NAMED, qualify=2 * SECOND))
    records = (Srv(1, 0, 4999, "203.0.113.5"), Srv(2, 0, 4998, "203.0.113.6"))
    wire.endpoint.looked_up(SERVICE, Answer(records), wire.now)
    wire.advance(30 * SECOND)
    assert {(to, port) for _, to, port, _ in wire.media.sent} == {("203.0.113.5", 4999), ("203.0.113.6", 4998)}
