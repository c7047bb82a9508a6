"""A whole branch in virtual time, driven from one seed: gateway, exchanges, SIP far ends and all between them."""
