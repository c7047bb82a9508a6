#include "secure.h"

#include <errno.h>
#include <srtp2/srtp.h>
#include <string.h>

#include "cursor.h"
#include "log.h"
#include "secure_cipher.h"
#include "secure_mac.h"

enum {
    RTP_FIXED = 12,
    RTCP_FIXED = 8,
    INDEX = 4,   /* of SRTCP */
    RTCP_TAG = 10, /* of all suites that are not AEAD */
    WINDOW = 128, /* packets; what is older would come too late to be heard */
    PACKET_MOST = 2048,
    TRIES = 4, /* roll-over counters tried for one packet */
};

static const struct suite {
    const char *name;
    void (*rtp)(srtp_crypto_policy_t *);
    void (*rtcp)(srtp_crypto_policy_t *);
    unsigned key, tag; /* octets; SRTCP with CM always has a tag of 80 bits (RFC 4568 6.2) */
} suites[] = {
    [GM_AES_CM_128_HMAC_SHA1_80] = {"AES_CM_128_HMAC_SHA1_80", srtp_crypto_policy_set_rtp_default,
                                    srtp_crypto_policy_set_rtcp_default, 30, 10},
    [GM_AES_CM_128_HMAC_SHA1_32] = {"AES_CM_128_HMAC_SHA1_32", srtp_crypto_policy_set_aes_cm_128_hmac_sha1_32,
                                    srtp_crypto_policy_set_rtcp_default, 30, 4},
    [GM_AES_256_CM_HMAC_SHA1_80] = {"AES_256_CM_HMAC_SHA1_80", srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80,
                                    srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80, 46, 10},
    [GM_AES_256_CM_HMAC_SHA1_32] = {"AES_256_CM_HMAC_SHA1_32", srtp_crypto_policy_set_aes_cm_256_hmac_sha1_32,
                                    srtp_crypto_policy_set_aes_cm_256_hmac_sha1_80, 46, 4},
    [GM_AEAD_AES_128_GCM] = {"AEAD_AES_128_GCM", srtp_crypto_policy_set_aes_gcm_128_16_auth,
                             srtp_crypto_policy_set_aes_gcm_128_16_auth, 28, 16},
    [GM_AEAD_AES_256_GCM] = {"AEAD_AES_256_GCM", srtp_crypto_policy_set_aes_gcm_256_16_auth,
                             srtp_crypto_policy_set_aes_gcm_256_16_auth, 44, 16},
};

enum { SUITES = sizeof suites / sizeof *suites };

/* -- contexts -- */

static srtp_policy_t policy_of(struct secure_context *c, srtp_ssrc_type_t type, uint32_t ssrc)
{
    srtp_policy_t policy = {.ssrc = {.type = type, .value = ssrc}, .key = c->key.octets, .window_size = WINDOW};

    suites[c->key.suite].rtp(&policy.rtp);
    suites[c->key.suite].rtcp(&policy.rtcp);
    return policy;
}

/* libsrtp wipes the keys that it derived when it frees them. */
static void context_close(struct secure_context *c)
{
    if (c->session)
        (void)srtp_dealloc(c->session);
    explicit_bzero(c, sizeof *c);
}

static int context_open(struct secure_context *c, const struct secure_key *key, srtp_ssrc_type_t type)
{
    srtp_policy_t policy;
    srtp_err_status_t status;

    *c = (struct secure_context){.key = *key};
    policy = policy_of(c, type, 0);
    status = srtp_create(&c->session, &policy);
    if (!status)
        return 0;
    c->session = NULL;
    context_close(c);
    return status == srtp_err_status_alloc_fail ? ENOMEM : ENOTSUP;
}

static bool same_key(const struct secure_context *c, const struct secure_key *key)
{
    return c->session && c->key.suite == key->suite && !memcmp(c->key.octets, key->octets, sizeof key->octets);
}

int secure_library_open(struct secure_library *l)
{
    struct secure_key key = {0};
    struct secure_context c;

    memset(l, 0, sizeof *l);
    if (srtp_init())
        return ENOTSUP;
    if (secure_cipher_install() + secure_mac_install())
        log_line("libsrtp2 refuses some ciphers of libcrypto and uses its own, which may be slower");
    for (key.suite = 1; key.suite < SUITES; key.suite++) {
        if (context_open(&c, &key, ssrc_any_outbound)) {
            log_line("the libsrtp2 of this system lacks %s: calls that want it have no voice", suites[key.suite].name);
            continue;
        }
        l->suites |= 1U << key.suite;
        /* With NSS beneath libsrtp, the first context makes what the last one ends, in a millisecond: one is kept. */
        if (l->keeper)
            context_close(&c);
        else
            l->keeper = c.session;
    }
    return l->keeper ? 0 : ENOTSUP;
}

void secure_library_close(struct secure_library *l)
{
    if (l->keeper)
        (void)srtp_dealloc(l->keeper);
    if (l->suites)
        (void)srtp_shutdown();
    memset(l, 0, sizeof *l);
}

static int check(const struct secure_library *l, const struct secure_key *key)
{
    if (!key->suite || key->suite >= SUITES || key->mki_size > GM_SRTP_MKI_BYTES)
        return EINVAL;
    return l->suites >> key->suite & 1 ? 0 : ENOTSUP;
}

/* The receive contexts with the new key, from what there is if it is there. */
static void change_receive(struct secure *x, struct secure_context *made, bool back, int64_t now)
{
    struct secure_context present = x->receive;

    if (back) {
        x->receive = x->former;
        x->former = present;
    } else {
        context_close(&x->former);
        x->former = present;
        x->receive = *made;
        explicit_bzero(made, sizeof *made);
    }
    explicit_bzero(&present, sizeof present);
    x->former_until = now + SECURE_OVERLAP_US;
    x->fresh = true;
    x->try_wraps = 0;
}

int secure_set(struct secure *x, const struct secure_library *l, const struct secure_key *send,
               const struct secure_key *receive, int64_t now, bool *renewed)
{
    struct secure_context sending = {0}, receiving = {0};
    bool back = same_key(&x->former, receive);
    int err = 0;

    *renewed = false;
    if (!send->suite && !receive->suite) {
        secure_close(x);
        return 0;
    }
    err = check(l, send);
    if (!err)
        err = check(l, receive);
    if (!err && !same_key(&x->send, send)) {
        err = context_open(&sending, send, ssrc_any_outbound);
        *renewed = !err;
    }
    if (!err && !back && !same_key(&x->receive, receive))
        err = context_open(&receiving, receive, ssrc_any_inbound);
    if (err) {
        context_close(&sending);
        *renewed = false;
        return err;
    }
    if (!same_key(&x->receive, receive))
        change_receive(x, &receiving, back, now);
    x->receive.key = *receive; /* its MKI may be another one */
    if (sending.session) {
        context_close(&x->send);
        x->send = sending;
        explicit_bzero(&sending, sizeof sending);
    }
    return 0;
}

void secure_close(struct secure *x)
{
    context_close(&x->send);
    context_close(&x->receive);
    context_close(&x->former);
}

void secure_upkeep(struct secure *x, int64_t now)
{
    if (x->former.session && now >= x->former_until)
        context_close(&x->former);
}

/* -- packets out -- */

int secure_protect(struct secure *x, uint8_t *packet, size_t *size)
{
    int length = (int)*size;

    if (srtp_protect(x->send.session, packet, &length))
        return EIO;
    *size = (size_t)length;
    return 0;
}

int secure_protect_rtcp(struct secure *x, uint8_t *packet, size_t *size)
{
    int length = (int)*size;

    if (srtp_protect_rtcp(x->send.session, packet, &length))
        return EIO;
    *size = (size_t)length;
    return 0;
}

void secure_forget(struct secure *x, uint32_t ssrc)
{
    if (x->send.session)
        (void)srtp_remove_stream(x->send.session, ssrc);
}

/* -- packets in -- */

typedef srtp_err_status_t unprotect_function(srtp_t session, void *packet, int *size);

static bool known(const struct secure_context *c, uint32_t ssrc)
{
    for (unsigned i = c->count; i > 0; i--)
        if (c->ssrcs[i - 1] == ssrc)
            return true;
    return false;
}

/* The MKI is not authenticated and names the one key there is, so it is looked at and taken out: what is left is a packet
 * without. It stands before the tag, but the tag of AEAD is part of what it encrypted (RFC 3711 3.1, RFC 7714 8.2). */
static bool take_mki_out(const struct secure_context *c, bool rtcp, uint8_t *packet, size_t *size)
{
    const bool aead = c->key.suite == GM_AEAD_AES_128_GCM || c->key.suite == GM_AEAD_AES_256_GCM;
    const size_t tag = aead ? 0 : rtcp ? RTCP_TAG : suites[c->key.suite].tag;
    uint8_t *mki;

    if (*size < c->key.mki_size + tag)
        return false;
    mki = packet + *size - tag - c->key.mki_size;
    if (memcmp(mki, c->key.mki, c->key.mki_size) != 0)
        return false;
    memmove(mki, mki + c->key.mki_size, tag);
    *size -= c->key.mki_size;
    return true;
}

static srtp_err_status_t take(struct secure_context *c, unprotect_function *unprotect, uint32_t ssrc, uint8_t *packet,
                              size_t *size)
{
    bool before = known(c, ssrc);
    size_t rest = *size;
    int length;
    srtp_err_status_t status;

    if (!before && c->count == SECURE_SSRCS)
        return srtp_err_status_no_ctx;
    if (c->key.mki_size && !take_mki_out(c, unprotect == srtp_unprotect_rtcp, packet, &rest))
        return srtp_err_status_bad_mki;
    length = (int)rest;
    status = unprotect(c->session, packet, &length);
    if (status)
        return status;
    if (!before)
        c->ssrcs[c->count++] = ssrc;
    *size = (size_t)length;
    return srtp_err_status_ok;
}

/* One packet with one roll-over counter. */
static bool try_wraps(struct secure_context *c, uint32_t wraps, uint32_t ssrc, uint8_t *packet, size_t *size)
{
    srtp_policy_t policy;
    bool added = false;
    uint32_t present;
    bool good;

    if (srtp_get_stream_roc(c->session, ssrc, &present)) {
        if (c->count == SECURE_SSRCS)
            return false;
        policy = policy_of(c, ssrc_specific, ssrc);
        if (srtp_add_stream(c->session, &policy))
            return false;
        added = true;
        present = 0;
    }
    if (wraps <= present && !added) /* it never goes back: what has come before would come again */
        return false;
    (void)srtp_set_stream_roc(c->session, ssrc, wraps);
    good = !take(c, srtp_unprotect, ssrc, packet, size);
    if (!good && added)
        (void)srtp_remove_stream(c->session, ssrc);
    else
        (void)srtp_set_stream_roc(c->session, ssrc, 0); /* from here on it counts by itself */
    return good;
}

/* The roll-over counter is not the one that was expected: is it one of those that it may be? */
static bool find_wraps(struct secure *x, uint32_t ssrc, uint8_t *packet, size_t *size, const uint8_t *copy, int64_t now)
{
    const size_t whole = *size;
    uint32_t wraps[TRIES], base = 0;
    unsigned count = 0;

    if (now < x->try_at)
        return false;
    x->try_at = now + SECURE_TRY_US;
    if (x->former.session && !srtp_get_stream_roc(x->former.session, ssrc, &base)) {
        if (base)
            wraps[count++] = base;
        wraps[count++] = base + 1;
    }
    base = 0;
    (void)srtp_get_stream_roc(x->receive.session, ssrc, &base);
    wraps[count++] = base + 1;
    wraps[count++] = base + 2 + x->try_wraps;
    x->try_wraps = (x->try_wraps + 1) % SECURE_WRAPS;
    for (unsigned i = 0; i < count; i++) {
        memcpy(packet, copy, whole);
        *size = whole;
        if (try_wraps(&x->receive, wraps[i], ssrc, packet, size)) {
            x->try_wraps = 0;
            return true;
        }
    }
    return false;
}

static int refuse(struct secure *x, srtp_err_status_t status)
{
    if (status == srtp_err_status_replay_fail || status == srtp_err_status_replay_old) {
        x->replayed++;
        return EALREADY;
    }
    x->unauthenticated++;
    return EBADMSG;
}

static void note(struct secure *x, uint32_t ssrc, int64_t now)
{
    x->last_ssrc = ssrc;
    x->last_at = now;
    if (x->fresh && x->former.session && x->former_until > now + SECURE_REORDER_US)
        x->former_until = now + SECURE_REORDER_US;
    x->fresh = false;
}

/* libsrtp does not check all lengths before it subtracts them. */
static bool long_enough(const struct secure *x, size_t size, size_t header)
{
    unsigned end = suites[x->receive.key.suite].tag + x->receive.key.mki_size;

    if (x->former.session && suites[x->former.key.suite].tag + x->former.key.mki_size > end)
        end = suites[x->former.key.suite].tag + x->former.key.mki_size;
    return size >= header + end && size <= PACKET_MOST;
}

static size_t header_size(const uint8_t *packet, size_t size, uint32_t *ssrc)
{
    struct cursor c = cursor_over(packet, size);
    unsigned first = cursor_u8(&c);

    cursor_take(&c, RTP_FIXED - 1 - 4);
    *ssrc = cursor_be32(&c);
    cursor_take(&c, (size_t)(first & 0x0f) * 4);
    if (first & 0x10) {
        cursor_be16(&c);
        cursor_take(&c, (size_t)cursor_be16(&c) * 4);
    }
    return c.bad || first >> 6 != 2 ? SIZE_MAX / 2 : c.at;
}

int secure_unprotect(struct secure *x, uint8_t *packet, size_t *size, int64_t now)
{
    _Alignas(4) uint8_t copy[PACKET_MOST];
    const size_t whole = *size;
    srtp_err_status_t status, second;
    uint32_t ssrc;
    bool doubtful;

    if (!long_enough(x, whole, header_size(packet, whole, &ssrc)))
        return refuse(x, srtp_err_status_parse_err);
    doubtful = x->former.session || ssrc != x->last_ssrc || now - x->last_at >= SECURE_LOST_US || x->fresh;
    if (doubtful)
        memcpy(copy, packet, whole);
    status = take(&x->receive, srtp_unprotect, ssrc, packet, size);
    if (!status) {
        note(x, ssrc, now);
        return 0;
    }
    if (!doubtful)
        return refuse(x, status);
    if (x->former.session) {
        memcpy(packet, copy, whole);
        second = take(&x->former, srtp_unprotect, ssrc, packet, size);
        if (!second)
            return 0;
        if (second == srtp_err_status_replay_fail || second == srtp_err_status_replay_old)
            status = second;
    }
    if (status != srtp_err_status_replay_fail && find_wraps(x, ssrc, packet, size, copy, now)) {
        note(x, ssrc, now);
        return 0;
    }
    return refuse(x, status);
}

int secure_unprotect_rtcp(struct secure *x, uint8_t *packet, size_t *size, int64_t now)
{
    _Alignas(4) uint8_t copy[PACKET_MOST];
    const size_t whole = *size;
    struct cursor c = cursor_over(packet, whole);
    srtp_err_status_t status, second;
    uint32_t ssrc;

    (void)now;
    cursor_take(&c, 4);
    ssrc = cursor_be32(&c);
    if (!long_enough(x, whole, RTCP_FIXED + INDEX))
        return refuse(x, srtp_err_status_parse_err);
    if (x->former.session)
        memcpy(copy, packet, whole);
    status = take(&x->receive, srtp_unprotect_rtcp, ssrc, packet, size);
    if (status && x->former.session) {
        memcpy(packet, copy, whole);
        second = take(&x->former, srtp_unprotect_rtcp, ssrc, packet, size);
        status = second ? status : second;
    }
    return status ? refuse(x, status) : 0;
}
