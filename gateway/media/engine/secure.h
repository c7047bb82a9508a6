/* SRTP and SRTCP of one stream by libsrtp2 (RFC 3711, with the suites of RFC 4568, RFC 6188 and RFC 7714).
 *
 * Each direction has a key of its own and a context of libsrtp, which holds roll-over counter and replay window of every SSRC.
 * The same key given again keeps its context. Another key makes another, and the former receive context is used beside it
 * for what is still on its way. An SSRC of which nothing is known begins with a roll-over counter of 0 (RFC 4568 6.4), or, as
 * far ends differ in what they do when keys change (RFC 3711 3.3.1 against RFC 4568 7.1.4) and as the first packets may be lost
 * around a wrap, with the one it had under the former key, or one that is found by trying, a few packets at a time.
 *
 * Memory: libsrtp allocates. It does so when keys are set and when an SSRC is heard or sent for the first time, which is what
 * somebody who has the key can do SECURE_SSRCS times; never for packets that are not authentic, but for those few tries. Its
 * ciphers may allocate a packet's worth (NSS does); all of that is freed at once, and malloc gives it without a system call.
 */
#ifndef GM_SECURE_H
#define GM_SECURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "protocol.h"

struct srtp_ctx_t_;

enum {
    SECURE_ROOM = 16 + 128 + 4, /* octets after a packet that protecting it may write: SRTP_MAX_TRAILER_LEN + 4 */
    SECURE_SSRCS = 32,          /* a key is used with */
    SECURE_OVERLAP_US = 5000000, /* a former receive key is good for so long ... */
    SECURE_REORDER_US = 500000,  /* ... and for so long after the present one was used */
    SECURE_LOST_US = 1000000,    /* an SSRC of which nothing was authentic for so long may have wrapped meanwhile */
    SECURE_TRY_US = 100000,      /* between two tries */
    SECURE_WRAPS = 64,           /* tried at most: over a day of 20 ms packets */
};

/* suite 0: none. Packets received with it have its MKI (RFC 3711 3.1), if that has any octets; what we send has none. */
struct secure_key {
    uint8_t suite;
    uint8_t mki_size;
    uint8_t mki[GM_SRTP_MKI_BYTES];
    uint8_t octets[GM_SRTP_KEY_BYTES];
};

struct secure_context {
    struct srtp_ctx_t_ *session; /* NULL: none */
    uint16_t count;
    struct secure_key key;
    uint32_t ssrcs[SECURE_SSRCS]; /* that were authentic */
};

/* Every packet touches the beginning of each context, and what stands before that of `receive`. */
struct secure {
    struct secure_context send;
    bool fresh; /* nothing was authentic with the present receive key */
    uint32_t last_ssrc; /* authentic, and when */
    int64_t last_at;
    struct secure_context receive, former;
    int64_t former_until;
    int64_t try_at;
    uint32_t try_wraps;
    uint32_t unauthenticated, replayed;
};

/* What of the library is for all streams. */
struct secure_library {
    struct srtp_ctx_t_ *keeper;
    unsigned suites; /* bit n: suite n can be had */
};

/* 0 or an errno. */
int secure_library_open(struct secure_library *l);
void secure_library_close(struct secure_library *l);

/* Both keys or none; 0 or an errno, and then nothing has changed. `*renewed`: packets are sent with another key now. */
int secure_set(struct secure *x, const struct secure_library *l, const struct secure_key *send,
               const struct secure_key *receive, int64_t now, bool *renewed);
/* Forgets and wipes everything but the counters. */
void secure_close(struct secure *x);
/* Ends the former key when its time is over. */
void secure_upkeep(struct secure *x, int64_t now);
static inline bool secure_on(const struct secure *x)
{
    return x->send.session != NULL;
}

/* In place: `packet` is aligned to 4 octets and has SECURE_ROOM after `size`. 0 or EIO. */
int secure_protect(struct secure *x, uint8_t *packet, size_t *size);
int secure_protect_rtcp(struct secure *x, uint8_t *packet, size_t *size);
/* In place, aligned to 4 octets. 0, EBADMSG (not authentic) or EALREADY (has come before), which are counted. */
int secure_unprotect(struct secure *x, uint8_t *packet, size_t *size, int64_t now);
int secure_unprotect_rtcp(struct secure *x, uint8_t *packet, size_t *size, int64_t now);
/* What we sent as `ssrc` is over. */
void secure_forget(struct secure *x, uint32_t ssrc);

#endif
