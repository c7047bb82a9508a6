"""Voice over IP: SIP and IAX2."""
