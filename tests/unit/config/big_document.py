"""A configuration as large as a branch may have."""

from __future__ import annotations


def big(routes: int = 1000, phones: int = 500, *, run_dir: str = "run") -> str:
    """So many routes and phones, each phone with a password of its own."""
    lines = ["schema = 1", "[gateway]", f'run_dir = "{run_dir}"', "[sip]", 'listen = ["udp:127.0.0.1:5060"]']
    lines += ["[[span]]", 'name = "pstn"', 'channels = "virtual:pstn"', 'line = "e1"', 'context = "in"']
    lines += ["[[trunk]]", 'name = "hq"', 'technology = "sip"', 'host = "192.0.2.10"', 'context = "internal"']
    for number in range(phones):
        lines += ["[[phone]]", f'name = "phone{number:04}"', f'secret = "very secret {number:06}"']
        lines += ['context = "internal"  # a desk', 'allow = ["g722", "alaw"]']
    for number in range(routes):
        lines += ["[[route]]", f'context = "{"internal" if number % 2 else "in"}"', f'match = "{4160000 + number}"']
        lines.append(f'to = ["sip:phone{number % max(phones, 1):04}", "sip:hq/{{number}}"]')
    return "\n".join(lines) + "\n"
