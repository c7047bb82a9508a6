/* HMAC-SHA1 (RFC 2104) for libsrtp, by OpenSSL's libcrypto; why is said in secure_cipher.h. */
#ifndef GM_SECURE_MAC_H
#define GM_SECURE_MAC_H

/* After srtp_init(). 0, or 1 if libsrtp keeps its own. */
unsigned secure_mac_install(void);

#endif
