"""Why a TLS handshake came to nothing, in words an operator can act on: OpenSSL's reasons and alerts (RFC 8446 6.2)."""

from __future__ import annotations

import ssl

PLAIN_TEXT = "it speaks plain text on the TLS port; set its transport to TLS, or its port to that of TCP or UDP"
TOO_LATE = "it did not finish in time; expected a far end that speaks TLS and a network that lets it through"
CLOSED = "it closed the connection before the handshake was over; its log should say what it did not like"
NO_CERTIFICATE = "it sent no certificate; give it one that a CA in tls_ca signed, or set tls_verify_client otherwise"
CONTINUED_IN_CLEAR = "it answers with something that is not TLS; expected the port at which it speaks SIP over TLS"

_OLD = "it offers no TLS from 1.2 on; expected TLS 1.2 or 1.3 to be switched on there"
_NO_CIPHER = "it has no cipher in common with us; expected one of AES-GCM or ChaCha20 with ECDHE"
_OURS = "it does not like our certificate (tls_certificate)"
_REASONS = {
    "UNSUPPORTED_PROTOCOL": _OLD,
    "VERSION_TOO_LOW": _OLD,
    "WRONG_SSL_VERSION": _OLD,
    "NO_PROTOCOLS_AVAILABLE": _OLD,
    "ALERT_PROTOCOL_VERSION": _OLD,
    "NO_SHARED_CIPHER": _NO_CIPHER,
    "ALERT_HANDSHAKE_FAILURE": f"{_NO_CIPHER}, or a certificate of ours where it asks for one",
    "ALERT_INSUFFICIENT_SECURITY": _NO_CIPHER,
    "HTTP_REQUEST": PLAIN_TEXT,
    "HTTPS_PROXY_REQUEST": PLAIN_TEXT,
    "WRONG_VERSION_NUMBER": CONTINUED_IN_CLEAR,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": NO_CERTIFICATE,
    "ALERT_CERTIFICATE_REQUIRED": "it asks for a certificate of ours; set tls_certificate and tls_key",
    "ALERT_UNKNOWN_CA": f"{_OURS}: it does not know the CA; give it the CA's certificate (ca.crt)",
    "ALERT_CERTIFICATE_EXPIRED": f"{_OURS}: ended, it says; make a new one, or set its clock right",
    "ALERT_CERTIFICATE_REVOKED": f"{_OURS}: revoked, it says; make a new one",
    "ALERT_CERTIFICATE_UNKNOWN": f"{_OURS}; its log should say why",
    "ALERT_BAD_CERTIFICATE": f"{_OURS}: bad, it says; its CA, the name it calls us by, or its clock",
    "ALERT_UNSUPPORTED_CERTIFICATE": f"{_OURS}: a kind it does not know; expected one with an EC or RSA key",
    "ALERT_UNRECOGNIZED_NAME": "it does not know the name that we call it by (host)",
    "ALERT_ACCESS_DENIED": f"{_OURS}: it does not let it in",
    "ALERT_INTERNAL_ERROR": "it met an error of its own; its log should say which",
    "ALERT_NO_RENEGOTIATION": "it asks to renegotiate, which we do not",
}
# X509_V_ERR_… of OpenSSL's x509_vfy.h.
_NO_LIST = "cannot be looked up: tls_crl has no list of its CA; add that one, or take tls_crl out"
_VERIFY = {
    3: _NO_LIST,
    8: "cannot be looked up: the list of its CA in tls_crl is not signed by it; get it anew",
    11: "cannot be looked up: the list of its CA in tls_crl is not valid yet; set the clock right here",
    12: "cannot be looked up: the list of its CA in tls_crl has ended; get a new one",
    9: "is not valid yet; set the clocks of both right",
    10: "has ended; expected a new one there, and the clock right here",
    18: "signed itself and is not in tls_ca; add it there, or have it signed by a CA that is",
    19: "is of a CA that is not in tls_ca; add that CA's certificate",
    20: "is of a CA that is not in tls_ca; add that CA's certificate",
    21: "is of a CA that is not in tls_ca, or it does not send the certificates in between; add what is missing",
    23: "was revoked (tls_crl)",
    24: "is of a certificate that is no CA's",
    26: "is not meant for this side of TLS (extended key usage)",
    44: _NO_LIST,
    66: "has a key that is too small",
    68: "is signed with a digest that is too weak",
}


def reason_of(error: ssl.SSLError) -> str:
    """What ``error`` of a handshake means and what to do, in one line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _VERIFY.get(error.verify_code)
        return f"its certificate {known or 'was refused: ' + str(error.verify_message)[:100]}"
    reason = (error.reason or "").upper()
    known = _REASONS.get(reason) or next((text for word, text in _REASONS.items() if reason.endswith(word)), None)
    if known is not None:
        return known
    plain = reason.removeprefix("SSLV3_").removeprefix("TLSV1_").removeprefix("TLSV13_").replace("_", " ").lower()
    return plain or (error.strerror or "TLS error")[:100]


def is_of_remote(error: ssl.SSLError) -> bool:
    """True if the far end sent the alert: it refused us, not we it."""
    return "ALERT" in (error.reason or "")
