#include "secure_cipher.h"

#include <openssl/evp.h>
#include <srtp2/cipher.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16, SALT = 14, BLOCKS = 12 /* made at once: 20 ms of G.711 and its tail */ };

struct cipher {
    srtp_cipher_t head; /* what libsrtp sees */
    EVP_CIPHER_CTX *context;
    const EVP_CIPHER *kind;
    size_t key; /* octets, without salt */
    int tag;
    bool gcm;
    uint8_t salt[BLOCK], counter[BLOCK]; /* `counter`: the next block's */
    uint8_t stream[BLOCK];               /* the last block, of which ... */
    unsigned left;                       /* ... so much is not used yet */
};

static srtp_err_status_t deallocate(srtp_cipher_pointer_t head)
{
    struct cipher *c = head->state;

    EVP_CIPHER_CTX_free(c->context); /* wipes the key */
    explicit_bzero(c, sizeof *c);
    free(c);
    return srtp_err_status_ok;
}

static srtp_err_status_t allocate(srtp_cipher_pointer_t *head, const srtp_cipher_type_t *type, const EVP_CIPHER *kind,
                                  bool gcm, int key_length, int tag)
{
    int key = EVP_CIPHER_get_key_length(kind);
    struct cipher *c;

    if (key_length != key + (gcm ? SRTP_AEAD_SALT_LEN : SALT))
        return srtp_err_status_bad_param;
    c = calloc(1, sizeof *c);
    if (!c)
        return srtp_err_status_alloc_fail;
    c->head = (srtp_cipher_t){.type = type, .state = c, .key_len = key_length, .algorithm = (int)type->id};
    c->kind = kind;
    c->key = (size_t)key;
    c->tag = tag;
    c->gcm = gcm;
    c->context = EVP_CIPHER_CTX_new();
    *head = &c->head;
    if (c->context)
        return srtp_err_status_ok;
    free(c);
    return srtp_err_status_alloc_fail;
}

/* Session key, then salt; GCM's salt is mixed in by libsrtp. */
static srtp_err_status_t init(void *state, const uint8_t *key)
{
    struct cipher *c = state;

    if (!c->gcm)
        memcpy(c->salt, key + c->key, SALT);
    return EVP_CipherInit_ex(c->context, c->kind, NULL, key, NULL, 1) && EVP_CIPHER_CTX_set_padding(c->context, 0)
               ? srtp_err_status_ok
               : srtp_err_status_init_fail;
}

/* RFC 3711 4.1.1: the block counter begins with the salt and the packet's index and SSRC, mixed. The key stream is made of
 * such blocks here, as libcrypto's own counter mode spends more on being given where to begin than on a packet of voice. */
/* NOLINTNEXTLINE(readability-non-const-parameter): as libsrtp declares it */
static srtp_err_status_t set_counter(void *state, uint8_t *iv, srtp_cipher_direction_t direction)
{
    struct cipher *c = state;

    (void)direction; /* it is the same */
    for (unsigned i = 0; i < BLOCK; i++)
        c->counter[i] = c->salt[i] ^ iv[i];
    c->left = 0;
    return srtp_err_status_ok;
}

/* The lowest 16 bits count blocks. */
static void count_blocks(struct cipher *c, uint8_t *to, unsigned blocks)
{
    unsigned next = (unsigned)c->counter[BLOCK - 2] << 8 | c->counter[BLOCK - 1];

    for (unsigned i = 0; i < blocks; i++, next++, to += BLOCK) {
        memcpy(to, c->counter, BLOCK - 2);
        to[BLOCK - 2] = (uint8_t)(next >> 8);
        to[BLOCK - 1] = (uint8_t)next;
    }
    c->counter[BLOCK - 2] = (uint8_t)(next >> 8);
    c->counter[BLOCK - 1] = (uint8_t)next;
}

static void mix(uint8_t *to, const uint8_t *stream, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] ^= stream[i];
}

/* NOLINTNEXTLINE(readability-non-const-parameter): as libsrtp declares it */
static srtp_err_status_t counter_mode(void *state, uint8_t *buffer, unsigned *size)
{
    struct cipher *c = state;
    uint8_t stream[BLOCKS * BLOCK] = {0};
    unsigned rest = *size, part = rest < c->left ? rest : c->left;

    mix(buffer, c->stream + BLOCK - c->left, part);
    c->left -= part;
    for (buffer += part, rest -= part; rest; buffer += part, rest -= part) {
        unsigned blocks = rest < sizeof stream ? (rest + BLOCK - 1) / BLOCK : BLOCKS;
        int done;

        count_blocks(c, stream, blocks);
        if (!EVP_CipherUpdate(c->context, stream, &done, stream, (int)(blocks * BLOCK)) || done != (int)(blocks * BLOCK))
            return srtp_err_status_cipher_fail;
        part = rest < sizeof stream ? rest : sizeof stream;
        mix(buffer, stream, part);
        c->left = blocks * BLOCK - part;
        memcpy(c->stream, stream + (size_t)(blocks - 1) * BLOCK, BLOCK);
    }
    return srtp_err_status_ok;
}

static srtp_err_status_t set_iv(void *state, uint8_t *iv, srtp_cipher_direction_t direction)
{
    struct cipher *c = state;

    return EVP_CipherInit_ex(c->context, NULL, NULL, NULL, iv, direction == srtp_direction_encrypt)
               ? srtp_err_status_ok
               : srtp_err_status_cipher_fail;
}

static srtp_err_status_t set_aad(void *state, const uint8_t *aad, uint32_t size)
{
    struct cipher *c = state;
    int done;

    return EVP_CipherUpdate(c->context, NULL, &done, aad, (int)size) ? srtp_err_status_ok : srtp_err_status_algo_fail;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): as libsrtp declares it */
static srtp_err_status_t gcm_encrypt(void *state, uint8_t *buffer, unsigned *size)
{
    struct cipher *c = state;
    int done = 0, rest;

    if (*size && !EVP_CipherUpdate(c->context, buffer, &done, buffer, (int)*size))
        return srtp_err_status_cipher_fail;
    return EVP_CipherFinal_ex(c->context, buffer + done, &rest) ? srtp_err_status_ok : srtp_err_status_cipher_fail;
}

static srtp_err_status_t get_tag(void *state, uint8_t *tag, uint32_t *size)
{
    struct cipher *c = state;

    *size = (uint32_t)c->tag;
    return EVP_CIPHER_CTX_ctrl(c->context, EVP_CTRL_AEAD_GET_TAG, c->tag, tag) ? srtp_err_status_ok
                                                                              : srtp_err_status_algo_fail;
}

/* The tag comes last. */
static srtp_err_status_t gcm_decrypt(void *state, uint8_t *buffer, unsigned *size)
{
    struct cipher *c = state;
    int done = 0, rest, text = (int)*size - c->tag;

    if (text < 0)
        return srtp_err_status_bad_param;
    if (!EVP_CIPHER_CTX_ctrl(c->context, EVP_CTRL_AEAD_SET_TAG, c->tag, buffer + text))
        return srtp_err_status_algo_fail;
    if ((text && !EVP_CipherUpdate(c->context, buffer, &done, buffer, text)) ||
        EVP_CipherFinal_ex(c->context, buffer + done, &rest) <= 0)
        return srtp_err_status_auth_fail;
    *size = (unsigned)text;
    return srtp_err_status_ok;
}

/* -- what they are tested by: RFC 3711 B.2, RFC 6188 7.1 and 7.2, and the fourth and sixteenth case of GCM's authors -- */

static const uint8_t zeros[32];
static uint8_t index_zero[BLOCK];
static uint8_t gcm_index[] = {0xca, 0xfe, 0xba, 0xbe, 0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88};

#define TEXT(name, octets) static const uint8_t name[] = octets

TEXT(key_128, "\x2b\x7e\x15\x16\x28\xae\xd2\xa6\xab\xf7\x15\x88\x09\xcf\x4f\x3c"
              "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd");
TEXT(stream_128, "\xe0\x3e\xad\x09\x35\xc9\x5e\x80\xe1\x66\xb1\x6d\xd9\x2b\x4e\xb4"
                 "\xd2\x35\x13\x16\x2b\x02\xd0\xf7\x2a\x43\xa2\xfe\x4a\x5f\x97\xab");
TEXT(key_256, "\x57\xf8\x2f\xe3\x61\x3f\xd1\x70\xa8\x5e\xc9\x3c\x40\xb1\xf0\x92"
              "\x2e\xc4\xcb\x0d\xc0\x25\xb5\x82\x72\x14\x7c\xc4\x38\x94\x4a\x98"
              "\xf0\xf1\xf2\xf3\xf4\xf5\xf6\xf7\xf8\xf9\xfa\xfb\xfc\xfd");
TEXT(stream_256, "\x92\xbd\xd2\x8a\x93\xc3\xf5\x25\x11\xc6\x77\xd0\x8b\x55\x15\xa4"
                 "\x9d\xa7\x1b\x23\x78\xa8\x54\xf6\x70\x50\x75\x6d\xed\x16\x5b\xac");
TEXT(gcm_key_128, "\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08"
                  "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b");
TEXT(gcm_key_256, "\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08"
                  "\xfe\xff\xe9\x92\x86\x65\x73\x1c\x6d\x6a\x8f\x94\x67\x30\x83\x08"
                  "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b");
TEXT(gcm_plain, "\xd9\x31\x32\x25\xf8\x84\x06\xe5\xa5\x59\x09\xc5\xaf\xf5\x26\x9a"
                "\x86\xa7\xa9\x53\x15\x34\xf7\xda\x2e\x4c\x30\x3d\x8a\x31\x8a\x72"
                "\x1c\x3c\x0c\x95\x95\x68\x09\x53\x2f\xcf\x0e\x24\x49\xa6\xb5\x25"
                "\xb1\x6a\xed\xf5\xaa\x0d\xe6\x57\xba\x63\x7b\x39");
TEXT(gcm_aad, "\xfe\xed\xfa\xce\xde\xad\xbe\xef\xfe\xed\xfa\xce\xde\xad\xbe\xef\xab\xad\xda\xd2");
TEXT(gcm_cipher_128, "\x42\x83\x1e\xc2\x21\x77\x74\x24\x4b\x72\x21\xb7\x84\xd0\xd4\x9c"
                     "\xe3\xaa\x21\x2f\x2c\x02\xa4\xe0\x35\xc1\x7e\x23\x29\xac\xa1\x2e"
                     "\x21\xd5\x14\xb2\x54\x66\x93\x1c\x7d\x8f\x6a\x5a\xac\x84\xaa\x05"
                     "\x1b\xa3\x0b\x39\x6a\x0a\xac\x97\x3d\x58\xe0\x91"
                     "\x5b\xc9\x4f\xbc\x32\x21\xa5\xdb\x94\xfa\xe9\x5a\xe7\x12\x1a\x47");
TEXT(gcm_cipher_256, "\x52\x2d\xc1\xf0\x99\x56\x7d\x07\xf4\x7f\x37\xa3\x2a\x84\x42\x7d"
                     "\x64\x3a\x8c\xdc\xbf\xe5\xc0\xc9\x75\x98\xa2\xbd\x25\x55\xd1\xaa"
                     "\x8c\xb0\x8e\x48\x59\x0d\xbb\x3d\xa7\xb0\x8b\x10\x56\x82\x88\x38"
                     "\xc5\xf6\x1e\x63\x93\xba\x7a\x0a\xbc\xc9\xf6\x62"
                     "\x76\xfc\x6e\xce\x0f\x4e\x17\x68\xcd\xdf\x88\x53\xbb\x2d\x55\x1b");

static const srtp_cipher_test_case_t test_128 = {30, key_128, index_zero, 32, zeros, 32, stream_128, 0, NULL, 0, NULL};
static const srtp_cipher_test_case_t test_256 = {46, key_256, index_zero, 32, zeros, 32, stream_256, 0, NULL, 0, NULL};
static const srtp_cipher_test_case_t test_gcm_128 = {28, gcm_key_128, gcm_index, 60, gcm_plain, 76, gcm_cipher_128,
                                                     20, gcm_aad,     BLOCK,     NULL};
static const srtp_cipher_test_case_t test_gcm_256 = {44, gcm_key_256, gcm_index, 60, gcm_plain, 76, gcm_cipher_256,
                                                     20, gcm_aad,     BLOCK,     NULL};

static srtp_err_status_t allocate_128(srtp_cipher_pointer_t *c, int key, int tag);
static srtp_err_status_t allocate_256(srtp_cipher_pointer_t *c, int key, int tag);
static srtp_err_status_t allocate_gcm_128(srtp_cipher_pointer_t *c, int key, int tag);
static srtp_err_status_t allocate_gcm_256(srtp_cipher_pointer_t *c, int key, int tag);

static const srtp_cipher_type_t types[] = {
    {allocate_128, deallocate, init, NULL, counter_mode, counter_mode, set_counter, NULL, "AES-128 counter mode", &test_128,
     SRTP_AES_ICM_128},
    {allocate_256, deallocate, init, NULL, counter_mode, counter_mode, set_counter, NULL, "AES-256 counter mode", &test_256,
     SRTP_AES_ICM_256},
    {allocate_gcm_128, deallocate, init, set_aad, gcm_encrypt, gcm_decrypt, set_iv, get_tag, "AES-128 GCM", &test_gcm_128,
     SRTP_AES_GCM_128},
    {allocate_gcm_256, deallocate, init, set_aad, gcm_encrypt, gcm_decrypt, set_iv, get_tag, "AES-256 GCM", &test_gcm_256,
     SRTP_AES_GCM_256},
};

enum { TYPES = sizeof types / sizeof *types };

static srtp_err_status_t allocate_128(srtp_cipher_pointer_t *c, int key, int tag)
{
    return allocate(c, &types[0], EVP_aes_128_ecb(), false, key, tag);
}

static srtp_err_status_t allocate_256(srtp_cipher_pointer_t *c, int key, int tag)
{
    return allocate(c, &types[1], EVP_aes_256_ecb(), false, key, tag);
}

static srtp_err_status_t allocate_gcm_128(srtp_cipher_pointer_t *c, int key, int tag)
{
    return allocate(c, &types[2], EVP_aes_128_gcm(), true, key, tag);
}

static srtp_err_status_t allocate_gcm_256(srtp_cipher_pointer_t *c, int key, int tag)
{
    return allocate(c, &types[3], EVP_aes_256_gcm(), true, key, tag);
}

unsigned secure_cipher_install(void)
{
    unsigned failed = 0;

    for (unsigned i = 0; i < TYPES; i++)
        failed += srtp_replace_cipher_type(&types[i], types[i].id) != srtp_err_status_ok;
    return failed;
}
