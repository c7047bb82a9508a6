#include "rtp.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "cursor.h"
#include "law.h"

enum { MAX_DROPOUT = 3000, MAX_MISORDER = 100, NONE = 0x10000, SEEN = 64 };

int rtp_parse(struct rtp_packet *p, const void *data, size_t size)
{
    struct cursor c = cursor_over(data, size);
    unsigned first = cursor_u8(&c);
    unsigned second = cursor_u8(&c);
    unsigned pad = 0;
    int err = EBADMSG;

    p->sequence = cursor_be16(&c);
    p->stamp = cursor_be32(&c);
    p->ssrc = cursor_be32(&c);
    p->marker = second >> 7;
    p->payload_type = second & 0x7f;
    cursor_take(&c, (size_t)(first & 0x0f) * 4);
    if (first & 0x10) {
        cursor_be16(&c);
        cursor_take(&c, (size_t)cursor_be16(&c) * 4);
    }
    if (c.bad || first >> 6 != 2)
        goto out;
    p->size = cursor_left(&c);
    p->payload = cursor_take(&c, p->size);
    if (first & 0x20) {
        pad = p->size ? p->payload[p->size - 1] : 0;
        if (!pad || pad > p->size)
            goto out;
        p->size -= pad;
    }
    err = 0;
out:
    return err;
}

void rtp_header(uint8_t *to, const struct rtp_packet *p)
{
    struct writer w = writer_over(to, RTP_HEADER);

    put_u8(&w, 0x80);
    put_u8(&w, (p->marker ? 0x80U : 0U) | p->payload_type);
    put_be16(&w, p->sequence);
    put_be32(&w, p->stamp);
    put_be32(&w, p->ssrc);
}

bool rtp_is_rtcp(const uint8_t *data, size_t size)
{
    struct cursor c = cursor_over(data, size);

    cursor_u8(&c);
    return (cursor_u8(&c) & 0xe0) == 0xc0;
}

void rtp_source_reset(struct rtp_source *s)
{
    memset(s, 0, sizeof *s);
    s->jump = s->other_next = NONE;
}

bool rtp_source_continues(const struct rtp_source *s, const struct rtp_packet *p)
{
    unsigned ahead = (uint16_t)(p->sequence - s->highest);

    return s->known && p->ssrc == s->ssrc && ahead && ahead < MAX_DROPOUT;
}

static void begin(struct rtp_source *s, const struct rtp_packet *p)
{
    s->lost_before = rtp_source_lost(s);
    s->known = true;
    s->ssrc = p->ssrc;
    s->highest = p->sequence;
    s->first = p->sequence;
    s->cycles = 0;
    s->seen = 1;
    s->received = 1;
    s->expected_prior = s->received_prior = 0;
    s->jump = s->other_next = NONE;
    s->timed = false;
}

static enum rtp_verdict take_other(struct rtp_source *s, const struct rtp_packet *p)
{
    if (s->other_ssrc == p->ssrc && s->other_next == p->sequence) {
        begin(s, p);
        return RTP_RESTART;
    }
    s->other_ssrc = p->ssrc;
    s->other_next = (uint16_t)(p->sequence + 1);
    return RTP_STRAY;
}

enum rtp_verdict rtp_source_take(struct rtp_source *s, const struct rtp_packet *p)
{
    unsigned ahead = (uint16_t)(p->sequence - s->highest);
    unsigned behind = (uint16_t)(s->highest - p->sequence);

    if (!s->known) {
        begin(s, p);
        return RTP_RESTART;
    }
    if (p->ssrc != s->ssrc)
        return take_other(s, p);
    if (ahead && ahead < MAX_DROPOUT) {
        if (p->sequence < s->highest)
            s->cycles += 0x10000;
        s->highest = p->sequence;
        s->seen = (ahead < SEEN ? s->seen << ahead : 0) | 1;
    } else if (behind < SEEN) {
        if (s->seen >> behind & 1) {
            s->duplicated++;
            return RTP_DUPLICATE;
        }
        s->seen |= UINT64_C(1) << behind;
        s->reordered++;
    } else if (behind < MAX_MISORDER) {
        s->reordered++;
    } else if (s->jump == p->sequence) {
        begin(s, p);
        return RTP_RESTART;
    } else {
        s->jump = (uint16_t)(p->sequence + 1);
        return RTP_STRAY;
    }
    s->jump = s->other_next = NONE;
    s->received++;
    return RTP_FRESH;
}

void rtp_source_time(struct rtp_source *s, uint32_t stamp, int64_t arrival)
{
    /* Modulo 2^32 time stamps: the difference of two transits is small even where the stamp wraps. */
    int64_t transit = arrival * SAMPLE_RATE / 1000000 - (int64_t)stamp;
    int32_t change = (int32_t)(uint32_t)(transit - s->transit);
    double milliseconds = fabs((double)change) * 1000.0 / SAMPLE_RATE;

    s->transit = transit;
    if (!s->timed) {
        s->timed = true;
        return;
    }
    if (milliseconds > 2000.0) /* the sender's clock jumped; not jitter */
        return;
    s->jitter += (milliseconds - s->jitter) / 16.0;
    s->jitter_maximum = fmax(s->jitter, s->jitter_maximum);
}

uint32_t rtp_source_extended(const struct rtp_source *s)
{
    return s->cycles + s->highest;
}

static uint32_t expected(const struct rtp_source *s)
{
    return s->known ? rtp_source_extended(s) - s->first + 1 : 0;
}

uint32_t rtp_source_lost(const struct rtp_source *s)
{
    int32_t lost = (int32_t)(expected(s) - s->received);

    return s->lost_before + (lost > 0 ? (uint32_t)lost : 0);
}

uint8_t rtp_source_fraction(struct rtp_source *s)
{
    uint32_t interval = expected(s) - s->expected_prior;
    int32_t lost = (int32_t)(interval - (s->received - s->received_prior));

    s->expected_prior = expected(s);
    s->received_prior = s->received;
    if (!interval || lost <= 0)
        return 0;
    lost = (int32_t)(((int64_t)lost << 8) / interval);
    return lost > UINT8_MAX ? UINT8_MAX : (uint8_t)lost;
}
