/* RTCP for one two-party session: SR/RR with SDES and BYE out, the far end's reports in (RFC 3550 6). */
#ifndef GM_RTCP_H
#define GM_RTCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rtp.h"

enum { RTCP_MAX = 128, RTCP_CNAME = 24 };

struct rtcp_sender {
    uint32_t ssrc, stamp; /* stamp: RTP time stamp of now */
    uint32_t packets, octets;
    bool sending; /* sent RTP since the last but one report */
};

struct rtcp {
    char cname[RTCP_CNAME]; /* RFC 7022: random, no address in it */
    uint32_t last_sr;       /* middle 32 bits of the NTP stamp of the far end's last SR */
    uint32_t sender;        /* whose it was */
    int64_t last_sr_at;
    bool have_sr;
    double round_trip;      /* milliseconds, -1: not known */
    uint32_t remote_lost;
    double remote_jitter;   /* milliseconds */
    uint8_t remote_fraction; /* of what we sent since the report before, in 1/256 */
    uint8_t clock;          /* time stamps in one of SAMPLE_RATE */
    bool bye;               /* the source is gone: no more reports about it */
    int64_t bye_at;
};

void rtcp_reset(struct rtcp *r, uint64_t random);
/* Octets written to `out` of RTCP_MAX: SR or RR, SDES, and BYE if `bye`. `ntp`: 64-bit NTP time of now. */
size_t rtcp_build(struct rtcp *r, uint8_t *out, const struct rtcp_sender *sender, struct rtp_source *source, int64_t now,
                  uint64_t ntp, bool bye);
struct rtcp_arrival {
    uint32_t ssrc;   /* ours: reports about others are skipped */
    uint32_t source; /* the one we hear */
    int64_t at;
    uint64_t ntp;    /* the same time, as NTP */
};

/* A compound packet; 0 or EBADMSG. */
int rtcp_receive(struct rtcp *r, const void *data, size_t size, const struct rtcp_arrival *arrival);
/* Microseconds to the next report: 5 s x 0.5..1.5 / 1.21828, half that the first time (6.2, 6.3.1). */
int64_t rtcp_interval(uint32_t random, bool first);
/* 64-bit NTP time of a wall clock. */
uint64_t rtcp_ntp(int64_t seconds, int64_t nanoseconds);

#endif
