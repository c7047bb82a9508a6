"""SIP (RFC 3261) and what goes with it."""
