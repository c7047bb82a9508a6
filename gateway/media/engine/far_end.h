/* Who is the far end of an RTP stream: whose packets are heard, and where ours go (comedia, strict RTP). Pure.
 *
 * What the SDP says is right until somebody proves otherwise. A packet of the signalled address and port is heard at once
 * and makes it the source. Another source has to prove itself: by authentication (SRTP), at once; else by PROBATION packets
 * in a row of one SSRC that are not all there at the same time, twice as many if not even its host was heard of. Once there is
 * a source, all others are strangers, whose packets are not heard, but for three cases: a source that is likelier by rank
 * (below) and proves itself takes over; a source that fell silent may go on from another address or port (its NAT forgot
 * it) with the same SSRC and sequence; and what is authenticated is heard in any case, and followed once the other is silent.
 * Rank: the signalled address and port, then their host or the host that signalling comes from, then anybody.
 *
 * With `latch` packets are sent to the source; without they go where the SDP says. Another signalled address begins anew;
 * until then the former source is heard on, and comes back if nobody else proves itself.
 */
#ifndef GM_FAR_END_H
#define GM_FAR_END_H

#include <stdbool.h>
#include <stdint.h>

#include "address.h"

enum {
    FAR_END_PROBATION = 4,
    FAR_END_CANDIDATES = 4,
    FAR_END_SPREAD_US = 30000,        /* from the first to the last of PROBATION packets at least: a spray is no voice */
    FAR_END_QUIET_US = 500000,        /* a source that was not heard for so long may have moved */
    FAR_END_QUIET_SECURE_US = 100000, /* when who says so is authenticated */
    FAR_END_FORMER_US = 2000000,      /* another may take the place of a former source for so long */
    FAR_END_CANDIDATE_US = 1000000,   /* a candidate that was not heard for so long makes room */
};

struct far_end_candidate {
    union address from;
    uint32_t ssrc;
    uint16_t next; /* sequence number */
    uint8_t count; /* 0: free */
    int64_t since, at;
};

struct far_end {
    struct far_end_candidate candidates[FAR_END_CANDIDATES];
    int64_t former_until;
    bool has_former;
    union address former, signalling, signalled;
    bool set, known, latch, usable; /* usable: the signalled address is one to send to */
    union address source;           /* with .known; from .set on is all that most packets touch */
    int64_t heard_at;               /* when the source was */
};

enum far_end_who {
    FAR_END_SOURCE,   /* heard */
    FAR_END_OTHER,    /* heard, if far_end_take() says so */
    FAR_END_STRANGER, /* to be dropped, unless it is authenticated */
};

/* The far end's description, and where its signalling comes from (family 0: not known). */
void far_end_set(struct far_end *f, const union address *signalled, const union address *signalling, bool latch, int64_t now);
enum far_end_who far_end_who(const struct far_end *f, const union address *from, int64_t now);

struct far_end_packet {
    const union address *from;
    uint32_t ssrc;
    uint16_t sequence;
    bool authentic;
    bool continues; /* has the SSRC of what was heard last, and comes soon after it in sequence */
};

/* A packet that is sound otherwise; true: it is to be heard. */
bool far_end_take(struct far_end *f, const struct far_end_packet *p, int64_t now);
/* Where to send, NULL: nowhere. */
const union address *far_end_target(const struct far_end *f);

#endif
