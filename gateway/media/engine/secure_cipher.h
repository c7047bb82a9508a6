/* AES in counter mode and in GCM for libsrtp, by OpenSSL's libcrypto.
 *
 * What libsrtp brings for itself depends on how a distribution built it. With NSS (Debian, Ubuntu) it makes and frees a
 * context for each packet, in time that grows with the number of calls: three times what a call costs otherwise. These
 * have all they need from the time a key is set. libsrtp checks them by its own and by our test cases before it takes them.
 */
#ifndef GM_SECURE_CIPHER_H
#define GM_SECURE_CIPHER_H

/* After srtp_init(). Those that cannot be had are left as they were; how many that is. */
unsigned secure_cipher_install(void);

#endif
