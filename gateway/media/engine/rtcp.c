#include "rtcp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cursor.h"
#include "law.h"

enum { SR = 200, RR = 201, SDES = 202, BYE = 203, CNAME = 1, REPORT_WORDS = 6, SENDER_WORDS = 5 };

static uint32_t middle(uint64_t ntp)
{
    return (uint32_t)(ntp >> 16);
}

void rtcp_reset(struct rtcp *r, uint64_t random)
{
    memset(r, 0, sizeof *r);
    r->round_trip = -1.0;
    r->clock = 1;
    (void)snprintf(r->cname, sizeof r->cname, "%016llx", (unsigned long long)random);
}

static void put_report(struct rtcp *r, struct writer *w, struct rtp_source *source, int64_t now)
{
    uint32_t lost = rtp_source_lost(source) - source->lost_before;
    bool have_sr = r->have_sr && r->sender == source->ssrc;
    int64_t delay = have_sr ? now - r->last_sr_at : 0;

    put_be32(w, source->ssrc);
    put_u8(w, rtp_source_fraction(source));
    put_be24(w, lost > 0x7fffff ? 0x7fffff : lost);
    put_be32(w, rtp_source_extended(source));
    put_be32(w, (uint32_t)(source->jitter * SAMPLE_RATE * r->clock / 1000.0));
    put_be32(w, have_sr ? r->last_sr : 0);
    put_be32(w, (uint32_t)((delay << 16) / 1000000));
}

static void put_header(struct writer *w, unsigned count, unsigned type, unsigned words)
{
    put_u8(w, 0x80 | count);
    put_u8(w, type);
    put_be16(w, words);
}

size_t rtcp_build(struct rtcp *r, uint8_t *out, const struct rtcp_sender *sender, struct rtp_source *source, int64_t now,
                  uint64_t ntp, bool bye)
{
    struct writer w = writer_over(out, RTCP_MAX);
    unsigned reports = source->known && !r->bye ? 1 : 0;
    size_t name = strlen(r->cname);
    size_t chunk = 4 + 2 + name; /* SSRC, item header, text; then at least one NUL up to the next word */
    size_t padded = (chunk / 4 + 1) * 4;

    if (sender->sending) {
        put_header(&w, reports, SR, 1 + SENDER_WORDS + reports * REPORT_WORDS);
        put_be32(&w, sender->ssrc);
        put_be32(&w, (uint32_t)(ntp >> 32));
        put_be32(&w, (uint32_t)ntp);
        put_be32(&w, sender->stamp);
        put_be32(&w, sender->packets);
        put_be32(&w, sender->octets);
    } else {
        put_header(&w, reports, RR, 1 + reports * REPORT_WORDS);
        put_be32(&w, sender->ssrc);
    }
    if (reports)
        put_report(r, &w, source, now);
    put_header(&w, 1, SDES, (unsigned)padded / 4);
    put_be32(&w, sender->ssrc);
    put_u8(&w, CNAME);
    put_u8(&w, (unsigned)name);
    put_bytes(&w, r->cname, name);
    put_zeros(&w, padded - chunk);
    if (bye) {
        put_header(&w, 1, BYE, 1);
        put_be32(&w, sender->ssrc);
    }
    return w.full ? 0 : w.at;
}

static void take_report(struct rtcp *r, struct cursor *c, uint32_t ssrc, uint64_t ntp)
{
    bool ours = cursor_be32(c) == ssrc;
    uint32_t fraction, lost, jitter, last, delay, trip;

    fraction = cursor_u8(c);
    lost = cursor_be24(c);
    cursor_be32(c);
    jitter = cursor_be32(c);
    last = cursor_be32(c);
    delay = cursor_be32(c);
    if (c->bad || !ours)
        return;
    r->remote_lost = lost & 0x800000 ? 0 : lost; /* negative: duplicates came */
    r->remote_jitter = jitter * 1000.0 / SAMPLE_RATE / r->clock;
    r->remote_fraction = (uint8_t)fraction;
    trip = middle(ntp) - last - delay;
    if (last && trip < UINT32_C(10) << 16) /* more than 10 s: nonsense, or a delay longer than the trip */
        r->round_trip = trip * 1000.0 / 65536.0;
}

static void take_sender(struct rtcp *r, struct cursor *c, uint32_t ssrc, int64_t at)
{
    uint32_t high = cursor_be32(c);
    uint32_t low = cursor_be32(c);

    cursor_take(c, 12);
    if (c->bad)
        return;
    r->sender = ssrc;
    r->last_sr = high << 16 | low >> 16;
    r->last_sr_at = at;
    r->have_sr = true;
}

int rtcp_receive(struct rtcp *r, const void *data, size_t size, const struct rtcp_arrival *arrival)
{
    struct cursor all = cursor_over(data, size);
    bool padded = false, begun = false;

    while (cursor_left(&all)) {
        unsigned first = cursor_u8(&all);
        unsigned type = cursor_u8(&all);
        size_t length = (size_t)cursor_be16(&all) * 4;
        const uint8_t *body = cursor_take(&all, length);
        unsigned count = first & 0x1f;
        struct cursor c;

        /* RFC 3550 A.2: a report comes first, and only the last packet may be padded. */
        if (!body || first >> 6 != 2 || padded || (!begun && type != SR && type != RR))
            return EBADMSG;
        begun = true;
        padded = first & 0x20;
        c = cursor_over(body, length);
        if (type == SR || type == RR) {
            uint32_t ssrc = cursor_be32(&c);

            if (type == SR)
                take_sender(r, &c, ssrc, arrival->at);
            for (unsigned i = 0; i < count && !c.bad; i++)
                take_report(r, &c, arrival->ssrc, arrival->ntp);
        }
        for (unsigned i = 0; type == BYE && i < count && !c.bad; i++)
            if (cursor_be32(&c) == arrival->source && !c.bad) {
                r->bye = true;
                r->bye_at = arrival->at;
            }
        if (c.bad)
            return EBADMSG;
    }
    return begun && !all.bad ? 0 : EBADMSG;
}

int64_t rtcp_interval(uint32_t random, bool first)
{
    double interval = (first ? 2.5e6 : 5e6) * (0.5 + random / 4294967296.0) / 1.21828;

    return (int64_t)interval;
}

uint64_t rtcp_ntp(int64_t seconds, int64_t nanoseconds)
{
    const uint64_t epoch = UINT64_C(2208988800); /* 1900 to 1970 */

    return ((uint64_t)seconds + epoch) << 32 | ((uint64_t)nanoseconds << 32) / 1000000000U;
}
