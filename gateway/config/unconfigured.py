"""What runs while nothing is configured: no line, no peer, no route, no open port; it can only be provisioned."""

from __future__ import annotations

from gateway.config.model import SCHEMA

DOCUMENT = f"""\
# Nothing is configured: no calls, and no port is open.
schema = {SCHEMA}

[gateway]
name = "unconfigured"

[sip]
listen = []
"""
TROUBLE = "nothing is configured: no calls, and no port is open; commit a configuration"
