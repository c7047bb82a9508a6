"""One command to a running exchange or gateway: ``python -m tests.demo.command SOCKET COMMAND [ARGUMENT]``."""

from __future__ import annotations

import json
import socket
import sys

ARGUMENT = {"call": "called", "alarm": "alarm", "hangup": "call"}


def main() -> None:
    """Send it and print the reply; 0 if it was carried out."""
    if len(sys.argv) < 3:
        sys.exit(f"usage: python -m tests.demo.command SOCKET {'|'.join((*ARGUMENT, 'cut', 'mend', 'status'))} …")
    request: dict[str, object] = {"command": sys.argv[2]}
    if len(sys.argv) > 3:
        request[ARGUMENT.get(sys.argv[2], "argument")] = sys.argv[3]
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(sys.argv[1])
        connection.sendall(json.dumps(request).encode() + b"\n")
        for line in connection.makefile():
            reply = json.loads(line)
            if "ok" in reply:
                print(json.dumps(reply, indent=1))
                sys.exit(0 if reply["ok"] else 1)


if __name__ == "__main__":
    main()
