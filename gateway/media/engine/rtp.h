/* RTP (RFC 3550): packet codec and the account of one received source (appendix A.1, A.3, A.8). SRTP is in secure.h. */
#ifndef GM_RTP_H
#define GM_RTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RTP_HEADER = 12, RTP_COMFORT_NOISE = 13 /* RFC 3389 */ };

struct rtp_packet {
    const uint8_t *payload;
    size_t size;
    uint32_t stamp;
    uint32_t ssrc;
    uint16_t sequence;
    uint8_t payload_type;
    bool marker;
};

/* 0 or EBADMSG. The payload points into `data`. */
int rtp_parse(struct rtp_packet *p, const void *data, size_t size);
/* Writes RTP_HEADER octets. */
void rtp_header(uint8_t *to, const struct rtp_packet *p);
/* RFC 5761 4: does a packet on the RTP port look like RTCP? */
bool rtp_is_rtcp(const uint8_t *data, size_t size);

struct rtp_source {
    bool known;
    uint32_t ssrc;
    uint16_t highest;
    uint32_t cycles; /* sequence numbers wrapped x 65536 */
    uint32_t first;
    uint64_t seen;   /* bit n: highest - n has come */
    uint32_t jump;   /* sequence expected after a jump; above 65535: none */
    uint32_t other_ssrc, other_next; /* a second source that may take over; other_next above 65535: none */
    uint32_t received; /* of this sequence, without duplicates */
    uint32_t lost_before; /* by sequences that ended */
    uint32_t expected_prior, received_prior; /* at the last report */
    uint32_t duplicated, reordered;
    bool timed;
    int64_t transit; /* microseconds */
    double jitter, jitter_maximum; /* milliseconds */
};

enum rtp_verdict {
    RTP_FRESH,   /* new, in this sequence */
    RTP_RESTART, /* the first of a new sequence: forget what is buffered */
    RTP_DUPLICATE,
    RTP_STRAY, /* of another sequence or source, which may turn out to be a new one */
};

/* Is it of the same source, and does it come soon after what has come last? */
bool rtp_source_continues(const struct rtp_source *s, const struct rtp_packet *p);
void rtp_source_reset(struct rtp_source *s);
enum rtp_verdict rtp_source_take(struct rtp_source *s, const struct rtp_packet *p);
/* Interarrival jitter; for packets whose stamp is their sampling time only. */
void rtp_source_time(struct rtp_source *s, uint32_t stamp, int64_t arrival);
uint32_t rtp_source_lost(const struct rtp_source *s);
uint32_t rtp_source_extended(const struct rtp_source *s);
/* RFC 3550 A.3: share lost since the last call, in 1/256. */
uint8_t rtp_source_fraction(struct rtp_source *s);

#endif
