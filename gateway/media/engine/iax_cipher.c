#include "iax_cipher.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/random.h>

enum { POOL = 4096, LENGTH_AT = IAX_BLOCK - 1, LENGTH_BITS = 0x0f, HIGH_BITS = 0xf0 };

static const uint8_t zeros[IAX_BLOCK];

int iax_cipher_set(struct iax_cipher *c, const uint8_t *key, size_t size, bool sending)
{
    EVP_CIPHER_CTX *context;

    if (size && size != IAX_KEY)
        return EINVAL;
    if (!size) {
        iax_cipher_close(c);
        return 0;
    }
    context = c->context ? c->context : EVP_CIPHER_CTX_new();
    if (!context)
        return ENOMEM;
    if (!EVP_CipherInit_ex2(context, EVP_aes_128_cbc(), key, zeros, sending, NULL) ||
        !EVP_CIPHER_CTX_set_padding(context, 0)) {
        EVP_CIPHER_CTX_free(context);
        c->context = NULL;
        return ENOTSUP;
    }
    c->context = context;
    memcpy(c->key, key, sizeof c->key);
    return 0;
}

void iax_cipher_close(struct iax_cipher *c)
{
    EVP_CIPHER_CTX_free(c->context); /* wipes the key */
    explicit_bzero(c, sizeof *c);
}

bool iax_cipher_is(const struct iax_cipher *c, const uint8_t *key, size_t size)
{
    return c->context ? size == IAX_KEY && !memcmp(c->key, key, IAX_KEY) : !size;
}

/* The kernel's, some at a time: each frame wants less than a system call is worth. */
static bool noise(uint8_t *to, size_t size)
{
    static uint8_t pool[POOL];
    static size_t left;

    if (left < size) {
        if (getrandom(pool, sizeof pool, 0) != sizeof pool)
            return false;
        left = sizeof pool;
    }
    left -= size;
    memcpy(to, pool + left, size);
    explicit_bzero(pool + left, size);
    return true;
}

static bool crypt_blocks(struct iax_cipher *c, uint8_t *to, const uint8_t *from, size_t size)
{
    int done = 0;

    return EVP_CipherInit_ex2(c->context, NULL, NULL, zeros, -1, NULL) &&
           EVP_CipherUpdate(c->context, to, &done, from, (int)size) && (size_t)done == size;
}

size_t iax_encrypt(struct iax_cipher *c, uint8_t *to, const uint8_t *frame, size_t size)
{
    size_t content = size - IAX_CLEAR;
    size_t padding = IAX_BLOCK + (IAX_BLOCK - content % IAX_BLOCK) % IAX_BLOCK;
    uint8_t *blocks = to + IAX_CLEAR;

    if (!noise(blocks, padding))
        return 0;
    blocks[LENGTH_AT] = (uint8_t)((blocks[LENGTH_AT] & HIGH_BITS) | (padding & LENGTH_BITS));
    memcpy(to, frame, IAX_CLEAR);
    memcpy(blocks + padding, frame + IAX_CLEAR, content);
    return crypt_blocks(c, blocks, blocks, padding + content) ? IAX_CLEAR + padding + content : 0;
}

size_t iax_decrypt(struct iax_cipher *c, uint8_t *to, const uint8_t *frame, size_t size)
{
    size_t blocks = size - IAX_CLEAR;
    size_t padding;

    if (size < IAX_CLEAR + 2 * IAX_BLOCK || blocks % IAX_BLOCK || !crypt_blocks(c, to + IAX_CLEAR, frame + IAX_CLEAR, blocks))
        return 0;
    padding = IAX_BLOCK + (to[IAX_CLEAR + LENGTH_AT] & LENGTH_BITS);
    if (padding > blocks)
        return 0;
    memcpy(to, frame, IAX_CLEAR);
    memmove(to + IAX_CLEAR, to + IAX_CLEAR + padding, blocks - padding);
    return size - padding;
}
