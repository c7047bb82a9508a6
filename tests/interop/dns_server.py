"""A small DNS server on loopback for tests: the records it is given, by UDP, and nothing for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

SOA = "ns.example.test. admin.example.test. 1 3600 600 86400 {negative}"


class DnsServer(asyncio.DatagramProtocol):
    """``records`` are lines as of a zone file: NAME TTL TYPE DATA. ``silent``: answers nothing. ``asked``: counts."""

    def __init__(self, records: Iterable[str], *, negative: int = 5) -> None:
        self.port = 0
        self.silent = False
        self.failing = False
        self.asked: list[tuple[str, str]] = []
        self._negative = negative
        self._records: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = {}
        self._transport: asyncio.DatagramTransport | None = None
        self.change(records)

    def change(self, records: Iterable[str]) -> None:
        """From now on these are the records."""
        self._records.clear()
        for line in records:
            name, ttl, kind, data = line.split(None, 3)
            key = (dns.name.from_text(name), dns.rdatatype.from_text(kind))
            found = self._records.get(key)
            if found is None:
                self._records[key] = dns.rrset.from_text(key[0], int(ttl), "IN", kind, data)
            else:
                found.add(dns.rrset.from_text(key[0], int(ttl), "IN", kind, data)[0])

    async def __aenter__(self) -> DnsServer:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._transport is not None:
            self._transport.close()
            await asyncio.sleep(0)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a query."""
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return
        question = query.question[0]
        self.asked.append((question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)))
        if self.silent or self._transport is None:
            return
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        if self.failing:
            response.set_rcode(dns.rcode.SERVFAIL)
        else:
            self._fill(response, question.name, question.rdtype)
        self._transport.sendto(response.to_wire(), addr)

    def _fill(self, response: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        found = self._records.get((name, kind))
        if found is not None:
            response.answer.append(found)
            return
        if not any(known == name for known, _ in self._records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        soa = dns.rrset.from_text("example.test.", self._negative, "IN", "SOA", SOA.format(negative=self._negative))
        response.authority.append(soa)
