"""IAX2 (RFC 5456): frames, sessions, calls, registration, encryption. Nothing here opens a socket."""
