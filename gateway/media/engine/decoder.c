#include "decoder.h"

#include <opus/opus.h>
#include <spandsp.h>
#include <string.h>

#include "protocol.h"

enum {
    OPUS_STEP = 20,   /* samples of SAMPLE_RATE: it makes up 2.5 ms or a multiple */
    G722_RATE = 64000,
    OPUS_SILK = 16,   /* of its 32 configurations those with a SILK part come first (RFC 6716 3.1) */
};

size_t decoder_opus_size(void)
{
    return (size_t)opus_decoder_get_size(1);
}

/* Of one far end's voice, whichever codec that turns out to be in. */
static void begin(struct decoder *d, uint8_t codec)
{
    d->codec = codec;
    (void)g722_decode_init(d->g722, G722_RATE, 0);
    if (codec == GM_CODEC_OPUS)
        (void)opus_decoder_init(d->opus, WIDE_RATE, 1);
    memset(&d->doubler, 0, sizeof d->doubler);
    wide_conceal_reset(&d->conceal);
}

void decoder_reset(struct decoder *d, uint8_t codec)
{
    begin(d, codec);
    decoder_skip(d);
    d->fresh = true;
    d->recovered = 0;
    d->losing = 0;
    memset(d->heard, 0, sizeof d->heard);
}

void decoder_skip(struct decoder *d)
{
    coded_clear(&d->coded);
    d->first = d->count = 0;
}

static void decode_l16(int16_t *to, const uint8_t *from, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = (int16_t)(from[2 * i] << 8 | from[2 * i + 1]);
}

static void decode_law(struct decoder *d, int16_t *to, const struct coded_packet *p, const uint8_t *payload)
{
    for (size_t done = 0; done < p->samples; done += SAMPLES) {
        const size_t left = (size_t)p->samples - done;
        const size_t part = left < SAMPLES ? left : SAMPLES;
        int16_t narrow[SAMPLES] = {0}, wide[WIDE_SAMPLES];

        law_decode(p->codec == GM_CODEC_ALAW ? ALAW : ULAW, narrow, payload + done, part);
        doubler_run(&d->doubler, wide, narrow);
        memcpy(to + WIDE * done, wide, WIDE * part * sizeof *to);
    }
}

/* `samples` are of SAMPLE_RATE; NULL: made up. */
static void decode_opus(struct decoder *d, int16_t *to, const uint8_t *payload, size_t size, unsigned samples, bool recover)
{
    int wanted = (int)(WIDE * samples);
    int got = opus_decode(d->opus, payload, (opus_int32)size, to, wanted, recover);

    if (got < wanted)
        memset(to + (got > 0 ? got : 0), 0, (size_t)(wanted - (got > 0 ? got : 0)) * sizeof *to);
}

static void decode(struct decoder *d, int16_t *to, const struct coded_packet *p)
{
    const uint8_t *payload = coded_payload(&d->coded, p);

    if (p->codec != d->codec)
        begin(d, p->codec);
    if (p->codec == GM_CODEC_OPUS) {
        decode_opus(d, to, payload, p->size, p->samples, false);
        return;
    }
    if (p->codec == GM_CODEC_G722)
        (void)g722_decode(d->g722, to, payload, p->size);
    else if (p->codec == GM_CODEC_L16)
        decode_l16(to, payload, (size_t)WIDE * p->samples);
    else
        decode_law(d, to, p, payload);
    wide_conceal_blend(&d->conceal, to, WIDE * (unsigned)p->samples);
}

static void make_up(struct decoder *d, int16_t *to, unsigned samples)
{
    if (d->fresh)
        memset(to, 0, (size_t)WIDE * samples * sizeof *to);
    else if (d->codec == GM_CODEC_OPUS)
        decode_opus(d, to, NULL, 0, (samples + OPUS_STEP - 1) / OPUS_STEP * OPUS_STEP, false);
    else
        wide_conceal_fill(&d->conceal, to, WIDE * samples, d->heard + HEARD_SAMPLES - WIDE_HISTORY);
}

/* RFC 6716 4.2.3, 4.2.4: the first bits of a SILK frame say for each 20 ms whether there is voice, then whether it repeats
 * what was before it. Mono and the first of two channels are looked at, that is enough. */
static bool repeats(const struct coded *c, const struct coded_packet *p)
{
    const uint8_t *payload = coded_payload(c, p);
    const unsigned char *frames[48];
    opus_int16 sizes[48];
    int inner;

    if (p->codec != GM_CODEC_OPUS || payload[0] >> 3 >= OPUS_SILK)
        return false;
    if (opus_packet_parse(payload, p->size, NULL, frames, sizes, NULL) < 1 || sizes[0] < 1)
        return false;
    inner = opus_packet_get_samples_per_frame(payload, SAMPLE_RATE) / SAMPLES;
    return frames[0][0] >> (7 - (inner ? inner : 1)) & 1;
}

bool decoder_recovers(const struct decoder *d, uint32_t stamp, unsigned samples)
{
    const struct coded_packet *p = coded_find(&d->coded, stamp);

    return p && p->stamp == stamp && samples <= p->samples && samples % OPUS_STEP == 0 && repeats(&d->coded, p);
}

/* What is missing at `stamp`, at most `most` of it, goes to what waits. */
static void fill(struct decoder *d, uint32_t stamp, unsigned most)
{
    const struct coded_packet *behind = coded_after(&d->coded, stamp);
    const uint32_t hole = behind ? behind->stamp - stamp : most;

    d->at = stamp;
    d->first = 0;
    if (behind && d->codec == GM_CODEC_OPUS && !d->fresh && decoder_recovers(d, behind->stamp, hole)) {
        decode_opus(d, d->waiting, coded_payload(&d->coded, behind), behind->size, hole, true);
        d->recovered++;
        d->count = WIDE * hole;
        return;
    }
    /* The last part of a longer hole may be had from the packet behind it. */
    if (behind && hole > behind->samples && hole - behind->samples < most)
        most = hole - behind->samples;
    else if (hole < most)
        most = hole;
    make_up(d, d->waiting, most);
    d->count = WIDE * most;
}

/* Takes up to `most` of what waits at `stamp`; samples of SAMPLE_RATE taken. */
static unsigned take(struct decoder *d, int16_t *out, uint32_t stamp, unsigned most)
{
    const uint32_t past = stamp - d->at;
    unsigned part;

    if (!d->count || past * WIDE >= d->count || past > CODED_SAMPLES_MAX) {
        d->count = 0;
        return 0;
    }
    d->first += past * WIDE;
    d->count -= past * WIDE;
    part = d->count < WIDE * most ? d->count : WIDE * most;
    memcpy(out, d->waiting + d->first, part * sizeof *out);
    d->first += part;
    d->count -= part;
    d->at = stamp + part / WIDE;
    return part / WIDE;
}

static void played(struct decoder *d, const int16_t *frame)
{
    memmove(d->heard, d->heard + WIDE_SAMPLES, (HEARD_SAMPLES - WIDE_SAMPLES) * sizeof *d->heard);
    memcpy(d->heard + HEARD_SAMPLES - WIDE_SAMPLES, frame, WIDE_SAMPLES * sizeof *d->heard);
}

bool decoder_read(struct decoder *d, int16_t *out, uint32_t stamp)
{
    bool whole = true;

    for (unsigned done = 0; done < SAMPLES;) {
        unsigned part = take(d, out + (size_t)WIDE * done, stamp + done, SAMPLES - done);
        const struct coded_packet *p = part ? NULL : coded_find(&d->coded, stamp + done);

        done += part;
        if (p) {
            decode(d, d->waiting, p);
            d->at = p->stamp;
            d->first = 0;
            d->count = WIDE * (unsigned)p->samples;
            d->fresh = false;
        } else if (!part) {
            fill(d, stamp + done, SAMPLES - done);
            whole = false;
        }
    }
    played(d, out);
    return whole;
}

void decoder_conceal(struct decoder *d, int16_t *out, uint32_t stamp, unsigned *real)
{
    int16_t rest[WIDE_SAMPLES + WIDE * OPUS_STEP];
    unsigned missing;

    *real = take(d, out, stamp, SAMPLES);
    missing = SAMPLES - *real;
    make_up(d, rest, missing);
    memcpy(out + (size_t)WIDE * *real, rest, (size_t)WIDE * missing * sizeof *out);
    played(d, out);
}

void decoder_look(struct decoder *d)
{
    enum { WARM = 10 * SAMPLES, LOOK = (HEARD_SAMPLES / WIDE_SAMPLES + 1) * SAMPLES };
    int16_t frame[WIDE_SAMPLES];

    begin(d, d->codec);
    d->count = 0;
    d->fresh = true;
    for (uint32_t at = d->newest - LOOK - WARM; at != d->newest; at += SAMPLES)
        (void)decoder_read(d, frame, at);
}
