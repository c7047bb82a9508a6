#include "iax_cipher.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { POOL = 4096, LENGTH_AT = IAX_BLOCK - 1, LENGTH_BITS = 0x0f, HIGH_BITS = 0xf0 };

static const uint8_t zeros[IAX_BLOCK];

/* Each frame begins with an initialization vector of zeros. To set that anew costs libcrypto about as much as the blocks; left
 * alone it goes on with the last block of the frame before, which is known, and so taken out of the first one again. */
struct chain {
    EVP_CIPHER_CTX *cipher;
    uint8_t last[IAX_BLOCK];
};

static void from_zeros(struct chain *h)
{
    memset(h->last, 0, sizeof h->last);
    (void)EVP_CipherInit_ex2(h->cipher, NULL, NULL, zeros, -1, NULL);
}

static void free_chain(struct chain *h)
{
    if (h)
        EVP_CIPHER_CTX_free(h->cipher); /* wipes the key */
    free(h);
}

static struct chain *new_chain(void)
{
    struct chain *h = calloc(1, sizeof *h);

    if (h)
        h->cipher = EVP_CIPHER_CTX_new();
    if (h && h->cipher)
        return h;
    free_chain(h);
    return NULL;
}

int iax_cipher_set(struct iax_cipher *c, const uint8_t *key, size_t size, bool sending)
{
    struct chain *h;

    if (size && size != IAX_KEY)
        return EINVAL;
    if (!size) {
        iax_cipher_close(c);
        return 0;
    }
    h = c->chain ? c->chain : new_chain();
    if (!h)
        return ENOMEM;
    c->chain = h;
    if (!EVP_CipherInit_ex2(h->cipher, EVP_aes_128_cbc(), key, zeros, sending, NULL) ||
        !EVP_CIPHER_CTX_set_padding(h->cipher, 0)) {
        iax_cipher_close(c);
        return ENOTSUP;
    }
    memset(h->last, 0, sizeof h->last);
    memcpy(c->key, key, sizeof c->key);
    return 0;
}

void iax_cipher_close(struct iax_cipher *c)
{
    free_chain(c->chain);
    explicit_bzero(c, sizeof *c);
}

bool iax_cipher_is(const struct iax_cipher *c, const uint8_t *key, size_t size)
{
    return c->chain ? size == IAX_KEY && !memcmp(c->key, key, IAX_KEY) : !size;
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

static void add(uint8_t *block, const uint8_t *other)
{
    for (int i = 0; i < IAX_BLOCK; i++)
        block[i] ^= other[i];
}

static bool cipher_blocks(struct chain *h, uint8_t *to, const uint8_t *from, size_t size)
{
    int done = 0;

    if (EVP_CipherUpdate(h->cipher, to, &done, from, (int)size) && (size_t)done == size)
        return true;
    from_zeros(h);
    return false;
}

static bool encrypt_blocks(struct chain *h, uint8_t *blocks, size_t size)
{
    add(blocks, h->last);
    if (!cipher_blocks(h, blocks, blocks, size))
        return false;
    memcpy(h->last, blocks + size - IAX_BLOCK, IAX_BLOCK);
    return true;
}

static bool decrypt_blocks(struct chain *h, uint8_t *to, const uint8_t *from, size_t size)
{
    if (!cipher_blocks(h, to, from, size))
        return false;
    add(to, h->last);
    memcpy(h->last, from + size - IAX_BLOCK, IAX_BLOCK);
    return true;
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
    return encrypt_blocks(c->chain, blocks, padding + content) ? IAX_CLEAR + padding + content : 0;
}

size_t iax_decrypt(struct iax_cipher *c, uint8_t *to, const uint8_t *frame, size_t size)
{
    size_t blocks = size - IAX_CLEAR;
    size_t padding;

    if (size < IAX_CLEAR + 2 * IAX_BLOCK || blocks % IAX_BLOCK ||
        !decrypt_blocks(c->chain, to + IAX_CLEAR, frame + IAX_CLEAR, blocks))
        return 0;
    padding = IAX_BLOCK + (to[IAX_CLEAR + LENGTH_AT] & LENGTH_BITS);
    if (padding > blocks)
        return 0;
    memcpy(to, frame, IAX_CLEAR);
    memmove(to + IAX_CLEAR, to + IAX_CLEAR + padding, blocks - padding);
    return size - padding;
}
