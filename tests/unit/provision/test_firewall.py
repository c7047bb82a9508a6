"""The open ports of the packet filter are those that the configuration listens on."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import parse
from gateway.provision.firewall import commands, main, open_ports

OVERLAY = Path(__file__).parents[3] / "overlay"


def ports(text: str) -> dict[str, list[str]]:
    return open_ports(parse("schema = 1\n" + text, Path("gateway.toml")))


def test_signalling_and_voice_are_open_where_they_listen() -> None:
    found = ports('[media]\nrtp_ports = [20000, 20999]\n[sip]\nlisten = ["udp:[::]:5062", "tcp:0.0.0.0:5063"]\n')
    assert found == {"udp_open": ["5062", "20000-20999"], "tcp_open": ["5063"]}


def test_iax2_is_open_only_if_the_file_has_it() -> None:
    assert "4569" not in ports("")["udp_open"]
    assert "4569" in ports("[iax]\n")["udp_open"]


def test_what_listens_on_loopback_needs_no_open_port() -> None:
    assert ports('[sip]\nlisten = ["udp:127.0.0.1:5060", "tcp:[::1]:5060"]\n') == {"udp_open": [], "tcp_open": []}


def test_commands_empty_both_sets_before_they_fill_them() -> None:
    assert commands({"udp_open": ["5060", "10000-19999"], "tcp_open": []}) == (
        "flush set inet branch_gateway udp_open\n"
        "flush set inet branch_gateway tcp_open\n"
        "add element inet branch_gateway udp_open { 5060, 10000-19999 }\n"
    )


@pytest.mark.parametrize("text", [None, "schema = 1\n[sip]\nlisten = 5\n"])
def test_without_a_configuration_it_is_closed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    path = tmp_path / "gateway.toml"
    if text is not None:
        path.write_text(text)
    assert main([str(path)]) == 1
    assert "add element" not in capsys.readouterr().out


def test_the_rule_set_drops_by_default_and_has_both_sets() -> None:
    rules = (OVERLAY / "usr/share/branch-gateway/firewall.nft").read_text()
    assert rules.count("policy drop;") == 2
    for name in ("udp_open", "tcp_open"):
        assert f"set {name} " in rules
        assert f"dport @{name} accept" in rules
