#include "secure_mac.h"

#include <openssl/evp.h>
#include <srtp2/auth.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 64, DIGEST = 20 };

/* Keyed once: each packet begins with a copy of `inner`, and ends with one of `outer`. */
struct mac {
    srtp_auth_t head; /* what libsrtp sees */
    EVP_MD_CTX *inner, *outer, *work;
};

static srtp_err_status_t deallocate(srtp_auth_pointer_t head)
{
    struct mac *m = head->state;

    EVP_MD_CTX_free(m->inner);
    EVP_MD_CTX_free(m->outer);
    EVP_MD_CTX_free(m->work);
    free(m);
    return srtp_err_status_ok;
}

static srtp_err_status_t allocate(srtp_auth_pointer_t *head, int key, int tag);

static srtp_err_status_t start(void *state)
{
    struct mac *m = state;

    return EVP_MD_CTX_copy_ex(m->work, m->inner) ? srtp_err_status_ok : srtp_err_status_auth_fail;
}

static bool keyed(EVP_MD_CTX *c, const uint8_t *key, size_t size, uint8_t mask)
{
    uint8_t block[BLOCK];
    bool good;

    memset(block, mask, sizeof block);
    for (size_t i = 0; i < size; i++)
        block[i] ^= key[i];
    good = EVP_DigestInit_ex(c, EVP_sha1(), NULL) && EVP_DigestUpdate(c, block, sizeof block);
    explicit_bzero(block, sizeof block);
    return good;
}

static srtp_err_status_t init(void *state, const uint8_t *key, int size)
{
    struct mac *m = state;

    if (size < 0 || size > DIGEST || !keyed(m->inner, key, (size_t)size, 0x36) || !keyed(m->outer, key, (size_t)size, 0x5c))
        return srtp_err_status_init_fail;
    return start(m);
}

static srtp_err_status_t update(void *state, const uint8_t *data, int size)
{
    struct mac *m = state;

    return EVP_DigestUpdate(m->work, data, (size_t)size) ? srtp_err_status_ok : srtp_err_status_auth_fail;
}

static srtp_err_status_t compute(void *state, const uint8_t *data, int size, int tag_size, uint8_t *tag)
{
    struct mac *m = state;
    uint8_t digest[DIGEST];

    if (tag_size > DIGEST || update(m, data, size) || !EVP_DigestFinal_ex(m->work, digest, NULL) ||
        !EVP_MD_CTX_copy_ex(m->work, m->outer) || !EVP_DigestUpdate(m->work, digest, sizeof digest) ||
        !EVP_DigestFinal_ex(m->work, digest, NULL))
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
    m->inner = EVP_MD_CTX_new();
    m->outer = EVP_MD_CTX_new();
    m->work = EVP_MD_CTX_new();
    *head = &m->head;
    if (m->inner && m->outer && m->work)
        return srtp_err_status_ok;
    (void)deallocate(*head);
    return srtp_err_status_alloc_fail;
}

unsigned secure_mac_install(void)
{
    return srtp_replace_auth_type(&type, SRTP_HMAC_SHA1) != srtp_err_status_ok;
}
