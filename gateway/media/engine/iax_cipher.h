/* Encryption of mini frames as chan_iax2 has it: AES-128-CBC with an initialization vector of zeros behind the call number;
 * 16 to 31 octets of noise come first, and the low half of the last of the first 16 says how many. */
#ifndef GM_IAX_CIPHER_H
#define GM_IAX_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { IAX_KEY = 16, IAX_BLOCK = 16, IAX_CLEAR = 2 /* octets of a mini frame that stay clear */, IAX_CIPHER_ROOM = 32 };

struct iax_cipher {
    struct chain *chain; /* NULL: no key */
    uint8_t key[IAX_KEY];
};

/* Takes a key, or none (`size` 0); 0 or an errno. */
int iax_cipher_set(struct iax_cipher *c, const uint8_t *key, size_t size, bool sending);
void iax_cipher_close(struct iax_cipher *c);
/* Is it this key? */
bool iax_cipher_is(const struct iax_cipher *c, const uint8_t *key, size_t size);
/* A mini frame of `size` octets at `to`, which has IAX_CIPHER_ROOM more; its size then, 0 if that cannot be done. */
size_t iax_encrypt(struct iax_cipher *c, uint8_t *to, const uint8_t *frame, size_t size);
/* The other way; 0 if it is none. `to` has `size` octets. */
size_t iax_decrypt(struct iax_cipher *c, uint8_t *to, const uint8_t *frame, size_t size);

#endif
