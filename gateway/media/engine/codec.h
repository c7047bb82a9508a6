/* The codecs of RTP: what each of them makes of the engine's time. G.711 is in law.h; the others' voice is linear at 16 kHz
 * in the engine, and only there where somebody needs it. */
#ifndef GM_CODEC_H
#define GM_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "law.h"

enum {
    WIDE_RATE = 16000,
    WIDE = 2,                   /* of its samples to one of SAMPLE_RATE */
    WIDE_SAMPLES = WIDE * SAMPLES,
    PACKET_SAMPLES_MAX = 480,   /* of SAMPLE_RATE: the longest packet sent, 60 ms */
    CODED_SAMPLES_MAX = 960,    /* the longest packet taken, 120 ms, in codecs other than G.711 */
    CODED_PAYLOAD_MAX = 4 * PACKET_SAMPLES_MAX, /* octets sent in a packet, 60 ms of L16 */
};

struct codec {
    uint8_t id;     /* GM_CODEC_* */
    uint8_t clock;  /* RTP time stamps in one of SAMPLE_RATE */
    uint8_t octets; /* for one of SAMPLE_RATE, 0: not fixed */
};

/* NULL: there is none. */
const struct codec *codec_find(unsigned id);
/* How much of SAMPLE_RATE a payload lasts, 0 if it is malformed or longer than CODED_SAMPLES_MAX. */
unsigned codec_duration(const struct codec *c, const uint8_t *payload, size_t size);
/* L16 in the other byte order. */
void codec_swap(uint8_t *to, const uint8_t *from, size_t size);

#endif
