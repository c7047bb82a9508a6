#include "secure_mac.h"

/* OpenSSL 3 wants EVP used, which takes a digest's state from the heap for each packet and is slower by all that goes with it. */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <srtp2/auth.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 64, DIGEST = 20 };

/* What there is of a digest after a whole block. */
struct keyed {
    SHA_LONG h[5];
};

/* Keyed once: each packet begins as `inner`, and ends as `outer`. */
struct mac {
    srtp_auth_t head; /* what libsrtp sees */
    struct keyed inner, outer;
    SHA_CTX work;
};

static srtp_err_status_t deallocate(srtp_auth_pointer_t head)
{
    struct mac *m = head->state;

    explicit_bzero(m, sizeof *m);
    free(m);
    return srtp_err_status_ok;
}

static srtp_err_status_t allocate(srtp_auth_pointer_t *head, int key, int tag);

static void resume(SHA_CTX *c, const struct keyed *k)
{
    c->h0 = k->h[0];
    c->h1 = k->h[1];
    c->h2 = k->h[2];
    c->h3 = k->h[3];
    c->h4 = k->h[4];
    c->Nl = BLOCK * 8;
    c->Nh = 0;
    c->num = 0;
}

static srtp_err_status_t start(void *state)
{
    struct mac *m = state;

    resume(&m->work, &m->inner);
    return srtp_err_status_ok;
}

static bool keep(struct keyed *k, const uint8_t *key, size_t size, uint8_t mask)
{
    uint8_t block[BLOCK];
    SHA_CTX c;
    bool good;

    memset(block, mask, sizeof block);
    for (size_t i = 0; i < size; i++)
        block[i] ^= key[i];
    good = SHA1_Init(&c) && SHA1_Update(&c, block, sizeof block);
    *k = (struct keyed){{c.h0, c.h1, c.h2, c.h3, c.h4}};
    explicit_bzero(block, sizeof block);
    explicit_bzero(&c, sizeof c);
    return good;
}

static srtp_err_status_t init(void *state, const uint8_t *key, int size)
{
    struct mac *m = state;

    if (size < 0 || size > DIGEST || !keep(&m->inner, key, (size_t)size, 0x36) || !keep(&m->outer, key, (size_t)size, 0x5c))
        return srtp_err_status_init_fail;
    return start(m);
}

static srtp_err_status_t update(void *state, const uint8_t *data, int size)
{
    struct mac *m = state;

    return SHA1_Update(&m->work, data, (size_t)size) ? srtp_err_status_ok : srtp_err_status_auth_fail;
}

static srtp_err_status_t compute(void *state, const uint8_t *data, int size, int tag_size, uint8_t *tag)
{
    struct mac *m = state;
    uint8_t digest[DIGEST];

    if (tag_size > DIGEST || update(m, data, size) || !SHA1_Final(digest, &m->work))
        return srtp_err_status_auth_fail;
    resume(&m->work, &m->outer);
    if (!SHA1_Update(&m->work, digest, sizeof digest) || !SHA1_Final(digest, &m->work))
        return srtp_err_status_auth_fail;
    memcpy(tag, digest, (size_t)tag_size);
    return srtp_err_status_ok;
}

/* RFC 2202, case 1 */
static const uint8_t test_key[DIGEST] = {11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11, 11};
static const uint8_t test_tag[DIGEST] = {0xb6, 0x17, 0x31, 0x86, 0x55, 0x05, 0x72, 0x64, 0xe2, 0x8b,
                                         0xc0, 0xb6, 0xfb, 0x37, 0x8c, 0x8e, 0xf1, 0x46, 0xbe, 0x00};
static const srtp_auth_test_case_t test = {DIGEST, test_key, 8, (const uint8_t *)"Hi There", DIGEST, test_tag, NULL};

static const srtp_auth_type_t type = {allocate, deallocate, init,          compute, update, start, "HMAC-SHA1",
                                      &test,    SRTP_HMAC_SHA1};

static srtp_err_status_t allocate(srtp_auth_pointer_t *head, int key, int tag)
{
    struct mac *m;

    if (key > DIGEST || tag > DIGEST)
        return srtp_err_status_bad_param;
    m = calloc(1, sizeof *m);
    if (!m)
        return srtp_err_status_alloc_fail;
    m->head = (srtp_auth_t){.type = &type, .state = m, .out_len = tag, .key_len = key};
    *head = &m->head;
    return srtp_err_status_ok;
}

unsigned secure_mac_install(void)
{
    return srtp_replace_auth_type(&type, SRTP_HMAC_SHA1) != srtp_err_status_ok;
}
